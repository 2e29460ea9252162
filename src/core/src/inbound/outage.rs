//! Distinguishes an authorization server that is down from one that fails for particular tokens.

use crate::cache::identity::Fingerprint;
use crate::oauth::failure::{Cause, Failure};

/// The failures of a server since its last response, as one worker sees them.
///
/// One token can make a server, or a proxy in front of it, fail. So a server counts as down only
/// after calls about two different tokens have failed without a response in between.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Outage {
    /// The last call got a response, or there was no call.
    #[default]
    None,
    /// Calls about this token have failed.
    Suspected(Fingerprint),
    /// Calls about different tokens have failed.
    Confirmed,
}

impl Outage {
    /// Records the outcome of a call about a token: `None` for a response.
    pub(crate) fn note(&mut self, token: Fingerprint, failure: Option<Failure>) {
        *self = match (*self, failure) {
            (_, None) => Self::None,
            (_, Some(failure)) if failure.is_answer() => Self::None,
            (Self::None, Some(failure)) if failure.cause() == Cause::Outage => {
                Self::Suspected(token)
            }
            (Self::Suspected(first), Some(failure))
                if failure.cause() == Cause::Outage && first != token =>
            {
                Self::Confirmed
            }
            (unchanged, Some(_)) => unchanged,
        };
    }

    /// Whether a request whose call failed like this may be forwarded unchecked.
    pub(crate) fn excuses(self, failure: Failure) -> bool {
        self == Self::Confirmed && failure.cause() == Cause::Outage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::identity::Identity;
    use crate::oauth::call::CallFailure::{
        NotSent, Timeout, TooLarge, UnknownCluster, Unreachable,
    };
    use crate::oauth::reason::Reason;

    /// Whether the failure of the last of these calls is excused. Each letter is a token.
    fn is_excused(calls: &[(char, Option<Failure>)]) -> bool {
        let identity = Identity::new(&[]);
        let mut outage = Outage::default();
        for (token, failure) in calls {
            outage.note(identity.fingerprint(&token.to_string()), *failure);
        }
        calls.last().and_then(|(_, failure)| *failure).is_some_and(|last| outage.excuses(last))
    }

    const BUSY: Failure = Failure::Busy { status: 503, retry_after: None };

    #[test]
    fn a_server_is_down_when_calls_about_two_tokens_fail_and_until_it_answers() {
        for failure in [Failure::Call(Unreachable), Failure::Call(Timeout), BUSY] {
            let (failed, answered) = (Some(failure), None);
            assert!(is_excused(&[('a', failed), ('b', failed)]), "{failure:?}");
            assert!(is_excused(&[('a', failed), ('b', failed), ('b', failed)]), "{failure:?}");
            for calls in [
                &[('a', failed)][..],
                &[('a', failed), ('a', failed)],
                &[('a', failed), ('c', answered), ('b', failed)],
                &[('a', failed), ('b', failed), ('a', answered), ('b', failed)],
            ] {
                assert!(!is_excused(calls), "{calls:?}");
            }
        }
    }

    #[test]
    fn no_answer_and_no_call_that_was_not_made_opens_anything() {
        let refused = |status| Failure::Refused { status, error: None };
        let busy = Failure::Busy { status: 429, retry_after: None };
        let down = [('a', Some(BUSY)), ('b', Some(BUSY))];
        for answered in [
            refused(400),
            refused(401),
            refused(403),
            Failure::Status(413),
            Failure::Status(302),
            Failure::NotJson,
            Failure::Member("x"),
            Failure::Call(TooLarge),
            busy,
        ] {
            assert!(!is_excused(&[('a', Some(answered)), ('b', Some(answered))]), "{answered:?}");
            let then = [&down[..], &[('c', Some(answered)), ('d', Some(BUSY))]].concat();
            assert!(!is_excused(&then), "after {answered:?}");
        }
        let reason = Reason::ServerUnavailable;
        let backs_off = |cause| Failure::BackOff { reason, retry_after: 1, cause };
        for unmade in [
            Failure::Call(NotSent),
            Failure::Call(UnknownCluster),
            Failure::NoGrant,
            Failure::Defect,
            backs_off(Cause::Other),
        ] {
            assert!(!is_excused(&[('a', Some(unmade)), ('b', Some(unmade))]), "{unmade:?}");
            let then = [&down[..], &[('c', Some(unmade))]].concat();
            assert!(!is_excused(&then), "{unmade:?} is not excused by others");
            let then = [&then[..], &[('c', Some(BUSY))]].concat();
            assert!(is_excused(&then), "{unmade:?} says nothing of the server");
        }
        // Failures that other workers report count too.
        assert!(is_excused(&[('a', Some(backs_off(Cause::Outage))), ('b', Some(BUSY))]));
    }
}
