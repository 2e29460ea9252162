//! Parts of the filter for `make micro`, with the `bench` feature only.

use std::fmt;
use std::sync::Arc;

use crate::cache::local::{self, KeySpace};
use crate::http::head::Head;
use crate::http::path::{PathPattern, RequestPath};
use crate::ids::ServerId;
use crate::oauth::bearer::{BearerToken, MAX_TOKEN_BYTES};
use crate::oauth::introspection_response::{Response, ResponseFormat};
use crate::rules::index::RuleIndex;
use crate::rules::matcher::Matcher;
use crate::rules::target::Target;
use crate::timestamp::Timestamp;

/// Whether these bytes are a valid token.
pub fn is_token(token: &[u8]) -> bool {
    BearerToken::parse(token, MAX_TOKEN_BYTES).is_ok()
}

/// Whether this path can be matched by rules.
pub fn is_path(path: &[u8]) -> bool {
    RequestPath::parse(path).is_ok()
}

/// Whether this is an introspection response on an active token.
pub fn is_active(body: &[u8]) -> bool {
    matches!(Response::parse(body, ResponseFormat::Json), Ok(Response::Active { .. }))
}

/// The key of a cached response.
#[derive(Clone, Copy, Debug)]
pub struct Key(local::CacheKey);

/// Makes the keys of cached responses.
pub struct Keyed(local::Keyed);

impl Keyed {
    /// Makes keys that depend on `seed`.
    pub fn new(seed: [u8; 16]) -> Self {
        Self(local::Keyed::new(seed))
    }

    /// The key of the response on a token.
    pub fn key(&self, token: &str) -> Key {
        Key(self.0.key(KeySpace::Server(ServerId(0)), token))
    }
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").finish_non_exhaustive()
    }
}

/// A cache of introspection responses.
pub struct ClockCache(local::ClockCache<Arc<()>>);

impl ClockCache {
    /// Caches a response for each key, without expiry.
    pub fn new(keys: &[Key]) -> Self {
        let mut kept = local::ClockCache::new(local::Room { entries: keys.len(), bytes: 0 });
        for Key(key) in keys {
            kept.insert(*key, Arc::default(), 0, Timestamp::NEVER, Timestamp::from_millis(0));
        }
        Self(kept)
    }

    /// Whether a response is cached under this key.
    pub fn has(&mut self, Key(key): Key) -> bool {
        self.0.get(key, Timestamp::from_millis(0)).is_some()
    }
}

impl fmt::Debug for ClockCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockCache").finish_non_exhaustive()
    }
}

/// Rules on methods and paths.
#[derive(Debug)]
pub struct Rules(RuleIndex<usize>);

impl Rules {
    /// Creates rules, each from its method and the pattern of its paths.
    ///
    /// # Errors
    /// The error in a pattern.
    pub fn new(rules: &[(String, String)]) -> Result<Self, &'static str> {
        let matcher = |(method, path): &(String, String)| {
            let methods = Some(vec![method.as_str().into()]);
            let paths = Some(vec![PathPattern::parse(path)?]);
            Ok(Matcher { methods, paths, ..Matcher::default() })
        };
        let matchers: Vec<Matcher> = rules.iter().map(matcher).collect::<Result<_, _>>()?;
        Ok(Self(RuleIndex::new(matchers.into_iter().zip(0..))))
    }

    /// The position of the first rule that matches. The path is parsed first, as in the inbound
    /// direction.
    pub fn find(&self, head: &dyn Head) -> Option<usize> {
        let target = Target::new(head);
        target.path().ok()?;
        self.0.find(&target).ok()?.copied()
    }
}
