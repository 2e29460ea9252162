//! What the command says of documents, and what the filter in Envoy does with them.

use oauth2_filter_testbed::envoy::{Bootstrap, Envoy, Listener, Options, WasmPlugin, binary};
use serde_json::{Value, json};
use std::process::Command;

use crate::documents::{self, Row, document};
use crate::{exchanges, file, indented, root, run, run_with};

/// The filter that is updated.
const FILTER: &str = "oauth2";

/// Documents without mistakes.
pub fn good() -> Vec<Value> {
    let mut good = vec![documents::good(), documents::every_inbound_key()];
    good.push(documents::jwt(documents::entry(json!({}))));
    good.push(documents::jwt(documents::entry(json!({"jwks_uri": null}))));
    good.extend(documents::good_clients().into_iter().map(document));
    good.extend(exchanges::table().iter().map(|exchange| exchange.document("x")));
    let pages =
        [include_str!("../../../../README.md"), include_str!("../../../../docs/migration.md")];
    let rest = pages.iter().flat_map(|page| page.split("```json\n").skip(1));
    let blocks = rest.map(|rest| rest.split("```").next().expect("the end of a block"));
    good.extend(blocks.map(|block| serde_json::from_str(block).expect("JSON")));
    good.iter().map(with_real_keys).collect()
}

/// Documents with mistakes.
pub fn bad() -> Vec<Value> {
    let of_clients = |rows: Vec<Row>| rows.into_iter().map(|(client, ..)| document(client));
    let mut bad: Vec<Value> =
        documents::inbound_mistakes().into_iter().map(|(document, _)| document).collect();
    bad.extend(documents::jwt_mistakes().into_iter().map(|(document, ..)| document));
    bad.extend(documents::rule_mistakes().into_iter().map(|(document, ..)| document));
    for rows in [
        documents::grant_mistakes(),
        documents::resource_mistakes(),
        documents::endpoint_mistakes(),
        documents::service_mistakes(),
        documents::url_mistakes(),
        documents::authentication_mistakes(),
        documents::assertion_mistakes(),
    ] {
        bad.extend(of_clients(rows));
    }
    // Envoy does sign.
    bad.retain(|document| !document.to_string().contains("\"no host\""));
    bad.iter().map(with_real_keys).collect()
}

/// The same with keys in the place of words that stand for some.
pub fn with_real_keys(document: &Value) -> Value {
    match document {
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                let key = match value.as_str() {
                    Some("rsa") => include_str!("../../../../tests/envoy/keys/rsa-pkcs8.pem"),
                    Some("elliptic s3cr3t") => {
                        include_str!("../../../../tests/envoy/keys/p256-pkcs8.pem")
                    }
                    _ => return (name.clone(), with_real_keys(value)),
                };
                (name.clone(), json!(key))
            };
            Value::Object(members.iter().map(member).collect())
        }
        Value::Array(elements) => elements.iter().map(with_real_keys).collect(),
        _ => document.clone(),
    }
}

/// The filter with this document, as text or as a `Struct`.
fn plugin(document: &Value, number: usize) -> WasmPlugin {
    let plugin = match number % 2 {
        0 => WasmPlugin::new(document),
        _ => WasmPlugin::with_struct(document),
    };
    with_environment(plugin).root_id(&name(number))
}

/// The same with the variables that the documents name.
fn with_environment(plugin: WasmPlugin) -> WasmPlugin {
    let secrets = ["SECRET", "ORDERS_API_SECRET", "MCP_SERVER_SECRET", "BILLING_SECRET"];
    secrets.iter().fold(plugin.env("EMPTY", ""), |plugin, name| plugin.env(name, "s3cr3t"))
}

/// What logs call the filter with this document.
fn name(number: usize) -> String {
    format!("document-{number}")
}

/// The file by which Envoy gets a filter's configuration.
fn discovery_file(plugin: &WasmPlugin) -> String {
    let resource = json!({
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": FILTER, "typed_config": plugin.typed_config(),
    });
    json!({"resources": [resource]}).to_string()
}

/// What the command says of these files: the mistakes of each, as the filter words them.
fn checked(files: impl IntoIterator<Item = String>) -> Vec<Vec<String>> {
    let files = files.into_iter().enumerate();
    let files = files.map(|(n, text)| file(&format!("corpus/{n}.json"), &text));
    let arguments = ["check", "--format", "json"].map(Into::into).into_iter().chain(files);
    let ran = run(arguments);
    let report: Value = serde_json::from_str(&ran.out).expect("a report in JSON");
    let mistakes = |file: &Value| {
        assert_eq!(file["uses"], 1, "{file}");
        let findings = file["findings"].as_array().expect("findings").iter();
        let mistakes = findings.filter(|finding| finding["level"] == "error");
        let said = |part: &Value| part.as_str().expect("text").to_owned();
        mistakes.map(|it| format!("{}: {}", said(&it["place"]), said(&it["text"]))).collect()
    };
    report["files"].as_array().expect("files").iter().map(mistakes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_accepted_loads_in_envoy_and_one_that_is_not_is_refused_in_the_same_words()
 {
    let good = good();
    let bad = bad();
    assert!(good.len() >= 100 && bad.len() >= 100, "{} {}", good.len(), bad.len());
    let plugins: Vec<_> =
        good.iter().chain(&bad).enumerate().map(|(n, document)| plugin(document, n)).collect();
    let said = checked(plugins.iter().map(discovery_file));
    assert_eq!(said.len(), plugins.len());

    let first = with_environment(WasmPlugin::new(&documents::good()));
    let listener = Listener::answering("in", 200, "");
    let bootstrap =
        Bootstrap::new().listener(listener.discovered_filter(FILTER, &first.typed_config()));
    let options = Options { concurrency: 1, ..Options::default() };
    let envoy = Envoy::start_with(bootstrap, &options).await.expect("Envoy with the filter");
    let mut wrong = Vec::new();
    for (number, (plugin, mistakes)) in plugins.iter().zip(&said).enumerate() {
        let is_taken = envoy.update_filter(FILTER, &plugin.typed_config()).await.is_ok();
        let log = envoy.log();
        let logged = log.lines().filter_map(|line| {
            let (head, text) = line.split_once(&format!("wasm log {} oauth2: ", name(number)))?;
            head.contains("[error]").then_some(text)
        });
        let logged: Vec<&str> = logged.collect();
        let is_good = number < good.len();
        let as_said = match logged.first() {
            None => mistakes.is_empty(),
            // The one message has them all, and nothing else.
            Some(text) => {
                mistakes.iter().all(|mistake| text.contains(mistake.as_str()))
                    && mistakes.join("; ").len() == text.len()
            }
        };
        if !as_said || is_taken != is_good || mistakes.is_empty() != is_good {
            wrong.push(format!("{number}: taken {is_taken}, said {mistakes:?}, logged {logged:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A value as text with the line of each place: one line for each key and element.
struct Written {
    lines: Vec<String>,
    /// The places, and the number of the line of each.
    places: Vec<(String, usize)>,
}

impl Written {
    /// A document in JSON.
    fn json(document: &Value) -> Self {
        let mut this = Self { lines: Vec::new(), places: Vec::new() };
        this.json_value(document, "", "", "");
        this
    }

    /// A manifest with the document.
    fn manifest(document: &Value) -> Self {
        let head = "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: { name: a }\n\
                    spec:\n  url: oci://registry.test/oauth2-filter:1\n  match: [{ mode: SERVER }]\n  \
                    vmConfig: { env: [{ name: SECRET, valueFrom: HOST }] }\n  pluginConfig:";
        let lines = head.lines().map(str::to_owned).collect();
        let mut this = Self { lines, places: Vec::new() };
        this.yaml_value(document, "", 4);
        this
    }

    fn json_value(&mut self, value: &Value, place: &str, before: &str, after: &str) {
        let mut all = |open: &str, close: &str, members: Vec<(String, String, &Value)>| {
            self.lines.push(format!("{before}{open}"));
            let count = members.len();
            for (n, (place, name, value)) in members.into_iter().enumerate() {
                self.places.push((place.clone(), self.lines.len() + 1));
                let after = if n + 1 < count { "," } else { "" };
                self.json_value(value, &place, &name, after);
            }
            self.lines.push(format!("{close}{after}"));
        };
        match value {
            Value::Object(members) => {
                let name = |name: &String| format!("{}: ", json!(name));
                let members = members.iter();
                all("{", "}", members.map(|(it, v)| (join(place, it), name(it), v)).collect());
            }
            Value::Array(list) => {
                let list = list.iter().enumerate();
                all(
                    "[",
                    "]",
                    list.map(|(n, v)| (format!("{place}[{n}]"), String::new(), v)).collect(),
                );
            }
            _ => self.lines.push(format!("{before}{value}{after}")),
        }
    }

    fn yaml_value(&mut self, value: &Value, place: &str, indent: usize) {
        let line = match value {
            Value::Object(members) if !members.is_empty() => {
                for (name, value) in members {
                    let place = join(place, name);
                    self.lines.push(format!("{:indent$}{}:", "", json!(name)));
                    self.places.push((place.clone(), self.lines.len()));
                    self.yaml_value(value, &place, indent + 2);
                }
                return;
            }
            Value::Array(list) if !list.is_empty() => {
                for (n, value) in list.iter().enumerate() {
                    let place = format!("{place}[{n}]");
                    let from = self.lines.len();
                    self.lines.push(format!("{:indent$}-", ""));
                    self.yaml_value(value, &place, indent + 2);
                    // An element stands where its value begins, which is on the line of the dash.
                    if matches!(value, Value::Object(_) | Value::Array(_))
                        && self.lines.len() > from + 1
                    {
                        let first = self.lines.remove(from + 1);
                        self.lines[from] = format!("{:indent$}- {}", "", first.trim_start());
                        for (_, line) in self.places.iter_mut().filter(|(_, line)| *line > from + 1)
                        {
                            *line -= 1;
                        }
                    }
                    self.places.push((place, from + 1));
                }
                return;
            }
            value => format!(" {value}"),
        };
        self.lines.last_mut().expect("a line").push_str(&line);
    }

    /// The line of a place, or of the nearest part of it that is there.
    fn line(&self, place: &str) -> Option<usize> {
        let is_part = |part: &str| {
            let rest = place.strip_prefix(part);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let parts = self.places.iter().filter(|(part, _)| is_part(part));
        parts.max_by_key(|(part, _)| part.len()).map(|(_, line)| *line)
    }
}

/// The place of a member.
fn join(place: &str, name: &str) -> String {
    let name = name.escape_debug().to_string();
    if place.is_empty() { name } else { format!("{place}.{name}") }
}

#[test]
fn every_mistake_is_told_at_the_line_of_its_place_in_json_and_in_a_manifest() {
    let bad: Vec<Value> = bad().into_iter().filter(|document| document["inbound"] != 1).collect();
    for (folder, write) in
        [("json", Written::json as fn(&Value) -> Written), ("yaml", Written::manifest)]
    {
        let written: Vec<Written> = bad.iter().map(write).collect();
        let files = written.iter().enumerate().map(|(n, written)| {
            file(&format!("lines/{n}.{folder}"), &(written.lines.join("\n") + "\n"))
        });
        let arguments = ["check", "--format", "json"].map(Into::into).into_iter().chain(files);
        let ran = run(arguments);
        let report: Value = serde_json::from_str(&ran.out).expect("a report in JSON");
        let reports = report["files"].as_array().expect("files");
        assert_eq!(reports.len(), bad.len());
        let mut wrong = Vec::new();
        for (written, report) in written.iter().zip(reports) {
            for finding in report["findings"].as_array().expect("findings") {
                let place = finding["place"].as_str().expect("a place");
                // It is about what is around the document.
                if place.is_empty() {
                    continue;
                }
                let line = written.line(place);
                if line != finding["line"].as_u64().and_then(|line| line.try_into().ok()) {
                    wrong.push(format!("{line:?} {}\n{finding}", report["file"]));
                }
            }
        }
        assert!(wrong.is_empty(), "{} {}", wrong.len(), wrong.join("\n"));
    }
}

#[test]
fn what_yaml_makes_of_a_word_is_what_envoy_makes_of_it() {
    let example = include_str!("../../../../envoy/inbound.yaml");
    let (before, rest) = example
        .split_once("\"@type\": type.googleapis.com/google.protobuf.StringValue")
        .expect("text");
    let (_, after) =
        rest.split_once("                  - name: envoy.filters.http.router").expect("the router");
    let mut wrong = Vec::new();
    for (number, (members, accepted)) in [
        ("realm: plain", true),
        ("realm: yes", false),
        ("realm: 'yes'", true),
        ("realm: 010", false),
        ("realm: 3000000000", true),
        ("realm: !!str 5", false),
        ("realm: !!str five", true),
        ("realm: !!int '5'", false),
        ("realm: ! 5", true),
        ("realm: !own 5", false),
        ("cache: { max_entries: 0x10 }", true),
        ("cache: { max_entries: 10.0 }", false),
        ("cache: { max_entries: '10' }", false),
        ("clock_skew: 5s\n    allow_cors_preflight: On", true),
        ("scope: ~", false),
        ("scope: null", false),
        ("scope: >-\n      a\n      b", true),
        ("scope: &s [a, b]\n    acr_values: *s", true),
    ]
    .into_iter()
    .enumerate()
    {
        let document = format!(
            "inbound:\n    introspection: {{ endpoint: http://as.test/, cluster: as, client_id: a, \
             client_secret: {{ env: ORDERS_API_SECRET }} }}\n    audience: a\n    {members}\n"
        );
        let document = indented(&document, 28);
        let text = format!(
            "{before}\"@type\": type.googleapis.com/google.protobuf.Struct\n{:26}value:\n{document}{after}",
            "",
            after = format_args!("                  - name: envoy.filters.http.router{after}"),
        );
        let path = file(&format!("words/{number}.yaml"), &text);
        let ran = run_with(["check".as_ref(), path.as_os_str()], "", &[]);
        let output = Command::new(binary())
            .current_dir(root())
            .env("ORDERS_API_SECRET", "secret")
            .args(["--mode", "validate", "--log-level", "warning", "--config-path"])
            .arg(&path)
            .output()
            .expect("Envoy runs");
        let log = String::from_utf8_lossy(&output.stderr);
        let mistakes = ran.out.lines().filter_map(|line| Some(line.split_once(" error: ")?.1));
        let same = mistakes.clone().all(|mistake| log.contains(mistake));
        if output.status.success() != accepted || (mistakes.count() == 0) != accepted || !same {
            wrong.push(format!("{members}: {}\n{log}", ran.out));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
