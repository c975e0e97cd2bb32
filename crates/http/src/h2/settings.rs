//! Settings (RFC 9113 §6.5, RFC 9218 §2.1).

use super::error::{ConnectionError, ErrorCode};
use super::frame::DEFAULT_MAX_FRAME_SIZE;
use super::limits::{ConnectionLimits, DEFAULT_WINDOW};

/// The largest flow-control window (RFC 9113 §6.9.1).
pub(super) const MAX_WINDOW: i64 = 0x7fff_ffff;
/// The dynamic table of requests. It is the protocol's default, so that no update has to be awaited.
pub(super) const TABLE_SIZE: usize = 4096;

const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;
const NO_RFC7540_PRIORITIES: u16 = 0x9;

/// The settings of the client, as far as they matter to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PeerSettings {
    pub(super) initial_window: u32,
    pub(super) max_frame_size: u32,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self { initial_window: DEFAULT_WINDOW, max_frame_size: DEFAULT_MAX_FRAME_SIZE }
    }
}

impl PeerSettings {
    /// Applies the parameters of a frame, in order. Unknown ones are ignored, and so is the size of
    /// the table, for none is used.
    pub(super) fn apply(&mut self, parameters: &[u8]) -> Result<(), ConnectionError> {
        for parameter in parameters.chunks_exact(6) {
            let [i0, i1, v0, v1, v2, v3] = *parameter else {
                continue;
            };
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            match u16::from_be_bytes([i0, i1]) {
                ENABLE_PUSH | NO_RFC7540_PRIORITIES if value > 1 => {
                    return Err(ConnectionError::protocol("a setting that is neither 0 nor 1"));
                }
                INITIAL_WINDOW_SIZE if i64::from(value) > MAX_WINDOW => {
                    let code = ErrorCode::FLOW_CONTROL_ERROR;
                    return Err(ConnectionError::new(code, "an initial window that is too large"));
                }
                INITIAL_WINDOW_SIZE => self.initial_window = value,
                MAX_FRAME_SIZE if !(DEFAULT_MAX_FRAME_SIZE..1 << 24).contains(&value) => {
                    return Err(ConnectionError::protocol("a frame size that is not allowed"));
                }
                MAX_FRAME_SIZE => self.max_frame_size = value,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Returns the parameters that the server sends.
pub(super) fn own(limits: &ConnectionLimits) -> [(u16, u32); 4] {
    let list = u32::try_from(limits.header_list).unwrap_or(u32::MAX);
    [
        (MAX_CONCURRENT_STREAMS, limits.streams),
        (INITIAL_WINDOW_SIZE, limits.stream_window),
        (MAX_HEADER_LIST_SIZE, list),
        (NO_RFC7540_PRIORITIES, 1),
    ]
}

#[cfg(test)]
mod tests {
    use super::{ErrorCode, PeerSettings};

    fn apply(parameters: &[(u16, u32)]) -> Result<PeerSettings, ErrorCode> {
        let bytes = parameters.iter().flat_map(|(identifier, value)| {
            identifier.to_be_bytes().into_iter().chain(value.to_be_bytes())
        });
        let mut settings = PeerSettings::default();
        settings.apply(&bytes.collect::<Vec<_>>()).map_err(|error| error.code)?;
        Ok(settings)
    }

    #[test]
    fn the_last_value_of_a_setting_counts() {
        let applied = apply(&[(4, 1), (5, 16_384), (4, 2), (5, 0xff_ffff), (0xfefe, 7), (1, 0)]);
        assert_eq!(applied, Ok(PeerSettings { initial_window: 2, max_frame_size: 0xff_ffff }));
    }

    #[test]
    fn values_out_of_range_are_errors() {
        for (parameter, code) in [
            ((2, 2), ErrorCode::PROTOCOL_ERROR),
            ((9, 2), ErrorCode::PROTOCOL_ERROR),
            ((4, 0x8000_0000), ErrorCode::FLOW_CONTROL_ERROR),
            ((5, 16_383), ErrorCode::PROTOCOL_ERROR),
            ((5, 1 << 24), ErrorCode::PROTOCOL_ERROR),
        ] {
            assert_eq!(apply(&[parameter]), Err(code), "{parameter:?}");
        }
        assert!(apply(&[(2, 0), (2, 1), (4, 0x7fff_ffff), (3, 0), (6, 0)]).is_ok());
    }
}
