//! Puts tokens on requests: a request is forwarded with its token, waits for it, or is denied.

use std::sync::Arc;

use super::injection::{Injection, PendingInjection, Presentation};
use super::state::{Outbound, Waiter, of_client};
use crate::cache::local::{CacheKey, KeySpace};
use crate::cache::single_flight::StreamId;
use crate::defect;
use crate::http::head::{Head, is_grpc};
use crate::ids::ClientId;
use crate::lookup::{Exchanged, Lookup, Subject};
use crate::metrics::Decision;
use crate::metrics::client::{ClientEvent, InjectionResult};
use crate::oauth::access_token::AccessToken;
use crate::oauth::call::TokenUse;
use crate::oauth::claims::unverified_claims;
use crate::oauth::denial::Denial;
use crate::oauth::failure::Failure;
use crate::oauth::reason::Reason;
use crate::oauth::secret::Secret;
use crate::oauth::standing::Standing;
use crate::oauth::token_source::Removals;
use crate::run::Run;
use crate::timestamp::Timestamp;
use crate::verdict::{Action, Verdict, VerifiedSubject};

/// A verdict, or the lookup that it depends on.
pub(crate) enum Progress {
    Decided(Verdict),
    /// The request waits for the result of this lookup.
    Waiting(Box<Waiter>, Lookup),
}

impl Outbound {
    /// Handles a request that may be forwarded according to `verdict`. Without `head`, `plan` must
    /// come from [`Injection::without_head`].
    pub(crate) fn send(
        &mut self,
        stream: StreamId,
        head: Option<&dyn Head>,
        plan: Injection,
        mut verdict: Verdict,
        run: &mut Run<'_>,
    ) -> Progress {
        let Action::Forward(forward) = &mut verdict.action else {
            return Progress::Decided(verdict);
        };
        let mut pending = match plan {
            Injection::Inject(pending) => pending,
            Injection::Leave(leaked_headers) => {
                forward.remove.extend(leaked_headers);
                return Progress::Decided(verdict);
            }
        };
        let id = pending.client;
        let Some((client, token)) = of_client(&self.config, &mut self.tokens, id) else {
            return Progress::Decided(defect::refuse("unknown client for a request", run));
        };
        forward.remove.extend(pending.leaked_headers.iter().cloned());
        if let Some(clean) = pending.clean.take() {
            forward.protect(*clean, &client.placement.spelling);
        }
        // A token that was exchanged, or was to be exchanged, is not forwarded.
        for removal in pending.removals.iter().flat_map(Removals::iter) {
            forward.take_out(removal);
        }
        let header = &client.placement.header;
        if pending.own_header && !forward.removes(header) {
            run.count_client(id, ClientEvent::Request(InjectionResult::Kept));
            return Progress::Decided(verdict);
        }
        if client.is_exchange() {
            if let Some(head) = head {
                pending = pending.without_head(head);
            }
            return self.exchange(stream, pending, verdict, run);
        }
        if let Some(current) = token.take(client, run.store, run.now).cloned() {
            if !token.used {
                token.used = true;
                run.output.lookups.0.push(Lookup::Used(id));
            }
            return Progress::Decided(self.inject(&pending, &current, verdict, run));
        }
        if let Some(head) = head {
            pending = pending.without_head(head);
        }
        let waiter = Box::new(Waiter { verdict, pending });
        Progress::Waiting(waiter, Lookup::ClientToken(stream, id))
    }

    /// Handles a request that gets a token in exchange for its caller's.
    fn exchange(
        &mut self,
        stream: StreamId,
        pending: PendingInjection,
        mut verdict: Verdict,
        run: &mut Run<'_>,
    ) -> Progress {
        // Where the inbound direction checks tokens, a token on a public path was not checked and
        // does not count.
        let guarded = self.config.guarded;
        let checked = verdict.checked.is_some();
        let subject = match (&pending.subject, pending.token().filter(|_| !guarded || checked)) {
            (Presentation::Ambiguous(reason), _) => {
                let denial = Denial::new(*reason);
                return Progress::Decided(self.refuse(&pending, &denial, verdict, run));
            }
            (_, Some(subject)) => subject,
            // The request was allowed without a token, so it is forwarded without one.
            (_, None) if guarded && !checked => {
                if let (Action::Forward(forward), Some(client)) =
                    (&mut verdict.action, self.config.client(pending.client))
                {
                    forward.drop_header(&client.placement.header);
                }
                return Progress::Decided(verdict);
            }
            (_, None) => {
                let denial = Denial::new(Reason::NoToken);
                return Progress::Decided(self.refuse(&pending, &denial, verdict, run));
            }
        };
        let id = pending.client;
        let Some(client) = self.config.client(id) else {
            return Progress::Decided(defect::refuse("unknown client for a request", run));
        };
        let key = self.keyed.key(KeySpace::Client(id), subject.reveal());
        if let Some(usable) = self.exchanged.find(client, key, run.store, run.now) {
            if usable.is_due {
                let subject = caller(subject, key, verdict.checked, 0);
                run.output.lookups.0.push(Lookup::RenewExchanged(id, subject));
            }
            return Progress::Decided(self.inject(&pending, &usable.token, verdict, run));
        }
        let subject = caller(subject, key, verdict.checked, self.exchanged.drops(key, run.now));
        let lookup = Lookup::ExchangedToken(stream, id, subject);
        Progress::Waiting(Box::new(Waiter { verdict, pending }), lookup)
    }

    /// Denies a request for which there is no room to wait.
    pub(crate) fn overloaded(&self, waiter: Waiter, run: &mut Run<'_>) -> Verdict {
        let Waiter { verdict, pending } = waiter;
        self.refuse(&pending, &Denial::new(Reason::Overloaded), verdict, run)
    }

    /// Decides on a request with the result of its lookup.
    pub(crate) fn conclude(
        &self,
        waiter: Waiter,
        found: &Result<Arc<AccessToken>, Failure>,
        run: &mut Run<'_>,
    ) -> Verdict {
        let Waiter { verdict, pending } = waiter;
        match found {
            Ok(token) => self.inject(&pending, token, verdict, run),
            Err(failure) => self.go_without(&pending, *failure, verdict, run),
        }
    }

    /// Adopts a token of a client that the fetcher obtained.
    pub(crate) fn adopt(&mut self, id: ClientId, token: &Arc<AccessToken>) {
        if let Some(ours) = self.tokens.get_mut(id.index()) {
            ours.adopt(token);
        }
    }

    /// Caches an exchanged token, and returns it prepared for requests.
    pub(crate) fn resolve(
        &mut self,
        id: ClientId,
        key: CacheKey,
        exchanged: Exchanged,
        run: &Run<'_>,
    ) -> Result<Arc<AccessToken>, Failure> {
        let client = self.config.client(id).ok_or(Failure::Defect)?;
        self.exchanged.insert(client, key, exchanged, run.now).ok_or(Failure::Defect)
    }

    /// Puts the token on a request.
    fn inject(
        &self,
        pending: &PendingInjection,
        current: &AccessToken,
        mut verdict: Verdict,
        run: &mut Run<'_>,
    ) -> Verdict {
        let client = self.config.client(pending.client);
        let (Action::Forward(forward), Some(client)) = (&mut verdict.action, client) else {
            return defect::refuse("unknown client for a token", run);
        };
        let header = &client.placement.header;
        forward.replace(header, &current.value);
        let subject = pending.token();
        let subject =
            subject.map(|token| self.keyed.key(KeySpace::Client(pending.client), token.reveal()));
        verdict.sent = Some(TokenUse { client: pending.client, number: current.number, subject });
        run.count_client(pending.client, ClientEvent::Request(InjectionResult::Injected));
        verdict
    }

    /// Decides on a request for which no token can be obtained.
    fn go_without(
        &self,
        pending: &PendingInjection,
        failure: Failure,
        mut verdict: Verdict,
        run: &mut Run<'_>,
    ) -> Verdict {
        let client = self.config.client(pending.client);
        match (&mut verdict.action, client) {
            _ if failure == Failure::Defect => defect::refuse("no access token for a request", run),
            (Action::Forward(forward), Some(client)) if client.failure_mode_allow => {
                // The upstream service must not mistake a value of the caller for the proxy's
                // token.
                forward.drop_header(&client.placement.header);
                run.count_client(
                    pending.client,
                    ClientEvent::Request(InjectionResult::Unauthenticated),
                );
                verdict
            }
            _ => self.refuse(pending, &failure.denial(), verdict, run),
        }
    }

    fn refuse(
        &self,
        pending: &PendingInjection,
        denial: &Denial,
        verdict: Verdict,
        run: &mut Run<'_>,
    ) -> Verdict {
        run.count_client(
            pending.client,
            ClientEvent::Request(InjectionResult::Denied(denial.reason)),
        );
        let Verdict { mut attributes, resource, .. } = verdict;
        let resource = resource.as_deref().unwrap_or(&self.config.resource);
        let action = Action::Respond(denial.reply(resource, pending.grpc));
        // The decision of the inbound direction is not the outcome of the request.
        attributes.decision = attributes.decision.map(|_| Decision::Denied(denial.reason));
        Verdict { attributes, ..Verdict::of(action) }
    }

    /// Denies a request for which the client, or the token to exchange, cannot be determined.
    pub(crate) fn turn_away(&self, reason: Reason, head: &dyn Head, run: &mut Run<'_>) -> Verdict {
        run.refuse(reason, Denial::new(reason).reply(&self.config.resource, is_grpc(head)))
    }

    /// Puts a token on a request as if one were cached.
    #[cfg(test)]
    pub(crate) fn inject_any(&mut self, plan: Injection, run: &mut Run<'_>) -> Option<Verdict> {
        use crate::oauth::cached_token::GrantedToken;

        let Injection::Inject(pending) = plan else { return None };
        let token = GrantedToken { access_token: "one".to_owned(), ..GrantedToken::default() };
        let current = AccessToken::new(&token, 1, "Bearer one".into());
        Some(self.inject(&pending, &current, Verdict::unchanged(), run))
    }
}

/// A caller's token. If it was not checked, it expires at its own unverified `exp`.
fn caller(token: &Secret, key: CacheKey, checked: Option<VerifiedSubject>, drops: u32) -> Subject {
    let own = || Timestamp::from_numeric_date(unverified_claims(token.reveal())?.get("exp")?);
    Subject {
        token: token.clone(),
        key,
        expires: checked.and_then(|checked| checked.end).or_else(own),
        standing: checked.map_or(Standing::Unknown, |checked| checked.standing),
        drops,
    }
}
