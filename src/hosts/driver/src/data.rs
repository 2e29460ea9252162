//! The host's shared data for the filter: a failed read is an absent value, and a failed write
//! counts as a conflict with another worker.

use log::warn;

use super::interface::{HostError, ProxyWasm};
use super::reports::Reports;
use oauth2_filter_core::{NotWritten, SharedData};

/// Shared data of the VM's `vm_id`.
pub(super) struct HostData<'w, H> {
    pub(super) host: &'w H,
    /// What is logged.
    pub(super) reports: &'w Reports,
}

impl<H: ProxyWasm> HostData<'_, H> {
    /// Logs a failure of the host.
    fn refused(&self, error: HostError) {
        if let Some(times) = self.reports.data.due(self.host) {
            warn!("failed to access shared data ({times} so far): {error}");
        }
    }
}

impl<H: ProxyWasm> SharedData for HostData<'_, H> {
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        let value = self.host.shared_data(key);
        value.unwrap_or_else(|error| {
            self.refused(error);
            None
        })
    }

    fn set(&self, key: &str, value: &[u8], after: Option<u32>) -> Result<(), NotWritten> {
        match self.host.set_shared_data(key, value, after) {
            Ok(true) => Ok(()),
            Ok(false) => Err(NotWritten::Lost),
            Err(error) => {
                self.refused(error);
                Err(NotWritten::Refused)
            }
        }
    }
}
