//! A seal for tests: records of at most 16 KiB, with kind and length in front, XORed bytes, and a
//! checksum behind.

use karez_transfer::{RecordKind, Seal, SealError, SealRoom};

/// Seals with this key, and the next one for the next record.
pub struct Xor(pub u8);

impl Seal for Xor {
    fn room(&self) -> SealRoom {
        SealRoom { prefix: 5, tag: 4 }
    }

    fn max_plain(&self, idle: bool) -> usize {
        if idle { 1000 } else { 16 << 10 }
    }

    fn seal(&mut self, kind: RecordKind, record: &mut [u8]) -> Result<(), SealError> {
        let plain = record.len() - 9;
        record[0] = kind.0;
        record[1..5].copy_from_slice(&u32::try_from(plain).unwrap().to_be_bytes());
        let sum = sum_of(&record[5..5 + plain]);
        record[5..5 + plain].iter_mut().for_each(|byte| *byte ^= self.0);
        self.0 = self.0.wrapping_add(1);
        record[5 + plain..].copy_from_slice(&sum.to_be_bytes());
        Ok(())
    }
}

fn sum_of(plain: &[u8]) -> u32 {
    plain.iter().fold(0, |sum: u32, &byte| sum.rotate_left(5) ^ u32::from(byte))
}

/// Returns the plaintext of all records.
pub fn open_all(mut bytes: &[u8], mut key: u8) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        assert_eq!(head[0], RecordKind::DATA.0);
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        assert!(length <= 16 << 10);
        let plain: Vec<u8> = rest[..length].iter().map(|byte| byte ^ key).collect();
        assert_eq!(rest[length..length + 4], sum_of(&plain).to_be_bytes());
        key = key.wrapping_add(1);
        all.extend(plain);
        bytes = &rest[length + 4..];
    }
    assert!(bytes.is_empty());
    all
}
