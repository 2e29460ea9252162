//! The filter of one configuration in one worker: the whole of what a host drives.

use std::fmt;

use crate::call::{Answer, CallFailure, CallId};
use crate::config::{self, Mistake, Mistakes};
use crate::denial::{Denial, Reason, Reply, Resource};
use crate::guard::Verdict;
use crate::head::Head;
use crate::inbound::{Inbound, Progress, Step};
use crate::metrics::Event;
use crate::shared::SharedData;
use crate::timestamp::Timestamp;
use crate::waiting::StreamId;

/// A configured filter. It holds what is kept and who waits; it does nothing by itself.
///
/// The host calls [`Filter::request`] for each request. Where that says to wait, the host makes the
/// call, if there is one, and hands its outcome to [`Filter::answer`], which says what becomes of
/// every request that waited. A request that ends while it waits is reported to [`Filter::gone`].
pub struct Filter {
    /// The direction.
    inbound: Inbound,
}

impl Filter {
    /// Makes a filter from the document that the host hands over. `environment` is that of the VM;
    /// `seed` is 16 random bytes that nobody else knows. Beside the filter come warnings: what is
    /// accepted but should be known.
    ///
    /// # Errors
    /// Every mistake in the document, with its place.
    pub fn load(
        document: &[u8],
        environment: &dyn Fn(&str) -> Option<String>,
        seed: [u8; 16],
        data: &dyn SharedData,
    ) -> Result<(Self, Vec<Mistake>), Mistakes> {
        let (config, warnings) = config::load(document, environment)?;
        Ok((Self { inbound: Inbound::new(config.inbound, seed, data) }, warnings))
    }

    /// A new request. `stream` must not be in use.
    pub fn request(
        &mut self,
        stream: StreamId,
        head: &dyn Head,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Step {
        self.inbound.request(stream, head, data, now)
    }

    /// The outcome of a call: what is done with each request that waited for it, first come first.
    pub fn answer(
        &mut self,
        id: CallId,
        outcome: Result<&Answer, CallFailure>,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Vec<(StreamId, Verdict)> {
        self.inbound.answer(id, outcome, data, now)
    }

    /// Time has gone by: what follows for requests that wait for another worker's call. To be
    /// called every few milliseconds while [`Filter::needs_ticks`].
    pub fn tick(&mut self, data: &dyn SharedData, now: Timestamp) -> Progress {
        self.inbound.tick(data, now)
    }

    /// Whether time has to be taken note of.
    pub fn needs_ticks(&mut self) -> bool {
        self.inbound.needs_ticks()
    }

    /// What has happened since this was last called, to be counted.
    pub fn events(&mut self) -> impl Iterator<Item = Event> {
        self.inbound.events()
    }

    /// A request has ended. If it waited, nothing comes for it any more.
    pub fn gone(&mut self, stream: StreamId) {
        self.inbound.gone(stream);
    }

    /// The answer to a request that reaches a filter without a configuration.
    pub fn unconfigured() -> Reply {
        Denial::new(Reason::Unconfigured).reply(&Resource::default(), false)
    }

    /// The answer to a request that the host does not change as a verdict says.
    pub fn host_error() -> Reply {
        Denial::new(Reason::HostError).reply(&Resource::default(), false)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").finish_non_exhaustive()
    }
}
