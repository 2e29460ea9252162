//! Explains in advance what the filter would do with a request. This is not part of the module.

use std::ptr;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value, json};

use crate::filter::Filter;
use crate::http::base64;
use crate::http::head::Head;
use crate::ids::ClaimId;
use crate::inbound::issuers::{Issuer, KeySource};
use crate::inbound::policy::{Access, Audience, Needs, Rule};
use crate::inbound::servers::Server;
use crate::jose::algorithm::{KeyType, SignatureAlgorithm};
use crate::oauth::claims::{ClaimPath, ClaimTest};
use crate::oauth::denial::Resource;
use crate::oauth::introspection::TokenType;
use crate::oauth::introspection_response::ResponseFormat;
use crate::oauth::token_source::TokenSource;
use crate::oauth::token_sources::TokenSources;
use crate::outbound::client::Client;
use crate::rules::index::RuleIndex;
use crate::rules::near::missed;
use crate::rules::target::Target;

/// The rules that a request matches, and what they require.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Explanation {
    /// The rule that applies: its name or position, or `unmatched`. `None` if there are no inbound
    /// rules, or if the path is ambiguous.
    pub rule: Option<String>,
    /// Earlier rules that match but for one condition, each with what it matches instead.
    pub near: Vec<(String, String)>,
    /// The resource that covers the request, of a list of them.
    pub resource: Option<String>,
    /// The `access` of the rule; empty if no rule applies.
    pub access: &'static str,
    /// The requirements on a token.
    pub needs: TokenNeeds,
    /// Whether the filter looks for a caller's token in this request.
    pub looks_for_token: bool,
    /// The outbound client whose token the request gets.
    pub client: Option<String>,
    /// Whether any tokens are introspected.
    pub introspects: bool,
    /// The issuers whose JWTs are verified.
    pub issuers: Vec<IssuerNeeds>,
}

/// An issuer whose JWTs are verified, and what they must be, whatever rule decides.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IssuerNeeds {
    /// Its identifier.
    pub issuer: String,
    /// The types that a header may have; an absent one is `jwt`.
    pub types: Vec<String>,
    /// The algorithms that a signature may be by.
    pub algorithms: Vec<&'static str>,
    /// Audiences, of which one is enough; empty if any is.
    pub audience: Vec<String>,
    /// The first claim that may contain the scopes.
    pub scope_claim: String,
    /// Other claims, and the test of each in words.
    pub claims: Vec<(String, String)>,
    /// Whether the tokens are introspected, too.
    pub is_introspected: bool,
    /// Whether `jwt_authn` verifies the tokens.
    pub is_verified_by_host: bool,
    /// A token that meets all of this, but has no `exp`.
    pub example: Jwt,
}

/// The parts of a signed JWT.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Jwt {
    /// The header.
    pub header: Map<String, Value>,
    /// The payload.
    pub claims: Map<String, Value>,
    /// The size of the signature in bytes.
    pub signature_size: usize,
}

/// The requirements on a token.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TokenNeeds {
    /// Scopes, of which one entry is enough, with all of its words.
    pub scope: Vec<String>,
    /// Audiences, of which one is enough.
    pub audience: Vec<String>,
    /// Issuers, of which one is enough.
    pub issuer: Vec<String>,
    /// Authentication context class references, of which one is enough.
    pub acr_values: Vec<String>,
    /// The maximum time since the user was authenticated.
    pub max_age: Option<Duration>,
    /// The maximum age of a cached response.
    pub max_ttl: Option<Duration>,
    /// Whether responses must have a `token_type`.
    pub token_type: bool,
    /// Whether responses are a JWT, or have one.
    pub jwt_response: bool,
    /// The claim whose text replaces the caller's token.
    pub bearer: Option<String>,
    /// Other claims, and the test of each in words.
    pub claims: Vec<(String, String)>,
}

impl Filter {
    /// Explains which rules a request matches.
    pub fn explain(&self, head: &dyn Head) -> Explanation {
        let mut explanation = Explanation::default();
        if let Some(inbound) = &self.decider.inbound {
            let guard = inbound.guard();
            explanation.introspects = !guard.servers.is_empty();
            explanation.issuers = guard.issuers.iter().map(IssuerNeeds::of).collect();
            let target = Target::with(head, guard.encoded_slash);
            let covering = guard.resources.covering(&target).ok().flatten();
            let of_list = covering.filter(|_| guard.resources.look_at_several());
            explanation.resource =
                of_list.and_then(|resource| resource.audience.first()).map(ToString::to_string);
            let unknown = guard.resources.of_unknown();
            let resource = covering.unwrap_or(unknown);
            if let Ok(rule) = guard.rule(&target, head, &mut None) {
                let name = |_, rule: &Rule| rule.name.to_string();
                explanation.near = near(&guard.rules, rule, &target, name);
                let rule = rule.unwrap_or(&guard.unmatched);
                explanation.rule = Some(rule.name.to_string());
                let claims = |ClaimId(at): ClaimId| {
                    guard.reading.claims.get(at).map(|path| path.as_str().to_owned())
                };
                let is_typed = |server: &Server| server.reading.token_type == TokenType::Required;
                let token_type = guard.servers.iter().any(is_typed);
                let jwt_response =
                    guard.servers.iter().any(|s| s.introspection.format == ResponseFormat::Jwt);
                let bearer = guard.forward.bearer_claim().map(|claim| claim.as_str().to_owned());
                let needs = |needs: &Needs| {
                    let bearer = bearer.clone();
                    TokenNeeds {
                        token_type,
                        jwt_response,
                        bearer,
                        ..TokenNeeds::of(needs, resource, claims)
                    }
                };
                (explanation.access, explanation.needs) = match &rule.access {
                    Access::Public => ("public", TokenNeeds::default()),
                    Access::Deny(_) => ("deny", TokenNeeds::default()),
                    Access::Token(of_rule) => ("token", needs(of_rule)),
                    Access::Optional(of_rule) => ("optional", needs(of_rule)),
                };
            }
        }
        if let Some(outbound) = &self.decider.outbound {
            let name = |n: usize, _: &_| format!("outbound.rules[{n}]");
            let (rules, target) = (outbound.rules(), Target::new(head));
            if let Ok(rule) = rules.find(&target) {
                explanation.near.extend(near(rules, rule, &target, name));
            }
        }
        let chosen = self.decider.outbound.as_ref().and_then(|outbound| outbound.chosen(head));
        explanation.client = chosen.map(|client| client.name.to_string());
        explanation.looks_for_token =
            self.decider.inbound.is_some() || chosen.is_some_and(Client::is_exchange);
        explanation
    }

    /// The token of a request, if it is a JWT that is verified, and the issuer that verifies it.
    pub fn jwt(&self, head: &dyn Head) -> Option<(IssuerNeeds, Jwt)> {
        let guard = self.decider.inbound.as_ref()?.guard();
        let found = guard.token_sources.find(head, &|_| false).ok()??;
        let token = found.token.parse(guard.token_sources.max_bytes).ok()?;
        let (issuer, jwt) = guard.issuer_of(token.reveal()).ok()??;
        let signature_size = jwt.signed().map_or(0, |(_, signature)| signature.len());
        let needs = IssuerNeeds::of(guard.issuer(issuer)?);
        Some((needs, Jwt { header: jwt.header_members, claims: jwt.claims, signature_size }))
    }

    /// The header, or `:path`, with `token` in the place where the filter looks first; `None` if
    /// the request has a token already.
    pub fn carrier(&self, head: &dyn Head, token: &str) -> Option<(String, String)> {
        let sources = match &self.decider.inbound {
            Some(inbound) => inbound.guard().token_sources.clone(),
            None => TokenSources::default(),
        };
        let Ok(None) = sources.find(head, &|_| false) else { return None };
        Some(match sources.places.first()? {
            TokenSource::Scheme { header, scheme } => {
                (header.to_string(), format!("{scheme} {token}"))
            }
            TokenSource::Header(header) => (header.to_string(), token.to_owned()),
            TokenSource::Cookie(name) => ("cookie".to_owned(), format!("{name}={token}")),
            TokenSource::WebSocketProtocol(marker) => {
                ("sec-websocket-protocol".to_owned(), format!("{marker}, {token}"))
            }
            TokenSource::BasicPassword => {
                let credentials = base64::encode(format!(":{token}").as_bytes());
                ("authorization".to_owned(), format!("Basic {credentials}"))
            }
            TokenSource::Query(name) => {
                let path = head.value(":path").unwrap_or_default();
                let path = String::from_utf8_lossy(&path);
                let separator = if path.contains('?') { '&' } else { '?' };
                (":path".to_owned(), format!("{path}{separator}{name}={token}"))
            }
        })
    }
}

/// The most rules that are said to match nearly.
const MAX_NEAR: usize = 3;

/// The rules before the one that decides that match but for one condition.
fn near<T>(
    rules: &RuleIndex<T>,
    decides: Option<&T>,
    target: &Target<'_>,
    name: impl Fn(usize, &T) -> String,
) -> Vec<(String, String)> {
    let all =
        rules.matchers.iter().enumerate().filter_map(|(n, one)| Some((n, one, rules.get(n)?)));
    let earlier = all.take_while(|(_, _, rule)| !decides.is_some_and(|it| ptr::eq(it, *rule)));
    let near = earlier.filter_map(|(n, matcher, rule)| {
        Some((name(n, rule), missed(matcher, target, decides.is_none())?))
    });
    near.take(MAX_NEAR).collect()
}

impl TokenNeeds {
    /// Describes the requirements of a rule for requests to `resource`. `claims` returns the name
    /// of a claim.
    fn of(needs: &Needs, resource: &Resource, claims: impl Fn(ClaimId) -> Option<String>) -> Self {
        let texts = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect();
        let test = |(at, test): &(ClaimId, ClaimTest)| Some((claims(*at)?, test_text(test)));
        Self {
            scope: needs
                .scope
                .as_ref()
                .map(|scope| scope.texts().map(str::to_owned).collect())
                .unwrap_or_default(),
            audience: match &needs.audience {
                Audience::Any => Vec::new(),
                Audience::OneOf(accepted) => texts(accepted),
                Audience::Resource => texts(&resource.audience),
            },
            issuer: texts(&needs.issuer),
            acr_values: texts(&needs.acr_values),
            max_age: needs.max_age,
            max_ttl: needs.age.get(),
            token_type: false,
            jwt_response: false,
            bearer: None,
            claims: needs.claims.iter().filter_map(test).collect(),
        }
    }
}

impl IssuerNeeds {
    fn of(issuer: &Issuer) -> Self {
        let texts = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect();
        let claims = issuer.claims.iter();
        let scope_claim = issuer.reading.scope.claims.first();
        Self {
            issuer: issuer.identifier().to_owned(),
            types: texts(&issuer.types),
            algorithms: issuer.algorithms.iter().map(|algorithm| algorithm.name()).collect(),
            audience: texts(&issuer.audience),
            claims: claims
                .map(|(path, test)| (path.as_str().to_owned(), test_text(test)))
                .collect(),
            scope_claim: scope_claim.map_or("scope", ClaimPath::as_str).to_owned(),
            is_introspected: issuer.introspect,
            is_verified_by_host: matches!(issuer.keys, KeySource::JwtAuthn),
            example: example(issuer),
        }
    }
}

/// A token that an issuer's entry accepts, but for `exp`, which it lacks.
fn example(issuer: &Issuer) -> Jwt {
    let fixed = match &issuer.keys {
        KeySource::Fixed(keys) => keys.example(&issuer.algorithms),
        KeySource::Fetched(..) | KeySource::JwtAuthn => None,
    };
    let first = issuer.algorithms.first().copied().unwrap_or(SignatureAlgorithm::Rs256);
    let (algorithm, id, signature_size) =
        fixed.unwrap_or_else(|| (first, None, first.signature_size(RSA_2048)));
    let mut header = Map::from_iter([("alg".to_owned(), algorithm.name().into())]);
    header.extend(id.map(|id| ("kid".to_owned(), id.into())));
    header.extend(issuer.types.first().map(|typ| ("typ".to_owned(), Value::from(&**typ))));
    // A claim of this name counts, whatever dots are in it.
    let tests = issuer.claims.iter();
    let mut claims: Map<String, Value> =
        tests.map(|(path, test)| (path.as_str().to_owned(), meeting(test))).collect();
    claims.insert("iss".to_owned(), issuer.identifier().into());
    claims.extend(issuer.audience.first().map(|aud| ("aud".to_owned(), Value::from(&**aud))));
    Jwt { header, claims, signature_size }
}

/// The size of an RSA key of 2048 bits, in bytes.
const RSA_2048: usize = 256;

/// A claim that meets a condition.
fn meeting(test: &ClaimTest) -> Value {
    match test {
        ClaimTest::AnyOf(values) => values.first().cloned().unwrap_or_default(),
        ClaimTest::All(values) => values.clone().into(),
        ClaimTest::Not(values) => {
            // Longer than any of them.
            let texts = values.iter().filter_map(Value::as_str);
            "a".repeat(texts.map(str::len).max().unwrap_or(0).saturating_add(1)).into()
        }
        ClaimTest::Members(names) => {
            Map::from_iter(names.first().map(|name| (name.to_string(), Value::Bool(true)))).into()
        }
        ClaimTest::Exists => true.into(),
    }
}

impl Jwt {
    /// A JWK set with a key that can have signed it, as far as size and kind go; `None` if no key
    /// can.
    pub fn keys(&self) -> Option<Value> {
        let algorithm = SignatureAlgorithm::of_name(self.header.get("alg")?.as_str()?)?;
        let bytes = |size: usize| Base64UrlUnpadded::encode_string(&vec![0x81; size]);
        let mut key = match algorithm.key_type() {
            KeyType::Rsa => json!({"kty": "RSA", "n": bytes(self.signature_size), "e": "AQAB"}),
            KeyType::P256 => json!({"kty": "EC", "crv": "P-256", "x": bytes(32), "y": bytes(32)}),
            KeyType::P384 => json!({"kty": "EC", "crv": "P-384", "x": bytes(48), "y": bytes(48)}),
            KeyType::Ed25519 => json!({"kty": "OKP", "crv": "Ed25519", "x": bytes(32)}),
        };
        if let (Some(key), Some(id)) = (key.as_object_mut(), self.header.get("kid")) {
            key.insert("kid".to_owned(), id.clone());
        }
        Some(json!({"keys": [key]}))
    }
}

/// A test of a claim, in words.
fn test_text(test: &ClaimTest) -> String {
    let list = |values: &[Value], joined: &str| {
        values.iter().map(Value::to_string).collect::<Vec<_>>().join(joined)
    };
    match test {
        ClaimTest::AnyOf(values) => list(values, " or "),
        ClaimTest::All(values) => list(values, " and "),
        ClaimTest::Not(values) => format!("present, and not {}", list(values, " nor ")),
        ClaimTest::Members(names) => {
            format!("an object with {}", names.join(" or "))
        }
        ClaimTest::Exists => "there".to_owned(),
    }
}
