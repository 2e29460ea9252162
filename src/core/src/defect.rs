//! States that cannot be reached: the request is refused, whatever it was.
//!
//! A filter that decides who may pass must not go on from what it does not understand.

use std::sync::atomic::{AtomicU64, Ordering};

use log::error;

use crate::oauth::denial::Denial;
use crate::oauth::reason::Reason;
use crate::run::Run;
use crate::verdict::Verdict;

/// How many there were in this VM.
static SEEN: AtomicU64 = AtomicU64::new(0);

/// Refuses a request, which is counted. It is logged the first time, the second, the fourth and so on: a
/// flood of requests is no flood of lines.
pub(crate) fn refuse(what: &str, run: &mut Run<'_>) -> Verdict {
    let seen = SEEN.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    if seen.is_power_of_two() {
        error!("internal error ({seen} so far): {what}");
    }
    run.refuse(Reason::HostError, Denial::host_error())
}
