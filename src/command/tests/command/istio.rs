//! `check` on `WasmPlugin` and `TrafficExtension` objects.

use std::path::PathBuf;

use crate::check::{FINE, at, check, finds};
use crate::{file, indented, run};

const INBOUND: &str = "\
inbound:
  introspection: { endpoint: 'https://as.test/', client_id: rs, client_secret: { env: SECRET } }
  audience: a
";

const OUTBOUND: &str = "\
outbound:
  clients: { a: { grant_type: direct_token, access_token: { env: SECRET } } }
  rules: [{ hosts: [a.test], client: a }]
";

/// How both kinds of objects configure the filter.
const WASM: &str = "\
url: oci://registry.test/oauth2-filter:0.1.0
failStrategy: FAIL_RELOAD
vmConfig: { env: [{ name: SECRET, valueFrom: HOST }] }
pluginConfig:
";

/// An object of this kind, with these lines of its specification and this document.
fn object(kind: &str, spec: &str, document: &str) -> String {
    let wasm = WASM.to_owned() + &indented(document, 2);
    let wasm = match kind {
        "TrafficExtension" => format!("wasm:\n{}", indented(&wasm, 2)),
        _ => wasm,
    };
    format!(
        "apiVersion: extensions.istio.io/v1alpha1
kind: {kind}
metadata: {{ name: guard, namespace: shop }}
spec:
{}",
        indented(&format!("{spec}\n{wasm}"), 2)
    )
}

/// The kinds of objects.
const KINDS: [&str; 2] = ["WasmPlugin", "TrafficExtension"];

#[test]
fn a_traffic_extension_is_checked_as_a_wasm_plugin() {
    let good = object("TrafficExtension", "match: [{ mode: SERVER }]", INBOUND);
    finds("istio/good.yaml", &good, &[FINE]);
    let text = good.replace("audience: a", "audience: 1").replace("FAIL_RELOAD", "FAIL_OPEN");
    let text = text.replace("name: SECRET", "name: OTHER");
    let lines = [
        ("failStrategy", "warning: FAIL_OPEN: after a crash, requests bypass the filter"),
        (
            "env: SECRET",
            "error: inbound.introspection.client_secret.env: environment variable `SECRET`",
        ),
        ("audience", "error: inbound.audience: expected an audience"),
    ];
    let (found, status) = check(&file("istio/bad.yaml", &text));
    assert_eq!((found.len(), status), (4, 1), "{found:?}");
    for (found, (place, said)) in found.iter().zip(lines) {
        let line = format!("{}: {said}", at(&text, place));
        assert!(found.starts_with(&line), "{line}: {found}");
    }
    // One of Lua is not of the filter.
    let lua = "apiVersion: extensions.istio.io/v1alpha1
kind: TrafficExtension
spec: { lua: { inlineCode: '' } }
";
    let ran = run([std::ffi::OsStr::new("check"), file("istio/lua.yaml", lua).as_os_str()]);
    assert_eq!(ran.status, 2, "{}", ran.out);
}

#[test]
fn inbound_in_client_mode_is_warned_of() {
    for kind in KINDS {
        for (spec, document, is_warned) in [
            ("match: [{ mode: CLIENT }]", INBOUND, true),
            ("match: [{ mode: CLIENT, ports: [{ number: 80 }] }]", INBOUND, true),
            (
                "match: [{ mode: CLIENT }]\ntargetRefs: [{ kind: Service, name: orders }]",
                INBOUND,
                true,
            ),
            ("match: [{ mode: SERVER }]", INBOUND, false),
            ("match: [{ mode: CLIENT }, { mode: SERVER }]", INBOUND, false),
            ("match: [{ mode: CLIENT }]", OUTBOUND, false),
        ] {
            let text = object(kind, spec, document);
            if is_warned {
                let line = format!(
                    "{}: warning: mode: CLIENT with `inbound`: neither a sidecar nor a waypoint \
                     checks the requests that it receives, so everyone is allowed; use \
                     `mode: SERVER` for a sidecar, and no `match` for a gateway or waypoint",
                    at(&text, "mode: CLIENT")
                );
                finds("istio/client.yaml", &text, &[&line, "no errors, 1 warning"]);
            } else {
                finds("istio/server.yaml", &text, &[FINE]);
            }
        }
    }
}

#[test]
fn inbound_in_server_mode_is_warned_of_at_gateways() {
    let name = "gateway.networking.k8s.io/gateway-name";
    for kind in KINDS {
        for (target, document, is_warned) in [
            ("targetRefs: [{ kind: Gateway, name: web }]", INBOUND, true),
            ("selector: { matchLabels: { istio: ingressgateway } }", INBOUND, true),
            (&format!("selector: {{ matchLabels: {{ {name}: web }} }}"), INBOUND, true),
            ("targetRefs: [{ kind: Gateway, name: web }]", OUTBOUND, false),
            // At a waypoint it is the mode that works.
            ("targetRefs: [{ kind: Gateway, name: waypoint }]", INBOUND, false),
            ("targetRefs: [{ kind: Service, name: orders }]", INBOUND, false),
            (&format!("selector: {{ matchLabels: {{ {name}: waypoint }} }}"), INBOUND, false),
            ("selector: { matchLabels: { app: orders } }", INBOUND, false),
        ] {
            let text = object(kind, &format!("{target}\nmatch: [{{ mode: SERVER }}]"), document);
            let (lines, _) = check(&file("istio/gateway.yaml", &text));
            let line = format!(
                "{}: warning: mode: SERVER with `inbound`: a gateway does not run the filter, so \
                 everyone is allowed; remove `match`",
                at(&text, "mode: SERVER")
            );
            assert_eq!(lines.contains(&line), is_warned, "{target}: {lines:?}");
            assert_eq!(lines.len(), 1 + usize::from(is_warned), "{target}: {lines:?}");
        }
    }
}

#[test]
fn no_mode_is_warned_of_but_for_gateways_and_waypoints() {
    for kind in KINDS {
        for (spec, is_warned) in [
            ("", true),
            ("selector: { matchLabels: { app: orders } }", true),
            ("match: [{ mode: CLIENT_AND_SERVER }]", true),
            ("targetRefs: []", true),
            ("targetRefs: [{ kind: Gateway, name: web }]", false),
            ("targetRefs: [{ kind: Service, name: orders }]", false),
            ("selector: { matchLabels: { istio: ingressgateway } }", false),
            ("selector: { matchLabels: { gateway.networking.k8s.io/gateway-name: web } }", false),
        ] {
            let (lines, _) = check(&file("istio/mode.yaml", &object(kind, spec, INBOUND)));
            let found = lines[0].contains("warning: no mode: the sidecar runs the filter on both");
            assert_eq!(found, is_warned, "{spec}: {lines:?}");
            assert_eq!(lines.len(), 1 + usize::from(is_warned), "{spec}: {lines:?}");
        }
    }
}

/// Checks a plugin and an extension in a file each: whether one of them is warned of.
fn is_repeated(name: &str, objects: [&str; 2]) -> bool {
    let files: [PathBuf; 2] = [0, 1].map(|n| file(&format!("istio/{name}-{n}.yaml"), objects[n]));
    let ran = run(["check".as_ref(), files[0].as_os_str(), files[1].as_os_str()]);
    let line = format!(
        "{}:5:3: warning: WasmPlugin shop/guard runs the filter in the same proxies: the second \
         filter finds no token, and rejects all requests with 401; delete one of the two objects\n",
        files[1].display()
    );
    let is_warned = ran.out.contains("runs the filter in the same proxies");
    assert_eq!((ran.out.contains(&line), ran.status), (is_warned, 0), "{}", ran.out);
    is_warned
}

#[test]
fn a_plugin_and_an_extension_for_the_same_workload_are_warned_of() {
    let server = "match: [{ mode: SERVER }]";
    let orders = format!("{server}\nselector: {{ matchLabels: {{ app: orders }} }}");
    let more = format!("{server}\nselector: {{ matchLabels: {{ app: orders, tier: web }} }}");
    let other = format!("{server}\nselector: {{ matchLabels: {{ app: billing }} }}");
    let web = "targetRefs: [{ kind: Gateway, name: web }]";
    let back = "targetRefs: [{ kind: Gateway, name: back }]";
    for (name, plugin, extension, expected) in [
        ("same", &*orders, &*orders, true),
        ("all", server, &*orders, true),
        ("some", &*more, &*orders, true),
        ("other", &*other, &*orders, false),
        ("target", web, web, true),
        ("targets", web, back, false),
        ("kinds", &*orders, web, false),
    ] {
        let objects = [("WasmPlugin", plugin), ("TrafficExtension", extension)];
        let [plugin, extension] = objects.map(|(kind, spec)| object(kind, spec, INBOUND));
        assert_eq!(is_repeated(name, [&*plugin, &*extension]), expected, "{name}");
        let elsewhere = extension.replace("namespace: shop", "namespace: store");
        assert!(!is_repeated(name, [&*plugin, &*elsewhere]), "{name}");
    }
    // One for each direction.
    let plugin = object("WasmPlugin", server, INBOUND);
    let extension = object("TrafficExtension", "match: [{ mode: CLIENT }]", OUTBOUND);
    assert!(!is_repeated("directions", [&*plugin, &*extension]));
    // Several plugins are of those who wrote them.
    assert!(!is_repeated("plugins", [&*plugin, &*plugin]));
}
