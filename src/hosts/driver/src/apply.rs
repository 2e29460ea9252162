//! Carries out decisions on requests, and denies a request if the host fails to.

use log::{error, warn};

use super::interface::{Changed, Host, HostError, Map};
use super::reports::Reports;
use super::response;
use super::statistics::Statistics;
use super::stream::Stream;
use oauth2_filter_core::{
    Action, Counter, Decider, Decision, Event, Filter, Forward, Labels, Reason, Reply, TokenUse,
    Verdict,
};

/// The decision on a request for which the host fails.
const HOST_ERROR: Decision = Decision::Denied(Reason::HostError);

/// Carries out decisions on the request whose callback runs.
#[derive(Clone, Copy, Debug)]
pub struct Apply<'r, H> {
    /// The host.
    pub host: &'r H,
    /// Limits what is logged about it.
    pub reports: &'r Reports,
    /// Its metrics, once there is a configuration.
    pub statistics: Option<&'r Statistics>,
}

impl<H: Host> Apply<'_, H> {
    /// Carries out a verdict. A request that is forwarded still has to be resumed if it was paused.
    pub fn carry_out(&self, verdict: Verdict, guards_trailers: bool) -> Stream {
        let Verdict { action, attributes, sent, .. } = verdict;
        let mut has_state = false;
        let state = attributes.iter().try_for_each(|(name, value)| {
            has_state = true;
            self.host.set_filter_state(name, value)
        });
        let forward = match action {
            Action::Forward(forward) => forward,
            Action::Respond(reply) => {
                self.answer(&reply);
                return Stream::Refused;
            }
        };
        // Policies behind the filter may depend on filter state, routes too: it must be complete.
        match state.and_then(|()| self.edit(&forward, has_state)) {
            Ok(()) => Stream::Forwarded { guards_trailers, private: forward.private, sent },
            Err(error) => self.fail(error),
        }
    }

    /// Changes the headers of the request.
    fn edit(&self, forward: &Forward, has_state: bool) -> Result<(), HostError> {
        for name in forward.removed() {
            self.host.remove_header(Map::RequestHeaders, name.as_bytes())?;
        }
        for (name, value) in &forward.set {
            self.host.set_header(Map::RequestHeaders, name, value)?;
        }
        for (name, value) in forward.added() {
            self.host.add_header(Map::RequestHeaders, name, value)?;
        }
        let edited = forward.removed().next().is_some() || forward.given().next().is_some();
        if edited || has_state {
            let changed = if edited { Changed::Headers } else { Changed::FilterState };
            self.host.select_route_again(changed)?;
        }
        Ok(())
    }

    /// Denies the request, decided or not, because of a failure of the host.
    pub fn fail(&self, error: HostError) -> Stream {
        if let Some(times) = self.reports.refused.due(self.host) {
            error!("request denied with oauth2_host_error ({times} so far): {error}");
        }
        self.count(Event::Count(Counter::Request(HOST_ERROR)));
        // For access logs: filter state may already say that the request was allowed.
        let Labels { decision, reason } = HOST_ERROR.labels();
        let _ = self.host.set_filter_state("oauth2_decision", decision);
        let _ = self.host.set_filter_state("oauth2_reason", reason);
        self.answer(&Filter::host_error());
        Stream::Refused
    }

    /// Answers the request.
    pub fn answer(&self, reply: &Reply) {
        if let Err(error) = self.host.send_local_response(reply) {
            self.unanswered(error);
        }
    }

    /// No response can be sent: the request stays paused until the host gives up.
    pub fn unanswered(&self, error: HostError) {
        if let Some(times) = self.reports.unanswered.due(self.host) {
            error!("failed to send a response ({times} so far): {error}");
        }
    }

    /// Updates the metric of an event.
    pub fn count(&self, event: Event) {
        if let Some(statistics) = self.statistics {
            statistics.add(self.host, self.reports, event);
        }
    }

    /// Removes reserved headers from the request's trailers: services may read a field of the
    /// trailers as if it were a header.
    ///
    /// # Errors
    /// The host fails, so the trailers must not be forwarded.
    pub fn guard_trailers(&self, decider: &Decider) -> Result<(), HostError> {
        let trailers = self.host.headers(Map::RequestTrailers)?;
        for (name, _) in trailers.iter().filter(|(name, _)| decider.is_reserved(name)) {
            self.host.remove_header(Map::RequestTrailers, name)?;
        }
        Ok(())
    }

    /// Handles the headers of the response to a request in this state. Returns the token that the
    /// upstream service has rejected, and the status.
    pub fn response(
        &self,
        stream: Stream,
        decider: impl FnOnce(TokenUse, u16) -> bool,
    ) -> Option<(TokenUse, u16)> {
        let Stream::Forwarded { private, sent, .. } = stream else { return None };
        if private
            && let Err(error) = response::mark_private(self.host)
            && let Some(times) = self.reports.private.due(self.host)
        {
            warn!("failed to mark a response as private ({times} so far): {error}");
        }
        let sent = sent?;
        let status = response::upstream_status(self.host).unwrap_or_else(|error| {
            self.unread(error);
            None
        })?;
        let is_refused = decider(sent, status) && response::is_from_upstream(self.host);
        is_refused.then_some((sent, status))
    }

    /// A response cannot be read.
    pub fn unread(&self, error: HostError) {
        if let Some(times) = self.reports.unread.due(self.host) {
            warn!("failed to read a response ({times} so far): {error}");
        }
    }
}
