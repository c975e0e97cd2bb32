//! The encoders: a stream of bytes in each content coding.
//!
//! The same bytes, level and version of the library give the same result: gzip gets neither a name nor a time.

use std::io::{self, Read, Write};

use brotli::enc::BrotliEncoderParams;
use flate2::{Compression, GzBuilder};
use karez_http::Coding;

/// The most that a decoder of the content coding has to keep, as a power of two: RFC 9659 §3.
const ZSTD_WINDOW_LOG: u32 = 23;

/// The length of the buffers between a file and an encoder, in bytes.
const BUFFER: usize = 64 << 10;

/// How much CPU time the encoders spend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// For responses that are compressed as they are sent: zstd 3, brotli 4, gzip 5.
    Fast,
    /// zstd 9, brotli 9, gzip 6.
    Balanced,
    /// For files that are compressed once: zstd 19, brotli 11, gzip 9.
    #[default]
    Best,
}

impl Level {
    const fn of(self, coding: Coding) -> u8 {
        match (coding, self) {
            (Coding::Zstd, Self::Fast) => 3,
            (Coding::Brotli, Self::Fast) => 4,
            (Coding::Gzip, Self::Fast) => 5,
            (Coding::Gzip, Self::Balanced) => 6,
            (Coding::Zstd | Coding::Brotli, Self::Balanced) | (Coding::Gzip, Self::Best) => 9,
            (Coding::Zstd, Self::Best) => 19,
            (Coding::Brotli, Self::Best) => 11,
        }
    }
}

/// Reads `from` to its end, about `size` bytes, and writes it in this coding.
///
/// # Errors
/// As reading and writing.
pub fn encode(
    coding: Coding,
    level: Level,
    size: u64,
    from: &mut impl Read,
    to: &mut impl Write,
) -> io::Result<()> {
    let level = level.of(coding);
    match coding {
        Coding::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(to, i32::from(level))?;
            encoder.window_log(ZSTD_WINDOW_LOG)?;
            encoder.include_checksum(true)?;
            io::copy(&mut io::BufReader::with_capacity(BUFFER, from), &mut encoder)?;
            encoder.finish()?;
        }
        Coding::Brotli => {
            let parameters = BrotliEncoderParams {
                quality: i32::from(level),
                size_hint: usize::try_from(size).unwrap_or(usize::MAX),
                ..BrotliEncoderParams::default()
            };
            brotli::BrotliCompress(from, to, &parameters)?;
        }
        Coding::Gzip => {
            let level = Compression::new(level.into());
            let mut encoder = GzBuilder::new().write(to, level);
            io::copy(&mut io::BufReader::with_capacity(BUFFER, from), &mut encoder)?;
            encoder.finish()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match coding {
            Coding::Zstd => plain = zstd::decode_all(bytes).unwrap(),
            Coding::Brotli => {
                brotli::BrotliDecompress(&mut &bytes[..], &mut plain).unwrap();
            }
            Coding::Gzip => {
                flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
            }
        }
        plain
    }

    #[test]
    fn every_coding_and_level_restores_the_bytes() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(|n| (n % 977).to_le_bytes()).collect();
        for coding in Coding::ALL {
            for level in [Level::Fast, Level::Balanced, Level::Best] {
                for size in [0, 1, 1000, BUFFER, text.len()] {
                    let plain = &text[..size];
                    let mut packed = Vec::new();
                    encode(coding, level, size as u64, &mut &plain[..], &mut packed).unwrap();
                    assert!(decode(coding, &packed) == plain, "{coding:?} {level:?} {size}");
                    assert!(size < 1000 || packed.len() < size, "{coding:?} {level:?} {size}");
                }
            }
        }
    }

    #[test]
    fn window_of_zstd_is_at_most_8_mib() {
        let plain = vec![b'x'; 40 << 20];
        let mut packed = Vec::new();
        encode(Coding::Zstd, Level::Best, 40 << 20, &mut &plain[..], &mut packed).unwrap();
        let mut decoder = zstd::stream::read::Decoder::new(&packed[..]).unwrap();
        decoder.window_log_max(ZSTD_WINDOW_LOG).unwrap();
        assert_eq!(io::copy(&mut decoder, &mut io::sink()).unwrap(), 40 << 20);
    }

    #[test]
    fn errors_of_the_reader_are_reported() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        for coding in Coding::ALL {
            let error = encode(coding, Level::Fast, 10, &mut Broken, &mut io::sink()).unwrap_err();
            assert!(error.to_string().contains("broken"), "{coding:?}: {error}");
        }
    }
}
