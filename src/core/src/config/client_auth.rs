//! Client authentication: the values of `auth_method`, and the keys of each method.

use std::time::Duration;

#[cfg(feature = "review")]
use super::key_table::{
    DefaultValue::{Json, Words},
    KeyRow,
};
use super::reader::{Key, Object};
use super::values::{credential, duration, text};
use crate::oauth::client_assertion::{
    Algorithm, AssertionOptions, Assertions, KeyMistake, SignError,
};
use crate::oauth::client_auth::ClientAuth;
use crate::oauth::secret::Credential;

/// A method of client authentication, with the keys that it allows.
struct Method {
    /// The value of `auth_method`.
    name: &'static str,
    keys: &'static [Key],
    /// How the client proves its identity.
    proof: Proof,
}

/// How a client proves its identity.
#[derive(Clone, Copy)]
enum Proof {
    /// With the client secret, sent in this way.
    Secret(fn(String, Credential) -> ClientAuth),
    /// With the TLS certificate of the Envoy cluster.
    Certificate,
    Nothing,
    /// With an assertion signed by the filter.
    Assertion,
}

/// The client identifier for methods with a secret.
const SECRETS_CLIENT_ID: Key = Key::required("client_id", "required with client_secret");
const CLIENT_SECRET: Key = Key::required("client_secret", "required by this auth_method");
const AUTH_METHOD: Key = Key::optional("auth_method");
/// The client identifier for assertions.
const ASSERTIONS_CLIENT_ID: Key = Key::required("client_id", "required by this auth_method");
const PRIVATE_KEY: Key =
    Key::required("private_key", "required: the client's private key in PEM format");
const ALG: Key = Key::optional("alg");
const KID: Key = Key::optional("kid");
const TYP: Key = Key::optional("typ");
const AUD: Key = Key::required(
    "aud",
    "required: the issuer identifier of the authorization server (RFC 10070); some servers expect \
     the endpoint URL",
);
const LIFETIME: Key = Key::optional("lifetime");
/// The client identifier for TLS client authentication.
const CERTIFICATES_CLIENT_ID: Key =
    Key::required("client_id", "required by this auth_method (RFC 8705 section 2)");
/// The client identifier for method `none`.
const PUBLIC_CLIENT_ID: Key = Key::optional("client_id");

/// The default method.
const BASIC: Method = Method {
    name: "client_secret_basic",
    keys: &[SECRETS_CLIENT_ID, CLIENT_SECRET, AUTH_METHOD],
    proof: Proof::Secret(ClientAuth::basic),
};

/// All methods. Key lists and messages are derived from this table.
const METHODS: &[Method; 6] = &[
    BASIC,
    Method {
        name: "client_secret_basic_raw",
        keys: &[SECRETS_CLIENT_ID, CLIENT_SECRET, AUTH_METHOD],
        proof: Proof::Secret(ClientAuth::basic_raw),
    },
    Method {
        name: "client_secret_post",
        keys: &[SECRETS_CLIENT_ID, CLIENT_SECRET, AUTH_METHOD],
        proof: Proof::Secret(ClientAuth::post),
    },
    Method {
        name: "private_key_jwt",
        keys: &[ASSERTIONS_CLIENT_ID, AUTH_METHOD, PRIVATE_KEY, ALG, KID, TYP, AUD, LIFETIME],
        proof: Proof::Assertion,
    },
    Method {
        name: "tls_client_auth",
        keys: &[CERTIFICATES_CLIENT_ID, AUTH_METHOD],
        proof: Proof::Certificate,
    },
    Method { name: "none", keys: &[PUBLIC_CLIENT_ID, AUTH_METHOD], proof: Proof::Nothing },
];

/// The documentation of these keys.
#[cfg(feature = "review")]
pub(super) const AUTH_ROWS: &[KeyRow] = &[
    KeyRow::new(&["client_id"], "string", Words(""), "the client identifier of the filter"),
    KeyRow::new(&["client_secret"], "secret", Words(""), "the client secret"),
    KeyRow::new(
        &["auth_method"],
        "string",
        Json(r#""client_secret_basic""#),
        "`\"client_secret_basic\"`: form-encoded, in HTTP Basic (RFC 6749 section 2.3.1); a \
             space is `%20`, which servers that expect `+` decode as well. \
             `\"client_secret_basic_raw\"`: not encoded, for servers that do not decode \
             (Glewlwyd). `\"client_secret_post\"`: in the form. `\"private_key_jwt\"`: an \
             assertion signed by the filter for each call (RFC 7523). `\"tls_client_auth\"`: the \
             client certificate of the Envoy cluster (RFC 8705), with `client_id`. `\"none\"`: no \
             authentication; `client_id` is sent if set. It must be explicit",
    ),
    KeyRow::new(
        &["private_key"],
        "secret",
        Words("required with `private_key_jwt`"),
        "RSA of at least 2048 bits (dynamic module: at most 4096) or P-256, in PEM format (PKCS \
             #8, PKCS #1 or SEC 1). In the WebAssembly module it requires Envoy 1.37, which must \
             accept the key; only the dynamic module accepts Ed25519",
    ),
    KeyRow::new(
        &["aud"],
        "string",
        Words("required with `private_key_jwt`"),
        "the issuer identifier of the authorization server, the only `aud` of the assertion \
             (RFC 10070). Older servers expect the endpoint URL",
    ),
    KeyRow::new(
        &["alg"],
        "string",
        Words("the key's"),
        r#"`"RS256"` or `"ES256"`, with the dynamic module also `"PS256"` (never the default) or `"EdDSA"`. It must match the key, and is required if that may change (`file`, `sds`)"#,
    ),
    KeyRow::new(
        &["kid"],
        "string",
        Words("none"),
        "the key identifier in the header of the assertion",
    ),
    KeyRow::new(
        &["typ"],
        "string",
        Json(r#""client-authentication+jwt""#),
        "the type in the header of the assertion (RFC 10070); `\"JWT\"` for servers that \
             reject it",
    ),
    KeyRow::new(
        &["lifetime"],
        "duration",
        Json(r#""1m""#),
        "from `iat` to `exp` of the assertion, from one second to five minutes",
    ),
];

/// The valid values of `auth_method`.
const NAMES: [&str; METHODS.len()] = {
    let [basic, basic_raw, post, jwt, tls, none] = METHODS;
    [basic.name, basic_raw.name, post.name, jwt.name, tls.name, none.name]
};

impl Method {
    /// The key of this name, if the method allows it.
    fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// All keys of the methods, each once.
pub(super) const AUTH_KEYS: [&str; 9] = [
    SECRETS_CLIENT_ID.name,
    CLIENT_SECRET.name,
    AUTH_METHOD.name,
    PRIVATE_KEY.name,
    ALG.name,
    KID.name,
    TYP.name,
    AUD.name,
    LIFETIME.name,
];

/// Reads the keys of client authentication, which depend on each other.
pub(super) fn client_auth(object: &mut Object<'_>) -> Option<ClientAuth> {
    let id_field = object.take("client_id");
    let secret_field = object.take("client_secret");
    let method_field = object.take("auth_method");
    let client_id = id_field.as_ref().and_then(|field| text(field, "a client identifier"));
    let named = method_field.as_ref().and_then(|field| {
        let name = field.choice(&NAMES)?;
        METHODS.iter().find(|method| method.name == name)
    });
    let method = named.unwrap_or(&BASIC);
    if matches!(method.proof, Proof::Assertion) {
        if secret_field.is_some() {
            return object
                .at("client_secret")
                .mistake("not used by auth_method \"private_key_jwt\"");
        }
        return private_key_jwt(object, client_id);
    }
    // A superfluous secret is rejected below, with another message.
    for key in AUTH_KEYS {
        if object.has(key) && key != CLIENT_SECRET.name && method.key(key).is_none() {
            return object.at(key).mistake("only valid with auth_method \"private_key_jwt\"");
        }
    }
    let client_secret = secret_field.as_ref().and_then(credential);
    let make = match method.proof {
        Proof::Secret(make) => Some(make),
        Proof::Certificate | Proof::Assertion | Proof::Nothing => None,
    };
    if secret_field.is_some() && make.is_some() {
        object.take_key(&SECRETS_CLIENT_ID);
    }
    if client_id.is_none() && id_field.is_some()
        || named.is_none() && method_field.is_some()
        || client_secret.is_none() && secret_field.is_some()
    {
        return None;
    }
    let Some(make) = make else {
        if secret_field.is_some() {
            return object
                .at("client_secret")
                .mistake(format_args!("not used by auth_method {:?}", method.name));
        }
        if matches!(method.proof, Proof::Certificate) {
            object.take_key(&CERTIFICATES_CLIENT_ID)?;
        }
        return Some(ClientAuth::None { client_id });
    };
    if named.is_none() && client_secret.is_none() {
        return object.at("client_secret").mistake(
            "required: set client_id and client_secret, or auth_method \"none\" if the server \
             requires no client authentication (RFC 7662 section 2.1, RFC 6749 section 4.4.2)",
        );
    }
    object.take_key(&CLIENT_SECRET)?;
    Some(make(client_id?, client_secret?))
}

/// The keys of `private_key_jwt`.
fn private_key_jwt(object: &mut Object<'_>, client_id: Option<String>) -> Option<ClientAuth> {
    let private_key = object.read_key(&PRIVATE_KEY, credential);
    let aud = object.read_key(&AUD, |f| text(f, "an issuer identifier"));
    let alg = object.read_key(&ALG, |field| {
        let name = field.choice(&Algorithm::ALL.map(Algorithm::name))?;
        Algorithm::ALL.into_iter().find(|alg| alg.name() == name)
    });
    let kid = object.read_key(&KID, |f| text(f, "a key identifier"));
    let typ = object.read_key(&TYP, |f| text(f, "a `typ` for the header"));
    let lifetime = object.read_key(&LIFETIME, |field| {
        let lifetime = duration(field)?;
        // RFC 7523 section 3: servers may reject assertions with an unreasonably long lifetime.
        if (Duration::from_secs(1)..=Duration::from_mins(5)).contains(&lifetime) {
            Some(lifetime)
        } else {
            field.mistake("must be from one second to five minutes")
        }
    });
    object.take_key(&ASSERTIONS_CLIENT_ID)?;
    let client_id = client_id?;
    let key_at = object.at("private_key");
    let options = AssertionOptions {
        client_id,
        aud: aud?,
        kid,
        typ: typ.unwrap_or_else(|| "client-authentication+jwt".to_owned()),
        lifetime: lifetime.unwrap_or(Duration::from_mins(1)),
        private_key: private_key?,
        sign: key_at.reader.host.sign,
    };
    match Assertions::new(options, alg, key_at.reader.host.seed) {
        Ok(assertions) => Some(ClientAuth::PrivateKeyJwt(Box::new(assertions))),
        Err(KeyMistake::AlgorithmNeeded) => {
            object.at("alg").mistake("required: the private key may change")
        }
        Err(KeyMistake::Requires(alg)) => {
            object.at("alg").mistake(format_args!("the private key requires {}", alg.name()))
        }
        Err(KeyMistake::Sign(SignError::Unsupported)) => {
            object.at("alg").mistake("only in the dynamic module; use RS256 or ES256")
        }
        Err(KeyMistake::Sign(SignError::Absent)) => object
            .at("auth_method")
            .mistake("the host cannot sign (Envoy 1.37 or later can); use another method"),
        Err(KeyMistake::Sign(SignError::BadKey)) => key_at.mistake(
            "key rejected by the host; expected RSA from 2048 bits or P-256, in PEM format (PKCS \
             #8, PKCS #1 or SEC 1)",
        ),
    }
}

#[cfg(all(test, feature = "review"))]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Map, json};

    use super::*;
    use crate::config::reader::Reader;
    use crate::environment::Environment;

    /// What is said of a block with these keys, each with its place.
    fn mistakes(keys: &BTreeSet<&str>, method: &str) -> Vec<String> {
        let environment = Environment::pretended(&|_| None);
        let value = |key: &str| match key {
            "auth_method" => json!(method),
            "alg" => json!("RS256"),
            "lifetime" => json!("1m"),
            _ => json!("a"),
        };
        let block: Map<_, _> = keys.iter().map(|key| ((*key).to_owned(), value(key))).collect();
        let document = block.into();
        let reader = Reader::new(&environment);
        let mut object = reader.document(&document).object("a block").unwrap();
        let auth = client_auth(&mut object);
        let (mistakes, ..) = reader.into_parts();
        assert_eq!(auth.is_some(), mistakes.is_empty(), "{method} {keys:?}");
        mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_method_takes_the_keys_of_its_row_needs_those_that_it_says_and_refuses_all_others() {
        for method in METHODS {
            let all: BTreeSet<_> = method.keys.iter().map(|key| key.name).collect();
            assert_eq!(mistakes(&all, method.name), [""; 0], "{}", method.name);
            for key in method.keys {
                let mut others = all.clone();
                others.remove(key.name);
                let mistakes = mistakes(&others, method.name);
                let is_missed = mistakes.iter().any(|it| {
                    it.strip_prefix(key.name).is_some_and(|it| it.starts_with(": required"))
                });
                // Without the name, it would be another method.
                let is_named = key.name != AUTH_METHOD.name;
                assert!(!is_named || is_missed == key.is_required(), "{} {mistakes:?}", key.name);
            }
            for key in AUTH_KEYS.into_iter().filter(|key| !all.contains(key)) {
                let mut more = all.clone();
                more.insert(key);
                let mistakes = mistakes(&more, method.name);
                let is_refused = |it: &String| it.starts_with(key);
                assert!(mistakes.iter().any(is_refused), "{} {key} {mistakes:?}", method.name);
            }
        }
    }

    #[test]
    fn every_key_of_a_method_is_known_everywhere_and_no_other() {
        let of_methods = METHODS.iter().flat_map(|method| method.keys).map(|key| key.name);
        assert_eq!(of_methods.collect::<BTreeSet<_>>(), AUTH_KEYS.into_iter().collect());
        // So they may be said to belong to it.
        let jwt = METHODS.iter().find(|method| method.name == "private_key_jwt").unwrap();
        let others = METHODS.iter().filter(|method| method.name != jwt.name);
        let of_others: BTreeSet<_> =
            others.flat_map(|method| method.keys).map(|key| key.name).collect();
        let foreign = AUTH_KEYS.iter().filter(|key| !of_others.contains(*key));
        assert!(foreign.clone().count() == 6 && foreign.clone().all(|key| jwt.key(key).is_some()));
    }
}
