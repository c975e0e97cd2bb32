//! Which response matters more: the `priority` field and PRIORITY_UPDATE (RFC 9218).
//!
//! # Limitations
//!
//! The value is not parsed as a whole structured field (RFC 8941): members are found by their commas,
//! so a string with a comma in an unknown member is misread. Invalid values are ignored, as RFC 9218
//! §4 has it. The scheme of RFC 7540, by dependencies and weights, is not supported; RFC 9113 §5.3
//! deprecates it.

/// The priority of a response (RFC 9218 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// 0 is the most urgent, 7 the least.
    pub urgency: u8,
    /// Parts of the response are useful, so it shares the connection with others of its urgency.
    pub incremental: bool,
}

impl Default for Priority {
    fn default() -> Self {
        Self { urgency: 3, incremental: false }
    }
}

impl Priority {
    /// Parses the value of a `priority` field. Parameters that are missing have their defaults.
    pub fn parse(value: &[u8]) -> Self {
        Self::default().updated(value)
    }

    /// Returns the priority with the parameters of `value`, where these are valid.
    pub(super) fn updated(self, value: &[u8]) -> Self {
        let mut priority = self;
        for member in value.split(|byte| *byte == b',') {
            // Parameters of a member are ignored.
            let member = member.split(|byte| *byte == b';').next().unwrap_or_default();
            match member.trim_ascii() {
                [b'u', b'=', urgency @ b'0'..=b'7'] => priority.urgency = urgency - b'0',
                b"i" | b"i=?1" => priority.incremental = true,
                b"i=?0" => priority.incremental = false,
                _ => {}
            }
        }
        priority
    }
}

#[cfg(test)]
mod tests {
    use super::Priority;

    #[test]
    fn parameters_in_any_order_and_invalid_ones() {
        for (value, urgency, incremental) in [
            ("", 3, false),
            ("u=0", 0, false),
            ("u=7, i", 7, true),
            ("i,u=5", 5, true),
            ("i=?0", 3, false),
            ("i=?1;a=b , u=1;x", 1, true),
            ("u=8", 3, false),
            ("u=-1", 3, false),
            ("u=1.0", 3, false),
            ("U=1", 3, false),
            ("i=1", 3, false),
            ("u=2,u=4", 4, false),
            ("unknown=\"x\", u=6", 6, false),
        ] {
            let expected = Priority { urgency, incremental };
            assert_eq!(Priority::parse(value.as_bytes()), expected, "{value}");
        }
    }
}
