//! What a request's head says about its way out: whose token it gets.

use std::rc::Rc;

use super::Outbound;
use crate::client::Client;
use crate::denial::Reason;
use crate::guard::is_grpc;
use crate::head::Head;
use crate::path::{BadPath, NormalPath};
use crate::rule_index::Target;
use crate::rules::host_of;
use crate::secret::Secret;
use crate::timestamp::Timestamp;
use crate::token_source::{Presented, Removal, present};

/// What a request's head says about its way out.
#[derive(Debug)]
pub(crate) enum Plan {
    /// No client's token is for it. These headers of ours must not go where it goes.
    Leave(Vec<Rc<str>>),
    /// It gets a client's token.
    Inject(Errand),
}

/// A request that gets a client's token.
#[derive(Debug)]
pub(crate) struct Errand {
    /// The client.
    pub(super) client: usize,
    /// The caller's token, if it is to be exchanged.
    pub(super) subject: Option<Secret>,
    /// What takes that token out of the request.
    pub(super) removal: Option<Removal>,
    /// Whether the caller has set the header.
    pub(super) own_header: bool,
    /// Headers of ours, of another client, that must not go where it goes.
    pub(super) strays: Vec<Rc<str>>,
    /// Whether it is a gRPC request; looked at if it may have to be told why it is refused.
    pub(super) grpc: bool,
}

impl Plan {
    /// Takes what is needed later, when the head is gone.
    pub(crate) fn without_head(self, head: &dyn Head) -> Self {
        match self {
            Self::Inject(errand) => Self::Inject(errand.without_head(head)),
            Self::Leave(strays) => Self::Leave(strays),
        }
    }
}

impl Errand {
    /// The same.
    pub(super) fn without_head(self, head: &dyn Head) -> Self {
        Self { grpc: is_grpc(head), ..self }
    }
}

impl Outbound {
    /// What a request's head says about its way out.
    ///
    /// # Errors
    /// It cannot be told whose token is for it, or what is to be exchanged.
    pub(crate) fn plan(&self, head: &dyn Head) -> Result<Plan, Reason> {
        let number = self.client_for(head)?;
        let strays = self.strays(head);
        let Some(number) = number else { return Ok(Plan::Leave(strays)) };
        let Some(client) = self.config.clients.get(number) else {
            return Ok(Plan::Leave(Vec::new()));
        };
        // After a redirect it is a token of ours that stands there, and the caller's is lost.
        let (subject, removal) = if client.is_exchange() && strays.is_empty() {
            self.subject(head)?
        } else {
            (None, None)
        };
        let placement = &client.placement;
        // Where Envoy sends a request again, among a cluster's filters or after a redirect, it does
        // so with the head that we had made: that is not the caller's own.
        let is_ours = |value: &[u8]| {
            strays.contains(&placement.header)
                || self.holders.get(number).is_some_and(|holder| holder.is_ours(value))
        };
        let own_header = !placement.overwrite
            && head.value(&placement.header).is_some_and(|value| !is_ours(&value));
        let grpc = false;
        Ok(Plan::Inject(Errand { client: number, subject, removal, own_header, strays, grpc }))
    }

    /// The caller's token that is to be exchanged, and what takes it out.
    fn subject(&self, head: &dyn Head) -> Result<(Option<Secret>, Option<Removal>), Reason> {
        let presented = match present(&self.config.token_sources, head) {
            Ok(Some(presented)) => presented,
            // Where callers' tokens are checked, that is where bad ones are refused.
            Err(reason) if !self.config.guarded => return Err(reason),
            _ => return Ok((None, None)),
        };
        let secret =
            |presented: &Presented<'_>| Ok(Secret::new(presented.token()?.reveal().to_owned()));
        let subject = match secret(&presented) {
            Err(reason) if !self.config.guarded => return Err(reason),
            subject => subject.ok(),
        };
        Ok((subject, Some(presented.removal)))
    }

    /// Whether a token is one that we have put on the request before: Envoy has followed a redirect,
    /// or sends the request again among a cluster's filters. One that was exchanged for a caller's
    /// is still the caller's, but not after a redirect: it was for where that came from.
    pub(crate) fn is_ours(&self, plan: &Plan, presented: &Presented<'_>, now: Timestamp) -> bool {
        let strays = match plan {
            Plan::Leave(strays) | Plan::Inject(Errand { strays, .. }) => strays,
        };
        let token = presented.unchecked();
        self.holders.iter().any(|holder| holder.is_our_token(token))
            || !strays.is_empty() && self.exchanges.has_issued(token, now)
    }

    /// The client whose token the request gets.
    fn client_for(&self, head: &dyn Head) -> Result<Option<usize>, Reason> {
        let found = self.config.rules.find(&Target::new(head));
        // Where it cannot be told which rule fits, nobody's token is for it.
        Ok(found.map_err(|BadPath| Reason::BadPath)?.copied().flatten())
    }

    /// The same for people who ask beforehand.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn chosen(&self, head: &dyn Head) -> Option<&Client> {
        self.config.clients.get(self.client_for(head).ok()??)
    }

    /// The headers in which a request carries a token that was meant for where it came from: Envoy
    /// has followed a redirect with the head that we had made (`internal_redirect_policy`).
    fn strays(&self, head: &dyn Head) -> Vec<Rc<str>> {
        let Some(original) = head.value("x-envoy-original-url") else { return Vec::new() };
        let mut headers: Vec<Rc<str>> = Vec::new();
        for client in self.clients_of_url(&String::from_utf8_lossy(&original)) {
            let header = &client.placement.header;
            if !headers.contains(header) {
                headers.push(Rc::clone(header));
            }
        }
        headers.retain(|header| head.value(header).is_some());
        headers
    }

    /// The clients whose tokens a request to this URL may have got: its method is not known.
    fn clients_of_url(&self, url: &str) -> impl Iterator<Item = &Client> {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let host = host_of(authority.as_bytes());
        let path = NormalPath::parse(path.as_bytes()).ok();
        let rules = self.config.rules.candidates(&host, path.as_ref());
        rules.into_iter().filter_map(|client| self.config.clients.get((*client)?))
    }
}
