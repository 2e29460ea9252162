//! The manifests against the custom resource definitions that Istio publishes (`make istio`).
//!
//! What definitions say in CEL is not checked: the package that has them leaves it out. It is of
//! Istio 1.29, which has no `TrafficExtension`: its fields are checked as those of a `WasmPlugin`.

use std::collections::BTreeMap;

use oauth2_filter_testbed::definitions::mistakes;
use serde_json::{Value, json};

use crate::manifests::{
    INBOUND_PLUGIN, OUTBOUND_RETRY, PROTECTED_SERVICE, files, flattened, object, objects, printed,
};

#[test]
#[ignore = "needs Node.js and npm: make istio"]
fn every_manifest_is_as_istio_defines_it() {
    let manifests = files().into_iter().flat_map(|file| {
        let objects = objects(&file).into_iter();
        objects.map(move |object| (format!("{file}: {}", object["kind"]), as_plugin(object)))
    });
    let manifests: BTreeMap<_, _> = manifests.collect();
    assert_eq!(manifests.len(), 11);
    for (name, mistakes) in check(&manifests) {
        assert!(mistakes.is_empty(), "{name}: {mistakes:#?}");
    }
}

#[test]
#[ignore = "needs Node.js and npm: make istio"]
fn manifests_to_start_with_are_as_istio_defines_them() {
    let named =
        |object: Value| (format!("{} {}", object["kind"], object["metadata"]["name"]), object);
    let manifests: BTreeMap<_, _> = printed().into_iter().map(as_plugin).map(named).collect();
    assert_eq!(manifests.len(), 4);
    for (name, mistakes) in check(&manifests) {
        assert!(mistakes.is_empty(), "{name}: {mistakes:#?}");
    }
}

#[test]
#[ignore = "needs Node.js and npm: make istio"]
fn the_definitions_refuse_what_istio_does_not_know() {
    let plugin = object(INBOUND_PLUGIN, "WasmPlugin");
    let entry = object(PROTECTED_SERVICE, "ServiceEntry");
    let rule = object(PROTECTED_SERVICE, "DestinationRule");
    let filter = object(OUTBOUND_RETRY, "EnvoyFilter");
    let service = object(OUTBOUND_RETRY, "VirtualService");
    let wrong = [
        (&plugin, "/spec/failStrategy", json!("FAIL_CLOSED")),
        (&plugin, "/spec/failStrategi", json!("FAIL_RELOAD")),
        (&plugin, "/spec/sha256", json!("sha256:00")),
        (&plugin, "/spec/url", json!("")),
        (&plugin, "/spec/match/0/mode", json!("INBOUND")),
        (&plugin, "/spec/vmConfig/env/0/valuefrom", json!("HOST")),
        (&plugin, "/spec/vmConfig/env/0/value", json!("x".repeat(2049))),
        (&plugin, "/apiVersion", json!("extensions.istio.io/v1")),
        (&entry, "/spec/ports/0/number", json!(-1)),
        (&entry, "/spec/resolution", json!("dns")),
        (&rule, "/spec/trafficPolicy/tls/mode", json!("TLS")),
        (&rule, "/spec/trafficPolicy/tls/subjectAltName", json!("billing.example.com")),
        (&filter, "/spec/configPatches/0/applyTo", json!("CLUSTERS")),
        (&filter, "/spec/configPatches/0/match/cluster/port", json!(80)),
        (&service, "/spec/http/0/retries/attempts", json!("1")),
        (&service, "/spec/http/0/timeout", json!(15)),
    ];
    let manifests = wrong.into_iter().map(|(manifest, place, value)| {
        let mut manifest = manifest.clone();
        let (parent, name) = place.rsplit_once('/').expect("a place");
        let name_of_mistake = format!("{place}: {value:.80}");
        manifest.pointer_mut(parent).expect("what is there")[name] = value;
        (name_of_mistake, manifest)
    });
    let manifests: BTreeMap<_, _> = manifests.collect();
    assert_eq!(manifests.len(), 16);
    let missed = check(&manifests).into_iter().filter(|(_, mistakes)| mistakes.is_empty());
    let missed: Vec<_> = missed.map(|(mistake, _)| mistake).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

/// A `TrafficExtension` as a `WasmPlugin`; any other object as it is.
fn as_plugin(object: Value) -> Value {
    if object["kind"] == "TrafficExtension" { flattened(&object) } else { object }
}

/// The mistakes of each manifest; panics if what `make istio` installs is not there.
fn check(manifests: &BTreeMap<String, Value>) -> BTreeMap<String, Vec<String>> {
    mistakes("istio-schemas", "istio", manifests)
}
