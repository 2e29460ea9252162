//! One log line when a server stops answering and one when it is back, and few between.

use std::rc::Rc;
use std::time::Duration;

use log::{info, warn};

use crate::introspection::Failure;
use crate::timestamp::Timestamp;

/// The shortest time between two lines on failed calls: a flood of requests is no flood of lines.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether a server answers, and what was said of it.
pub(crate) struct Health {
    /// What lines call it.
    cluster: Rc<str>,
    /// The failures in a row.
    failed: u64,
    /// When the next line may be written.
    quiet_until: Timestamp,
}

impl Health {
    /// Nothing is known yet.
    pub(crate) fn new(cluster: &Rc<str>) -> Self {
        let quiet_until = Timestamp::from_millis(0);
        Self { cluster: Rc::clone(cluster), failed: 0, quiet_until }
    }

    /// Takes note of a call's outcome.
    pub(crate) fn note(&mut self, failure: Option<&Failure>, now: Timestamp) {
        let cluster = &self.cluster;
        match failure {
            None if self.failed > 0 => {
                info!(
                    "introspection by cluster {cluster} works again, after {} failed calls",
                    self.failed
                );
                self.failed = 0;
                self.quiet_until = Timestamp::from_millis(0);
            }
            None => {}
            Some(failure) => {
                self.failed = self.failed.saturating_add(1);
                if now >= self.quiet_until {
                    self.quiet_until = now.plus(PAUSE);
                    warn!(
                        "introspection by cluster {cluster} failed ({} in a row): {failure}",
                        self.failed
                    );
                }
            }
        }
    }
}
