//! Checks what `verified_by` needs around the filter: that Envoy's filter `jwt_authn` is before it,
//! verifies the tokens, and says so.

use std::rc::Rc;

use serde_json::Value;

use crate::chain::{self, Neighbor};
use crate::objects::Object;
use crate::tree::{Member, Node, Position};
use crate::uses::{Contents, Host, Platform, Use};

/// The type of the filter's configuration in Envoy.
const JWT_AUTHN: &str = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";

/// Adds warnings on the filters before this one. `of_route` is whether it is a document for a route.
pub(crate) fn remark_on_filters(found: &mut Use, manager: &Node, of_route: bool) {
    let issuers = issuers(found);
    if issuers.is_empty() || found.host != Host::Module {
        return;
    }
    let verifying = chain::before(found, manager, of_route, JWT_AUTHN);
    if verifying.is_empty() {
        found.remark(found.at, false, MISSING);
    }
    for Neighbor { filter, settings } in verifying {
        let mut flaws = flaws(settings, &issuers);
        let disabled = filter.member("disabled").filter(|disabled| disabled.value.is_true());
        flaws.extend(disabled.map(|disabled| (disabled.at, DISABLED.to_owned())));
        if let Some(name) = filter.get("name").and_then(Node::text) {
            let routes = disabled_routes(manager, name).into_iter();
            flaws.extend(routes.map(|at| (at, DISABLED_ROUTE.to_owned())));
        }
        for (at, text) in flaws {
            found.remark(at, false, format!("envoy.filters.http.jwt_authn: {text}"));
        }
    }
}

/// Adds warnings where a control plane configures `jwt_authn`.
pub(crate) fn remark_on_documents(files: &mut [Contents]) {
    let has_own = |object: &Rc<Object>| {
        matches!(&*object.kind, "EnvoyFilter" | "EnvoyPatchPolicy") && mentions(&object.spec)
    };
    if files.iter().flat_map(|file| &file.objects).any(has_own) {
        return;
    }
    for found in files.iter_mut().flat_map(|file| &mut file.uses) {
        let (Some(_), Some((place, _))) = (&found.object, issuers(found).into_iter().next()) else {
            continue;
        };
        let source = match found.platform {
            Platform::Istio => "a RequestAuthentication",
            Platform::EnvoyGateway => "a SecurityPolicy",
            Platform::Envoy => continue,
        };
        let place = format!("{place}.verified_by");
        let text = format!("{place}: {}", OF_OTHERS.replace("SOURCE", source));
        found.remark(found.find(&place, ""), false, text);
    }
}

/// The entries of `jwt` whose tokens `jwt_authn` verifies: place and issuer of each.
fn issuers(found: &Use) -> Vec<(String, String)> {
    let document = found.document();
    let jwt = document.as_ref().and_then(|document| document.pointer("/inbound/jwt"));
    let entries: Vec<(String, &Value)> = match jwt {
        Some(Value::Array(entries)) => {
            let place = |n| format!("inbound.jwt[{n}]");
            entries.iter().enumerate().map(|(n, entry)| (place(n), entry)).collect()
        }
        other => other.map(|entry| ("inbound.jwt".to_owned(), entry)).into_iter().collect(),
    };
    let verified = entries.into_iter().filter(|(_, entry)| entry.get("verified_by").is_some());
    verified
        .filter_map(|(place, entry)| Some((place, entry.get("issuer")?.as_str()?.to_owned())))
        .collect()
}

/// Whether this configures `jwt_authn`, as YAML or as text.
fn mentions(node: &Node) -> bool {
    node.text().is_some_and(|text| text.contains(JWT_AUTHN))
        || node.elements().iter().any(mentions)
        || node.members().iter().any(|member| mentions(&member.value))
}

/// What keeps the filter from verifying the tokens of these issuers, or from saying so.
fn flaws(settings: &Node, issuers: &[(String, String)]) -> Vec<(Position, String)> {
    let mut flaws = Vec::new();
    let providers = settings.get("providers").map(Node::members).unwrap_or_default();
    for (place, issuer) in issuers {
        // One without an issuer accepts any.
        let is_for = |provider: &&Member| {
            provider.value.get("issuer").and_then(Node::text).is_none_or(|known| known == issuer)
        };
        let of_issuer: Vec<&Member> = providers.iter().filter(is_for).collect();
        if of_issuer.is_empty() {
            flaws.push((settings.at, NO_PROVIDER.replace("PLACE", place)));
        }
        for provider in of_issuer {
            flaws.extend(flaws_of_provider(provider, providers.len() > 1));
        }
    }
    for rules in ["rules", "requirement_map"] {
        let Some(rules) = settings.get(rules) else { continue };
        for (name, text) in
            [("allow_missing", ALLOW_MISSING), ("allow_missing_or_failed", ALLOW_FAILED)]
        {
            let mut found = Vec::new();
            find(rules, name, &mut found);
            flaws.extend(found.into_iter().map(|at| (at, text.to_owned())));
        }
    }
    let places = ["rules", "requirement_map", "filter_state_rules"];
    if places.into_iter().all(|name| settings.get(name).is_none()) {
        flaws.push((settings.at, NO_RULES.to_owned()));
    }
    let rules = settings.get("rules").map(Node::each).unwrap_or_default().iter();
    let requires = |rule: &&Node| {
        ["requires", "requirement_name"].into_iter().any(|name| rule.get(name).is_some())
    };
    flaws.extend(rules.filter(|rule| !requires(rule)).map(|rule| (rule.at, NO_RULE.to_owned())));
    // Several issuers may have one provider.
    flaws.sort();
    flaws.dedup();
    flaws
}

/// What keeps a provider from saying what it has verified. `is_one_of_many` is whether there are
/// others.
fn flaws_of_provider(provider: &Member, is_one_of_many: bool) -> Vec<(Position, String)> {
    let settings = &provider.value;
    let text = |name| settings.get(name).and_then(Node::text).filter(|text| !text.is_empty());
    let at = |name| settings.member(name).map_or(provider.at, |member| member.at);
    let (payload, header) = (text("payload_in_metadata"), text("header_in_metadata"));
    let has_claims = |node: &Node| {
        node.get("space_delimited_claims").is_some_and(|claims| !claims.each().is_empty())
    };
    let has_failure = is_one_of_many && text("failed_status_in_metadata").is_some();
    let normalized = settings.get("normalize_payload_in_metadata").is_some_and(has_claims);
    let flaws = [
        ("forward", !settings.get("forward").is_some_and(Node::is_true), FORWARD),
        ("payload_in_metadata", payload.is_none(), PAYLOAD),
        ("header_in_metadata", header.is_none(), HEADER),
        ("header_in_metadata", payload.is_some() && payload == header, SAME_KEY),
        ("normalize_payload_in_metadata", normalized, NORMALIZED),
        ("failed_status_in_metadata", has_failure, FAILED_STATUS),
    ];
    let flaws = flaws.into_iter().filter(|(_, is_flaw, _)| *is_flaw);
    flaws.map(|(name, _, text)| (at(name), text.to_owned())).collect()
}

/// All members of this name, at any depth.
fn find(node: &Node, name: &str, found: &mut Vec<Position>) {
    found.extend(node.member(name).map(|member| member.at));
    node.elements().iter().for_each(|element| find(element, name, found));
    node.members().iter().for_each(|member| find(&member.value, name, found));
}

/// The routes and virtual hosts that disable the filter of this name.
fn disabled_routes(node: &Node, name: &str) -> Vec<Position> {
    let overridden = node.get("typed_per_filter_config").and_then(|of_route| {
        // Not `get`, which knows names in two spellings.
        of_route.members().iter().find(|member| member.key == name)
    });
    let is_disabled = |settings: &Node| {
        let is_true = |node: &Node| node.get("disabled").is_some_and(Node::is_true);
        is_true(settings) || settings.get("config").is_some_and(is_true)
    };
    let here = overridden.filter(|of_route| is_disabled(&of_route.value)).map(|it| it.at);
    let inner = node.members().iter().map(|member| &member.value).chain(node.elements());
    here.into_iter().chain(inner.flat_map(|node| disabled_routes(node, name))).collect()
}

const MISSING: &str = "`jwt` has `verified_by`, but Envoy's filter `jwt_authn` is not before this \
     filter: these tokens are rejected with 401 (oauth2_not_verified); add it, or use `jwks_uri`";

const NO_PROVIDER: &str = "no provider has the `issuer` of PLACE: its tokens are rejected with 401 \
     (oauth2_not_verified)";

const FORWARD: &str = "requires `forward: true`: otherwise, this filter gets no token";

const PAYLOAD: &str = "requires `payload_in_metadata`: otherwise, tokens are rejected with 401 \
     (oauth2_not_verified)";

const HEADER: &str = "requires `header_in_metadata`: otherwise, tokens are rejected with 401 \
     (oauth2_not_verified)";

const SAME_KEY: &str = "`header_in_metadata` must not be `payload_in_metadata`: Envoy merges the two, \
     and tokens are rejected with 401 (oauth2_not_verified)";

const NORMALIZED: &str = "`normalize_payload_in_metadata` changes the payload, and tokens with such a \
     claim are rejected with 401 (oauth2_not_verified); remove it";

const FAILED_STATUS: &str = "`failed_status_in_metadata`: where one of several providers fails, the \
     tokens of the others are rejected with 401 (oauth2_not_verified); remove it";

const ALLOW_MISSING: &str = "`allow_missing`: requests pass in which it finds no token; of these, \
     this filter rejects tokens that it finds in another place, and its rules alone decide on \
     requests without a token";

const ALLOW_FAILED: &str = "`allow_missing_or_failed`: requests pass whose token it has rejected; \
     only this filter rejects them, with 401 (oauth2_not_verified); use `allow_missing`";

const NO_RULES: &str = "has no `rules`: it verifies no token, and all are rejected with 401 \
     (oauth2_not_verified)";

const NO_RULE: &str = "this rule requires nothing: it verifies no token of these requests, which are \
     rejected with 401 (oauth2_not_verified)";

const DISABLED: &str = "disabled: tokens are rejected with 401 (oauth2_not_verified) except on routes \
     that enable it";

const DISABLED_ROUTE: &str = "disabled for these requests, whose tokens are rejected with 401 \
     (oauth2_not_verified)";

const OF_OTHERS: &str = "the `jwt_authn` of SOURCE does not store what this filter compares (it \
     stores no header, and changes `scope`): tokens are rejected with 401 (oauth2_not_verified); use \
     `jwks_uri`";
