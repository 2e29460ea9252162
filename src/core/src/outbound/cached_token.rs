//! What all workers know of a client's token: one record in shared data, changed in one write.
//!
//! ```text
//!            lease                    accept
//!   nothing ───────▶ being obtained ───────────▶ a good token ──▶ near its end ──▶ ended
//!      ▲                  │                          │                 │
//!      │                  │ fail: back-off           │ drop            │ lease: obtained anew
//!      └──────────────────┴──────────────────────────┘                 ▼   while the old serves
//! ```

use std::time::Duration;

use prost::Message;

use crate::oauth::failure::{Cause, Failure};
use crate::oauth::reason::Reason;
use crate::oauth::secret::Secret;
use crate::oauth::token_response::TokenResponse;
use crate::random::Random;
use crate::timestamp::Timestamp;

/// The first pause after a failure; each failure in a row doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause, unless the server asks for a longer one.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// A token as it is kept: what it is, for how long, and what renews it.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(crate) struct GrantedToken {
    /// The access token.
    #[prost(string, tag = "1")]
    pub(crate) access_token: String,
    /// Its type, as the server wrote it: `Bearer` in some case.
    #[prost(string, tag = "2")]
    pub(crate) token_type: String,
    /// What renews it; empty if there is none.
    #[prost(string, tag = "3")]
    pub(crate) refresh_token: String,
    /// The scope that was granted, if the server said so.
    #[prost(string, optional, tag = "4")]
    pub(crate) scope: Option<String>,
    /// When it was obtained, in milliseconds since the epoch.
    #[prost(uint64, tag = "5")]
    pub(crate) obtained_at: u64,
    /// From then on it is not used.
    #[prost(uint64, tag = "6")]
    pub(crate) expires_at: u64,
    /// From then on another one is obtained while this one still serves.
    #[prost(uint64, tag = "7")]
    pub(crate) renew_at: u64,
}

/// A worker's right to call the token endpoint.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Lease {
    /// A random number that only this call has.
    #[prost(fixed64, tag = "1")]
    pub(crate) owner: u64,
    /// From then on the worker has gone.
    #[prost(uint64, tag = "2")]
    pub(crate) ends_at: u64,
}

/// A failure that was not followed by a success.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Failed {
    /// How many in a row.
    #[prost(uint32, tag = "1")]
    pub(crate) count: u32,
    /// No call before then.
    #[prost(uint64, tag = "2")]
    pub(crate) until: u64,
    /// What callers are told: the details of a [`Reason`].
    #[prost(string, tag = "3")]
    pub(crate) reason: String,
}

/// Everything that workers share about one client.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(crate) struct CachedToken {
    /// The last token that was obtained.
    #[prost(message, optional, tag = "1")]
    pub(crate) token: Option<GrantedToken>,
    /// Which one it is: the first is 1.
    #[prost(uint64, tag = "2")]
    pub(crate) number: u64,
    /// The upstream did not take it, so it is not used any more.
    #[prost(bool, tag = "3")]
    pub(crate) dropped: bool,
    /// How many tokens in a row were dropped.
    #[prost(uint32, tag = "4")]
    pub(crate) drops: u32,
    /// Who is obtaining the next one.
    #[prost(message, optional, tag = "5")]
    pub(crate) lease: Option<Lease>,
    /// Why there is none, or no newer one.
    #[prost(message, optional, tag = "6")]
    pub(crate) failed: Option<Failed>,
    /// The refresh token was sent, and no answer has come: it may be spent.
    #[prost(bool, tag = "7")]
    pub(crate) refresh_unsure: bool,
}

/// How long tokens serve, as configured.
#[derive(Clone, Debug)]
pub(crate) struct Lifetime {
    /// How long before its end a token is renewed; `None` for the smaller of a minute and a fifth
    /// of its lifetime.
    pub(crate) refresh_before: Option<Duration>,
    /// Taken off what the server says.
    pub(crate) clock_skew: Duration,
    /// If the server says nothing.
    pub(crate) default_expires_in: Duration,
}

/// The longest part of the time before its end by which a token is renewed later: one in four.
const JITTER: u32 = 4;

impl Lifetime {
    /// The token that was issued, with its times. It never outlives `bound`. `renewed` is what it
    /// replaces: the refresh token stays if there is no new one.
    pub(crate) fn begin(
        &self,
        issued: &TokenResponse,
        renewed: Option<&GrantedToken>,
        bound: Option<Timestamp>,
        random: &Random,
        now: Timestamp,
    ) -> GrantedToken {
        let lives = issued.expires_in.unwrap_or(self.default_expires_in);
        let end = now.plus(lives.saturating_sub(self.clock_skew));
        let end = bound.map_or(end, |bound| bound.min(end));
        let lives = Duration::from_millis(end.since(now));
        let fifth = lives.checked_div(5).unwrap_or_default().min(Duration::from_mins(1));
        let before = self.refresh_before.unwrap_or(fifth).min(lives);
        let jitter = random.up_to(before.checked_div(JITTER).unwrap_or_default());
        let kept = renewed.map(|token| token.refresh_token.clone());
        let refresh_token = issued.refresh_token.as_ref().map(|token| token.reveal().to_owned());
        GrantedToken {
            access_token: issued.access_token.reveal().to_owned(),
            token_type: "Bearer".to_owned(),
            refresh_token: refresh_token.or(kept).unwrap_or_default(),
            scope: issued.scope.clone(),
            obtained_at: now.as_millis(),
            expires_at: end.as_millis(),
            renew_at: end.minus(before).plus(jitter).as_millis(),
        }
    }

    /// A token that was obtained elsewhere, with its times: without `lives` it never ends.
    pub(crate) fn given(
        &self,
        access_token: &Secret,
        lives: Option<Duration>,
        random: &Random,
        now: Timestamp,
    ) -> GrantedToken {
        let issued = TokenResponse {
            access_token: access_token.clone(),
            refresh_token: None,
            expires_in: lives,
            scope: None,
        };
        let token = self.begin(&issued, None, None, random, now);
        let never = Timestamp::NEVER.as_millis();
        match lives {
            Some(_) => token,
            None => GrantedToken { expires_at: never, renew_at: never, ..token },
        }
    }
}

impl GrantedToken {
    /// From then on it is not used.
    pub(crate) fn expires(&self) -> Timestamp {
        Timestamp::from_millis(self.expires_at)
    }

    /// What renews it.
    pub(crate) fn refresh_token(&self) -> Option<&str> {
        Some(self.refresh_token.as_str()).filter(|token| !token.is_empty())
    }
}

impl CachedToken {
    /// The token, if it is good.
    pub(crate) fn good(&self, now: Timestamp) -> Option<&GrantedToken> {
        let token = self.token.as_ref().filter(|_| !self.dropped)?;
        (now < token.expires()).then_some(token)
    }

    /// Whether a worker is obtaining a token.
    pub(crate) fn is_leased(&self, now: Timestamp) -> bool {
        self.lease.as_ref().is_some_and(|lease| now < Timestamp::from_millis(lease.ends_at))
    }

    /// Why no call is made now.
    pub(crate) fn backs_off(&self, now: Timestamp) -> Option<Failure> {
        let failed = self.failed.as_ref()?;
        let left = Timestamp::from_millis(failed.until).since(now);
        if left == 0 {
            return None;
        }
        let reason = Reason::of_details(&failed.reason).unwrap_or(Reason::ServerUnavailable);
        let retry_after = u32::try_from(left.div_ceil(1000)).unwrap_or(u32::MAX);
        Some(Failure::BackOff { reason, retry_after, cause: Cause::Other })
    }

    /// Whether this is newer than what another worker knows.
    pub(crate) fn replaces(&self, other: &Self) -> bool {
        let obtained = |holding: &Self| holding.token.as_ref().map(|token| token.obtained_at);
        if self.number == other.number {
            self.dropped && !other.dropped
        } else {
            obtained(self) >= obtained(other)
        }
    }

    /// A worker obtains a token. `refreshes`: it sends the refresh token.
    #[must_use]
    pub(crate) fn leased(mut self, owner: u64, ends: Timestamp, refreshes: bool) -> Self {
        self.lease = Some(Lease { owner, ends_at: ends.as_millis() });
        self.refresh_unsure = refreshes;
        self
    }

    /// A token has come.
    #[must_use]
    pub(crate) fn accepted(mut self, token: GrantedToken) -> Self {
        // One that replaces a token by its time is no step in a row of dropped ones.
        self.drops = if self.dropped { self.drops } else { 0 };
        self.token = Some(token);
        self.number = self.number.wrapping_add(1);
        self.dropped = false;
        self.lease = None;
        self.failed = None;
        self.refresh_unsure = false;
        self
    }

    /// No token has come. `unsure`: the refresh token was sent, and may be spent.
    #[must_use]
    pub(crate) fn failed(
        mut self,
        reason: Reason,
        retry_after: Option<u32>,
        unsure: bool,
        random: &Random,
        now: Timestamp,
    ) -> Self {
        let count = self.failed.as_ref().map_or(0, |failed| failed.count).saturating_add(1);
        let asked = Duration::from_secs(retry_after.unwrap_or_default().into());
        let until = now.plus(pause(count, random).max(asked)).as_millis();
        self.failed = Some(Failed { count, until, reason: reason.details().to_owned() });
        self.lease = None;
        self.refresh_unsure = unsure;
        self
    }

    /// A call has succeeded that brought no token for this record; nothing if there is nothing to
    /// be forgotten.
    pub(crate) fn recovered(&self) -> Option<Self> {
        self.failed.as_ref()?;
        Some(Self { failed: None, ..self.clone() })
    }

    /// The refresh token is no good.
    pub(crate) fn forget_refresh_token(&mut self) {
        if let Some(token) = &mut self.token {
            token.refresh_token.clear();
        }
        self.refresh_unsure = false;
    }

    /// The upstream did not take token `number`. `None` if that is not the one that is used, or if
    /// it is too early after the last one.
    pub(crate) fn dropped(&self, number: u64, now: Timestamp) -> Option<Self> {
        let token = self.token.as_ref().filter(|_| number == self.number && !self.dropped)?;
        let lived = Duration::from_millis(now.since(Timestamp::from_millis(token.obtained_at)));
        // Not even a service that refuses all of them is asked so rarely: it took this one.
        let drops = if lived > LONGEST_PAUSE.saturating_mul(2) { 0 } else { self.drops };
        // The second is free as well: servers forget all tokens at once, and do so again.
        if lived < doubled(drops.saturating_sub(1)) {
            return None;
        }
        Some(Self { dropped: true, drops: drops.saturating_add(1), ..self.clone() })
    }
}

/// The pause after `count` failures in a row, without jitter; none for none.
fn doubled(count: u32) -> Duration {
    let Some(doublings) = count.checked_sub(1) else { return Duration::ZERO };
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE)
}

/// The pause after `count` failures in a row: never shorter than the first, never longer than the
/// longest, and not the same for all that failed together.
fn pause(count: u32, random: &Random) -> Duration {
    let base = doubled(count);
    let jitter = random.up_to(base.checked_div(5).unwrap_or_default());
    if base < LONGEST_PAUSE { base.saturating_add(jitter) } else { base.saturating_sub(jitter) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn random() -> Random {
        Random::new([1; 16], "test")
    }

    fn issued(expires_in: Option<u64>, refresh_token: Option<&str>) -> TokenResponse {
        TokenResponse {
            access_token: Secret::new("t".into()),
            refresh_token: refresh_token.map(|token| Secret::new(token.into())),
            expires_in: expires_in.map(Duration::from_secs),
            scope: None,
        }
    }

    fn lifetime() -> Lifetime {
        Lifetime {
            refresh_before: None,
            clock_skew: Duration::ZERO,
            default_expires_in: Duration::from_hours(1),
        }
    }

    fn begun(lifetime: &Lifetime, expires_in: Option<u64>) -> GrantedToken {
        lifetime.begin(&issued(expires_in, None), None, None, &random(), at(1_000))
    }

    #[test]
    fn a_token_is_renewed_a_fifth_or_a_minute_before_its_end() {
        for (lives, end, earliest, latest) in [
            (Some(100), 101_000, 81_000, 86_000),
            (Some(3_000), 3_001_000, 2_941_000, 2_956_000),
            (None, 3_601_000, 3_541_000, 3_556_000),
            (Some(0), 1_000, 1_000, 1_000),
        ] {
            let token = begun(&lifetime(), lives);
            assert_eq!(token.expires_at, end);
            assert!((earliest..=latest).contains(&token.renew_at), "{lives:?}: {}", token.renew_at);
        }
        let before = Some(Duration::from_secs(40));
        let token = begun(&Lifetime { refresh_before: before, ..lifetime() }, Some(100));
        assert!((61_000..=71_000).contains(&token.renew_at), "{}", token.renew_at);
        let never = Some(Duration::ZERO);
        let token = begun(&Lifetime { refresh_before: never, ..lifetime() }, Some(100));
        assert_eq!(token.renew_at, token.expires_at);
    }

    #[test]
    fn skew_comes_off_the_lifetime_and_a_bound_is_kept() {
        let skewed = Lifetime { clock_skew: Duration::from_secs(10), ..lifetime() };
        assert_eq!(begun(&skewed, Some(100)).expires_at, 91_000);
        assert_eq!(begun(&skewed, Some(5)).expires_at, 1_000);
        let bound = Some(at(31_000));
        let token = lifetime().begin(&issued(Some(100), None), None, bound, &random(), at(1_000));
        assert_eq!(token.expires_at, 31_000);
        assert!(token.renew_at >= 25_000 && token.renew_at < 31_000);
    }

    #[test]
    fn cl_6749_15_a_new_refresh_token_replaces_the_old_and_none_leaves_it() {
        let begin = |refresh: Option<&str>, before: Option<&GrantedToken>| {
            lifetime().begin(&issued(None, refresh), before, None, &random(), at(0))
        };
        let first = begin(Some("r1"), None);
        assert_eq!(first.refresh_token(), Some("r1"));
        assert_eq!(begin(None, Some(&first)).refresh_token(), Some("r1"));
        assert_eq!(begin(Some("r2"), Some(&first)).refresh_token(), Some("r2"));
        assert_eq!(begin(None, None).refresh_token(), None);
    }

    #[test]
    fn a_token_that_was_given_is_renewed_like_any_other() {
        let secret = Secret::new("t".into());
        let skewed = Lifetime { clock_skew: Duration::from_secs(10), ..lifetime() };
        let given = |lives: Option<u64>| {
            skewed.given(&secret, lives.map(Duration::from_secs), &random(), at(0))
        };
        let token = given(Some(110));
        assert_eq!(token.expires_at, 100_000);
        assert!((80_000..=85_000).contains(&token.renew_at), "{}", token.renew_at);
        assert_eq!(given(None).expires(), Timestamp::NEVER);
        assert_eq!(given(None).renew_at, Timestamp::NEVER.as_millis());
    }

    #[test]
    fn a_token_serves_until_its_end_or_until_it_is_dropped() {
        let holding = CachedToken::default().accepted(begun(&lifetime(), Some(10)));
        assert!(holding.good(at(10_999)).is_some());
        assert!(holding.good(at(11_000)).is_none());
        let dropped = holding.dropped(1, at(1_000)).unwrap();
        assert!(dropped.good(at(1_000)).is_none());
        assert!(holding.dropped(2, at(1_000)).is_none(), "another token");
        assert!(dropped.dropped(1, at(1_000)).is_none(), "once only");
    }

    #[test]
    fn tokens_that_are_dropped_in_a_row_are_dropped_ever_more_slowly() {
        let mut holding = CachedToken::default().accepted(begun(&lifetime(), None));
        let mut now = at(1_000);
        for pause in [0, 0, 1, 2, 4, 8, 16, 32, 60, 60] {
            let pause = Duration::from_secs(pause);
            if !pause.is_zero() {
                let early = now.plus(pause).minus(Duration::from_millis(1));
                assert!(holding.dropped(holding.number, early).is_none(), "{pause:?}");
            }
            now = now.plus(pause);
            let dropped = holding.dropped(holding.number, now).expect("late enough");
            let token = lifetime().begin(&issued(None, None), None, None, &random(), now);
            holding = dropped.accepted(token);
        }
        // One that has served for two minutes was no bad one.
        let late = holding.dropped(holding.number, now.plus(Duration::from_millis(120_001)));
        assert_eq!(late.unwrap().drops, 1);
        let refused = holding.dropped(holding.number, now.plus(Duration::from_mins(2)));
        assert_eq!(refused.unwrap().drops, 11);
        let renewed = holding.accepted(begun(&lifetime(), None));
        assert_eq!(renewed.drops, 0, "a renewal by time ends the row");
    }

    #[test]
    fn failures_in_a_row_double_the_pause_up_to_a_minute_and_a_server_may_ask_for_more() {
        let mut holding = CachedToken::default();
        let fail = |holding: CachedToken, retry_after| {
            holding.failed(Reason::ServerTimeout, retry_after, false, &random(), at(0))
        };
        for (shortest, longest) in
            [(1_000, 1_200), (2_000, 2_400), (4_000, 4_800), (8_000, 9_600), (16_000, 19_200)]
        {
            holding = fail(holding, None);
            let until = holding.failed.as_ref().unwrap().until;
            assert!((shortest..=longest).contains(&until), "{until}");
        }
        for _ in 0..40 {
            holding = fail(holding, Some(2));
        }
        let until = holding.failed.as_ref().unwrap().until;
        assert!((48_000..=60_000).contains(&until), "{until}");
        holding = fail(holding, Some(100));
        let until = |retry_after| {
            let reason = Reason::ServerTimeout;
            Some(Failure::BackOff { reason, retry_after, cause: Cause::Other })
        };
        assert_eq!(holding.backs_off(at(0)), until(100));
        assert_eq!(holding.backs_off(at(99_999)), until(1));
        assert_eq!(holding.backs_off(at(100_000)), None);
        let accepted = holding.accepted(begun(&lifetime(), None));
        assert_eq!(accepted.backs_off(at(0)), None);
    }

    #[test]
    fn a_lease_holds_until_it_ends_or_an_outcome_comes() {
        let holding = CachedToken::default().leased(7, at(10), true);
        assert!(holding.is_leased(at(9)) && !holding.is_leased(at(10)));
        assert!(holding.refresh_unsure);
        let outcome = holding.clone().accepted(begun(&lifetime(), None));
        assert!(!outcome.is_leased(at(9)) && !outcome.refresh_unsure);
        let outcome = holding.failed(Reason::ServerTimeout, None, true, &random(), at(0));
        assert!(!outcome.is_leased(at(9)) && outcome.refresh_unsure);
    }
}
