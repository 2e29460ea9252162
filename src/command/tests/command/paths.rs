//! `check`: whether the proxy brings paths into one form before the filter reads them.

use serde_json::{Value, json};

use crate::check::{FINE, at, check, finds};
use crate::{file, indented, root, run};

/// A document whose rules have paths.
const PATHS: &str = r#"{"inbound": {"introspection": {"endpoint": "https://as.test/", "cluster": "as", "client_id": "rs", "client_secret": {"env": "S"}}, "audience": "a", "rules": [{"paths": ["/a"], "scope": "a"}]}}"#;

/// The same without.
const NO_PATHS: &str = r#"{"inbound": {"introspection": {"endpoint": "https://as.test/", "cluster": "as", "client_id": "rs", "client_secret": {"env": "S"}}, "audience": "a", "rules": [{"methods": ["GET"], "scope": "a"}]}}"#;

/// One that serves a document at a path.
const METADATA: &str = r#"{"inbound": {"introspection": {"endpoint": "https://as.test/", "cluster": "as", "client_id": "rs", "client_secret": {"env": "S"}}, "audience": "a", "resource_metadata": {"resource": "https://api.test/mcp", "authorization_servers": ["https://as.test"]}}}"#;

/// A client, and a rule for it with paths.
const OUTBOUND: &str = r#"{"outbound": {"clients": {"a": {"grant_type": "direct_token", "access_token": {"env": "S"}}}, "rules": [{"hosts": ["a.test"], "paths": ["/a/**"], "client": "a"}]}}"#;

/// What is said where nothing brings paths into one form.
const LACKING: [&str; 3] = [
    "the HttpConnectionManager lacks `normalize_path: true`: Envoy leaves `/./` and `/../` in \
     paths, and the filter rejects them with 400 (oauth2_bad_path) if rules have `paths`",
    "the HttpConnectionManager lacks `merge_slashes: true`: Envoy leaves `//` in paths, and the \
     filter rejects them with 400 (oauth2_bad_path) if rules have `paths`",
    "the HttpConnectionManager lacks `path_with_escaped_slashes_action: REJECT_REQUEST`: Envoy \
     leaves `%2F` and `%5C` in paths, and the filter rejects them with 400 (oauth2_bad_path) if \
     rules have `paths`",
];

/// A filter of Envoy with a document.
fn filter(document: &str) -> String {
    format!(
        "- name: oauth2
  typed_config:
    \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
    config:
      name: oauth2_filter
      vm_config: {{ environment_variables: {{ host_env_keys: [S] }} }}
      configuration:
        \"@type\": type.googleapis.com/google.protobuf.StringValue
        value: '{document}'
"
    )
}

/// A listener by itself, as a file for discovery has it, with these fields in what reads HTTP.
pub(crate) fn listener(fields: &str, filters: &str) -> String {
    format!(
        "resources:
  - \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener
    name: in
    filter_chains:
      - filters:
          - name: http
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
{}              http_filters:
{}",
        indented(fields, 14),
        indented(filters, 16),
    )
}

#[test]
fn what_an_http_connection_manager_lacks_is_told_at_its_place() {
    let all = "normalize_path: true\nmerge_slashes: true\npath_with_escaped_slashes_action: ";
    let action = |name: &str| format!("{all}{name}");
    let manager = "\"@type\": type.googleapis.com/envoy.extensions.filters.network.";
    let [normalize, merge, escaped] = [0, 1, 2].map(|n| (manager, n));
    for (fields, found) in [
        (String::new(), vec![normalize, merge, escaped]),
        (action("REJECT_REQUEST"), vec![]),
        (action("UNESCAPE_AND_REDIRECT"), vec![]),
        (action("UNESCAPE_AND_FORWARD"), vec![]),
        (action("2"), vec![]),
        (action("4"), vec![]),
        (action("1"), vec![("path_with", 2)]),
        (action("0"), vec![("path_with", 2)]),
        (action("5"), vec![("path_with", 2)]),
        (action("KEEP_UNCHANGED"), vec![("path_with", 2)]),
        (action("IMPLEMENTATION_SPECIFIC_DEFAULT"), vec![("path_with", 2)]),
        (action("REJECT_REQUEST").replace("path: true", "path: false"), vec![("normalize", 0)]),
        (action("REJECT_REQUEST").replace("slashes: true", "slashes: false"), vec![("merge_", 1)]),
        ("normalize_path: true\nmerge_slashes: yes".to_owned(), vec![escaped]),
        ("normalizePath: true\nmergeSlashes: true".to_owned(), vec![escaped]),
        ("pathWithEscapedSlashesAction: REJECT_REQUEST".to_owned(), vec![normalize, merge]),
        (
            "normalize_path: false\nmerge_slashes: false\n\
             path_with_escaped_slashes_action: KEEP_UNCHANGED"
                .to_owned(),
            vec![("normalize", 0), ("merge_", 1), ("path_with", 2)],
        ),
    ] {
        for document in [PATHS, METADATA, OUTBOUND] {
            let text = listener(&fields, &filter(document));
            let lines = found
                .iter()
                .map(|(place, n)| format!("{}: warning: {}", at(&text, place), LACKING[*n]));
            let count = match found.len() {
                0 => FINE.to_owned(),
                1 => "no errors, 1 warning".to_owned(),
                count => format!("no errors, {count} warnings"),
            };
            let lines: Vec<String> = lines.chain([count]).collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            finds("paths/manager.yaml", &text, &lines);
        }
        // Without rules for paths, the filter looks at none.
        finds("paths/none.yaml", &listener(&fields, &filter(NO_PATHS)), &[FINE]);
    }
}

#[test]
fn what_the_filter_is_to_keep_must_reach_it() {
    let keep = PATHS.replace(r#""audience""#, r#""encoded_slash": "keep", "audience""#);
    let own = "`%2F` is allowed in paths; some services take it for a slash, others do not";
    for (action, is_warned) in [
        ("KEEP_UNCHANGED", false),
        ("IMPLEMENTATION_SPECIFIC_DEFAULT", false),
        ("REJECT_REQUEST", true),
        ("UNESCAPE_AND_FORWARD", true),
    ] {
        let fields = format!(
            "normalize_path: true\nmerge_slashes: true\npath_with_escaped_slashes_action: {action}"
        );
        let (lines, _) = check(&file("paths/keep.yaml", &listener(&fields, &filter(&keep))));
        let rest: Vec<&String> = lines.iter().filter(|line| !line.contains(own)).collect();
        assert_eq!(lines.len() - rest.len(), 1, "{lines:?}");
        let warned = "warning: `path_with_escaped_slashes_action` rejects or decodes `%2F` before \
                      the filter, so that `encoded_slash` has no effect; use KEEP_UNCHANGED";
        assert_eq!(rest[0].contains(warned), is_warned, "{action}: {rest:?}");
        assert_eq!(rest.len(), if is_warned { 2 } else { 1 }, "{action}: {rest:?}");
    }
    let (lines, _) = check(&file("paths/keep.yaml", &listener("", &filter(&keep))));
    let lacking = lines.iter().filter(|line| line.contains("lacks"));
    assert_eq!(lacking.count(), 2, "{lines:?}");
}

/// How often a file is warned of what reads HTTP.
fn warnings(name: &str, text: &str) -> usize {
    let (lines, _) = check(&file(name, text));
    assert!(!lines.iter().any(|line| line.contains(" error: ")), "{lines:?}");
    lines.iter().filter(|line| line.contains("the HttpConnectionManager lacks")).count()
}

#[test]
fn what_reads_http_is_found_around_the_filter_and_nowhere_else() {
    let (with, without) = (filter(PATHS), filter(NO_PATHS));
    let router = |upstream: &str| {
        format!(
            "- name: router
  typed_config:
    \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
    upstream_http_filters:
{}",
            indented(upstream, 6)
        )
    };
    let cluster = format!(
        "{}  - \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster
    name: up
    typed_extension_protocol_options:
      http:
        http_filters:
{}",
        listener("", &without),
        indented(&with, 10)
    );
    let plain: Value = json!({"filters": [{"typedConfig": {
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "typeUrl": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "value": {"mergeSlashes": true, "httpFilters": [{"name": "a", "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": "oauth2_filter",
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": OUTBOUND.replace(r#"{"env": "S"}"#, "\"S\""),
                },
            },
        }}]},
    }}]});
    for (name, text, count) in [
        // Both filters are in the same one.
        ("twice.yaml", listener("", &(with.clone() + &with)), 3),
        ("second.yaml", listener("", &(without.clone() + &with)), 3),
        ("both.yaml", listener("", &with) + &listener("merge_slashes: true", &with)[11..], 5),
        ("router.yaml", listener("", &router(&with)), 3),
        ("struct.json", json!({ "filter_chains": [plain] }).to_string(), 2),
        ("cluster.yaml", cluster, 0),
        ("alone.yaml", format!("resources:\n{with}"), 0),
    ] {
        assert_eq!(warnings(&format!("paths/{name}"), &text), count, "{name}");
    }
}

/// A manifest that puts the filter into a sidecar.
fn plugin(document: &str) -> String {
    format!(
        "apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {{ name: guard }}
spec:
  url: oci://registry.test/oauth2-filter:0.1.0
  match: [{{ mode: SERVER }}]
  vmConfig: {{ env: [{{ name: S, valueFrom: HOST }}] }}
  pluginConfig: {document}
"
    )
}

/// A manifest that patches what reads HTTP in a sidecar.
fn patch(document: &str) -> String {
    let listener = listener("", &filter(document));
    let (_, manager) = listener.split_once("typed_config:\n").expect("what reads HTTP");
    format!(
        "apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{ name: patch }}
spec:
  configPatches:
    - applyTo: NETWORK_FILTER
      patch:
        value:
          typed_config:
{manager}"
    )
}

#[test]
fn a_mesh_that_leaves_paths_as_they_come_is_warned_of_beside_the_filter() {
    let base = "`//`, `%2F` and `%5C`";
    let none = "`/./`, `/../`, `//`, `%2F` and `%5C`";
    let operator = "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec:\n  meshConfig:\n    \
                    pathNormalization:\n      normalization: BASE\n";
    let mesh_of_sail = "apiVersion: sailoperator.io/v1\nkind: Istio\nspec:\n  values:\n    meshConfig:\n      \
                pathNormalization: { normalization: NONE }\n";
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: istio }\ndata:\n  mesh: |-\n    \
               rootNamespace: istio-system\n    pathNormalization:\n      normalization: NONE\n";
    let joined = "apiVersion: v1\nkind: ConfigMap\ndata: { mesh: \"pathNormalization:\\n  normalization: NONE\" }\n";
    let values = "meshConfig:\n  accessLogFile: /dev/stdout\n  pathNormalization:\n    normalization: DEFAULT\n";
    let config = "pathNormalization:\n  normalization: BASE\n";
    for (name, mesh, place, left) in [
        ("operator", operator, "normalization:", Some(base)),
        ("sail", mesh_of_sail, "normalization:", Some(none)),
        ("map", map, "normalization:", Some(none)),
        ("joined", joined, "\"pathNormalization", Some(none)),
        ("values", values, "normalization:", Some(base)),
        ("config", config, "normalization:", Some(base)),
        ("merged", &operator.replace("BASE", "MERGE_SLASHES"), "", None),
        ("decoded", &operator.replace("BASE", "DECODE_AND_MERGE_SLASHES"), "", None),
        ("silent", "meshConfig:\n  accessLogFile: /dev/stdout\n", "", None),
        ("other", "apiVersion: v1\nkind: ConfigMap\ndata: { mesh: '[' }\n", "", None),
    ] {
        let said = |text: &str| {
            let left = left.expect("something is left");
            format!(
                "{}: warning: pathNormalization: Istio leaves {left} in paths, and the filter \
                 rejects them with 400 (oauth2_bad_path) if rules have `paths`; use \
                 DECODE_AND_MERGE_SLASHES",
                at(text, place)
            )
        };
        for (way, document, is_read) in [
            (plugin as fn(&str) -> String, PATHS, true),
            (plugin, NO_PATHS, false),
            (patch, PATHS, true),
        ] {
            let is_warned = is_read && left.is_some();
            // In one file, or in another one.
            let text = format!("{}---\n{mesh}", way(document));
            let line = is_warned.then(|| said(&text));
            let lines: Vec<&str> = match &line {
                Some(line) => vec![line, "no errors, 1 warning"],
                None => vec![FINE],
            };
            finds(&format!("paths/{name}.yaml"), &text, &lines);
            let files = [("manifest", &*way(document)), ("mesh", mesh)]
                .map(|(part, text)| file(&format!("paths/{name}-{part}.yaml"), text));
            let ran = run(["check".as_ref(), files[1].as_os_str(), files[0].as_os_str()]);
            let line = is_warned.then(|| said(mesh));
            let found = line.as_ref().is_some_and(|line| ran.out.contains(line));
            assert_eq!((found, ran.status), (is_warned, 0), "{name}: {}", ran.out);
            assert_eq!(ran.out.contains("pathNormalization: Istio"), is_warned, "{}", ran.out);
        }
        // The settings of a mesh are no document of the filter.
        let ran = run(["check".as_ref(), file("paths/alone.yaml", mesh).as_os_str()]);
        assert!(ran.out.ends_with("alone.yaml: no configuration of the filter\n"), "{}", ran.out);
    }
}

#[test]
fn every_example_has_what_the_filter_relies_on() {
    let folder = root().join("envoy");
    let files = folder.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path());
    let files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect();
    assert!(files.len() >= 11, "{files:?}");
    let mut examples: Vec<String> =
        files.iter().map(|path| std::fs::read_to_string(path).expect("an example")).collect();
    examples.push(run(["new", "both"]).out);
    for text in &examples {
        let managers = text.split("HttpConnectionManager\n").skip(1);
        for manager in managers.filter(|manager| {
            // One that only copies requests to the filter changes none of them.
            !manager.contains("request_mirror_policies")
        }) {
            let (fields, _) = manager.split_once("http_filters:").expect("its filters");
            for field in [
                "\n                normalize_path: true\n",
                "\n                merge_slashes: true\n",
                "\n                path_with_escaped_slashes_action: REJECT_REQUEST\n",
            ] {
                assert!(fields.contains(field), "{field}{text}");
            }
        }
    }
    // Istio has no such settings in a manifest, so that each says what its mesh needs.
    let mut manifests = vec![run(["new", "both", "--istio"]).out];
    for name in ["inbound", "outbound", "outbound-retry"] {
        let path = folder.join(format!("istio/{name}.yaml"));
        manifests.push(std::fs::read_to_string(path).expect("an example"));
    }
    for text in manifests {
        assert!(text.contains("DECODE_AND_MERGE_SLASHES"), "{text}");
    }
}
