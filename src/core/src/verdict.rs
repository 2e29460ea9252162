//! What is decided on a request: forwarded with changes, or answered.

use std::sync::Arc;

use crate::cache::footprint::Footprint;
use crate::http::head::Fields;
use crate::http::header_name::{CONNECTION, Spelling, connection_without};
use crate::metrics::Decision;
use crate::oauth::call::TokenUse;
use crate::oauth::denial::Reply;
use crate::oauth::token_source::Removal;
use crate::oauth::token_state::TokenAttribute;
use crate::timestamp::Timestamp;

/// What is done with a request.
#[derive(Debug, Eq, PartialEq)]
#[must_use]
pub struct Verdict {
    /// Whether it goes on.
    pub action: Action,
    /// Filter state for access logs, policies and routes.
    pub attributes: Attributes,
    /// The token of ours that it goes on with, to be named when its response comes.
    pub sent: Option<TokenUse>,
    /// What is known of the caller's token, if it was checked and is good.
    pub(crate) checked: Option<VerifiedSubject>,
}

/// A caller's token that was checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct VerifiedSubject {
    /// When it ends, if that is known.
    pub(crate) expires: Option<Timestamp>,
}

impl Verdict {
    /// A request that goes on as it came.
    pub(crate) fn unchanged() -> Self {
        Self::of(Action::Forward(Forward::default()))
    }

    /// Nothing but what is done with it.
    pub(crate) fn of(action: Action) -> Self {
        Self { action, attributes: Attributes::default(), sent: None, checked: None }
    }
}

/// The filter state that a request gets.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Attributes {
    /// What was decided, if it was for the inbound direction to decide.
    pub(crate) decision: Option<Decision>,
    /// The name of the rule that decided, if there are rules.
    pub(crate) rule: Option<Arc<str>>,
    /// What its token gives.
    pub(crate) token: Option<Arc<[TokenAttribute]>>,
}

impl Attributes {
    /// Names and values. That a token has let a request pass is no reason worth naming.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let decision =
            self.decision.map(|decision| ("oauth2_decision", decision.labels().decision));
        let reason = self.decision.filter(|decision| *decision != Decision::Allowed);
        let reason = reason.map(|decision| ("oauth2_reason", decision.labels().reason));
        let rule = self.rule.as_deref().map(|rule| ("oauth2_rule", rule));
        let token = self.token.iter().flat_map(|token| token.iter());
        let token = token.map(|(name, value)| (*name, &**value));
        decision.into_iter().chain(reason).chain(rule).chain(token)
    }
}

/// Whether a request goes on.
#[derive(Debug, Eq, PartialEq)]
pub enum Action {
    /// It goes on to the service, changed like this.
    Forward(Forward),
    /// It ends here, with this answer.
    Respond(Reply),
}

/// How a request goes on: what goes from its head, then what is set there.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Forward {
    /// The first header to take out: in most requests the only one, which needs no allocation here.
    pub(crate) first: Option<Arc<str>>,
    /// Other headers to take out.
    pub(crate) remove: Vec<Arc<str>>,
    /// Headers, or `:path`, to set; no other value of theirs stays.
    pub set: Vec<(Arc<str>, Arc<str>)>,
    /// Whether the service's answer is for this caller only (RFC 6750, section 2.3).
    pub private: bool,
}

impl Forward {
    /// Headers to take out, every value of each.
    pub fn removed(&self) -> impl Iterator<Item = &Arc<str>> {
        self.first.iter().chain(&self.remove)
    }

    /// Whether a header is taken out.
    pub(crate) fn removes(&self, name: &Arc<str>) -> bool {
        self.removed().any(|removed| removed == name)
    }

    /// Sets a header, in place of what was to become of it.
    pub(crate) fn replace(&mut self, name: &Arc<str>, value: &Arc<str>) {
        self.first.take_if(|first| first == name);
        self.remove.retain(|removed| removed != name);
        self.put(Arc::clone(name), Arc::clone(value));
    }

    /// Sets a header, in place of what was to be set there.
    fn put(&mut self, name: Arc<str>, value: Arc<str>) {
        self.set.retain(|(set, _)| *set != name);
        self.set.push((name, value));
    }

    /// Takes a header out, in place of what was to become of it.
    pub(crate) fn drop_header(&mut self, name: &Arc<str>) {
        self.set.retain(|(set, _)| set != name);
        self.take_out(&Removal::Remove(Arc::clone(name)));
    }

    /// Keeps these headers from being taken out by the next hop on the caller's word.
    pub(crate) fn keep_from_next_hop(&mut self, fields: &Fields, names: &[Spelling]) {
        match connection_without(fields, names) {
            None => {}
            Some(rest) if rest.is_empty() => self.take_out(&Removal::Remove(CONNECTION.into())),
            Some(rest) => self.add(vec![(CONNECTION.into(), rest.into())]),
        }
    }

    /// Sets further headers, in place of what was to be set there.
    pub(crate) fn add(&mut self, headers: Vec<(Arc<str>, Arc<str>)>) {
        for (name, value) in headers {
            self.put(name, value);
        }
    }

    /// Takes a token out.
    pub(crate) fn take_out(&mut self, removal: &Removal) {
        match removal {
            Removal::Remove(name) if self.removes(name) => {}
            Removal::Remove(name) if self.first.is_none() => self.first = Some(Arc::clone(name)),
            Removal::Remove(name) => self.remove.push(Arc::clone(name)),
            Removal::Replace(name, value) => self.put(Arc::clone(name), Arc::clone(value)),
        }
    }
}

impl Footprint for Forward {
    fn owned_bytes(&self) -> usize {
        let Self { first, remove, set, private: _ } = self;
        let first = first.as_ref().map_or(0, Footprint::owned_bytes);
        [remove.owned_bytes(), set.owned_bytes()].into_iter().fold(first, usize::saturating_add)
    }
}
