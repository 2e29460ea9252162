//! Standard Base64 with padding, through the URL-safe form, whose code is needed anyway.

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
    Base64UrlUnpadded::decode_vec(std::str::from_utf8(&text).ok()?).ok().filter(|_| is_padded)
}

#[cfg(test)]
mod tests {
    use base64ct::Base64;

    use super::*;

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
