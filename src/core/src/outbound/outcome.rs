//! What comes of a call for a token: for all workers, and for those who waited.

use std::rc::Rc;

use log::info;

use super::flight::{Flight, LEASE_GRACE, Maker, Permit, Task};
use super::state::{Outbound, Waiter, of_client};
use crate::cache::single_flight::{CallId, Waiters};
use crate::metrics::Event;
use crate::metrics::client::{ClientEvent, TokenEvent};
use crate::oauth::call::Answer;
use crate::oauth::failure::{Cause, Failure};
use crate::oauth::token_response::TokenResponse;
use crate::outbound::cached_token::{CachedToken, GrantedToken};
use crate::outbound::client::{Client, TokenRequest};
use crate::outbound::client_token::AccessToken;
use crate::run::Run;
use crate::timestamp::Timestamp;

impl Outbound {
    /// The outcome of a call.
    pub(crate) fn answer(
        &mut self,
        id: CallId,
        outcome: Result<&Answer, Failure>,
        run: &mut Run<'_>,
    ) {
        let (data, now) = (run.data, run.now);
        let Some((key, flight, waiters)) = self.waiting.finish(id) else { return };
        let Maker::Here(task) = &flight.maker else {
            return self.conclude(flight, waiters, &Err(Failure::Defect), run);
        };
        let Some(client) = self.config.clients.get(flight.client) else {
            return self.conclude(flight, waiters, &Err(Failure::Defect), run);
        };
        let response = TokenResponse::read(outcome, client.expected(), now);
        let outcome = response.as_ref().err().map(|failure| failure.outcome());
        run.count(Event::TokenCallTime(now.since(flight.since)));
        run.count(Event::Client(flight.client, ClientEvent::Call(outcome)));
        if let Some(health) = self.health.get_mut(flight.client) {
            health.note(response.as_ref().err(), now);
        }
        match response {
            Ok(issued) => {
                let current = match &flight.subject {
                    Some(subject) => {
                        let event = ClientEvent::Token(TokenEvent::Obtained);
                        run.count(Event::Client(flight.client, event));
                        let (bound, asked) = (subject.expires, flight.since);
                        let token =
                            client.lifetime.begin(&issued, None, bound, &self.random, asked);
                        let token = GrantedToken { refresh_token: String::new(), ..token };
                        let number = self.random.number();
                        let current =
                            self.exchanges.keep(client, subject, token, number, data, now);
                        if let Some(holder) = self.holders.get_mut(flight.client) {
                            holder.update(&client.identity, data, now, &mut CachedToken::recovered);
                        }
                        self.unclaim(subject, task.permit, data);
                        current
                    }
                    None => self.accept(flight.client, &issued, flight.since, run),
                };
                self.conclude(flight, waiters, &current.ok_or(Failure::Defect), run);
            }
            Err(failure) => {
                let Some(request) = client.fallback(&task.request, failure) else {
                    let failure = self.note_failure(&flight, task, failure, run);
                    return self.conclude(flight, waiters, &Err(failure), run);
                };
                let task = self.change_request(flight.client, task.permit, request, run);
                let again = Flight { maker: Maker::Here(task), since: now, ..flight };
                let id = self.waiting.lead(key, again, true);
                for (stream, waiter) in waiters {
                    self.waiting.join(id, stream, waiter);
                }
                if let Err(failure) = self.start(id, run) {
                    self.fall_through(id, failure, run);
                }
            }
        }
    }

    /// Takes note of a failure, for all workers if it is the server's: what those who waited are
    /// told.
    fn note_failure(
        &mut self,
        flight: &Flight,
        task: &Task,
        failure: Failure,
        run: &mut Run<'_>,
    ) -> Failure {
        let (data, now) = (run.data, run.now);
        if let Some(subject) = &flight.subject {
            self.unclaim(subject, task.permit, data);
            if !failure.is_everybodys() {
                return self.exchanges.fail(subject.key, failure, &self.random, now);
            }
        }
        self.back_off(flight.client, task, failure, run).unwrap_or(failure)
    }

    /// Takes a token in for all workers. It was asked for at `asked`: from then on it may live.
    fn accept(
        &mut self,
        client: usize,
        issued: &TokenResponse,
        asked: Timestamp,
        run: &mut Run<'_>,
    ) -> Option<Rc<AccessToken>> {
        let (data, now) = (run.data, run.now);
        let (Client { lifetime, placement, refresh, identity, .. }, holder) =
            of_client(&self.config, &mut self.holders, client)?;
        let had_token = holder.current(now).is_some();
        let mut token = GrantedToken::default();
        // Also if we were given up and another worker called: what came last is what the server
        // knows.
        holder.update(identity, data, now, &mut |holding| {
            let renewed = holding.token.as_ref().filter(|_| refresh.is_some());
            token = lifetime.begin(issued, renewed, None, &self.random, asked);
            if refresh.is_none() {
                token.refresh_token.clear();
            }
            Some(holding.clone().accepted(token.clone()))
        });
        holder.used = false;
        let event = if had_token { TokenEvent::Renewed } else { TokenEvent::Obtained };
        run.count(Event::Client(client, ClientEvent::Token(event)));
        let number = holder.holding.number;
        Some(match holder.current(now) {
            Some(current) => Rc::clone(current),
            // It is used once, by those who wait for it.
            None => Rc::new(AccessToken::new(&token, number, placement)),
        })
    }

    /// Goes on with the lease, and sends something else.
    fn change_request(
        &mut self,
        client: usize,
        permit: Permit,
        request: TokenRequest,
        run: &mut Run<'_>,
    ) -> Task {
        let (data, now) = (run.data, run.now);
        if let Permit::Lease(owner) = permit
            && let Some((client, holder)) = of_client(&self.config, &mut self.holders, client)
        {
            info!("client {}: refresh token rejected, running the grant again", client.name);
            let ends = now.plus(client.timeout(&request)).plus(LEASE_GRACE);
            let refreshes = matches!(request, TokenRequest::Refresh(_));
            holder.update(&client.identity, data, now, &mut |holding| {
                let mut next = holding.clone().leased(owner, ends, refreshes);
                next.forget_refresh_token();
                next.refresh_unsure = refreshes;
                Some(next)
            });
        }
        Task { request, permit }
    }

    /// Takes note of a failure for all workers: what callers are told, as in all of the back-off
    /// that follows.
    fn back_off(
        &mut self,
        client: usize,
        task: &Task,
        failure: Failure,
        run: &mut Run<'_>,
    ) -> Option<Failure> {
        let (data, now) = (run.data, run.now);
        let (Client { identity, .. }, holder) = of_client(&self.config, &mut self.holders, client)?;
        self.reporting = true;
        let refreshed = matches!(task.request, TokenRequest::Refresh(_));
        // A refresh token that is refused is not better next time either.
        let unsure = refreshed && (failure.is_unsure() || failure.refuses_grant());
        let (reason, retry_after) = (failure.reason(), failure.retry_after());
        holder.update(identity, data, now, &mut |holding| {
            let noted = match (task.permit, &holding.lease) {
                // Another worker has taken over.
                (Permit::Lease(owner), Some(lease)) => lease.owner != owner,
                (Permit::Lease(_), None) => false,
                // Of many exchanges that fail together, one counts.
                (Permit::Marker(_) | Permit::Unmarked, _) => holding.backs_off(now).is_some(),
            };
            let failed = || {
                let next = holding.clone();
                next.failed(reason, retry_after, unsure, &self.random, now)
            };
            (!noted).then(failed)
        });
        let retry_after = holder.holding.backs_off(now)?.retry_after()?;
        Some(Failure::BackOff { reason, retry_after, cause: Cause::Other })
    }

    /// What is done with all who waited for a token.
    pub(super) fn conclude(
        &mut self,
        flight: Flight,
        waiters: Waiters<Waiter>,
        found: &Result<Rc<AccessToken>, Failure>,
        run: &mut Run<'_>,
    ) {
        for (stream, Waiter { verdict, pending }) in waiters {
            run.count(Event::Waiting(-1));
            let verdict = match found {
                Ok(current) => self.inject(&pending, current, verdict, run),
                Err(failure) => self.go_without(&pending, *failure, verdict, run),
            };
            run.output.decided.push((stream, verdict));
        }
        for mut call in flight.calls {
            match found {
                Ok(current) => {
                    current.authorize(flight.client, &mut call);
                    run.output.calls.push(call);
                }
                Err(failure) => self.unmade.push((call.id, *failure)),
            }
        }
        for id in flight.exchanges {
            let made = match found {
                Ok(current) => self.dispatch(id, Some(current.token.clone()), run),
                Err(failure) => Err(*failure),
            };
            if let Err(failure) = made {
                self.fall_through(id, failure, run);
            }
        }
    }
}
