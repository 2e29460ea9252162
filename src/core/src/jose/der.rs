//! The few structures of DER (X.690) that public keys and ECDSA signatures consist of.

/// The tags that are written here.
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const NULL: u8 = 0x05;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// A value with its tag and length.
fn tagged(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len().to_be_bytes();
    let significant = length.iter().position(|byte| *byte != 0).unwrap_or(length.len());
    let length = length.get(significant..).unwrap_or_default();
    let mut written = vec![tag];
    match (length, u8::try_from(length.len())) {
        (&[], _) => written.push(0),
        (&[short @ ..0x80], _) => written.push(short),
        (long, count) => {
            written.push(0x80 | count.unwrap_or_default());
            written.extend_from_slice(long);
        }
    }
    written.extend_from_slice(value);
    written
}

/// `SEQUENCE` of these.
pub(super) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tagged(SEQUENCE, &parts.concat())
}

/// `INTEGER`, from the bytes of an unsigned number.
pub(super) fn unsigned(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let mut value = number.get(zeros..).unwrap_or_default().to_vec();
    // The highest bit is the sign, and zero has a byte.
    if value.first().is_none_or(|first| *first >= 0x80) {
        value.insert(0, 0);
    }
    tagged(INTEGER, &value)
}

/// `AlgorithmIdentifier` (RFC 5280 section 4.1.1.2): an algorithm, and what its parameters are.
pub(super) fn algorithm(identifier: &[u8], parameters: &Parameters<'_>) -> Vec<u8> {
    let parameters = match parameters {
        Parameters::Null => tagged(NULL, &[]),
        Parameters::Curve(curve) => tagged(OBJECT_IDENTIFIER, curve),
        Parameters::Absent => Vec::new(),
    };
    sequence(&[tagged(OBJECT_IDENTIFIER, identifier), parameters])
}

/// The parameters of an algorithm.
pub(super) enum Parameters<'p> {
    Null,
    /// The identifier of an elliptic curve.
    Curve(&'p [u8]),
    Absent,
}

/// `SubjectPublicKeyInfo` (RFC 5280 section 4.1): what kind of key it is, and the key.
pub(super) fn public_key_info(algorithm: Vec<u8>, key: &[u8]) -> Vec<u8> {
    // No bits of the last byte are unused.
    let bits = [&[0], key].concat();
    sequence(&[algorithm, tagged(BIT_STRING, &bits)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_the_shortest_form() {
        for (size, length) in [
            (0, &[0][..]),
            (1, &[1]),
            (0x7f, &[0x7f]),
            (0x80, &[0x81, 0x80]),
            (0xff, &[0x81, 0xff]),
            (0x100, &[0x82, 1, 0]),
            (0x1_0000, &[0x83, 1, 0, 0]),
        ] {
            let written = tagged(INTEGER, &vec![7; size]);
            assert_eq!(written[..=length.len()], [&[INTEGER], length].concat(), "{size}");
            assert_eq!(written.len(), 1 + length.len() + size);
        }
    }

    #[test]
    fn numbers_are_positive_and_minimal() {
        for (number, written) in [
            (&[][..], &[2, 1, 0][..]),
            (&[0], &[2, 1, 0]),
            (&[0, 0, 1], &[2, 1, 1]),
            (&[0x7f], &[2, 1, 0x7f]),
            (&[0x80], &[2, 2, 0, 0x80]),
            (&[0, 0xff, 0], &[2, 3, 0, 0xff, 0]),
        ] {
            assert_eq!(unsigned(number), written, "{number:?}");
        }
    }
}
