//! Classes of bytes that several parts of the grammar share (RFC 9110 §5.5, §5.6).

/// Returns whether a byte belongs to a token, such as a method or a field name (RFC 9110 §5.6.2).
pub(crate) const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// Returns whether a byte may stand in a field value or a chunk extension: visible, space, tab, or
/// beyond ASCII (RFC 9110 §5.5).
pub(crate) const fn is_text(byte: u8) -> bool {
    (byte >= b' ' && byte != DEL) || byte == b'\t'
}

/// The one control byte that is not below the space.
pub(crate) const DEL: u8 = 0x7f;

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < DEL {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};
