//! The floor: a WebAssembly filter without the SDK, entered once for each request and once more for
//! room to put the Authorization header in, which is what the ABI takes to read it.
//!
//! It exports nothing else: no context is made or ended, no response is looked at.
#![cfg(target_arch = "wasm32")]

use core::cell::UnsafeCell;
use core::ptr;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    /// Reads a header into memory that the host asks for by `proxy_on_memory_allocate`.
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *mut *const u8,
        value_size: *mut usize,
    ) -> u32;
    /// Answers the request.
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
}

const REQUEST_HEADERS: u32 = 0;
const CONTINUE: u32 = 0;
const PAUSE: u32 = 1;

/// Room for one header.
struct Room(UnsafeCell<[u8; 16 * 1024]>);

// SAFETY: a VM has one thread.
unsafe impl Sync for Room {}

static ROOM: Room = Room(UnsafeCell::new([0; 16 * 1024]));

/// Tells the version of the ABI.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_abi_version_0_2_1() {}

/// The room for one header, over and over.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    if size > 16 * 1024 { ptr::null_mut() } else { ROOM.0.get().cast() }
}

/// A request: it passes with a bearer token.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_headers(_: u32, _: u32, _: u32) -> u32 {
    let name = b"authorization";
    let (mut value, mut size) = (ptr::null(), 0);
    // SAFETY: the pointers are good for the call, and the host writes within what it was given.
    let is_bearer = unsafe {
        proxy_get_header_map_value(
            REQUEST_HEADERS,
            name.as_ptr(),
            name.len(),
            &raw mut value,
            &raw mut size,
        ) == 0
            && !value.is_null()
            && core::slice::from_raw_parts(value, size).starts_with(b"Bearer ")
    };
    if is_bearer {
        return CONTINUE;
    }
    // SAFETY: all texts are empty.
    unsafe {
        proxy_send_local_response(401, ptr::null(), 0, ptr::null(), 0, ptr::null(), 0, -1);
    }
    PAUSE
}
