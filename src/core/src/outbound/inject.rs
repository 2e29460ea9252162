//! What becomes of a request that gets a token: it goes on with it, waits for it, or is refused.

use super::flight::Found;
use super::injection::{Injection, PendingInjection, Presentation};
use super::state::{Outbound, Waiter};
use crate::cache::single_flight::StreamId;
use crate::defect;
use crate::http::head::{Head, is_grpc};
use crate::metrics::client::{ClientEvent, InjectionResult};
use crate::metrics::{Decision, Event};
use crate::oauth::call::{Call, TokenUse};
use crate::oauth::denial::Denial;
use crate::oauth::failure::Failure;
use crate::oauth::reason::Reason;
use crate::outbound::client_token::AccessToken;
use crate::outbound::exchange::Subject;
use crate::run::Run;
use crate::verdict::{Action, Verdict};

impl Outbound {
    /// A request that may go on, as `verdict` says: what is done with it now, or nothing while it
    /// waits. Without its head, it must have been planned for that ([`Injection::without_head`]).
    pub(crate) fn send(
        &mut self,
        stream: StreamId,
        head: Option<&dyn Head>,
        plan: Injection,
        mut verdict: Verdict,
        run: &mut Run<'_>,
    ) -> Option<Verdict> {
        let (data, now) = (run.data, run.now);
        let Action::Forward(forward) = &mut verdict.action else { return Some(verdict) };
        let mut pending = match plan {
            Injection::Inject(pending) => pending,
            Injection::Leave(leaked_headers) => {
                forward.remove.extend(leaked_headers);
                return Some(verdict);
            }
        };
        let Some(client) = self.config.clients.get(pending.client) else {
            return Some(defect::refuse("unknown client for a request", run));
        };
        forward.remove.extend(pending.leaked_headers.iter().cloned());
        if let Some(clean) = pending.clean.take() {
            forward.remove.extend(clean.removed().cloned());
            forward.add(clean.set);
        }
        // What was exchanged for a token, or was to be, is not for the service.
        if let Some(removal) = &pending.removal {
            forward.take_out(removal);
        }
        let header = &client.placement.header;
        if pending.own_header && !forward.removes(header) {
            run.count_client(pending.client, ClientEvent::Request(InjectionResult::Kept));
            return Some(verdict);
        }
        if !client.is_exchange()
            && let Some(holder) = self.holders.get_mut(pending.client)
            && let Some(current) = holder.take(&client.identity, data, now)
        {
            return Some(self.inject(&pending, &current, verdict, run));
        }
        if let Some(head) = head {
            pending = pending.without_head(head);
        }
        // Where callers' tokens are checked, one that was not, on a public path, counts as none.
        let guarded = self.config.guarded;
        let checked = verdict.checked.is_some();
        let subject = pending.token().filter(|_| !guarded || checked);
        let found = match (subject, &pending.subject) {
            _ if !client.is_exchange() => self.obtain(pending.client, run),
            (_, Presentation::Ambiguous(reason)) => {
                let denial = Denial::new(*reason);
                return Some(self.refuse(&pending, &denial, verdict, run));
            }
            (Some(subject), _) => {
                let subject = Subject::new(
                    subject.clone(),
                    verdict.checked.and_then(|checked| checked.expires),
                    self.keyed.key(pending.client, subject.reveal()),
                    &client.identity,
                );
                self.exchange(pending.client, subject, run)
            }
            // It was let in without a token, and goes on without one.
            (None, _) if guarded && !checked => {
                forward.drop_header(header);
                return Some(verdict);
            }
            (None, _) => {
                return Some(self.refuse(&pending, &Denial::new(Reason::NoToken), verdict, run));
            }
        };
        match found {
            Found::Token(current) => Some(self.inject(&pending, &current, verdict, run)),
            Found::Failed(failure) => Some(self.go_without(&pending, failure, verdict, run)),
            Found::Wait(id) => {
                let waiter = Waiter { verdict, pending };
                if !self.waiting.has_room(&waiter) {
                    let denial = Denial::new(Reason::Overloaded);
                    return Some(self.refuse(&waiter.pending, &denial, waiter.verdict, run));
                }
                self.waiting.join(id, stream, waiter);
                run.count(Event::Waiting(1));
                None
            }
        }
    }

    /// A call that is to carry a client's token: it is made now if there is one, and otherwise when one
    /// has been obtained.
    pub(crate) fn authorize(&mut self, mut call: Call, client: usize, run: &mut Run<'_>) {
        match self.obtain(client, run) {
            Found::Token(current) => {
                current.authorize(client, &mut call);
                run.output.calls.push(call);
            }
            Found::Failed(failure) => self.unmade.push((call.id, failure)),
            Found::Wait(id) => {
                if let Some(flight) = self.waiting.question(id) {
                    flight.calls.push(call);
                }
            }
        }
    }

    /// Puts the token on a request.
    pub(super) fn inject(
        &self,
        pending: &PendingInjection,
        current: &AccessToken,
        mut verdict: Verdict,
        run: &mut Run<'_>,
    ) -> Verdict {
        let client = self.config.clients.get(pending.client);
        let (Action::Forward(forward), Some(client)) = (&mut verdict.action, client) else {
            return defect::refuse("unknown client for a token", run);
        };
        let header = &client.placement.header;
        forward.replace(header, &current.value);
        let subject = pending.token();
        let subject = subject.map(|token| self.keyed.key(pending.client, token.reveal()));
        verdict.sent = Some(TokenUse { client: pending.client, number: current.number, subject });
        run.count_client(pending.client, ClientEvent::Request(InjectionResult::Injected));
        verdict
    }

    /// What is done with a request for which there is no token.
    pub(super) fn go_without(
        &self,
        pending: &PendingInjection,
        failure: Failure,
        mut verdict: Verdict,
        run: &mut Run<'_>,
    ) -> Verdict {
        let client = self.config.clients.get(pending.client);
        match (&mut verdict.action, client) {
            _ if failure == Failure::Defect => defect::refuse("no access token for a request", run),
            (Action::Forward(forward), Some(client)) if client.failure_mode_allow => {
                // Nobody takes what the caller has put there for ours.
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

    /// Refuses a request.
    pub(super) fn refuse(
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
        let action = Action::Respond(denial.reply(&self.config.resource, pending.grpc));
        let Verdict { mut attributes, .. } = verdict;
        // What the inbound direction has decided is not what becomes of the request.
        attributes.decision = attributes.decision.map(|_| Decision::Denied(denial.reason));
        Verdict { attributes, ..Verdict::of(action) }
    }

    /// Refuses a request of which nobody can tell whose token is for it, or what to exchange.
    pub(crate) fn turn_away(&self, reason: Reason, head: &dyn Head, run: &mut Run<'_>) -> Verdict {
        run.refuse(reason, Denial::new(reason).reply(&self.config.resource, is_grpc(head)))
    }

    /// Puts a token on a request, as if it had one.
    #[cfg(test)]
    pub(crate) fn inject_any(&mut self, plan: Injection, run: &mut Run<'_>) -> Option<Verdict> {
        use crate::outbound::cached_token::GrantedToken;
        use crate::outbound::client::Placement;

        let Injection::Inject(pending) = plan else { return None };
        let token = GrantedToken { access_token: "one".to_owned(), ..GrantedToken::default() };
        let placement = Placement::new("authorization", "Bearer".to_owned(), true);
        let current = AccessToken::new(&token, 1, &placement);
        Some(self.inject(&pending, &current, Verdict::unchanged(), run))
    }
}
