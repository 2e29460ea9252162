//! Reads and writes messages in the wire format of protobuf, field by field: decoding them into a
//! struct would add 5 kB for each.

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

/// Adds a string or bytes, in the field of this number, to a message.
pub fn push(message: &mut Vec<u8>, field: u64, content: &[u8]) {
    push_number(message, tag_of(field));
    push_number(message, content.len() as u64);
    message.extend_from_slice(content);
}

/// Adds a number to a message.
fn push_number(message: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return message.push(low);
        }
        message.push(low | 0x80);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let long = vec![7; 300];
        let mut message = Vec::new();
        push(&mut message, 1, b"sha256");
        push(&mut message, 3, &long);
        push(&mut message, 4, b"");
        assert_eq!(message[..8], *b"\x0a\x06sha256");
        assert_eq!(message[8..11], [0x1a, 0xac, 0x02]);
        let mut read = Vec::new();
        fields(&message, &mut |tag, content| {
            read.push((tag, content));
            Some(())
        })
        .unwrap();
        let expected = [(tag_of(1), &b"sha256"[..]), (tag_of(3), &long), (tag_of(4), b"")];
        assert_eq!(read, expected);
    }

    #[test]
    fn numbers_have_seven_bits_in_each_byte() {
        for (value, bytes) in
            [(0, &[0][..]), (0x7f, &[0x7f]), (0x80, &[0x80, 1]), (0x4000, &[0x80, 0x80, 1])]
        {
            let mut written = Vec::new();
            push_number(&mut written, value);
            assert_eq!(written, bytes);
            assert_eq!(number(&written), Some((value, &[][..])));
        }
    }
}
