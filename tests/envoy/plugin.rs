//! The module itself, and how it gets into Envoy.

use std::{collections::BTreeSet, env, fs, path::Path};

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::{Listener, WasmPlugin, native};
use oauth2_filter_testbed::scripted::{Answer, Gate};
use serde_json::{Value, json};
use wasmparser::{Parser, Payload};

use crate::set_up::{ENDPOINT, Ends, LISTENER, active, document, inactive, listener};

/// The module, as `make build` leaves it.
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/oauth2_filter.wasm");

/// The functions that the module asks of its host. A host without one of them refuses it.
const IMPORTS: [&str; 28] = [
    // The proxy-wasm ABI, 0.2.1.
    "env.proxy_add_header_map_value",
    "env.proxy_call_foreign_function",
    "env.proxy_continue_stream",
    "env.proxy_define_metric",
    "env.proxy_done",
    "env.proxy_get_buffer_bytes",
    "env.proxy_get_current_time_nanoseconds",
    "env.proxy_get_header_map_pairs",
    "env.proxy_get_header_map_value",
    "env.proxy_get_log_level",
    "env.proxy_get_property",
    "env.proxy_get_shared_data",
    "env.proxy_http_call",
    "env.proxy_increment_metric",
    "env.proxy_log",
    "env.proxy_record_metric",
    "env.proxy_remove_header_map_value",
    "env.proxy_replace_header_map_value",
    "env.proxy_send_local_response",
    "env.proxy_set_effective_context",
    "env.proxy_set_property",
    "env.proxy_set_shared_data",
    "env.proxy_set_tick_period_milliseconds",
    // Secrets given by the environment.
    "wasi_snapshot_preview1.environ_get",
    "wasi_snapshot_preview1.environ_sizes_get",
    // The text of a panic, to standard error.
    "wasi_snapshot_preview1.fd_write",
    // What the C library does if it cannot read the environment.
    "wasi_snapshot_preview1.proc_exit",
    // The seeds of the keys of what is kept.
    "wasi_snapshot_preview1.random_get",
];

/// What the host finds in the module, after `trim`.
const EXPORTS: [&str; 13] = [
    "_initialize",
    "memory",
    "proxy_abi_version_0_2_1",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_done",
    "proxy_on_http_call_response",
    "proxy_on_memory_allocate",
    "proxy_on_request_body",
    "proxy_on_request_headers",
    "proxy_on_request_trailers",
    "proxy_on_response_headers",
    "proxy_on_tick",
];

#[test]
fn the_module_imports_and_exports_what_is_listed_and_is_small() {
    let module = fs::read(MODULE).expect("the module: run `make build`");
    let mut imports = BTreeSet::new();
    let mut exports = BTreeSet::new();
    for part in Parser::new(0).parse_all(&module) {
        match part.expect("a module") {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.expect("an import");
                    imports.insert(format!("{}.{}", import.module, import.name));
                }
            }
            Payload::ExportSection(section) => {
                exports.extend(section.into_iter().map(|e| e.expect("an export").name.to_owned()));
            }
            _ => {}
        }
    }
    assert_eq!(imports, BTreeSet::from(IMPORTS.map(str::to_owned)));
    assert_eq!(exports, BTreeSet::from(EXPORTS.map(str::to_owned)));
    // Without Node.js there is no wasm-opt (see src/tools/optimize.sh).
    let is_optimized = Path::new("target/binaryen/out.wasm").exists();
    let limit = if is_optimized { 460_000 } else { 500_000 };
    assert!(module.len() < limit, "{} bytes", module.len());
    let command = b"x-panic-on-command";
    assert!(
        !module.windows(command.len()).any(|bytes| bytes == command),
        "it is not the module of the tests, which any request can kill"
    );
}

#[test]
fn the_module_names_no_folder_of_the_machine_that_built_it() {
    let module = fs::read(MODULE).expect("the module: run `make build`");
    let home = env::var("HOME").expect("a home");
    let cargo = env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
    // Each is named after where the sources were fetched from.
    let sources = fs::read_dir(format!("{cargo}/registry/src")).into_iter().flatten().flatten();
    let sources = sources.map(|folder| folder.file_name().into_string().expect("UTF-8"));
    let workspace = env!("CARGO_MANIFEST_DIR").to_owned();
    for folder in sources.chain([cargo, workspace, "lib/rustlib".to_owned()]) {
        let found = module.windows(folder.len()).any(|bytes| bytes == folder.as_bytes());
        assert!(!found, "{folder}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_struct_is_as_good_as_text() {
    let ends = Ends::start().await;
    let inbound = json!({
        "cache": {"max_ttl": "60s", "max_entries": 100},
        "rules": [
            {"paths": ["/public"], "access": "public"},
            {"paths": ["/**"], "scope": ["a b", "c"], "audience": "here"},
        ],
        "forward": {"token": true, "claims": {"x-user": "sub"}},
    });
    let plugin = WasmPlugin::with_struct(&document(inbound));
    let bootstrap = ends.bootstrap().listener(listener(&plugin));
    let set_up = ends.with(bootstrap).await;
    let said = json!({"active": true, "scope": "b a", "aud": ["here"], "sub": "somebody"});
    set_up.server.on(ENDPOINT, Answer::json(200, &said));
    assert_eq!(set_up.send(&Request::get("/")).await.status, 401);
    assert_eq!(set_up.send(&Request::get("/public")).await.status, 200);
    assert_eq!(set_up.get("token").await.status, 200);
    let request = set_up.service.requests().pop().expect("a request");
    assert_eq!(request.header("x-user").as_deref(), Some("somebody"));
    assert_eq!(request.header("authorization").as_deref(), Some("Bearer token"));
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_10_d1_11_plugins_of_one_vm_do_not_share_answers() {
    let ends = Ends::start().await;
    let asking = |server: &str| {
        let endpoint = format!("http://as.test/{server}");
        let inbound = json!({"introspection": {"endpoint": endpoint}, "forward": {"token": true}});
        WasmPlugin::new(&document(inbound)).vm_id("shared")
    };
    let guarded = |name: &str, filters: Vec<Value>| {
        filters.into_iter().fold(Listener::to(name, "service"), Listener::filter)
    };
    let (yes, no) = (asking("yes").root_id("one"), asking("no").root_id("other"));
    let same_root = asking("no").root_id("one");
    let bootstrap = ends
        .bootstrap()
        .listener(guarded(LISTENER, vec![yes.filter("a")]))
        .listener(guarded("no", vec![no.filter("a")]))
        .listener(guarded("same-root", vec![same_root.filter("a")]))
        .listener(guarded("both", vec![yes.filter("a"), no.filter("b")]));
    let set_up = ends.with(bootstrap).await;
    let machines = set_up.envoy.stat("wasm.envoy.wasm.runtime.v8.active").await;
    let expected = (!native::is_chosen()).then_some(3);
    assert_eq!(machines, expected, "one for each thread, and the one they are copied from");

    let send = async |listener: &str, token: &str| {
        let answer = Request::get("/").bearer(token).send(set_up.envoy.address(listener)).await;
        answer.expect("an answer").status
    };
    set_up.server.on("/yes", active());
    set_up.server.on("/no", inactive());
    for _ in 0..2 {
        assert_eq!(send(LISTENER, "first").await, 200);
        assert_eq!(send("no", "first").await, 401);
        assert_eq!(send("same-root", "first").await, 401);
        assert_eq!(send("both", "first").await, 401);
    }
    assert_eq!(set_up.server.count("/yes"), 1);
    assert_eq!(
        set_up.server.count("/no"),
        1,
        "who asks the same in the same way shares the answer"
    );

    // The other way round, and all at once.
    let (yes, no) = (Gate::new(), Gate::new());
    set_up.server.on("/yes", active().held_by(&yes));
    set_up.server.on("/no", inactive().held_by(&no));
    let opened = async {
        no.arrived(1).await;
        yes.arrived(1).await;
        no.open();
        yes.open();
    };
    let (refused, same_root, passed, both, ()) = tokio::join!(
        send("no", "second"),
        send("same-root", "second"),
        send(LISTENER, "second"),
        send("both", "second"),
        opened
    );
    assert_eq!((passed, refused, same_root, both), (200, 401, 401, 401));
    assert_eq!(send("no", "second").await, 401);
    assert_eq!(set_up.service.requests().len(), 3);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_share_only_what_they_ask_in_the_same_way_and_each_judges_it_by_its_own_rules() {
    let ends = Ends::start().await;
    let guarded = |name: &str, client: &str, scope: &str, vm_id: &str| {
        let asked = json!({"client_id": client, "auth_method": "client_secret_post"});
        let inbound = json!({"introspection": asked, "scope": scope});
        let plugin = WasmPlugin::new(&document(inbound)).root_id(name).vm_id(vm_id);
        Listener::to(name, "service").filter(plugin.filter("a"))
    };
    let bootstrap = ends
        .bootstrap()
        .listener(guarded(LISTENER, "one", "a", "shared"))
        .listener(guarded("other-rules", "one", "b", "shared"))
        .listener(guarded("other-client", "two", "a", "shared"))
        .listener(guarded("own-vm", "one", "a", "own"));
    let set_up = ends.with(bootstrap).await;
    let gate = Gate::new();
    let held = gate.clone();
    set_up.server.on_each(ENDPOINT, move |call| {
        let of = |name| call.parameter(name).unwrap_or_default();
        // Of some tokens the first client is told that they are active, of others the second.
        let active = (of("token").starts_with("one")) == (of("client_id") == "one");
        let said = Answer::json(200, &json!({"active": active, "scope": "a"}));
        if of("token").ends_with("held") { said.held_by(&held) } else { said }
    });
    let listeners = [LISTENER, "other-rules", "other-client", "own-vm"];
    let send = async |listener: &str, token: &str| {
        let answer = Request::get("/").bearer(token).send(set_up.envoy.address(listener)).await;
        answer.expect("an answer").status
    };
    // A dynamic module has no VMs: the whole process shares.
    let lookups = if native::is_chosen() { 2 } else { 3 };
    let mut calls = 0;
    for (token, expected) in [("one", [200, 403, 401, 200]), ("two", [401, 401, 200, 401])] {
        // What is kept: whoever comes first, and again.
        for order in [[0, 1, 2, 3], [3, 2, 1, 0]] {
            let token = format!("{token}-{order:?}").replace(['[', ']', ',', ' '], "");
            for at in order.into_iter().chain(order) {
                assert_eq!(send(listeners[at], &token).await, expected[at], "{at} {token}");
            }
            calls += lookups;
            assert_eq!(set_up.calls(), calls, "{token}: who asks in the same way shares");
        }
        // What is under way: all at once.
        let token = format!("{token}-held");
        gate.close();
        let opened = async {
            set_up.server.arrived(ENDPOINT, calls + lookups).await;
            for listener in listeners {
                let active = format!("http.{listener}.downstream_rq_active");
                set_up.envoy.stat_reaches(&active, 1).await;
            }
            gate.open();
        };
        let (first, other_rules, other_client, own_vm, ()) = tokio::join!(
            send(LISTENER, &token),
            send("other-rules", &token),
            send("other-client", &token),
            send("own-vm", &token),
            opened
        );
        assert_eq!([first, other_rules, other_client, own_vm], expected, "{token}");
        calls += lookups;
        assert_eq!(set_up.calls(), calls, "{token}");
    }
    set_up.comes_to_rest().await;
}
