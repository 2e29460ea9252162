//! Clients' tokens (RFC 6749): found in the store, obtained by another worker, or requested.

use std::sync::Arc;

use log::info;

use super::stage::{Obtaining, ObtainingStage, Progress, TokenCall};
use super::{Fetcher, Obtained, client_of, each_token, lease, resolve};
use crate::cache::local::{CacheKey, KeySpace};
use crate::cache::single_flight::{CallId, Flight};
use crate::ids::ClientId;
use crate::lookup::Found;
use crate::metrics::Event;
use crate::metrics::client::{ClientEvent, TokenEvent};
use crate::oauth::access_token::AccessToken;
use crate::oauth::back_off::BackOff;
use crate::oauth::cached_token::{CachedToken, GrantedToken};
use crate::oauth::call::Answer;
use crate::oauth::explanation::Explained;
use crate::oauth::failure::{Cause, Failure};
use crate::oauth::secret::Secret;
use crate::oauth::token_response::{TokenResponse, rotated};
use crate::outbound::client::{Grant, TokenRequest};
use crate::outbound::client_token::ClientToken;
use crate::random::Random;
use crate::run::Run;
use crate::store::{Acquire, LeaseKey};
use crate::timestamp::Timestamp;

/// The result of an attempt to lead the call for a client's token. No call is made without a lease,
/// because a refresh token that is sent twice may be revoked.
enum TokenTurn {
    /// A usable token is available.
    Known(Arc<AccessToken>),
    /// This worker makes this call.
    Ours(TokenCall),
    /// Another worker makes the call.
    Busy,
    /// It is too early for a call, or there is neither a grant nor a refresh token.
    Failed(Failure),
}

impl Fetcher {
    /// Obtains the token of a client that does not exchange tokens.
    pub(super) fn obtain(&mut self, id: ClientId, run: &mut Run<'_>) -> Obtained {
        let (store, now) = (run.store, run.now);
        let Some((client, token)) = self.client(id) else {
            return Obtained::Failed(Failure::Defect);
        };
        if let Some(current) = token.take(client, store, now) {
            return Obtained::Token(Arc::clone(current));
        }
        let key = self.client_key(id);
        if let Some(flight) = self.flights.find(key) {
            return Obtained::Wait(flight);
        }
        match self.token_turn(id, false, run) {
            TokenTurn::Known(token) => Obtained::Token(token),
            TokenTurn::Failed(failure) => Obtained::Failed(failure),
            TokenTurn::Ours(call) => {
                let flight = self.flights.lead(Some(key));
                match self.call_token_endpoint(flight, id, Vec::new(), call, run) {
                    Ok(id) => Obtained::Wait(id),
                    Err(failure) => Obtained::Failed(failure),
                }
            }
            TokenTurn::Busy => {
                let flight = self.flights.lead(Some(key));
                let stage = ObtainingStage::Following;
                let obtaining = Obtaining { client: id, stage, dependents: Vec::new() };
                let id = self.flights.resume(flight, Progress::ClientToken(obtaining));
                self.followed.push(id);
                Obtained::Wait(id)
            }
        }
    }

    /// The key of the lookup of a client's token.
    fn client_key(&self, id: ClientId) -> CacheKey {
        self.keyed.key(KeySpace::Client(id), "")
    }

    /// Finds a client's token, or acquires the lease on obtaining one. With `renew`, a token that
    /// is due for renewal does not count.
    fn token_turn(&mut self, id: ClientId, renew: bool, run: &mut Run<'_>) -> TokenTurn {
        let (store, now) = (run.store, run.now);
        let random = &self.random;
        let client = client_of(self.config.as_deref(), &mut self.tokens, id);
        let Some((client, token)) = client else { return TokenTurn::Failed(Failure::Defect) };
        token.sync(client, store, now);
        if let Grant::DirectToken { access_token, expires_in, .. } = &client.grant
            && token.record.number == 0
        {
            // The first worker that needs the token publishes it, and all workers use that record.
            token.update(client, store, now, &mut |record| {
                let given = || client.lifetime.given(access_token, *expires_in, random, now);
                (record.number == 0).then(|| record.clone().accepted(given()))
            });
            if token.record.number == 0 {
                return TokenTurn::Failed(Failure::Defect);
            }
        }
        // `acquire` checks this once more.
        if let Some(known) = known(token, renew, now) {
            return known;
        }
        let Some(request) = client.ask(&token.record) else {
            return TokenTurn::Failed(Failure::NoGrant);
        };
        let lease = lease(random, client.longest(&request), now);
        let mut found = None;
        let acquired = store.acquire(LeaseKey::Client(&client.key), lease, None, now, &mut || {
            token.sync(client, store, now);
            found = known(token, renew, now);
            found.is_some()
        });
        match (acquired, found) {
            (Acquire::Known, Some(known)) => return known,
            (Acquire::Ours, _) => {}
            (Acquire::Refused, _) => return TokenTurn::Failed(Failure::Defect),
            _ => return TokenTurn::Busy,
        }
        // Another worker may have obtained another refresh token meanwhile.
        let request = match client.ask(&token.record) {
            Some(request @ TokenRequest::Refresh(_)) => {
                // The refresh token may be spent from now on, even if this worker fails.
                token.update(client, store, now, &mut |record| Some(record.refreshing()));
                request
            }
            Some(request) => request,
            None => {
                store.release(LeaseKey::Client(&client.key), lease.owner, None, now);
                return TokenTurn::Failed(Failure::NoGrant);
            }
        };
        TokenTurn::Ours(TokenCall { lease, request, since: now })
    }

    /// Makes a call. If it cannot be made, its lease is released and the lookup ends.
    fn call_token_endpoint(
        &mut self,
        flight: Flight,
        id: ClientId,
        dependents: Vec<CallId>,
        call: TokenCall,
        run: &mut Run<'_>,
    ) -> Result<CallId, Failure> {
        let mut failure = Failure::Defect;
        if let Some((client, _)) = self.client(id) {
            if let Some(request) = client.call(flight.id, &call.request, None, run.now) {
                run.output.calls.push(request);
                let stage = ObtainingStage::Calling(call);
                let obtaining = Obtaining { client: id, stage, dependents };
                return Ok(self.flights.resume(flight, Progress::ClientToken(obtaining)));
            }
            run.store.release(LeaseKey::Client(&client.key), call.lease.owner, None, run.now);
            failure = Failure::NoSecret;
        }
        self.not_called(id, failure, run);
        self.obtained(flight, id, dependents, Err(failure), run);
        Err(failure)
    }

    /// Logs that there is no secret for a call of this client. Other failures have a line already.
    pub(super) fn not_called(&mut self, id: ClientId, failure: Failure, run: &Run<'_>) {
        if let (Failure::NoSecret, Some(failures)) = (failure, self.failures.get_mut(id.index())) {
            let explain = |failure| Explained::new(failure, Err(failure), &|_| {});
            failures.note(Some(&failure), &explain, run.now);
        }
    }

    /// Checks whether another worker has obtained the client's token.
    pub(super) fn follow_token(&mut self, flight: Flight, obtaining: Obtaining, run: &mut Run<'_>) {
        let client = obtaining.client;
        let found = match self.token_turn(client, false, run) {
            TokenTurn::Busy => {
                let id = self.flights.resume(flight, Progress::ClientToken(obtaining));
                return self.followed.push(id);
            }
            TokenTurn::Known(token) => Ok(token),
            TokenTurn::Failed(failure) => Err(failure),
            TokenTurn::Ours(call) => {
                let dependents = obtaining.dependents;
                _ = self.call_token_endpoint(flight, client, dependents, call, run);
                return;
            }
        };
        self.obtained(flight, client, obtaining.dependents, found, run);
    }

    /// Renews a client's token before it expires.
    pub(super) fn renew(&mut self, id: ClientId, run: &mut Run<'_>) {
        let key = self.client_key(id);
        if self.flights.find(key).is_none()
            && let TokenTurn::Ours(call) = self.token_turn(id, true, run)
        {
            let flight = self.flights.lead(Some(key));
            // A call that cannot be made is tried again at a later tick.
            _ = self.call_token_endpoint(flight, id, Vec::new(), call, run);
        }
    }

    /// Handles the outcome of a call.
    pub(super) fn token_call_ended(
        &mut self,
        flight: Flight,
        obtaining: Obtaining,
        outcome: Result<&Answer, Failure>,
        run: &mut Run<'_>,
    ) {
        let (store, now) = (run.store, run.now);
        let Obtaining { client: id, stage, dependents } = obtaining;
        let ObtainingStage::Calling(call) = stage else {
            return self.obtained(flight, id, dependents, Err(Failure::Defect), run);
        };
        let sent = match &call.request {
            TokenRequest::Grant => None,
            TokenRequest::Refresh(token) => Some(token),
        };
        let response = self.token_response(id, sent, outcome, call.since, run);
        let failure = match response {
            Ok(issued) => {
                let token = self.accept(id, &call, &issued, run).ok_or(Failure::Defect);
                return self.obtained(flight, id, dependents, token, run);
            }
            Err(failure) => failure,
        };
        let again = self.client(id).and_then(|(client, token)| {
            let request = client.fallback(&call.request, failure)?;
            info!("client {}: refresh token rejected, running the grant again", client.name);
            let refreshes = matches!(request, TokenRequest::Refresh(_));
            token.update(client, store, now, &mut |record| {
                let next = record.without_refresh_token();
                Some(if refreshes { next.refreshing() } else { next })
            });
            Some(request)
        });
        let Some(request) = again else {
            let answer = outcome.ok().filter(|_| sent.is_some());
            let rotated = answer.and_then(|answer| rotated(failure, answer));
            let failure = self.back_off(id, &call, failure, rotated.as_ref(), run);
            return self.obtained(flight, id, dependents, Err(failure), run);
        };
        let call = TokenCall { request, since: now, ..call };
        _ = self.call_token_endpoint(flight, id, dependents, call, run);
    }

    /// Reads the response of a token endpoint, counts it and logs it. `sent` is the token in the
    /// request, if any.
    pub(super) fn token_response(
        &mut self,
        id: ClientId,
        sent: Option<&Secret>,
        outcome: Result<&Answer, Failure>,
        since: Timestamp,
        run: &mut Run<'_>,
    ) -> Result<TokenResponse, Failure> {
        let now = run.now;
        let client = self.config.as_deref().and_then(|config| config.client(id));
        let client = client.ok_or(Failure::Defect)?;
        let response = TokenResponse::read(outcome, client.expected(), now);
        if let Some(failures) = self.failures.get_mut(id.index()) {
            let secrets = |check: &mut dyn FnMut(&str)| {
                client.each_secret(check);
                each_token(sent, &self.tokens, check);
            };
            let explain = |failure| Explained::new(failure, outcome, &secrets);
            failures.note(response.as_ref().err(), &explain, now);
        }
        run.count(Event::TokenCallTime(now.since(since)));
        let outcome = response.as_ref().err().map(|failure| failure.outcome());
        run.count_client(id, ClientEvent::Call(outcome));
        response
    }

    /// Publishes a new token to all workers. Its lifetime counts from the time of the request.
    fn accept(
        &mut self,
        id: ClientId,
        call: &TokenCall,
        issued: &TokenResponse,
        run: &mut Run<'_>,
    ) -> Option<Arc<AccessToken>> {
        let (store, now) = (run.store, run.now);
        let random = &self.random;
        let (client, token) = client_of(self.config.as_deref(), &mut self.tokens, id)?;
        let had_token = token.current(now).is_some();
        let mut granted = GrantedToken::default();
        // Accepted even if the lease has expired and another worker has made a call, because the
        // last response reflects the state of the server.
        token.update(client, store, now, &mut |record| {
            let renewed = record.token.as_ref().filter(|_| client.refresh.is_some());
            granted = client.lifetime.begin(issued, renewed, None, random, call.since);
            if client.refresh.is_none() {
                granted.refresh_token.clear();
            }
            Some(record.clone().accepted(granted.clone()))
        });
        token.used = false;
        store.release(LeaseKey::Client(&client.key), call.lease.owner, None, now);
        let event = if had_token { TokenEvent::Renewed } else { TokenEvent::Obtained };
        run.count_client(id, ClientEvent::Token(event));
        let current = token.current(now).cloned();
        // A token that has expired already is used once, by the requests that wait for it.
        Some(current.unwrap_or_else(|| {
            let value = client.placement.value(&granted.access_token);
            Arc::new(AccessToken::new(&granted, token.record.number, value))
        }))
    }

    /// Makes all workers back off after a failed call, whose response may nevertheless have had a new
    /// refresh token. Returns the failure to report to the
    /// requests that wait, as during the rest of the back-off.
    fn back_off(
        &mut self,
        id: ClientId,
        call: &TokenCall,
        failure: Failure,
        rotated: Option<&Secret>,
        run: &mut Run<'_>,
    ) -> Failure {
        let (store, now) = (run.store, run.now);
        let refreshed = matches!(call.request, TokenRequest::Refresh(_));
        // A refresh token that is rejected will be rejected again.
        let unsure = refreshed && (failure.is_unsure() || failure.refuses_grant());
        let failure = self.fail_for_all(
            id,
            failure,
            &|record, random| {
                // A worker whose lease has expired knows less than the one that has replaced it.
                let is_ours = now < call.lease.ends;
                is_ours.then(|| {
                    let before = record.back_off.as_ref();
                    let reason = failure.reason();
                    let back_off = BackOff::after(before, failure, reason, random, now);
                    let next = record.failed(back_off, unsure);
                    match rotated {
                        Some(token) => next.rotated(token),
                        None => next,
                    }
                })
            },
            run,
        );
        if let Some((client, _)) = self.client(id) {
            store.release(LeaseKey::Client(&client.key), call.lease.owner, None, now);
        }
        failure
    }

    /// Records a failure of a client's token endpoint for all workers, if `next` finds that it
    /// changes the record.
    pub(super) fn fail_for_all(
        &mut self,
        id: ClientId,
        failure: Failure,
        next: &dyn Fn(&CachedToken, &Random) -> Option<CachedToken>,
        run: &mut Run<'_>,
    ) -> Failure {
        let (store, now) = (run.store, run.now);
        self.reporting = true;
        let random = &self.random;
        let client = client_of(self.config.as_deref(), &mut self.tokens, id);
        let Some((client, token)) = client else { return Failure::Defect };
        token.update(client, store, now, &mut |record| next(record, random));
        let retry_after = token.record.backs_off(now).and_then(Failure::retry_after);
        retry_after.map_or(failure, |retry_after| Failure::BackOff {
            reason: failure.reason(),
            retry_after,
            cause: Cause::Other,
        })
    }

    /// Ends the lookup of a client's token, and continues everything that needs it.
    fn obtained(
        &mut self,
        flight: Flight,
        client: ClientId,
        dependents: Vec<CallId>,
        found: Result<Arc<AccessToken>, Failure>,
        run: &mut Run<'_>,
    ) {
        let streams = self.flights.end(flight);
        for id in dependents {
            match self.flights.state(id) {
                Some(Progress::Introspection(_)) => {
                    self.lead_introspection(id, client, &found, run);
                }
                Some(Progress::Exchange(_)) => self.lead_exchange(id, &found, run),
                Some(Progress::ClientToken(_) | Progress::Keys(_)) | None => {}
            }
        }
        resolve(streams, Found::ClientToken(client, found), run);
    }

    /// Makes a lookup wait for a client's token.
    pub(super) fn depend(&mut self, id: CallId, on: CallId) {
        if let Some(Progress::ClientToken(obtaining)) = self.flights.state(on) {
            obtaining.dependents.push(id);
        }
    }
}

/// The result that needs no call: the token, unless it is to be renewed, or the failure of a
/// back-off.
fn known(token: &mut ClientToken, renew: bool, now: Timestamp) -> Option<TokenTurn> {
    if let Some(current) = token.current(now).cloned()
        && !(renew && now >= current.renew_at)
    {
        token.used = true;
        return Some(TokenTurn::Known(current));
    }
    token.record.backs_off(now).map(TokenTurn::Failed)
}
