//! The manifests for Istio and Envoy Gateway: their documents load, and their parts fit together.

use std::fs;
use std::process::Command;

use oauth2_filter_testbed::envoy;
use oauth2_filter_testbed::tls::{Authority, certificate_files};
use serde_json::{Value, json};

use crate::{files_below, load, root, yaml};

/// The certificates that the proxies of Envoy Gateway trust.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The objects of all manifests in a folder, each with its file.
fn objects(folder: &str) -> Vec<(String, Value)> {
    let files = files_below(&root().join(folder), "yaml");
    let objects = files.iter().flat_map(|file| {
        let text = fs::read_to_string(file).expect("a file of text");
        let objects = yaml::documents(&text).expect("YAML");
        objects.into_iter().map(|object| (file.display().to_string(), object))
    });
    objects.collect()
}

/// The objects of a kind in `envoy/gateway`, each with its file.
fn of_kind(kind: &str) -> Vec<(String, Value)> {
    let objects = objects("envoy/gateway").into_iter();
    objects.filter(|(_, object)| object["kind"] == kind).collect()
}

/// The filter in an `EnvoyExtensionPolicy`: the WebAssembly module or the dynamic module.
fn extension(policy: &Value) -> &Value {
    let spec = &policy["spec"];
    let extensions = spec.get("wasm").or_else(|| spec.get("dynamicModule"));
    let [extension] = extensions.and_then(Value::as_array).expect("a list").as_slice() else {
        panic!("{policy}");
    };
    extension
}

/// What the proxies of a Gateway are made from for the policy in this file.
fn proxy(gateway: &str, file: &str) -> Value {
    let named = |kind: &str, name: &Value| {
        let mut found = of_kind(kind);
        found.retain(|(_, object)| object["metadata"]["name"] == *name);
        // The one in the same file takes the place of the other.
        found.sort_by_key(|(of, _)| of != file);
        found.into_iter().next().unwrap_or_else(|| panic!("no {kind} {name}")).1
    };
    let gateway = named("Gateway", &gateway.into());
    named("EnvoyProxy", &gateway["spec"]["infrastructure"]["parametersRef"]["name"])
}

/// What Envoy Gateway adds to the bootstrap of these proxies.
fn bootstrap(proxy: &Value) -> Value {
    assert_eq!(proxy["spec"]["bootstrap"]["type"], "Merge");
    let text = proxy["spec"]["bootstrap"]["value"].as_str().expect("a text");
    let [bootstrap] = yaml::documents(text).expect("YAML").try_into().expect("one document");
    bootstrap
}

#[test]
fn the_document_of_every_manifest_loads() {
    let mut documents = Vec::new();
    for (file, object) in objects("envoy/istio").into_iter().chain(objects("envoy/gateway")) {
        let spec = &object["spec"];
        match object["kind"].as_str().expect("a kind") {
            "TrafficExtension" => documents.push((file, spec["wasm"]["pluginConfig"].clone())),
            "WasmPlugin" => documents.push((file, spec["pluginConfig"].clone())),
            "EnvoyExtensionPolicy" => documents.push((file, extension(&object)["config"].clone())),
            _ => {}
        }
    }
    assert_eq!(documents.len(), 7);
    for (file, document) in documents {
        if let Err(mistakes) = load(document.to_string().as_bytes()) {
            panic!("{file}: {mistakes}");
        }
    }
}

#[test]
fn a_placeholder_of_a_digest_is_a_string_when_it_is_put_in() {
    for folder in ["envoy/istio", "envoy/gateway"] {
        for file in files_below(&root().join(folder), "yaml") {
            let text =
                fs::read_to_string(&file).expect("a file of text").replace("# sha256", "sha256");
            for line in text.lines().filter(|line| line.trim().starts_with("sha256:")) {
                let [digest] = yaml::documents(line.trim()).expect("YAML").try_into().expect("one");
                let digest = digest["sha256"].as_str().unwrap_or_else(|| panic!("{line}"));
                assert_eq!(digest.len(), 64, "{}", file.display());
            }
        }
    }
}

#[test]
fn a_policy_of_envoy_gateway_is_closed_by_default_and_has_what_it_names() {
    let policies = of_kind("EnvoyExtensionPolicy");
    assert_eq!(policies.len(), 3);
    for (file, policy) in &policies {
        let [target] = policy["spec"]["targetRefs"].as_array().expect("targets").as_slice() else {
            panic!("{policy}");
        };
        assert_eq!(target["kind"], "Gateway", "on a route it is open while the listener warms");
        let proxy = proxy(target["name"].as_str().expect("a name"), file);
        let cluster = bootstrap(&proxy)["static_resources"]["clusters"][0]["name"].clone();
        let kubernetes = &proxy["spec"]["provider"]["kubernetes"];
        let variables = kubernetes["envoyDeployment"]["container"]["env"].as_array();
        let variables: Vec<_> =
            variables.expect("variables").iter().map(|variable| &variable["name"]).collect();
        let extension = extension(policy);
        assert_eq!(extension.get("failOpen"), None);
        let document = extension["config"].to_string();
        assert!(document.contains(&format!(r#""cluster":{cluster}"#)), "{document}");
        for variable in &variables {
            assert!(document.contains(&json!({"env": variable}).to_string()), "{document}");
        }
        if policy["spec"].get("wasm").is_some() {
            let handed_over = extension["env"]["hostKeys"].as_array().expect("variables");
            assert_eq!(handed_over.iter().collect::<Vec<_>>(), variables);
        }
    }
}

#[test]
fn the_dynamic_module_of_envoy_gateway_is_one_file_that_is_mounted_with_the_rest_as_for_the_other()
{
    let file = |name: &str| root().join("envoy/gateway").join(name).display().to_string();
    let (native, inbound) = (file("native.yaml"), file("inbound.yaml"));
    let policy = |wanted: &str| {
        let mut policies = of_kind("EnvoyExtensionPolicy").into_iter();
        policies.find(|(file, _)| file == wanted).expect("a policy").1
    };
    let (other, policy) = (policy(&inbound), policy(&native));
    assert_eq!(policy["metadata"], other["metadata"], "it takes the place of the other");
    assert_eq!(extension(&policy)["config"], extension(&other)["config"]);
    let proxy_of = |file: &str| proxy("web", file);
    let (other, proxy) = (proxy_of(&inbound), proxy_of(&native));
    let [module] = proxy["spec"]["dynamicModules"].as_array().expect("modules").as_slice() else {
        panic!("{proxy}");
    };
    assert_eq!(module["name"], extension(&policy)["name"]);
    assert_eq!((&module["source"]["type"], &module["doNotClose"]), (&json!("Local"), &json!(true)));
    let path = &module["source"]["local"]["path"];
    let deployment = &proxy["spec"]["provider"]["kubernetes"]["envoyDeployment"];
    let mount = &deployment["container"]["volumeMounts"][0];
    assert_eq!(deployment["pod"]["volumes"][0]["name"], mount["name"]);
    let folder = mount["mountPath"].as_str().expect("a folder");
    assert_eq!(path, &json!(format!("{folder}/liboauth2_filter.so")));
    let (own, other) = (bootstrap(&proxy), bootstrap(&other));
    let extension = &own["bootstrap_extensions"][0]["typed_config"]["dynamic_module_config"];
    assert_eq!(extension["module"]["local"]["filename"], *path);
    assert_eq!(own["static_resources"], other["static_resources"]);
}

#[test]
fn the_second_lock_asks_for_a_header_that_only_the_filter_can_set() {
    let [(_, policy)] = of_kind("SecurityPolicy").try_into().expect("one policy");
    let [(_, clients)] = of_kind("ClientTrafficPolicy").try_into().expect("one policy");
    let mut guards = of_kind("EnvoyExtensionPolicy");
    guards.retain(|(_, guard)| !extension(guard)["config"]["inbound"].is_null());
    assert_eq!(guards.len(), 2);
    for ((_, guard), other) in guards.iter().flat_map(|guard| [(guard, &policy), (guard, &clients)])
    {
        assert_eq!(other["spec"]["targetRefs"], guard["spec"]["targetRefs"]);
    }
    let authorization = &policy["spec"]["authorization"];
    assert_eq!(authorization["defaultAction"], "Deny");
    let [rule] = authorization["rules"].as_array().expect("rules").as_slice() else {
        panic!("{authorization}");
    };
    let [header] = rule["principal"]["headers"].as_array().expect("headers").as_slice() else {
        panic!("{rule}");
    };
    assert_eq!(header["values"], json!(["true"]));
    let name = header["name"].as_str().expect("a name");
    assert_eq!(clients["spec"]["headers"]["earlyRequestHeaders"]["remove"], json!([name]));
    for (_, guard) in guards {
        let document = &extension(&guard)["config"]["inbound"];
        assert_eq!(document["forward"]["claims"][name], "active");
        // What needs no token has no such header.
        assert!(!document.to_string().contains(r#""access""#), "{document}");
    }
}

#[test]
fn the_second_lock_is_there_before_any_route_and_before_the_filter() {
    // Envoy accepts a listener as a whole: an invalid document keeps out what comes with it.
    let file = |name: &str| {
        let text = fs::read_to_string(root().join("envoy/gateway").join(name)).expect("a file");
        let objects = yaml::documents(&text).expect("YAML").into_iter();
        objects
            .map(|object| object["kind"].as_str().expect("a kind").to_owned())
            .collect::<Vec<_>>()
    };
    let closed = ["EnvoyProxy", "Gateway", "ClientTrafficPolicy", "SecurityPolicy", "HTTPRoute"];
    assert_eq!(file("gateway.yaml"), closed);
    assert_eq!(file("inbound.yaml"), ["EnvoyExtensionPolicy"]);
    assert_eq!(file("native.yaml"), ["EnvoyProxy", "EnvoyExtensionPolicy"]);
}

#[test]
fn envoy_takes_what_envoy_gateway_adds_to_its_bootstrap() {
    let observed = fs::read_to_string(root().join("envoy/inbound-observed.yaml")).expect("a file");
    let observed = &yaml::documents(&observed).expect("YAML")[0]["stats_config"];
    let authority = Authority::new();
    let certificates = certificate_files(&authority.issue("as.example.com"), &authority);
    for gateway in ["web", "egress"] {
        let bootstrap = bootstrap(&proxy(gateway, ""));
        assert_eq!(&bootstrap["stats_config"], observed, "{gateway}");
        let cluster = bootstrap["static_resources"]["clusters"][0].to_string();
        for part in [r#""sni":"as.example.com""#, r#"{"exact":"as.example.com"}"#, AUTHORITIES] {
            assert!(cluster.contains(part), "{gateway}: {part}");
        }
        let trusted = certificates.path().join("clients-ca.pem").display().to_string();
        let output = Command::new(envoy::binary())
            .args(["--mode", "validate", "--log-level", "warning", "--config-yaml"])
            .arg(bootstrap.to_string().replace(AUTHORITIES, &trusted))
            .output()
            .expect("Envoy runs");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{gateway}\n{log}");
    }
}
