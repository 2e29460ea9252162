//! Tokens that the filter verifies itself, and those that it must not believe.
//!
//! Where a document has `introspection`, its server calls every token active: a token that must not
//! be introspected would pass.

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use oauth2_filter_core::PublicKey;
use ring::{digest, hmac};
use serde_json::{Value, json};

use super::signing::{Key, encode};
use super::*;

const ISSUER: &str = "https://login.test/tenant";

/// The longest token without `max_token_bytes`.
const MAX_TOKEN: usize = 16 * 1024;

/// Every exchange about them.
pub(super) fn exchanges() -> Vec<Exchange> {
    let keys = Keys::new();
    [
        good(&keys),
        algorithms(&keys),
        headers(&keys),
        encodings(&keys),
        signatures(&keys),
        types(&keys),
        times(&keys),
        audiences(&keys),
        issuers(&keys),
        key_sets(),
        policies(&keys),
        servers(&keys),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One key of each kind: `rsa`, `ec` and `ec384` by their identifiers.
struct Keys {
    rsa: Key,
    ec: Key,
    ec384: Key,
}

impl Keys {
    fn new() -> Self {
        Self { rsa: Key::rsa(), ec: Key::p256(), ec384: Key::p384() }
    }

    fn jwks(&self) -> Value {
        set([self.rsa.jwk("rsa"), self.ec.jwk("ec"), self.ec384.jwk("ec384")])
    }

    /// An entry of `jwt` with these keys, and with these members.
    fn entry(&self, members: Value) -> Value {
        with(json!({"issuer": ISSUER, "audience": "orders", "jwks": self.jwks()}), members)
    }

    /// An exchange with an issuer that has these keys.
    fn exchange(&self, name: &'static str) -> Exchange {
        exchange(name).inbound(json!({"jwt": self.entry(json!({}))}))
    }

    /// A token with these members in its header.
    fn with_header(&self, members: Value) -> String {
        self.ec.sign_json(&header(members).to_string(), &claims(json!({})).to_string())
    }

    /// A token with these claims.
    fn with_claims(&self, members: Value) -> String {
        self.ec.sign("ec", &claims(members))
    }

    /// A token with this payload.
    fn with_payload(&self, payload: impl AsRef<[u8]>) -> String {
        signed(&self.ec, &encode(header(json!({})).to_string()), &encode(payload))
    }
}

/// An object with other members.
fn with(mut object: Value, members: Value) -> Value {
    for (name, value) in members.as_object().expect("an object") {
        object[name] = value.clone();
    }
    object
}

/// An object without a member.
fn without(mut object: Value, member: &str) -> Value {
    object.as_object_mut().expect("an object").remove(member).expect("the member");
    object
}

fn set(keys: impl IntoIterator<Item = Value>) -> Value {
    json!({"keys": keys.into_iter().collect::<Vec<_>>()})
}

/// The header of an access token by the key `ec`.
fn header(members: Value) -> Value {
    with(json!({"alg": "ES256", "typ": "at+jwt", "kid": "ec"}), members)
}

/// Claims that are accepted.
fn claims(members: Value) -> Value {
    let claims = json!({
        "iss": ISSUER, "aud": "orders", "sub": "alice", "exp": seconds_from_now(3600)
    });
    with(claims, members)
}

/// A token of these parts, signed by ES256.
fn signed(key: &Key, header: &str, payload: &str) -> String {
    let text = format!("{header}.{payload}");
    format!("{text}.{}", encode(key.sign_text(key.algorithm(), text.as_bytes())))
}

/// A part of a token: 0 is its header, 1 its payload, 2 its signature.
fn part(token: &str, number: usize) -> &str {
    token.split('.').nth(number).expect("a part")
}

/// A token with another signature.
fn with_signature(token: &str, signature: impl AsRef<[u8]>) -> String {
    format!("{}.{}.{}", part(token, 0), part(token, 1), encode(signature))
}

fn signature(token: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(part(token, 2)).expect("base64url")
}

/// A path, which tells the cases of an exchange apart, a token, and why it is refused.
type Hostile = (&'static str, String, &'static str);

const BAD_SIGNATURE: &str = "oauth2_bad_signature";
const MALFORMED: &str = "oauth2_malformed_token";
const NOT_AN_ACCESS_TOKEN: &str = "oauth2_not_an_access_token";

/// The requests with these tokens are refused, and nobody is asked about them.
fn refuses_all(exchange: Exchange, cases: Vec<Hostile>) -> Exchange {
    let refused = cases.into_iter().fold(exchange, |exchange, (path, token, reason)| {
        exchange.refuses(get(path).bearer(&token), invalid_token(reason))
    });
    refused.calls(0)
}

/// The requests with these tokens pass, and nobody is asked about them.
fn passes_all(exchange: Exchange, cases: Vec<(&'static str, String)>) -> Exchange {
    let passed = cases
        .into_iter()
        .fold(exchange, |exchange, (path, token)| exchange.passes(get(path).bearer(&token)));
    passed.calls(0)
}

fn good(keys: &Keys) -> Vec<Exchange> {
    let by = |key: &Key, algorithm: &str, id: &str| {
        let header = header(json!({"alg": algorithm, "kid": id}));
        key.sign_json(&header.to_string(), &claims(json!({})).to_string())
    };
    let spaced = format!("\n {} \t", header(json!({})));
    // A token of this length. Not every text can be the end of a whole number of bytes, so the
    // header is as long as is needed for that.
    let padded = |length: usize| {
        let [header, payload] = (0..4)
            .find_map(|more| {
                let header = encode(header(json!({"x": "x".repeat(more)})).to_string());
                let room = length - header.len() - "..".len() - encode([0; 64]).len();
                let unpadded = claims(json!({"x": ""})).to_string().len();
                let padding = "x".repeat(room * 3 / 4 - unpadded);
                let payload = encode(claims(json!({"x": padding})).to_string());
                (payload.len() == room).then_some([header, payload])
            })
            .expect("parts of this length");
        let token = signed(&keys.ec, &header, &payload);
        assert_eq!(token.len(), length);
        token
    };
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let deep: Value = serde_json::from_str(&deep).expect("JSON");
    vec![
        passes_all(
            keys.exchange("rs_7518_01 rs_7515_01 rs_9068_02 tokens that are signed by a key of their issuer pass"),
            vec![
                ("/rs256", by(&keys.rsa, "RS256", "rsa")),
                ("/rs384", by(&keys.rsa, "RS384", "rsa")),
                ("/rs512", by(&keys.rsa, "RS512", "rsa")),
                ("/es256", by(&keys.ec, "ES256", "ec")),
                ("/es384", by(&keys.ec384, "ES384", "ec384")),
                ("/no-kid", keys.ec.sign_json(
                    &without(header(json!({})), "kid").to_string(),
                    &claims(json!({})).to_string(),
                )),
                ("/white-space", keys.ec.sign_json(&spaced, &format!(" {} ", claims(json!({}))))),
                ("/typ-in-capitals", keys.with_header(json!({"typ": "AT+JWT"}))),
                ("/typ-with-prefix", keys.with_header(json!({"typ": "application/at+jwt"}))),
                ("/unknown-parameters", keys.with_header(json!({"zip": "DEF", "b64": false, "x": 1}))),
                ("/escapes", keys.with_payload(
                    claims(json!({})).to_string().replace("\"iss\"", r#""\u0069ss""#),
                )),
                ("/unicode", keys.with_claims(json!({"name": "\u{1f600}\u{0}\u{e9}"}))),
                ("/deep", keys.with_claims(json!({"x": deep}))),
                ("/at-the-limit", padded(MAX_TOKEN)),
            ],
        ),
        keys.exchange("a JWT is as long as any other token")
            .refuses(get("/").bearer(&padded(MAX_TOKEN + 1)), token_too_long())
            .calls(0),
    ]
}

fn algorithms(keys: &Keys) -> Vec<Exchange> {
    let named = |algorithm: Value| keys.with_header(json!({"alg": algorithm}));
    let unsigned = |algorithm: Value| {
        let token = named(algorithm);
        format!("{}.{}.", part(&token, 0), part(&token, 1))
    };
    let by_mac = |algorithm: hmac::Algorithm, name: &str, id: &str, secret: &[u8]| {
        let token = keys.with_header(json!({"alg": name, "kid": id}));
        let (text, _) = token.rsplit_once('.').expect("three parts");
        let key = hmac::Key::new(algorithm, secret);
        with_signature(&token, hmac::sign(&key, text.as_bytes()))
    };
    let hs256 = |id: &str, secret: &[u8]| by_mac(hmac::HMAC_SHA256, "HS256", id, secret);
    let (rsa, ec) = (keys.rsa.jwk("rsa"), keys.ec.jwk("ec"));
    let der = |jwk: &Value| {
        let key = PublicKey::of_jwk(jwk.as_object().expect("an object")).expect("a key");
        key.subject_public_key_info().to_vec()
    };
    let pem = |jwk: &Value| {
        let text = BASE64_STANDARD.encode(der(jwk));
        let lines: Vec<_> = text
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    };
    let modulus = rsa["n"].as_str().expect("a modulus");
    let by_rsa = |algorithm: &str, as_if: &str, id: &str| {
        let header = header(json!({"alg": as_if, "kid": id})).to_string();
        let text = format!("{}.{}", encode(header), encode(claims(json!({})).to_string()));
        format!("{text}.{}", encode(keys.rsa.sign_text(algorithm, text.as_bytes())))
    };
    let by_ed25519 = Key::ed25519();
    let mut ed25519 = keys.entry(json!({}));
    ed25519["jwks"]["keys"].as_array_mut().expect("a list").push(by_ed25519.jwk("ed"));
    let eddsa = by_ed25519.sign("ed", &claims(json!({})));
    let ec384 = |algorithm: &str, id: &str| {
        let header = header(json!({"alg": algorithm, "kid": id})).to_string();
        keys.ec384.sign_json(&header, &claims(json!({})).to_string())
    };
    vec![
        refuses_all(
            keys.exchange(
                "rs_7519_01 rs_7515_02 a token without a signature is no token, however it says so",
            ),
            vec![
                ("/none", unsigned(json!("none")), BAD_SIGNATURE),
                ("/None", unsigned(json!("None")), BAD_SIGNATURE),
                ("/NONE", unsigned(json!("NONE")), BAD_SIGNATURE),
                ("/nOnE", unsigned(json!("nOnE")), BAD_SIGNATURE),
                ("/none-with-nul", unsigned(json!("none\u{0}")), BAD_SIGNATURE),
                ("/none-with-space", unsigned(json!(" none")), BAD_SIGNATURE),
                ("/none-but-signed", named(json!("none")), BAD_SIGNATURE),
                ("/empty", unsigned(json!("")), BAD_SIGNATURE),
                ("/null", unsigned(json!(null)), MALFORMED),
                ("/false", unsigned(json!(false)), MALFORMED),
                ("/list", named(json!(["ES256"])), MALFORMED),
                ("/number", named(json!(256)), MALFORMED),
                ("/object", named(json!({"alg": "ES256"})), MALFORMED),
                (
                    "/absent",
                    keys.ec.sign_json(
                        &without(header(json!({})), "alg").to_string(),
                        &claims(json!({})).to_string(),
                    ),
                    MALFORMED,
                ),
                ("/es256-unsigned", unsigned(json!("ES256")), BAD_SIGNATURE),
                ("/rs256-unsigned", unsigned(json!("RS256")), BAD_SIGNATURE),
            ],
        ),
        refuses_all(
            keys.exchange("rs_7518_02 a public key is no secret of an HMAC"),
            vec![
                ("/pem-of-rsa", hs256("rsa", pem(&rsa).as_bytes()), BAD_SIGNATURE),
                (
                    "/pem-without-line-end",
                    hs256("rsa", pem(&rsa).trim_end().as_bytes()),
                    BAD_SIGNATURE,
                ),
                ("/der-of-rsa", hs256("rsa", &der(&rsa)), BAD_SIGNATURE),
                ("/jwk-of-rsa", hs256("rsa", rsa.to_string().as_bytes()), BAD_SIGNATURE),
                (
                    "/modulus",
                    hs256("rsa", &BASE64_URL_SAFE_NO_PAD.decode(modulus).expect("bytes")),
                    BAD_SIGNATURE,
                ),
                ("/modulus-as-text", hs256("rsa", modulus.as_bytes()), BAD_SIGNATURE),
                ("/pem-of-ec", hs256("ec", pem(&ec).as_bytes()), BAD_SIGNATURE),
                ("/der-of-ec", hs256("ec", &der(&ec)), BAD_SIGNATURE),
                (
                    "/x-of-ec",
                    hs256("ec", ec["x"].as_str().expect("text").as_bytes()),
                    BAD_SIGNATURE,
                ),
                ("/empty", hs256("ec", b""), BAD_SIGNATURE),
                (
                    "/hs384",
                    by_mac(hmac::HMAC_SHA384, "HS384", "rsa", pem(&rsa).as_bytes()),
                    BAD_SIGNATURE,
                ),
                (
                    "/hs512",
                    by_mac(hmac::HMAC_SHA512, "HS512", "rsa", pem(&rsa).as_bytes()),
                    BAD_SIGNATURE,
                ),
                ("/as-es256", by_mac(hmac::HMAC_SHA256, "ES256", "ec", &der(&ec)), BAD_SIGNATURE),
            ],
        ),
        refuses_all(
            exchange("rs_7518_03 the key decides on the algorithm, not the token")
                .inbound(json!({ "jwt": ed25519 })),
            vec![
                ("/es256-by-rsa", by_rsa("RS256", "ES256", "rsa"), BAD_SIGNATURE),
                ("/rs256-by-ec", keys.with_header(json!({"alg": "RS256"})), BAD_SIGNATURE),
                (
                    "/rs256-by-another-key",
                    keys.with_header(json!({"alg": "RS256", "kid": "rsa"})),
                    BAD_SIGNATURE,
                ),
                ("/rs512-as-rs256", by_rsa("RS512", "RS256", "rsa"), BAD_SIGNATURE),
                ("/ps256", by_rsa("PS256", "PS256", "rsa"), BAD_SIGNATURE),
                ("/ps256-as-rs256", by_rsa("PS256", "RS256", "rsa"), BAD_SIGNATURE),
                ("/es384-as-es256", ec384("ES256", "ec384"), BAD_SIGNATURE),
                ("/es256-as-es384", keys.with_header(json!({"alg": "ES384"})), BAD_SIGNATURE),
                ("/es512", ec384("ES512", "ec384"), BAD_SIGNATURE),
                ("/es256k", keys.with_header(json!({"alg": "ES256K"})), BAD_SIGNATURE),
                ("/eddsa", eddsa, BAD_SIGNATURE),
                ("/lower-case", keys.with_header(json!({"alg": "es256"})), BAD_SIGNATURE),
                ("/with-space", keys.with_header(json!({"alg": "ES256 "})), BAD_SIGNATURE),
                ("/rs1", by_rsa("RS256", "RS1", "rsa"), BAD_SIGNATURE),
                ("/rsa-oaep", by_rsa("RS256", "RSA-OAEP", "rsa"), BAD_SIGNATURE),
            ],
        ),
        exchange("rs_9068_02 an algorithm that is not listed is not accepted, whatever the key")
            .inbound(json!({"jwt": keys.entry(json!({"algorithms": ["ES256", "RS512"]}))}))
            .passes(get("/es256").bearer(&keys.with_claims(json!({}))))
            .passes(get("/rs512").bearer(&by_rsa("RS512", "RS512", "rsa")))
            .refuses(
                get("/rs256").bearer(&by_rsa("RS256", "RS256", "rsa")),
                invalid_token(BAD_SIGNATURE),
            )
            .refuses(get("/es384").bearer(&ec384("ES384", "ec384")), invalid_token(BAD_SIGNATURE))
            .calls(0),
    ]
}

fn headers(keys: &Keys) -> Vec<Exchange> {
    let evil = Key::p256();
    let by_evil = |members: Value| {
        evil.sign_json(&header(members).to_string(), &claims(json!({})).to_string())
    };
    let no_id = |members: Value| {
        let header = without(header(members), "kid");
        evil.sign_json(&header.to_string(), &claims(json!({})).to_string())
    };
    let ids = |id: Value| keys.with_header(json!({"kid": id}));
    let (url, jwk) = ("https://evil.test/keys", evil.jwk("evil"));
    let thumbprint = encode(digest::digest(&digest::SHA256, b"evil"));
    vec![
        refuses_all(
            keys.exchange("rs_7515_03 what is critical and not understood makes a token invalid"),
            vec![
                ("/exp", keys.with_header(json!({"crit": ["exp"], "exp": 1})), MALFORMED),
                ("/unknown", keys.with_header(json!({"crit": ["x"], "x": true})), MALFORMED),
                ("/b64", keys.with_header(json!({"crit": ["b64"], "b64": false})), MALFORMED),
                ("/b64-true", keys.with_header(json!({"crit": ["b64"], "b64": true})), MALFORMED),
                ("/registered", keys.with_header(json!({"crit": ["alg"]})), MALFORMED),
                ("/empty", keys.with_header(json!({"crit": []})), MALFORMED),
                ("/null", keys.with_header(json!({"crit": null})), MALFORMED),
                ("/text", keys.with_header(json!({"crit": "exp"})), MALFORMED),
            ],
        ),
        refuses_all(
            keys.exchange(
                "rs_7515_04 rs_7515_05 a token that brings its key is as good as one without",
            ),
            vec![
                ("/jwk", by_evil(json!({"jwk": jwk})), BAD_SIGNATURE),
                ("/jwk-of-that-name", by_evil(json!({"jwk": jwk, "kid": "evil"})), BAD_SIGNATURE),
                ("/jwk-without-kid", no_id(json!({"jwk": jwk})), BAD_SIGNATURE),
                ("/jku", by_evil(json!({"jku": url})), BAD_SIGNATURE),
                ("/jku-of-that-name", by_evil(json!({"jku": url, "kid": "evil"})), BAD_SIGNATURE),
                (
                    "/jku-of-the-issuer",
                    by_evil(json!({"jku": format!("{ISSUER}/../evil")})),
                    BAD_SIGNATURE,
                ),
                ("/x5u", by_evil(json!({"x5u": url})), BAD_SIGNATURE),
                ("/x5c", by_evil(json!({"x5c": ["MIIB"]})), BAD_SIGNATURE),
                ("/x5t", by_evil(json!({"x5t#S256": thumbprint})), BAD_SIGNATURE),
                ("/without-kid", no_id(json!({})), BAD_SIGNATURE),
            ],
        ),
        passes_all(
            keys.exchange("rs_7515_04 a key within a token changes nothing for one that is signed"),
            vec![
                ("/jwk", keys.with_header(json!({"jwk": jwk}))),
                ("/jku", keys.with_header(json!({"jku": url, "x5u": url, "x5c": [], "x5t": "a"}))),
            ],
        ),
        refuses_all(
            keys.exchange(
                "rs_7515_06 the identifier of a key is compared, and nothing else is done with it",
            ),
            vec![
                ("/path", ids(json!("../../../../dev/null")), BAD_SIGNATURE),
                ("/url", ids(json!(url)), BAD_SIGNATURE),
                ("/sql", ids(json!("' UNION SELECT 'secret' --")), BAD_SIGNATURE),
                ("/command", ids(json!("ec|id;$(id)`id`")), BAD_SIGNATURE),
                ("/nul", ids(json!("ec\u{0}")), BAD_SIGNATURE),
                ("/line", ids(json!("ec\r\nx-admin: true")), BAD_SIGNATURE),
                ("/long", ids(json!("e".repeat(8 * 1024))), BAD_SIGNATURE),
                ("/empty", ids(json!("")), BAD_SIGNATURE),
                ("/capitals", ids(json!("EC")), BAD_SIGNATURE),
                ("/space", ids(json!("ec ")), BAD_SIGNATURE),
                ("/of-another-curve", ids(json!("ec384")), BAD_SIGNATURE),
                ("/of-another-type", ids(json!("rsa")), BAD_SIGNATURE),
                ("/null", ids(json!(null)), MALFORMED),
                ("/list", ids(json!(["ec"])), MALFORMED),
                ("/number", ids(json!(0)), MALFORMED),
                ("/object", ids(json!({"ec": "ec"})), MALFORMED),
            ],
        ),
    ]
}

fn encodings(keys: &Keys) -> Vec<Exchange> {
    let token = keys.with_claims(json!({}));
    let (head, payload, signature) = (part(&token, 0), part(&token, 1), part(&token, 2));
    let json = claims(json!({})).to_string();
    let with_member =
        |member: &str| keys.with_payload(json.replacen('{', &format!("{{{member},"), 1));
    let with_head_member = |member: &str| {
        let head = header(json!({})).to_string().replacen('{', &format!("{{{member},"), 1);
        keys.ec.sign_json(&head, &json)
    };
    let raw = |payload: &[u8]| keys.with_payload(payload);
    let inserted = |bytes: &[u8]| {
        let rest = &json.as_bytes()[1..];
        keys.with_payload([br#"{"x":""#, bytes, br#"","#, rest].concat())
    };
    // A payload whose encoding has characters that the alphabets of base64 do not share.
    let plus = encode(claims(json!({"x": "~~~~~~???"})).to_string());
    assert!(plus.contains(['-', '_']), "{plus}");
    let plus = plus.replace('-', "+").replace('_', "/");
    // The same with one of the bits set that follow the last byte.
    let loose = |text: &str| {
        let (rest, last) = text.split_at(text.len() - 1);
        assert!(text.len() % 4 == 2 && ["A", "Q", "g", "w"].contains(&last), "{text}");
        format!("{rest}{}", char::from(last.as_bytes()[0] + 1))
    };
    let loose_payload = (0..3)
        .map(|n| encode(claims(json!({"x": "x".repeat(n)})).to_string()))
        .find(|text| text.len() % 4 == 2)
        .map(|text| loose(&text));
    let loose_signature = format!("{head}.{payload}.{}", loose(signature));
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let nested = keys.ec.sign_json(&header(json!({"cty": "JWT"})).to_string(), &token);
    vec![
        refuses_all(
            keys.exchange("rs_7519_02 rs_7515_07 a name that stands twice makes a token malformed"),
            vec![
                ("/alg", with_head_member(r#""alg":"none""#), MALFORMED),
                ("/same-alg", with_head_member(r#""alg":"ES256""#), MALFORMED),
                ("/kid", with_head_member(r#""kid":"x""#), MALFORMED),
                ("/escaped-alg", with_head_member(r#""\u0061lg":"none""#), MALFORMED),
                ("/unknown-parameter", with_head_member(r#""x":1,"x":1"#), MALFORMED),
                ("/iss", with_member(r#""iss":"https://evil.test""#), MALFORMED),
                ("/same-iss", with_member(&format!(r#""iss":"{ISSUER}""#)), MALFORMED),
                ("/exp", with_member(r#""exp":9999999999"#), MALFORMED),
                ("/escaped-aud", with_member(r#""\u0061ud":"orders""#), MALFORMED),
                ("/active", with_member(r#""active":true,"active":false"#), MALFORMED),
                ("/nested", with_member(r#""x":{"a":1,"a":2}"#), MALFORMED),
            ],
        ),
        refuses_all(
            keys.exchange("rs_7515_08 rs_7515_09 only base64url without padding, and without loose bits, is read"),
            vec![
                ("/padded-signature", format!("{token}=="), MALFORMED),
                ("/padded-payload", format!("{head}.{payload}==.{signature}"), MALFORMED),
                ("/padded-header", format!("{head}==.{payload}.{signature}"), MALFORMED),
                ("/plus-and-slash", signed(&keys.ec, head, &plus), MALFORMED),
                ("/plus-in-signature", format!("{head}.{payload}.+{}", &signature[1..]), MALFORMED),
                ("/loose-bits", signed(&keys.ec, head, &loose_payload.expect("a payload")), MALFORMED),
                ("/loose-bits-in-signature", loose_signature, MALFORMED),
                ("/one-character-too-many", format!("{token}AAA"), MALFORMED),
                ("/white-space", format!("{head}.{payload} .{signature}"), MALFORMED),
                ("/tilde", format!("{head}.{payload}~.{signature}"), MALFORMED),
            ],
        ),
        refuses_all(
            keys.exchange("rs_7519_03 a payload that is no JSON object is no JWT"),
            vec![
                ("/empty", raw(b""), MALFORMED),
                ("/detached", format!("{head}..{signature}"), MALFORMED),
                ("/list", raw(format!("[{json}]").as_bytes()), MALFORMED),
                ("/text", raw(json!(json).to_string().as_bytes()), MALFORMED),
                ("/null", raw(b"null"), MALFORMED),
                ("/true", raw(b"true"), MALFORMED),
                ("/number", raw(b"1"), MALFORMED),
                ("/two-objects", raw(format!("{json}{json}").as_bytes()), MALFORMED),
                ("/comma-at-the-end", raw(json.replace('}', ",}").as_bytes()), MALFORMED),
                ("/nul-at-the-end", raw(format!("{json}\0").as_bytes()), MALFORMED),
                ("/comment", raw(format!("/**/{json}").as_bytes()), MALFORMED),
                ("/single-quotes", raw(json.replace('"', "'").as_bytes()), MALFORMED),
                ("/byte-order-mark", raw(format!("\u{feff}{json}").as_bytes()), MALFORMED),
                ("/nested-jwt", nested, MALFORMED),
                ("/compressed", raw(&[0x4b, 0x4c, 0x4a, 0x06, 0x00]), MALFORMED),
                ("/nan", with_member(r#""x":NaN"#), MALFORMED),
                ("/infinity", with_member(r#""x":1e999"#), MALFORMED),
                ("/hexadecimal", with_member(r#""x":0x1"#), MALFORMED),
                ("/octal", with_member(r#""x":01"#), MALFORMED),
                ("/deep", with_member(&format!(r#""x":{deep}"#)), MALFORMED),
                ("/not-utf-8", inserted(b"\xff"), MALFORMED),
                ("/overlong-utf-8", inserted(b"\xc0\xaf"), MALFORMED),
                ("/surrogate-in-utf-8", inserted(b"\xed\xa0\x80"), MALFORMED),
                ("/half-a-surrogate", inserted(br"\ud800"), MALFORMED),
                ("/surrogates-in-disorder", inserted(br"\udc00\ud800"), MALFORMED),
                ("/control-character", inserted(b"\x01"), MALFORMED),
            ],
        ),
        refuses_all(
            keys.exchange("rs_7515_10 a header that is no JSON object after its brace makes a token malformed"),
            vec![
                ("/open", signed(&keys.ec, &encode("{"), payload), MALFORMED),
                ("/two", signed(&keys.ec, &encode("{}{}"), payload), MALFORMED),
                ("/without-members", signed(&keys.ec, &encode("{}"), payload), MALFORMED),
                ("/not-utf-8", signed(&keys.ec, &encode(b"{\"alg\":\"\xff\"}"), payload), MALFORMED),
                ("/white-space-before", signed(&keys.ec, &encode(" \n{"), payload), MALFORMED),
            ],
        ),
        exchange("rs_7515_11 what is no JWS in compact form is none of an issuer's tokens")
            .inbound(json!({"jwt": keys.entry(json!({})), "introspection": false}))
            .refuses(get("/jwe").bearer(&format!("{head}.a.b.c.d")), invalid_token("oauth2_no_server"))
            .refuses(get("/two-parts").bearer(&format!("{head}.{payload}")), invalid_token("oauth2_no_server"))
            .refuses(get("/four-parts").bearer(&format!("{token}.")), invalid_token("oauth2_no_server"))
            .refuses(get("/header-is-a-list").bearer(&signed(&keys.ec, &encode("[]"), payload)), invalid_token("oauth2_no_server"))
            .refuses(get("/header-is-empty").bearer(&format!(".{payload}.{signature}")), invalid_token("oauth2_no_server"))
            .refuses(get("/header-in-base64").bearer(&format!("+{head}.{payload}.{signature}")), invalid_token("oauth2_no_server"))
            .refuses(get("/opaque").bearer("2YotnFZFEjr1zCsicMWpAA"), invalid_token("oauth2_no_server"))
            .refuses(
                get("/json-serialization").header(
                    "authorization",
                    format!("Bearer {}", json!({"payload": payload, "protected": head, "signature": signature})),
                ),
                // Commas separate the values of a header.
 invalid_request("oauth2_repeated_token"),
            ),
    ]
}

fn signatures(keys: &Keys) -> Vec<Exchange> {
    let token = keys.with_claims(json!({}));
    let own = signature(&token);
    let (r, s) = own.split_at(32);
    let number = |bytes: &[u8]| {
        let bytes = [&[0][..], bytes].concat();
        [&[2, u8::try_from(bytes.len()).expect("a short number")][..], &bytes].concat()
    };
    let body = [number(r), number(s)].concat();
    let der = [&[0x30, u8::try_from(body.len()).expect("a short body")][..], &body].concat();
    let zero = [0; 32];
    // The order of P-256.
    let order = [
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63,
        0x25, 0x51,
    ];
    let other = signature(&keys.with_claims(json!({"sub": "bob"})));
    let forged = |claims: Value| {
        let token = keys.with_claims(claims);
        with_signature(&token, &own)
    };
    let flipped = |at: usize| {
        let mut altered = own.clone();
        altered[at] ^= 1;
        with_signature(&token, altered)
    };
    let by_384 = keys.ec384.sign("ec384", &claims(json!({})));
    let long = signature(&by_384);
    let by_rsa = keys.rsa.sign("rsa", &claims(json!({})));
    let rsa = signature(&by_rsa);
    let is = |signature: &[u8]| with_signature(&token, signature);
    vec![
        refuses_all(
            keys.exchange("rs_7518_04 a signature by ECDSA is r and s, each of the whole size"),
            vec![
                ("/empty", is(&[]), BAD_SIGNATURE),
                ("/short", is(&own[..63]), BAD_SIGNATURE),
                ("/long", is(&[&own[..], &[0]].concat()), BAD_SIGNATURE),
                ("/zero-before", is(&[&[0], &own[..]].concat()), BAD_SIGNATURE),
                ("/r-alone", is(r), BAD_SIGNATURE),
                ("/twice", is(&[&own[..], &own].concat()), BAD_SIGNATURE),
                ("/as-for-p-384", is(&[&[0; 16], r, &[0; 16], s].concat()), BAD_SIGNATURE),
                ("/der", is(&der), BAD_SIGNATURE),
                ("/all-zero", is(&[0; 64]), BAD_SIGNATURE),
                ("/r-zero", is(&[&zero, s].concat()), BAD_SIGNATURE),
                ("/s-zero", is(&[r, &zero].concat()), BAD_SIGNATURE),
                ("/r-is-the-order", is(&[&order, s].concat()), BAD_SIGNATURE),
                ("/s-is-the-order", is(&[r, &order].concat()), BAD_SIGNATURE),
                ("/both-are-the-order", is(&[order, order].concat()), BAD_SIGNATURE),
                ("/all-ones", is(&[0xff; 64]), BAD_SIGNATURE),
                ("/swapped", is(&[s, r].concat()), BAD_SIGNATURE),
                ("/bit-in-r", flipped(0), BAD_SIGNATURE),
                ("/bit-in-s", flipped(63), BAD_SIGNATURE),
                ("/p-384-zero", with_signature(&by_384, [0; 96]), BAD_SIGNATURE),
                ("/p-384-short", with_signature(&by_384, &long[..95]), BAD_SIGNATURE),
                ("/p-384-as-for-p-256", with_signature(&by_384, &own), BAD_SIGNATURE),
            ],
        ),
        refuses_all(
            keys.exchange("rs_7519_04 a signature is one of its own token only"),
            vec![
                ("/another-token", is(&other), BAD_SIGNATURE),
                ("/another-subject", forged(json!({"sub": "admin"})), BAD_SIGNATURE),
                ("/another-time", forged(json!({"exp": seconds_from_now(9000)})), BAD_SIGNATURE),
                (
                    "/payload-as-header",
                    {
                        let text = format!(
                            "{}.{}",
                            part(&token, 0),
                            encode(claims(json!({"a": 1})).to_string())
                        );
                        format!("{text}.{}", part(&token, 2))
                    },
                    BAD_SIGNATURE,
                ),
                ("/another-key", Key::p256().sign("ec", &claims(json!({}))), BAD_SIGNATURE),
            ],
        ),
        refuses_all(
            keys.exchange("rs_7518_05 a signature by RSA is of the size of the modulus"),
            vec![
                ("/empty", with_signature(&by_rsa, []), BAD_SIGNATURE),
                ("/short", with_signature(&by_rsa, &rsa[..255]), BAD_SIGNATURE),
                ("/long", with_signature(&by_rsa, [&rsa[..], &[0]].concat()), BAD_SIGNATURE),
                ("/zero-before", with_signature(&by_rsa, [&[0], &rsa[..]].concat()), BAD_SIGNATURE),
                ("/zero", with_signature(&by_rsa, [0; 256]), BAD_SIGNATURE),
                ("/one", with_signature(&by_rsa, [&[0; 255][..], &[1]].concat()), BAD_SIGNATURE),
                ("/all-ones", with_signature(&by_rsa, [0xff; 256]), BAD_SIGNATURE),
                (
                    "/bit",
                    with_signature(&by_rsa, [&[rsa[0] ^ 1], &rsa[1..]].concat()),
                    BAD_SIGNATURE,
                ),
                ("/by-ecdsa", with_signature(&by_rsa, &own), BAD_SIGNATURE),
            ],
        ),
    ]
}

fn types(keys: &Keys) -> Vec<Exchange> {
    let typed = |name: &str| keys.with_header(json!({"typ": name}));
    let untyped = || {
        let header = without(header(json!({})), "typ");
        keys.ec.sign_json(&header.to_string(), &claims(json!({})).to_string())
    };
    let claimed = |members: Value| keys.with_claims(members);
    vec![
        refuses_all(
            keys.exchange(
                "rs_9068_01 rs_7519_05 d5_03 only a token of the type of access tokens is one",
            ),
            vec![
                ("/jwt", typed("JWT"), NOT_AN_ACCESS_TOKEN),
                ("/absent", untyped(), NOT_AN_ACCESS_TOKEN),
                ("/empty", typed(""), NOT_AN_ACCESS_TOKEN),
                ("/id", typed("id+jwt"), NOT_AN_ACCESS_TOKEN),
                ("/refresh", typed("rt+jwt"), NOT_AN_ACCESS_TOKEN),
                ("/logout", typed("logout+jwt"), NOT_AN_ACCESS_TOKEN),
                ("/introspection", typed("token-introspection+jwt"), NOT_AN_ACCESS_TOKEN),
                ("/event", typed("secevent+jwt"), NOT_AN_ACCESS_TOKEN),
                ("/proof", typed("dpop+jwt"), NOT_AN_ACCESS_TOKEN),
                ("/request", typed("oauth-authz-req+jwt"), NOT_AN_ACCESS_TOKEN),
                ("/client-assertion", typed("client-authentication+jwt"), NOT_AN_ACCESS_TOKEN),
                ("/prefix", typed("text/at+jwt"), NOT_AN_ACCESS_TOKEN),
                ("/twice-the-prefix", typed("application/application/at+jwt"), NOT_AN_ACCESS_TOKEN),
                ("/parameter", typed("at+jwt;a=b"), NOT_AN_ACCESS_TOKEN),
                ("/space", typed("at+jwt "), NOT_AN_ACCESS_TOKEN),
                ("/list", keys.with_header(json!({"typ": ["at+jwt"]})), MALFORMED),
                ("/null", keys.with_header(json!({"typ": null})), MALFORMED),
                ("/claim-refresh", claimed(json!({"typ": "Refresh"})), NOT_AN_ACCESS_TOKEN),
                ("/claim-offline", claimed(json!({"typ": "Offline"})), NOT_AN_ACCESS_TOKEN),
                ("/claim-id", claimed(json!({"typ": "ID"})), NOT_AN_ACCESS_TOKEN),
                ("/claim-logout", claimed(json!({"typ": "Logout"})), NOT_AN_ACCESS_TOKEN),
                ("/token-use-id", claimed(json!({"token_use": "id"})), NOT_AN_ACCESS_TOKEN),
                (
                    "/token-use-refresh",
                    claimed(json!({"token_use": "refresh"})),
                    NOT_AN_ACCESS_TOKEN,
                ),
                (
                    "/token-type",
                    claimed(json!({"token_type": "refresh_token"})),
                    NOT_AN_ACCESS_TOKEN,
                ),
                ("/bound", claimed(json!({"cnf": {"jkt": "x"}})), "oauth2_unproved_cnf"),
                (
                    "/bound-by-its-type",
                    claimed(json!({"token_type": "DPoP"})),
                    "oauth2_unproved_cnf",
                ),
                ("/inactive", claimed(json!({"active": false})), "oauth2_inactive"),
                ("/inactive-as-text", claimed(json!({"active": "true"})), "oauth2_inactive"),
                ("/inactive-as-null", claimed(json!({"active": null})), "oauth2_inactive"),
            ],
        ),
        passes_all(
            keys.exchange("rs_9068_01 claims that say what the header says change nothing"),
            vec![
                ("/bearer", claimed(json!({"typ": "Bearer"}))),
                ("/access", claimed(json!({"token_use": "access"}))),
                ("/active", claimed(json!({"active": true}))),
            ],
        ),
        exchange("typ \"JWT\" includes an absent one, and claims separate ID tokens")
            .inbound(json!({"jwt": keys.entry(json!({
                "typ": ["JWT", "application/AT+jwt"], "claims": {"token_use": "access"}
            }))}))
            .passes(get("/jwt").bearer(&keys.ec.sign_json(
                &header(json!({"typ": "jwt"})).to_string(),
                &claims(json!({"token_use": "access"})).to_string(),
            )))
            .passes(get("/absent").bearer(&keys.ec.sign_json(
                &without(header(json!({})), "typ").to_string(),
                &claims(json!({"token_use": "access"})).to_string(),
            )))
            .passes(get("/at").bearer(&claimed(json!({"token_use": "access"}))))
            .refuses(
                get("/without-the-claim").bearer(&typed("JWT")),
                access_denied("oauth2_claim_not_met"),
            )
            .refuses(
                get("/id").bearer(&keys.ec.sign_json(
                    &header(json!({"typ": "JWT"})).to_string(),
                    &claims(json!({"token_use": "id"})).to_string(),
                )),
                access_denied("oauth2_claim_not_met"),
            )
            .refuses(
                get("/logout").bearer(&typed("logout+jwt")),
                invalid_token(NOT_AN_ACCESS_TOKEN),
            )
            .calls(0),
        exchange("token \"id_token\" accepts ID tokens, and no others")
            .inbound(json!({"jwt": keys.entry(json!({"token": "id_token"}))}))
            .passes(get("/jwt").bearer(&typed("JWT")))
            .passes(get("/absent").bearer(&untyped()))
            .passes(get("/id").bearer(&keys.ec.sign_json(
                &header(json!({"typ": "JWT"})).to_string(),
                &claims(json!({"typ": "ID"})).to_string(),
            )))
            .refuses(get("/at").bearer(&claimed(json!({}))), invalid_token(NOT_AN_ACCESS_TOKEN))
            .refuses(
                get("/refresh").bearer(&keys.ec.sign_json(
                    &header(json!({"typ": "JWT"})).to_string(),
                    &claims(json!({"typ": "Refresh"})).to_string(),
                )),
                invalid_token(NOT_AN_ACCESS_TOKEN),
            )
            .calls(0),
    ]
}

fn times(keys: &Keys) -> Vec<Exchange> {
    let ends = |exp: Value| keys.with_claims(json!({ "exp": exp }));
    let begins = |nbf: Value| keys.with_claims(json!({ "nbf": nbf }));
    let endless = keys.ec.sign("ec", &without(claims(json!({})), "exp"));
    let (expired, early) = ("oauth2_expired", "oauth2_not_yet_valid");
    vec![
        refuses_all(
            keys.exchange("rs_7519_06 rs_7519_07 rs_9068_03 a token has a time at which it ends, and is not accepted from then on"),
            vec![
                ("/absent", endless, MALFORMED),
                ("/null", ends(json!(null)), MALFORMED),
                ("/past", ends(json!(seconds_from_now(-1))), expired),
                ("/now", ends(json!(seconds_from_now(0))), expired),
                ("/zero", ends(json!(0)), expired),
                ("/negative", ends(json!(-1)), expired),
                ("/very-negative", ends(json!(-1e300)), expired),
                ("/fraction-of-the-past", ends(json!(0.5)), expired),
                ("/word", ends(json!("never")), expired),
                ("/empty-text", ends(json!("")), expired),
                ("/date", ends(json!("2999-01-01T00:00:00Z")), expired),
                ("/list", ends(json!([seconds_from_now(600)])), expired),
                ("/true", ends(json!(true)), expired),
                ("/object", ends(json!({})), expired),
                ("/nbf-in-the-future", begins(json!(seconds_from_now(600))), early),
                ("/nbf-is-a-word", begins(json!("now")), early),
                ("/nbf-is-a-list", begins(json!([0])), early),
                ("/nbf-is-huge", begins(json!(1e300)), early),
            ],
        ),
        passes_all(
            keys.exchange("rs_7519_06 times are numbers of seconds, of any size"),
            vec![
                ("/fraction", ends(json!(9_999_999_999.5))),
                ("/digits", ends(json!("9999999999"))),
                ("/huge", ends(json!(1e300))),
                ("/large", ends(json!(u64::MAX))),
                ("/nbf-past", begins(json!(0))),
                ("/nbf-null", begins(json!(null))),
                ("/nbf-within-the-tolerance", begins(json!(seconds_from_now(3)))),
            ],
        ),
        exchange("each entry has a clock_skew of its own")
            .inbound(json!({
                "clock_skew": "1h",
                "jwt": [
                    keys.entry(json!({"clock_skew": "0s"})),
                    keys.entry(json!({"issuer": "https://late.test", "clock_skew": "10m"})),
                    keys.entry(json!({"issuer": "https://other.test"})),
                ]
            }))
            .refuses(get("/late").bearer(&ends(json!(seconds_from_now(-60)))), invalid_token(expired))
            .refuses(get("/early").bearer(&begins(json!(seconds_from_now(60)))), invalid_token(early))
            .passes(get("/late").bearer(&keys.with_claims(
                json!({"iss": "https://late.test", "exp": seconds_from_now(-60)}),
            )))
            .refuses(
                get("/too-late").bearer(&keys.with_claims(
                    json!({"iss": "https://late.test", "exp": seconds_from_now(-660)}),
                )),
                invalid_token(expired),
            )
            .passes(get("/as-in-inbound").bearer(&keys.with_claims(
                json!({"iss": "https://other.test", "exp": seconds_from_now(-1800)}),
            )))
            .calls(0),
    ]
}

fn audiences(keys: &Keys) -> Vec<Exchange> {
    let of = |audience: Value| keys.with_claims(json!({ "aud": audience }));
    let wrong = "oauth2_wrong_audience";
    vec![
        refuses_all(
            keys.exchange("rs_7519_08 rs_9068_02 a token is for one of the audiences, which are compared as text"),
            vec![
                ("/other", of(json!("payments")), wrong),
                ("/absent", keys.ec.sign("ec", &without(claims(json!({})), "aud")), wrong),
                ("/null", of(json!(null)), wrong),
                ("/empty", of(json!("")), wrong),
                ("/empty-list", of(json!([])), wrong),
                ("/others", of(json!(["payments", "shop"])), wrong),
                ("/list-in-a-list", of(json!([["orders"]])), wrong),
                ("/object", of(json!({"orders": "orders"})), wrong),
                ("/number", of(json!(1)), wrong),
                ("/true", of(json!(true)), wrong),
                ("/capitals", of(json!("Orders")), wrong),
                ("/longer", of(json!("orders/")), wrong),
                ("/shorter", of(json!("order")), wrong),
                ("/words", of(json!("shop orders")), wrong),
                ("/asterisk", of(json!("*")), wrong),
            ],
        ),
        passes_all(
            keys.exchange("rs_7519_08 one of the audiences of a token is enough"),
            vec![
                ("/list", of(json!(["payments", "orders"]))),
                ("/list-of-one", of(json!(["orders"]))),
            ],
        ),
        exchange("any audience is accepted only with claims that are required")
            .inbound(json!({"jwt": keys.entry(json!({
                "audience": "*", "claims": {"client_id": ["shop", "app"], "token_use": "access"}
            }))}))
            .passes(get("/").bearer(&keys.ec.sign("ec", &without(
                claims(json!({"client_id": "shop", "token_use": "access"})), "aud",
            ))))
            .refuses(
                get("/other-client").bearer(&keys.with_claims(json!({"client_id": "x", "token_use": "access"}))),
                access_denied("oauth2_claim_not_met"),
            )
            .refuses(
                get("/id").bearer(&keys.with_claims(json!({"client_id": "shop", "token_use": "id"}))),
                access_denied("oauth2_claim_not_met"),
            )
            .refuses(get("/without").bearer(&keys.with_claims(json!({}))), access_denied("oauth2_claim_not_met"))
            .calls(0),
    ]
}

fn issuers(keys: &Keys) -> Vec<Exchange> {
    let of = |issuer: Value| keys.with_claims(json!({ "iss": issuer }));
    let others = [
        ("/slash", of(json!(format!("{ISSUER}/")))),
        ("/capitals", of(json!("https://LOGIN.test/tenant"))),
        ("/prefix", of(json!("https://login.test/tenant2"))),
        ("/shorter", of(json!("https://login.test/"))),
        ("/port", of(json!("https://login.test:443/tenant"))),
        ("/dots", of(json!("https://login.test/a/../tenant"))),
        ("/space", of(json!(format!("{ISSUER} ")))),
        ("/nul", of(json!(format!("{ISSUER}\0")))),
        ("/list", of(json!([ISSUER]))),
        ("/object", of(json!({"iss": ISSUER}))),
        ("/number", of(json!(1))),
        ("/null", of(json!(null))),
        ("/absent", keys.ec.sign("ec", &without(claims(json!({})), "iss"))),
    ];
    let none = exchange("rs_7519_09 rs_9068_02 an issuer is compared byte for byte, and a token of no issuer is refused")
        .inbound(json!({"jwt": keys.entry(json!({})), "introspection": false}));
    let none = others.iter().fold(none, |exchange, (path, token)| {
        exchange.refuses(get(path).bearer(token), invalid_token("oauth2_no_server"))
    });
    let asked = keys.exchange("a JWT of another issuer is introspected");
    let asked = others.iter().enumerate().fold(asked, |exchange, (n, (path, token))| {
        exchange.passes(get(path).bearer(token)).calls(n + 1)
    });
    vec![none.passes(get("/own").bearer(&keys.with_claims(json!({})))), asked]
}

/// A key of 1024 bits, and a token that it has signed, which ends in 2100.
const SMALL_MODULUS: &str = "p2r3mtwPfSvvs9r2mRGTXooIsYIVj5rB1EV4W9JUlamoKhxA6zEkX_BBY5M6eC2IUno4Oup6I54vQo7AzN-AJratBTAXt-OBtmBuZamZ3xArtYXrKPfmMv6UNkcRBMvtlboaSlTjNscRHo7R3O_oyR8yyMXLBkG4oOXB0azXfYk";
const BY_SMALL_KEY: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6InNtYWxsIn0.eyJpc3MiOiJodHRwczovL3NtYWxsLnRlc3QiLCJhdWQiOiJvcmRlcnMiLCJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0.Cmtmu7LMRuqAQLom1YBcFOvGeI4rhtt5HMcKXUNKdYRN9vHb7uVgtEPL50fEHkw3c6ST_knjnh1ebc2F_JDwkUitvKHBQFqlQMfYwdCXdWsT4PrUPvvfkM0S5U8sI1YRQqM8fVEaRoposK291QqpUE0gER0M0IqWLQo5LIUNG0M";

/// Sets with a key that must verify nothing, or must verify. Each is the set of an issuer of its
/// own, beside a key of another kind, without which there would be no set.
fn key_sets() -> Vec<Exchange> {
    let (key, rsa, spare) = (Key::p256(), Key::rsa(), Key::p384().jwk("spare"));
    let jwk = || key.jwk("k");
    let secret = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
    let name = |path: &str| format!("https:/{path}.test");
    let mut entries = vec![json!({
        "issuer": "https://small.test", "audience": "orders",
        "jwks": set([spare.clone(), json!({"kty": "RSA", "kid": "small", "n": SMALL_MODULUS, "e": "AQAB"})]),
    })];
    let mut add = |path: &str, keys: Vec<Value>| {
        let keys = [vec![spare.clone()], keys].concat();
        entries.push(json!({"issuer": name(path), "audience": "orders", "jwks": set(keys)}));
    };
    let of = |path: &str| claims(json!({"iss": name(path)}));
    let mut refused = vec![("/small", BY_SMALL_KEY.to_owned(), BAD_SIGNATURE)];
    let unusable = [
        ("/enc", json!({"use": "enc"})),
        ("/use-of-another-name", json!({"use": "SIG"})),
        ("/use-is-empty", json!({"use": ""})),
        ("/use-is-a-list", json!({"use": ["sig"]})),
        ("/key-ops", json!({"key_ops": ["encrypt", "sign"]})),
        ("/key-ops-is-empty", json!({"key_ops": []})),
        ("/key-ops-is-text", json!({"key_ops": "verify"})),
        ("/alg-of-another-curve", json!({"alg": "ES384"})),
        ("/alg-of-another-type", json!({"alg": "RS256"})),
        ("/alg-none", json!({"alg": "none"})),
        ("/alg-hs256", json!({"alg": "HS256"})),
        ("/alg-to-encrypt", json!({"alg": "ECDH-ES"})),
        ("/alg-is-null", json!({"alg": null})),
        ("/kid-is-a-number", json!({"kid": 1})),
        ("/curve-p-384", json!({"crv": "P-384"})),
        ("/curve-p-521", json!({"crv": "P-521"})),
        ("/curve-secp256k1", json!({"crv": "secp256k1"})),
        ("/kty-in-lower-case", json!({"kty": "ec"})),
        ("/kty-oct", json!({"kty": "oct", "k": encode("secret")})),
        ("/private", json!({"d": encode([1; 32])})),
        ("/not-on-the-curve", json!({"x": encode([1; 32]), "y": encode([2; 32])})),
        ("/at-infinity", json!({"x": encode([0; 32]), "y": encode([0; 32])})),
        ("/coordinate-with-a-zero-before", json!({"x": encode([&[0][..], &[1; 32]].concat())})),
        ("/padded-coordinate", json!({"x": format!("{}=", jwk()["x"].as_str().expect("text"))})),
    ];
    for (path, members) in unusable {
        add(path, vec![with(jwk(), members)]);
        refused.push((path, key.sign("k", &of(path)), BAD_SIGNATURE));
    }
    for (path, members) in [
        ("/rsa-of-another-alg", json!({"alg": "RS512"})),
        ("/rsa-exponent-one", json!({"e": "AQ"})),
        ("/rsa-exponent-even", json!({"e": "AQAA"})),
        ("/rsa-private", json!({"d": "AQAB"})),
    ] {
        add(path, vec![with(rsa.jwk("k"), members)]);
        refused.push((path, rsa.sign("k", &of(path)), BAD_SIGNATURE));
    }
    // A secret in the set, and a token by it.
    add("/secret", vec![json!({"kty": "oct", "kid": "k", "alg": "HS256", "k": encode("secret")})]);
    let token = key.sign_json(
        &header(json!({"alg": "HS256", "kid": "k"})).to_string(),
        &of("/secret").to_string(),
    );
    let (text, _) = token.rsplit_once('.').expect("three parts");
    refused.push((
        "/secret",
        with_signature(&token, hmac::sign(&secret, text.as_bytes())),
        BAD_SIGNATURE,
    ));
    // Keys without identifiers: a token that names one is by none of them.
    let anonymous: Vec<_> = (0..6).map(|_| Key::p256()).collect();
    add("/anonymous", anonymous.iter().map(|key| without(key.jwk("k"), "kid")).collect());
    let by_anonymous = |number: usize| {
        let header = without(header(json!({})), "kid").to_string();
        anonymous[number].sign_json(&header, &of("/anonymous").to_string())
    };
    refused.push(("/sixth-without-kid", by_anonymous(5), BAD_SIGNATURE));
    refused.push(("/kid-of-none", anonymous[0].sign("k", &of("/anonymous")), BAD_SIGNATURE));
    // Keys that verify.
    add("/two-of-a-name", vec![rsa.jwk("k"), Key::p256().jwk("k"), jwk()]);
    add(
        "/beside-others",
        vec![
            json!({"kty": "oct", "k": encode("secret")}),
            json!({"kty": "x"}),
            json!({}),
            with(Key::p256().jwk("e"), json!({"use": "enc"})),
            jwk(),
        ],
    );
    add(
        "/said-in-full",
        vec![with(
            jwk(),
            json!({
                "use": "sig", "key_ops": ["sign", "verify"], "alg": "ES256", "x5c": ["MIIB"],
            }),
        )],
    );
    add("/empty-kid", vec![key.jwk("")]);
    add("/many", (1..99).map(|n| Key::p256().jwk(&n.to_string())).chain([jwk()]).collect());
    let passed = vec![
        ("/two-of-a-name", key.sign("k", &of("/two-of-a-name"))),
        ("/two-of-a-name-rsa", rsa.sign("k", &of("/two-of-a-name"))),
        ("/beside-others", key.sign("k", &of("/beside-others"))),
        ("/said-in-full", key.sign("k", &of("/said-in-full"))),
        ("/empty-kid", key.sign("", &of("/empty-kid"))),
        ("/many", key.sign("k", &of("/many"))),
        ("/first-without-kid", by_anonymous(0)),
        ("/fifth-without-kid", by_anonymous(4)),
    ];
    let exchange = |name| exchange(name).inbound(json!({ "jwt": entries }));
    vec![
        refuses_all(
            exchange(
                "rs_7517_01 rs_7517_02 rs_7518_06 keys that are weak, malformed or for something else verify nothing",
            ),
            refused,
        ),
        passes_all(
            exchange("rs_7517_03 rs_7515_12 a key is found by its identifier, or is one of five"),
            passed,
        ),
    ]
}

/// The same policy as for introspected tokens.
fn policies(keys: &Keys) -> Vec<Exchange> {
    let text = claims(json!({"scope": "a", "groups": ["x", "y"]})).to_string();
    let token = keys.ec.sign_json(&header(json!({})).to_string(), &text);
    let with_active = format!(r#"{{"active":true,{}"#, &text[1..]);
    let metadata = json!({
        "resource": "https://api.test/", "authorization_servers": [ISSUER]
    });
    let scoped = |scope: Value| keys.with_claims(json!({ "scope": scope }));
    let forged = with_signature(&token, [1; 64]);
    vec![
        exchange("rs_6750_06 a verified JWT meets the rules that an introspected token meets")
            .inbound(json!({
                "jwt": keys.entry(json!({})), "introspection": false, "scope_claim": ["scope", "scp"],
                "resource_metadata": metadata,
                "rules": [
                    {"paths": ["/public"], "access": "public"},
                    {"paths": ["/optional"], "access": "optional"},
                    {"paths": ["/claims"], "claims": {"role": "admin"}},
                    {"paths": ["/acr"], "acr_values": "gold"},
                    {"paths": ["/age"], "max_age": "60s"},
                    {"paths": ["/issuer"], "issuer": "https://other.test"},
                    {"paths": ["/audience"], "audience": "other"},
                    {"paths": ["/scope"], "scope": "a b"},
                    {"paths": ["/**"]}
                ]
            }))
            .passes(get("/public").bearer(&forged))
            .passes(get("/optional"))
            .refuses(get("/optional").bearer(&forged), invalid_token(BAD_SIGNATURE).challenge(
                r#", error="invalid_token", resource_metadata="https://api.test/.well-known/oauth-protected-resource""#,
            ))
            .refuses(get("/"), no_token().challenge(
                r#", resource_metadata="https://api.test/.well-known/oauth-protected-resource""#,
            ))
            .passes(get("/scope").bearer(&scoped(json!("b c a"))))
            .passes(get("/scope").bearer(&keys.with_claims(json!({"scp": ["a", "b"]}))))
            .refuses(get("/scope").bearer(&scoped(json!("a"))), insufficient_scope(
                r#", error="insufficient_scope", scope="a b", resource_metadata="https://api.test/.well-known/oauth-protected-resource""#,
            ))
            .refuses(get("/scope").bearer(&token).grpc(), insufficient_scope(
                r#", error="insufficient_scope", scope="a b", resource_metadata="https://api.test/.well-known/oauth-protected-resource""#,
            ))
            .passes(get("/claims").bearer(&keys.with_claims(json!({"role": "admin"}))))
            .refuses(get("/claims").bearer(&token), access_denied("oauth2_claim_not_met"))
            .passes(get("/acr").bearer(&keys.with_claims(json!({"acr": "gold"}))))
            .refuses(get("/acr").bearer(&token), insufficient_user_authentication(
                r#", error="insufficient_user_authentication", acr_values="gold", resource_metadata="https://api.test/.well-known/oauth-protected-resource""#,
            ))
            .passes(get("/age").bearer(&keys.with_claims(json!({"auth_time": seconds_from_now(0)}))))
            .refuses(get("/age").bearer(&token), insufficient_user_authentication(
                r#", error="insufficient_user_authentication", max_age="60", resource_metadata="https://api.test/.well-known/oauth-protected-resource""#,
            ))
            .refuses(get("/issuer").bearer(&token), invalid_token("oauth2_wrong_issuer").challenge(
                r#", error="invalid_token", resource_metadata="https://api.test/.well-known/oauth-protected-resource""#,
            ))
            .refuses(get("/audience").bearer(&token), invalid_token("oauth2_wrong_audience").challenge(
                r#", error="invalid_token", resource_metadata="https://api.test/.well-known/oauth-protected-resource""#,
            ))
            .describes(get("/.well-known/oauth-protected-resource"), metadata),
        exchange("d4_01 claims of a verified JWT are forwarded, and its whole payload with active")
            .inbound(json!({
                "jwt": keys.entry(json!({})),
                "forward": {"claims": {"x-user": "sub", "x-groups": "groups"}, "payload": "x-payload", "token": false}
            }))
            .passes(get("/").bearer(&token).header("x-user", "admin").header("x-payload", "evil"))
            .with("x-user", "alice")
            .with("x-groups", "x,y")
            .with("x-payload", encode(with_active))
            .without("authorization")
            .passes(get("/").bearer(&keys.with_payload(text.replacen('{', r#" { "active" : true , "#, 1))))
            .with("x-payload", encode(text.replacen('{', r#" { "active" : true , "#, 1)))
            .calls(0),
        exchange("a gRPC request with a JWT gets the status that belongs to the refusal")
            .inbound(json!({"jwt": keys.entry(json!({}))}))
            .refuses(get("/").bearer(&forged).grpc(), invalid_token(BAD_SIGNATURE))
            .refuses(get("/").bearer(&with_signature(&token, [1])).grpc(), invalid_token(BAD_SIGNATURE))
            .passes(get("/").bearer(&token).grpc())
            .calls(0),
        exchange("d5_01 failure_mode_allow opens nothing to a JWT that is forged")
            .inbound(json!({
                "jwt": keys.entry(json!({})), "failure_mode_allow": true,
                "introspection": {"retries": 0}
            }))
            .server([Scripted::Reset])
            .refuses(get("/").bearer(&forged), invalid_token(BAD_SIGNATURE))
            .refuses(get("/").bearer("e30.bm8.e30"), invalid_token(MALFORMED))
            .calls(0)
            .passes(get("/").bearer(&token))
            .calls(0),
    ]
}

/// Several issuers, and servers that introspect.
fn servers(keys: &Keys) -> Vec<Exchange> {
    let token = keys.with_claims(json!({}));
    let other = Key::p256();
    let of_other =
        |key: &Key| key.sign("ec", &claims(json!({"iss": "https://other.test", "aud": "b"})));
    vec![
        exchange("rs_9068_02 each issuer has keys and conditions of its own")
            .inbound(json!({"jwt": [
                keys.entry(json!({})),
                {"issuer": "https://other.test", "audience": ["a", "b"], "jwks": set([other.jwk("ec")]),
                 "claims": {"sub": "alice"}, "scope_claim": "roles"},
            ], "rules": [{"paths": ["/scope"], "scope": "r"}, {"paths": ["/**"]}]}))
            .passes(get("/one").bearer(&token))
            .passes(get("/other").bearer(&of_other(&other)))
            .refuses(get("/keys-of-the-other").bearer(&of_other(&keys.ec)), invalid_token(BAD_SIGNATURE))
            .refuses(
                get("/audience-of-the-other").bearer(&keys.with_claims(json!({"aud": "b"}))),
                invalid_token("oauth2_wrong_audience"),
            )
            .refuses(
                get("/claims").bearer(&other.sign("ec", &claims(json!({
                    "iss": "https://other.test", "aud": "b", "sub": "bob"
                })))),
                access_denied("oauth2_claim_not_met"),
            )
            .passes(get("/scope").bearer(&other.sign("ec", &claims(json!({
                "iss": "https://other.test", "aud": "a", "roles": ["r"], "scope": ""
            })))))
            .passes(get("/scope").bearer(&keys.with_claims(json!({"scope": "r", "roles": ["x"]}))))
            .calls(0),
        keys.exchange("opaque tokens and JWTs of others are introspected, ours never")
            .server([inactive(), active(json!({}))])
            .refuses(get("/").bearer("opaque"), invalid_token("oauth2_inactive"))
            .calls(1)
            .passes(get("/").bearer("opaque.with.dots"))
            .calls(2)
            .passes(get("/").bearer(&keys.with_claims(json!({"iss": "https://third.test"}))))
            .calls(3)
            .passes(get("/").bearer(&token))
            .refuses(get("/").bearer(&with_signature(&token, [1; 64])), invalid_token(BAD_SIGNATURE))
            .refuses(
                get("/").bearer(&keys.with_claims(json!({"aud": "x"}))),
                invalid_token("oauth2_wrong_audience"),
            )
            .calls(3),
        exchange("a JWT that is introspected, too, needs both")
            .inbound(json!({"jwt": keys.entry(json!({"introspect": true})), "scope": "a"}))
            .server([
                active(json!({"scope": "a", "sub": "alice"})),
                inactive(),
                active(json!({"scope": "a", "sub": "bob"})),
                active(json!({"scope": "a", "iss": "https://other.test"})),
                active(json!({"scope": "b"})),
                Scripted::Reset,
            ])
            .passes(get("/").bearer(&keys.with_claims(json!({"n": 1}))))
            .calls(1)
            .refuses(get("/").bearer(&with_signature(&token, [1; 64])), lacks(BAD_SIGNATURE))
            .calls(1)
            .refuses(get("/").bearer(&keys.with_claims(json!({"n": 2}))), lacks("oauth2_inactive"))
            .refuses(get("/").bearer(&keys.with_claims(json!({"n": 3}))), lacks("oauth2_not_verified"))
            .refuses(get("/").bearer(&keys.with_claims(json!({"n": 4}))), lacks("oauth2_not_verified"))
            .refuses(
                get("/").bearer(&keys.with_claims(json!({"n": 5, "scope": "a"}))),
                insufficient_scope(r#", error="insufficient_scope", scope="a""#),
            )
            .calls(5)
            .refuses(
                get("/").bearer(&keys.with_claims(json!({"n": 6}))),
                unavailable("oauth2_server_unavailable"),
            ),
    ]
}

/// 401, with the scope that the rule requires.
fn lacks(details: &'static str) -> Refusal {
    invalid_token(details).challenge(r#", error="invalid_token", scope="a""#)
}
