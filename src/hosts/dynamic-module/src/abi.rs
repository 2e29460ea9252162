//! The functions of Envoy's dynamic-module ABI that this module calls, and their types.
//!
//! Only what every supported Envoy exports is declared: a symbol that Envoy lacks prevents it from
//! loading the module. The others are looked up with [`optional`]. `tests/envoy/abi.rs` and `make
//! matrix` compare these names with the symbols of each supported Envoy.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;

/// An object of Envoy's.
pub(crate) type Envoy = *mut c_void;

/// Bytes that are only borrowed for a call or a hook.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Buffer {
    start: *const u8,
    length: usize,
}

/// A header whose bytes are only borrowed for a call or a hook.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) name: Buffer,
    pub(crate) value: Buffer,
}

impl Buffer {
    /// The absence of a value.
    pub(crate) const NONE: Self = Self { start: std::ptr::null(), length: 0 };

    /// Borrows these bytes. They must outlive every use of the buffer.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { start: bytes.as_ptr(), length: bytes.len() }
    }

    /// The bytes.
    ///
    /// # Safety
    /// The buffer must be one of Envoy's, and its memory must live and not change during `'a`.
    pub(crate) unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.start.is_null() {
            return &[];
        }
        // SAFETY: Envoy's buffers are valid for their length; the caller guarantees the rest.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

impl Header {
    /// Borrows this header. Its bytes must outlive every use of it.
    pub(crate) fn of(name: &[u8], value: &[u8]) -> Self {
        Self { name: Buffer::of(name), value: Buffer::of(value) }
    }

    /// A place for one of Envoy's headers.
    pub(crate) const NONE: Self = Self { name: Buffer::NONE, value: Buffer::NONE };
}

/// A list of Envoy's, which lives until its hook returns.
///
/// # Safety
/// `start` must be null, or point to `length` values that live and do not change during `'a`.
pub(crate) unsafe fn list<'a, T>(start: *const T, length: usize) -> &'a [T] {
    if start.is_null() {
        return &[];
    }
    // SAFETY: guaranteed by the caller.
    unsafe { std::slice::from_raw_parts(start, length) }
}

/// Declares functions under the names that they have without their common prefix.
macro_rules! functions {
    ($($(#[$meta:meta])* $name:ident as $symbol:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        unsafe extern "C" {
            $(
                $(#[$meta])*
                #[link_name = stringify!($symbol)]
                pub(crate) fn $name($($arg: $type),*) $(-> $result)?;
            )*
        }
    };
}

functions! {
    log as envoy_dynamic_module_callback_log(level: i32, message: Buffer);
    log_enabled as envoy_dynamic_module_callback_log_enabled(level: i32) -> bool;
    get_concurrency as envoy_dynamic_module_callback_get_concurrency() -> u32;
    get_header as envoy_dynamic_module_callback_http_get_header(
        filter: Envoy, map: i32, name: Buffer, value: *mut Buffer, index: usize, count: *mut usize
    ) -> bool;
    get_headers_size as envoy_dynamic_module_callback_http_get_headers_size(
        filter: Envoy, map: i32
    ) -> usize;
    get_headers as envoy_dynamic_module_callback_http_get_headers(
        filter: Envoy, map: i32, headers: *mut Header
    ) -> bool;
    add_header as envoy_dynamic_module_callback_http_add_header(
        filter: Envoy, map: i32, name: Buffer, value: Buffer
    ) -> bool;
    set_header as envoy_dynamic_module_callback_http_set_header(
        filter: Envoy, map: i32, name: Buffer, value: Buffer
    ) -> bool;
    send_response as envoy_dynamic_module_callback_http_send_response(
        filter: Envoy, status: u32, headers: *const Header, count: usize, body: Buffer,
        details: Buffer
    );
    set_filter_state as envoy_dynamic_module_callback_http_set_filter_state_bytes(
        filter: Envoy, name: Buffer, value: Buffer
    ) -> bool;
    clear_route_cache as envoy_dynamic_module_callback_http_clear_route_cache(filter: Envoy);
    get_attribute_string as envoy_dynamic_module_callback_http_filter_get_attribute_string(
        filter: Envoy, attribute: i32, value: *mut Buffer
    ) -> bool;
    get_route_config as envoy_dynamic_module_callback_get_most_specific_route_config(
        filter: Envoy
    ) -> *const c_void;
    get_worker_index as envoy_dynamic_module_callback_http_filter_get_worker_index(
        filter: Envoy
    ) -> u32;
    continue_decoding as envoy_dynamic_module_callback_http_filter_continue_decoding(filter: Envoy);
    stream_scheduler_new as envoy_dynamic_module_callback_http_filter_scheduler_new(
        filter: Envoy
    ) -> Envoy;
    stream_scheduler_commit as envoy_dynamic_module_callback_http_filter_scheduler_commit(
        scheduler: Envoy, event: u64
    );
    stream_scheduler_delete as envoy_dynamic_module_callback_http_filter_scheduler_delete(
        scheduler: Envoy
    );
    config_scheduler_new as envoy_dynamic_module_callback_http_filter_config_scheduler_new(
        config: Envoy
    ) -> Envoy;
    config_scheduler_commit as envoy_dynamic_module_callback_http_filter_config_scheduler_commit(
        scheduler: Envoy, event: u64
    );
    config_scheduler_delete as envoy_dynamic_module_callback_http_filter_config_scheduler_delete(
        scheduler: Envoy
    );
    config_http_callout as envoy_dynamic_module_callback_http_filter_config_http_callout(
        config: Envoy, id: *mut u64, cluster: Buffer, headers: *const Header, count: usize,
        body: Buffer, timeout: u64
    ) -> i32;
    bootstrap_init_complete as
        envoy_dynamic_module_callback_bootstrap_extension_config_signal_init_complete(
            config: Envoy
        );
    bootstrap_scheduler_new as
        envoy_dynamic_module_callback_bootstrap_extension_config_scheduler_new(
            config: Envoy
        ) -> Envoy;
    bootstrap_scheduler_commit as
        envoy_dynamic_module_callback_bootstrap_extension_config_scheduler_commit(
            scheduler: Envoy, event: u64
        );
    bootstrap_scheduler_delete as
        envoy_dynamic_module_callback_bootstrap_extension_config_scheduler_delete(
            scheduler: Envoy
        );
    bootstrap_http_callout as envoy_dynamic_module_callback_bootstrap_extension_http_callout(
        config: Envoy, id: *mut u64, cluster: Buffer, headers: *const Header, count: usize,
        body: Buffer, timeout: u64
    ) -> i32;
    define_counter as envoy_dynamic_module_callback_http_filter_config_define_counter(
        config: Envoy, name: Buffer, labels: *const Buffer, count: usize, id: *mut usize
    ) -> i32;
    define_gauge as envoy_dynamic_module_callback_http_filter_config_define_gauge(
        config: Envoy, name: Buffer, labels: *const Buffer, count: usize, id: *mut usize
    ) -> i32;
    define_histogram as envoy_dynamic_module_callback_http_filter_config_define_histogram(
        config: Envoy, name: Buffer, labels: *const Buffer, count: usize, id: *mut usize
    ) -> i32;
    increment_counter as envoy_dynamic_module_callback_http_filter_increment_counter(
        filter: Envoy, id: usize, labels: *const Buffer, count: usize, by: u64
    ) -> i32;
    increment_gauge as envoy_dynamic_module_callback_http_filter_increment_gauge(
        filter: Envoy, id: usize, labels: *const Buffer, count: usize, by: u64
    ) -> i32;
    decrement_gauge as envoy_dynamic_module_callback_http_filter_decrement_gauge(
        filter: Envoy, id: usize, labels: *const Buffer, count: usize, by: u64
    ) -> i32;
    set_gauge as envoy_dynamic_module_callback_http_filter_set_gauge(
        filter: Envoy, id: usize, labels: *const Buffer, count: usize, value: u64
    ) -> i32;
    record_histogram_value as envoy_dynamic_module_callback_http_filter_record_histogram_value(
        filter: Envoy, id: usize, labels: *const Buffer, count: usize, value: u64
    ) -> i32;
}

/// A function that changes a metric, of a stream or outside of any.
pub(crate) type ChangeMetric = unsafe extern "C" fn(
    object: Envoy,
    id: usize,
    labels: *const Buffer,
    count: usize,
    value: u64,
) -> i32;

/// The functions that change metrics outside of any stream, which Envoy 1.38 lacks.
#[derive(Clone, Copy)]
pub(crate) struct ConfigMetrics {
    pub(crate) increment_counter: ChangeMetric,
    pub(crate) increment_gauge: ChangeMetric,
    pub(crate) decrement_gauge: ChangeMetric,
    pub(crate) set_gauge: ChangeMetric,
    pub(crate) record_histogram_value: ChangeMetric,
}

impl ConfigMetrics {
    /// The functions, if this Envoy has all of them.
    pub(crate) fn find() -> Option<Self> {
        // The search takes longer than the change of a metric.
        static FOUND: OnceLock<Option<ConfigMetrics>> = OnceLock::new();
        *FOUND.get_or_init(Self::search)
    }

    fn search() -> Option<Self> {
        let find = |name: &CStr| {
            let symbol = optional(name)?;
            // SAFETY: the functions of these names have this type.
            Some(unsafe { std::mem::transmute::<*mut c_void, ChangeMetric>(symbol) })
        };
        Some(Self {
            increment_counter: find(
                c"envoy_dynamic_module_callback_http_filter_config_increment_counter",
            )?,
            increment_gauge: find(
                c"envoy_dynamic_module_callback_http_filter_config_increment_gauge",
            )?,
            decrement_gauge: find(
                c"envoy_dynamic_module_callback_http_filter_config_decrement_gauge",
            )?,
            set_gauge: find(c"envoy_dynamic_module_callback_http_filter_config_set_gauge")?,
            record_histogram_value: find(
                c"envoy_dynamic_module_callback_http_filter_config_record_histogram_value",
            )?,
        })
    }
}

/// The functions that read what other filters have stored, all of which exist since Envoy 1.39.
#[derive(Clone, Copy)]
pub(crate) struct Stored {
    /// A string in dynamic metadata. Another value is not one.
    pub(crate) metadata_string: unsafe extern "C" fn(
        filter: Envoy,
        source: i32,
        namespace: Buffer,
        key: Buffer,
        value: *mut Buffer,
    ) -> bool,
    /// A boolean in dynamic metadata. Another value is not one.
    pub(crate) metadata_bool: unsafe extern "C" fn(
        filter: Envoy,
        source: i32,
        namespace: Buffer,
        key: Buffer,
        value: *mut bool,
    ) -> bool,
    /// An object in filter state, as text.
    pub(crate) filter_state:
        unsafe extern "C" fn(filter: Envoy, name: Buffer, value: *mut Buffer) -> bool,
}

impl Stored {
    /// The functions, if this Envoy has all of them.
    pub(crate) fn find() -> Option<Self> {
        static FOUND: OnceLock<Option<Stored>> = OnceLock::new();
        *FOUND.get_or_init(Self::search)
    }

    fn search() -> Option<Self> {
        let string = optional(c"envoy_dynamic_module_callback_http_get_metadata_string")?;
        let bool = optional(c"envoy_dynamic_module_callback_http_get_metadata_bool")?;
        let state = optional(c"envoy_dynamic_module_callback_http_get_filter_state_typed")?;
        // SAFETY: the functions of these names have these types.
        unsafe {
            Some(Self {
                metadata_string: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(Envoy, i32, Buffer, Buffer, *mut Buffer) -> bool,
                >(string),
                metadata_bool: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(Envoy, i32, Buffer, Buffer, *mut bool) -> bool,
                >(bool),
                filter_state: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(Envoy, Buffer, *mut Buffer) -> bool,
                >(state),
            })
        }
    }
}

/// The functions for secrets that Envoy has, which exist since Envoy 1.40.
#[derive(Clone, Copy)]
pub(crate) struct Secrets {
    /// Only while a configuration of a filter is created. The result is the number of the secret,
    /// or 0 if Envoy cannot obtain it.
    pub(crate) subscribe:
        unsafe extern "C" fn(config: Envoy, name: Buffer, source: Buffer) -> usize,
    /// The value is empty before it has arrived, and valid until the hook ends.
    pub(crate) get: unsafe extern "C" fn(config: Envoy, number: usize, value: *mut Buffer) -> bool,
}

impl Secrets {
    /// The functions, if this Envoy has them.
    pub(crate) fn find() -> Option<Self> {
        let subscribe =
            optional(c"envoy_dynamic_module_callback_http_filter_config_generic_secret_subscribe")?;
        let get = optional(c"envoy_dynamic_module_callback_http_filter_config_get_generic_secret")?;
        // SAFETY: the functions of these names have these types.
        unsafe {
            Some(Self {
                subscribe: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(Envoy, Buffer, Buffer) -> usize,
                >(subscribe),
                get: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(Envoy, usize, *mut Buffer) -> bool,
                >(get),
            })
        }
    }
}

/// A function that not every supported Envoy has.
fn optional(name: &CStr) -> Option<*mut c_void> {
    unsafe extern "C" {
        fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    }
    // SAFETY: the name is a C string, and a null handle searches the whole process.
    let found = unsafe { dlsym(std::ptr::null_mut(), name.as_ptr()) };
    (!found.is_null()).then_some(found)
}
