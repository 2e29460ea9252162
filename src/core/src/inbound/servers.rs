//! The authorization servers, and which of them introspects a token.

use std::borrow::Cow;
use std::cell::LazyCell;

use crate::cache::identity::Identity;
use crate::http::authority::{BadHost, HostPattern};
use crate::ids::ServerId;
use crate::oauth::bearer::BearerToken;
use crate::oauth::claims::unverified_claims;
use crate::oauth::introspection::{Introspection, ServerReading};

/// An authorization server that introspects tokens.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) introspection: Introspection,
    /// The tokens and requests that this server is for.
    pub(crate) when: When,
    /// How its responses are read.
    pub(crate) reading: ServerReading,
    /// Separates its responses in shared data from those of other servers.
    pub(crate) identity: Identity,
}

/// Conditions of a server, all of which must match.
#[derive(Debug, Default)]
pub(crate) struct When {
    /// The token looks like a JWT whose `iss` is one of these. The claim is not verified, so it
    /// only selects the server.
    pub(crate) issuer: Option<Vec<Box<str>>>,
    /// The token begins with one of these.
    pub(crate) token_prefix: Option<Vec<Box<str>>>,
    /// The request is for one of these hosts.
    pub(crate) hosts: Option<Vec<HostPattern>>,
}

impl When {
    /// Whether every token matches.
    pub(crate) fn is_always(&self) -> bool {
        self.issuer.is_none() && self.token_prefix.is_none() && self.hosts.is_none()
    }

    /// Whether a token with this unverified issuer matches, in a request for this host.
    ///
    /// # Errors
    /// Everything but the host matches, and the host is ambiguous.
    fn fits<'a>(
        &self,
        token: BearerToken<'_>,
        issuer: impl FnOnce() -> Option<&'a str>,
        host: impl FnOnce() -> Result<&'a str, BadHost>,
    ) -> Result<bool, BadHost> {
        let begins = |prefixes: &Vec<Box<str>>| {
            prefixes.iter().any(|prefix| token.reveal().starts_with(&**prefix))
        };
        let is_of = |issuers: &Vec<Box<str>>| {
            issuer().is_some_and(|issuer| issuers.iter().any(|known| **known == *issuer))
        };
        let fits_otherwise =
            self.token_prefix.as_ref().is_none_or(begins) && self.issuer.as_ref().is_none_or(is_of);
        match &self.hosts {
            Some(hosts) if fits_otherwise => {
                let host = host()?;
                Ok(hosts.iter().any(|pattern| pattern.matches(host)))
            }
            _ => Ok(fits_otherwise),
        }
    }
}

/// The first server that matches this token, in a request for this host. With `of`, it must not be
/// one of another issuer.
///
/// Any client can send a token that is expensive to decode, so it is decoded at most once, however
/// many servers have a condition on it.
///
/// # Errors
/// The host is ambiguous, and a server that matches otherwise depends on it.
pub(crate) fn place<'h>(
    servers: &[Server],
    of: Option<&str>,
    token: BearerToken<'_>,
    host: impl FnOnce() -> Result<Cow<'h, str>, BadHost>,
) -> Result<Option<ServerId>, BadHost> {
    let is_right = |server: &&Server| {
        of.is_none_or(|of| server.reading.issuer.as_deref().is_none_or(|issuer| issuer == of))
    };
    let whens = servers.iter().map(|server| Some(server).filter(is_right).map(|it| &it.when));
    place_of(whens, token, || unverified_issuer(token), host)
}

/// The first match. `issuer` and `host` are called at most once.
fn place_of<'w, 'h>(
    whens: impl Iterator<Item = Option<&'w When>>,
    token: BearerToken<'_>,
    issuer: impl FnOnce() -> Option<String>,
    host: impl FnOnce() -> Result<Cow<'h, str>, BadHost>,
) -> Result<Option<ServerId>, BadHost> {
    let (issuer, host) = (LazyCell::new(issuer), LazyCell::new(host));
    for (place, when) in whens.enumerate() {
        if let Some(when) = when
            && when.fits(token, || issuer.as_deref(), || host.as_deref().map_err(|bad| *bad))?
        {
            return Ok(Some(ServerId(place)));
        }
    }
    Ok(None)
}

/// The unverified `iss` of a token that looks like a signed JWT (RFC 7519).
fn unverified_issuer(token: BearerToken<'_>) -> Option<String> {
    unverified_claims(token.reveal())?.get("iss")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use base64ct::{Base64UrlUnpadded, Encoding};
    use serde_json::{Value, json};

    use super::*;
    use crate::oauth::bearer::MAX_TOKEN_BYTES;

    fn jwt(payload: &Value) -> String {
        format!(
            "eyJhbGciOiJub25lIn0.{}.c2ln",
            Base64UrlUnpadded::encode_string(payload.to_string().as_bytes())
        )
    }

    fn fits(when: &When, token: &str, host: &str) -> bool {
        let token = BearerToken::parse(token.as_bytes(), MAX_TOKEN_BYTES).unwrap();
        let host = || Ok(host.into());
        place_of([Some(when)].into_iter(), token, || unverified_issuer(token), host)
            .unwrap()
            .is_some()
    }

    #[test]
    fn d3_04_a_token_is_read_once_however_many_servers_there_are() {
        let of = |issuer: &str| When { issuer: Some(vec![issuer.into()]), ..When::default() };
        let whens = ["a", "b", "c"].map(of);
        let token = jwt(&json!({"iss": "c"}));
        let token = BearerToken::parse(token.as_bytes(), MAX_TOKEN_BYTES).unwrap();
        let read = Cell::new(0);
        let issuer = || {
            read.set(read.get() + 1);
            unverified_issuer(token)
        };
        assert_eq!(
            place_of(whens.iter().map(Some), token, issuer, || Ok("".into())),
            Ok(Some(ServerId(2)))
        );
        assert_eq!(read.get(), 1);
        // The token is not decoded if no condition depends on its issuer.
        let always = [When::default()];
        let never = || unreachable!("nobody asked");
        assert_eq!(
            place_of(always.iter().map(Some), token, never, || unreachable!("nor here")),
            Ok(Some(ServerId(0)))
        );
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

    #[test]
    fn a_bad_host_counts_where_a_server_that_fits_otherwise_goes_by_it() {
        let hosts = Some(vec![HostPattern::parse("h.test").unwrap()]);
        let by_host = When { hosts, token_prefix: Some(vec!["x-".into()]), ..When::default() };
        let whens = [by_host, When::default()];
        let place = |token: &str| {
            let token = BearerToken::parse(token.as_bytes(), MAX_TOKEN_BYTES).unwrap();
            place_of(whens.iter().map(Some), token, || None, || Err(BadHost))
        };
        assert_eq!((place("x-1"), place("y-1")), (Err(BadHost), Ok(Some(ServerId(1)))));
    }
}
