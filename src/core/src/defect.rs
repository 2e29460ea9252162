//! Unreachable states: the request is denied in any case.
//!
//! A filter that controls access must not continue from a state that it does not expect.

use std::sync::atomic::{AtomicU64, Ordering};

use log::error;

use crate::oauth::denial::Denial;
use crate::oauth::reason::Reason;
use crate::run::Run;
use crate::verdict::Verdict;

/// The number of defects in this VM.
static SEEN: AtomicU64 = AtomicU64::new(0);

/// Denies a request and counts it. The first, second, fourth, eighth and so on is logged, so that
/// many requests do not flood the log.
pub(crate) fn refuse(what: &str, run: &mut Run<'_>) -> Verdict {
    let seen = SEEN.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    if seen.is_power_of_two() {
        error!("internal error ({seen} so far): {what}");
    }
    run.refuse(Reason::HostError, Denial::host_error())
}
