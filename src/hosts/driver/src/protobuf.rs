//! Reads messages in the wire format of protobuf, field by field: decoding them into a struct would
//! add 5 kB for each.

/// The tag of a string, bytes or a message in the field of this number.
pub const fn tag_of(field: u64) -> u64 {
    field << 3 | 2
}

/// The tag of a number or a boolean in the field of this number.
pub const fn tag_of_number(field: u64) -> u64 {
    field << 3
}

/// Calls `each` with the tags and the contents of the fields of a message: with numbers as they are
/// encoded. `None` if the message is malformed, or `each` wants no more.
pub fn fields<'a>(
    mut message: &'a [u8],
    each: &mut dyn FnMut(u64, &'a [u8]) -> Option<()>,
) -> Option<()> {
    while !message.is_empty() {
        let (tag, rest) = number(message)?;
        // No field has the number 0.
        if tag >> 3 == 0 {
            return None;
        }
        let (start, length) = match tag & 7 {
            0 => (rest, rest.len().checked_sub(number(rest)?.1.len())?),
            1 => (rest, 8),
            2 => {
                let (length, rest) = number(rest)?;
                (rest, length.try_into().ok()?)
            }
            5 => (rest, 4),
            _ => return None,
        };
        let (content, rest) = start.split_at_checked(length)?;
        each(tag, content)?;
        message = rest;
    }
    Some(())
}

/// A number of up to ten bytes, seven bits in each, and what follows it.
pub fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    let mut rest = bytes.iter();
    for shift in (0..64).step_by(7) {
        let byte = rest.next()?;
        number |= u64::from(byte & 0x7f).wrapping_shl(shift);
        if *byte < 0x80 {
            return Some((number, rest.as_slice()));
        }
    }
    None
}
