//! The pages of `docs/`, run as they stand: no example is there for show.
//!
//! What is in fences is covered by a rule, or the page fails:
//!
//! | fence | rule |
//! | --- | --- |
//! | `json` | a document of the filter: it loads |
//! | `json envoy/FILE` | the document of that file: the same value, and it loads |
//! | `json NAME envoy/FILE` | it loads, and commands find it as NAME: that file with this document in the place of its own |
//! | `yaml` | objects of Kubernetes, the filter's documents in which load; a document of the filter; or a whole configuration, which Envoy takes |
//! | `yaml envoy/FILE` | a part of that file, apart from indentation; a line `…` stands for others |
//! | `yaml NAME` | as `yaml`; commands find it as NAME |
//! | `console` | commands behind `$ `, which are run in order, and what they print: see [`shown`] |
//! | `log` | lines that the last Envoy of the page has logged by then, in order |
//!
//! A comment `<!-- not run: REASON -->` above a fence takes it out: JSON and YAML must still be
//! readable, commands find `yaml NAME` all the same, and files of `envoy/` and targets of `make` that it names must be there.
//!
//! Commands of one page share a folder, in which `envoy/` and `target/` are those of the project,
//! and their variables; programs of the project are found. `make servers` and `envoy --config-path FILE` are started by the tests, and
//! go with the page; other targets of `make` are looked up. An Envoy takes the place of one that
//! has its ports. Ports are free ones here: pages name 9000, 9001 and 9002 as `make servers` does,
//! and those of their Envoys. A command below which nothing is shown has to print nothing, and
//! must not fail.
//!
//! When a document is loaded, each variable of its environment holds some text, and one that ends
//! in `_PRIVATE_KEY` a key.
//!
//! A new page needs a line in [`pages!`] below.

mod page;
mod session;
mod shown;
mod stage;
#[path = "../istio/yaml.rs"]
mod yaml;

use std::fs;
use std::path::{Path, PathBuf};

use oauth2_filter_core::{Environment, Filter};
use oauth2_filter_testbed::examples::InboundYaml;
use oauth2_filter_testbed::workspace;
use serde_json::Value;

use page::{Block, blocks};
use session::{Step, steps};
use stage::{Stage, is_make_target};

/// A test for each page.
macro_rules! pages {
    ($($test:ident: $page:literal,)*) => {
        /// The pages below `docs/` that are run.
        const PAGES: &[&str] = &[$($page),*];

        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let text = fs::read_to_string(docs().join($page)).expect("the page");
                if let Err(wrong) = run(&text).await {
                    panic!("docs/{}: {wrong}", $page);
                }
            }
        )*
    };
}

pages! {
    getting_started_on_envoy_runs: "getting-started-envoy.md",
    getting_started_on_istio_is_as_its_files: "getting-started-istio.md",
    getting_started_on_envoy_gateway_is_as_its_files: "getting-started-envoy-gateway.md",
    the_dynamic_module_is_as_its_file: "dynamic-module.md",
    settings_for_authorization_servers_load: "authorization-servers.md",
    the_index_of_recipes_runs: "recipes/README.md",
    guarding_an_api_runs: "recipes/guard-an-api.md",
    calling_an_api_runs: "recipes/call-an-api.md",
    token_exchange_runs: "recipes/token-exchange.md",
    guarding_an_mcp_server_runs: "recipes/mcp-server.md",
    scopes_for_mcp_tools_are_as_their_file: "recipes/mcp-tools.md",
    several_issuers_run: "recipes/several-issuers.md",
    tokens_bound_to_a_certificate_run: "recipes/mtls-bound-tokens.md",
    renewing_on_401_runs: "recipes/renew-on-401.md",
    tokens_in_cookies_and_queries_run: "recipes/cookie-and-query-tokens.md",
    public_paths_and_cors_run: "recipes/public-paths-and-cors.md",
    optional_access_runs: "recipes/optional-access.md",
    jwts_and_opaque_tokens_are_as_their_file: "recipes/jwt-and-opaque.md",
    verifying_and_introspecting_loads: "recipes/verify-and-introspect.md",
    phantom_tokens_load: "recipes/phantom-tokens.md",
    rotating_a_client_secret_is_as_its_file: "recipes/rotating-secret.md",
    workload_identity_is_as_its_file: "recipes/workload-identity.md",
    a_forward_proxy_is_as_its_file: "recipes/forward-proxy.md",
    the_command_runs: "command.md",
    what_to_do_when_an_alert_fires_runs: "alerts.md",
    the_index_runs: "README.md",
    the_reference_runs: "reference.md",
    operations_run: "operations.md",
    security_runs: "security.md",
    migration_is_readable: "migration.md",
    the_design_runs: "design.md",
    performance_is_readable: "performance.md",
}

#[test]
fn every_page_is_run() {
    let docs = docs();
    let found = pages_below(&docs);
    let mut found: Vec<_> = found.iter().map(|page| page.strip_prefix(&docs).unwrap()).collect();
    found.sort();
    let mut named: Vec<&Path> = PAGES.iter().map(Path::new).collect();
    named.sort();
    assert_eq!(found, named);
}

/// Runs a page. An error says all that is wrong, and where.
async fn run(page: &str) -> Result<(), String> {
    let mut stage = Stage::new();
    let mut wrong = Vec::new();
    for block in blocks(page)? {
        let mut note = |line: usize, outcome: Result<(), String>| {
            wrong.extend(outcome.err().map(|error| format!("line {}: {error}", block.line + line)));
        };
        if block.not_run.is_some() {
            note(0, is_sound(&block));
            if let ("yaml", [name]) = (block.language.as_str(), block.words.as_slice()) {
                stage.save(name, &block.text);
            }
        } else if block.language == "console" {
            for Step { line, command, shown } in steps(&block.text)? {
                let played = stage.play(&command, &shown).await;
                note(line, played.map_err(|error| format!("`{command}`: {error}")));
            }
        } else if block.language == "log" {
            note(0, stage.logged(&block.text).await);
        } else {
            note(0, holds(&block, &stage));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// Whether JSON or YAML is what the page says; it is saved if the page names it.
fn holds(block: &Block, stage: &Stage) -> Result<(), String> {
    let Block { language, words, text, .. } = block;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match (language.as_str(), words.as_slice()) {
        ("json", []) => load(&json(text)?),
        ("json", [file]) => {
            let document = json(text)?;
            load(&document)?;
            let same = example(file)?.document() == document;
            if same { Ok(()) } else { Err(format!("{file} has another document")) }
        }
        ("json", [name, file]) => {
            load(&json(text)?)?;
            stage.save(name, &with_document(example(file)?.text(), text));
            Ok(())
        }
        ("yaml", [file]) if file.starts_with("envoy/") => {
            let whole = fs::read_to_string(workspace().join(file));
            let whole = whole.map_err(|error| format!("{file}: {error}"))?;
            if is_part(text, &whole) { Ok(()) } else { Err(format!("not a part of {file}")) }
        }
        ("yaml", []) => is_whole(text),
        ("yaml", [name]) => {
            stage.save(name, text);
            is_whole(text)
        }
        // The picture of the modules, which tests/documentation draws.
        ("mermaid", []) => Ok(()),
        _ => Err(format!("no rule for {language} {}", words.join(" "))),
    }
}

/// Whether what is not run is at least readable, and names what is there.
fn is_sound(block: &Block) -> Result<(), String> {
    match block.language.as_str() {
        "json" => _ = json(&block.text)?,
        "yaml" => _ = yaml::documents(&block.text).map_err(|error| error.to_string())?,
        "console" => {
            for step in steps(&block.text)? {
                let words = step.command.split(|c: char| c.is_whitespace() || c == '=');
                let missing = |word: &&str| {
                    let is_one = word.starts_with("envoy/") && !word.contains('*');
                    is_one && !workspace().join(word).exists()
                };
                if let Some(missing) = words.into_iter().find(missing) {
                    return Err(format!("no {missing}"));
                }
                if let Some(targets) = step.command.strip_prefix("make ") {
                    targets.split(' ').try_for_each(is_make_target)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Whether YAML is objects with documents that load, or such a document.
fn is_whole(text: &str) -> Result<(), String> {
    let objects = yaml::documents(text).map_err(|error| error.to_string())?;
    for object in &objects {
        let is_object = object["apiVersion"].is_string() && object["kind"].is_string();
        if object["inbound"].is_object() || object["outbound"].is_object() {
            load(object)?;
        } else if !is_object {
            return Err("neither an object of Kubernetes nor said where it is from".to_owned());
        }
        match object["kind"].as_str() {
            Some("WasmPlugin") => load(&object["spec"]["pluginConfig"])?,
            Some("TrafficExtension") => load(&object["spec"]["wasm"]["pluginConfig"])?,
            Some("EnvoyExtensionPolicy") => {
                let plugins = object["spec"]["wasm"].as_array().ok_or("no plugins")?;
                plugins.iter().try_for_each(|plugin| load(&plugin["config"]))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the lines of a text stand in another, `…` for others between.
fn is_part(text: &str, whole: &str) -> bool {
    let lines: Vec<&str> = whole.lines().collect();
    let mut place = 0;
    text.split("…\n").all(|piece| {
        let piece: Vec<&str> = piece.lines().collect();
        let found = (place..=lines.len().saturating_sub(piece.len())).find(|place| {
            let there = &lines[*place..place + piece.len()];
            dedented(there) == dedented(&piece)
        });
        place = found.map_or(place, |found| found + piece.len());
        found.is_some()
    })
}

/// Lines without the indentation that all of them have.
fn dedented<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let depth = |line: &&str| line.len() - line.trim_start().len();
    let common = lines.iter().filter(|line| !line.trim().is_empty()).map(depth).min().unwrap_or(0);
    lines.iter().map(|line| line.get(common..).unwrap_or_default()).collect()
}

/// A configuration with another document.
fn with_document(configuration: &str, document: &str) -> String {
    let (before, block) = configuration.split_once("value: |\n").expect("a document");
    let depth = |line: &str| line.len() - line.trim_start().len();
    let indented = depth(block);
    let behind = block.lines().skip_while(|line| depth(line) >= indented);
    let document = document.lines().map(|line| format!("{}{line}", " ".repeat(indented)));
    let lines: Vec<String> = document.chain(behind.map(str::to_owned)).collect();
    format!("{before}value: |\n{}\n", lines.join("\n"))
}

fn example(file: &str) -> Result<InboundYaml, String> {
    let name = file.strip_prefix("envoy/").ok_or_else(|| format!("{file} is not in envoy/"))?;
    if workspace().join(file).is_file() {
        Ok(InboundYaml::named(name))
    } else {
        Err(format!("no {file}"))
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))
}

/// Loads a document in the filter.
fn load(document: &Value) -> Result<(), String> {
    let variable = |name: &str| {
        let key = include_str!("../envoy/keys/rsa-pkcs8.pem");
        Some(if name.ends_with("_PRIVATE_KEY") { key } else { "secret" }.to_owned())
    };
    let environment = Environment::pretended(&variable);
    let loaded = Filter::load(document.to_string().as_bytes(), &environment);
    loaded.map(|_| ()).map_err(|mistakes| mistakes.to_string())
}

/// The pages in a folder and those below it.
fn pages_below(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path());
    let pages =
        entries.flat_map(|path| if path.is_dir() { pages_below(&path) } else { vec![path] });
    pages.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

fn docs() -> PathBuf {
    workspace().join("docs")
}

/// What is wrong with a page of this text.
#[cfg(test)]
async fn mistake(page: &str) -> String {
    run(page).await.expect_err("a mistake")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_what_no_rule_covers_fails() {
    for fence in ["bash", "text", "json a b c", "yaml a b", "toml"] {
        let wrong = mistake(&format!("```{fence}\n{{}}\n```\n")).await;
        assert!(wrong.starts_with("line 2: no rule for "), "{wrong}");
        run(&format!("<!-- not run: so -->\n```{fence}\n{{}}\n```\n")).await.unwrap();
    }
    for (page, expected) in [
        ("```json\n{\"inbound\": {\"a\": 1}}\n```\n", "line 2: inbound"),
        ("```json envoy/mcp.yaml\n{\"outbound\": {\"clients\": {}}}\n```\n", "line 2: outbound"),
        ("```json envoy/nothing.yaml\nDOCUMENT```\n", "line 2: no envoy/nothing.yaml"),
        ("```json envoy/mcp.yaml\nDOCUMENT```\n", "line 2: envoy/mcp.yaml has another document"),
        ("```yaml\na: 1\n```\n", "line 2: neither an object"),
        ("```yaml envoy/mcp.yaml\na: 1\n```\n", "line 2: not a part of envoy/mcp.yaml"),
        ("```console\n$ make nothing\n```\n", "line 2: `make nothing`: no target"),
        ("```console\n$ echo a\nb\n```\n", "line 2: `echo a`: it prints\na"),
        ("```console\n$ A=b\n$ echo $A\n```\n", "line 3: `echo $A`: it prints\nb"),
        ("```console\n$ false\n```\n", "line 2: `false`: exit status: 1"),
        (
            "```console\n$ curl http://127.0.0.1:9000/\n```\n",
            "line 2: `curl http://127.0.0.1:9000/`: nothing",
        ),
        ("```log\na\n```\n", "line 2: no Envoy runs"),
        (
            "<!-- not run: so -->\n```console\n$ cat envoy/nothing.yaml\n```\n",
            "line 3: no envoy/nothing.yaml",
        ),
    ] {
        let document = InboundYaml::read().document().to_string();
        let wrong = mistake(&page.replace("DOCUMENT", &format!("{document}\n"))).await;
        assert!(wrong.starts_with(expected), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_shows_another_answer_or_log_fails() {
    const PAGE: &str = "\
```console
$ make servers
…
$ ORDERS_API_SECRET=orders-api-secret envoy --config-path envoy/inbound.yaml
$ curl -i http://127.0.0.1:10000/orders/1
HTTP/1.1 401 Unauthorized
```
```log
… GET /orders/1 401 oauth2_no_token …
```
";
    run(PAGE).await.unwrap();
    let wrong = mistake(&PAGE.replace("HTTP/1.1 401", "HTTP/1.1 403")).await;
    assert!(wrong.contains("it prints\nHTTP/1.1 401 Unauthorized"), "{wrong}");
    let wrong = mistake(&PAGE.replace("oauth2_no_token", "oauth2_inactive")).await;
    assert!(wrong.starts_with("line 9: waited"), "{wrong}");
    let wrong = mistake(&PAGE.replace("ORDERS_API_SECRET=orders-api-secret ", "")).await;
    assert!(wrong.contains("Envoy does not start"), "{wrong}");
}

#[test]
fn a_part_of_a_file_is_found_at_any_depth() {
    let whole = "a:\n  b:\n    c: 1\n    d: 2\n  e: 3\n";
    for part in ["b:\n  c: 1\n", "a:\n…\ne: 3\n", "c: 1\nd: 2\n"] {
        assert!(is_part(part, whole), "{part}");
    }
    for part in ["b:\nc: 1\n", "e: 3\n…\na:\n", "c: 2\n"] {
        assert!(!is_part(part, whole), "{part}");
    }
}

#[test]
fn a_document_takes_the_place_of_another() {
    let with =
        with_document("a:\n  value: |\n    {\"b\":\n      1}\n  c: 2\n", "{\n  \"d\": 3\n}\n");
    assert_eq!(with, "a:\n  value: |\n    {\n      \"d\": 3\n    }\n  c: 2\n");
}
