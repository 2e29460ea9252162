//! Carries out decisions on requests, and denies a request if the host fails to.

use log::error;

use super::interface::{Host, HostError, Map};
use super::stream::Stream;
use super::worker::{Loaded, Worker};
use oauth2_filter_core::{
    Action, Counter, Decision, Event, Filter, Forward, Labels, Reason, Reply, StreamId, Verdict,
};

/// The decision on a request for which the host fails.
const HOST_ERROR: Decision = Decision::Denied(Reason::HostError);

impl<H: Host> Worker<H> {
    /// Carries out a verdict on the effective context's request. One that is forwarded still has to
    /// be resumed if it was paused.
    pub(super) fn carry_out(&self, verdict: Verdict, guards_trailers: bool) -> Stream {
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

    /// Changes the headers of the effective context's request.
    fn edit(&self, forward: &Forward, has_state: bool) -> Result<(), HostError> {
        for name in forward.removed() {
            self.host.remove_header(Map::RequestHeaders, name.as_bytes())?;
        }
        for (name, value) in &forward.set {
            self.host.set_header(Map::RequestHeaders, name, value)?;
        }
        if has_state && forward.removed().next().is_none() && forward.set.is_empty() {
            // Routes may depend on filter state, and Envoy has selected one before there was any.
            // Each edit has it select again; a host without this function keeps its route.
            self.host.foreign_function("clear_route_cache", &[])?;
        }
        Ok(())
    }

    /// Denies a request, decided or not, because of a failure of the host.
    pub(super) fn refuse(&self, stream: StreamId, error: HostError) {
        self.remember(stream, self.fail(error));
        self.forget(stream);
    }

    /// Denies the effective context's request because of a failure of the host.
    pub(super) fn fail(&self, error: HostError) -> Stream {
        if let Some(times) = self.reports.refused.due(&self.host) {
            error!("request denied with oauth2_host_error ({times} so far): {error}");
        }
        if let Some(Loaded { statistics, .. }) = self.loaded.get() {
            let event = Event::Count(Counter::Request(HOST_ERROR));
            statistics.add(&self.host, &self.reports, event);
        }
        // For access logs: filter state may already say that the request was allowed.
        let Labels { decision, reason } = HOST_ERROR.labels();
        let _ = self.host.set_filter_state("oauth2_decision", decision);
        let _ = self.host.set_filter_state("oauth2_reason", reason);
        self.answer(&Filter::host_error());
        Stream::Refused
    }

    /// Answers the effective context's request.
    pub(super) fn answer(&self, reply: &Reply) {
        if let Err(error) = self.host.send_local_response(reply) {
            self.unanswered(error);
        }
    }

    /// No response can be sent: the request stays paused until the host gives up.
    pub(super) fn unanswered(&self, error: HostError) {
        if let Some(times) = self.reports.unanswered.due(&self.host) {
            error!("failed to send a response ({times} so far): {error}");
        }
    }
}
