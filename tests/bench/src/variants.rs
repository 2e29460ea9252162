//! The proxies that are compared.

use serde_json::Value;

use crate::filters;

/// A proxy.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// What tables, `ONLY` and paths call it.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// The filter before the router.
    pub filter: Filter,
    /// How many tokens take turns.
    pub tokens: usize,
    /// Who answers.
    pub answers: Answers,
}

/// The filter of a proxy.
#[derive(Clone, Copy, Debug)]
pub enum Filter {
    /// None.
    None,
    /// A module of `tests/bench/floor`.
    Floor(&'static str),
    /// Lua code.
    Lua(&'static str),
    /// `jwt_authn`, with its cache or without.
    JwtAuthn { cache: bool },
    /// `ext_authz`, whose service is the quickest that there can be, or a sidecar.
    ExtAuthz { sidecar: bool },
    /// `credential_injector`.
    CredentialInjector,
    /// Ours, with the document for a proxy of this name.
    Ours(fn(&str) -> Value),
}

/// Who answers a request that passes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answers {
    /// The proxy itself.
    Proxy,
    /// A service behind it.
    Service,
    /// Whom filters ask.
    Server,
}

impl Filter {
    /// As Envoy is told of it.
    pub fn value(self, proxy: &str, key_set: &Value) -> Option<Value> {
        Some(match self {
            Self::None => return None,
            Self::Floor(module) => filters::floor(module),
            Self::Lua(code) => filters::lua(code, proxy),
            Self::JwtAuthn { cache } => filters::jwt_authn(key_set, cache),
            Self::ExtAuthz { .. } => filters::ext_authz(proxy),
            Self::CredentialInjector => filters::credential_injector(proxy),
            Self::Ours(document) => filters::ours(&document(proxy)),
        })
    }
}

/// The Lua filter that is as short as can be.
pub const SHORT: Filter = Filter::Lua(include_str!("../lua/short.lua"));
/// The Lua filter that does what ours does.
pub const FULL: Filter = Filter::Lua(include_str!("../lua/full.lua"));

/// All of them.
pub const ALL: [Variant; 31] = [
    proxy("plain", "no filter", 1, Filter::None),
    proxy("wasm-empty", "WebAssembly that does nothing", 1, Filter::Floor("empty")),
    proxy("wasm-header", "… that reads `Authorization`", 1, Filter::Floor("header")),
    proxy("wasm-trimmed", "… without needless exports", 1, Filter::Floor("header-trimmed")),
    proxy(
        "wasm-bare",
        "WebAssembly that reads `Authorization`, without the SDK",
        1,
        Filter::Floor("bare"),
    ),
    proxy("lua-short", "short Lua", 1, SHORT),
    proxy("lua-short-500", "short Lua, 500 tokens", 500, SHORT),
    proxy("lua-short-10000", "short Lua, 10,000 tokens", 10_000, SHORT),
    proxy("lua-full", "full Lua", 1, FULL),
    proxy("lua-full-500", "full Lua, 500 tokens", 500, FULL),
    proxy("lua-told", "full Lua that reports as much to access logs and policies", 1, FULL),
    proxy("jwt-authn", "`jwt_authn`, RS256", 1, Filter::JwtAuthn { cache: false }),
    proxy("jwt-authn-cache", "… with `jwt_cache`", 1, Filter::JwtAuthn { cache: true }),
    proxy("ext-authz", "`ext_authz` over HTTP", 1, Filter::ExtAuthz { sidecar: false }),
    proxy(
        "ext-authz-sidecar",
        "… whose service is a sidecar in Node.js, on the proxy's core",
        1,
        Filter::ExtAuthz { sidecar: true },
    ),
    proxy("ours", "**ours**, introspection alone", 1, Filter::Ours(filters::minimal)),
    proxy("ours-500", "**ours**, 500 tokens", 500, Filter::Ours(filters::minimal)),
    proxy("ours-10000", "**ours**, 10,000 tokens", 10_000, Filter::Ours(filters::minimal)),
    proxy("ours-claims", "**ours**, `forward.claims`", 1, Filter::Ours(filters::claims)),
    proxy("ours-rule", "**ours**, one rule", 1, Filter::Ours(|proxy| filters::rules(proxy, 1))),
    proxy(
        "ours-50-rules",
        "**ours**, 50 rules",
        1,
        Filter::Ours(|proxy| filters::rules(proxy, 50)),
    ),
    proxy("ours-full", "**ours**, full", 1, Filter::Ours(filters::full)),
    proxy("ours-full-500", "**ours**, full, 500 tokens", 500, Filter::Ours(filters::full)),
    proxy("credential-injector", "`credential_injector`", 1, Filter::CredentialInjector),
    proxy("ours-outbound", "**ours**, outbound", 1, Filter::Ours(filters::outbound)),
    service("service-plain", "no filter", Filter::None),
    service("service-lua-short", "short Lua", SHORT),
    service("service-lua-full", "full Lua", FULL),
    service("service-ours", "**ours**, introspection alone", Filter::Ours(filters::minimal)),
    service("service-ours-full", "**ours**, full", Filter::Ours(filters::full)),
    service("service-ours-outbound", "**ours**, outbound", Filter::Ours(filters::outbound)),
];

/// One that answers by itself.
const fn proxy(name: &'static str, what: &'static str, tokens: usize, filter: Filter) -> Variant {
    Variant { name, what, filter, tokens, answers: Answers::Proxy }
}

/// One with a service behind.
const fn service(name: &'static str, what: &'static str, filter: Filter) -> Variant {
    Variant { name, what, filter, tokens: 1, answers: Answers::Service }
}

impl Variant {
    /// Whether whom it asks is a sidecar.
    pub const fn has_sidecar(&self) -> bool {
        matches!(self.filter, Filter::ExtAuthz { sidecar: true })
    }

    /// What it is compared with.
    pub const fn baseline(&self) -> &'static str {
        match self.answers {
            Answers::Proxy | Answers::Server => "plain",
            Answers::Service => "service-plain",
        }
    }
}

/// The variant of this name.
pub fn named(name: &str) -> Option<Variant> {
    ALL.into_iter().find(|variant| variant.name == name)
}

/// The variants of these names, with those that they are compared with; all of them if none is
/// named.
pub fn chosen(names: &[String]) -> Vec<Variant> {
    let is_named =
        |variant: &Variant| names.is_empty() || names.iter().any(|name| name == variant.name);
    let baselines: Vec<&str> =
        ALL.iter().filter(|variant| is_named(variant)).map(Variant::baseline).collect();
    let is_chosen = |variant: &Variant| is_named(variant) || baselines.contains(&variant.name);
    ALL.into_iter().filter(is_chosen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[&str]) -> Vec<&'static str> {
        let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
        chosen(&only).iter().map(|variant| variant.name).collect()
    }

    #[test]
    fn what_is_chosen_comes_with_what_it_is_compared_with() {
        assert_eq!(names(&["ours-500"]), ["plain", "ours-500"]);
        assert_eq!(names(&["service-ours"]), ["service-plain", "service-ours"]);
        assert_eq!(names(&["plain"]), ["plain"]);
        assert_eq!(names(&["memory"]), [""; 0]);
        assert_eq!(names(&[]).len(), ALL.len());
    }

    #[test]
    fn no_two_have_one_name() {
        let mut all = names(&[]);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), ALL.len());
    }
}
