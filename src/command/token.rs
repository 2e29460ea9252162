//! The token that `explain` puts into a request, and what vouches for it. Nothing is signed or
//! verified: a signature is assumed to be valid.

use base64ct::{Base64UrlUnpadded, Encoding};
use oauth2_filter_core::{Explanation, IssuerNeeds, Jwt};
use serde_json::{Map, Value, json};

/// The placeholder for the caller's token.
pub(crate) const TOKEN: &str = "TOKEN";

/// How long a token is valid that does not say it.
const LIFETIME: u64 = 300;

/// The caller's token.
pub(crate) struct Token {
    /// Its text.
    pub(crate) text: String,
    /// What it says, if it is a JWT that is verified, and whether `exp` was added to that.
    pub(crate) says: Option<(Map<String, Value>, bool)>,
}

impl Token {
    /// The token with the claims of an introspection response, of which `are_given` is whether
    /// somebody has written them: a JWT of the entry of `jwt` whose issuer they have.
    pub(crate) fn new(
        claims: &Map<String, Value>,
        are_given: bool,
        explanation: &Explanation,
        now: u64,
    ) -> Self {
        let Explanation { issuers, introspects, .. } = explanation;
        let issuer = claims.get("iss");
        let named = issuers.iter().find(|it| issuer.is_some_and(|name| *name == *it.issuer));
        let of_any = issuers.first().filter(|_| !are_given && !introspects && issuer.is_none());
        match named.or(of_any) {
            Some(issuer) => Self::of(issuer, claims, are_given, now),
            None => Self { text: opaque(issuer), says: None },
        }
    }

    /// A JWT of this issuer.
    fn of(issuer: &IssuerNeeds, claims: &Map<String, Value>, are_given: bool, now: u64) -> Self {
        let mut claims = claims.clone();
        // That is added once the token is verified.
        if claims.get("active") == Some(&Value::Bool(true)) {
            claims.remove("active");
        }
        if !are_given {
            let audiences = claims.remove("aud").into_iter();
            let example = issuer.example.claims.clone();
            let mut audiences: Vec<Value> = audiences.chain(example.get("aud").cloned()).collect();
            audiences.dedup();
            // A claim of this name counts, whatever dots are in it.
            let scope = claims.remove("scope");
            claims.extend(scope.map(|scope| (issuer.scope_claim.clone(), scope)));
            for (name, value) in example {
                claims.entry(name).or_insert(value);
            }
            match <[Value; 1]>::try_from(audiences) {
                Ok([only]) => claims.insert("aud".to_owned(), only),
                Err(several) if several.is_empty() => None,
                Err(several) => claims.insert("aud".to_owned(), several.into()),
            };
        }
        let mut payload = claims.clone();
        let lacks_end = !claims.contains_key("exp");
        if lacks_end {
            payload.insert("exp".to_owned(), now.saturating_add(LIFETIME).into());
        }
        let Jwt { header, signature_size, .. } = &issuer.example;
        let text = format!(
            "{}.{}.{}",
            encode(&Value::Object(header.clone())),
            encode(&Value::Object(payload)),
            Base64UrlUnpadded::encode_string(&vec![0x81; *signature_size])
        );
        Self { text, says: Some((claims, lacks_end)) }
    }
}

/// A token that shows its issuer, for servers that are selected by issuer.
fn opaque(issuer: Option<&Value>) -> String {
    match issuer {
        Some(issuer) => {
            let (header, claims) = (json!({"alg": "none"}), json!({"iss": issuer}));
            format!("{}.{}.{TOKEN}", encode(&header), encode(&claims))
        }
        None => TOKEN.to_owned(),
    }
}

fn encode(part: &Value) -> String {
    Base64UrlUnpadded::encode_string(part.to_string().as_bytes())
}

/// The response to a call for keys: a document that is both the metadata of the issuer and a set
/// with the key of its token. `origin` is that of the call.
pub(crate) fn keys(issuer: &str, jwt: &Jwt, origin: &str) -> Value {
    let mut document = jwt.keys().unwrap_or_else(|| json!({"keys": []}));
    if let Some(members) = document.as_object_mut() {
        members.insert("issuer".to_owned(), issuer.into());
        members.insert("jwks_uri".to_owned(), format!("{origin}/keys").into());
    }
    document
}

/// The metadata with which `jwt_authn` says that it has verified a token: a
/// `google.protobuf.Struct` in wire format.
pub(crate) fn verified_by_host(jwt: &Jwt) -> Vec<u8> {
    let members = [("header", &jwt.header), ("payload", &jwt.claims)];
    let members = members.map(|(name, part)| (name.to_owned(), Value::Object(part.clone())));
    structure(&Map::from_iter(members))
}

/// A `google.protobuf.Struct`.
fn structure(members: &Map<String, Value>) -> Vec<u8> {
    let entry = |(name, value): (&String, &Value)| {
        let entry = [field(1, name.as_bytes()), field(2, &wire(value))].concat();
        field(1, &entry)
    };
    members.iter().flat_map(entry).collect()
}

/// A `google.protobuf.Value`.
fn wire(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => vec![1 << 3, 0],
        Value::Number(number) => {
            [&[(2 << 3) | 1], &number.as_f64().unwrap_or_default().to_le_bytes()[..]].concat()
        }
        Value::String(text) => field(3, text.as_bytes()),
        Value::Bool(value) => vec![4 << 3, u8::from(*value)],
        Value::Object(members) => field(5, &structure(members)),
        Value::Array(elements) => {
            let elements = elements.iter().flat_map(|element| field(1, &wire(element)));
            field(6, &elements.collect::<Vec<u8>>())
        }
    }
}

/// A field of a message with a length.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![(number << 3) | 2];
    let mut length = bytes.len();
    while length > 0x7f {
        field.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
        length >>= 7;
    }
    field.push(u8::try_from(length).unwrap_or_default());
    field.extend(bytes);
    field
}
