//! `introspection`: one authorization server, or several.

use serde_json::Value;

#[cfg(feature = "review")]
use super::endpoint::ENDPOINT_TABLE;
use super::endpoint::{Defaults, endpoint};
#[cfg(feature = "review")]
use super::key_table::{
    DefaultValue::{Json, Words},
    KeyRow, KeyTable,
};
use super::lists::list;
use super::names::Names;
use super::reader::Field;
use super::scopes::scope_reading;
use super::values::{one_or_any, text};
use crate::cache::identity::Identity;
use crate::http::authority::HostPattern;
use crate::inbound::servers::{Server, When};
use crate::oauth::endpoint::Endpoint;
use crate::oauth::introspection::{self, Introspection, ServerReading, TokenType};
use crate::oauth::introspection_response::ResponseFormat;

/// Reads one block, or a list of them. `defaults` is how responses are read where a block has no
/// keys for that.
pub(super) fn servers(
    field: &Field<'_>,
    names: Names<'_>,
    defaults: &ServerReading,
) -> Option<Vec<Server>> {
    const WHAT: &str = "an object with endpoint, cluster, client_id, client_secret";
    let server = |field: &Field<'_>| server(field, names, defaults);
    match field.value {
        Value::Array(_) => {
            let servers = field.list_of(&format!("a list of objects, each {WHAT}"), server)?;
            for (n, server) in servers.iter().enumerate() {
                let always = server.when.is_always();
                if always && n.saturating_add(1) < servers.len() {
                    field.element(n).mistake::<()>(
                        "matches every token, so the servers after it are never used; add `when` \
                         or move it to the end",
                    );
                }
            }
            Some(servers)
        }
        Value::Object(_) => server(field).map(|server| vec![server]),
        _ => field.expected(&format!("{WHAT}, or a list of them")),
    }
}

/// The additional keys of these endpoint blocks.
#[cfg(feature = "review")]
pub(super) const SERVER_TABLE: KeyTable = KeyTable {
    heading: "### `inbound.introspection`",
    parts: &[&[
        KeyRow::new(
            &["token_type_hint"],
            "string",
            Json(r#""access_token""#),
            r#"`""` sends none"#,
        ),
        KeyRow::new(
            &["client"],
            "string",
            Words(""),
            "an outbound client whose token authenticates the call as `Authorization: Bearer`, \
             instead of other authentication keys. After 401 or 403, it is repeated once with a \
             new token",
        )
        .link("outbound client", "outboundclients"),
        KeyRow::new(
            &["issuer"],
            "string",
            Words(""),
            "the issuer of its tokens: a response with another issuer is rejected, one without is \
             taken as having this one",
        ),
        KeyRow::new(
            &["token_type"],
            "string",
            Json(r#""optional""#),
            "`\"required\"`: a response without `token_type` is rejected, for servers that report \
             ID and refresh tokens as active, without it (Spring Authorization Server)",
        ),
        KeyRow::new(
            &["scope_claim"],
            "string or list",
            Words("as in `inbound`"),
            "the claim with the scopes in its responses",
        ),
        KeyRow::new(
            &["scope_wildcards"],
            "boolean",
            Words("as in `inbound`"),
            "whether `*` in its scopes stands for a component",
        ),
        KeyRow::new(
            &["response_format"],
            "string",
            Json(r#""json""#),
            "`\"jwt\"`: sends `Accept: application/jwt`. The response is JSON with a JWT as `jwt`, or \
             the JWT itself: its payload is then the response, active unless its `active` is false, \
             and its text the claim `jwt`. 204 means inactive. Signed introspection responses (RFC \
             9701) are rejected",
        ),
        KeyRow::new(&["when"], "object", Words("always"), "which tokens belong to this server")
            .see("inboundintrospectionwhen"),
    ]],
};

fn server(field: &Field<'_>, names: Names<'_>, defaults: &ServerReading) -> Option<Server> {
    let mut object = field.object("an object with endpoint, cluster, client_id, client_secret")?;
    #[cfg(feature = "review")]
    object.described(&[&SERVER_TABLE, &ENDPOINT_TABLE]);
    let client_field = object.take("client");
    let client = client_field.as_ref().and_then(|field| names.client(field));
    let rest = if client_field.is_some() { Defaults::ClientToken } else { Defaults::Standard };
    let options = endpoint(&mut object, &introspection::PARAMETERS, rest);
    let hint = object.read("token_type_hint", |f| f.string("a string, or \"\" for none"));
    let issuer = object.read("issuer", |f| text(f, "an issuer"));
    let token_type = object.read("token_type", |field| field.choice(&["optional", "required"]));
    let format = object.read("response_format", |field| field.choice(&["json", "jwt"]));
    let format = if format == Some("jwt") { ResponseFormat::Jwt } else { ResponseFormat::Json };
    let scope = scope_reading(&mut object, &defaults.scope);
    let when = object.read("when", when).unwrap_or_default();
    object.check_keys();
    let mut options = options?;
    if format == ResponseFormat::Jwt {
        if options.headers.iter().any(|(name, _)| name == "accept") {
            return object
                .at("headers")
                .mistake("`accept` conflicts with `response_format`; remove one of the two");
        }
        options.headers.push(("accept".to_owned(), "application/jwt".to_owned()));
    }
    let endpoint = Endpoint::new(options);
    let token_type_hint = hint.unwrap_or("access_token");
    let token_type = token_type.unwrap_or("optional");
    let mut lists = Vec::from(endpoint.identity());
    lists.push(vec![token_type_hint, token_type]);
    lists.push(issuer.as_deref().into_iter().collect());
    lists.push((format == ResponseFormat::Jwt).then_some("jwt").into_iter().collect());
    let identity = Identity::new(&lists);
    let token_type_hint = token_type_hint.to_owned();
    if client_field.is_some() && client.is_none() {
        return None;
    }
    let introspection = Introspection { endpoint, token_type_hint, client, format };
    let token_type =
        if token_type == "required" { TokenType::Required } else { TokenType::Optional };
    Some(Server {
        introspection,
        when,
        reading: ServerReading { issuer, token_type, scope, clock_skew: defaults.clock_skew },
        identity,
    })
}

/// The keys of `when`.
#[cfg(feature = "review")]
pub(super) const WHEN_TABLE: KeyTable = KeyTable {
    heading: "#### `inbound.introspection.when`",
    parts: &[&[
        KeyRow::new(
            &["issuer"],
            "string or list",
            Words("any"),
            "the token looks like a JWT of one of these issuers. This is not verified; it only \
             selects the server",
        ),
        KeyRow::new(&["token_prefix"], "string or list", Words("any"), "prefixes of the token"),
        KeyRow::new(&["hosts"], "list", Words("any"), "hosts of the request, as in rules")
            .link("rules", "inboundrules"),
    ]],
};

fn when(field: &Field<'_>) -> Option<When> {
    let mut object = field.object("an object with issuer, token_prefix, hosts")?;
    #[cfg(feature = "review")]
    object.described(&[&WHEN_TABLE]);
    let issuer = object.read("issuer", |f| one_or_any(f, "an issuer"));
    let token_prefix = object.read("token_prefix", |f| one_or_any(f, "a token prefix"));
    let hosts = list(&mut object, "hosts", "hosts such as \"api.example.com\"", HostPattern::parse);
    object.check_keys();
    Some(When { issuer, token_prefix, hosts })
}
