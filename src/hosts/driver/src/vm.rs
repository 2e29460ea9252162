//! Everything in one VM: its root contexts and its streams, by the callbacks of the host.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use log::{error, warn};

use super::interface::{HostCall, HostError, ProxyWasm};
use super::statistics::Defined;
use super::worker::Worker;
use oauth2_filter_core::{Filter, StreamId};

/// Everything in one VM. Each method is a callback of the host; those that return whether a
/// request continues must be obeyed.
pub struct Vm<H> {
    host: H,
    /// One for each root context.
    workers: RefCell<Vec<Rc<Worker<H>>>>,
    /// Streams without request headers so far, each with its root. Envoy creates a context just
    /// before its headers, so there is at most one, besides streams that never get headers.
    created: RefCell<Vec<(StreamId, u32)>>,
    /// The defined metrics.
    metrics: Defined,
}

impl<H: ProxyWasm> Vm<H> {
    /// A VM without a configuration.
    pub const fn new(host: H) -> Self {
        Self {
            host,
            workers: RefCell::new(Vec::new()),
            created: RefCell::new(Vec::new()),
            metrics: RefCell::new(Vec::new()),
        }
    }

    /// The worker of a root context.
    fn worker(&self, root: u32) -> Option<Rc<Worker<H>>> {
        self.workers.borrow().iter().find(|worker| worker.root == root).cloned()
    }

    /// A root context has ended.
    fn forget(&self, root: u32) {
        self.workers.borrow_mut().retain(|worker| worker.root != root);
    }

    /// The root of a stream whose request headers have just arrived.
    fn root_of(&self, stream: StreamId) -> Option<u32> {
        let mut created = self.created.borrow_mut();
        let at = created.iter().rposition(|(id, _)| *id == stream)?;
        Some(created.swap_remove(at).1)
    }

    /// The worker with a state for this stream.
    fn worker_of(&self, stream: StreamId) -> Option<Rc<Worker<H>>> {
        let workers = self.workers.borrow();
        workers.iter().find(|worker| worker.remembers(stream)).cloned()
    }

    /// The worker of a stream that has received more than headers, if it has a state.
    fn following(&self, stream: StreamId) -> Option<Rc<Worker<H>>> {
        let worker = self.worker_of(stream);
        if worker.is_some() {
            return worker;
        }
        // Its headers were not checked, so nothing may be forwarded.
        let worker = self.worker(self.root_of(stream)?)?;
        worker.refuse(stream, HostError { call: HostCall::OnRequestHeaders, status: 0 });
        Some(worker)
    }

    /// A root context exists, or a stream of one; a root has none itself.
    pub fn context_created(&self, context: u32, root: u32) {
        match root {
            0 => {
                self.workers.borrow_mut().push(Rc::new(Worker::new(self.host.clone(), context)));
            }
            _ => self.created.borrow_mut().push((StreamId(context), root)),
        }
    }

    /// A configuration for a root context. Whether it is accepted.
    pub fn configured(&self, root: u32, size: usize) -> bool {
        if let Err(error) = self.host.adopt_log_level() {
            warn!("failed to read the log level, which stays unchanged: {error}");
        }
        let document = match self.host.configuration(size) {
            Ok(document) => document.unwrap_or_default(),
            Err(error) => {
                error!("failed to read the configuration: {error}");
                return false;
            }
        };
        self.worker(root).is_some_and(|worker| worker.configure(document, &self.metrics))
    }

    /// The tick period of a root context has passed.
    pub fn tick(&self, root: u32) {
        if let Some(worker) = self.worker(root) {
            worker.tick();
        }
    }

    /// A call has ended; without headers, there is no complete response.
    pub fn call_ended(&self, root: u32, number: u32, headers: usize, body_size: usize) {
        let Some(worker) = self.worker(root) else { return };
        worker.call_ended(number, headers, body_size);
        if worker.has_ended() {
            // If the host fails, it has already released it.
            let _ = self.host.set_effective_context(root).and_then(|()| self.host.done());
            self.forget(root);
        }
    }

    /// The headers of a request. Whether it continues now.
    pub fn request_headers(&self, stream: u32, end_of_stream: bool) -> bool {
        let stream = StreamId(stream);
        if let Some(worker) = self.root_of(stream).and_then(|root| self.worker(root)) {
            return worker.request(stream, end_of_stream);
        }
        // The stream is unknown, so it must not be forwarded; no response is needed if it has
        // ended.
        let _ = self.host.send_local_response(&Filter::unconfigured());
        false
    }

    /// A part of a request's body. Whether it continues now.
    pub fn request_body(&self, stream: u32) -> bool {
        let stream = StreamId(stream);
        self.following(stream).is_none_or(|worker| worker.is_forwarded(stream))
    }

    /// The trailers of a request. Whether it continues now.
    pub fn request_trailers(&self, stream: u32) -> bool {
        let stream = StreamId(stream);
        self.following(stream).is_none_or(|worker| worker.trailers(stream))
    }

    /// The headers of the response to a request.
    pub fn response_headers(&self, stream: u32) {
        let stream = StreamId(stream);
        if let Some(worker) = self.worker_of(stream) {
            worker.response(stream);
        }
    }

    /// A context ends. Whether it has ended: a root remains while its calls are in flight, because
    /// all workers wait for their results, and a refresh token that was sent may be used up.
    pub fn done(&self, context: u32) -> bool {
        let stream = StreamId(context);
        if let Some(worker) = self.worker_of(stream) {
            worker.gone(stream);
        } else if self.root_of(stream).is_none()
            && let Some(worker) = self.worker(context)
        {
            worker.end();
            if !worker.has_ended() {
                return false;
            }
            self.forget(context);
        }
        true
    }
}

impl<H> fmt::Debug for Vm<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vm").finish_non_exhaustive()
    }
}
