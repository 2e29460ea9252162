//! What time brings: what other workers have obtained, renewals, and reports.

use std::time::Duration;

use super::Fetcher;
use super::stage::Progress;
use crate::ids::ClientId;
use crate::metrics::Event;
use crate::metrics::client::{ClientEvent, ClientGauge};
use crate::oauth::failure::Failure;
use crate::outbound::client_token::ClientToken;
use crate::run::Run;
use crate::timestamp::Timestamp;

/// The pause between two looks at what other workers obtain.
const LOOK_PERIOD: Duration = Duration::from_millis(4);

/// The pause between two looks at clients' tokens: how exactly renewals are timed.
const CARE_PERIOD: Duration = Duration::from_millis(100);

/// The pause between two reports of how old tokens are.
const REPORT_PERIOD: Duration = Duration::from_secs(1);

impl Fetcher {
    /// Time has gone by.
    pub(crate) fn tick(&mut self, run: &mut Run<'_>) {
        let now = run.now;
        self.follow(run);
        for client in 0..self.tokens.len() {
            self.care(ClientId(client), run);
        }
        if self.report_at.is_none_or(|report_at| now >= report_at) {
            self.report_at = Some(now.plus(REPORT_PERIOD));
            self.report(run);
        }
    }

    /// Looks whether other workers have obtained what is waited for.
    fn follow(&mut self, run: &mut Run<'_>) {
        for id in std::mem::take(&mut self.followed) {
            let Some((progress, flight)) = self.flights.take(id) else { continue };
            match progress {
                Progress::Introspection(introspection) => {
                    self.follow_introspection(flight, introspection, run);
                }
                Progress::Exchange(exchange) => self.follow_exchange(flight, exchange, run),
                Progress::ClientToken(obtaining) => self.follow_token(flight, obtaining, run),
            }
        }
    }

    /// Looks after a client's token: another worker may have dropped or renewed it, or it may be time to
    /// renew it.
    fn care(&mut self, id: ClientId, run: &mut Run<'_>) {
        let (store, now) = (run.store, run.now);
        let Some((client, token)) = self.client(id) else { return };
        // One that backs off learns here that another worker has obtained a token.
        if !token.has_token() && token.record.backs_off(now).is_none() {
            return;
        }
        token.let_go(now);
        token.sync(client, store, now);
        // A token that nobody uses is left to expire.
        let is_due = token.current(now).is_some_and(|current| now >= current.renew_at);
        if is_due && token.used {
            self.renew(id, run);
        }
    }

    /// Reports how old tokens are. Numbers are the whole proxy's, and the last worker to tell one
    /// is believed: so each tells of all tokens, those too that it does not use.
    fn report(&mut self, run: &mut Run<'_>) {
        let (store, now) = (run.store, run.now);
        for client in 0..self.tokens.len() {
            if let Some((client, token)) = self.client(ClientId(client)) {
                token.sync(client, store, now);
            }
        }
        let reports = self.tokens.iter().enumerate().flat_map(|(client, token)| {
            // Of a token that was obtained elsewhere nobody may know the end.
            let current = token.current(now).filter(|c| c.expires != Timestamp::NEVER);
            let seconds = |millis: Option<u64>| millis.map_or(0, |millis| millis / 1000);
            let backs_off = token.record.backs_off(now).and_then(Failure::retry_after);
            [
                (ClientGauge::Age, seconds(current.map(|c| now.since(c.obtained)))),
                (ClientGauge::ExpiresIn, seconds(current.map(|c| c.expires.since(now)))),
                (ClientGauge::BackOff, backs_off.unwrap_or(0).into()),
            ]
            .map(|(gauge, value)| Event::Client(ClientId(client), ClientEvent::Gauge(gauge, value)))
        });
        let reports: Vec<Event> = reports.collect();
        // Gauges stay as they were last: at the end they are zero.
        let is_zero = |event: &Event| matches!(event, Event::Client(_, ClientEvent::Gauge(_, 0)));
        self.reporting = !reports.iter().all(is_zero);
        run.output.events.extend(reports);
    }

    /// How often time has to be taken note of, if at all.
    pub(crate) fn tick_period(&self) -> Option<Duration> {
        if !self.followed.is_empty() {
            return Some(LOOK_PERIOD);
        }
        (self.reporting || self.tokens.iter().any(ClientToken::has_token)).then_some(CARE_PERIOD)
    }
}
