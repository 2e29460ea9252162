//! What requests need, and whether a token meets it.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::ClaimId;
use crate::oauth::claims::ClaimTest;
use crate::oauth::denial::Denial;
use crate::oauth::introspection::IntrospectedToken;
use crate::oauth::reason::Reason;
use crate::oauth::scope::ScopeNeed;
use crate::timestamp::Timestamp;

/// What the requests that it is for need.
#[derive(Debug)]
pub(crate) struct Rule {
    /// What logs and filter state call it.
    pub(crate) name: Arc<str>,
    /// What they need.
    pub(crate) access: Access,
}

/// What a request needs.
#[derive(Debug)]
pub(crate) enum Access {
    /// Nothing.
    Public,
    /// Nothing that it could have.
    Deny(Reason),
    /// A token that meets the needs.
    Token(Arc<Needs>),
    /// The same if it has a token at all.
    Optional(Arc<Needs>),
}

/// What a token must be like.
#[derive(Debug)]
pub(crate) struct Needs {
    /// The name of the rule that needs it.
    pub(crate) rule: Arc<str>,
    /// One of these must be its issuer; none given, any will do.
    pub(crate) issuer: Vec<Box<str>>,
    /// One of these must be in its audience; none given, any will do.
    pub(crate) audience: Vec<Box<str>>,
    /// One of these must be how its user was authenticated; none given, any will do.
    pub(crate) acr_values: Vec<Box<str>>,
    /// How long ago its user may have been authenticated.
    pub(crate) max_age: Option<Duration>,
    /// What it must hold.
    pub(crate) scope: Option<ScopeNeed>,
    /// What else must be said of it: the place of a claim among those that are kept, and its test.
    pub(crate) claims: Vec<(ClaimId, ClaimTest)>,
}

impl Needs {
    /// A denial for a token of which no scopes are known.
    pub(crate) fn deny(&self, reason: Reason) -> Denial {
        Denial::new(reason).with_scope(self.scope.as_ref().map(ScopeNeed::shortest))
    }

    /// Judges a token. Kept answers are judged like new ones, on every request.
    ///
    /// # Errors
    /// The first need that is not met: first whether the token is good at all, then whether its
    /// user is authenticated as needed, then what it allows.
    pub(crate) fn check(
        &self,
        token: &IntrospectedToken,
        skew: Duration,
        now: Timestamp,
    ) -> Result<(), Denial> {
        if token.expires.is_some_and(|end| now >= end.plus(skew)) {
            return Err(self.deny(Reason::Expired));
        }
        if token.not_before.is_some_and(|start| now.plus(skew) < start) {
            return Err(self.deny(Reason::NotYetValid));
        }
        if !self.issuer.is_empty() && !self.issuer.iter().any(|i| token.issuer.as_ref() == Some(i))
        {
            return Err(self.deny(Reason::WrongIssuer));
        }
        if !self.audience.is_empty() && !self.audience.iter().any(|a| token.audience.contains(a)) {
            return Err(self.deny(Reason::WrongAudience));
        }
        if !self.is_authenticated(token, skew, now) {
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

    /// Whether the user was authenticated by one of the means, and not too long ago (RFC 9470).
    fn is_authenticated(&self, token: &IntrospectedToken, skew: Duration, now: Timestamp) -> bool {
        let acr = token.acr.as_ref();
        let by_means = self.acr_values.is_empty() || self.acr_values.iter().any(|a| acr == Some(a));
        let in_time = self.max_age.is_none_or(|age| {
            token.authenticated.is_some_and(|then| now <= then.plus(age).plus(skew))
        });
        by_means && in_time
    }
}
