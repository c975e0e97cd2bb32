//! Field blocks to fields (RFC 7541 §3, §6).

use super::dynamic_table::DynamicTable;
use super::error::CompressionError;
use super::{huffman, integer, static_table};

/// Decodes the field blocks of one peer, in their order.
#[derive(Debug)]
pub struct BlockDecoder {
    table: DynamicTable,
    /// The largest table that the peer may ask for: `SETTINGS_HEADER_TABLE_SIZE`.
    max_table_size: usize,
}

impl BlockDecoder {
    /// Creates a decoder with an empty table of at most `max_table_size` octets. It does not allocate.
    pub const fn new(max_table_size: usize) -> Self {
        Self { table: DynamicTable::new(max_table_size), max_table_size }
    }

    /// Decodes a whole block and passes each field, name and value, to `emit`.
    ///
    /// # Errors
    ///
    /// A [`CompressionError`], or the error of `emit`. No further block can be decoded then.
    pub fn decode<E: From<CompressionError>>(
        &mut self,
        mut block: &[u8],
        mut emit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.update_table_size(&mut block)?;
        let mut scratch = Vec::new();
        while let Some(&first) = block.first() {
            if first & 0x80 != 0 {
                let index = integer::take(&mut block, 7)?;
                let (name, value) = self.field(index)?;
                emit(name, value)?;
                continue;
            }
            let (indexed, bits) = match first {
                0x40.. => (true, 6),
                0x20.. => return Err(CompressionError("a late update of the table size").into()),
                _ => (false, 4),
            };
            self.literal(&mut block, (indexed, bits), &mut scratch, &mut emit)?;
        }
        Ok(())
    }

    /// Applies the updates in front of the fields (§6.3). There are at most two: the smallest maximum
    /// since the last block, and the current one (§4.2).
    fn update_table_size(&mut self, block: &mut &[u8]) -> Result<(), CompressionError> {
        let mut updates = 0;
        while block.first().is_some_and(|first| first & 0xe0 == 0x20) {
            let size = integer::take(block, 5)?;
            updates += 1;
            if size > self.max_table_size || updates > 2 {
                return Err(CompressionError("a table size that is not allowed"));
            }
            self.table.set_max_size(size);
        }
        Ok(())
    }

    /// Takes a literal field (§6.2.1 to §6.2.3).
    fn literal<E: From<CompressionError>>(
        &mut self,
        block: &mut &[u8],
        (indexed, bits): (bool, u32),
        scratch: &mut Vec<u8>,
        emit: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let index = integer::take(block, bits)?;
        scratch.clear();
        if index == 0 {
            take_string(block, scratch)?;
        } else {
            scratch.extend_from_slice(self.field(index)?.0);
        }
        let name = scratch.len();
        take_string(block, scratch)?;
        let (name, value) = scratch.split_at(name);
        emit(name, value)?;
        if indexed {
            self.table.insert(name, value);
        }
        Ok(())
    }

    /// Returns the field at an index of both tables (§2.3.3).
    fn field(&self, index: usize) -> Result<(&[u8], &[u8]), CompressionError> {
        if let Some((name, value)) = static_table::get(index) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let dynamic = index.checked_sub(static_table::LENGTH + 1);
        let field = dynamic.and_then(|index| self.table.get(index));
        field.ok_or(CompressionError("an index that is in no table"))
    }
}

/// Takes a string (§5.2) off the front of `block` and appends it.
fn take_string(block: &mut &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer::take(block, 7)?;
    let split = block.split_at_checked(length);
    let (string, rest) = split.ok_or(CompressionError("a string is longer than its block"))?;
    *block = rest;
    if coded {
        huffman::decode(string, out)
    } else {
        out.extend_from_slice(string);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
