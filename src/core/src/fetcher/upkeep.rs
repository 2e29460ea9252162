//! Periodic work: following other workers, renewing tokens, and reporting gauges.

use std::time::Duration;

use super::Fetcher;
use super::stage::Progress;
use crate::ids::ClientId;
use crate::jose::upkeep::KEY_PERIOD;
use crate::metrics::Event;
use crate::metrics::client::{ClientEvent, ClientGauge};
use crate::oauth::failure::Failure;
use crate::outbound::client_token::ClientToken;
use crate::run::Run;
use crate::timestamp::Timestamp;

/// The pause between two checks of what other workers obtain.
const LOOK_PERIOD: Duration = Duration::from_millis(4);

/// The pause between two checks of clients' tokens, which is the precision of renewals.
const CARE_PERIOD: Duration = Duration::from_millis(100);

/// The pause between two reports of the gauges.
const REPORT_PERIOD: Duration = Duration::from_secs(1);

impl Fetcher {
    /// Does the periodic work.
    pub fn tick(&mut self, run: &mut Run<'_>) {
        let now = run.now;
        self.follow(run);
        self.care_for_keys(run);
        for client in 0..self.tokens.len() {
            self.care(ClientId(client), run);
        }
        if self.report_at.is_none_or(|report_at| now >= report_at) {
            self.report_at = Some(now.plus(REPORT_PERIOD));
            self.report(run);
            self.report_keys(run);
        }
    }

    /// Checks whether other workers have obtained what lookups wait for.
    fn follow(&mut self, run: &mut Run<'_>) {
        for id in std::mem::take(&mut self.followed) {
            let Some((progress, flight)) = self.flights.take(id) else { continue };
            match progress {
                Progress::Introspection(introspection) => {
                    self.follow_introspection(flight, introspection, run);
                }
                Progress::Exchange(exchange) => self.follow_exchange(flight, exchange, run),
                Progress::ClientToken(obtaining) => self.follow_token(flight, obtaining, run),
                // There is nobody to follow.
                keys @ Progress::Keys(_) => _ = self.flights.resume(flight, keys),
            }
        }
    }

    /// Checks a client's token: another worker may have dropped or renewed it, or it may be due for
    /// renewal.
    fn care(&mut self, id: ClientId, run: &mut Run<'_>) {
        let (store, now) = (run.store, run.now);
        let Some((client, token)) = self.client(id) else { return };
        // A worker that backs off learns here that another one has obtained a token.
        if !token.has_token() && token.record.backs_off(now).is_none() {
            return;
        }
        token.let_go(now);
        token.sync(client, store, now);
        // A token that is not used is left to expire.
        let is_due = token.current(now).is_some_and(|current| now >= current.renew_at);
        if is_due && token.used {
            self.renew(id, run);
        }
    }

    /// Reports the gauges of all clients. A gauge is shared by the whole proxy and the last worker
    /// to set it wins, so each worker reports all tokens, including those that it does not use.
    fn report(&mut self, run: &mut Run<'_>) {
        let (store, now) = (run.store, run.now);
        for client in 0..self.tokens.len() {
            if let Some((client, token)) = self.client(ClientId(client)) {
                token.sync(client, store, now);
            }
        }
        // A gauge retains its last value, so the last report must be zero.
        let mut reporting = false;
        for (client, token) in self.tokens.iter().enumerate() {
            // The expiry of a token that was obtained elsewhere may be unknown.
            let current = token.current(now).filter(|c| c.expires != Timestamp::NEVER);
            let seconds = |millis: Option<u64>| millis.map_or(0, |millis| millis / 1000);
            let backs_off = token.record.backs_off(now).and_then(Failure::retry_after);
            for (gauge, value) in [
                (ClientGauge::Age, seconds(current.map(|c| now.since(c.obtained)))),
                (ClientGauge::ExpiresIn, seconds(current.map(|c| c.expires.since(now)))),
                (ClientGauge::BackOff, backs_off.unwrap_or(0).into()),
            ] {
                reporting |= value > 0;
                let event = ClientEvent::Gauge(gauge, value);
                run.output.events.push(Event::Client(ClientId(client), event));
            }
        }
        self.reporting = reporting;
    }

    /// How often [`tick`](Self::tick) must be called, if at all.
    pub fn tick_period(&self) -> Option<Duration> {
        if !self.followed.is_empty() {
            return Some(LOOK_PERIOD);
        }
        if self.reporting || self.tokens.iter().any(ClientToken::has_token) {
            return Some(CARE_PERIOD);
        }
        self.fetches_keys().then_some(KEY_PERIOD)
    }
}
