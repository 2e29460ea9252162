//! The decision on a request: it is forwarded with changes, or gets a response from the filter.

use std::slice;
use std::sync::Arc;

use crate::cache::footprint::Footprint;
use crate::http::head::Fields;
use crate::http::header_name::{CONNECTION, Spelling, connection_without, options_without};
use crate::metrics::Decision;
use crate::oauth::call::TokenUse;
use crate::oauth::denial::{Reply, Resource};
use crate::oauth::standing::Standing;
use crate::oauth::token_source::Removal;
use crate::oauth::token_state::{SharedHeaders, TokenAttribute};
use crate::timestamp::Timestamp;

/// The decision on a request.
#[derive(Debug, Eq, PartialEq)]
#[must_use]
pub struct Verdict {
    /// Whether the request is forwarded.
    pub action: Action,
    /// Filter state for access logs, policies and routes.
    pub attributes: Attributes,
    /// The proxy's token that the request carries, to be passed in with the upstream response.
    pub sent: Option<TokenUse>,
    /// The caller's token, if it was checked and is active.
    pub(crate) checked: Option<VerifiedSubject>,
    /// The resource that a request with a token is for, which challenges that follow describe.
    pub(crate) resource: Option<Arc<Resource>>,
}

/// A caller's token that was checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct VerifiedSubject {
    /// When it is no longer accepted, if known.
    pub(crate) end: Option<Timestamp>,
    pub(crate) standing: Standing,
}

impl Verdict {
    /// A verdict that forwards the request unchanged.
    pub(crate) fn unchanged() -> Self {
        Self::of(Action::Forward(Forward::default()))
    }

    /// A verdict with this action and nothing else.
    pub(crate) fn of(action: Action) -> Self {
        Self {
            action,
            attributes: Attributes::default(),
            sent: None,
            checked: None,
            resource: None,
        }
    }
}

/// The filter state that a request gets.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Attributes {
    /// The decision of the inbound direction, if that is configured.
    pub(crate) decision: Option<Decision>,
    /// The name of the rule that applied, if there are rules.
    pub(crate) rule: Option<Arc<str>>,
    /// Attributes of the caller's token.
    pub(crate) token: Option<Arc<[TokenAttribute]>>,
}

impl Attributes {
    /// The names and values. A request that was allowed because of its token has no reason.
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

/// Whether a request is forwarded.
#[derive(Debug, Eq, PartialEq)]
pub enum Action {
    /// The request is forwarded with these changes.
    Forward(Forward),
    /// The request ends here, with this response.
    Respond(Reply),
}

/// The changes to a request that is forwarded: headers are removed first, and then set and added.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Forward {
    /// The first header to remove, which needs no allocation: most requests have no other one.
    pub(crate) first: Option<Arc<str>>,
    /// Further headers to remove.
    pub(crate) remove: Vec<Arc<str>>,
    /// Headers, or `:path`, to set in place of all their values.
    pub set: Vec<(Arc<str>, Arc<str>)>,
    /// Headers to add, of which the request then has no value: hosts need not look for one.
    pub(crate) add: Option<SharedHeaders>,
    /// Whether the upstream response is for this caller only (RFC 6750, section 2.3).
    pub private: bool,
}

impl Forward {
    /// The headers to remove, each with all its values.
    pub fn removed(&self) -> impl Iterator<Item = &Arc<str>> {
        self.first.iter().chain(&self.remove)
    }

    pub(crate) fn removes(&self, name: &Arc<str>) -> bool {
        self.removed().any(|removed| removed == name)
    }

    /// Sets a header, in place of all other changes to it.
    pub(crate) fn replace(&mut self, name: &Arc<str>, value: &Arc<str>) {
        self.first.take_if(|first| first == name);
        self.remove.retain(|removed| removed != name);
        self.put(Arc::clone(name), Arc::clone(value));
    }

    /// Sets a header, in place of another value to set.
    fn put(&mut self, name: Arc<str>, value: Arc<str>) {
        self.unset(&name);
        self.set.push((name, value));
    }

    /// Removes a header, in place of all other changes to it.
    pub(crate) fn drop_header(&mut self, name: &Arc<str>) {
        self.unset(name);
        self.take_out(&Removal::Remove(Arc::clone(name)));
    }

    /// Takes back the value that a header was to get.
    fn unset(&mut self, name: &Arc<str>) {
        self.set.retain(|(set, _)| set != name);
        if self.added().any(|(added, _)| added == name) {
            self.add = Some(self.added().filter(|(added, _)| added != name).cloned().collect());
        }
    }

    /// The headers to add, of which the request has no value once others are removed.
    pub fn added(&self) -> impl Iterator<Item = &(Arc<str>, Arc<str>)> {
        self.add.iter().flat_map(|headers| headers.iter())
    }

    /// The headers that get a value.
    pub fn given(&self) -> impl Iterator<Item = &(Arc<str>, Arc<str>)> {
        self.set.iter().chain(self.added())
    }

    /// Prevents a caller from making the next hop remove these headers (`Connection`).
    pub(crate) fn keep_from_next_hop(&mut self, fields: &Fields, names: &[Spelling]) {
        self.keep_connection(connection_without(fields, names));
    }

    /// Leaves these options of `Connection`, if they change.
    fn keep_connection(&mut self, rest: Option<String>) {
        match rest {
            None => {}
            Some(rest) if rest.is_empty() => self.drop_header(&CONNECTION.into()),
            Some(rest) => self.put(CONNECTION.into(), rest.into()),
        }
    }

    /// Sets further headers, in place of other values to set.
    fn put_all(&mut self, headers: Vec<(Arc<str>, Arc<str>)>) {
        for (name, value) in headers {
            self.put(name, value);
        }
    }

    /// Adds the changes that keep the next hop from removing the header with this spelling, and
    /// other spellings of it from being forwarded. `Connection` may have been changed already.
    pub(crate) fn protect(&mut self, clean: Self, spelling: &Spelling) {
        self.remove.extend(clean.removed().cloned());
        match self.set.iter().find(|(name, _)| **name == *CONNECTION) {
            Some((_, value)) => {
                self.keep_connection(options_without(value.as_bytes(), slice::from_ref(spelling)));
            }
            None if self.removes(&CONNECTION.into()) => {}
            None => self.put_all(clean.set),
        }
    }

    /// Applies the removal of a token.
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
        let Self { first, remove, set, add, private: _ } = self;
        let first = first.as_ref().map_or(0, Footprint::owned_bytes);
        [remove.owned_bytes(), set.owned_bytes(), add.owned_bytes()]
            .into_iter()
            .fold(first, usize::saturating_add)
    }
}
