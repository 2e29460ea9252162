//! One request, from its headers to its end.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use oauth2_filter_core::StreamId;
use oauth2_filter_driver::{Apply, Host as _, HostCall, HostError, Stream};

use super::envoy;
use super::filter::FilterConfig;
use super::request::{Request, RouteAddress};
use super::shared::Shared;
use super::worker::{LOST, Step};

/// One request. Envoy may end it while one of its hooks runs, so hooks hold a reference.
pub(crate) struct HttpStream {
    filter: Arc<FilterConfig>,
    /// The configuration of its route's document, if it has one.
    route: OnceCell<(RouteAddress, Arc<FilterConfig>)>,
    state: Cell<State>,
}

#[derive(Clone, Copy)]
enum State {
    /// Its headers have not arrived.
    New,
    /// Its headers are held back until it is decided.
    Waiting(StreamId, bool),
    /// A decision was carried out.
    Decided(Stream),
}

impl HttpStream {
    pub(crate) fn new(filter: Arc<FilterConfig>) -> Self {
        Self { filter, route: OnceCell::new(), state: Cell::new(State::New) }
    }

    /// The configuration that decides on it.
    pub(crate) fn config(&self) -> &Arc<FilterConfig> {
        self.route.get().map_or(&self.filter, |(_, config)| config)
    }

    /// The request of a hook, with what its route's document changes.
    pub(crate) fn request<'h>(&'h self, request: Request<'h>) -> Request<'h> {
        match self.route.get() {
            Some((route, config)) => request.of_route(*route, &config.shared.metrics),
            None => request,
        }
    }

    fn apply<'a>(&'a self, request: &'a Request<'a>) -> Apply<'a, Request<'a>> {
        let Shared { reports, statistics, .. } = &*self.config().shared;
        Apply { host: request, reports, statistics: Some(statistics) }
    }

    /// The headers have arrived. Whether they are forwarded now.
    pub(crate) fn headers(&self, request: Request<'_>, end_of_stream: bool) -> bool {
        // Unless something else is decided.
        self.state.set(State::Decided(Stream::Refused));
        if let Some(route) = request.route() {
            let Some(config) = self.filter.of_route(route) else {
                self.fail(request, HostError { call: HostCall::Property, status: 1 });
                return false;
            };
            self.route.get_or_init(|| (route, config));
        }
        let request = self.request(request);
        let apply = self.apply(&request);
        let worker = self.config().slot(request.worker()).ok_or(LOST);
        let state = match worker.and_then(|slot| {
            let step = slot.decide(&self.config().shared, request, end_of_stream, envoy::now()?);
            Ok((step, !end_of_stream && slot.guards_trailers))
        }) {
            Ok((Step::Decided(verdict), guards_trailers)) => {
                State::Decided(apply.carry_out(verdict, guards_trailers))
            }
            Ok((Step::Waiting(stream), guards_trailers)) => State::Waiting(stream, guards_trailers),
            Ok((Step::Failed(error), _)) | Err(error) => State::Decided(apply.fail(error)),
        };
        self.state.set(state);
        self.is_forwarded()
    }

    /// Whether what follows the headers is forwarded. Without headers nothing is.
    pub(crate) fn body(&self, request: Request<'_>) -> bool {
        if matches!(self.state.get(), State::New) {
            self.fail(request, HostError { call: HostCall::OnRequestHeaders, status: 0 });
        }
        self.is_forwarded()
    }

    fn is_forwarded(&self) -> bool {
        matches!(self.state.get(), State::Decided(stream) if stream.is_forwarded())
    }

    /// The trailers have arrived. Whether they are forwarded now.
    pub(crate) fn trailers(&self, request: Request<'_>) -> bool {
        let guards = match self.state.get() {
            State::Waiting(_, guards_trailers) => guards_trailers,
            State::Decided(stream) => stream.guards_trailers(),
            State::New => false,
        };
        if guards {
            let apply = self.apply(&request);
            let slot = self.config().slot(request.worker()).ok_or(LOST);
            let guarded =
                slot.and_then(|slot| slot.with_decider(|decider| apply.guard_trailers(decider)));
            if let Err(error) = guarded {
                self.fail(request, error);
            }
        }
        self.body(request)
    }

    /// Another thread has something for the request.
    pub(crate) fn scheduled(&self, request: Request<'_>) {
        let State::Waiting(stream, guards_trailers) = self.state.get() else { return };
        let slot = self.config().slot_of(stream).ok_or(LOST);
        let verdict = match slot.and_then(|slot| Ok((slot, envoy::now()?))) {
            Ok((slot, now)) => match slot.take(&self.config().shared, request, stream, now) {
                Some(verdict) => verdict,
                None => return,
            },
            Err(error) => Err(error),
        };
        self.state.set(State::Decided(Stream::Refused));
        let apply = self.apply(&request);
        let state = match verdict {
            Ok(verdict) => apply.carry_out(verdict, guards_trailers),
            Err(error) => apply.fail(error),
        };
        self.state.set(State::Decided(state));
        if state.is_forwarded() {
            // It cannot fail in this host.
            let _ = request.resume_request();
        }
    }

    /// The headers of the response have arrived.
    pub(crate) fn response(&self, request: Request<'_>) {
        let State::Decided(stream) = self.state.get() else { return };
        let Some(slot) = self.config().slot(request.worker()) else { return };
        let apply = self.apply(&request);
        let refused = apply.response(stream, |sent, status| slot.is_refusal(sent, status));
        if let (Some(refused), Ok(now)) = (refused, envoy::now()) {
            slot.rejected(&self.config().shared, request, refused, now);
        }
    }

    /// The request has ended.
    pub(crate) fn ended(&self) {
        if let State::Waiting(stream, _) = self.state.replace(State::Decided(Stream::Refused))
            && let Some(slot) = self.config().slot_of(stream)
        {
            slot.gone(&self.config().shared, stream);
        }
    }

    /// Denies the request because of a failure.
    fn fail(&self, request: Request<'_>, error: HostError) {
        self.ended();
        self.state.set(State::Decided(self.apply(&request).fail(error)));
    }

    /// A hook has panicked. All state that it may have spoiled is lost, and the request is denied
    /// unless it has ended.
    pub(crate) fn panicked(&self, request: Request<'_>, has_ended: bool) {
        if let Some(slot) = self.config().slot(request.worker()) {
            slot.lose_decider(&self.config().shared);
        }
        if !has_ended {
            self.fail(request, LOST);
        }
    }
}
