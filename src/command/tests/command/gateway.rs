//! `check` on manifests of Envoy Gateway.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::check::{FINE, at, check};
use crate::{file, run};

/// A policy that protects a Gateway.
const GUARD: &str = "\
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: { name: guard, namespace: shop }
spec:
  targetRefs:
    - { group: gateway.networking.k8s.io, kind: Gateway, name: front }
  wasm:
    - name: tokens
      code: { type: Image, image: { url: registry.test/oauth2-filter:0.1.0 } }
      env: { hostKeys: [SECRET] }
      config:
        inbound:
          introspection:
            endpoint: https://as.test/introspect
            cluster: as
            client_id: rs
            client_secret: { env: SECRET }
          audience: https://api.test
          rules:
            - { paths: [/status], access: public }
            - { paths: [/**], scope: read }
          forward: { claims: { X-Checked: active, x-user: sub } }
";

/// What the policies target.
const TARGET: &str = "targetRefs:
    - { group: gateway.networking.k8s.io, kind: Gateway, name: front }
";

/// A policy that denies what the filter has not checked.
const DENY: &str = "\
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: { name: deny, namespace: shop }
spec:
  targetRefs:
    - { group: gateway.networking.k8s.io, kind: Gateway, name: front }
  authorization:
    defaultAction: Deny
    rules:
      - action: Allow
        principal: { headers: [{ name: x-checked, values: ['true'] }] }
";

/// A policy that removes the header from requests of clients.
const REMOVE: &str = "\
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: { name: remove, namespace: shop }
spec:
  targetRefs:
    - { group: gateway.networking.k8s.io, kind: Gateway, name: front }
  headers: { earlyRequestHeaders: { remove: [X-Checked] } }
";

/// A Gateway with its proxy and a route.
const GATEWAY: &str = "\
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: envoy }
spec:
  controllerName: gateway.envoyproxy.io/gatewayclass-controller
  parametersRef: { group: gateway.envoyproxy.io, kind: EnvoyProxy, namespace: system, name: proxy }
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: { name: proxy, namespace: system }
spec:
  provider:
    type: Kubernetes
    kubernetes: { envoyDeployment: { container: { env: [{ name: SECRET, value: s3cr3t }] } } }
  bootstrap:
    type: Merge
    value: |
      static_resources:
        clusters: [{ name: as }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: front, namespace: shop, labels: { tier: web } }
spec: { gatewayClassName: envoy, listeners: [{ name: http, protocol: HTTP, port: 80 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: orders, namespace: apps }
spec: { parentRefs: [{ name: front, namespace: shop }], rules: [{ backendRefs: [{ name: a }] }] }
";

/// A policy of another kind for the route.
fn of_route(kind: &str, spec: &str) -> String {
    format!(
        "---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: {kind}
metadata: {{ name: other, namespace: apps }}
spec:
  targetRefs: [{{ kind: HTTPRoute, name: orders }}]
  {spec}
"
    )
}

/// All of it, without findings.
fn all() -> String {
    [GUARD, DENY, REMOVE, GATEWAY].concat()
}

/// A file of this text. Tests that run at once use the same names.
fn new_file(name: &str, text: &str) -> PathBuf {
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    file(&format!("gateway/{number}/{name}.yaml"), text)
}

/// Checks that a text, and nothing else, is warned of at the only place that begins like this.
fn warns(name: &str, text: &str, place: &str, said: &str) {
    let (lines, status) = check(&new_file(name, text));
    let start = format!("{}: warning: {said}", at(text, place));
    assert!(lines[0].starts_with(&start), "{name}: {start}: {lines:#?}");
    assert!(lines[1].ends_with("no errors, 1 warning"), "{name}: {lines:#?}");
    assert_eq!((lines.len(), status), (2, 0), "{name}: {lines:#?}");
}

/// Checks that a text has no findings.
fn is_silent(name: &str, text: &str) {
    assert_eq!(check(&new_file(name, text)), (vec![FINE.to_owned()], 0), "{name}");
}

/// A text with another one in its place, which must be there.
fn with(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

/// A policy that adds tokens to the requests of the route.
fn outbound() -> String {
    of_route(
        "EnvoyExtensionPolicy",
        "wasm:
    - name: oauth2-filter
      env: { hostKeys: [SECRET] }
      config:
        outbound:
          clients: { a: { grant_type: direct_token, access_token: { env: SECRET } } }
          rules: [{ hosts: [a.test], client: a }]",
    )
}

#[test]
fn a_guarded_gateway_with_its_backstop_is_silent() {
    is_silent("all", &all());
    is_silent("list", &{
        // As `kubectl get -o yaml` prints them.
        let items = all().replace("---\n", "").replace('\n', "\n    ");
        let items = items.replace("\n    apiVersion", "\n  - apiVersion");
        format!("apiVersion: v1\nkind: List\nitems:\n  - {}\n", items.trim_end())
    });
    is_silent("outbound", &outbound());
    let selector = "targetSelectors: [{ kind: Gateway, matchLabels: { tier: web } }]\n";
    let selected = with(&all(), TARGET, selector);
    is_silent("selected", &selected);
    is_silent("default", &with(&all(), "    defaultAction: Deny\n", ""));
}

#[test]
fn every_use_in_a_policy_is_checked_with_its_places() {
    let text = with(&all(), "scope: read", "scopes: read");
    let (lines, status) = check(&new_file("mistake", &text));
    let line = format!("{}: error: inbound.rules[1].scopes: unknown key", at(&text, "scopes"));
    assert!(lines[0].starts_with(&line), "{lines:?}");
    assert_eq!(status, 1);
    let other = "    - name: other
      code: { type: Image, image: { url: registry.test/other } }
      config: { inbuond: 1 }
    - name: oauth2-filter
      code: { type: Image, image: { url: registry.test/a } }
    - name: tokens
";
    let text = with(&all(), "    - name: tokens\n", other);
    let path = new_file("several", &text);
    let ran = run(["check".as_ref(), "--format=json".as_ref(), path.as_os_str()]);
    let report: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(report["files"][0]["uses"], 2, "{report:#}");
    let findings = report["files"][0]["findings"].as_array().expect("findings");
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0]["within"], "EnvoyExtensionPolicy shop/guard, wasm oauth2-filter");
    assert!(findings[0]["text"].as_str().expect("text").starts_with("missing; expected a JSON"));
}

#[test]
fn fail_open_is_warned_of_and_counts_in_every_format() {
    let text = with(&all(), "      env:", "      failOpen: true\n      env:");
    let said =
        "failOpen: true: if the image, the document or the VM fails, requests bypass the filter";
    warns("open", &text, "failOpen", said);
    is_silent("closed", &text.replace("failOpen: true", "failOpen: false"));
    let path = new_file("open", &text);
    let run_as = |option: &str| run(["check".as_ref(), option.as_ref(), path.as_os_str()]);
    assert_eq!(run_as("--strict").status, 1);
    let report: Value = serde_json::from_str(&run_as("--format=json").out).expect("JSON");
    assert_eq!((&report["mistakes"], &report["warnings"]), (&Value::from(0), &Value::from(1)));
    assert!(run_as("--format=github").out.starts_with("::warning file="));
}

#[test]
fn a_route_as_target_of_an_inbound_policy_is_warned_of() {
    for kind in ["HTTPRoute", "GRPCRoute"] {
        let said =
            format!("a policy of {kind} with `inbound` fails open: until Envoy has accepted");
        for (name, targets) in [
            ("refs", format!("targetRefs: [{{ kind: {kind}, name: orders }}]")),
            ("ref", format!("targetRef: {{ kind: {kind}, name: orders }}")),
            (
                "selectors",
                format!("targetSelectors: [{{ kind: {kind}, matchLabels: {{ a: b }} }}]"),
            ),
        ] {
            let text = with(GUARD, TARGET, &(targets + "\n"));
            warns(name, &text, &format!("{{ kind: {kind}"), &said);
        }
    }
}

#[test]
fn a_variable_that_is_not_handed_over_is_warned_of_beside_the_error() {
    for (name, env, place) in [
        ("other", "      env: { hostKeys: [OTHER] }\n", "env: { hostKeys"),
        ("none", "", "name: tokens"),
    ] {
        let text =
            with(&[GUARD, DENY, REMOVE].concat(), "      env: { hostKeys: [SECRET] }\n", env);
        let (lines, status) = check(&new_file(name, &text));
        let said = "warning: env.hostKeys: lacks `SECRET`: the filter rejects its document";
        let line = format!("{}: {said}", at(&text, place));
        assert!(lines[0].starts_with(&line), "{line}: {lines:#?}");
        let line = format!("{}: error: inbound.introspection.cl", at(&text, "env: SECRET"));
        assert!(lines[1].starts_with(&line), "{line}: {lines:#?}");
        assert_eq!((lines.len(), status), (3, 1), "{lines:#?}");
    }
}

#[test]
fn a_variable_that_the_proxy_does_not_have_is_warned_of() {
    let said = "env.hostKeys: EnvoyProxy system/proxy does not set `SECRET`: the filter rejects";
    let text = with(&all(), "env: [{ name: SECRET", "env: [{ name: OTHER");
    warns("variable", &text, "SECRET] }", said);
    let none = with(
        &all(),
        ": { envoyDeployment: { container: { env: [{ name: SECRET, value: s3cr3t }] } } }",
        ": {}",
    );
    warns("no-variable", &none, "SECRET] }", said);
    is_silent("daemon", &with(&all(), "envoyDeployment", "envoyDaemonSet"));
    is_silent("patched", &with(&text, "container:", "patch: {}, container:"));
    is_silent("host", &with(&none, "type: Kubernetes", "type: Host"));
    // The one of the Gateway comes before that of its class.
    let own = "infrastructure: { parametersRef: { kind: EnvoyProxy, name: own } }, listeners";
    is_silent("own", &with(&text, "listeners", own));
}

#[test]
fn a_cluster_that_the_proxy_does_not_have_is_warned_of() {
    let default = with(&all(), "            cluster: as\n", "");
    let said = "inbound.introspection: no cluster `outbound|443||as.test`: only Istio has clusters";
    warns("default", &default, "introspection:", said);
    let alone = with(GUARD, "            cluster: as\n", "") + DENY + REMOVE;
    warns("default-alone", &alone, "introspection:", said);
    let other = with(&all(), "cluster: as\n", "cluster: bs\n");
    let said =
        "inbound.introspection: cluster `bs` is not defined in `spec.bootstrap` of EnvoyProxy";
    warns("cluster", &other, "introspection:", said);
    is_silent("route", &with(&all(), "cluster: as\n", "cluster: httproute/shop/as/rule/0\n"));
    let patched = |kind: &str| {
        let types = "type.googleapis.com/envoy.config";
        let spec = format!("{{ jsonPatches: [{{ type: {types}.{kind} }}] }}");
        let head = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyPatchPolicy";
        format!("{other}---\n{head}\nspec: {spec}\n")
    };
    is_silent("patch", &patched("cluster.v3.Cluster"));
    warns("listener", &patched("listener.v3.Listener"), "introspection:", said);
    is_silent("json-patch", &with(&other, "    value: |\n", "    jsonPatches: []\n    x: |\n"));
}

#[test]
fn a_guard_without_a_backstop_is_warned_of() {
    let said = "no backstop for Gateway front: where Envoy does not run the filter";
    let place = "{ group: gateway.networking.k8s.io, kind: Gateway, name: front }\n  wasm";
    let elsewhere = [
        ("none", String::new()),
        ("allow", with(DENY, "defaultAction: Deny", "defaultAction: Allow")),
        ("unrelated", with(DENY, "authorization:", "other:")),
        ("gateway", with(DENY, "name: front", "name: back")),
        ("namespace", with(DENY, "namespace: shop", "namespace: store")),
        ("listener", with(DENY, "name: front", "name: front, sectionName: http")),
        ("route", with(DENY, "kind: Gateway", "kind: HTTPRoute")),
    ];
    for (name, policy) in elsewhere {
        warns(name, &[GUARD, &policy, REMOVE, GATEWAY].concat(), place, said);
    }
    // A policy of another direction needs none.
    is_silent("other", &(outbound() + GATEWAY));
}

#[test]
fn a_backstop_that_allows_more_than_the_filter_is_warned_of() {
    let said = "this rule allows requests that the filter of Gateway front has not checked";
    let other = "principal: { headers: [{ name: x-other, values: [a] }] }";
    let header = "principal: { headers: [{ name: x-checked, values: ['true'] }] }";
    for (name, principal) in [
        ("header", other),
        ("address", "principal: { clientCIDRs: [10.0.0.0/8] }"),
        ("expression", "cel: request.method == 'GET'"),
    ] {
        warns(name, &with(&all(), header, principal), "action: Allow", said);
    }
    let both =
        "principal: { headers: [{ name: a, values: [b] }, { name: x-checked, values: [c] }] }";
    let denied = format!("{header}\n      - action: Deny\n        {other}");
    let exception = format!("{other}\n        operation: {{ path: {{ value: /status }} }}");
    let public = format!("{header}\n      - action: Allow\n        {exception}");
    for (name, rule) in [
        ("both", both),
        ("cel", "cel: request.headers['x-checked'] == 'true'"),
        ("denied", &denied),
        ("public", &public),
    ] {
        is_silent(name, &with(&all(), header, rule));
    }
    // Without public requests, there is no reason for exceptions.
    let secret = with(GUARD, "access: public", "scope: read");
    let text = [secret, with(DENY, header, &exception)].concat();
    warns("exception", &text, "action: Allow", said);
    let (nothing, _) = DENY.split_once("    rules:").expect("rules");
    is_silent("nothing", &[GUARD, nothing, GATEWAY].concat());
}

#[test]
fn a_header_that_clients_can_send_is_warned_of() {
    let said =
        "clients of Gateway front can send `x-checked` themselves; add a ClientTrafficPolicy";
    for (name, policy) in [
        ("none", String::new()),
        ("other", with(REMOVE, "X-Checked", "x-user")),
        ("late", with(REMOVE, "earlyRequestHeaders", "lateResponseHeaders")),
        ("gateway", with(REMOVE, "name: front", "name: back")),
    ] {
        warns(name, &[GUARD, DENY, &policy, GATEWAY].concat(), "{ name: x-checked", said);
    }
}

#[test]
fn a_policy_of_a_route_that_replaces_the_guard_is_warned_of() {
    let lua = of_route("EnvoyExtensionPolicy", "lua: [{ type: Inline, inline: '' }]");
    let said = "for its route, this policy replaces the filter of Gateway front: requests are";
    warns("lua", &(all() + &lua), "{ kind: HTTPRoute", said);
    let merged = with(&lua, "  lua:", "  mergeType: StrategicMerge\n  lua:");
    is_silent("merged", &(all() + &merged));
    // A merge replaces the list with the guard.
    let merged = with(&outbound(), "  wasm:", "  mergeType: StrategicMerge\n  wasm:");
    let said = "for its route, this policy replaces the filter of Gateway front, because a merge";
    warns("wasm", &(all() + &merged), "{ kind: HTTPRoute", said);
    // Routes of other Gateways, and those that are not known, are no concern.
    is_silent(
        "another",
        &(with(&all(), "parentRefs: [{ name: front", "parentRefs: [{ name: back") + &lua),
    );
    is_silent(
        "namespace",
        &(with(&all(), "name: front, namespace: shop }]", "name: front }]") + &lua),
    );
    is_silent("unknown", &(with(&all(), "name: orders", "name: others") + &lua));
}

#[test]
fn a_policy_of_a_route_that_replaces_the_backstop_is_warned_of() {
    let cors = of_route("SecurityPolicy", "cors: { allowOrigins: ['https://a.test'] }");
    let said = "for its route, this policy replaces the backstop of Gateway front; repeat";
    warns("cors", &(all() + &cors), "{ kind: HTTPRoute", said);
    is_silent("merged-cors", &(all() + &with(&cors, "  cors:", "  mergeType: JSONMerge\n  cors:")));
    let allows = of_route("SecurityPolicy", "authorization: { defaultAction: Allow }");
    warns("allows", &(all() + &allows), "{ kind: HTTPRoute", said);
    is_silent(
        "denies",
        &(all() + &of_route("SecurityPolicy", "authorization: { defaultAction: Deny }")),
    );
    let rules = "authorization: { rules: [{ principal: { clientCIDRs: [10.0.0.0/8] } }] }";
    let said = "this rule allows requests that the filter of Gateway front has not checked";
    warns(
        "rules",
        &(all() + &of_route("SecurityPolicy", rules)),
        "{ principal: { clientCIDRs",
        said,
    );
}

/// The guard as a dynamic module, and what its Gateway has.
fn all_with_module() -> String {
    let plugin = "wasm:
    - name: tokens
      code: { type: Image, image: { url: registry.test/oauth2-filter:0.1.0 } }
      env: { hostKeys: [SECRET] }
";
    let module = "dynamicModule:
    - name: tokens
      filterName: oauth2
";
    let listed = "dynamicModules:
    - { name: tokens, source: { local: { path: /lib/o.so } }, doNotClose: true }
  bootstrap:";
    with(&with(&all(), plugin, module), "bootstrap:", listed)
}

#[test]
fn a_gateway_that_is_guarded_by_a_dynamic_module_is_checked_with_its_places() {
    let all = all_with_module();
    is_silent("all", &all);
    let path = new_file("mistake", &with(&all, "scope: read", "scopes: read"));
    let ran = run(["check".as_ref(), "--format=json".as_ref(), path.as_os_str()]);
    let report: Value = serde_json::from_str(&ran.out).expect("JSON");
    let findings = report["files"][0]["findings"].as_array().expect("findings");
    assert_eq!((findings.len(), ran.status), (1, 1), "{findings:#?}");
    assert_eq!(findings[0]["within"], "EnvoyExtensionPolicy shop/guard, dynamic module tokens");
    assert_eq!(findings[0]["place"], "inbound.rules[1].scopes");
    // By its name, without a document.
    let (before, _) = all.split_once("      config:\n").expect("a document");
    let text = before.replace("- name: tokens", "- name: oauth2-filter");
    let (lines, status) = check(&new_file("none", &text));
    assert!(lines[0].contains("error: configuration: missing"), "{lines:#?}");
    assert_eq!(status, 1);
    is_silent("outbound", &of_route("EnvoyExtensionPolicy", OUTBOUND_MODULE));
}

/// A dynamic module that adds tokens.
const OUTBOUND_MODULE: &str = "dynamicModule:
    - name: tokens
      filterName: oauth2
      config:
        outbound:
          clients: { a: { grant_type: direct_token, access_token: { env: SECRET } } }
          rules: [{ hosts: [a.test], client: a }]";

#[test]
fn a_dynamic_module_without_the_name_of_its_filter_is_an_error() {
    let all = all_with_module();
    for (name, filter, place) in [
        ("none", "", "name: tokens\n      config"),
        ("other", "      filterName: oauth\n", "filterName"),
    ] {
        let text = with(&all, "      filterName: oauth2\n", filter);
        let (lines, status) = check(&new_file(name, &text));
        let line = format!(
            "{}: error: filterName: the filter of this module is `oauth2`",
            at(&text, place)
        );
        assert!(lines[0].starts_with(&line), "{line}: {lines:#?}");
        assert_eq!((lines.len(), status), (2, 1), "{lines:#?}");
    }
}

#[test]
fn a_dynamic_module_that_can_be_bypassed_is_warned_of() {
    let all = all_with_module();
    let (guard, _) = all.split_once("---\n").expect("several objects");
    let route = with(guard, TARGET, "targetRefs: [{ kind: HTTPRoute, name: orders }]\n");
    warns("route", &route, "{ kind: HTTPRoute", "a policy of HTTPRoute with `inbound` fails open");
    let place = "{ group: gateway.networking.k8s.io, kind: Gateway, name: front }\n  dynamicModule";
    warns("backstop", &all.replace(DENY, ""), place, "no backstop for Gateway front: where Envoy");
    let lua = of_route("EnvoyExtensionPolicy", "lua: [{ type: Inline, inline: '' }]");
    let said = "for its route, this policy replaces the filter of Gateway front: requests are";
    warns("lua", &(all.clone() + &lua), "{ kind: HTTPRoute", said);
    let merged = |policy: &str| with(policy, "spec:\n", "spec:\n  mergeType: StrategicMerge\n");
    // A merge replaces the list with the guard, and no other.
    let wasm = of_route("EnvoyExtensionPolicy", "wasm: [{ name: other }]");
    is_silent("wasm", &(all.clone() + &merged(&wasm)));
    let said = "for its route, this policy replaces the filter of Gateway front, because a merge \
        replaces `dynamicModule` as a whole";
    let module = of_route("EnvoyExtensionPolicy", OUTBOUND_MODULE);
    warns("module", &(all.clone() + &merged(&module)), "{ kind: HTTPRoute", said);
    let remote = "source: { type: Remote, remote: { url: https://a.test/o.so, sha256: '00' } }";
    let text = with(&all, "source: { local: { path: /lib/o.so } }", remote);
    let said = "name: EnvoyProxy system/proxy loads `tokens` from a URL: if Envoy cannot";
    warns("remote", &text, "name: tokens\n      filterName", said);
}

#[test]
fn what_a_dynamic_module_lacks_in_its_proxy_is_warned_of() {
    let all = all_with_module();
    let said = "name: `dynamicModules` of EnvoyProxy system/proxy does not list `tokens`: Envoy";
    let place = "name: tokens\n      filterName";
    warns("unlisted", &with(&all, "{ name: tokens, source", "{ name: a, source"), place, said);
    let said = "env: EnvoyProxy system/proxy does not set `SECRET`: the filter rejects";
    let text = with(&all, "env: [{ name: SECRET", "env: [{ name: OTHER");
    warns("variable", &text, "SECRET }\n", said);
    let said = "inbound.introspection: cluster `bs` is not defined in `spec.bootstrap` of";
    warns("cluster", &with(&all, "cluster: as\n", "cluster: bs\n"), "introspection:", said);
}

#[test]
fn of_several_objects_of_a_name_the_last_one_is_in_force() {
    let (_, proxy) = GATEWAY.split_once("---\napiVersion: gateway.envoyproxy").expect("a proxy");
    let (proxy, _) = proxy.split_once("---\n").expect("other objects");
    let proxy = format!("---\napiVersion: gateway.envoyproxy{proxy}");
    let other = with(&proxy, "name: SECRET", "name: OTHER");
    is_silent("last", &with(&all(), &proxy, &[&*other, &proxy].concat()));
    let said = "env.hostKeys: EnvoyProxy system/proxy does not set `SECRET`";
    let text = with(&all(), &proxy, &[&*proxy, &other].concat());
    warns("first", &text, "SECRET] }", said);
}

#[test]
fn the_parts_may_be_in_several_files() {
    let parts = [("guard", GUARD), ("deny", DENY), ("remove", REMOVE), ("gateway", GATEWAY)];
    let paths = parts.map(|(name, text)| new_file(name, text));
    let check = |paths: &[&PathBuf]| {
        let names = paths.iter().map(|path| path.as_os_str());
        run(["check".as_ref(), "--strict".as_ref()].into_iter().chain(names))
    };
    let [guard, deny, remove, gateway] = &paths;
    assert_eq!(check(&[guard, deny, remove, gateway]).status, 0);
    let ran = check(&[gateway, deny, guard]);
    let line = format!("{}:12:32: warning: clients of Gateway front can send", deny.display());
    assert!(ran.out.contains(&line) && ran.status == 1, "{}", ran.out);
    let ran = check(&[remove, guard]);
    let line = format!("{}:6:7: warning: no backstop for Gateway front", guard.display());
    assert!(ran.out.contains(&line) && ran.status == 1, "{}", ran.out);
}
