//! Explains in advance what the filter would do with a request. This is not part of the module.

use std::ptr;
use std::time::Duration;

use serde_json::Value;

use crate::filter::Filter;
use crate::http::base64;
use crate::http::head::Head;
use crate::ids::ClaimId;
use crate::inbound::policy::{Access, Audience, Needs, Rule};
use crate::inbound::servers::Server;
use crate::oauth::claims::ClaimTest;
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
