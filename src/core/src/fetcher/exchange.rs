//! Token exchange (RFC 8693): tokens are found in the store, obtained by another worker, or
//! requested.

use std::sync::Arc;

use super::stage::{Exchange, ExchangeStage, Permit, Progress};
use super::{Fetcher, Obtained, Turn, client_of, lease, resolve};
use crate::cache::identity::Fingerprint;
use crate::cache::single_flight::{CallId, Flight, StreamId};
use crate::ids::ClientId;
use crate::lookup::{Exchanged, Found, Subject};
use crate::metrics::client::{ClientEvent, TokenEvent};
use crate::oauth::access_token::AccessToken;
use crate::oauth::back_off::{BackOff, LONGEST_PAUSE};
use crate::oauth::cached_token::{CachedToken, GrantedToken};
use crate::oauth::call::Answer;
use crate::oauth::failure::{Concern, Failure};
use crate::outbound::client::{SentTokens, TokenRequest};
use crate::run::Run;
use crate::store::{LeaseKey, LeaseOwner, TokenKey};
use crate::timestamp::Timestamp;

/// The memory that a back-off counts for, in bytes.
const BACK_OFF_BYTES: usize = 256;

impl Fetcher {
    /// Looks up a token in exchange for the caller's.
    pub(super) fn exchange(
        &mut self,
        stream: StreamId,
        client: ClientId,
        subject: Subject,
        run: &mut Run<'_>,
    ) {
        if let Some(id) = self.flights.find(subject.key) {
            return self.flights.join(id, stream);
        }
        let Some(fingerprint) = self.fingerprint(client, &subject) else {
            let found = Found::ExchangedToken(client, subject.key, Err(Failure::Defect));
            return resolve(vec![stream], found, run);
        };
        let mut flight = self.flights.lead(Some(subject.key));
        self.flights.add(&mut flight, stream);
        self.turn_exchange(flight, client, subject, fingerprint, None, run);
    }

    /// Renews a token that is still usable, unless a worker is renewing it already.
    pub(super) fn renew_exchanged(
        &mut self,
        client: ClientId,
        subject: Subject,
        run: &mut Run<'_>,
    ) {
        if self.flights.find(subject.key).is_some() {
            return;
        }
        let Some(fingerprint) = self.fingerprint(client, &subject) else { return };
        match self.exchange_turn(client, &subject, fingerprint, None, true, run) {
            Turn::Known(record) => {
                let found = Ok(exchanged(record, fingerprint, &subject));
                resolve(Vec::new(), Found::ExchangedToken(client, subject.key, found), run);
            }
            Turn::Ours(permit) => {
                let flight = self.flights.lead(Some(subject.key));
                let stage = ExchangeStage::Leading(permit);
                let exchange = Exchange { client, subject, fingerprint, stage };
                let id = self.flights.resume(flight, Progress::Exchange(exchange));
                self.call_exchange(id, run);
            }
            Turn::Busy(..) | Turn::Failed(_) => {}
        }
    }

    /// Finds the token in the store, follows the call of another worker, or makes a call. `after`
    /// is the lease of the call that was followed.
    fn turn_exchange(
        &mut self,
        flight: Flight,
        client: ClientId,
        subject: Subject,
        fingerprint: Fingerprint,
        after: Option<LeaseOwner>,
        run: &mut Run<'_>,
    ) {
        let stage = match self.exchange_turn(client, &subject, fingerprint, after, false, run) {
            Turn::Known(record) => {
                let found = Ok(exchanged(record, fingerprint, &subject));
                return self.end_exchange(flight, client, &subject, found, run);
            }
            Turn::Failed(failure) => {
                return self.end_exchange(flight, client, &subject, Err(failure), run);
            }
            Turn::Busy(owner, _) => {
                self.followed.push(flight.id);
                ExchangeStage::Following(owner)
            }
            Turn::Ours(permit) => ExchangeStage::Leading(permit),
        };
        let exchange = Exchange { client, subject, fingerprint, stage };
        let id = self.flights.resume(flight, Progress::Exchange(exchange));
        self.call_exchange(id, run);
    }

    /// Checks whether another worker has exchanged the token.
    pub(super) fn follow_exchange(
        &mut self,
        flight: Flight,
        exchange: Exchange,
        run: &mut Run<'_>,
    ) {
        match exchange {
            Exchange { client, subject, fingerprint, stage: ExchangeStage::Following(owner) } => {
                self.turn_exchange(flight, client, subject, fingerprint, Some(owner), run);
            }
            led => _ = self.flights.resume(flight, Progress::Exchange(led)),
        }
    }

    /// Makes the call of a lookup that this worker leads, once the actor's token is available.
    fn call_exchange(&mut self, id: CallId, run: &mut Run<'_>) {
        let Some(Progress::Exchange(Exchange { client, stage: ExchangeStage::Leading(_), .. })) =
            self.flights.state(id)
        else {
            return;
        };
        let client = *client;
        let actor = self.client(client).and_then(|(config, _)| config.grant.actor());
        let actor = match actor.map(|actor| self.obtain(actor, run)) {
            None => Ok(None),
            Some(Obtained::Token(token)) => Ok(Some(token)),
            Some(Obtained::Failed(failure)) => Err(failure),
            Some(Obtained::Wait(token)) => return self.depend(id, token),
        };
        self.dispatch_exchange(id, actor, run);
    }

    /// Continues with the result of looking up the actor's token.
    pub(super) fn lead_exchange(
        &mut self,
        id: CallId,
        actor: &Result<Arc<AccessToken>, Failure>,
        run: &mut Run<'_>,
    ) {
        let actor = actor.as_ref().map(|token| Some(Arc::clone(token)));
        self.dispatch_exchange(id, actor.map_err(|failure| *failure), run);
    }

    /// Makes a call with this actor's token.
    fn dispatch_exchange(
        &mut self,
        id: CallId,
        actor: Result<Option<Arc<AccessToken>>, Failure>,
        run: &mut Run<'_>,
    ) {
        let Some((Progress::Exchange(exchange), flight)) = self.flights.take(id) else { return };
        let Exchange { client, subject, fingerprint, stage } = exchange;
        let ExchangeStage::Leading(permit) = stage else { return };
        let number = actor.iter().flatten().next().map(|actor| actor.number);
        let request = actor.and_then(|actor| {
            let (config, _) = self.client(client).ok_or(Failure::Defect)?;
            let actor = actor.map(|actor| actor.token.clone());
            let sent = SentTokens { subject: subject.token.clone(), actor };
            config.call(id, &TokenRequest::Grant, Some(&sent), run.now).ok_or(Failure::NoSecret)
        });
        match request {
            Ok(request) => {
                run.output.calls.push(request);
                let stage = ExchangeStage::Calling(permit, run.now, number);
                let exchange = Exchange { client, subject, fingerprint, stage };
                self.flights.resume(flight, Progress::Exchange(exchange));
            }
            Err(failure) => {
                self.not_called(client, failure, run);
                self.release_exchange(client, fingerprint, permit, None, run);
                self.end_exchange(flight, client, &subject, Err(failure), run);
            }
        }
    }

    /// Handles the outcome of a call.
    pub(super) fn exchange_ended(
        &mut self,
        flight: Flight,
        exchange: Exchange,
        outcome: Result<&Answer, Failure>,
        run: &mut Run<'_>,
    ) {
        let (store, now) = (run.store, run.now);
        let Exchange { client: id, subject, fingerprint, stage } = exchange;
        let ExchangeStage::Calling(permit, since, actor) = stage else {
            return self.end_exchange(flight, id, &subject, Err(Failure::Defect), run);
        };
        let issued = match self.token_response(id, Some(&subject.token), outcome, since, run) {
            Ok(issued) => issued,
            Err(failure) => {
                if failure.may_concern_actor() {
                    self.reject_actor(id, actor, run);
                }
                let failure = self.exchange_failed(id, &subject, fingerprint, failure, run);
                self.release_exchange(id, fingerprint, permit, Some(failure), run);
                return self.end_exchange(flight, id, &subject, Err(failure), run);
            }
        };
        run.count_client(id, ClientEvent::Token(TokenEvent::Obtained));
        let number = self.random.number();
        let config = self.config.as_deref().and_then(|config| config.client(id));
        let Some(config) = config else {
            return self.end_exchange(flight, id, &subject, Err(Failure::Defect), run);
        };
        let token = config.lifetime.begin(&issued, None, subject.expires, &self.random, since);
        let token = GrantedToken { refresh_token: String::new(), ..token };
        let key = TokenKey { identity: &config.key.identity, token: fingerprint };
        // The number of rejections in a row, as known to this worker or to all.
        let shared = store.exchanged_token(key, now).filter(|shared| shared.dropped);
        let drops = shared.map_or(0, |shared| shared.drops).max(subject.drops);
        let before = CachedToken { dropped: drops > 0, drops, ..CachedToken::default() };
        // The number is random, so tokens of other workers have other numbers.
        let record = CachedToken { number, ..before.accepted(token) };
        store.publish_exchanged_token(key, &record, now);
        self.back_offs.remove(subject.key);
        if let Some((config, token)) = self.client(id) {
            token.update(config, store, now, &mut CachedToken::recovered);
        }
        self.release_exchange(id, fingerprint, permit, None, run);
        let found = Ok(exchanged(record, fingerprint, &subject));
        self.end_exchange(flight, id, &subject, found, run);
    }

    /// Backs off after a failed call: in all workers if the failure concerns all callers, otherwise
    /// in this worker and for this caller. Returns the failure to report to the requests that wait.
    fn exchange_failed(
        &mut self,
        client: ClientId,
        subject: &Subject,
        fingerprint: Fingerprint,
        failure: Failure,
        run: &mut Run<'_>,
    ) -> Failure {
        let now = run.now;
        let concern = failure.concern();
        if concern != Concern::Caller {
            let for_all = self.fail_for_all(
                client,
                failure,
                &|record, random| {
                    let before = record.back_off.as_ref();
                    // Of many exchanges that fail together, only one counts.
                    if record.backs_off(now).is_some() {
                        return None;
                    }
                    let next = if concern == Concern::Client {
                        BackOff::suspecting(before, fingerprint, failure, random, now)?
                    } else {
                        BackOff::after(before, failure, failure.reason(), random, now)
                    };
                    Some(record.failed(next, false))
                },
                run,
            );
            if concern == Concern::All {
                return for_all;
            }
        }
        // If the server rejects the client, this caller, who may be the cause, waits longer.
        let reason = failure.exchange_reason(subject.standing);
        let before = self.back_offs.get(subject.key, now);
        let before = before.map(|before| &*before);
        let back_off = BackOff::after(before, failure, reason, &self.random, now);
        let failure = back_off.failure(now).unwrap_or(failure);
        // Stored beyond the pause, because it counts the failures in a row.
        let until = back_off.ends().plus(LONGEST_PAUSE);
        self.back_offs.insert(subject.key, back_off, BACK_OFF_BYTES, until, now);
        failure
    }

    /// Drops the actor's token, which the server may have rejected instead of the caller's: its
    /// response does not say which (RFC 8693, section 2.2.2).
    fn reject_actor(&mut self, client: ClientId, number: Option<u64>, run: &mut Run<'_>) {
        let actor = self.client(client).and_then(|(config, _)| config.grant.actor());
        if let (Some(actor), Some(number)) = (actor, number) {
            self.reject(actor, number, run);
        }
    }

    /// Releases the lease on a call.
    fn release_exchange(
        &mut self,
        client: ClientId,
        fingerprint: Fingerprint,
        permit: Permit,
        failure: Option<Failure>,
        run: &mut Run<'_>,
    ) {
        if let (Some(owner), Some((config, _))) = (permit, self.client(client)) {
            let key = TokenKey { identity: &config.key.identity, token: fingerprint };
            run.store.release(LeaseKey::Token(key), owner, failure, run.now);
        }
    }

    fn end_exchange(
        &mut self,
        flight: Flight,
        client: ClientId,
        subject: &Subject,
        found: Result<Box<Exchanged>, Failure>,
        run: &mut Run<'_>,
    ) {
        let streams = self.flights.end(flight);
        resolve(streams, Found::ExchangedToken(client, subject.key, found), run);
    }

    /// Identifies the record of a caller's token in the store.
    fn fingerprint(&mut self, client: ClientId, subject: &Subject) -> Option<Fingerprint> {
        let (config, _) = self.client(client)?;
        Some(config.key.identity.fingerprint(subject.token.reveal()))
    }

    /// Finds the token in the store, or acquires the lease on exchanging it. With `renew`, a token
    /// that is due for renewal does not count.
    fn exchange_turn(
        &mut self,
        id: ClientId,
        subject: &Subject,
        fingerprint: Fingerprint,
        after: Option<LeaseOwner>,
        renew: bool,
        run: &Run<'_>,
    ) -> Turn<CachedToken> {
        let (store, now) = (run.store, run.now);
        let own = self.back_offs.get(subject.key, now).and_then(|back_off| back_off.failure(now));
        let client = client_of(self.config.as_deref(), &mut self.tokens, id);
        let Some((client, token)) = client else { return Turn::Failed(Failure::Defect) };
        let lease = lease(&self.random, client.timeout(&TokenRequest::Grant), run.now);
        let key = TokenKey { identity: &client.key.identity, token: fingerprint };
        let known = || {
            let record = store.exchanged_token(key, now).filter(|record| !record.dropped)?;
            let granted = record.token.as_ref()?;
            let is_due = now >= Timestamp::from_millis(granted.renew_at)
                && subject.expires.is_none_or(|end| granted.expires() < end);
            (!(renew && is_due)).then_some(record)
        };
        // Failures of the server concern all callers.
        token.sync(client, store, now);
        if let Some(failure) = own.or_else(|| token.record.backs_off(now)) {
            return known().map_or(Turn::Failed(failure), Turn::Known);
        }
        Turn::take(LeaseKey::Token(key), lease, after, run, known)
    }
}

fn exchanged(record: CachedToken, fingerprint: Fingerprint, subject: &Subject) -> Box<Exchanged> {
    Box::new(Exchanged { record, fingerprint, subject_expires: subject.expires })
}
