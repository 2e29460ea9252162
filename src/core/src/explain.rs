//! Explains in advance what the filter would do with a request. This is not part of the module.

use std::time::Duration;

use serde_json::Value;

use crate::filter::Filter;
use crate::http::head::Head;
use crate::ids::ClaimId;
use crate::inbound::policy::{Access, Needs};
use crate::inbound::servers::Server;
use crate::oauth::claims::ClaimTest;
use crate::oauth::introspection::TokenType;
use crate::oauth::token_source::{TokenSource, present};
use crate::outbound::client::Client;
use crate::rules::target::Target;

/// The rules that a request matches, and what they require.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Explanation {
    /// The rule that applies: its name or position, or `unmatched`. `None` if there are no inbound
    /// rules, or if the path is ambiguous.
    pub rule: Option<String>,
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
    /// Whether responses must have a `token_type`.
    pub token_type: bool,
    /// Other claims, and the test of each in words.
    pub claims: Vec<(String, String)>,
}

impl Filter {
    /// Explains which rules a request matches.
    pub fn explain(&self, head: &dyn Head) -> Explanation {
        let mut explanation = Explanation::default();
        if let Some(inbound) = &self.decider.inbound {
            let guard = inbound.guard();
            if let Ok(rule) = guard.rule(&Target::new(head), head, &mut None) {
                explanation.rule = Some(rule.name.to_string());
                let claims = |ClaimId(at): ClaimId| {
                    guard.reading.claims.get(at).map(|path| path.as_str().to_owned())
                };
                let is_typed = |server: &Server| server.token_type == TokenType::Required;
                let token_type = guard.servers.iter().any(is_typed);
                let needs =
                    |needs: &Needs| TokenNeeds { token_type, ..TokenNeeds::of(needs, claims) };
                (explanation.access, explanation.needs) = match &rule.access {
                    Access::Public => ("public", TokenNeeds::default()),
                    Access::Deny(_) => ("deny", TokenNeeds::default()),
                    Access::Token(of_rule) => ("token", needs(of_rule)),
                    Access::Optional(of_rule) => ("optional", needs(of_rule)),
                };
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
            None => vec![TokenSource::authorization()],
        };
        let Ok(None) = present(&sources, head) else { return None };
        Some(match sources.first()? {
            TokenSource::Scheme { header, scheme } => {
                (header.to_string(), format!("{scheme} {token}"))
            }
            TokenSource::Header(header) => (header.to_string(), token.to_owned()),
            TokenSource::Cookie(name) => ("cookie".to_owned(), format!("{name}={token}")),
            TokenSource::Query(name) => {
                let path = head.value(":path").unwrap_or_default();
                let path = String::from_utf8_lossy(&path);
                let separator = if path.contains('?') { '&' } else { '?' };
                (":path".to_owned(), format!("{path}{separator}{name}={token}"))
            }
        })
    }
}

impl TokenNeeds {
    /// Describes the requirements of a rule. `claims` returns the name of a claim.
    fn of(needs: &Needs, claims: impl Fn(ClaimId) -> Option<String>) -> Self {
        let texts = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect();
        let test = |(at, test): &(ClaimId, ClaimTest)| Some((claims(*at)?, test_text(test)));
        Self {
            scope: needs
                .scope
                .as_ref()
                .map(|scope| scope.texts().map(str::to_owned).collect())
                .unwrap_or_default(),
            audience: texts(&needs.audience),
            issuer: texts(&needs.issuer),
            acr_values: texts(&needs.acr_values),
            max_age: needs.max_age,
            token_type: false,
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
        ClaimTest::Exists => "there".to_owned(),
    }
}
