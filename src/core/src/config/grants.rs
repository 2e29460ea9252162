//! The grants: the values of `grant_type`, and the keys of each.

#[cfg(feature = "review")]
use super::key_table::{
    DefaultValue::{Json, Required, Words},
    KeyRow, KeyTable,
};
use super::names::Names;
use super::reader::{Key, Object};
use super::values::{credential, lives, secret, text};
use crate::oauth::token_response::is_usable;
use crate::outbound::client::{ACCESS_TOKEN, Grant, grant_type};

/// A grant, with the keys that it allows.
pub(super) struct GrantType {
    /// The value of `grant_type`.
    pub(super) name: &'static str,
    /// Its keys in reading order, without `refresh`.
    pub(super) keys: &'static [Key],
    /// How it uses refresh tokens.
    pub(super) refresh: RefreshTokens,
    /// Whether the token endpoint is required.
    pub(super) needs_endpoint: bool,
    /// The form parameters that the filter sends, which cannot be configured.
    pub(super) parameters: &'static [&'static str],
    /// Reads its keys.
    pub(super) read: fn(&mut Object<'_>, Names<'_>) -> Option<Grant>,
}

/// How a grant uses the refresh tokens that come with its tokens.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum RefreshTokens {
    /// They are ignored.
    Unused,
    /// At the token endpoint.
    AtEndpoint,
    /// At the token endpoint, unless `refresh` is set.
    UnlessRefreshSays,
    /// As configured by `refresh`, which also contains the first one.
    AsRefreshSays,
}

impl GrantType {
    /// Whether it has the key `refresh`.
    pub(super) fn has_refresh(&self) -> bool {
        matches!(self.refresh, RefreshTokens::UnlessRefreshSays | RefreshTokens::AsRefreshSays)
    }
}

const USERNAME: Key = Key::required("username", "required: the user name");
const PASSWORD: Key = Key::required("password", "required: the user's password");
const REFRESH_TOKEN: Key = Key::required("refresh_token", "required: the refresh token");
const TOKEN: Key = Key::required("access_token", "required: the access token");
const EXPIRES_IN: Key = Key::optional("expires_in");
const ASSERTION: Key = Key::required("assertion", "required: a JWT");
const SUBJECT_TOKEN_TYPE: Key = Key::optional("subject_token_type");
const REQUESTED_TOKEN_TYPE: Key = Key::optional("requested_token_type");
const ACTOR: Key = Key::optional("actor");

/// All grants. Key lists and messages are derived from this table.
pub(super) const GRANTS: &[GrantType; 6] = &[
    GrantType {
        name: grant_type::CLIENT_CREDENTIALS,
        keys: &[],
        refresh: RefreshTokens::Unused,
        needs_endpoint: true,
        parameters: &["grant_type", "scope", "audience", "resource"],
        read: |_, _| Some(Grant::ClientCredentials),
    },
    GrantType {
        name: grant_type::PASSWORD,
        keys: &[USERNAME, PASSWORD],
        refresh: RefreshTokens::UnlessRefreshSays,
        needs_endpoint: true,
        parameters: &[
            "grant_type",
            "scope",
            "audience",
            "resource",
            "username",
            "password",
            "refresh_token",
        ],
        read: password,
    },
    GrantType {
        name: grant_type::REFRESH_TOKEN,
        keys: &[REFRESH_TOKEN],
        refresh: RefreshTokens::AtEndpoint,
        needs_endpoint: true,
        parameters: &["grant_type", "scope", "audience", "resource", "refresh_token"],
        read: |object, _| object.read_key(&REFRESH_TOKEN, secret).map(Grant::RefreshToken),
    },
    GrantType {
        name: grant_type::DIRECT_TOKEN,
        keys: &[TOKEN, EXPIRES_IN],
        refresh: RefreshTokens::AsRefreshSays,
        needs_endpoint: false,
        parameters: &["grant_type", "scope", "audience", "resource", "refresh_token"],
        read: direct_token,
    },
    GrantType {
        name: grant_type::JWT_BEARER,
        keys: &[ASSERTION],
        refresh: RefreshTokens::AtEndpoint,
        needs_endpoint: true,
        parameters: &["grant_type", "scope", "audience", "resource", "assertion", "refresh_token"],
        read: |object, _| {
            let assertion = object.read_key(&ASSERTION, credential)?;
            Some(Grant::JwtBearer { assertion })
        },
    },
    GrantType {
        name: grant_type::TOKEN_EXCHANGE,
        keys: &[SUBJECT_TOKEN_TYPE, REQUESTED_TOKEN_TYPE, ACTOR],
        refresh: RefreshTokens::Unused,
        needs_endpoint: true,
        parameters: &[
            "grant_type",
            "scope",
            "audience",
            "resource",
            "subject_token",
            "subject_token_type",
            "requested_token_type",
            "actor_token",
            "actor_token_type",
        ],
        read: token_exchange,
    },
];

/// The keys of all grants.
#[cfg(feature = "review")]
pub(super) const GRANT_TABLE: KeyTable = KeyTable {
    heading: "#### Keys of grants",
    parts: &[&[
        KeyRow::new(&["username", "password"], "secret", Required, "the user name and password"),
        KeyRow::new(&["refresh_token"], "secret", Required, "the first refresh token"),
        KeyRow::new(&["access_token"], "secret", Required, "the token"),
        KeyRow::new(
            &["expires_in"],
            "duration",
            Words("never"),
            "its lifetime, from when it is first used here",
        ),
        KeyRow::new(&["assertion"], "secret", Required, "the JWT"),
        KeyRow::new(
            &["subject_token_type"],
            "string",
            Json(r#""urn:ietf:params:oauth:token-type:access_token""#),
            "the type of the caller's token",
        ),
        KeyRow::new(
            &["requested_token_type"],
            "string",
            Words("none"),
            "the type of the requested token",
        ),
        KeyRow::new(
            &["actor"],
            "string",
            Words("none"),
            "the client whose token is sent as `actor_token`",
        ),
        KeyRow::new(
            &["refresh"],
            "object or `false`",
            Words("the token endpoint for `password`, `false` for `direct_token`"),
            "how a refresh token is used",
        ),
    ]],
};

/// The keys of `password`.
fn password(object: &mut Object<'_>, _: Names<'_>) -> Option<Grant> {
    object.at("grant_type").warn(
        "the password grant is deprecated (RFC 9700 section 2.4); use client_credentials if \
         possible",
    );
    let username = object.read_key(&USERNAME, secret);
    let password = object.read_key(&PASSWORD, credential);
    Some(Grant::Password { username: username?, password: password? })
}

/// The keys of `direct_token`, without `refresh`.
fn direct_token(object: &mut Object<'_>, _: Names<'_>) -> Option<Grant> {
    let access_token = object.read_key(&TOKEN, |field| {
        let token = secret(field)?;
        if is_usable(token.reveal()) { Some(token) } else { field.mistake("must be visible ASCII") }
    });
    let expires_in = object.read_key(&EXPIRES_IN, lives);
    Some(Grant::DirectToken { access_token: access_token?, expires_in, refresh_token: None })
}

/// The keys of token exchange.
#[expect(clippy::unnecessary_wraps, reason = "other grants need keys")]
fn token_exchange(object: &mut Object<'_>, names: Names<'_>) -> Option<Grant> {
    let what = "a token type such as \"urn:ietf:params:oauth:token-type:access_token\"";
    let subject_token_type = object.read_key(&SUBJECT_TOKEN_TYPE, |f| text(f, what));
    let requested_token_type = object.read_key(&REQUESTED_TOKEN_TYPE, |f| text(f, what));
    let actor = object.read_key(&ACTOR, |field| names.client(field));
    Some(Grant::TokenExchange {
        subject_token_type: subject_token_type.unwrap_or_else(|| ACCESS_TOKEN.to_owned()),
        requested_token_type,
        actor,
    })
}

/// Rejects keys of other grants.
pub(super) fn refuse_keys_of_others(object: &mut Object<'_>) {
    for grant in GRANTS {
        for key in grant.keys {
            let elsewhere = match key.name {
                "refresh_token" => "; for direct_token, set it in `refresh`",
                _ => "",
            };
            refuse(object, key.name, &[grant.name, elsewhere]);
        }
    }
    refuse(object, "refresh", &[grant_type::PASSWORD, " or ", grant_type::DIRECT_TOKEN]);
}

/// Rejects a key of other grants, if this grant does not have it.
fn refuse(object: &mut Object<'_>, key: &'static str, grants: &[&str]) {
    if object.has(key) && !object.knows(key) {
        object.know(&[key]);
        let _: Option<()> =
            object.at(key).mistake(format_args!("only valid with grant_type {}", grants.concat()));
    }
}

#[cfg(all(test, feature = "review"))]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::config::reader::Reader;
    use crate::environment::Environment;

    #[test]
    fn each_grant_reads_the_keys_of_its_row_and_needs_those_that_it_says() {
        let environment = Environment::new(&|_| None, [0; 16]);
        for grant in GRANTS {
            let reader = Reader::new(&environment);
            let document = json!({});
            let mut object = reader.document(&document).object("a client").unwrap();
            let _ = (grant.read)(&mut object, Names::of(None));
            object.check_keys();
            let noted = reader.into_parts().2;
            let read: BTreeSet<_> = noted.keys.into_iter().flat_map(|(_, keys)| keys).collect();
            let needed: BTreeSet<_> = noted.needs.into_iter().map(|(_, key)| key).collect();
            let told = grant.keys.iter().map(|key| key.name);
            assert_eq!(read, told.collect(), "{}", grant.name);
            let told = grant.keys.iter().filter(|key| key.is_required()).map(|key| key.name);
            assert_eq!(needed, told.collect(), "{}", grant.name);
        }
    }

    #[test]
    fn the_grants_that_are_named_for_refresh_are_those_that_have_it() {
        let names = GRANTS.iter().filter(|grant| grant.has_refresh()).map(|grant| grant.name);
        assert_eq!(names.collect::<Vec<_>>(), [grant_type::PASSWORD, grant_type::DIRECT_TOKEN]);
    }

    #[test]
    fn keys_of_other_grants_are_refused_with_the_grants_that_have_them() {
        let environment = Environment::new(&|_| None, [0; 16]);
        for (key, text) in [
            ("username", "only valid with grant_type password"),
            (
                "refresh_token",
                "only valid with grant_type refresh_token; for direct_token, set it in `refresh`",
            ),
            ("actor", "only valid with grant_type urn:ietf:params:oauth:grant-type:token-exchange"),
            ("refresh", "only valid with grant_type password or direct_token"),
        ] {
            let reader = Reader::new(&environment);
            let document = json!({ key: 1 });
            let mut object = reader.document(&document).object("a client").unwrap();
            refuse_keys_of_others(&mut object);
            let (mistakes, ..) = reader.into_parts();
            let texts: Vec<_> = mistakes.iter().map(|mistake| mistake.text.as_str()).collect();
            assert_eq!(texts, [text]);
        }
    }
}
