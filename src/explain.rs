//! What would happen to a request, for people who ask beforehand: no part of the module.

use std::time::Duration;

use serde_json::Value;

use crate::claims::ClaimTest;
use crate::filter::Filter;
use crate::head::Head;
use crate::policy::{Access, Needs};
use crate::rule_index::Target;
use crate::token_source::TokenSource;

/// Which rules a request meets, and what they need.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Explanation {
    /// What decides on the request: a rule's name or place, or `unmatched`. `None` if nothing is
    /// guarded, or the path is one that no rule can be compared with.
    pub rule: Option<String>,
    /// What `access` says there; empty if nothing decides.
    pub access: &'static str,
    /// What a token must be like.
    pub needs: TokenNeeds,
    /// The outbound client whose token the request gets.
    pub client: Option<String>,
}

/// What a token must be like.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TokenNeeds {
    /// Scopes, of which one entry will do, each with all of its words.
    pub scope: Vec<String>,
    /// Audiences, of which one will do.
    pub audience: Vec<String>,
    /// Issuers, of which one will do.
    pub issuer: Vec<String>,
    /// Authentication context class references, of which one will do.
    pub acr_values: Vec<String>,
    /// How long ago its user may have been authenticated.
    pub max_age: Option<Duration>,
    /// Other claims, and what each must be.
    pub claims: Vec<(String, String)>,
}

impl Filter {
    /// Which rules a request meets.
    pub fn explain(&self, head: &dyn Head) -> Explanation {
        let mut explanation = Explanation::default();
        if let Some(inbound) = &self.inbound {
            let guard = inbound.guard();
            if let Ok(rule) = guard.rules.find(&Target::new(head)) {
                let rule = rule.unwrap_or(&guard.unmatched);
                explanation.rule = Some(rule.name.to_string());
                let claims =
                    |at: usize| guard.reading.claims.get(at).map(|path| path.as_str().to_owned());
                let needs = |needs: &Needs| TokenNeeds::of(needs, claims);
                (explanation.access, explanation.needs) = match &rule.access {
                    Access::Public => ("public", TokenNeeds::default()),
                    Access::Deny(_) => ("deny", TokenNeeds::default()),
                    Access::Token(of_rule) => ("token", needs(of_rule)),
                    Access::Optional(of_rule) => ("optional", needs(of_rule)),
                };
            }
        }
        let client = self.outbound.as_ref().and_then(|outbound| outbound.client_for(head).ok()?);
        explanation.client = client.and_then(|n| self.clients().nth(n).map(str::to_owned));
        explanation
    }

    /// Puts a caller's token into a head, where the filter looks for it first.
    pub fn present(&self, head: &mut Vec<(String, String)>, token: &str) {
        let sources = self.inbound.as_ref().map(|inbound| &inbound.guard().token_sources);
        let first = sources.and_then(|sources| sources.first().cloned());
        match first.unwrap_or_else(TokenSource::authorization) {
            TokenSource::Scheme { header, scheme } => {
                head.push((header.to_string(), format!("{scheme} {token}")));
            }
            TokenSource::Header(header) => head.push((header.to_string(), token.to_owned())),
            TokenSource::Cookie(name) => {
                head.push(("cookie".to_owned(), format!("{name}={token}")));
            }
            TokenSource::Query(name) => {
                if let Some((_, path)) = head.iter_mut().find(|(name, _)| name == ":path") {
                    let separator = if path.contains('?') { '&' } else { '?' };
                    path.extend([separator.to_string().as_str(), &name, "=", token]);
                }
            }
        }
    }
}

impl TokenNeeds {
    /// What a rule needs, in text. `claims` names the claims that are kept.
    fn of(needs: &Needs, claims: impl Fn(usize) -> Option<String>) -> Self {
        let texts = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect();
        let test = |(at, test): &(usize, ClaimTest)| Some((claims(*at)?, test_text(test)));
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
        ClaimTest::Not(values) => format!("there, and not {}", list(values, " nor ")),
        ClaimTest::Exists => "there".to_owned(),
    }
}
