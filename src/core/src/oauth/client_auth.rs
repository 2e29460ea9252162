//! Client authentication at the authorization server (RFC 6749, section 2.3).

use std::borrow::Cow;

use base64ct::{Base64, Encoding};
use url::form_urlencoded::byte_serialize;

use crate::oauth::client_assertion::{ASSERTION_TYPE, Assertions};
use crate::oauth::secret::Secret;
use crate::timestamp::Timestamp;

/// A client authentication method with its credentials: exactly one is used for a call.
#[derive(Debug)]
pub(crate) enum ClientAuth {
    /// `client_secret_basic` and `client_secret_basic_raw`.
    Basic {
        /// The whole `Authorization` value.
        value: Secret,
        client_secret: Secret,
    },
    /// `client_secret_post`: both as form parameters.
    Post {
        /// The client identifier.
        client_id: String,
        client_secret: Secret,
    },
    /// `none`: a public client sends its identifier at most. `tls_client_auth`: the Envoy cluster
    /// also presents a certificate (RFC 8705, section 2).
    None {
        /// The client identifier, if configured.
        client_id: Option<String>,
    },
    /// `private_key_jwt`: a new signed JWT for each call.
    PrivateKeyJwt(Box<Assertions>),
}

impl ClientAuth {
    /// `client_secret_basic`: identifier and secret are form-encoded before they are joined, as RFC
    /// 6749 section 2.3.1 requires, unlike ordinary Basic authentication.
    pub(crate) fn basic(client_id: &str, client_secret: &Secret) -> Self {
        // Not every server decodes `+` to a space, but all decode `%20`.
        let encode =
            |text: &str| byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
        Self::basic_value(&encode(client_id), &encode(client_secret.reveal()), client_secret)
    }

    /// `client_secret_basic_raw`: for servers that do not decode.
    pub(crate) fn basic_raw(client_id: &str, client_secret: &Secret) -> Self {
        Self::basic_value(client_id, client_secret.reveal(), client_secret)
    }

    pub(crate) fn post(client_id: &str, client_secret: &Secret) -> Self {
        Self::Post { client_id: client_id.to_owned(), client_secret: client_secret.clone() }
    }

    /// The `Authorization` value for the two parts.
    fn basic_value(id: &str, secret: &str, client_secret: &Secret) -> Self {
        let credentials = Base64::encode_string(format!("{id}:{secret}").as_bytes());
        let value = Secret::new(format!("Basic {credentials}"));
        Self::Basic { value, client_secret: client_secret.clone() }
    }

    /// The value of the `Authorization` header, for the methods that use it.
    pub(crate) fn authorization(&self) -> Option<&str> {
        match self {
            Self::Basic { value, .. } => Some(value.reveal()),
            Self::Post { .. } | Self::None { .. } | Self::PrivateKeyJwt(_) => None,
        }
    }

    /// The form parameters, for the methods that use them.
    pub(crate) fn parameters(&self, now: Timestamp) -> Vec<(&'static str, Cow<'_, str>)> {
        match self {
            Self::Basic { .. } | Self::None { client_id: None } => Vec::new(),
            Self::Post { client_id, client_secret } => vec![
                ("client_id", client_id.into()),
                ("client_secret", client_secret.reveal().into()),
            ],
            Self::None { client_id: Some(client_id) } => vec![("client_id", client_id.into())],
            Self::PrivateKeyJwt(assertions) => {
                let mut parameters = vec![
                    ("client_id", assertions.client_id().into()),
                    ("client_assertion_type", ASSERTION_TYPE.into()),
                ];
                // The key was tried when it was configured. If the host can no longer sign, the
                // server reports what is missing.
                let assertion = assertions.assertion(now);
                parameters.extend(assertion.map(|jwt| ("client_assertion", jwt.into())));
                parameters
            }
        }
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
            Self::Basic { value, client_secret } => {
                check(value.reveal());
                check(client_secret.reveal());
            }
            Self::Post { client_secret, .. } => check(client_secret.reveal()),
            Self::None { .. } | Self::PrivateKeyJwt(_) => {}
        }
    }

    /// Distinguishes these credentials from others.
    pub(crate) fn identity(&self) -> Vec<&str> {
        match self {
            Self::Basic { value, .. } => vec!["basic", value.reveal()],
            Self::Post { client_id, client_secret } => {
                vec!["post", client_id, client_secret.reveal()]
            }
            Self::None { client_id } => ["none"].into_iter().chain(client_id.as_deref()).collect(),
            Self::PrivateKeyJwt(assertions) => assertions.identity().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(auth: &ClientAuth) -> String {
        let value = auth.authorization().unwrap().strip_prefix("Basic ").unwrap();
        String::from_utf8(Base64::decode_vec(value).unwrap()).unwrap()
    }

    fn parameters(auth: &ClientAuth) -> Vec<(&'static str, Cow<'_, str>)> {
        auth.parameters(Timestamp::from_millis(0))
    }

    #[test]
    fn cl_6749_04_basic_credentials_are_form_encoded_first() {
        for (id, secret, expected) in [
            ("svc", "svc-secret", "svc:svc-secret"),
            ("odd:client id", "s%c&r=t+/~!", "odd%3Aclient%20id:s%25c%26r%3Dt%2B%2F%7E%21"),
            ("ö", "ü", "%C3%B6:%C3%BC"),
        ] {
            let secret = Secret::new(secret.into());
            assert_eq!(decoded(&ClientAuth::basic(id, &secret)), expected);
        }
    }

    #[test]
    fn cl_6749_04_a_server_that_decodes_gets_every_character_of_id_and_secret_back() {
        let every: String = (' '..='~').chain(['\u{e9}', '\u{1f600}']).collect();
        let auth = ClientAuth::basic(&every, &Secret::new(every.clone()));
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
        let secret = Secret::new("a%b+c".into());
        assert_eq!(decoded(&ClientAuth::basic_raw("i d", &secret)), "i d:a%b+c");
    }

    #[test]
    fn cl_6749_05_each_method_uses_one_place_only() {
        let secret = Secret::new("s".into());
        let basic = ClientAuth::basic("i", &secret);
        assert_eq!(parameters(&basic), []);
        let post = ClientAuth::Post { client_id: "i".into(), client_secret: secret };
        assert_eq!(post.authorization(), None);
        let expected = [("client_id", "i".into()), ("client_secret", "s".into())];
        assert_eq!(parameters(&post), expected);
        let none = ClientAuth::None { client_id: Some("i".into()) };
        assert_eq!(none.authorization(), None);
        assert_eq!(parameters(&none), [("client_id", "i".into())]);
    }

    #[test]
    fn d6_12_a_secret_is_known_in_each_form_that_it_is_sent_in() {
        let secret = Secret::new("p&s 1".into());
        for (auth, forms) in [
            (ClientAuth::basic("i", &secret), &["Basic aTpwJTI2cyUyMDE=", "p&s 1"][..]),
            (ClientAuth::basic_raw("i", &secret), &["Basic aTpwJnMgMQ==", "p&s 1"]),
            (ClientAuth::post("i", &secret), &["p&s 1"]),
            (ClientAuth::None { client_id: Some("i".into()) }, &[]),
        ] {
            let mut known = Vec::new();
            auth.each_secret(&mut |secret| known.push(secret.to_owned()));
            assert_eq!(known, forms);
        }
    }

    #[test]
    fn d6_01_credentials_do_not_show_in_debug_output() {
        let secret = || Secret::new("s3cr3t".into());
        let post = ClientAuth::Post { client_id: "i".into(), client_secret: secret() };
        for auth in [ClientAuth::basic("i", &secret()), post] {
            let shown = format!("{auth:?}");
            assert!(!shown.contains("s3cr3t") && !shown.contains("Basic aTpz"), "{shown}");
        }
    }
}
