//! The proxies that are compared.

use serde_json::Value;

use crate::filters::{self, credential_injector, floor, lua, rules};
use crate::tokens::Tokens;

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
    /// Whether they are those with ES256.
    pub es256: bool,
    /// Who answers.
    pub answers: Answers,
}

/// The configuration of a proxy's filter, or null without one. The key set verifies all tokens.
pub type Filter = fn(proxy: &str, key_set: &Value) -> Value;

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

/// All of them.
pub const ALL: [Variant; 42] = {
    use Answers::{Proxy, Service};
    const NONE: Filter = |_, _| Value::Null;
    const SHORT: Filter = |proxy, _| lua(include_str!("../lua/short.lua"), proxy);
    const FULL: Filter = |proxy, _| lua(include_str!("../lua/full.lua"), proxy);
    const JWT: Filter = |_, keys| filters::jwt_authn(keys, false);
    const JWT_CACHE: Filter = |_, keys| filters::jwt_authn(keys, true);
    [
        variant("plain", "no filter", 1, NONE, Proxy),
        variant("wasm-empty", "WebAssembly that does nothing", 1, |_, _| floor("empty"), Proxy),
        variant("wasm-header", "… that reads `Authorization`", 1, |_, _| floor("header"), Proxy),
        variant(
            "wasm-trimmed",
            "… without unneeded exports",
            1,
            |_, _| floor("header-trimmed"),
            Proxy,
        ),
        variant("wasm-bare", BARE, 1, |_, _| floor("bare"), Proxy),
        variant("lua-short", "short Lua", 1, SHORT, Proxy),
        variant("lua-short-500", "short Lua, 500 tokens", 500, SHORT, Proxy),
        variant("lua-short-10000", "short Lua, 10,000 tokens", 10_000, SHORT, Proxy),
        variant("lua-full", "full Lua", 1, FULL, Proxy),
        variant("lua-full-500", "full Lua, 500 tokens", 500, FULL, Proxy),
        variant("lua-told", TOLD, 1, FULL, Proxy),
        variant("jwt-authn", "`jwt_authn`, RS256", 1, JWT, Proxy),
        variant("jwt-authn-cache", "… with `jwt_cache_config`", 1, JWT_CACHE, Proxy),
        variant("jwt-authn-rs256", "`jwt_authn`, RS256, 10,000 tokens", 10_000, JWT, Proxy),
        variant("jwt-authn-es256", "… ES256", 10_000, JWT, Proxy).with_es256(),
        variant("ext-authz", "`ext_authz` over HTTP", 1, filters::ext_authz, Proxy),
        variant("ext-authz-sidecar", SIDECAR, 1, filters::ext_authz, Proxy),
        variant("ours", "**ours**, introspection only", 1, filters::minimal, Proxy),
        variant("ours-500", "**ours**, 500 tokens", 500, filters::minimal, Proxy),
        variant("ours-10000", "**ours**, 10,000 tokens", 10_000, filters::minimal, Proxy),
        variant("ours-claims", "**ours**, `forward.claims`", 1, filters::claims, Proxy),
        variant("ours-rule", "**ours**, one rule", 1, |p, _| rules(p, 1), Proxy),
        variant("ours-50-rules", "**ours**, 50 rules", 1, |p, _| rules(p, 50), Proxy),
        variant("ours-full", "**ours**, full", 1, filters::full, Proxy),
        variant("ours-full-500", "**ours**, full, 500 tokens", 500, filters::full, Proxy),
        variant("ours-jwt", "**ours**, a cached JWT", 1, filters::jwt, Proxy),
        variant("ours-jwt-rs256", FIRST, 10_000, filters::first_jwt, Proxy),
        variant("ours-jwt-es256", "… ES256", 10_000, filters::first_jwt, Proxy).with_es256(),
        variant("native", "**ours** as a dynamic module", 1, filters::native, Proxy),
        variant("native-full", "… full", 1, filters::native_full, Proxy),
        variant("native-jwt", "… a cached JWT", 1, filters::native_jwt, Proxy),
        variant("native-jwt-rs256", NATIVE_FIRST, 10_000, filters::native_first_jwt, Proxy),
        variant("native-jwt-es256", "… ES256", 10_000, filters::native_first_jwt, Proxy)
            .with_es256(),
        variant("native-outbound", "… outbound", 1, filters::native_outbound, Proxy),
        variant("credential-injector", "`credential_injector`", 1, credential_injector, Proxy),
        variant("ours-outbound", "**ours**, outbound", 1, filters::outbound, Proxy),
        variant("service-plain", "no filter", 1, NONE, Service),
        variant("service-lua-short", "short Lua", 1, SHORT, Service),
        variant("service-lua-full", "full Lua", 1, FULL, Service),
        variant("service-ours", "**ours**, introspection only", 1, filters::minimal, Service),
        variant("service-ours-full", "**ours**, full", 1, filters::full, Service),
        variant("service-ours-outbound", "**ours**, outbound", 1, filters::outbound, Service),
    ]
};

const BARE: &str = "WebAssembly that reads `Authorization`, without the SDK";
const TOLD: &str = "full Lua with dynamic metadata for access logs and policies";
const FIRST: &str = "**ours**, JWTs that are not cached, RS256";
const NATIVE_FIRST: &str = "… JWTs that are not cached, RS256";
const SIDECAR: &str = "… with a Node.js sidecar on the core of the proxy";

/// A variant; how many tokens take turns, and who answers.
pub const fn variant(
    name: &'static str,
    what: &'static str,
    tokens: usize,
    filter: Filter,
    answers: Answers,
) -> Variant {
    Variant { name, what, filter, tokens, es256: false, answers }
}

impl Variant {
    /// The same with tokens that are signed with ES256.
    const fn with_es256(mut self) -> Self {
        self.es256 = true;
        self
    }

    /// Its tokens.
    pub fn tokens_of<'a>(&self, tokens: &'a Tokens) -> &'a [String] {
        let all = if self.es256 { &tokens.es256 } else { &tokens.all };
        &all[..self.tokens]
    }

    /// Whether whom it asks is a sidecar.
    pub fn has_sidecar(&self) -> bool {
        self.name == "ext-authz-sidecar"
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
