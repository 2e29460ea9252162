//! Calls to authorization servers, from the filter's request to the decisions that follow.

use super::in_flight::{InFlight, Moment};
use super::interface::Host;
use super::response;
use super::worker::{Loaded, Worker};
use oauth2_filter_core::{Answer, CallFailure, CallId, Input};

impl<H: Host> Worker<H> {
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
            response::call_result(&self.host, body_size).unwrap_or_else(|error| {
                self.unread(error);
                Err(CallFailure::Unreachable)
            })
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
