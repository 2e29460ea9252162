//! `rules[].max_ttl`: how old the responses may be that decide on the requests of a rule.

use super::reader::Object;
use crate::inbound::introspection_cache::CacheConfig;
use crate::inbound::policy::{Access, Rule};
use crate::rules::matcher::Matcher;

/// Checks the limits of all rules. Returns whether there is any.
pub(super) fn limit_ages(
    inbound: &Object<'_>,
    rules: &[(Matcher, Rule)],
    cache: &CacheConfig,
) -> bool {
    let mut is_limited = false;
    for (n, (_, rule)) in rules.iter().enumerate() {
        let (Access::Token(needs) | Access::Optional(needs)) = &rule.access else { continue };
        let Some(max_ttl) = needs.age.get() else { continue };
        is_limited = true;
        if max_ttl > cache.max_ttl {
            inbound.at(&format!("rules[{n}].max_ttl")).mistake::<()>(
                "must not be longer than cache.max_ttl (default \"60s\"), after which no response \
                 is cached; raise that, or shorten this",
            );
        }
    }
    is_limited
}
