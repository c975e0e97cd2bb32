//! Tests of kernel TLS, which need no module.

use super::*;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

const NONCE: [u8; 12] = [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5];

fn keys(version: TlsVersion, cipher: TlsCipher, sequence: u64) -> TlsKeys {
    let key = vec![7; cipher.key_len()];
    TlsKeys::new(version, cipher, &key, NONCE, sequence).unwrap()
}

#[test]
fn keys_are_laid_out_as_linux_tls_h_has_them() {
    let info = keys(TlsVersion::Tls13, TlsCipher::Aes128Gcm, 9).info();
    let mut expected = Vec::new();
    expected.extend(0x0304_u16.to_ne_bytes());
    expected.extend(51_u16.to_ne_bytes());
    expected.extend([0, 0, 0, 0, 0, 0, 0, 5]);
    expected.extend([7; 16]);
    expected.extend([1, 2, 3, 4]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 9]);
    assert_eq!(info.as_bytes(), expected);

    for (cipher, length) in [(TlsCipher::Aes256Gcm, 56), (TlsCipher::ChaCha20Poly1305, 56)] {
        assert_eq!(keys(TlsVersion::Tls12, cipher, 0).info().as_bytes().len(), length);
    }
    let info = keys(TlsVersion::Tls12, TlsCipher::ChaCha20Poly1305, 9).info();
    assert_eq!(info.as_bytes()[4..16], NONCE, "XORed as in user space, so as it is");
}

#[test]
fn explicit_nonces_of_user_space_are_not_used_again_by_the_kernel() {
    for base in [4_u64, 5, 0, u64::MAX, 0xdead_beef_ffff_ffff] {
        for used in [1_u64, 2, 3, 4, 7, 64, 100] {
            let mut nonce = NONCE;
            nonce[4..].copy_from_slice(&base.to_be_bytes());
            let (version, cipher) = (TlsVersion::Tls12, TlsCipher::Aes128Gcm);
            let keys = TlsKeys::new(version, cipher, &[7; 16], nonce, used).unwrap();
            let start = u64::from_be_bytes(keys.kernel_nonce().1);
            for before in (0..used).map(|number| base ^ number) {
                let distance = before.wrapping_sub(start);
                assert!(distance > 1 << 60, "{base:x}: {before:x} comes soon after {start:x}");
            }
        }
    }
    let unused = keys(TlsVersion::Tls12, TlsCipher::Aes128Gcm, 0);
    assert_eq!(unused.kernel_nonce().1, [0, 0, 0, 0, 0, 0, 0, 5]);
}

#[test]
fn a_key_of_another_length_is_refused() {
    for cipher in [TlsCipher::Aes128Gcm, TlsCipher::Aes256Gcm, TlsCipher::ChaCha20Poly1305] {
        for length in [0, 15, 17, 31, 33] {
            let key = vec![0; length];
            assert!(TlsKeys::new(TlsVersion::Tls13, cipher, &key, NONCE, 0).is_none());
        }
    }
}

#[test]
fn debug_output_has_no_secrets() {
    let text = format!("{:?}", keys(TlsVersion::Tls13, TlsCipher::Aes128Gcm, 0));
    assert_eq!(text, "TlsKeys { version: Tls13, cipher: Aes128Gcm, sequence: 0, .. }");
}

#[test]
fn a_socket_without_ktls_refuses_keys_and_records() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let keys = keys(TlsVersion::Tls13, TlsCipher::Aes128Gcm, 0);
    for direction in [TlsDirection::Tx, TlsDirection::Rx] {
        assert!(set_tls_keys(near.as_fd(), direction, &keys).is_err());
    }
    let (left, _right) = UnixStream::pair().unwrap();
    assert!(enable_ktls(left.as_fd()).is_err());
}

#[test]
fn a_receive_without_control_message_names_no_type() {
    let (left, right) = UnixStream::pair().unwrap();
    rustix::net::send(&right, b"water", SendFlags::empty()).unwrap();
    let mut buffer = [0; 8];
    let received = receive_tls_record(left.as_fd(), &mut buffer, RecvFlags::empty());
    assert_eq!(received, Ok((5, None)));
    assert_eq!(&buffer[..5], b"water");
}
