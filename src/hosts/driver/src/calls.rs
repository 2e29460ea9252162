//! Calls to authorization servers, from the filter's request to the decisions that follow.

use std::borrow::Cow;

use super::in_flight::{InFlight, Moment};
use super::interface::{HostError, Map, ProxyWasm};
use super::response::{self, CallResponse};
use super::worker::{Loaded, Worker};
use oauth2_filter_core::{Answer, CallFailure, CallId, Input};

impl<H: ProxyWasm> Worker<H> {
    /// Makes the calls that the filter requests.
    pub(super) fn make_calls(&self, moment: Moment) {
        let Some(Loaded { output, .. }) = self.loaded.get() else { return };
        loop {
            let calls = std::mem::take(&mut output.borrow_mut().calls);
            if calls.is_empty() {
                return;
            }
            for call in calls {
                let in_flight =
                    InFlight { id: call.id, started: moment.now, timeout: call.timeout };
                match self.host.http_call(&call) {
                    Ok(number) => _ = self.calls.borrow_mut().insert(number, in_flight),
                    Err(failure) => self.settle(call.id, Err(failure), moment),
                }
            }
        }
    }

    /// A call has ended; without headers, there is no complete response.
    pub(super) fn call_ended(&self, number: u32, headers: usize, body_size: usize) {
        let Some(call) = self.calls.borrow_mut().remove(&number) else { return };
        let moment = match self.host.now() {
            Ok(now) => Moment { now, clock: Ok(()) },
            Err(error) => Moment { now: call.started, clock: Err(error) },
        };
        let result = if headers == 0 {
            Err(call.broken_off(moment.now))
        } else {
            response::call_result(&Announced { host: &self.host, body_size }).unwrap_or_else(
                |error| {
                    self.apply().unread(error);
                    Err(CallFailure::Unreachable)
                },
            )
        };
        self.settle(call.id, result.as_ref().map_err(|failure| *failure), moment);
        self.make_calls(moment);
    }

    /// Hands the result of a call to the filter, and begins to carry out what it decides.
    fn settle(&self, id: CallId, result: Result<&Answer, CallFailure>, moment: Moment) {
        let _ = self.handle(Input::CallEnded(id, result), moment);
        self.carry_out_batch();
    }
}

/// The response whose end the host announces.
struct Announced<'h, H> {
    host: &'h H,
    body_size: usize,
}

impl<H: ProxyWasm> CallResponse for Announced<'_, H> {
    fn header(&self, name: &str) -> Result<Option<Cow<'_, [u8]>>, HostError> {
        self.host.header(Map::CallResponseHeaders, name)
    }

    fn body_size(&self) -> usize {
        self.body_size
    }

    fn body(&self) -> Result<Vec<u8>, HostError> {
        Ok(self.host.call_response_body(self.body_size)?.unwrap_or_default())
    }
}
