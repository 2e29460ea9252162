//! What the host calls, under the names that `tests/setup/trim` gives to these functions.
//!
//! The SDK's callbacks keep an object for each stream, in a table that every callback looks into,
//! and panic on a stream that they do not know. Here a stream is remembered only if there is
//! something to remember of it, which is so of few.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::rc::Rc;

use proxy_wasm::hostcalls;

use super::{Worker, abi, send};
use crate::filter::Filter;
use crate::waiting::StreamId;

/// `Action` of the ABI.
const CONTINUE: u32 = 0;

/// `Action` of the ABI.
const PAUSE: u32 = 1;

thread_local! {
    /// What lives in this VM.
    static VM: Vm = const { Vm { workers: RefCell::new(Vec::new()), created: RefCell::new(Vec::new()) } };
}

/// What lives in a VM.
struct Vm {
    /// One for each root context.
    workers: RefCell<Vec<Rc<Worker>>>,
    /// Streams of which no head has come yet, each with its root. Envoy makes a context known just
    /// before its head, so that this is one, or those that never get one.
    created: RefCell<Vec<(StreamId, u32)>>,
}

impl Vm {
    /// The worker of a root context.
    fn worker(&self, root: u32) -> Option<Rc<Worker>> {
        self.workers.borrow().iter().find(|worker| worker.root == root).cloned()
    }

    /// A root context is gone.
    fn forget(&self, root: u32) {
        self.workers.borrow_mut().retain(|worker| worker.root != root);
    }

    /// The root of a stream whose head has come.
    fn root_of(&self, stream: StreamId) -> Option<u32> {
        let mut created = self.created.borrow_mut();
        let at = created.iter().rposition(|(id, _)| *id == stream)?;
        Some(created.swap_remove(at).1)
    }

    /// The worker that remembers this stream.
    fn that_knows(&self, stream: StreamId) -> Option<Rc<Worker>> {
        let workers = self.workers.borrow();
        workers.iter().find(|worker| worker.streams.borrow().contains_key(&stream)).cloned()
    }
}

/// What comes after a request's head.
fn follow(stream: u32) -> u32 {
    let stream = StreamId(stream);
    let worker = VM.with(|vm| vm.that_knows(stream));
    if worker.is_none_or(|worker| worker.goes_on(stream)) { CONTINUE } else { PAUSE }
}

/// A root context, or a stream of one.
#[unsafe(no_mangle)]
extern "C" fn oauth2_on_context_create(context: u32, root: u32) {
    VM.with(|vm| match root {
        0 => vm.workers.borrow_mut().push(Rc::new(Worker::new(context))),
        _ => vm.created.borrow_mut().push((StreamId(context), root)),
    });
}

/// A configuration for a root context. Whether it is taken.
#[unsafe(no_mangle)]
extern "C" fn oauth2_on_configure(root: u32, size: usize) -> u32 {
    if let Ok(level) = hostcalls::get_log_level() {
        proxy_wasm::set_log_level(level);
    }
    let document = abi::plugin_configuration(size).unwrap_or_default();
    let worker = VM.with(|vm| vm.worker(root));
    u32::from(worker.is_some_and(|worker| worker.configure(document)))
}

/// The time that was asked for has gone by.
#[unsafe(no_mangle)]
extern "C" fn oauth2_on_tick(root: u32) {
    if let Some(worker) = VM.with(|vm| vm.worker(root)) {
        worker.tick();
    }
}

/// The answer to a call, or its end without one.
#[unsafe(no_mangle)]
extern "C" fn oauth2_on_http_call_response(
    root: u32,
    number: u32,
    headers: usize,
    body_size: usize,
    _trailers: usize,
) {
    if let Some(worker) = VM.with(|vm| vm.worker(root)) {
        worker.answer(number, headers, body_size);
        if worker.has_ended() && abi::set_effective_context(root).is_ok() && abi::done().is_ok() {
            VM.with(|vm| vm.forget(root));
        }
    }
}

/// A request's head.
#[unsafe(no_mangle)]
extern "C" fn oauth2_on_request_headers(stream: u32, _headers: usize, _end: u32) -> u32 {
    #[cfg(feature = "panic-on-command")]
    super::panic_on_command::obey();
    let stream = StreamId(stream);
    let goes_on = if let Some(worker) = VM.with(|vm| vm.worker(vm.root_of(stream)?)) {
        worker.request(stream)
    } else {
        // Nobody has been told of it, so nothing may let it pass.
        send(&Filter::unconfigured());
        false
    };
    if goes_on { CONTINUE } else { PAUSE }
}

/// A part of its body.
#[unsafe(no_mangle)]
extern "C" fn oauth2_on_request_body(stream: u32, _size: usize, _end: u32) -> u32 {
    follow(stream)
}

/// What stands after its body.
#[unsafe(no_mangle)]
extern "C" fn oauth2_on_request_trailers(stream: u32, _trailers: usize) -> u32 {
    follow(stream)
}

/// The head of its response.
#[unsafe(no_mangle)]
extern "C" fn oauth2_on_response_headers(stream: u32, _headers: usize, _end: u32) -> u32 {
    let stream = StreamId(stream);
    if let Some(worker) = VM.with(|vm| vm.that_knows(stream)) {
        worker.response(stream);
    }
    CONTINUE
}

/// A context comes to its end. Whether it has: a root stays while its calls are under way. All
/// workers wait for what they bring, and a refresh token that was sent may be spent.
#[unsafe(no_mangle)]
extern "C" fn oauth2_on_done(context: u32) -> u32 {
    let stream = StreamId(context);
    VM.with(|vm| {
        if let Some(worker) = vm.that_knows(stream) {
            worker.gone(stream);
        } else if vm.root_of(stream).is_none()
            && let Some(worker) = vm.worker(context)
        {
            worker.end();
            if !worker.has_ended() {
                return 0;
            }
            vm.forget(context);
        }
        1
    })
}
