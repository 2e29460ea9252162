//! The keys of issuers (RFC 7517): fetched in the background, and for requests that need them.

use std::sync::Arc;

use log::warn;

use super::issuer_health::IssuerHealth;
use super::stage::{KeyFetch, KeyStage, Progress};
use super::{Fetcher, resolve};
use crate::cache::single_flight::{Flight, StreamId};
use crate::ids::IssuerId;
use crate::inbound::guard::Guard;
use crate::inbound::issuers::KeySource;
use crate::jose::key_set::KeySet;
use crate::jose::upkeep::{KeyNews, Keys};
use crate::lookup::{Found, KeysNeeded};
use crate::metrics::Event;
use crate::metrics::keys::KeyEvent;
use crate::oauth::call::Answer;
use crate::oauth::explanation::Explained;
use crate::oauth::failure::Failure;
use crate::oauth::json::escaped;
use crate::oauth::key_endpoint::{KeyEndpoint, KeyPlace, NoPlace, document};
use crate::run::Run;
use crate::timestamp::Timestamp;

/// The most requests that wait for the keys of an issuer while it has others.
const MAX_WAITING: usize = 64;

/// The longest URL of a server in a log line, in bytes.
const MAX_URL: usize = 200;

/// The endpoint of an issuer's keys.
fn endpoint_of(guard: Option<&Guard>, issuer: IssuerId) -> Option<&KeyEndpoint> {
    match &guard?.issuer(issuer)?.keys {
        KeySource::Fetched(endpoint, _) => Some(endpoint),
        KeySource::Fixed(_) | KeySource::JwtAuthn => None,
    }
}

impl Fetcher {
    fn issuer(&mut self, IssuerId(place): IssuerId) -> Option<&mut IssuerHealth> {
        self.issuers.get_mut(place)?.as_mut()
    }

    /// Whether keys of any issuer are fetched.
    pub(super) fn fetches_keys(&self) -> bool {
        self.issuers.iter().any(Option::is_some)
    }

    /// Looks up keys for a request.
    pub(super) fn look_up_keys(
        &mut self,
        stream: StreamId,
        id: IssuerId,
        needed: KeysNeeded,
        run: &mut Run<'_>,
    ) {
        let Some(issuer) = self.issuer(id) else { return self.tell(vec![stream], id, run) };
        let keys = match needed {
            KeysNeeded::Any => issuer.upkeep.any(run.now),
            KeysNeeded::Newer => issuer.upkeep.unknown(run.now),
        };
        match keys {
            Keys::Ready | Keys::Unavailable => self.tell(vec![stream], id, run),
            Keys::Wait(true) => {
                let mut flight = self.flights.lead(None);
                self.flights.add(&mut flight, stream);
                self.fetch_keys(id, flight, run);
            }
            Keys::Wait(false) => {
                let fetch = issuer.fetch;
                let has_keys = issuer.upkeep.news(run.now).keys.is_some();
                match fetch {
                    Some(fetch) if !has_keys || self.flights.waiting(fetch) < MAX_WAITING => {
                        self.flights.join(fetch, stream);
                    }
                    _ => self.tell(vec![stream], id, run),
                }
            }
        }
    }

    /// Fetches the keys that are due.
    pub(super) fn care_for_keys(&mut self, run: &mut Run<'_>) {
        for place in 0..self.issuers.len() {
            let id = IssuerId(place);
            if self.issuer(id).is_some_and(|issuer| issuer.upkeep.is_due(run.now)) {
                let flight = self.flights.lead(None);
                self.fetch_keys(id, flight, run);
            }
        }
    }

    /// Reports the age of the keys. In the module each worker has its own, and the last one to set
    /// the gauge wins.
    pub(super) fn report_keys(&self, run: &mut Run<'_>) {
        for (place, issuer) in self.issuers.iter().enumerate() {
            if let Some(issuer) = issuer {
                let age = KeyEvent::Age(issuer.age(run.now) / 1000);
                run.count(Event::Keys(IssuerId(place), age));
            }
        }
    }

    /// Begins to fetch keys.
    fn fetch_keys(&mut self, id: IssuerId, flight: Flight, run: &mut Run<'_>) {
        let Some(issuer) = self.issuer(id) else { return };
        issuer.upkeep.begin(run.now);
        issuer.began.get_or_insert(run.now);
        issuer.fetch = Some(flight.id);
        let known = issuer.path.clone();
        let endpoint = endpoint_of(self.guard.as_deref(), id);
        let stage = match endpoint.map(|endpoint| &endpoint.place) {
            Some(KeyPlace::Known(path)) => Some((KeyStage::Keys, Arc::clone(path))),
            Some(KeyPlace::Discovered(discovery)) => Some(match known {
                Some(path) => (KeyStage::Keys, path),
                None => (KeyStage::Metadata(0), Arc::clone(&discovery.documents[0])),
            }),
            None => None,
        };
        match stage {
            Some((stage, path)) => self.get(id, flight, stage, &path, run),
            None => self.keys_ended(id, flight, Err(Failure::Defect), Err(Failure::Defect), run),
        }
    }

    /// Makes a call.
    fn get(
        &mut self,
        issuer: IssuerId,
        flight: Flight,
        stage: KeyStage,
        path: &Arc<str>,
        run: &mut Run<'_>,
    ) {
        if let Some(endpoint) = endpoint_of(self.guard.as_deref(), issuer) {
            run.output.calls.push(endpoint.get(flight.id, path));
        }
        let fetch = KeyFetch { issuer, stage, since: run.now };
        self.flights.resume(flight, Progress::Keys(fetch));
    }

    /// Handles the outcome of a call.
    pub(super) fn key_call_ended(
        &mut self,
        flight: Flight,
        fetch: &KeyFetch,
        outcome: Result<&Answer, Failure>,
        run: &mut Run<'_>,
    ) {
        let KeyFetch { issuer: id, stage, since } = *fetch;
        run.count(Event::KeyCallTime(run.now.since(since)));
        let body = document(outcome, run.now);
        let tried = match stage {
            KeyStage::Keys => {
                let keys = body.and_then(|body| KeySet::parse(body).map_err(Failure::from));
                return self.keys_ended(id, flight, keys, outcome, run);
            }
            KeyStage::Metadata(tried) => tried,
        };
        let place = endpoint_of(self.guard.as_deref(), id).map(|endpoint| &endpoint.place);
        let Some(KeyPlace::Discovered(discovery)) = place else {
            return self.keys_ended(id, flight, Err(Failure::Defect), outcome, run);
        };
        let found = body.map_err(NoPlace::Failed).and_then(|body| discovery.place(body));
        let next = discovery.documents.get(tried.saturating_add(1)).map(Arc::clone);
        let failure = match (found, next) {
            (Ok(path), _) => {
                if let Some(issuer) = self.issuer(id) {
                    issuer.path = Some(Arc::clone(&path));
                }
                return self.get(id, flight, KeyStage::Keys, &path, run);
            }
            // The server has no such document, or a page in its place.
            (Err(NoPlace::Failed(failure)), Some(next)) if failure.is_answer() => {
                let stage = KeyStage::Metadata(tried.saturating_add(1));
                return self.get(id, flight, stage, &next, run);
            }
            (Err(NoPlace::Failed(failure)), _) => failure,
            (Err(NoPlace::Elsewhere(url)), _) => {
                let url = url.get(..MAX_URL).unwrap_or(&url);
                warn!(
                    "jwks_uri {} is not on the origin of its issuer; set `jwks_uri` and `cluster`",
                    escaped(url)
                );
                Failure::Member("`jwks_uri` is not on the origin of the issuer")
            }
        };
        self.keys_ended(id, flight, Err(failure), outcome, run);
    }

    /// A fetch has ended.
    fn keys_ended(
        &mut self,
        id: IssuerId,
        flight: Flight,
        keys: Result<KeySet, Failure>,
        outcome: Result<&Answer, Failure>,
        run: &mut Run<'_>,
    ) {
        let failure = keys.as_ref().err().copied();
        run.count(Event::Keys(id, KeyEvent::Fetch(failure.map(Failure::outcome))));
        let (now, random) = (run.now, Arc::clone(&self.random));
        let endpoint = endpoint_of(self.guard.as_deref(), id);
        let secrets = |check: &mut dyn FnMut(&str)| {
            if let Some(endpoint) = endpoint {
                endpoint.each_secret(check);
            }
        };
        let health = self.issuers.get_mut(id.0).and_then(Option::as_mut);
        if let Some(issuer) = health {
            let explain = |failure| Explained::new(failure, outcome, &secrets);
            issuer.failures.note(failure.as_ref(), &explain, now);
            issuer.fetch = None;
            if failure.is_some() {
                // They may have moved.
                issuer.path = None;
            }
            issuer.upkeep.ended(keys, &random, now);
        }
        let streams = self.flights.end(flight);
        self.tell(streams, id, run);
    }

    /// Reports the keys of an issuer to requests, and to all deciders.
    fn tell(&mut self, streams: Vec<StreamId>, id: IssuerId, run: &mut Run<'_>) {
        let now: Timestamp = run.now;
        let news = self.issuer(id).map(|issuer| issuer.upkeep.news(now));
        // Without an issuer, which cannot be, no token is accepted.
        let news = news.unwrap_or(KeyNews { keys: None, retry_at: now });
        resolve(streams, Found::Keys(id, news), run);
    }
}
