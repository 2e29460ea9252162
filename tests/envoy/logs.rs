//! What the filter writes to Envoy's log, and what it never writes.

use base64::{Engine, prelude::BASE64_STANDARD};
use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::{Envoy, Listener, Options, example, native};
use oauth2_filter_testbed::scripted::Answer;
use oauth2_filter_testbed::wait;
use serde_json::json;
use tokio::time::Instant;

use crate::set_up::{ENDPOINT, Ends, LISTENER, inactive, listener, one_worker, plugin};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_fills_no_log() {
    let ends = Ends::start().await;
    let bootstrap = ends.bootstrap().listener(listener(&plugin(json!({}))));
    let options = Options { component_log_level: "wasm:info".to_owned(), ..one_worker() };
    let set_up = ends.with_options(bootstrap, &options).await;
    let lines =
        || set_up.envoy.log().lines().filter(|line| line.contains(native::log_mark())).count();
    let before = lines();
    let began = Instant::now();
    set_up.server.refuse().await;
    for n in 0..500 {
        assert_eq!(set_up.get(&format!("token-{n}")).await.status, 503);
    }
    set_up.envoy.logged("introspection at cluster as failed").await;
    let written = lines() - before;
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("a short time");
    // One each second, and one for each end.
    assert!(written <= seconds + 2, "{written} lines in {seconds} s for 500 failures");
    set_up.server.accept();
    assert_eq!(set_up.get("token").await.status, 200);
    set_up.envoy.logged("recovered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_6750_11_rs_6750_13_d6_01_d6_02_no_token_no_secret_and_no_body_is_ever_logged_or_told() {
    /// Stands in everything that must not be seen.
    const MARK: &str = "Zk9Q";
    let ends = Ends::start().await;
    let by_post = format!("post-{MARK}");
    let secrets = [format!("basic-{MARK}"), format!("raw-{MARK}"), by_post.clone()];
    let with = |method: &str, secret: serde_json::Value| {
        let client = json!({"auth_method": method, "client_secret": secret, "retries": 0});
        let claims = json!({"claims": {"x-user": "sub"}, "payload": "x-payload"});
        let scoped = json!([{"paths": ["/scoped"], "scope": "a"}, {"paths": ["/**"]}]);
        plugin(json!({"introspection": client, "forward": claims, "rules": scoped}))
    };
    let plugins = [
        with("client_secret_basic", json!(secrets[0])),
        with("client_secret_basic_raw", json!(secrets[1])),
        with("client_secret_post", json!({"env": "SECRET"})).env("SECRET", &by_post),
    ];
    let names = [LISTENER, "raw", "post"];
    let mut bootstrap = ends.bootstrap();
    for (name, plugin) in names.iter().zip(&plugins) {
        let filter = plugin.filter("oauth2");
        bootstrap = bootstrap.listener(Listener::to(name, "service").filter(filter));
    }
    let options = Options { component_log_level: "wasm:trace".to_owned(), ..one_worker() };
    let set_up = ends.with_options(bootstrap, &options).await;

    let marked = || Answer::json(200, &json!({"active": true, "sub": format!("sub-{MARK}")}));
    let body = || Answer::status(500).body(format!("body-{MARK}"));
    let mut told = Vec::new();
    for listener in names {
        let address = set_up.envoy.address(listener);
        let mut number = 0;
        let mut send = async |said: Answer, path: &str, status: u16| {
            number += 1;
            set_up.server.on(ENDPOINT, said);
            let token = format!("token{number}-{listener}-{MARK}");
            for _ in 0..2 {
                let request = Request::post(path, format!("request-{MARK}")).bearer(&token);
                let answer = request.send(address).await.expect("an answer");
                assert_eq!(answer.status, status, "{listener}: {}", answer.text());
                if status != 200 {
                    told.push(format!("{:?} {}", answer.headers, answer.text()));
                }
            }
        };
        send(marked(), "/", 200).await;
        send(marked(), "/scoped", 403).await;
        send(inactive(), "/", 401).await;
        send(Answer::reset(), "/", 503).await;
        send(Answer::raw(format!("garbage-{MARK}\r\n")), "/", 503).await;
        send(body(), "/", 503).await;
        send(Answer::status(401).body(format!("body-{MARK}")), "/", 502).await;
        send(Answer::status(200).body(format!("body-{MARK}")), "/", 502).await;
        send(marked().padded_to(2_000_000), "/", 502).await;
        for (value, status) in [
            (format!("Bearer {MARK} {MARK}"), 401),
            (format!("Bearer {MARK},Bearer {MARK}"), 400),
            (format!("Basic {MARK}"), 401),
            (format!("Bearer {}{MARK}", "a".repeat(16 * 1024)), 431),
        ] {
            let request = Request::get("/").header("authorization", value);
            let answer = request.send(address).await.expect("an answer");
            assert_eq!(answer.status, status, "{}", answer.text());
            told.push(format!("{:?} {}", answer.headers, answer.text()));
        }
    }
    set_up.envoy.access_log_entries(LISTENER, 22).await;
    let log = set_up.envoy.log();
    // The dynamic module has nothing to say at this level.
    assert!(native::is_chosen() || log.contains("[trace]"), "the log shows all that there is");
    let stats = set_up.envoy.admin_get("/stats?usedonly").await;
    let mut hidden = vec![MARK.to_owned()];
    for secret in &secrets {
        let credentials = BASE64_STANDARD.encode(format!("rs:{secret}"));
        assert!(set_up.server.requests(ENDPOINT).iter().any(|call| {
            call.header("authorization") == Some(format!("Basic {credentials}"))
                || call.parameter("client_secret").as_deref() == Some(secret)
        }));
        hidden.push(credentials);
    }
    for hidden in hidden {
        assert!(!log.contains(&hidden), "{hidden} in the log");
        assert!(!stats.contains(&hidden), "{hidden} in the statistics");
        assert!(!told.iter().any(|told| told.contains(&hidden)), "{hidden} in an answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_logged_at_debug_and_the_level_is_followed_while_requests_come() {
    let ends = Ends::start().await;
    let listener = listener(&plugin(json!({})));
    let options = Options { component_log_level: "wasm:info".to_owned(), ..one_worker() };
    let bootstrap = ends.bootstrap().listener(listener);
    let set_up = ends.with_options(bootstrap, &options).await;
    let refused = || set_up.envoy.log().matches("denied by unmatched: oauth2_no_token").count();
    assert_eq!(set_up.send(&Request::get("/")).await.status, 401);
    assert_eq!(refused(), 0);
    set_up.envoy.admin_post(&format!("/logging?{}=debug", native::logger())).await;
    wait::until("a line at the new level", async || {
        assert_eq!(set_up.send(&Request::get("/")).await.status, 401);
        refused() > 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_the_environment_stands_in_no_dump_of_the_configuration() {
    const SECRET: &str = "Zk9Q-secret";
    let environment = vec![("ORDERS_API_SECRET".to_owned(), SECRET.to_owned())];
    let options = Options { environment, ..one_worker() };
    let of_host = "host_env_keys: [ORDERS_API_SECRET]";
    let in_file = format!("key_values: {{ORDERS_API_SECRET: {SECRET}}}");
    // What stands in the file stands in the dump.
    for (variables, shown) in [(of_host, false), (&*in_file, true)] {
        let replacements = [("port_value: 10000", "port_value: 0"), (of_host, variables)];
        let envoy = Envoy::start_with(example("inbound.yaml", &replacements), &options).await;
        let dump = envoy.expect("Envoy with the file").admin_get("/config_dump?include_eds").await;
        assert!(dump.contains("ORDERS_API_SECRET"), "the dump shows the filter");
        assert_eq!(dump.contains(SECRET), shown, "{variables}");
    }
}
