//! The requirements of access rules, and the check of a token against them.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::age::AgeLimit;
use crate::ids::ClaimId;
use crate::inbound::mcp::McpPattern;
use crate::oauth::claims::ClaimTest;
use crate::oauth::denial::{Denial, Resource};
use crate::oauth::introspection::IntrospectedToken;
use crate::oauth::reason::Reason;
use crate::oauth::scope::ScopeNeed;
use crate::timestamp::Timestamp;

/// An inbound rule, without the conditions on the requests that it matches.
#[derive(Debug)]
pub(crate) struct Rule {
    /// The name in logs and filter state.
    pub(crate) name: Arc<str>,
    pub(crate) access: Access,
    /// The messages that it matches, of requests that it otherwise matches.
    pub(crate) mcp: Option<McpRule>,
}

/// The messages that a rule matches.
#[derive(Debug)]
pub(crate) struct McpRule {
    pub(crate) pattern: McpPattern,
    /// The requirements on the token of a request whose message is uncertain.
    pub(crate) needs: Arc<Needs>,
}

/// The access that a rule gives.
#[derive(Debug)]
pub(crate) enum Access {
    /// No token is needed.
    Public,
    /// Every request is denied for this reason.
    Deny(Reason),
    /// A token is required and must meet these needs.
    Token(Arc<Needs>),
    /// A token is optional, but must meet these needs if there is one.
    Optional(Arc<Needs>),
}

/// The requirements on a token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    /// The name of the rule.
    pub(crate) rule: Arc<str>,
    /// The accepted issuers; any if empty.
    pub(crate) issuer: Vec<Box<str>>,
    pub(crate) audience: Audience,
    /// The accepted authentication context class references (`acr`); any if empty.
    pub(crate) acr_values: Vec<Box<str>>,
    /// The maximum time since the user was authenticated.
    pub(crate) max_age: Option<Duration>,
    pub(crate) scope: Option<ScopeNeed>,
    /// Tests of further claims, each with the ID of its claim.
    pub(crate) claims: Vec<(ClaimId, ClaimTest)>,
    /// The maximum age of the response on the token.
    pub(crate) age: AgeLimit,
}

/// The accepted audiences.
#[derive(Clone, Debug, Default)]
pub(crate) enum Audience {
    #[default]
    Any,
    /// The token must have one of these.
    OneOf(Vec<Box<str>>),
    /// The token must have the resource that the request is for.
    Resource,
}

impl Audience {
    /// Whether the token is for one of them, in a request for `resource`.
    fn accepts(&self, token: &IntrospectedToken, resource: &Resource) -> bool {
        let accepted = match self {
            Self::Any => return true,
            Self::OneOf(accepted) => accepted,
            Self::Resource => &resource.audience,
        };
        accepted.iter().any(|audience| token.audience.contains(audience))
    }
}

impl Needs {
    /// A denial of a token whose scopes are unknown.
    pub(crate) fn deny(&self, reason: Reason) -> Denial {
        Denial::new(reason).with_scope(self.scope.as_ref().map(ScopeNeed::shortest))
    }

    /// Checks an active token in a request for `resource`. Cached responses are checked like new
    /// ones, on every request.
    ///
    /// # Errors
    /// The first requirement that is not met: first those on the validity of the token, then those
    /// on the authentication of its user, then those on scopes and claims.
    pub(crate) fn check(
        &self,
        token: &IntrospectedToken,
        resource: &Resource,
        now: Timestamp,
    ) -> Result<(), Denial> {
        if token.end.is_some_and(|end| now >= end) {
            return Err(self.deny(Reason::Expired));
        }
        if token.start.is_some_and(|start| now < start) {
            return Err(self.deny(Reason::NotYetValid));
        }
        if !self.issuer.is_empty() && !self.issuer.iter().any(|i| token.issuer.as_ref() == Some(i))
        {
            return Err(self.deny(Reason::WrongIssuer));
        }
        if !self.audience.accepts(token, resource) {
            return Err(self.deny(Reason::WrongAudience));
        }
        if !self.is_authenticated(token, now) {
            let acr_values = (!self.acr_values.is_empty()).then(|| self.acr_values.join(" "));
            let max_age = self.max_age.map(|age| age.as_secs());
            let denial = self.deny(Reason::InsufficientUserAuthentication);
            return Err(denial.with_authentication(acr_values, max_age));
        }
        if let Some(scope) = &self.scope {
            scope.check(&token.scope).map_err(|nearest| {
                Denial::new(Reason::InsufficientScope).with_scope(Some(nearest))
            })?;
        }
        let is_met = |(ClaimId(at), test): &(ClaimId, ClaimTest)| {
            test.is_met(token.claims.get(*at).and_then(Option::as_ref))
        };
        if self.claims.iter().all(is_met) { Ok(()) } else { Err(self.deny(Reason::ClaimNotMet)) }
    }

    /// Whether the user was authenticated with an accepted method and recently enough (RFC 9470).
    fn is_authenticated(&self, token: &IntrospectedToken, now: Timestamp) -> bool {
        let acr = token.acr.as_ref();
        let by_means = self.acr_values.is_empty() || self.acr_values.iter().any(|a| acr == Some(a));
        let in_time = self
            .max_age
            .is_none_or(|age| token.authenticated.is_some_and(|then| now <= then.plus(age)));
        by_means && in_time
    }
}
