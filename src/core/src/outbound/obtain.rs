//! How a token is obtained: found, waited for, or asked for.

use super::flight::{Attempt, Flight, Found, LEASE_GRACE, Maker, Permit, Task};
use super::state::{Outbound, of_client};
use crate::cache::local::Key;
use crate::cache::shared::Acquire;
use crate::cache::single_flight::CallId;
use crate::cache::store::SharedData;
use crate::oauth::failure::Failure;
use crate::oauth::secret::Secret;
use crate::outbound::client::{Client, Exchanged, Grant, TokenRequest};
use crate::outbound::client_token::{AccessToken, TRIES};
use crate::outbound::exchange::{Exchanges, Subject};
use crate::run::Run;

impl Outbound {
    /// The token of a client that is no exchange.
    pub(super) fn obtain(&mut self, client: usize, run: &mut Run<'_>) -> Found {
        let (data, now) = (run.data, run.now);
        let Some((Client { identity, .. }, holder)) =
            of_client(&self.config, &mut self.holders, client)
        else {
            return Found::Failed(Failure::Defect);
        };
        if let Some(current) = holder.take(identity, data, now) {
            return Found::Token(current);
        }
        let key = self.keyed.key(client, "");
        if let Some(id) = self.waiting.find(key) {
            return Found::Wait(id);
        }
        match self.attempt(client, false, run) {
            Attempt::Token(current) => Found::Token(current),
            Attempt::Failed(failure) => Found::Failed(failure),
            Attempt::Busy => self.begin(key, client, None, Maker::Elsewhere, run),
            Attempt::Ours(task) => self.begin(key, client, None, Maker::Here(task), run),
        }
    }

    /// Looks for a client's token, and takes a lease on obtaining one if there is none, or, with
    /// `renew`, if it is time for another.
    pub(super) fn attempt(&mut self, client: usize, renew: bool, run: &mut Run<'_>) -> Attempt {
        let (data, now) = (run.data, run.now);
        let Some((client, holder)) = of_client(&self.config, &mut self.holders, client) else {
            return Attempt::Failed(Failure::Defect);
        };
        let mut lost = None;
        for _ in 0..TRIES {
            holder.sync(&client.identity, data);
            let written = holder.written();
            // Nobody has written since our write failed: the host takes none.
            if lost == Some(written) {
                return Attempt::Failed(Failure::Defect);
            }
            if let Grant::DirectToken { access_token, expires_in, .. } = &client.grant
                && holder.holding.number == 0
            {
                let token = client.lifetime.given(access_token, *expires_in, &self.random, now);
                let next = holder.holding.clone().accepted(token);
                if !holder.write(&client.identity, data, next, now) {
                    lost = Some(written);
                }
                continue;
            }
            if let Some(current) = holder.current(now).cloned()
                && !(renew && now >= current.renew_at)
            {
                holder.used = true;
                return Attempt::Token(current);
            }
            if holder.holding.is_leased(now) {
                return Attempt::Busy;
            }
            if let Some(failure) = holder.holding.backs_off(now) {
                return Attempt::Failed(failure);
            }
            let Some(request) = client.ask(&holder.holding) else {
                return Attempt::Failed(Failure::NoGrant);
            };
            let owner = self.random.number();
            let ends = now.plus(client.timeout(&request)).plus(LEASE_GRACE);
            let refreshes = matches!(request, TokenRequest::Refresh(_));
            let next = holder.holding.clone().leased(owner, ends, refreshes);
            if holder.write(&client.identity, data, next, now) {
                return Attempt::Ours(Task { request, permit: Permit::Lease(owner) });
            }
            lost = Some(written);
        }
        // Others have written each time: one of them obtains a token.
        Attempt::Busy
    }

    /// A token that is exchanged for the caller's.
    pub(super) fn exchange(&mut self, client: usize, subject: Subject, run: &mut Run<'_>) -> Found {
        let (data, now) = (run.data, run.now);
        let key = subject.key;
        let Some((config, holder)) = of_client(&self.config, &mut self.holders, client) else {
            return Found::Failed(Failure::Defect);
        };
        let heard = holder.heard(data);
        if let Some(current) = self.exchanges.current(config, &subject, heard, data, now) {
            if Exchanges::is_due(&current, &subject, now)
                && self.waiting.find(key).is_none()
                && let Attempt::Ours(task) = self.attempt_exchange(client, &subject, true, run)
            {
                self.begin(key, client, Some(subject), Maker::Here(task), run);
            }
            return Found::Token(current);
        }
        if let Some(id) = self.waiting.find(key) {
            return Found::Wait(id);
        }
        match self.attempt_exchange(client, &subject, false, run) {
            Attempt::Token(current) => Found::Token(current),
            Attempt::Failed(failure) => Found::Failed(failure),
            Attempt::Busy => self.begin(key, client, Some(subject), Maker::Elsewhere, run),
            Attempt::Ours(task) => self.begin(key, client, Some(subject), Maker::Here(task), run),
        }
    }

    /// Looks for an exchanged token, and puts up a marker if there is none, or, with `renew`, if it
    /// is time for another.
    pub(super) fn attempt_exchange(
        &mut self,
        client: usize,
        subject: &Subject,
        renew: bool,
        run: &mut Run<'_>,
    ) -> Attempt {
        let (data, now) = (run.data, run.now);
        let Some((client, holder)) = of_client(&self.config, &mut self.holders, client) else {
            return Attempt::Failed(Failure::Defect);
        };
        let serves = |current: &AccessToken| !(renew && Exchanges::is_due(current, subject, now));
        if let Some(current) = self.exchanges.recall(client, subject, data, now)
            && serves(&current)
        {
            return Attempt::Token(current);
        }
        if let Some(failure) = self.exchanges.failure(subject.key, now) {
            return Attempt::Failed(failure);
        }
        // The server's failures are everybody's.
        holder.sync(&client.identity, data);
        if let Some(failure) = holder.holding.backs_off(now) {
            return Attempt::Failed(failure);
        }
        let deadline = now.plus(client.timeout(&TokenRequest::Grant)).plus(LEASE_GRACE);
        match self.exchanges.claim(client, subject, deadline, serves, data, now) {
            Acquire::Known(current) => Attempt::Token(current),
            Acquire::Others(_) | Acquire::Failed(_) => Attempt::Busy,
            Acquire::Ours { marked } => {
                let permit = if marked { Permit::Marker(now) } else { Permit::Unmarked };
                Attempt::Ours(Task { request: TokenRequest::Grant, permit })
            }
        }
    }

    /// Begins to obtain a token, or to wait for another worker's.
    pub(super) fn begin(
        &mut self,
        key: Key,
        client: usize,
        subject: Option<Subject>,
        maker: Maker,
        run: &mut Run<'_>,
    ) -> Found {
        let now = run.now;
        let is_ours = matches!(maker, Maker::Here(_));
        let (calls, exchanges) = (Vec::new(), Vec::new());
        let flight = Flight { client, subject, maker, since: now, calls, exchanges };
        let id = self.waiting.lead(key, flight, true);
        if !is_ours {
            self.waiting.follow(id);
            return Found::Wait(id);
        }
        match self.start(id, run) {
            Ok(()) => Found::Wait(id),
            Err(failure) => {
                self.fall_through(id, failure, run);
                Found::Failed(failure)
            }
        }
    }

    /// Makes the call of a flight of ours, when the actor's token is there.
    pub(super) fn start(&mut self, id: CallId, run: &mut Run<'_>) -> Result<(), Failure> {
        let flight = self.waiting.question(id).ok_or(Failure::Defect)?;
        let client = self.config.clients.get(flight.client).ok_or(Failure::Defect)?;
        let Grant::TokenExchange { actor: Some(actor), .. } = client.grant else {
            return self.dispatch(id, None, run);
        };
        match self.obtain(actor, run) {
            Found::Token(current) => self.dispatch(id, Some(current.token.clone()), run),
            Found::Failed(failure) => Err(failure),
            Found::Wait(actor) => {
                if let Some(flight) = self.waiting.question(actor) {
                    flight.exchanges.push(id);
                }
                Ok(())
            }
        }
    }

    /// Makes the call of a flight of ours.
    pub(super) fn dispatch(
        &mut self,
        id: CallId,
        actor: Option<Secret>,
        run: &mut Run<'_>,
    ) -> Result<(), Failure> {
        let now = run.now;
        let flight = self.waiting.question(id).ok_or(Failure::Defect)?;
        let client = self.config.clients.get(flight.client).ok_or(Failure::Defect)?;
        let subject = flight.subject.as_ref().map(|subject| subject.token.clone());
        let exchanged = subject.map(|subject| Exchanged { subject, actor });
        flight.since = now;
        let Maker::Here(task) = &flight.maker else { return Err(Failure::Defect) };
        let call =
            client.call(id, &task.request, exchanged.as_ref(), now).ok_or(Failure::Defect)?;
        run.output.calls.push(call);
        Ok(())
    }

    /// Ends a flight of ours whose call was never made.
    pub(super) fn fall_through(&mut self, id: CallId, failure: Failure, run: &mut Run<'_>) {
        let data = run.data;
        let Some((_, flight, waiters)) = self.waiting.finish(id) else { return };
        if let (Some(subject), Maker::Here(task)) = (&flight.subject, &flight.maker) {
            self.unclaim(subject, task.permit, data);
        }
        self.conclude(flight, waiters, &Err(failure), run);
    }

    /// Takes down the marker of a call that is over.
    pub(super) fn unclaim(&self, subject: &Subject, permit: Permit, data: &dyn SharedData) {
        if let Permit::Marker(marked) = permit {
            self.exchanges.unclaim(subject, marked, data);
        }
    }
}
