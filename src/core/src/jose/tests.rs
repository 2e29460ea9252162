//! The examples of the RFCs, and tokens and keys that must be rejected.

use base64ct::{Base64UrlUnpadded, Encoding};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::{Value, json};

use super::algorithm::{KeyType, SignatureAlgorithm, ecdsa_to_der};
use super::jwk::{BadKey, PublicKey};
use super::jws::{Header, Token, UnverifiedJwt, read};
use super::key_set::{BadSet, KeySet};
use super::verify::{Signed, Verify, works};

/// The modulus of RFC 7515 appendix A.2.
const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEz\
    P1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5\
    z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxX\
    FvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

/// The token of RFC 7515 appendix A.2.
const RS256: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9\
    leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZ\
    mh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75v\
    RK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPq\
    vhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

/// The token of RFC 7515 appendix A.3.
const ES256: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9\
    leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8IS\
    lSApmWQxfKTUJqPP3-Kg6NU1Q";

fn rsa() -> Value {
    json!({"kty": "RSA", "n": N, "e": "AQAB"})
}

/// The key of RFC 7515 appendix A.3.
fn p256() -> Value {
    json!({"kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
}

/// The key of RFC 8037 appendix A.2.
fn ed25519() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
}

fn key(jwk: &Value) -> Result<PublicKey, BadKey> {
    PublicKey::of_jwk(jwk.as_object().unwrap())
}

/// `jwk` with other members.
fn with(mut jwk: Value, members: &Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

fn set(keys: &[Value]) -> Result<KeySet, BadSet> {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
}

fn encode(text: impl AsRef<[u8]>) -> String {
    Base64UrlUnpadded::encode_string(text.as_ref())
}

/// A token of these parts, whose signature is of one byte.
fn token(header: &str, payload: &str) -> String {
    format!("{}.{}.AA", encode(header), encode(payload))
}

/// What a token that looks like a signed JWT says.
fn jwt(token: &str) -> Option<UnverifiedJwt<'_>> {
    match read(token) {
        Token::Jwt(jwt) => Some(jwt),
        Token::Opaque | Token::Malformed => None,
    }
}

/// The header of a token that could be verified.
fn header(token: &str) -> Option<Header> {
    let jwt = jwt(token)?;
    jwt.signed()?;
    jwt.header
}

/// The issuer that a token claims to have.
fn claimed_issuer(token: &str) -> Option<String> {
    jwt(token)?.issuer().map(str::to_owned)
}

#[test]
fn the_examples_of_the_rfcs_verify() {
    let table: [(&str, Value, &dyn VerificationAlgorithm); 2] = [
        (RS256, rsa(), &signature::RSA_PKCS1_2048_8192_SHA256),
        (ES256, p256(), &signature::ECDSA_P256_SHA256_FIXED),
    ];
    for (token, jwk, library) in table {
        let jwt = jwt(token).unwrap();
        let key = key(&jwk).unwrap();
        let (input, signature) = jwt.signed().unwrap();
        assert!(key.fits(header(token).unwrap().algorithm.unwrap(), signature));
        assert_eq!(jwt.claims["iss"], "joe");
        assert_eq!(claimed_issuer(token).as_deref(), Some("joe"));
        let point = UnparsedPublicKey::new(library, key.subject_public_key());
        point.verify(input, signature).expect("valid");
        let mut altered = signature.to_vec();
        altered[0] ^= 1;
        point.verify(input, &altered).expect_err("altered");
    }
    // Its payload is no JSON, so the token is no JWT.
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM\
        0KAg";
    let signature = Base64UrlUnpadded::decode_vec(signature).unwrap();
    let input = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let key = key(&ed25519()).unwrap();
    assert!(key.fits(SignatureAlgorithm::EdDsa, &signature));
    UnparsedPublicKey::new(&signature::ED25519, key.subject_public_key())
        .verify(input.as_bytes(), &signature)
        .expect("valid");
}

/// What RFC 7520 section 4 signs, encoded.
const QUOTE: &str = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0\
    ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcg\
    d2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4";

#[test]
fn rs_7518_01_the_examples_of_rfc_7520_verify_where_their_algorithm_is_supported() {
    let modulus = "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQ\
        Hz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7T\
        pe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUF\
        AKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw";
    let id = "bilbo.baggins@hobbiton.example";
    let jwk = json!({"kty": "RSA", "kid": id, "use": "sig", "n": modulus, "e": "AQAB"});
    // Section 4.1. The payload is no JSON, so it is not a JWT.
    let header = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9";
    let signature = "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996iv\
        p83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt\
        5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0K\
        LUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg";
    let signature = Base64UrlUnpadded::decode_vec(signature).unwrap();
    let key = key(&jwk).unwrap();
    let text = format!("{header}.{QUOTE}");
    let algorithm = SignatureAlgorithm::Rs256;
    assert!(key.fits(algorithm, &signature));
    assert_eq!(VERIFY(algorithm, &key, text.as_bytes(), &signature), Ok(true));
    assert_eq!(VERIFY(algorithm, &key, header.as_bytes(), &signature), Ok(false));
    assert_eq!(set(&[jwk]).unwrap().candidates(Some(id), algorithm).count(), 1);
    // Sections 4.2, 4.3 and 4.4, of which nothing is supported.
    for name in ["PS384", "ES512", "HS256"] {
        assert_eq!(SignatureAlgorithm::of_name(name), None);
    }
    let p521 = json!({"kty": "EC", "kid": id, "use": "sig", "crv": "P-521",
        "x": "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt",
        "y": "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1"});
    let secret = json!({"kty": "oct", "use": "sig", "alg": "HS256",
        "k": "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg"});
    assert_eq!(set(&[p521, secret]), Err(BadSet::NoUsableKey));
}

/// Verifies as the dynamic module does.
const VERIFY: Verify = |algorithm, key, text, signature| {
    let library: &dyn VerificationAlgorithm = match algorithm {
        SignatureAlgorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        SignatureAlgorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        other => panic!("{other:?} is not in the examples"),
    };
    Ok(UnparsedPublicKey::new(library, key.subject_public_key()).verify(text, signature).is_ok())
};

/// Whether a token is signed by a key of a set.
fn is_signed(token: &str, keys: &[Value]) -> bool {
    let set = set(keys).unwrap();
    jwt(token).is_some_and(|jwt| matches!(set.signer(&jwt, VERIFY), Ok(Signed::By(_))))
}

/// The cases of Wycheproof's vectors for JWS, with the examples of RFC 7515.
#[test]
fn rs_7515_01_rs_7515_02_a_token_is_signed_by_the_key_that_its_issuer_has_or_by_none() {
    // Appendices A.1 and A.5: an HMAC, and no signature.
    let payload = RS256.split('.').nth(1).unwrap();
    let by_mac = format!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{payload}.\
         dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    let secret =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let secret = json!({"kty": "oct", "k": secret});
    assert!(!is_signed(&by_mac, &[secret, rsa()]));
    assert!(!is_signed(&format!("eyJhbGciOiJub25lIn0.{payload}."), &[rsa(), p256()]));
    for (token, jwk, other) in [(RS256, rsa(), p256()), (ES256, p256(), rsa())] {
        let [head, payload, signature] =
            <[&str; 3]>::try_from(token.split('.').collect::<Vec<_>>()).unwrap();
        let algorithm = header(token).unwrap().algorithm.unwrap();
        let keys = |members: Value| [with(jwk.clone(), &members), other.clone()];
        for (name, is_usable, keys) in [
            ("alone", true, keys(json!({}))),
            ("for this algorithm", true, keys(json!({"alg": algorithm.name(), "use": "sig"}))),
            ("with an identifier", true, keys(json!({"kid": "a", "key_ops": ["verify"]}))),
            ("for another algorithm", false, keys(json!({"alg": "RS384"}))),
            ("for no algorithm", false, keys(json!({"alg": "none"}))),
            ("to encrypt", false, keys(json!({"use": "enc"}))),
            ("to sign", false, keys(json!({"key_ops": ["sign"]}))),
            ("private", false, keys(json!({"d": "AQAB"}))),
            ("private, by its factors", false, keys(json!({"p": "AQAB", "q": "AQAB"}))),
            ("another", false, [other.clone(), other.clone()]),
        ] {
            assert_eq!(is_signed(token, &keys), is_usable, "{algorithm:?}: a key {name}");
        }
        let keys = keys(json!({}));
        let altered = |part: &str| {
            let first = if part.starts_with('A') { 'B' } else { 'A' };
            format!("{first}{}", part.get(1..).unwrap())
        };
        let renamed = |to: &str| encode(json!({"alg": to}).to_string());
        for forged in [
            format!("{head}.{payload}.{}", altered(signature)),
            format!("{head}.{payload}.{}", signature.get(4..).unwrap()),
            format!("{head}.{payload}.AAAA{signature}"),
            format!("{head}.{payload}."),
            format!("{head}.{payload}"),
            format!("{head}.{}.{signature}", encode(r#"{"iss":"eve"}"#)),
            format!("{head}..{signature}"),
            format!("{head}.{signature}"),
            format!(
                "{}.{payload}.{signature}",
                encode(json!({"alg": algorithm.name()}).to_string() + " ")
            ),
            format!("{}.{payload}.{signature}", renamed("none")),
            format!("{}.{payload}.", renamed("none")),
            format!("{}.{payload}.{signature}", renamed("HS256")),
            format!("{}.{payload}.{signature}", renamed("ES256K")),
            format!(".{payload}.{signature}"),
            format!("{payload}.{signature}"),
            format!(".{payload}."),
            payload.to_owned(),
            String::new(),
            format!("{head}.{payload}.{signature}."),
            format!("{head}.{payload}.{signature}.AAAA"),
            json!({"protected": head, "payload": payload, "signature": signature}).to_string(),
        ] {
            assert!(!is_signed(&forged, &keys), "{forged}");
        }
    }
}

#[test]
fn a_host_that_verifies_everything_or_nothing_does_not_verify() {
    assert!(works(VERIFY));
    assert!(!works(|_, _, _, _| Ok(true)));
    assert!(!works(|_, _, _, _| Ok(false)));
    assert!(!works(|_, _, _, _| Err(super::verify::VerifyError::Failed)));
}

#[test]
fn a_signature_in_der_is_the_same() {
    let jwt = jwt(ES256).unwrap();
    let (input, signature) = jwt.signed().unwrap();
    let point = key(&p256()).unwrap();
    let library = &signature::ECDSA_P256_SHA256_ASN1;
    UnparsedPublicKey::new(library, point.subject_public_key())
        .verify(input, &ecdsa_to_der(signature))
        .expect("valid");
}

#[test]
fn a_key_is_written_as_a_subject_public_key_info() {
    let key = key(&ed25519()).unwrap();
    let info = "MCowBQYDK2VwAyEA11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    assert_eq!(encode(key.subject_public_key_info()), info);
    let info = encode(super::tests::key(&p256()).unwrap().subject_public_key_info());
    assert!(info.starts_with("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"), "{info}");
    let info = encode(super::tests::key(&rsa()).unwrap().subject_public_key_info());
    assert!(info.starts_with("MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA"), "{info}");
    assert!(info.ends_with("uXpoQIDAQAB"), "{info}");
}

#[test]
fn keys_that_are_weak_malformed_or_of_another_kind_are_rejected() {
    let coordinate = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    let modulus = |bytes: &[u8]| with(rsa(), &json!({"n": encode(bytes)}));
    let sized = |bytes: usize| modulus(&[&[0x80], &*vec![1; bytes - 1]].concat());
    assert!(key(&sized(256)).is_ok());
    assert!(key(&sized(1024)).is_ok());
    // Leading zeros are not significant.
    assert!(key(&modulus(&[&[0, 0x80], &[1; 255][..]].concat())).is_ok());
    let table = [
        (sized(128), BadKey::Size),
        (sized(255), BadKey::Size),
        (modulus(&[&[0x7f], &[1; 255][..]].concat()), BadKey::Size),
        (modulus(&[&[0, 0, 0x80], &[1; 254][..]].concat()), BadKey::Size),
        (sized(1025), BadKey::Size),
        (modulus(&[&[0x80], &[2; 255][..]].concat()), BadKey::Member("n")),
        (modulus(&[]), BadKey::Member("n")),
        (modulus(&[0; 256]), BadKey::Member("n")),
        (with(rsa(), &json!({"n": null})), BadKey::Member("n")),
        (with(rsa(), &json!({"n": format!("{N}=")})), BadKey::Member("n")),
        (with(rsa(), &json!({"n": format!("{N} ")})), BadKey::Member("n")),
        (with(rsa(), &json!({"e": "AQ"})), BadKey::Member("e")),
        (with(rsa(), &json!({"e": "AA"})), BadKey::Member("e")),
        (with(rsa(), &json!({"e": ""})), BadKey::Member("e")),
        (with(rsa(), &json!({"e": "Ag"})), BadKey::Member("e")),
        (with(rsa(), &json!({"e": encode([1, 0, 0, 0, 1])})), BadKey::Member("e")),
        (with(rsa(), &json!({"e": 65537})), BadKey::Member("e")),
        (with(p256(), &json!({"crv": "P-384"})), BadKey::Member("x")),
        (with(p256(), &json!({"crv": "P-521"})), BadKey::Unsupported),
        (with(p256(), &json!({"crv": "secp256k1"})), BadKey::Unsupported),
        (with(p256(), &json!({"crv": "p-256"})), BadKey::Unsupported),
        (with(p256(), &json!({"y": ""})), BadKey::Member("y")),
        // One of these trailing bits is not zero.
        (with(p256(), &json!({"x": coordinate.replace("VEU", "VEV")})), BadKey::Member("x")),
        (with(p256(), &json!({"x": encode([1; 31])})), BadKey::Member("x")),
        (with(p256(), &json!({"x": encode([1; 33])})), BadKey::Member("x")),
        (with(ed25519(), &json!({"x": encode([1; 31])})), BadKey::Member("x")),
        (with(ed25519(), &json!({"crv": "X25519"})), BadKey::Unsupported),
        (json!({"kty": "oct", "k": "c2VjcmV0"}), BadKey::Unsupported),
        (json!({"kty": "rsa", "n": N, "e": "AQAB"}), BadKey::Unsupported),
        (json!({"n": N, "e": "AQAB"}), BadKey::Member("kty")),
    ];
    for (jwk, why) in table {
        assert_eq!(key(&jwk), Err(why), "{jwk}");
    }
}

#[test]
fn a_key_verifies_its_own_algorithms_and_sizes_only() {
    let types = [
        (rsa(), KeyType::Rsa, 256),
        (p256(), KeyType::P256, 64),
        (ed25519(), KeyType::Ed25519, 64),
    ];
    for (jwk, key_type, size) in types {
        let key = key(&jwk).unwrap();
        assert_eq!(key.key_type(), key_type);
        for algorithm in SignatureAlgorithm::ALL {
            let is_own = algorithm.key_type() == key_type;
            assert_eq!(key.fits(algorithm, &vec![1; size]), is_own, "{algorithm:?}");
            for other in [0, size - 1, size + 1, 2 * size] {
                assert!(!key.fits(algorithm, &vec![1; other]), "{algorithm:?} {other}");
            }
        }
    }
}

#[test]
fn a_set_has_the_keys_that_verify() {
    let named = |jwk: Value, id: &str| with(jwk, &json!({"kid": id}));
    let keys = [
        named(rsa(), "a"),
        with(named(rsa(), "b"), &json!({"alg": "RS512", "use": "sig"})),
        with(named(rsa(), "c"), &json!({"use": "enc"})),
        with(named(rsa(), "d"), &json!({"key_ops": ["encrypt"]})),
        with(named(rsa(), "e"), &json!({"key_ops": ["verify"]})),
        with(named(rsa(), "f"), &json!({"alg": "RSA-OAEP"})),
        with(named(rsa(), "g"), &json!({"alg": "ES256"})),
        with(named(rsa(), "h"), &json!({"use": 1})),
        with(named(rsa(), "i"), &json!({"kid": 1})),
        with(named(rsa(), "j"), &json!({"key_ops": "verify"})),
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "k"}),
        named(p256(), "a"),
        p256(),
    ];
    let set = set(&keys).unwrap();
    let found = |id: Option<&str>, algorithm| set.candidates(id, algorithm).count();
    assert_eq!(found(Some("a"), SignatureAlgorithm::Rs256), 1);
    assert_eq!(found(Some("a"), SignatureAlgorithm::Es256), 1);
    assert_eq!(found(Some("a"), SignatureAlgorithm::Es384), 0);
    assert_eq!(found(Some("b"), SignatureAlgorithm::Rs256), 0);
    assert_eq!(found(Some("b"), SignatureAlgorithm::Rs512), 1);
    assert_eq!(found(Some("e"), SignatureAlgorithm::Ps256), 1);
    assert_eq!(found(None, SignatureAlgorithm::Rs256), 2);
    assert_eq!(found(None, SignatureAlgorithm::Es256), 2);
    for id in ["c", "d", "f", "g", "h", "i", "j", "k", "A", ""] {
        assert!(!set.knows(id), "{id}");
        assert_eq!(found(Some(id), SignatureAlgorithm::Rs256), 0, "{id}");
    }
}

#[test]
fn a_key_is_in_a_set_if_all_of_it_is() {
    let first = |keys: &[Value]| {
        let set = set(keys).unwrap();
        set.candidates(None, SignatureAlgorithm::Es256).next().cloned().unwrap()
    };
    let (named, other) = (with(p256(), &json!({"kid": "a"})), with(p256(), &json!({"kid": "b"})));
    let set = set(&[rsa(), named.clone()]).unwrap();
    assert!(set.has(&first(&[named])));
    assert!(!set.has(&first(&[other])));
}

#[test]
fn a_signature_is_tried_with_five_keys() {
    let keys: Vec<Value> = (0..9).map(|_| p256()).collect();
    assert_eq!(set(&keys).unwrap().candidates(None, SignatureAlgorithm::Es256).count(), 5);
}

#[test]
fn a_set_without_a_key_that_verifies_is_none() {
    let parse = |text: &str| KeySet::parse(text.as_bytes());
    for text in ["", "[]", "{}", r#"{"keys": {}}"#, r#"{"keys": [1]}"#, r#"{"keys": []} x"#] {
        assert_eq!(parse(text), Err(BadSet::Malformed), "{text}");
    }
    let twice = format!(r#"{{"keys": [], "keys": [{}]}}"#, rsa());
    assert_eq!(parse(&twice), Err(BadSet::Malformed));
    let member_twice = rsa().to_string().replace(r#""kty""#, r#""kty": "EC", "kty""#);
    assert_eq!(parse(&format!(r#"{{"keys": [{member_twice}]}}"#)), Err(BadSet::Malformed));
    assert_eq!(parse(r#"{"keys": []}"#), Err(BadSet::NoUsableKey));
    assert_eq!(set(&[with(rsa(), &json!({"use": "enc"}))]), Err(BadSet::NoUsableKey));
    assert_eq!(set(&vec![p256(); 100]).map(|_| ()), Ok(()));
    assert_eq!(set(&vec![p256(); 101]), Err(BadSet::TooManyKeys));
    let padded = |size: usize| {
        let text = json!({"keys": [p256()]}).to_string();
        format!("{text}{}", " ".repeat(size - text.len()))
    };
    assert_eq!(parse(&padded(256 * 1024)).map(|_| ()), Ok(()));
    assert_eq!(parse(&padded(256 * 1024 + 1)), Err(BadSet::TooLarge));
}

#[test]
fn what_is_no_signed_jwt_is_malformed() {
    let [head, payload, signature] =
        <[&str; 3]>::try_from(ES256.split('.').collect::<Vec<_>>()).unwrap();
    let table = [
        String::new(),
        "..".to_owned(),
        format!("{head}.{payload}"),
        format!("{head}.{payload}.{signature}."),
        format!("{head}.{payload}.{signature}.a.b"),
        format!("{head}.{payload}.{signature}="),
        format!("{head}=.{payload}.{signature}"),
        format!("{head}.{payload}==.{signature}"),
        format!(" {head}.{payload}.{signature}"),
        format!("{head}.{payload}.{signature}\n"),
        format!("{head}.{payload}.{}", signature.replace('-', "+")),
        // Its last bits are not zero.
        format!("{head}.{payload}.{}", signature.replace("NU1Q", "NU1R")),
        token("[]", "{}"),
        token("", "{}"),
        token("{}", "{}"),
        token(r#"{"alg": 1}"#, "{}"),
        token(r#"{"alg": null}"#, "{}"),
        token(r#"{"alg": ["RS256"]}"#, "{}"),
        token(r#"{"alg": "RS256", "alg": "RS256"}"#, "{}"),
        token(r#"{"alg": "none", "alg": "RS256"}"#, "{}"),
        token(r#"{"alg": "RS256", "crit": []}"#, "{}"),
        token(r#"{"alg": "RS256", "crit": ["exp"], "exp": 1}"#, "{}"),
        token(r#"{"alg": "RS256", "crit": ["b64"], "b64": false}"#, "{}"),
        token(r#"{"alg": "RS256", "crit": null}"#, "{}"),
        token(r#"{"alg": "RS256", "kid": 1}"#, "{}"),
        token(r#"{"alg": "RS256", "kid": null}"#, "{}"),
        token(r#"{"alg": "RS256", "typ": ["at+jwt"]}"#, "{}"),
        token(r#"{"alg": "RS256"} {}"#, "{}"),
        token(r#"{"alg": "RS256"}"#, "[]"),
        token(r#"{"alg": "RS256"}"#, r#"{"sub": "a", "sub": "b"}"#),
        token(r#"{"alg": "RS256"}"#, r#"{"sub": "a"}}"#),
        token(r#"{"alg": "RS256"}"#, "{\"sub\": \"\u{0}\"}"),
    ];
    for token in table {
        assert_eq!(header(&token), None, "{token}");
    }
    let not_utf_8 =
        format!("{}.{}.AA", encode(r#"{"alg": "RS256"}"#), encode(b"{\"a\": \"\xff\"}"));
    assert_eq!(header(&not_utf_8), None);
}

#[test]
fn no_other_algorithm_is_one() {
    for name in ["none", "None", "NONE", "", "HS256", "rs256", "RS256 ", "RS1", "ES256K", "ES512"] {
        let token = token(&json!({"alg": name}).to_string(), "{}");
        assert_eq!(header(&token).unwrap().algorithm, None, "{name}");
    }
    for algorithm in SignatureAlgorithm::ALL {
        let token = token(&json!({"alg": algorithm.name()}).to_string(), "{}");
        let parsed = header(&token).unwrap().algorithm;
        assert_eq!(parsed, Some(algorithm));
    }
}

#[test]
fn types_are_compared_without_prefix_and_letter_case() {
    let of = |token_type: &str| {
        let token = token(&json!({"alg": "RS256", "typ": token_type}).to_string(), "{}");
        header(&token).unwrap().token_type
    };
    for token_type in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        assert_eq!(of(token_type).as_deref(), Some("at+jwt"), "{token_type}");
    }
    for token_type in ["text/at+jwt", "at+jwt ", "application/application/at+jwt"] {
        assert_ne!(of(token_type).as_deref(), Some("at+jwt"), "{token_type}");
    }
}

#[test]
fn only_what_looks_like_a_signed_jwt_has_an_issuer() {
    let with_issuer = r#"{"iss": "https://as.test"}"#;
    let head = r#"{"alg": "RS256"}"#;
    assert_eq!(claimed_issuer(&token(head, with_issuer)).as_deref(), Some("https://as.test"));
    // It is one of an issuer whatever else is wrong with it.
    let critical = r#"{"alg": "none", "crit": ["x"]}"#;
    assert_eq!(claimed_issuer(&token(critical, with_issuer)).as_deref(), Some("https://as.test"));
    assert_eq!(claimed_issuer(&token("{}", with_issuer)).as_deref(), Some("https://as.test"));
    let twice = r#"{"iss": "https://as.test", "iss": "b"}"#;
    for (token, is_opaque) in [
        (token(head, twice), false),
        (token(r#"{"alg": "RS256", "alg": "RS256"}"#, with_issuer), false),
        (token(head, "no JSON"), false),
        (token("no JSON", with_issuer), true),
        (format!("{}.{0}", token(head, with_issuer)), true),
        ("a.b.c".to_owned(), true),
    ] {
        assert_eq!(matches!(read(&token), Token::Opaque), is_opaque, "{token}");
    }
    for other in [
        "opaque".to_owned(),
        "a.b.c".to_owned(),
        format!("{}.x", token(head, with_issuer)),
        token(head, "{}"),
        token(head, r#"{"iss": ["https://as.test"]}"#),
    ] {
        assert_eq!(claimed_issuer(&other), None, "{other}");
    }
}
