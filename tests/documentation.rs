//! The pages and `envoy/` against the code: what they say works, and nothing is left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use oauth2_filter_core::{ConfigErrors, Environment, Filter};
use oauth2_filter_testbed::envoy;
use oauth2_filter_testbed::tls::{Authority, certificate_files};

use pages::{OURS, PERFORMANCE, README};

#[path = "generated/mod.rs"]
mod generated;
#[path = "documentation/keys.rs"]
mod keys;
#[path = "documentation/links.rs"]
mod links;
#[path = "documentation/log_lines.rs"]
mod log_lines;
#[path = "documentation/manifests.rs"]
mod manifests;
#[path = "documentation/messages.rs"]
mod messages;
#[path = "documentation/migration.rs"]
mod migration;
#[path = "documentation/modules.rs"]
mod modules;
#[path = "documentation/names.rs"]
mod names;
#[path = "documentation/pages.rs"]
mod pages;
#[path = "documentation/plain_cargo.rs"]
mod plain_cargo;
#[path = "envoy/series.rs"]
mod series;
#[path = "documentation/threats.rs"]
mod threats;
#[path = "istio/yaml.rs"]
mod yaml;

#[test]
fn every_json_block_of_the_pages_loads() {
    let blocks: Vec<&str> = OURS.iter().flat_map(|page| page.blocks("json")).collect();
    assert!(blocks.len() >= 7, "the README has two, the page on migration five");
    for block in blocks {
        if let Err(mistakes) = load(block.as_bytes()) {
            panic!("{mistakes}\n{block}");
        }
    }
}

fn load(document: &[u8]) -> Result<(), ConfigErrors> {
    let variable = |_: &str| Some("secret".to_owned());
    let environment = Environment::pretended(&variable);
    Filter::load(document, &environment).map(|_| ())
}

/// What the bench has measured, without the title.
fn measured() -> &'static str {
    let (title, measured) = include_str!("bench/RESULTS.md").split_once('\n').expect("a title");
    assert!(title.starts_with("# ") && measured.contains("| --- |"), "{title}");
    measured
}

#[test]
fn the_page_on_performance_shows_what_the_bench_has_measured() {
    let (_, rest) = PERFORMANCE
        .text
        .split_once("<!-- results of `make bench`: begin -->\n")
        .expect("its begin");
    let (shown, _) = rest.split_once("<!-- results of `make bench`: end -->\n").expect("its end");
    let (measured, _) = measured().split_once("\n## ").expect("a section after the tables");
    assert_eq!(shown, format!("{measured}\n"));
}

#[test]
fn the_figures_of_the_readme_are_those_that_the_bench_has_measured() {
    let cell = |row: &str, column: usize| {
        let line = measured().lines().find(|line| line.starts_with(row));
        let line = line.unwrap_or_else(|| panic!("no row {row}"));
        let cell = line.split(" | ").nth(column).expect("a cell").trim_end_matches(" |");
        cell.split(' ').next().expect("a figure").to_owned()
    };
    let rounded = |figure: &str| format!("{:.1}", figure.parse::<f64>().expect("a number"));
    let figures = README.rows("## How fast it is", "| | |");
    let [cpu, memory, added] = figures.as_slice() else { panic!("{figures:?}") };
    let cpu_of = |variant: &str| cell(&format!("| `{variant}` | "), 4);
    assert_eq!(
        cpu[1],
        format!(
            "{} µs; without a filter {} µs, with `ext_authz` over HTTP {} µs",
            cpu_of("ours"),
            cpu_of("plain"),
            cpu_of("ext-authz")
        )
    );
    let of_ours = "| memory of 10,000 cached responses, two workers, **ours**, introspection only";
    assert_eq!(memory[1], format!("{} MB", rounded(&cell(of_ours, 2))));
    let of_misses = "| added to p99 by a cache miss, server delay 2ms";
    assert_eq!(added[1], format!("{} ms", rounded(&cell(of_misses, 2))));
}

#[test]
fn every_make_target_that_the_pages_name_is_there() {
    let makefile = include_str!("../Makefile");
    let mut targets = BTreeSet::new();
    for page in OURS {
        let named = page.text.split("`make ").skip(1);
        let commands = named.map(|rest| rest.split('`').next().expect("`"));
        targets.extend(commands.map(|command| command.split(' ').next().expect("a target")));
    }
    assert!(targets.contains("test"), "{targets:?}");
    for target in targets {
        assert!(makefile.contains(&format!("\n{target}:")), "make {target}");
    }
}

#[test]
fn every_file_of_envoy_loads_in_envoy() {
    let mut files = files_below(&root().join("envoy"), "yaml");
    // Others are for Istio, Envoy Gateway and Prometheus (tests/istio, tests/documentation/manifests.rs,
    // tests/observability), or what the files themselves name.
    let others = ["envoy/istio", "envoy/gateway", "envoy/observability", "envoy/sds"];
    let others = others.map(|folder| root().join(folder));
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

/// Every file below a folder whose name ends so.
fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = folder.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| if path.is_dir() { files_below(&path, extension) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
