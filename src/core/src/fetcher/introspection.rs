//! Token introspection (RFC 7662): responses are found in the store, obtained by another worker, or
//! requested.

use std::sync::Arc;

use super::stage::{Introspection, IntrospectionCall, IntrospectionStage, Progress};
use super::{Fetcher, Obtained, Turn, each_token, lease, resolve};
use crate::cache::age::AgeLimit;
use crate::cache::identity::Fingerprint;
use crate::cache::local::CacheKey;
use crate::cache::single_flight::{CallId, Flight, StreamId};
use crate::ids::{ClientId, ServerId};
use crate::inbound::guard::Guard;
use crate::inbound::outage::Outage;
use crate::inbound::servers::Server;
use crate::lookup::{Found, Introspect, Introspected, Unavailable};
use crate::metrics::{Counter, Event, Lookup};
use crate::oauth::access_token::AccessToken;
use crate::oauth::call::{Answer, TokenUse};
use crate::oauth::explanation::Explained;
use crate::oauth::failure::{Cause, Failure};
use crate::oauth::introspection_response::Response;
use crate::oauth::token_state::TokenState;
use crate::run::Run;
use crate::store::{CachedResponse, LeaseKey, LeaseOwner, ResponseKey, TokenKey};
use crate::timestamp::Timestamp;

impl Fetcher {
    /// Looks up the introspection response for a request.
    pub(super) fn introspect(
        &mut self,
        stream: StreamId,
        introspect: Introspect,
        run: &mut Run<'_>,
    ) {
        let key = introspect.key;
        if let Some(id) = key.and_then(|key| self.flights.find(key))
            && self.may_join(id, introspect.age, run.now)
        {
            return self.flights.join(id, stream);
        }
        let guard = self.guard.as_deref();
        let Some(server) = guard.and_then(|guard| guard.server(introspect.server)) else {
            return resolve(vec![stream], unresolved(key, Failure::Defect), run);
        };
        let fingerprint = server.identity.fingerprint(introspect.token.reveal());
        let mut flight = self.flights.lead(key);
        self.flights.add(&mut flight, stream);
        self.turn_introspection(flight, introspect, fingerprint, None, run);
    }

    /// Whether a request with this limit may wait for a lookup: its call must have begun within it.
    fn may_join(&mut self, id: CallId, age: AgeLimit, now: Timestamp) -> bool {
        if !age.is_limited() {
            return true;
        }
        let Some(Progress::Introspection(introspection)) = self.flights.state(id) else {
            return false;
        };
        let may_join = age.allows(introspection.stage.since(), now);
        if may_join {
            let strictest = &mut introspection.introspect.age;
            *strictest = strictest.stricter(age);
        }
        may_join
    }

    /// Finds the response in the store, follows the call of another worker, or makes a call.
    /// `after` is the lease of the call that was followed.
    fn turn_introspection(
        &mut self,
        flight: Flight,
        introspect: Introspect,
        fingerprint: Fingerprint,
        after: Option<LeaseOwner>,
        run: &mut Run<'_>,
    ) {
        let key = introspect.key;
        let turn = match key {
            // With caching off, and where no response is young enough, requests do not join a call.
            Some(_) if !introspect.age.is_zero() => {
                self.introspection_turn(&introspect, fingerprint, after, run)
            }
            Some(_) | None => Turn::Ours(None),
        };
        if after.is_none() && matches!(turn, Turn::Busy(..) | Turn::Ours(_)) {
            run.count(Event::Count(Counter::Lookup(Lookup::Miss)));
        }
        let stage = match turn {
            Turn::Known(response) => {
                run.count(Event::Count(Counter::Lookup(Lookup::Shared)));
                let streams = self.flights.end(flight);
                return resolve(streams, Found::Response(key, Ok(response)), run);
            }
            Turn::Failed(failure) => {
                let unavailable = self.unavailable(&introspect, fingerprint, failure, run);
                let streams = self.flights.end(flight);
                return resolve(streams, Found::Response(key, Err(unavailable)), run);
            }
            Turn::Busy(owner, since) => {
                self.followed.push(flight.id);
                IntrospectionStage::Following(owner, since)
            }
            Turn::Ours(permit) => IntrospectionStage::Leading(IntrospectionCall {
                permit,
                since: run.now,
                again: false,
            }),
        };
        let introspection = Introspection { introspect, fingerprint, stage };
        let id = self.flights.resume(flight, Progress::Introspection(introspection));
        self.call_introspection(id, run);
    }

    /// Checks whether another worker has obtained the response.
    pub(super) fn follow_introspection(
        &mut self,
        flight: Flight,
        introspection: Introspection,
        run: &mut Run<'_>,
    ) {
        match introspection {
            Introspection {
                introspect,
                fingerprint,
                stage: IntrospectionStage::Following(owner, _),
            } => {
                self.turn_introspection(flight, introspect, fingerprint, Some(owner), run);
            }
            led => _ = self.flights.resume(flight, Progress::Introspection(led)),
        }
    }

    /// Makes the call of a lookup that this worker leads, once the token that authorizes it is
    /// available.
    fn call_introspection(&mut self, id: CallId, run: &mut Run<'_>) {
        let Some(Progress::Introspection(Introspection {
            introspect: Introspect { server, .. },
            stage: IntrospectionStage::Leading(_),
            ..
        })) = self.flights.state(id)
        else {
            return;
        };
        let server = *server;
        let guard = self.guard.as_deref();
        let client = guard.and_then(|guard| guard.server(server)?.introspection.client);
        let token = match client.map(|client| self.obtain(client, run)) {
            None => Ok(None),
            Some(Obtained::Token(token)) => Ok(client.map(|client| (client, token))),
            Some(Obtained::Failed(failure)) => Err(failure),
            Some(Obtained::Wait(token)) => return self.depend(id, token),
        };
        self.dispatch_introspection(id, token, run);
    }

    /// Continues with the result of looking up the token that authorizes the call.
    pub(super) fn lead_introspection(
        &mut self,
        id: CallId,
        client: ClientId,
        token: &Result<Arc<AccessToken>, Failure>,
        run: &mut Run<'_>,
    ) {
        let token = token.as_ref().map(|token| Some((client, Arc::clone(token))));
        self.dispatch_introspection(id, token.map_err(|failure| *failure), run);
    }

    /// Makes a call with this token.
    fn dispatch_introspection(
        &mut self,
        id: CallId,
        token: Result<Option<(ClientId, Arc<AccessToken>)>, Failure>,
        run: &mut Run<'_>,
    ) {
        let Some(Progress::Introspection(introspection)) = self.flights.state(id) else { return };
        let IntrospectionStage::Leading(call) = introspection.stage else { return };
        let introspect = &introspection.introspect;
        let server = self.guard.as_deref().and_then(|guard| guard.server(introspect.server));
        let request = token.and_then(|token| {
            let server = server.ok_or(Failure::Defect)?;
            let request = server.introspection.request(id, &introspect.token, run.now);
            let request = request.ok_or(Failure::NoSecret)?;
            Ok((token, request))
        });
        let failure = match request {
            Ok((token, mut request)) => {
                let sent = token.map(|(client, token)| token.authorize(client, &mut request));
                introspection.stage = IntrospectionStage::Calling(call, sent);
                run.output.calls.push(request);
                return;
            }
            Err(failure) => failure,
        };
        if let Some((Progress::Introspection(introspection), flight)) = self.flights.take(id) {
            let Introspection { introspect, fingerprint, .. } = introspection;
            self.introspected(flight, &introspect, fingerprint, call, Err(failure), run);
        }
    }

    /// Handles the outcome of a call.
    pub(super) fn introspection_ended(
        &mut self,
        flight: Flight,
        introspection: Introspection,
        outcome: Result<&Answer, Failure>,
        run: &mut Run<'_>,
    ) {
        let Introspection { introspect, fingerprint, stage } = introspection;
        let IntrospectionStage::Calling(call, sent) = stage else {
            let streams = self.flights.end(flight);
            return resolve(streams, unresolved(introspect.key, Failure::Defect), run);
        };
        // The token was revoked (401 according to RFC 6750, section 3.1, but some servers return
        // 403), so the call is made once more with another token.
        if let Some(sent) = sent
            && outcome.is_ok_and(|answer| matches!(answer.status, 401 | 403))
            && self.is_replaced(sent, run)
            && !call.again
        {
            let stage = IntrospectionStage::Leading(IntrospectionCall { again: true, ..call });
            let introspection = Introspection { introspect, fingerprint, stage };
            let id = self.flights.resume(flight, Progress::Introspection(introspection));
            return self.call_introspection(id, run);
        }
        self.introspected(flight, &introspect, fingerprint, call, outcome, run);
    }

    /// Whether a rejected token is replaced. Many calls may have carried it, and the first one that
    /// ends drops it.
    fn is_replaced(&mut self, sent: TokenUse, run: &mut Run<'_>) -> bool {
        self.reject(sent.client, sent.number, run)
            || self.client(sent.client).is_some_and(|(_, token)| {
                token.record.number != sent.number || token.record.dropped
            })
    }

    /// Publishes the result of a call to all workers, and reports it to the requests that wait.
    fn introspected(
        &mut self,
        flight: Flight,
        introspect: &Introspect,
        fingerprint: Fingerprint,
        call: IntrospectionCall,
        outcome: Result<&Answer, Failure>,
        run: &mut Run<'_>,
    ) {
        let now = run.now;
        let Introspect { server: id, mut key, .. } = *introspect;
        let guard = self.guard.as_deref();
        let server = guard.and_then(|guard| Some((guard, guard.server(id)?)));
        let Some((guard, server)) = server else {
            let streams = self.flights.end(flight);
            return resolve(streams, unresolved(key, Failure::Defect), run);
        };
        let body = outcome.map(|answer| answer.body.as_slice()).unwrap_or_default();
        let read = Response::read(outcome, server.introspection.format, now);
        let read = read.and_then(|response| {
            let introspected = guard.introspected(server, introspect, &response, now)?;
            Ok((response.outcome(), response.shared(body), introspected))
        });
        let (counted, body, result) = match read {
            Ok((counted, body, introspected)) => (counted, body, Ok(introspected)),
            Err(failure) => (failure.outcome(), body, Err(failure)),
        };
        run.count(Event::Count(Counter::Call(counted)));
        run.count(Event::CallTime(now.since(call.since)));
        if let Some(health) = self.servers.get_mut(id.0) {
            let secrets = |check: &mut dyn FnMut(&str)| {
                server.introspection.endpoint.each_secret(check);
                each_token(Some(&introspect.token), &self.tokens, check);
            };
            let explain = |failure| Explained::new(failure, outcome, &secrets);
            health.failures.note(result.as_ref().err(), &explain, now);
        }
        let name = response_key(guard, server, fingerprint);
        if let Ok(introspected) = &result {
            let is_active = matches!(introspected.state, TokenState::Active(..));
            // Where several calls may be under way, another one may have rejected the token after
            // this one began, which this response must not undo.
            let is_outdated = is_active && guard.limits_age && {
                let known = run.store.response(name, now);
                known.is_some_and(|known| !known.is_active && known.at > call.since)
            };
            key = key.filter(|_| !is_outdated);
            if key.is_some() {
                let expires = guard.freshness(introspected).stale_until;
                let body = body.to_vec();
                let response = CachedResponse { is_active, body, at: now, expires };
                run.store.publish_response(name, &response);
            }
        }
        if let Some(owner) = call.permit {
            let failure = result.as_ref().err().copied();
            run.store.release(LeaseKey::Token(name.token), owner, failure, now);
        }
        let result = match result {
            Ok(introspected) => {
                self.note_outage(id, fingerprint, None);
                Ok(introspected)
            }
            Err(failure) => Err(self.unavailable(introspect, fingerprint, failure, run)),
        };
        let streams = self.flights.end(flight);
        resolve(streams, Found::Response(key, result), run);
    }

    /// Records a failed call, and determines how to proceed without its response.
    fn unavailable(
        &mut self,
        introspect: &Introspect,
        fingerprint: Fingerprint,
        failure: Failure,
        run: &Run<'_>,
    ) -> Unavailable {
        let outage = self.note_outage(introspect.server, fingerprint, Some(failure));
        // No response is served stale if the token may have caused the failure.
        let is_served_stale = |guard: &&Guard| {
            !guard.cache.stale_if_error.is_zero() && failure.cause() != Cause::Request
        };
        let stale = self.guard.as_deref().filter(is_served_stale).and_then(|guard| {
            let server = guard.server(introspect.server)?;
            let key = response_key(guard, server, fingerprint);
            let shared = recall(guard, server, introspect, key, run)?;
            matches!(shared.state, TokenState::Active(..)).then(|| Box::new(shared))
        });
        Unavailable { failure, excused: outage.excuses(failure), stale }
    }

    /// Records the outcome of a call, and returns the state of its server.
    fn note_outage(
        &mut self,
        ServerId(server): ServerId,
        token: Fingerprint,
        failure: Option<Failure>,
    ) -> Outage {
        let Some(health) = self.servers.get_mut(server) else { return Outage::None };
        health.outage.note(token, failure);
        health.outage
    }

    /// Finds the response in the store, or acquires the lease on the call.
    fn introspection_turn(
        &self,
        introspect: &Introspect,
        fingerprint: Fingerprint,
        after: Option<LeaseOwner>,
        run: &Run<'_>,
    ) -> Turn<Introspected> {
        let guard = self.guard.as_deref();
        let server = guard.and_then(|guard| Some((guard, guard.server(introspect.server)?)));
        let Some((guard, server)) = server else { return Turn::Failed(Failure::Defect) };
        let age = introspect.age;
        let key = response_key(guard, server, fingerprint);
        let lease = lease(&self.random, server.introspection.endpoint.timeout, run.now);
        let known = || {
            let known = recall(guard, server, introspect, key, run)?;
            let is_fresh = run.now < guard.freshness(&known).fresh_until;
            (is_fresh && age.allows(known.at, run.now)).then_some(known)
        };
        match Turn::take(LeaseKey::Token(key.token), lease, after, run, known) {
            // That call began too early, so this one is made without a lease.
            Turn::Busy(_, since) if after.is_none() && !age.allows(since, run.now) => {
                Turn::Ours(None)
            }
            turn => turn,
        }
    }
}

/// The result of a lookup that has failed, and for which nothing may be served instead.
fn unresolved(key: Option<CacheKey>, failure: Failure) -> Found {
    let unavailable = Unavailable { failure, excused: false, stale: None };
    Found::Response(key, Err(unavailable))
}

/// The key of a response in the store.
fn response_key<'s>(
    guard: &Guard,
    server: &'s Server,
    fingerprint: Fingerprint,
) -> ResponseKey<'s> {
    ResponseKey {
        token: TokenKey { identity: &server.identity, token: fingerprint },
        max_entries: guard.cache.max_entries,
        negative_max_entries: guard.cache.negative_max_entries,
    }
}

/// The response in the store, fresh or not.
fn recall(
    guard: &Guard,
    server: &Server,
    introspect: &Introspect,
    key: ResponseKey<'_>,
    run: &Run<'_>,
) -> Option<Introspected> {
    let CachedResponse { body, at, .. } = run.store.response(key, run.now)?;
    let response = Response::parse(&body, server.introspection.format).ok()?;
    guard.introspected(server, introspect, &response, at).ok()
}
