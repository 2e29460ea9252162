//! Determines from the head of a request which client's token it gets.

use std::sync::Arc;

use super::injection::{Injection, PendingInjection, Presentation};
use super::state::Outbound;
use crate::http::authority::Authority;
use crate::http::head::Head;
use crate::http::header_name::CONNECTION;
use crate::http::path::RequestPath;
use crate::http::url::split_scheme;
use crate::ids::ClientId;
use crate::oauth::reason::Reason;
use crate::oauth::secret::Secret;
use crate::oauth::token_source::{Presented, Removals};
use crate::outbound::client::{Client, Placement};
#[cfg(feature = "review")]
use crate::rules::index::RuleIndex;
use crate::rules::target::Target;
use crate::timestamp::Timestamp;
use crate::verdict::Forward;

impl Outbound {
    /// Plans the token of a request.
    ///
    /// # Errors
    /// The client, or the token to exchange, cannot be determined.
    pub(crate) fn plan(&self, head: &dyn Head) -> Result<Injection, Reason> {
        let number = self.client_for(head)?;
        let leaked_headers = self.leaked_headers(head);
        let Some(number) = number.filter(|_| !is_tunnel(head)) else {
            return Ok(Injection::Leave(leaked_headers));
        };
        let client = self.config.client(number).ok_or(Reason::HostError)?;
        let (mut subject, removals) =
            if client.is_exchange() { self.subject(head)? } else { (Presentation::Absent, None) };
        if !leaked_headers.is_empty() && matches!(subject, Presentation::Token(_)) {
            // After a redirect, the token is one of the proxy's own, and the caller's is lost.
            subject = Presentation::Absent;
        }
        let placement = &client.placement;
        // Envoy may run a request through the filter again, among a cluster's filters or after a
        // redirect, with the head that the filter has changed: this value is not the caller's own.
        let is_ours = |value: &[u8]| {
            leaked_headers.contains(&placement.header)
                || self.tokens.get(number.index()).is_some_and(|token| token.is_ours(value))
        };
        let own_header = !placement.overwrite
            && head.value(&placement.header).is_some_and(|value| !is_ours(&value));
        let clean = clean(placement, head)?;
        let grpc = false;
        Ok(Injection::Inject(PendingInjection {
            client: number,
            subject,
            removals,
            own_header,
            leaked_headers,
            clean,
            grpc,
        }))
    }

    /// Whether a trailer with this name must not be forwarded.
    pub(crate) fn is_reserved(&self, name: &[u8]) -> bool {
        self.config.clients.iter().any(|client| client.placement.spelling.matches(name))
    }

    /// The caller's token to exchange, and its removal.
    fn subject(&self, head: &dyn Head) -> Result<(Presentation, Option<Removals>), Reason> {
        let sources = &self.config.token_sources;
        let found = match sources.find(head, &|_| false) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok((Presentation::Absent, None)),
            // Where callers' tokens are checked, the inbound direction rejects invalid ones, except on
            // paths that need none.
            Err(reason) if self.config.guarded => {
                return Ok((Presentation::Ambiguous(reason), None));
            }
            Err(reason) => return Err(reason),
        };
        let subject = match found.token.parse(sources.max_bytes) {
            Ok(token) => Presentation::Token(Secret::new(token.reveal().to_owned())),
            Err(_) if self.config.guarded => Presentation::Absent,
            Err(reason) => return Err(reason),
        };
        Ok((subject, Some(found.removals)))
    }

    /// Whether the proxy has put this token on the request before: Envoy has followed a redirect,
    /// or runs the request through the filter again among a cluster's filters. An exchanged token
    /// still represents the caller, except after a redirect, because it was for the previous
    /// destination.
    pub(crate) fn is_ours(
        &self,
        plan: &Injection,
        presented: &Presented<'_>,
        now: Timestamp,
    ) -> bool {
        let leaked_headers = match plan {
            Injection::Leave(leaked_headers)
            | Injection::Inject(PendingInjection { leaked_headers, .. }) => leaked_headers,
        };
        let token = presented.unchecked();
        self.tokens.iter().any(|ours| ours.is_our_token(token))
            || !leaked_headers.is_empty() && self.exchanged.has_issued(token, now)
    }

    fn client_for(&self, head: &dyn Head) -> Result<Option<ClientId>, Reason> {
        // If the rule that matches cannot be determined, the request gets no client's token.
        Ok(self.config.rules.find(&Target::new(head))?.copied().flatten())
    }

    /// Like [`client_for`](Self::client_for), for explanations.
    #[cfg(feature = "review")]
    pub(crate) fn chosen(&self, head: &dyn Head) -> Option<&Client> {
        self.config.client(self.client_for(head).ok()??)
    }

    #[cfg(feature = "review")]
    pub(crate) fn rules(&self) -> &RuleIndex<Option<ClientId>> {
        &self.config.rules
    }

    /// The headers with tokens that were for the previous destination: Envoy has followed a
    /// redirect with the head that the filter has changed (`internal_redirect_policy`).
    fn leaked_headers(&self, head: &dyn Head) -> Vec<Arc<str>> {
        let Some(original) = head.value("x-envoy-original-url") else { return Vec::new() };
        let mut headers: Vec<Arc<str>> = Vec::new();
        for client in self.clients_of_url(&String::from_utf8_lossy(&original)) {
            let header = &client.placement.header;
            if !headers.contains(header) {
                headers.push(Arc::clone(header));
            }
        }
        headers.retain(|header| head.value(header).is_some());
        headers
    }

    /// The clients whose tokens a request to this URL may have got. Its method is unknown.
    fn clients_of_url(&self, url: &str) -> Vec<&Client> {
        let rest = split_scheme(url).map_or(url, |(_, rest)| rest);
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let Ok(authority) = Authority::parse(authority.as_bytes()) else {
            return self.config.clients.iter().collect();
        };
        let path = RequestPath::parse(path.as_bytes()).ok();
        let rules = self.config.rules.candidates(&authority.host, path.as_ref());
        rules.into_iter().filter_map(|client| self.config.client((*client)?)).collect()
    }
}

/// Whether a request asks for a tunnel (RFC 9110, section 9.3.6): its head is for the next proxy,
/// not for the host that it names. Extended CONNECT (RFC 8441) is for that host.
fn is_tunnel(head: &dyn Head) -> bool {
    head.value(":method").is_some_and(|method| *method == *b"CONNECT")
        && head.value(":protocol").is_none()
}

/// The changes to a head besides the header of the token.
fn clean(placement: &Placement, head: &dyn Head) -> Result<Option<Box<Forward>>, Reason> {
    let mut forward = Forward::default();
    let Placement { header, spelling, .. } = placement;
    if spelling.has_others() {
        for name in head.fields().names([spelling.len()].into_iter().collect()) {
            if spelling.matches(name) && name != header.as_bytes() {
                let name = std::str::from_utf8(name).map_err(|_| Reason::HostError)?;
                forward.remove.push(name.into());
            }
        }
    }
    if head.value(CONNECTION).is_some() {
        forward.keep_from_next_hop(head.fields(), std::slice::from_ref(spelling));
    }
    Ok((forward != Forward::default()).then(|| Box::new(forward)))
}
