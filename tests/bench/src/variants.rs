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
pub const ALL: [Variant; 31] = {
    use Answers::{Proxy, Service};
    use Filter::{CredentialInjector, ExtAuthz, Floor, JwtAuthn, Ours};
    const NONE: Filter = Filter::None;
    const MINIMAL: Filter = Ours(filters::minimal);
    [
        variant("plain", "no filter", 1, NONE, Proxy),
        variant("wasm-empty", "WebAssembly that does nothing", 1, Floor("empty"), Proxy),
        variant("wasm-header", "… that reads `Authorization`", 1, Floor("header"), Proxy),
        variant("wasm-trimmed", "… without needless exports", 1, Floor("header-trimmed"), Proxy),
        variant("wasm-bare", BARE, 1, Floor("bare"), Proxy),
        variant("lua-short", "short Lua", 1, SHORT, Proxy),
        variant("lua-short-500", "short Lua, 500 tokens", 500, SHORT, Proxy),
        variant("lua-short-10000", "short Lua, 10,000 tokens", 10_000, SHORT, Proxy),
        variant("lua-full", "full Lua", 1, FULL, Proxy),
        variant("lua-full-500", "full Lua, 500 tokens", 500, FULL, Proxy),
        variant("lua-told", TOLD, 1, FULL, Proxy),
        variant("jwt-authn", "`jwt_authn`, RS256", 1, JwtAuthn { cache: false }, Proxy),
        variant("jwt-authn-cache", "… with `jwt_cache`", 1, JwtAuthn { cache: true }, Proxy),
        variant("ext-authz", "`ext_authz` over HTTP", 1, ExtAuthz { sidecar: false }, Proxy),
        variant("ext-authz-sidecar", SIDECAR, 1, ExtAuthz { sidecar: true }, Proxy),
        variant("ours", "**ours**, introspection alone", 1, MINIMAL, Proxy),
        variant("ours-500", "**ours**, 500 tokens", 500, MINIMAL, Proxy),
        variant("ours-10000", "**ours**, 10,000 tokens", 10_000, MINIMAL, Proxy),
        variant("ours-claims", "**ours**, `forward.claims`", 1, Ours(filters::claims), Proxy),
        variant("ours-rule", "**ours**, one rule", 1, Ours(|p| filters::rules(p, 1)), Proxy),
        variant("ours-50-rules", "**ours**, 50 rules", 1, Ours(|p| filters::rules(p, 50)), Proxy),
        variant("ours-full", "**ours**, full", 1, Ours(filters::full), Proxy),
        variant("ours-full-500", "**ours**, full, 500 tokens", 500, Ours(filters::full), Proxy),
        variant("credential-injector", "`credential_injector`", 1, CredentialInjector, Proxy),
        variant("ours-outbound", "**ours**, outbound", 1, Ours(filters::outbound), Proxy),
        variant("service-plain", "no filter", 1, NONE, Service),
        variant("service-lua-short", "short Lua", 1, SHORT, Service),
        variant("service-lua-full", "full Lua", 1, FULL, Service),
        variant("service-ours", "**ours**, introspection alone", 1, MINIMAL, Service),
        variant("service-ours-full", "**ours**, full", 1, Ours(filters::full), Service),
        variant("service-ours-outbound", "**ours**, outbound", 1, Ours(filters::outbound), Service),
    ]
};

const BARE: &str = "WebAssembly that reads `Authorization`, without the SDK";
const TOLD: &str = "full Lua that reports as much to access logs and policies";
const SIDECAR: &str = "… whose service is a sidecar in Node.js, on the proxy's core";

/// A variant; how many tokens take turns, and who answers.
pub const fn variant(
    name: &'static str,
    what: &'static str,
    tokens: usize,
    filter: Filter,
    answers: Answers,
) -> Variant {
    Variant { name, what, filter, tokens, answers }
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
