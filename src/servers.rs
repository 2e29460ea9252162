//! The authorization servers, and which of them answers for a token.

use crate::bearer::BearerToken;
use crate::claims::unverified_claims;
use crate::introspection::Introspection;
use crate::rules::HostPattern;
use crate::shared::Identity;

/// A server that can be asked.
#[derive(Debug)]
pub(crate) struct Server {
    /// How it is asked.
    pub(crate) introspection: Introspection,
    /// Whom it answers for.
    pub(crate) when: When,
    /// The issuer of its tokens, if that is known.
    pub(crate) issuer: Option<String>,
    /// What tells its answers from others' in shared data.
    pub(crate) identity: Identity,
}

/// Whom a server answers for: all that is given must fit.
#[derive(Debug, Default)]
pub(crate) struct When {
    /// The token looks like a JWT whose `iss` is one of these. Nobody has verified it yet: it
    /// says whom to ask, and no more.
    pub(crate) issuer: Option<Vec<Box<str>>>,
    /// The token begins with one of these.
    pub(crate) token_prefix: Option<Vec<Box<str>>>,
    /// The request is for one of these hosts.
    pub(crate) hosts: Option<Vec<HostPattern>>,
}

impl When {
    /// Whether it fits every token.
    pub(crate) fn is_always(&self) -> bool {
        self.issuer.is_none() && self.token_prefix.is_none() && self.hosts.is_none()
    }

    /// Whether the server answers for this token in a request for this host.
    pub(crate) fn fits(&self, token: BearerToken<'_>, host: impl FnOnce() -> String) -> bool {
        let begins = |prefixes: &Vec<Box<str>>| {
            prefixes.iter().any(|prefix| token.reveal().starts_with(&**prefix))
        };
        let is_of = |issuers: &Vec<Box<str>>| {
            let claims = unverified_claims(token.reveal());
            let issuer = claims.as_ref().and_then(|claims| claims.get("iss")?.as_str());
            issuer.is_some_and(|issuer| issuers.iter().any(|known| **known == *issuer))
        };
        let is_for = |hosts: &Vec<HostPattern>| {
            let host = host();
            hosts.iter().any(|pattern| pattern.fits(&host))
        };
        self.token_prefix.as_ref().is_none_or(begins)
            && self.issuer.as_ref().is_none_or(is_of)
            && self.hosts.as_ref().is_none_or(is_for)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;

    fn jwt(payload: &Value) -> String {
        format!("eyJhbGciOiJub25lIn0.{}.c2ln", URL_SAFE_NO_PAD.encode(payload.to_string()))
    }

    fn fits(when: &When, token: &str, host: &str) -> bool {
        when.fits(BearerToken::parse(token.as_bytes()).unwrap(), || host.to_owned())
    }

    #[test]
    fn d3_04_a_server_is_asked_about_the_tokens_that_its_when_names() {
        let issuer = When { issuer: Some(vec!["a".into(), "b".into()]), ..When::default() };
        assert!(fits(&issuer, &jwt(&json!({"iss": "b"})), "h"));
        for token in [
            jwt(&json!({"iss": "c"})),
            jwt(&json!({"iss": ["a"]})),
            jwt(&json!({})),
            jwt(&json!("a")),
            "opaque".to_owned(),
            "a.b.c".to_owned(),
            format!("{}.d", jwt(&json!({"iss": "a"}))),
            ".".repeat(16 * 1024),
        ] {
            assert!(!fits(&issuer, &token, "h"), "{token}");
        }

        let prefix = When { token_prefix: Some(vec!["x-".into()]), ..When::default() };
        assert!(fits(&prefix, "x-1", "h") && !fits(&prefix, "ax-1", "h"));

        let hosts = Some(vec![HostPattern::parse("*.h.test").unwrap()]);
        let both = When { hosts, token_prefix: Some(vec!["x-".into()]), ..When::default() };
        assert!(fits(&both, "x-1", "a.h.test"));
        assert!(!fits(&both, "x-1", "h.test") && !fits(&both, "y-1", "a.h.test"));

        assert!(fits(&When::default(), "opaque", ""));
    }
}
