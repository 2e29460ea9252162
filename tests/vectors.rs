//! Signatures of Wycheproof, which verifiers have got wrong, with keys that are read from JWKs.

#[path = "../src/hosts/dynamic-module/src/verify.rs"]
#[allow(clippy::unnecessary_wraps, reason = "other hosts fail")]
mod signatures;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use oauth2_filter_core::{PublicKey, SignatureAlgorithm, Verify, ecdsa_to_der};
use ring::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};
use serde_json::{Value, json};
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

/// One signature.
struct Vector<'v> {
    number: usize,
    text: &'v [u8],
    signature: &'v [u8],
    result: TestResult,
}

/// What verified signatures have been so far.
#[derive(Debug, Default, Eq, PartialEq)]
struct Seen {
    valid: usize,
    invalid: usize,
}

impl Seen {
    /// Verifies the signatures by a key.
    fn check<'v>(
        &mut self,
        verify: Verify,
        algorithm: SignatureAlgorithm,
        jwk: &Value,
        vectors: impl Iterator<Item = Vector<'v>>,
    ) {
        let key = PublicKey::of_jwk(jwk.as_object().expect("an object")).expect("a key");
        for Vector { number, text, signature, result } in vectors {
            let is_valid = key.fits(algorithm, signature)
                && verify(algorithm, &key, text, signature) == Ok(true);
            match result {
                TestResult::Valid => assert!(is_valid, "{algorithm:?} {number}"),
                TestResult::Invalid => assert!(!is_valid, "{algorithm:?} {number}"),
                // Of a parameter that JOSE does not allow.
                TestResult::Acceptable => continue,
            }
            let seen = if is_valid { &mut self.valid } else { &mut self.invalid };
            *seen += 1;
        }
    }
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Value {
    json!({"kty": "RSA", "n": encode(modulus), "e": encode(exponent)})
}

/// The vectors of a group. Each kind of group has a type of its own.
macro_rules! vectors {
    ($group:ident) => {
        $group.tests.iter().map(|test| Vector {
            number: test.tc_id,
            text: &test.msg,
            signature: &test.sig,
            result: test.result,
        })
    };
}

#[test]
fn rs_7518_05_signatures_by_rsa() {
    use rsa_pkcs1_verify::TestName::*;
    for (algorithm, names) in [
        (
            SignatureAlgorithm::Rs256,
            [Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256, Rsa8192Sha256].as_slice(),
        ),
        (SignatureAlgorithm::Rs384, &[Rsa2048Sha384, Rsa3072Sha384, Rsa4096Sha384, Rsa8192Sha384]),
        (SignatureAlgorithm::Rs512, &[Rsa2048Sha512, Rsa3072Sha512, Rsa4096Sha512, Rsa8192Sha512]),
    ] {
        let mut seen = Seen::default();
        for name in names {
            let set = rsa_pkcs1_verify::TestSet::load(*name).expect("a set");
            for group in &set.test_groups {
                let vectors = vectors!(group);
                seen.check(
                    signatures::verify,
                    algorithm,
                    &rsa(&group.key.n, &group.key.e),
                    vectors,
                );
            }
        }
        assert!(seen.valid > 20 && seen.invalid > 500, "{algorithm:?} {seen:?}");
    }
}

#[test]
fn signatures_by_rsa_with_pss() {
    use rsa_pss_verify::TestName::*;
    let mut seen = Seen::default();
    for name in [
        RsaPss2048Sha256Mgf1SaltLen32,
        RsaPss3072Sha256Mgf1SaltLen32,
        RsaPss4096Sha256Mgf1SaltLen32,
    ] {
        let set = rsa_pss_verify::TestSet::load(name).expect("a set");
        for group in &set.test_groups {
            let vectors = vectors!(group);
            seen.check(
                signatures::verify,
                SignatureAlgorithm::Ps256,
                &rsa(&group.key.n, &group.key.e),
                vectors,
            );
        }
    }
    assert!(seen.valid > 100 && seen.invalid > 100, "{seen:?}");
}

#[test]
fn rs_7518_04_signatures_by_ecdsa() {
    use ecdsa::TestName::{EcdsaSecp256r1Sha256P1363, EcdsaSecp384r1Sha384P1363};
    /// As the module verifies them: in DER.
    const IN_DER: Verify = |algorithm, key, text, signature| {
        let library = match algorithm {
            SignatureAlgorithm::Es256 => &ECDSA_P256_SHA256_ASN1,
            _ => &ECDSA_P384_SHA384_ASN1,
        };
        let key = UnparsedPublicKey::new(library, key.subject_public_key());
        Ok(key.verify(text, &ecdsa_to_der(signature)).is_ok())
    };
    for (algorithm, curve, name) in [
        (SignatureAlgorithm::Es256, "P-256", EcdsaSecp256r1Sha256P1363),
        (SignatureAlgorithm::Es384, "P-384", EcdsaSecp384r1Sha384P1363),
    ] {
        let mut seen = Seen::default();
        let set = ecdsa::TestSet::load(name).expect("a set");
        for group in &set.test_groups {
            let (x, y) = group.key.key[1..].split_at((group.key.key.len() - 1) / 2);
            let jwk = json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)});
            let vectors = vectors!(group);
            seen.check(signatures::verify, algorithm, &jwk, vectors.clone());
            seen.check(IN_DER, algorithm, &jwk, vectors);
        }
        assert!(seen.valid > 200 && seen.invalid > 160, "{algorithm:?} {seen:?}");
    }
}

#[test]
fn signatures_by_ed25519() {
    let mut seen = Seen::default();
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("a set");
    for group in &set.test_groups {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(&group.key.pk)});
        let vectors = vectors!(group);
        seen.check(signatures::verify, SignatureAlgorithm::EdDsa, &jwk, vectors);
    }
    assert!(seen.valid > 50 && seen.invalid > 40, "{seen:?}");
}
