//! The head of the effective context's request, and of its response.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::abi;
use crate::head::{Fields, Head};
use crate::sender_constraint::digest_from_hex;

/// The head of the effective context's request.
#[derive(Default)]
pub(super) struct RequestHead {
    /// All of it, once it was asked for: cheaper than a second header by itself.
    fields: OnceCell<Fields>,
}

impl Head for RequestHead {
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match self.fields.get() {
            Some(fields) => fields.joined(name),
            None => abi::request_header(name).map(Cow::Owned),
        }
    }

    fn fields(&self) -> &Fields {
        self.fields.get_or_init(abi::request_headers)
    }

    fn peer_certificate(&self) -> Option<[u8; 32]> {
        digest_from_hex(&abi::property("connection", "sha256_peer_certificate_digest")?)
    }
}

/// The status of the effective context's response.
pub(super) fn response_status() -> Option<u16> {
    std::str::from_utf8(&abi::response_header(":status")?).ok()?.parse().ok()
}

/// Whether the service itself has sent the effective context's response, unless the host says that
/// it has answered in its place.
pub(super) fn is_of_service() -> bool {
    let details = abi::property("response", "code_details");
    details.is_none_or(|details| details == b"via_upstream")
}

/// Keeps the response to a request whose token stood in its query out of shared caches (RFC 6750,
/// section 2.3). What the service says more strictly stays.
pub(super) fn make_response_private() {
    let said = abi::response_header("cache-control").unwrap_or_default();
    let said = String::from_utf8_lossy(&said).to_ascii_lowercase();
    let directives = || said.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    if directives().any(|directive| directive == "no-store" || directive == "private") {
        return;
    }
    let is_kept = |directive: &&str| *directive != "public" && !directive.starts_with("s-maxage");
    let value: Vec<&str> = ["private"].into_iter().chain(directives().filter(is_kept)).collect();
    // A response that takes no header has ended.
    let _ = abi::set_response_header("cache-control", &value.join(", "));
}
