//! A client's token as workers share it.
//!
//! ```text
//!               accepted
//!   no token ──────────────▶ a good token ──▶ near its end ──▶ expired
//!      ▲                          │                │
//!      │ failed: back-off         │ dropped        │ accepted: the next one, while the old one serves
//!      └──────────────────────────┘                ▼
//! ```
//!
//! Which worker obtains the next one is a matter of a lease on the record.

use std::fmt;
use std::time::Duration;

use prost::Message;

use crate::oauth::back_off::{BackOff, LONGEST_PAUSE, doubled};
use crate::oauth::failure::Failure;
use crate::oauth::secret::Secret;
use crate::oauth::token_response::TokenResponse;
use crate::random::Random;
use crate::timestamp::Timestamp;

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

/// Everything that workers share about one client.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct CachedToken {
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
    /// Why there is none, or no newer one.
    #[prost(message, optional, tag = "5")]
    pub(crate) back_off: Option<BackOff>,
    /// The refresh token was sent, and no answer has come: it may be spent.
    #[prost(bool, tag = "6")]
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

/// It holds tokens, so they are not shown.
impl fmt::Debug for CachedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedToken").field("number", &self.number).finish_non_exhaustive()
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

    /// Its length in bytes, encoded.
    pub fn size(&self) -> usize {
        self.encoded_len()
    }

    /// When its token expires, good or not.
    pub fn expires(&self) -> Option<Timestamp> {
        self.token.as_ref().map(GrantedToken::expires)
    }

    /// Why no call is made now.
    pub(crate) fn backs_off(&self, now: Timestamp) -> Option<Failure> {
        self.back_off.as_ref()?.failure(now)
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

    /// The refresh token is sent: until an answer comes it may be spent.
    pub(crate) fn refreshing(&self) -> Self {
        Self { refresh_unsure: true, ..self.clone() }
    }

    /// The server does not accept the refresh token, so the grant is run again.
    pub(crate) fn without_refresh_token(&self) -> Self {
        let mut next = Self { refresh_unsure: false, ..self.clone() };
        if let Some(token) = &mut next.token {
            token.refresh_token.clear();
        }
        next
    }

    /// A token has come.
    #[must_use]
    pub(crate) fn accepted(mut self, token: GrantedToken) -> Self {
        // One that replaces a token by its time is no step in a row of dropped ones.
        self.drops = if self.dropped { self.drops } else { 0 };
        self.token = Some(token);
        self.number = self.number.wrapping_add(1);
        self.dropped = false;
        self.back_off = None;
        self.refresh_unsure = false;
        self
    }

    /// No token has come. `unsure`: the refresh token was sent, and may be spent.
    pub(crate) fn failed(&self, back_off: BackOff, unsure: bool) -> Self {
        Self { back_off: Some(back_off), refresh_unsure: unsure, ..self.clone() }
    }

    /// A response had this refresh token, but no usable access token.
    #[must_use]
    pub(crate) fn rotated(mut self, refresh_token: &Secret) -> Self {
        // If there is no token yet, one that has expired holds it.
        let token = self.token.get_or_insert_default();
        refresh_token.reveal().clone_into(&mut token.refresh_token);
        self.refresh_unsure = false;
        self
    }

    /// A call has succeeded that brought no token for this record; nothing if there is nothing to
    /// be forgotten.
    pub(crate) fn recovered(&self) -> Option<Self> {
        self.back_off.as_ref()?;
        Some(Self { back_off: None, ..self.clone() })
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
}
