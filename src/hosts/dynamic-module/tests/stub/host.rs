//! Envoy's side of the ABI, in memory: one main thread, some workers, and no network.
//!
//! It is as hard on a module as Envoy may be: it runs hooks of a request within its calls, ends requests
//! within them, announces the ends of calls before they were made, and moves every header after each
//! hook, so that a sanitizer notices who still reads it.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap, VecDeque},
    ffi::{c_char, c_void},
    ptr,
    sync::{
        Arc, Condvar, LazyLock, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::random::{one_in, random};

/// How many workers there are.
pub const WORKERS: usize = 2;

/// Bytes, as the ABI has them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Buffer(*const u8, usize);

/// A header, as the ABI has it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Header(Buffer, Buffer);

impl Buffer {
    fn of(bytes: &[u8]) -> Self {
        Self(bytes.as_ptr(), bytes.len())
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// A copy, since what a module passes lives no longer than its call.
    fn bytes(self) -> Vec<u8> {
        if self.0.is_null() {
            return Vec::new();
        }
        // SAFETY: the module passes memory that lives during the call.
        unsafe { std::slice::from_raw_parts(self.0, self.1) }.to_vec()
    }
}

type Envoy = *mut c_void;
type Module = *const c_void;

// The hooks of the module.
unsafe extern "C" {
    fn envoy_dynamic_module_on_program_init() -> *const c_char;
    fn envoy_dynamic_module_on_http_filter_config_new(
        config: Envoy,
        name: Buffer,
        document: Buffer,
    ) -> Module;
    fn envoy_dynamic_module_on_http_filter_config_destroy(module: Module);
    fn envoy_dynamic_module_on_http_filter_config_scheduled(
        config: Envoy,
        module: Module,
        event: u64,
    );
    fn envoy_dynamic_module_on_http_filter_config_http_callout_done(
        config: Envoy,
        module: Module,
        number: u64,
        result: i32,
        headers: *const Header,
        count: usize,
        body: *const Buffer,
        chunks: usize,
    );
    fn envoy_dynamic_module_on_bootstrap_extension_config_new(
        config: Envoy,
        name: Buffer,
        document: Buffer,
    ) -> Module;
    fn envoy_dynamic_module_on_bootstrap_extension_config_destroy(module: Module);
    fn envoy_dynamic_module_on_bootstrap_extension_http_callout_done(
        config: Envoy,
        module: Module,
        number: u64,
        result: i32,
        headers: *const Header,
        count: usize,
        body: *const Buffer,
        chunks: usize,
    );
    fn envoy_dynamic_module_on_http_filter_per_route_config_new(
        name: Buffer,
        document: Buffer,
    ) -> Module;
    fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(route: Module);
    fn envoy_dynamic_module_on_http_filter_new(module: Module, filter: Envoy) -> Module;
    fn envoy_dynamic_module_on_http_filter_destroy(stream: Module);
    fn envoy_dynamic_module_on_http_filter_request_headers(
        filter: Envoy,
        stream: Module,
        end_of_stream: bool,
    ) -> i32;
    fn envoy_dynamic_module_on_http_filter_request_body(
        filter: Envoy,
        stream: Module,
        end_of_stream: bool,
    ) -> i32;
    fn envoy_dynamic_module_on_http_filter_request_trailers(filter: Envoy, stream: Module) -> i32;
    fn envoy_dynamic_module_on_http_filter_response_headers(
        filter: Envoy,
        stream: Module,
        end_of_stream: bool,
    ) -> i32;
    fn envoy_dynamic_module_on_http_filter_scheduled(filter: Envoy, stream: Module, event: u64);
    fn envoy_dynamic_module_on_http_filter_stream_complete(filter: Envoy, stream: Module);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Events for a thread.
pub struct Queue<T> {
    events: Mutex<VecDeque<T>>,
    changed: Condvar,
}

impl<T> Queue<T> {
    fn new() -> Self {
        Self { events: Mutex::default(), changed: Condvar::new() }
    }

    fn push(&self, event: T) {
        lock(&self.events).push_back(event);
        self.changed.notify_one();
    }

    /// The next event. `None` if there is none for a while.
    pub fn pop(&self, patience: Duration) -> Option<T> {
        let events = lock(&self.events);
        let waited = self.changed.wait_timeout_while(events, patience, |events| events.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.pop_front()
    }
}

/// The events of the main thread: the configurations whose hook for events is due.
pub static MAIN: LazyLock<Queue<u64>> = LazyLock::new(Queue::new);

/// The events of each worker: the requests whose hook for events is due.
pub static OF_WORKERS: LazyLock<[Queue<u64>; WORKERS]> =
    LazyLock::new(|| std::array::from_fn(|_| Queue::new()));

/// What the module has logged.
static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The lines that the module has logged.
pub fn log() -> Vec<String> {
    lock(&LOG).clone()
}

/// A number that nothing else has.
fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Filter,
    Bootstrap,
}

/// A configuration. Whoever has it last, in whatever thread, destroys it.
pub struct Config {
    number: u64,
    kind: Kind,
    /// Null until the module has taken it.
    module: AtomicPtr<c_void>,
    /// The calls under way: the bodies of their requests.
    calls: Mutex<BTreeMap<u64, String>>,
    is_destroyed: AtomicBool,
}

/// All configurations that live.
static CONFIGS: Mutex<BTreeMap<u64, Weak<Config>>> = Mutex::new(BTreeMap::new());

/// The configurations that live.
fn configs() -> Vec<Arc<Config>> {
    lock(&CONFIGS).values().filter_map(Weak::upgrade).collect()
}

/// How many configurations the module has.
pub fn living() -> usize {
    lock(&CONFIGS).len()
}

impl Config {
    /// Loads a document, on the main thread.
    pub fn load(document: &str) -> Option<Arc<Self>> {
        Self::new(Kind::Filter, |config| {
            let (name, document) = (Buffer::of(b"oauth2"), Buffer::of(document.as_bytes()));
            // SAFETY: the configuration and the buffers live during the hook.
            unsafe { envoy_dynamic_module_on_http_filter_config_new(config, name, document) }
        })
    }

    /// Loads the bootstrap extension, on the main thread.
    pub fn bootstrap() -> Option<Arc<Self>> {
        Self::new(Kind::Bootstrap, |config| {
            let (name, document) = (Buffer::of(b"oauth2"), Buffer::of(b""));
            // SAFETY: the configuration and the buffers live during the hook.
            unsafe {
                envoy_dynamic_module_on_bootstrap_extension_config_new(config, name, document)
            }
        })
    }

    fn new(kind: Kind, load: impl FnOnce(Envoy) -> Module) -> Option<Arc<Self>> {
        let config = Arc::new(Self {
            number: number(),
            kind,
            module: AtomicPtr::new(ptr::null_mut()),
            calls: Mutex::default(),
            is_destroyed: AtomicBool::new(false),
        });
        let module = load(config.envoy());
        if module.is_null() {
            return None;
        }
        config.module.store(module.cast_mut(), Ordering::Relaxed);
        lock(&CONFIGS).insert(config.number, Arc::downgrade(&config));
        Some(config)
    }

    /// What the module calls it.
    fn envoy(&self) -> Envoy {
        ptr::from_ref(self).cast_mut().cast()
    }

    fn module(&self) -> Module {
        self.module.load(Ordering::Relaxed)
    }

    /// Runs the hook for events, on the main thread.
    fn scheduled(&self) {
        if self.kind == Kind::Filter {
            // SAFETY: the configuration lives.
            unsafe {
                envoy_dynamic_module_on_http_filter_config_scheduled(
                    self.envoy(),
                    self.module(),
                    0,
                );
            }
        }
    }

    /// Announces the end of a call, on the main thread.
    fn end_call(&self, number: u64, body: Option<&str>) {
        let done = match self.kind {
            Kind::Filter => envoy_dynamic_module_on_http_filter_config_http_callout_done,
            Kind::Bootstrap => envoy_dynamic_module_on_bootstrap_extension_http_callout_done,
        };
        let headers: Vec<(Vec<u8>, Vec<u8>)> = [
            (":status", if body.is_some() { "200" } else { "503" }),
            ("content-type", "application/json"),
            ("x-envoy-upstream-service-time", "1"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
        let parts: Vec<Header> = headers
            .iter()
            .map(|(name, value)| Header(Buffer::of(name), Buffer::of(value)))
            .collect();
        let body = body.unwrap_or_default().to_owned();
        let (one, other) = body.split_at(body.len() / 2);
        let chunks = [Buffer::of(one.as_bytes()), Buffer::of(other.as_bytes())];
        // An answer, or a connection that was reset.
        let result = i32::from(body.is_empty());
        // SAFETY: the configuration lives, and so does what the lists borrow.
        unsafe {
            done(
                self.envoy(),
                self.module(),
                number,
                result,
                parts.as_ptr(),
                if result == 0 { parts.len() } else { 0 },
                chunks.as_ptr(),
                if result == 0 { chunks.len() } else { 0 },
            );
        }
    }
}

impl Drop for Config {
    /// Its calls end without a word.
    fn drop(&mut self) {
        lock(&CONFIGS).remove(&self.number);
        if self.module().is_null() {
            return;
        }
        let destroy = match self.kind {
            Kind::Filter => envoy_dynamic_module_on_http_filter_config_destroy,
            Kind::Bootstrap => envoy_dynamic_module_on_bootstrap_extension_config_destroy,
        };
        // SAFETY: it is destroyed once, and no request of it lives.
        unsafe { destroy(self.module()) }
        self.is_destroyed.store(true, Ordering::Relaxed);
    }
}

/// A document for a route. Whoever has it last, in whatever thread, destroys it.
pub struct Route(AtomicPtr<c_void>);

impl Route {
    /// Loads a document, on the main thread.
    pub fn load(document: &str) -> Option<Arc<Self>> {
        let (name, document) = (Buffer::of(b"oauth2"), Buffer::of(document.as_bytes()));
        // SAFETY: the buffers live during the hook.
        let module =
            unsafe { envoy_dynamic_module_on_http_filter_per_route_config_new(name, document) };
        (!module.is_null()).then(|| Arc::new(Self(AtomicPtr::new(module.cast_mut()))))
    }

    fn module(&self) -> Module {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        // SAFETY: it is destroyed once.
        unsafe { envoy_dynamic_module_on_http_filter_per_route_config_destroy(self.module()) }
    }
}

/// Handles one event of the main thread, if there is one.
pub fn run_main(patience: Duration) {
    if let Some(config) = MAIN.pop(patience) {
        let config = lock(&CONFIGS).get(&config).and_then(Weak::upgrade);
        config.inspect(|config| config.scheduled());
    }
}

/// Ends one of the calls under way, on the main thread. `answer` has the body of a response to the
/// body of a request; without one, the connection is reset.
pub fn end_a_call(answer: impl Fn(&str) -> Option<String>) {
    for config in configs() {
        let call = {
            let mut calls = lock(&config.calls);
            let numbers: Vec<u64> = calls.keys().copied().collect();
            let chosen = numbers.get(random(numbers.len().max(1)));
            chosen.and_then(|number| Some((*number, calls.remove(number)?)))
        };
        if let Some((number, request)) = call {
            return config.end_call(number, answer(&request).as_deref());
        }
    }
}

/// How many calls are under way.
pub fn calls() -> usize {
    configs().iter().map(|config| lock(&config.calls).len()).sum()
}

/// What has become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Waits,
    Forwarded,
    /// Answered by the module with this status.
    Answered(u32),
    /// Ended by the client.
    Gone,
}

/// Headers or trailers.
type Map = Vec<(Vec<u8>, Vec<u8>)>;

/// A request, in its worker.
pub struct Stream {
    number: u64,
    worker: usize,
    module: Cell<Module>,
    /// Request headers, request trailers and response headers.
    maps: RefCell<[Map; 3]>,
    outcome: Cell<Outcome>,
    /// Whether the module was told that it has ended.
    has_ended: Cell<bool>,
    /// Keeps its configuration.
    config: Arc<Config>,
    /// Keeps the document of its route.
    route: Option<Arc<Route>>,
}

impl Stream {
    /// A request arrives with these headers.
    pub fn arrive(
        worker: usize,
        (config, route): (Arc<Config>, Option<Arc<Route>>),
        headers: &[(&str, &str)],
    ) -> Box<Self> {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let stream = Box::new(Self {
            number: number(),
            worker,
            module: Cell::new(ptr::null()),
            maps: RefCell::new([headers.collect(), Vec::new(), Vec::new()]),
            outcome: Cell::new(Outcome::Waits),
            has_ended: Cell::new(false),
            config,
            route,
        });
        // SAFETY: the configuration and the request live.
        let module = unsafe {
            envoy_dynamic_module_on_http_filter_new(stream.config.module(), stream.envoy())
        };
        assert!(!module.is_null(), "the module takes every request");
        stream.module.set(module);
        // SAFETY: the request lives.
        let status = unsafe {
            envoy_dynamic_module_on_http_filter_request_headers(stream.envoy(), module, false)
        };
        stream.move_headers();
        match (status, stream.outcome.get()) {
            (0, Outcome::Waits) => stream.forward(),
            (0, outcome) => panic!("it goes on after {outcome:?}"),
            (status, _) => assert_eq!(status, 4, "it waits with all that follows"),
        }
        stream
    }

    /// The number by which events name it.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn outcome(&self) -> Outcome {
        self.outcome.get()
    }

    /// The value of a request header.
    pub fn header(&self, name: &str) -> Option<String> {
        let maps = self.maps.borrow();
        let found = maps[0].iter().find(|(other, _)| other == name.as_bytes());
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    }

    fn envoy(&self) -> Envoy {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// Every header is somewhere else afterwards.
    fn move_headers(&self) {
        for map in self.maps.borrow_mut().iter_mut() {
            *map = map.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        }
    }

    /// A part of the body arrives, then trailers.
    pub fn continue_request(&self) {
        self.maps.borrow_mut()[1] = vec![(b"x-trailer".into(), b"1".into())];
        let module = self.module.get();
        // SAFETY: the request lives.
        let statuses = unsafe {
            [
                envoy_dynamic_module_on_http_filter_request_body(self.envoy(), module, false),
                envoy_dynamic_module_on_http_filter_request_trailers(self.envoy(), module),
            ]
        };
        self.move_headers();
        let is_forwarded = self.outcome.get() == Outcome::Forwarded;
        assert_eq!(statuses.map(|status| status == 0), [is_forwarded; 2], "like its headers");
    }

    /// The hook for events is due.
    pub fn scheduled(&self) {
        // SAFETY: the request lives.
        unsafe {
            envoy_dynamic_module_on_http_filter_scheduled(self.envoy(), self.module.get(), 0);
        }
        self.move_headers();
    }

    fn set(&self, outcome: Outcome) {
        assert_eq!(self.outcome.replace(outcome), Outcome::Waits, "then {outcome:?}");
    }

    fn forward(&self) {
        self.set(Outcome::Forwarded);
        self.respond(if one_in(8) { b"401" } else { b"200" });
    }

    /// A response goes back, within a call of the module or not.
    fn respond(&self, status: &[u8]) {
        self.maps.borrow_mut()[2] = vec![(b":status".into(), status.to_vec())];
        // SAFETY: the request lives.
        unsafe {
            let _ = envoy_dynamic_module_on_http_filter_response_headers(
                self.envoy(),
                self.module.get(),
                true,
            );
        }
        if one_in(2) {
            self.end();
        }
    }

    /// The request ends, maybe within a call of the module. Its memory lives a little longer, as
    /// Envoy has it.
    fn end(&self) {
        if self.has_ended.replace(true) {
            return;
        }
        let (envoy, module) = (self.envoy(), self.module.get());
        // SAFETY: the request lives, and is destroyed once.
        unsafe {
            envoy_dynamic_module_on_http_filter_stream_complete(envoy, module);
            envoy_dynamic_module_on_http_filter_destroy(module);
        }
    }

    /// Whether it is over, and the module knows.
    pub fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    /// The client leaves, or has its response.
    pub fn leave(self) {
        if self.outcome.get() == Outcome::Waits {
            self.outcome.set(Outcome::Gone);
        }
        self.end();
    }
}

/// Loads the module.
pub fn load() {
    // SAFETY: it is called once, before all else.
    let version = unsafe { envoy_dynamic_module_on_program_init() };
    assert!(!version.is_null());
}

/// A request that the module names.
fn stream<'h>(filter: Envoy) -> &'h Stream {
    // SAFETY: the module must pass a request whose hook runs.
    unsafe { &*filter.cast::<Stream>() }
}

/// A configuration that the module names.
fn config<'h>(config: Envoy) -> &'h Config {
    // SAFETY: the module must pass a configuration that lives.
    let config = unsafe { &*config.cast::<Config>() };
    assert!(!config.is_destroyed.load(Ordering::Relaxed), "the module uses what is destroyed");
    config
}

/// Defines functions of Envoy.
macro_rules! callbacks {
    ($(fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name($($arg: $type),*) $(-> $result)? $body
        )*
    };
}

callbacks! {
    fn envoy_dynamic_module_callback_log(_level: i32, message: Buffer) {
        let message = message.text();
        // One in this file ends the process.
        if message.contains("panicked at") && !message.contains("on command") {
            eprintln!("{message}");
        }
        lock(&LOG).push(message);
    }

    fn envoy_dynamic_module_callback_log_enabled(_level: i32) -> bool {
        true
    }

    fn envoy_dynamic_module_callback_get_concurrency() -> u32 {
        u32::try_from(WORKERS).expect("few")
    }

    fn envoy_dynamic_module_callback_http_get_header(
        filter: Envoy, map: i32, name: Buffer, value: *mut Buffer, index: usize, count: *mut usize,
    ) -> bool {
        let maps = stream(filter).maps.borrow();
        let name = name.bytes();
        let map = &maps[usize::try_from(map).expect("a map")];
        let values: Vec<_> = map.iter().filter(|(other, _)| *other == name).collect();
        // SAFETY: the module passes places to write to.
        unsafe {
            *count = values.len();
            *value = values.get(index).map_or(Buffer(ptr::null(), 0), |(_, value)| Buffer::of(value));
        }
        index < values.len()
    }

    fn envoy_dynamic_module_callback_http_get_headers_size(filter: Envoy, map: i32) -> usize {
        stream(filter).maps.borrow()[usize::try_from(map).expect("a map")].len()
    }

    fn envoy_dynamic_module_callback_http_get_headers(
        filter: Envoy, map: i32, headers: *mut Header,
    ) -> bool {
        let maps = stream(filter).maps.borrow();
        for (at, (name, value)) in maps[usize::try_from(map).expect("a map")].iter().enumerate() {
            // SAFETY: the module passes a list with room for all.
            unsafe { *headers.add(at) = Header(Buffer::of(name), Buffer::of(value)) };
        }
        true
    }

    fn envoy_dynamic_module_callback_http_set_header(
        filter: Envoy, map: i32, name: Buffer, value: Buffer,
    ) -> bool {
        let stream = stream(filter);
        // An edit moves the others, too.
        stream.move_headers();
        let map = &mut stream.maps.borrow_mut()[usize::try_from(map).expect("a map")];
        let name = name.bytes();
        map.retain(|(other, _)| *other != name);
        if !value.0.is_null() {
            map.push((name, value.bytes()));
        }
        true
    }

    fn envoy_dynamic_module_callback_http_add_header(
        filter: Envoy, map: i32, name: Buffer, value: Buffer,
    ) -> bool {
        let stream = stream(filter);
        stream.move_headers();
        let map = &mut stream.maps.borrow_mut()[usize::try_from(map).expect("a map")];
        map.push((name.bytes(), value.bytes()));
        true
    }

    fn envoy_dynamic_module_callback_http_send_response(
        filter: Envoy, status: u32, headers: *const Header, count: usize, body: Buffer,
        details: Buffer,
    ) {
        for at in 0..count {
            // SAFETY: the module passes a list of this length.
            let Header(name, value) = unsafe { *headers.add(at) };
            drop((name.bytes(), value.bytes()));
        }
        drop(body.bytes());
        let stream = stream(filter);
        // After a panic, Envoy sends it in place of a response that has not begun, and ends one that
        // has.
        if details.bytes() == b"oauth2_host_error" && stream.outcome.get() != Outcome::Waits {
            return stream.outcome.set(Outcome::Answered(status));
        }
        stream.set(Outcome::Answered(status));
        stream.respond(status.to_string().as_bytes());
    }

    fn envoy_dynamic_module_callback_http_set_filter_state_bytes(
        _filter: Envoy, name: Buffer, value: Buffer,
    ) -> bool {
        drop((name.bytes(), value.bytes()));
        true
    }

    fn envoy_dynamic_module_callback_get_most_specific_route_config(filter: Envoy) -> Module {
        stream(filter).route.as_ref().map_or(ptr::null(), |route| route.module())
    }

    fn envoy_dynamic_module_callback_http_clear_route_cache(filter: Envoy) {
        let _ = stream(filter);
    }

    fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        filter: Envoy, _attribute: i32, _value: *mut Buffer,
    ) -> bool {
        let _ = stream(filter);
        false
    }

    fn envoy_dynamic_module_callback_http_filter_get_worker_index(filter: Envoy) -> u32 {
        u32::try_from(stream(filter).worker).expect("few")
    }

    fn envoy_dynamic_module_callback_http_filter_continue_decoding(filter: Envoy) {
        stream(filter).forward();
    }

    fn envoy_dynamic_module_callback_http_filter_scheduler_new(filter: Envoy) -> Envoy {
        let stream = stream(filter);
        Box::into_raw(Box::new((stream.worker, stream.number))).cast()
    }

    fn envoy_dynamic_module_callback_http_filter_scheduler_commit(scheduler: Envoy, _event: u64) {
        // SAFETY: it was made above, and is not deleted yet.
        let (worker, stream) = unsafe { *scheduler.cast::<(usize, u64)>() };
        OF_WORKERS[worker].push(stream);
    }

    fn envoy_dynamic_module_callback_http_filter_scheduler_delete(scheduler: Envoy) {
        // SAFETY: it was made above, and is deleted once.
        drop(unsafe { Box::from_raw(scheduler.cast::<(usize, u64)>()) });
    }

    fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(of: Envoy) -> Envoy {
        Box::into_raw(Box::new(config(of).number)).cast()
    }

    fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(
        scheduler: Envoy, _event: u64,
    ) {
        // SAFETY: it was made above, and is not deleted yet.
        MAIN.push(unsafe { *scheduler.cast::<u64>() });
    }

    fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(scheduler: Envoy) {
        // SAFETY: it was made above, and is deleted once.
        drop(unsafe { Box::from_raw(scheduler.cast::<u64>()) });
    }

    fn envoy_dynamic_module_callback_http_filter_config_http_callout(
        of: Envoy, id: *mut u64, cluster: Buffer, headers: *const Header, count: usize,
        body: Buffer, timeout: u64,
    ) -> i32 {
        call(of, id, cluster, (headers, count), body, timeout)
    }

    fn envoy_dynamic_module_callback_bootstrap_extension_config_signal_init_complete(of: Envoy) {
        let _ = config(of);
    }

    fn envoy_dynamic_module_callback_bootstrap_extension_config_scheduler_new(of: Envoy) -> Envoy {
        Box::into_raw(Box::new(config(of).number)).cast()
    }

    fn envoy_dynamic_module_callback_bootstrap_extension_config_scheduler_commit(
        scheduler: Envoy, _event: u64,
    ) {
        // SAFETY: it was made above, and is not deleted yet.
        MAIN.push(unsafe { *scheduler.cast::<u64>() });
    }

    fn envoy_dynamic_module_callback_bootstrap_extension_config_scheduler_delete(scheduler: Envoy) {
        // SAFETY: it was made above, and is deleted once.
        drop(unsafe { Box::from_raw(scheduler.cast::<u64>()) });
    }

    fn envoy_dynamic_module_callback_bootstrap_extension_http_callout(
        of: Envoy, id: *mut u64, cluster: Buffer, headers: *const Header, count: usize,
        body: Buffer, timeout: u64,
    ) -> i32 {
        call(of, id, cluster, (headers, count), body, timeout)
    }

    fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        of: Envoy, name: Buffer, labels: *const Buffer, count: usize, id: *mut usize,
    ) -> i32 {
        define(of, name, labels, count, id)
    }

    fn envoy_dynamic_module_callback_http_filter_config_define_gauge(
        of: Envoy, name: Buffer, labels: *const Buffer, count: usize, id: *mut usize,
    ) -> i32 {
        define(of, name, labels, count, id)
    }

    fn envoy_dynamic_module_callback_http_filter_config_define_histogram(
        of: Envoy, name: Buffer, labels: *const Buffer, count: usize, id: *mut usize,
    ) -> i32 {
        define(of, name, labels, count, id)
    }

    fn envoy_dynamic_module_callback_http_filter_increment_counter(
        filter: Envoy, id: usize, labels: *const Buffer, count: usize, value: u64,
    ) -> i32 {
        change(filter, id, labels, count, value)
    }

    fn envoy_dynamic_module_callback_http_filter_increment_gauge(
        filter: Envoy, id: usize, labels: *const Buffer, count: usize, value: u64,
    ) -> i32 {
        change(filter, id, labels, count, value)
    }

    fn envoy_dynamic_module_callback_http_filter_decrement_gauge(
        filter: Envoy, id: usize, labels: *const Buffer, count: usize, value: u64,
    ) -> i32 {
        change(filter, id, labels, count, value)
    }

    fn envoy_dynamic_module_callback_http_filter_set_gauge(
        filter: Envoy, id: usize, labels: *const Buffer, count: usize, value: u64,
    ) -> i32 {
        change(filter, id, labels, count, value)
    }

    fn envoy_dynamic_module_callback_http_filter_record_histogram_value(
        filter: Envoy, id: usize, labels: *const Buffer, count: usize, value: u64,
    ) -> i32 {
        change(filter, id, labels, count, value)
    }
}

/// Takes note of a call, or ends it at once.
fn call(
    of: Envoy,
    id: *mut u64,
    cluster: Buffer,
    (headers, count): (*const Header, usize),
    body: Buffer,
    timeout: u64,
) -> i32 {
    let config = config(of);
    assert!(timeout > 0);
    for at in 0..count {
        // SAFETY: the module passes a list of this length.
        let Header(name, value) = unsafe { *headers.add(at) };
        assert!(
            name.bytes() != b"content-length" || value.text() == body.bytes().len().to_string()
        );
        // A call for keys has no body, and says nothing of one.
        assert!(name.bytes() != b"content-length" || !body.bytes().is_empty());
    }
    if cluster.bytes() != b"as" {
        return 2;
    }
    let number = number();
    // SAFETY: the module passes a place to write to.
    unsafe { *id = number };
    if one_in(16) {
        // No connection, as Envoy tells it.
        config.end_call(number, None);
        return 3;
    }
    lock(&config.calls).insert(number, body.text());
    0
}

/// A metric; they are numbered for each configuration.
fn define(of: Envoy, name: Buffer, labels: *const Buffer, count: usize, id: *mut usize) -> i32 {
    static METRICS: LazyLock<Mutex<HashMap<String, usize>>> = LazyLock::new(Mutex::default);
    let _ = config(of);
    for at in 0..count {
        // SAFETY: the module passes a list of this length.
        drop(unsafe { *labels.add(at) }.bytes());
    }
    let mut metrics = lock(&METRICS);
    let next = metrics.len() + 1;
    // SAFETY: the module passes a place to write to.
    unsafe { *id = *metrics.entry(name.text()).or_insert(next) };
    0
}

fn change(filter: Envoy, id: usize, labels: *const Buffer, count: usize, _value: u64) -> i32 {
    let _ = stream(filter);
    assert!(id > 0, "a metric that was defined");
    for at in 0..count {
        // SAFETY: the module passes a list of this length.
        drop(unsafe { *labels.add(at) }.bytes());
    }
    0
}
