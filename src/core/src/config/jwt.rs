//! `jwt`: the issuers whose JWTs are verified by the filter.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::endpoint::headers;
#[cfg(feature = "review")]
use super::key_table::{
    DefaultValue::{Json, JsonIf, Required, Words},
    KeyRow, KeyTable,
};
use super::notes::Shape;
use super::policy::{AskedClaims, claims};
use super::reader::{Field, Object};
use super::scopes::scope_reading;
use super::values::{boolean, count, endpoint_url, one_or_any, text, timeout, ttl};
use crate::http::url::HttpUrl;
use crate::inbound::issuers::{Issuer, KeySource};
use crate::inbound::servers::Server;
use crate::jose::algorithm::SignatureAlgorithm;
use crate::jose::jws::normal_type;
use crate::jose::key_set::{BadSet, KeySet};
use crate::jose::upkeep::KeyTimes;
use crate::jose::verify::{self, VerifyError};
use crate::oauth::claims::{ClaimPath, ClaimTest};
use crate::oauth::introspection::{ServerReading, TokenType};
use crate::oauth::key_endpoint::{KeyEndpoint, KeyEndpointOptions};

/// The filter that may verify tokens in place of this one.
const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

/// The algorithms without `algorithms`.
const ALGORITHMS: [SignatureAlgorithm; 5] = [
    SignatureAlgorithm::Rs256,
    SignatureAlgorithm::Rs384,
    SignatureAlgorithm::Rs512,
    SignatureAlgorithm::Es256,
    SignatureAlgorithm::Es384,
];

/// The keys of `jwt`.
#[cfg(feature = "review")]
pub(super) const JWT_TABLE: KeyTable = KeyTable {
    heading: "### `inbound.jwt`",
    parts: &[&[
        KeyRow::new(
            &["issuer"],
            "string",
            Required,
            "the issuer: a JWT with exactly this `iss` is verified by this entry, and by nothing \
             else",
        ),
        KeyRow::new(
            &["audience"],
            "string or list",
            Required,
            "accepted values of `aud`. `\"*\"` accepts any, together with `claims`",
        ),
        KeyRow::new(
            &["claims"],
            "object",
            Json("{}"),
            "required values of other claims, for every rule",
        )
        .see("inboundclaims"),
        KeyRow::new(
            &["scope_claim"],
            "string or list",
            Words("as in `inbound`"),
            "the claim with the scopes",
        ),
        KeyRow::new(
            &["scope_wildcards"],
            "boolean",
            Words("as in `inbound`"),
            "whether `*` in a granted scope stands for a component",
        ),
        KeyRow::new(
            &["clock_skew"],
            "duration",
            Words("as in `inbound`"),
            "tolerance for `exp`, `nbf` and `max_age`",
        ),
        KeyRow::new(
            &["jwks_uri"],
            "URL",
            Words("discovered"),
            "the JWK set. Without it, the metadata of the issuer names it (RFC 8414, then OpenID \
             Connect Discovery), on the issuer's own origin",
        ),
        KeyRow::new(
            &["jwks"],
            "object",
            Words("none"),
            "the JWK set itself, in place of `jwks_uri`",
        ),
        KeyRow::new(
            &["cluster"],
            "string",
            Words("`outbound|PORT||HOST`"),
            "the Envoy cluster of `jwks_uri`, or of the issuer; the default is Istio's name for it",
        ),
        KeyRow::new(&["timeout"], "duration", Json(r#""5s""#), "for each call, including retries"),
        KeyRow::new(
            &["retries"],
            "number",
            Json("1"),
            "retries after a connection failure, 502, 503 or 504, at most 10",
        ),
        KeyRow::new(&["headers"], "object of strings", Json("{}"), "additional headers of calls"),
        KeyRow::new(
            &["algorithms"],
            "list",
            Json(r#"["RS256", "RS384", "RS512", "ES256", "ES384"]"#),
            "accepted algorithms. In the WebAssembly module, `\"PS256\"` and `\"EdDSA\"` require \
             `verified_by`",
        ),
        KeyRow::new(
            &["token"],
            "string",
            Json(r#""access_token""#),
            "`\"id_token\"` accepts ID tokens",
        ),
        KeyRow::new(
            &["typ"],
            "string or list",
            JsonIf(r#"["at+jwt"]"#, "`token` is not `\"id_token\"`, else `[\"JWT\"]`"),
            "accepted types in the header, in any case and with or without `application/`. `\"JWT\"` \
             includes an absent one",
        ),
        KeyRow::new(
            &["refresh_interval"],
            "duration",
            Json(r#""10m""#),
            "how old keys become before they are fetched again, at least a second. A token that \
             names an unknown key causes another fetch, at most one in 30 seconds",
        ),
        KeyRow::new(
            &["stale_if_error"],
            "duration",
            Json(r#""24h""#),
            "how long keys serve after that while they cannot be fetched",
        ),
        KeyRow::new(
            &["introspect"],
            "boolean",
            Json("false"),
            "whether the token is introspected, too, once its signature is verified: by the first \
             server whose `when` matches and which is not that of another `issuer`. Both must \
             accept it; rules look at the response. Not with `verified_by`",
        ),
        KeyRow::new(
            &["verified_by"],
            "string",
            Words("this filter"),
            "`\"envoy.filters.http.jwt_authn\"`: that filter, earlier in the chain, verifies the \
             tokens",
        ),
    ]],
};

/// Keys for fetching keys.
const FETCH_KEYS: [&str; 7] =
    ["jwks_uri", "cluster", "timeout", "retries", "headers", "refresh_interval", "stale_if_error"];

/// Reads one entry, or a list of them. `defaults` is how claims are read where an entry has no keys
/// for that; `servers` are those that introspect tokens.
pub(super) fn issuers(
    field: &Field<'_>,
    defaults: &ServerReading,
    servers: Option<&[Server]>,
) -> Option<Vec<Issuer>> {
    const WHAT: &str = "an object with issuer, audience, jwks_uri, cluster";
    let read = |field: &Field<'_>| issuer(field, defaults, servers);
    let issuers = match field.value {
        Value::Array(_) => {
            let issuers = field.list_of(&format!("a list of objects, each {WHAT}"), read)?;
            for (n, issuer) in issuers.iter().enumerate() {
                let is_same = |other: &Issuer| other.identifier() == issuer.identifier();
                if issuers.iter().take(n).any(is_same) {
                    return field
                        .element(n)
                        .mistake("duplicate issuer; remove one of the two entries");
                }
            }
            issuers
        }
        Value::Object(_) => vec![read(field)?],
        _ => return field.expected(&format!("{WHAT}, or a list of them")),
    };
    let is_verified_here = |issuer: &Issuer| !matches!(issuer.keys, KeySource::JwtAuthn);
    if issuers.iter().any(is_verified_here) && !verify::works(field.reader.host.verify) {
        return field.mistake(
            "the host cannot verify signatures (Envoy 1.36 or later can); use introspection or \
             verified_by",
        );
    }
    Some(issuers)
}

fn issuer(
    field: &Field<'_>,
    defaults: &ServerReading,
    servers: Option<&[Server]>,
) -> Option<Issuer> {
    let mut object = field.object("an object with issuer, audience, jwks_uri, cluster")?;
    #[cfg(feature = "review")]
    object.described(&[&JWT_TABLE]);
    let issuer = object.need("issuer", "the issuer", |f| text(f, "an issuer"));
    let audience = object.need("audience", "accepted audiences", |f| one_or_any(f, "an audience"));
    let claims = object.read("claims", tests);
    let scope = scope_reading(&mut object, &defaults.scope);
    let clock_skew = object.read("clock_skew", ttl).map_or(defaults.clock_skew, Into::into);
    let source = source(&mut object, issuer.as_deref());
    let is_verified_here = !object.has("verified_by");
    let algorithms = object.read("algorithms", |field| algorithms(field, is_verified_here));
    let token = object.read("token", |field| field.choice(&["access_token", "id_token"]));
    let is_id = token == Some("id_token");
    let types = object.read("typ", types);
    let types = types.unwrap_or_else(|| vec![if is_id { "jwt" } else { "at+jwt" }.into()]);
    let introspect = object.read("introspect", boolean).unwrap_or(false);
    object.check_keys();
    if introspect && object.has("verified_by") {
        return object
            .at("introspect")
            .mistake("conflicts with verified_by; remove one of the two");
    }
    let (issuer, mut audience) = (issuer?, audience?);
    let claims = claims.unwrap_or_default();
    if audience.iter().any(|audience| **audience == *"*") {
        if audience.len() > 1 {
            return object.at("audience").mistake("\"*\" accepts any audience; remove the others");
        }
        if claims.is_empty() {
            return object
                .at("audience")
                .mistake("\"*\" requires `claims` that tell which tokens are for this service");
        }
        audience.clear();
    }
    if let (true, Some(servers)) = (introspect, servers) {
        let is_of_others = |server: &Server| {
            let of_when = server.when.issuer.as_ref();
            server.reading.issuer.as_ref().is_some_and(|other| *other != issuer)
                || of_when.is_some_and(|issuers| issuers.iter().all(|other| **other != *issuer))
        };
        if servers.iter().all(is_of_others) {
            return object.at("introspect").mistake(
                "requires an entry in `introspection` for this issuer; add one, or remove \
                 `introspect`",
            );
        }
    }
    let (algorithms, source) = (algorithms.unwrap_or_else(|| ALGORITHMS.to_vec()), source?);
    #[cfg(feature = "review")]
    {
        if !is_id && claims.is_empty() && types.iter().any(|it| **it == *"jwt") {
            advise_on_id_tokens(&object.at("typ"), &audience);
        }
        advise_on_keys(&object, &source, &algorithms);
    }
    let token_type = if is_id { TokenType::IdToken } else { TokenType::Optional };
    Some(Issuer {
        reading: ServerReading { issuer: Some(issuer), token_type, scope, clock_skew },
        audience,
        claims,
        algorithms,
        types,
        keys: source,
        introspect,
    })
}

/// `claims`: a test for each.
fn tests(field: &Field<'_>) -> Option<Vec<(ClaimPath, ClaimTest)>> {
    let asked = AskedClaims::default();
    let tests = claims(field, &asked)?;
    // In the order of the tests, because no claim has two.
    Some(asked.into_paths().into_iter().zip(tests.into_iter().map(|(_, test)| test)).collect())
}

/// Where the keys come from.
fn source(object: &mut Object<'_>, issuer: Option<&str>) -> Option<KeySource> {
    let fixed = object.read("jwks", key_set);
    let host = object.read("verified_by", verified_by);
    let other = ["jwks", "verified_by"].into_iter().find(|key| object.has(key));
    let conflict = FETCH_KEYS.into_iter().find(|key| object.has(key));
    if let (Some(other), Some(conflict)) = (other, conflict) {
        object.know(&FETCH_KEYS);
        return object
            .at(conflict)
            .mistake(format_args!("conflicts with {other}; remove one of the two"));
    }
    if object.has("jwks") && object.has("verified_by") {
        return object.at("verified_by").mistake("conflicts with jwks; remove one of the two");
    }
    if object.has("jwks") {
        return fixed.map(|keys| KeySource::Fixed(Arc::new(keys)));
    }
    if object.has("verified_by") {
        return host.map(|()| KeySource::JwtAuthn);
    }
    let jwks_uri = object.read("jwks_uri", |field| {
        let url = endpoint_url(field)?;
        if !url.is_https {
            field.warn("plain http: keys can be replaced on their way; use https");
        }
        Some(url)
    });
    let cluster = object.read("cluster", |f| text(f, "an Envoy cluster name"));
    let timeout = object.read("timeout", timeout).unwrap_or(Duration::from_secs(5));
    let retries = object.read("retries", |f| count(f, 10)).unwrap_or(1);
    let headers = object.read("headers", headers).unwrap_or_default();
    let refresh =
        object.read("refresh_interval", refresh_interval).unwrap_or(Duration::from_mins(10));
    let stale = object.read("stale_if_error", ttl).unwrap_or(Duration::from_hours(24));
    let is_known = object.has("jwks_uri");
    let url = if is_known { jwks_uri? } else { origin(object, issuer?)? };
    object.calls(|| Some(crate::oauth::endpoint::cluster(cluster.clone(), &url)));
    let options = KeyEndpointOptions { url, cluster, headers, timeout, retries };
    let endpoint =
        if is_known { KeyEndpoint::at(options) } else { KeyEndpoint::discovered(issuer?, options) };
    let times = KeyTimes { refresh_interval: refresh, stale_if_error: stale };
    Some(KeySource::Fetched(Box::new(endpoint), times))
}

/// `refresh_interval`: at least the precision with which it is kept.
fn refresh_interval(field: &Field<'_>) -> Option<Duration> {
    let interval = ttl(field)?;
    if interval < Duration::from_secs(1) {
        return field.mistake("must be at least \"1s\"");
    }
    Some(interval)
}

/// The origin of an issuer whose metadata is fetched.
fn origin(object: &Object<'_>, issuer: &str) -> Option<HttpUrl> {
    let url = HttpUrl::parse(issuer).ok().filter(|url| url.is_https && url.query.is_none());
    if url.is_none() {
        return object.at("jwks_uri").mistake(
            "required: the issuer is not an https URL, so its keys cannot be discovered; set the \
             URL of its JWK set",
        );
    }
    url
}

/// `jwks`: keys that verify signatures.
fn key_set(field: &Field<'_>) -> Option<KeySet> {
    field.looks_for(|| Shape::Foreign);
    if !field.value.is_object() {
        return field.expected("a JWK set, such as {\"keys\": [{\"kty\": …}]}");
    }
    KeySet::of_value(field.value)
        .map_err(|bad| match bad {
            BadSet::NoUsableKey => {
                "no usable key; expected RSA from 2048 to 8192 bits, P-256, P-384 or (dynamic \
                 module) Ed25519"
            }
            BadSet::TooManyKeys => "more than 100 keys",
            BadSet::Malformed | BadSet::TooLarge => "expected keys as a list of objects",
        })
        .map_or_else(|wrong| field.mistake(wrong), Some)
}

fn verified_by(field: &Field<'_>) -> Option<()> {
    field.choice(&[JWT_AUTHN])?;
    if !field.reader.host.reads_jwt_authn {
        return field.mistake("only in the WebAssembly module; use jwks_uri");
    }
    Some(())
}

/// `algorithms`, of which the host must have all if it verifies the tokens.
fn algorithms(field: &Field<'_>, is_verified_here: bool) -> Option<Vec<SignatureAlgorithm>> {
    let names = SignatureAlgorithm::ALL.map(SignatureAlgorithm::name);
    let algorithms = field.list_of("a list of algorithms such as \"RS256\"", |field| {
        let name = field.choice(&names)?;
        let algorithm = SignatureAlgorithm::of_name(name)?;
        let verify = field.reader.host.verify;
        if is_verified_here && verify::supports(verify, algorithm) == Err(VerifyError::Unsupported)
        {
            return field
                .mistake("only in the dynamic module; use another algorithm, or verified_by");
        }
        Some(algorithm)
    })?;
    if algorithms.is_empty() { field.mistake("must not be empty") } else { Some(algorithms) }
}

/// `typ`, in lower case and without a prefix.
fn types(field: &Field<'_>) -> Option<Vec<Box<str>>> {
    let types = one_or_any(field, "a type such as \"at+jwt\"")?;
    Some(types.iter().map(|it| normal_type(it)).collect())
}

/// Advises on `typ` where nothing else tells ID tokens from access tokens. The audience of an ID
/// token is the `client_id` of a client (`OpenID` Connect Core 1.0 section 2): one that is a URI is
/// taken as that of a service, any other may be both.
#[cfg(feature = "review")]
fn advise_on_id_tokens(typ: &Field<'_>, audience: &[Box<str>]) {
    let is_uri = |audience: &str| audience.contains("://") || audience.starts_with("urn:");
    if let Some(audience) = audience.iter().find(|audience| !is_uri(audience)) {
        typ.advise(|| {
            format!(
                "\"JWT\" is the type of ID tokens, too, and {} may be the `client_id` that is their \
                 audience: clients can then call this service with ID tokens; exclude them with \
                 `claims` that only access tokens meet, such as {{\"scope\": {{\"exists\": true}}}}",
                Value::from(&**audience)
            )
        });
    }
}

/// Keys are expected to be fetched less often than this.
#[cfg(feature = "review")]
const SHORT: Duration = Duration::from_mins(1);

/// How long keys may serve before somebody notices that the issuer has withdrawn them.
#[cfg(feature = "review")]
const LONG: Duration = Duration::from_hours(7 * 24);

/// Advises on keys that verify nothing, or that serve for too long or too short a time.
#[cfg(feature = "review")]
fn advise_on_keys(object: &Object<'_>, source: &KeySource, algorithms: &[SignatureAlgorithm]) {
    match source {
        KeySource::Fixed(keys) => {
            let verifies =
                |algorithm: &SignatureAlgorithm| keys.candidates(None, *algorithm).next().is_some();
            if !algorithms.iter().any(verifies) {
                object.at("jwks").advise(|| {
                    "no key is for any of `algorithms`: every token is rejected".to_owned()
                });
            }
        }
        KeySource::Fetched(_, KeyTimes { refresh_interval, stale_if_error }) => {
            if *refresh_interval < SHORT {
                object.at("refresh_interval").advise(|| {
                    "keys are fetched this often by each worker; a new key needs no short interval, \
                     because a token that names it causes a fetch"
                        .to_owned()
                });
            }
            for (key, time, when) in [
                ("refresh_interval", refresh_interval, ""),
                ("stale_if_error", stale_if_error, " while its endpoint fails"),
            ] {
                if *time > LONG {
                    object.at(key).advise(|| {
                        format!(
                            "a key that the issuer has withdrawn, because it was stolen for \
                             example, is accepted for this long{when}"
                        )
                    });
                }
            }
        }
        KeySource::JwtAuthn => {}
    }
}
