//! What time brings: what other workers have obtained, renewals, and reports.

use std::time::Duration;

use super::flight::{Attempt, Flight, Maker};
use super::state::{Outbound, of_client};
use crate::metrics::Event;
use crate::metrics::client::{ClientEvent, ClientGauge};
use crate::oauth::failure::Failure;
use crate::outbound::client::Client;
use crate::outbound::client_token::ClientToken;
use crate::run::Run;
use crate::timestamp::Timestamp;

/// The pause between two looks at what other workers obtain.
const LOOK_PERIOD: Duration = Duration::from_millis(4);

/// The pause between two looks at tokens that are held: how exactly renewals are timed.
const CARE_PERIOD: Duration = Duration::from_millis(100);

/// The pause between two reports of how old tokens are.
const REPORT_PERIOD: Duration = Duration::from_secs(1);

impl Outbound {
    /// Takes note of the time: looks whether other workers have obtained what is waited for, and
    /// renews tokens.
    pub(crate) fn tick(&mut self, run: &mut Run<'_>) {
        let now = run.now;
        self.look(run);
        for client in 0..self.holders.len() {
            self.care(client, run);
        }
        if now >= self.report_at {
            self.report_at = now.plus(REPORT_PERIOD);
            self.report(run);
        }
    }

    /// Looks whether other workers have obtained what is waited for.
    fn look(&mut self, run: &mut Run<'_>) {
        let what = |(id, _, flight): (_, _, &Flight)| (id, flight.client, flight.subject.clone());
        let theirs: Vec<_> = self.waiting.elsewhere().map(what).collect();
        for (id, client, subject) in theirs {
            let attempt = match &subject {
                Some(subject) => self.attempt_exchange(client, subject, false, run),
                None => self.attempt(client, false, run),
            };
            let found = match attempt {
                Attempt::Busy => continue,
                Attempt::Token(current) => Ok(current),
                Attempt::Failed(failure) => Err(failure),
                Attempt::Ours(task) => {
                    self.waiting.take_over(id);
                    if let Some(flight) = self.waiting.question(id) {
                        flight.maker = Maker::Here(task);
                    }
                    if let Err(failure) = self.start(id, run) {
                        self.fall_through(id, failure, run);
                    }
                    continue;
                }
            };
            if let Some((_, flight, waiters)) = self.waiting.finish(id) {
                self.conclude(flight, waiters, &found, run);
            }
        }
    }

    /// Looks after a token that is held: another worker may have dropped or renewed it, or it may
    /// be time to renew it.
    fn care(&mut self, client: usize, run: &mut Run<'_>) {
        let (data, now) = (run.data, run.now);
        let Some((Client { identity, .. }, holder)) =
            of_client(&self.config, &mut self.holders, client)
        else {
            return;
        };
        // One that backs off learns here that another worker has obtained a token.
        if !holder.has_token() && holder.holding.backs_off(now).is_none() {
            return;
        }
        holder.let_go(now);
        holder.sync(identity, data);
        let due = holder.current(now).is_some_and(|current| now >= current.renew_at);
        let key = self.keyed.key(client, "");
        // A token that nobody uses is left to end.
        if !due || !holder.used || self.waiting.find(key).is_some() {
            return;
        }
        if let Attempt::Ours(task) = self.attempt(client, true, run) {
            self.begin(key, client, None, Maker::Here(task), run);
        }
    }

    /// Reports how old tokens are. Numbers are the whole proxy's, and the last worker to tell one
    /// is believed: so each tells of all tokens, those too that it does not use.
    fn report(&mut self, run: &mut Run<'_>) {
        let (data, now) = (run.data, run.now);
        for (client, holder) in self.config.clients.iter().zip(&mut self.holders) {
            holder.sync(&client.identity, data);
        }
        let reports = self.holders.iter().enumerate().flat_map(|(client, holder)| {
            // Of a token that was obtained elsewhere nobody may know the end.
            let current = holder.current(now).filter(|c| c.expires != Timestamp::NEVER);
            let seconds = |millis: Option<u64>| millis.map_or(0, |millis| millis / 1000);
            let backs_off = holder.holding.backs_off(now).and_then(Failure::retry_after);
            [
                (ClientGauge::Age, seconds(current.map(|c| now.since(c.obtained)))),
                (ClientGauge::ExpiresIn, seconds(current.map(|c| c.expires.since(now)))),
                (ClientGauge::BackOff, backs_off.unwrap_or(0).into()),
            ]
            .map(|(gauge, value)| Event::Client(client, ClientEvent::Gauge(gauge, value)))
        });
        let reports: Vec<Event> = reports.collect();
        // Gauges stay as they were last: at the end they are zero.
        let is_zero = |event: &Event| matches!(event, Event::Client(_, ClientEvent::Gauge(_, 0)));
        self.reporting = !reports.iter().all(is_zero);
        run.output.events.extend(reports);
    }

    /// How often time has to be taken note of.
    pub(crate) fn tick_period(&self) -> Option<Duration> {
        if self.waiting.has_elsewhere() {
            return Some(LOOK_PERIOD);
        }
        (self.reporting || self.holders.iter().any(ClientToken::has_token)).then_some(CARE_PERIOD)
    }
}
