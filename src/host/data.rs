//! The host's shared data.

use proxy_wasm::hostcalls;

use crate::shared::SharedData;

/// Shared data of the VM's `vm_id`.
pub(super) struct HostData;

impl SharedData for HostData {
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        match hostcalls::get_shared_data(key) {
            Ok((value, Some(written))) => Some((value.unwrap_or_default(), written)),
            Ok((_, None)) | Err(_) => None,
        }
    }

    fn set(&self, key: &str, value: &[u8], after: Option<u32>) -> bool {
        hostcalls::set_shared_data(key, Some(value), after).is_ok()
    }
}
