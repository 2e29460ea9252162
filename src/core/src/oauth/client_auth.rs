//! Client authentication at the authorization server (RFC 6749, section 2.3).

use std::borrow::Cow;

use url::form_urlencoded::byte_serialize;

use crate::http::base64;
use crate::oauth::client_assertion::{ASSERTION_TYPE, Assertions};
use crate::oauth::secret::Credential;
use crate::timestamp::Timestamp;

/// A client authentication method with its credentials: exactly one is used for a call.
#[derive(Debug)]
pub(crate) enum ClientAuth {
    /// `client_secret_basic` and `client_secret_basic_raw`.
    Basic {
        client_id: String,
        client_secret: Credential,
        /// Whether both are form-encoded before they are joined.
        is_encoded: bool,
    },
    /// `client_secret_post`: both as form parameters.
    Post { client_id: String, client_secret: Credential },
    /// `none`: a public client sends its identifier at most. `tls_client_auth`: the Envoy cluster
    /// also presents a certificate (RFC 8705, section 2).
    None {
        /// The client identifier, if configured.
        client_id: Option<String>,
    },
    /// `private_key_jwt`: a new signed JWT for each call.
    PrivateKeyJwt(Box<Assertions>),
}

/// What a call contains to authenticate the client.
#[derive(Default)]
pub(crate) struct Proof<'a> {
    /// The value of the `Authorization` header.
    pub(crate) authorization: Option<String>,
    /// The form parameters.
    pub(crate) parameters: Vec<(&'static str, Cow<'a, str>)>,
}

impl ClientAuth {
    /// `client_secret_basic`: identifier and secret are form-encoded before they are joined, as RFC
    /// 6749 section 2.3.1 requires, unlike ordinary Basic authentication.
    pub(crate) fn basic(client_id: String, client_secret: Credential) -> Self {
        Self::Basic { client_id, client_secret, is_encoded: true }
    }

    /// `client_secret_basic_raw`: for servers that do not decode.
    pub(crate) fn basic_raw(client_id: String, client_secret: Credential) -> Self {
        Self::Basic { client_id, client_secret, is_encoded: false }
    }

    pub(crate) fn post(client_id: String, client_secret: Credential) -> Self {
        Self::Post { client_id, client_secret }
    }

    /// Whether it sets the `Authorization` header.
    pub(crate) fn sets_authorization(&self) -> bool {
        matches!(self, Self::Basic { .. })
    }

    /// The proof for a call; `None` if the secret is missing or cannot sign. No call may then be
    /// made.
    pub(crate) fn proof(&self, now: Timestamp) -> Option<Proof<'_>> {
        let mut proof = Proof::default();
        match self {
            Self::Basic { client_id, client_secret, is_encoded } => {
                let secret = client_secret.current()?;
                proof.authorization = Some(basic(client_id, secret.reveal(), *is_encoded));
            }
            Self::Post { client_id, client_secret } => {
                let secret = client_secret.current()?.reveal().to_owned();
                proof.parameters =
                    vec![("client_id", client_id.into()), ("client_secret", secret.into())];
            }
            Self::None { client_id } => {
                proof.parameters.extend(client_id.as_ref().map(|id| ("client_id", id.into())));
            }
            Self::PrivateKeyJwt(assertions) => {
                proof.parameters = vec![
                    ("client_id", assertions.client_id().into()),
                    ("client_assertion_type", ASSERTION_TYPE.into()),
                    ("client_assertion", assertions.assertion(now)?.into()),
                ];
            }
        }
        Some(proof)
    }

    /// Whether the server accepts these credentials only once, so that a call must not be repeated
    /// unchanged.
    pub(crate) fn is_single_use(&self) -> bool {
        matches!(self, Self::PrivateKeyJwt(_))
    }

    /// The secret that the server gets and may repeat, in each form that it is sent in. An assertion
    /// is not one: no server accepts it twice.
    pub(crate) fn each_secret(&self, check: &mut dyn FnMut(&str)) {
        match self {
            Self::Basic { client_id, client_secret, is_encoded } => {
                client_secret.each(&mut |secret| {
                    check(&basic(client_id, secret, *is_encoded));
                    check(secret);
                });
            }
            Self::Post { client_secret, .. } => client_secret.each(check),
            Self::None { .. } | Self::PrivateKeyJwt(_) => {}
        }
    }

    /// Distinguishes these credentials from others.
    pub(crate) fn identity(&self) -> Vec<&str> {
        let mut parts = Vec::new();
        match self {
            Self::Basic { client_id, client_secret, is_encoded } => {
                parts.extend([if *is_encoded { "basic" } else { "basic_raw" }, client_id]);
                client_secret.identify(&mut parts);
            }
            Self::Post { client_id, client_secret } => {
                parts.extend(["post", client_id]);
                client_secret.identify(&mut parts);
            }
            Self::None { client_id } => {
                parts.push("none");
                parts.extend(client_id.as_deref());
            }
            Self::PrivateKeyJwt(assertions) => assertions.identify(&mut parts),
        }
        parts
    }
}

/// The value of an `Authorization` header.
fn basic(client_id: &str, client_secret: &str, is_encoded: bool) -> String {
    // Not every server decodes `+` to a space, but all decode `%20`.
    let part = |text: &str| {
        if is_encoded {
            byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
        } else {
            text.to_owned()
        }
    };
    let both = format!("{}:{}", part(client_id), part(client_secret));
    format!("Basic {}", base64::encode(both.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::oauth::secret::{Secret, SecretSource};

    fn proof(auth: &ClientAuth) -> Proof<'_> {
        auth.proof(Timestamp::from_millis(0)).unwrap()
    }

    fn decoded(auth: &ClientAuth) -> String {
        let value = proof(auth).authorization.unwrap();
        let value = value.strip_prefix("Basic ").unwrap();
        String::from_utf8(base64::decode(value.as_bytes()).unwrap()).unwrap()
    }

    fn fixed(secret: &str) -> Credential {
        Credential::fixed(Secret::new(secret.into()))
    }

    #[test]
    fn cl_6749_04_basic_credentials_are_form_encoded_first() {
        for (id, secret, expected) in [
            ("svc", "svc-secret", "svc:svc-secret"),
            ("odd:client id", "s%c&r=t+/~!", "odd%3Aclient%20id:s%25c%26r%3Dt%2B%2F%7E%21"),
            ("ö", "ü", "%C3%B6:%C3%BC"),
        ] {
            assert_eq!(decoded(&ClientAuth::basic(id.into(), fixed(secret))), expected);
        }
    }

    #[test]
    fn cl_6749_04_a_server_that_decodes_gets_every_character_of_id_and_secret_back() {
        let every: String = (' '..='~').chain(['\u{e9}', '\u{1f600}']).collect();
        let auth = ClientAuth::basic(every.clone(), fixed(&every));
        let sent = decoded(&auth);
        let (id, secret) = sent.split_once(':').unwrap();
        assert!(!secret.contains(':'), "{sent}");
        for part in [id, secret] {
            let read: Vec<_> = url::form_urlencoded::parse(part.as_bytes()).collect();
            assert_eq!(read, [(every.as_str().into(), "".into())], "{part}");
        }
    }

    #[test]
    fn cl_6749_04_raw_basic_credentials_stay_as_they_are() {
        let auth = ClientAuth::basic_raw("i d".into(), fixed("a%b+c"));
        assert_eq!(decoded(&auth), "i d:a%b+c");
    }

    #[test]
    fn cl_6749_05_each_method_uses_one_place_only() {
        let basic = ClientAuth::basic("i".into(), fixed("s"));
        assert_eq!(proof(&basic).parameters, []);
        let post = ClientAuth::post("i".into(), fixed("s"));
        assert_eq!(proof(&post).authorization, None);
        let expected = [("client_id", "i".into()), ("client_secret", "s".into())];
        assert_eq!(proof(&post).parameters, expected);
        let none = ClientAuth::None { client_id: Some("i".into()) };
        assert_eq!(proof(&none).authorization, None);
        assert_eq!(proof(&none).parameters, [("client_id", "i".into())]);
    }

    #[test]
    fn a_secret_that_changes_is_read_for_each_call_and_without_it_there_is_no_proof() {
        struct Source(std::sync::Mutex<Vec<&'static str>>);
        impl SecretSource for Source {
            fn current(&self) -> Option<String> {
                self.0.lock().unwrap().pop().map(str::to_owned)
            }

            fn each_recent(&self, check: &mut dyn FnMut(&str)) {
                check("recent");
            }
        }
        for make in [ClientAuth::basic_raw, ClientAuth::post] {
            let source = Arc::new(Source(vec!["", "b", "a"].into()));
            let name = "file".into();
            let auth = make("i".into(), Credential::changing(name, source));
            let sent = || {
                let proof = auth.proof(Timestamp::from_millis(0))?;
                let secret = proof.parameters.last().map(|(_, secret)| secret.to_string());
                Some(secret.or(proof.authorization).unwrap())
            };
            let sent = [sent(), sent(), sent(), sent()];
            let [Some(a), Some(b), None, None] = sent else { panic!("{sent:?}") };
            assert_ne!(a, b);
            // A server may repeat one that has changed meanwhile.
            let mut known = Vec::new();
            auth.each_secret(&mut |secret| known.push(secret.to_owned()));
            assert_eq!(known.last().map(String::as_str), Some("recent"));
        }
    }

    #[test]
    fn d6_12_a_secret_is_known_in_each_form_that_it_is_sent_in() {
        let (id, secret) = (|| "i".to_owned(), || fixed("p&s 1"));
        for (auth, forms) in [
            (ClientAuth::basic(id(), secret()), &["Basic aTpwJTI2cyUyMDE=", "p&s 1"][..]),
            (ClientAuth::basic_raw(id(), secret()), &["Basic aTpwJnMgMQ==", "p&s 1"]),
            (ClientAuth::post(id(), secret()), &["p&s 1"]),
            (ClientAuth::None { client_id: Some("i".into()) }, &[]),
        ] {
            let mut known = Vec::new();
            auth.each_secret(&mut |secret| known.push(secret.to_owned()));
            assert_eq!(known, forms);
        }
    }

    #[test]
    fn d6_01_credentials_do_not_show_in_debug_output() {
        let secret = || fixed("s3cr3t");
        let post = ClientAuth::post("i".into(), secret());
        for auth in [ClientAuth::basic("i".into(), secret()), post] {
            let shown = format!("{auth:?}");
            assert!(!shown.contains("s3cr3t") && !shown.contains("Basic aTpz"), "{shown}");
        }
    }
}
