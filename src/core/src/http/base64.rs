//! Base64 (RFC 4648): the URL-safe form, which tokens have, and the standard form through it.

use base64ct::{Base64UrlUnpadded, Encoding};

/// Encodes.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = Base64UrlUnpadded::encode_string(bytes).replace('-', "+").replace('_', "/");
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// Decodes the one form that [`encode`] returns.
pub(crate) fn decode(encoded: &[u8]) -> Option<Vec<u8>> {
    let url_safe = |byte: &u8| match byte {
        b'+' => b'-',
        b'/' => b'_',
        b'-' | b'_' => b'?',
        byte => *byte,
    };
    let unpadded = encoded.strip_suffix(b"=").unwrap_or(encoded);
    let unpadded = unpadded.strip_suffix(b"=").unwrap_or(unpadded);
    let text: Vec<u8> = unpadded.iter().map(url_safe).collect();
    let is_padded = encoded.len().is_multiple_of(4);
    decode_url(&text).filter(|_| is_padded)
}

/// Decodes the URL-safe form without padding, of which a text has exactly one: bits that encode
/// nothing must be zero. Unlike that of `base64ct` it takes a time that depends on the text, but a
/// fraction of it.
pub(crate) fn decode_url(text: &[u8]) -> Option<Vec<u8>> {
    // An A encodes zeros.
    let mut padded = text.to_vec();
    padded.resize(text.len().next_multiple_of(4), b'A');
    let (groups, _) = padded.as_chunks::<4>();
    let mut decoded = vec![[0; 3]; groups.len()];
    let mut all = 0;
    for (bytes, [a, b, c, d]) in decoded.iter_mut().zip(groups) {
        let (a, b, c, d) = (sextet(*a), sextet(*b), sextet(*c), sextet(*d));
        all |= a | b | c | d;
        *bytes = [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d];
    }
    let length = text.len().saturating_sub(groups.len());
    let mut decoded = decoded.into_flattened();
    let is_zero = decoded.iter().skip(length).all(|unused| *unused == 0);
    decoded.truncate(length);
    (all != NONE && is_zero && text.len() & 3 != 1).then_some(decoded)
}

/// Whether a byte is in the alphabet of the URL-safe form.
pub(crate) fn is_url_safe(byte: u8) -> bool {
    sextet(byte) != NONE
}

/// What a byte stands for.
#[inline]
fn sextet(byte: u8) -> u8 {
    SEXTETS.get(usize::from(byte)).copied().unwrap_or(NONE)
}

/// What a byte stands for that is not in the alphabet.
const NONE: u8 = 0xff;

/// What each byte stands for.
#[expect(clippy::indexing_slicing, reason = "in a constant")]
static SEXTETS: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut sextets = [NONE; 256];
    let mut sextet = 0;
    while sextet < 64 {
        sextets[alphabet[sextet as usize] as usize] = sextet;
        sextet += 1;
    }
    sextets
};

#[cfg(test)]
mod tests {
    use base64ct::Base64;

    use super::*;

    #[test]
    fn decodes_what_another_decoder_does() {
        let mut texts: Vec<Vec<u8>> = (0..=255).map(|byte| vec![b'Q', byte]).collect();
        // Every byte in every place, and every pair of bits at the end.
        for place in 0..4 {
            texts.extend((0..=255).map(|byte| {
                let mut text = *b"QUFB";
                text[place] = byte;
                text.to_vec()
            }));
        }
        texts.extend((b'A'..=b'Z').map(|last| vec![b'Q', b'U', last]));
        texts.extend((0..=9).map(|length| vec![b'A'; length]));
        texts.push(b"-_-_eyJhbGciOiJFUzI1NiJ9".to_vec());
        for text in texts {
            let expected = std::str::from_utf8(&text).ok();
            let expected = expected.and_then(|text| Base64UrlUnpadded::decode_vec(text).ok());
            assert_eq!(decode_url(&text), expected, "{text:?}");
        }
    }

    #[test]
    fn encodes_and_decodes_as_base64_of_others_and_nothing_else() {
        for length in 0..8 {
            for fill in [0, b'a', 0xfb, 0xff] {
                let bytes = vec![fill; length];
                let text = Base64::encode_string(&bytes);
                assert_eq!(encode(&bytes), text);
                assert_eq!(decode(text.as_bytes()), Some(bytes), "{text}");
            }
        }
        for text in ["YQ", "YQ=", "YQ===", "YR==", "YWI", "YWJj====", "-_==", "Y===", "="] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }
}
