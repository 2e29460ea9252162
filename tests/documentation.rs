//! The README and `envoy/` against the code: what they say works, and nothing is left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use oauth2_filter::{ClientEvent, Environment, Filter, TOKEN_CALL_TIME};
use oauth2_filter_testbed::tls::{Authority, certificate_files};
use oauth2_filter_testbed::{envoy, story::InboundYaml};
use serde_json::{Value, json};

use series::{every_series, series};

#[path = "envoy/series.rs"]
mod series;

const README: &str = include_str!("../README.md");

#[test]
fn every_json_block_of_the_readme_loads() {
    let blocks: Vec<&str> = README
        .split("```json\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("the end of a block"))
        .collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        if let Err(mistakes) = load(block.as_bytes()) {
            panic!("{mistakes}\n{block}");
        }
    }
}

#[test]
fn every_reason_stands_in_the_readme_and_no_other() {
    assert_eq!(reasons(README), reasons(include_str!("../src/denial.rs")));
}

/// The names of response code details in a text.
fn reasons(text: &str) -> BTreeSet<&str> {
    words(text)
        .filter(|word| word.starts_with("oauth2_") && !word.starts_with("oauth2_filter"))
        .filter(|word| *word != "oauth2_")
        .collect()
}

/// The words of a text that could be names; those with dots are whole.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c);
    text.split(move |c| !is_name(c))
}

#[test]
fn every_statistic_stands_in_the_readme_and_no_other() {
    let rows = README.lines().filter_map(|line| line.strip_prefix("| `oauth2_filter_"));
    let told: BTreeSet<String> = rows
        .map(|row| format!("oauth2_filter_{}", row.split('`').next().expect("a series")))
        .collect();
    // The reasons stand in the tables of refusals.
    let denied = "decision=\"denied\",reason=\"";
    let short = |series: String| match series.split_once(denied) {
        Some((before, _)) => format!("{before}{denied}…\"}}"),
        None => series,
    };
    let all = every_series().into_iter().chain(every_series_of_clients());
    assert_eq!(told, all.map(short).collect());
}

/// Every statistic of outbound clients, for one of the name `NAME`.
fn every_series_of_clients() -> impl Iterator<Item = String> {
    let of_all = [TOKEN_CALL_TIME.to_owned()];
    let names = ClientEvent::all().map(|event| event.name("NAME")).chain(of_all);
    names.map(|name| series(&name))
}

#[test]
fn every_label_is_taken_out_of_the_names_of_statistics() {
    let file = InboundYaml::named("inbound-observed.yaml").field("stats_config");
    assert_eq!(file, InboundYaml::named("outbound.yaml").field("stats_config"));
    let tags = file.lines().filter_map(|line| line.trim().strip_prefix("- tag_name: "));
    // Envoy's own: the name of the plugin in the statistics on its VMs.
    let tags: BTreeSet<String> = tags.filter(|tag| *tag != "plugin").map(str::to_owned).collect();
    let all = every_series().into_iter().chain(every_series_of_clients());
    let labels = all.flat_map(|series| {
        let (_, labels) = series.split_once('{').unwrap_or_default();
        let label = |pair: &str| pair.split_once('=').map(|(label, _)| label.to_owned());
        labels.split(',').filter_map(label).collect::<Vec<_>>()
    });
    assert_eq!(tags, labels.collect());
}

#[test]
fn all_filter_state_stands_in_the_readme_and_in_its_example_and_no_other() {
    let code = [include_str!("../src/guard.rs"), include_str!("../src/inbound.rs")];
    let set: BTreeSet<&str> = code.into_iter().flat_map(reasons).collect();
    let named = |text: &'static str| -> BTreeSet<&str> {
        words(text).filter_map(|word| word.strip_prefix("wasm.")).collect()
    };
    assert_eq!(named(README), set);
    assert_eq!(named(include_str!("../envoy/inbound-observed.yaml")), set);
}

#[test]
fn every_key_stands_in_its_table_of_the_readme_and_no_other() {
    let inbound = |key: &str, value: Value| json!({"inbound": {key: value}});
    let outbound = |key: &str, value: Value| json!({"outbound": {key: value}});
    for (heading, probe) in [
        ("### `inbound`", json!({"inbound": {"~": 1}})),
        ("### `inbound.cache`", inbound("cache", json!({"~": 1}))),
        ("### `inbound.rules`", inbound("rules", json!([{"~": 1}]))),
        ("### `inbound.forward`", inbound("forward", json!({"~": 1}))),
        ("### `outbound`", json!({"outbound": {"~": 1}})),
        ("### `outbound.rules`", outbound("rules", json!([{"~": 1}]))),
    ] {
        assert_eq!(keys_in_table(heading), known_keys(&probe), "{heading}");
    }
    let block = keys_in_table("### Endpoint blocks");
    let introspection = known_keys(&inbound("introspection", json!({"~": 1})));
    assert_eq!(&block | &keys_in_table("### `inbound.introspection`"), introspection);
}

#[test]
fn every_key_of_every_grant_stands_in_the_readme_and_no_other() {
    let of_all = &keys_in_table("### Endpoint blocks") | &keys_in_table("### `outbound.clients`");
    let probe = |grant: &str, more: Value| {
        let mut client = json!({
            "grant_type": grant, "endpoint": "https://as.test/", "client_id": "a",
            "client_secret": "s",
        });
        client.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
        known_keys(&json!({"outbound": {"clients": {"a": client}}}))
    };
    let grants = rows_of_table("### Grants", "| `grant_type`");
    assert_eq!(grants.len(), 6);
    for row in grants {
        let [grant, keys] = [1, 2].map(|n| keys_in(row.split('|').nth(n).expect("a cell")));
        let grant = grant.first().expect("a grant");
        assert_eq!(&of_all | &keys, probe(grant, json!({"~": 1})), "{grant}");
        if keys.contains("refresh") {
            let rows = rows_of_table("### Grants", "| key");
            let own =
                rows.into_iter().flat_map(|row| keys_in(row.split('|').nth(1).expect("keys")));
            let mut own: BTreeSet<&str> = own.collect();
            if *grant == "password" {
                // Its refresh token comes with its token.
                own.remove("refresh_token");
            }
            let block = keys_in_table("### Endpoint blocks");
            assert_eq!(&block | &own, probe(grant, json!({"refresh": {"~": 1}})), "{grant}");
        }
    }
}

/// The keys in the first column of the table below a heading.
fn keys_in_table(heading: &str) -> BTreeSet<&'static str> {
    let rows = rows_of_table(heading, "| key");
    rows.into_iter().flat_map(|row| keys_in(row.split('|').nth(1).unwrap_or_default())).collect()
}

/// The rows of the first table below a heading whose head begins so.
fn rows_of_table(heading: &str, head: &str) -> Vec<&'static str> {
    let (_, below) = README.split_once(&format!("{heading}\n")).expect("the heading");
    let table = below.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    table.take_while(|line| line.starts_with('|')).collect()
}

/// The keys in a cell.
fn keys_in(cell: &'static str) -> BTreeSet<&'static str> {
    let keys = cell.split(',').map(|key| key.trim().trim_matches('`'));
    keys.filter(|key| !key.is_empty()).collect()
}

/// The keys that the filter itself names when it meets an unknown one.
fn known_keys(probe: &Value) -> BTreeSet<&'static str> {
    let mistakes = load(probe.to_string().as_bytes()).expect_err("`~` is no key");
    let advice = mistakes.split("known here: ").nth(1).expect("the known keys");
    let keys = advice.split("; ").next().expect("the list").to_owned();
    keys.leak().split(", ").collect()
}

fn load(document: &[u8]) -> Result<(), String> {
    let variable = |_: &str| Some("secret".to_owned());
    let sign = |_: &str, _: &[u8]| Ok(vec![1; 256]);
    let environment = Environment { variable: &variable, seed: [0; 16], sign };
    Filter::load(document, &environment).map(|_| ()).map_err(|e| e.to_string())
}

#[test]
fn every_file_that_the_readme_names_is_there() {
    let links = README.split("](").skip(1).map(|rest| rest.split(')').next().expect("a link"));
    for link in links.filter(|link| !link.starts_with(['#', 'h'])) {
        assert!(root().join(link).exists(), "{link}");
    }
    for link in README.split("](#").skip(1).map(|rest| rest.split(')').next().expect("a link")) {
        let is_there = README.lines().filter(|line| line.starts_with('#')).any(|heading| {
            let slug: String = heading
                .trim_start_matches(['#', ' '])
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_')
                .collect();
            slug.replace(' ', "-") == link
        });
        assert!(is_there, "#{link}");
    }
}

#[test]
fn the_readme_shows_what_the_bench_has_measured() {
    let (_, rest) = README.split_once("<!-- what `make bench` writes -->\n").expect("its begin");
    let (shown, _) = rest.split_once("<!-- the end of that -->\n").expect("its end");
    let results = include_str!("bench/RESULTS.md");
    let (title, measured) = results.split_once('\n').expect("a title");
    assert!(title.starts_with("# ") && measured.contains("| --- |"), "{title}");
    assert_eq!(shown, measured);
}

#[test]
fn every_make_target_that_the_readme_names_is_there() {
    let makefile = include_str!("../Makefile");
    for target in README.split("`make ").skip(1).map(|rest| rest.split('`').next().expect("`")) {
        assert!(makefile.contains(&format!("\n{target}:")), "make {target}");
    }
}

#[test]
fn every_file_of_envoy_loads_in_envoy() {
    let mut files = yaml_files(&root().join("envoy"));
    // What Istio and Prometheus take is none of Envoy's (tests/istio, tests/observability).
    let others = ["envoy/istio", "envoy/observability"].map(|folder| root().join(folder));
    files.retain(|file| !others.iter().any(|folder| file.starts_with(folder)));
    assert!(!files.is_empty());
    // Envoy reads the certificates that a file names.
    let authority = Authority::new();
    let certificates = certificate_files(&authority.issue("api.test"), &authority);
    let folder = certificates.path().display().to_string();
    for file in files {
        let text = fs::read_to_string(&file).expect("a file of text");
        let output = Command::new(envoy::binary())
            .current_dir(root())
            .env("ORDERS_API_SECRET", "secret")
            .env("MCP_SERVER_SECRET", "secret")
            .env("BILLING_SECRET", "secret")
            .env("GATEWAY_SECRET", "secret")
            .env("PARTNER_SECRET", "secret")
            .args(["--mode", "validate", "--log-level", "warning", "--config-yaml"])
            .arg(text.replace("/etc/envoy/tls", &folder))
            .output()
            .expect("Envoy runs");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}\n{log}", file.display());
    }
}

/// Every YAML file below a folder.
fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| if path.is_dir() { yaml_files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
