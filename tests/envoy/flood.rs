//! Floods of tokens, and answers that are huge: what they cost the proxy, and what they must not.

use std::net::SocketAddr;
use std::ops::Range;
use std::{fs, time::Instant};

use oauth2_filter_testbed::client::{Connection, Request, Response};
use oauth2_filter_testbed::envoy::{Bootstrap, Cluster, Options};
use oauth2_filter_testbed::scripted::{Answer, Gate};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::set_up::{ENDPOINT, Ends, SetUp, inactive, listener, one_worker, plugin};

const CONNECTIONS: usize = 64;

/// Tokens that have been found good before a flood.
const GOOD: usize = 50;

/// What 20,000 more tokens, or 900,000, may add to the memory of the proxy: a remembered one would
/// take more than twice as much.
const NOISE: u64 = 20_000 * 26;

#[tokio::test(flavor = "multi_thread")]
async fn d3_01_a_flood_of_refused_tokens_takes_no_memory_and_pushes_out_no_good_one() {
    let set_up = flooded(&Options { concurrency: 2, ..Options::default() }).await;
    flood(set_up.address(), 0..10_000, refused, is_refused).await;
    let before = Memory::of(&set_up).await;
    flood(set_up.address(), 10_000..30_000, refused, is_refused).await;
    let grown = Memory::of(&set_up).await.since(before);
    assert!(grown.allocated < NOISE && grown.resident < NOISE, "{grown:?}");
    assert_eq!(set_up.calls(), GOOD + 30_000, "each is asked about, and once");
    good_ones_pass(&set_up).await;
    assert_eq!(set_up.calls(), GOOD + 30_000, "the good ones are still kept");
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_malformed_tokens_takes_no_memory_and_no_call() {
    let set_up = flooded(&Options { concurrency: 2, ..Options::default() }).await;
    flood(set_up.address(), 0..10_000, malformed, is_refused).await;
    let before = Memory::of(&set_up).await;
    flood(set_up.address(), 10_000..30_000, malformed, is_refused).await;
    let grown = Memory::of(&set_up).await.since(before);
    assert!(grown.allocated < NOISE && grown.resident < NOISE, "{grown:?}");
    good_ones_pass(&set_up).await;
    assert_eq!(set_up.calls(), GOOD);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes minutes: `make flood`"]
async fn a_million_refused_tokens_take_no_memory_and_push_out_no_good_one() {
    let options = Options {
        component_log_level: "wasm:warning".to_owned(),
        concurrency: 2,
        ..Options::default()
    };
    for (name, token) in
        [("refused", refused as fn(usize) -> String), ("malformed", malformed as _)]
    {
        let set_up = flooded(&options).await;
        set_up.server.clear();
        #[expect(clippy::disallowed_methods, reason = "it is shown, and nothing depends on it")]
        let started = Instant::now();
        println!("{name:>10} | seconds | calls | allocated KiB | resident KiB");
        let mut first = None;
        for hundred in 0..10 {
            let tokens = hundred * 100_000..(hundred + 1) * 100_000;
            flood(set_up.address(), tokens.clone(), token, is_refused).await;
            let Memory { allocated, resident } = Memory::of(&set_up).await;
            println!(
                "{:>10} | {:>7} | {:>6} | {:>9} | {:>9}",
                tokens.end,
                started.elapsed().as_secs(),
                set_up.calls(),
                allocated / 1024,
                resident / 1024
            );
            let calls = if name == "refused" { 100_000 } else { 0 };
            assert_eq!(set_up.calls(), calls, "each is asked about, and once");
            // What the scripted server remembers of a million calls is not what is tried here.
            set_up.server.clear();
            let now = Memory { allocated, resident };
            let grown = now.since(*first.get_or_insert(now));
            assert!(grown.allocated < NOISE && grown.resident < NOISE, "{grown:?}");
        }
        good_ones_pass(&set_up).await;
        assert_eq!(set_up.calls(), 0, "the good ones are still kept");
        set_up.comes_to_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_has_no_more_calls_under_way_than_the_cluster_allows_and_blames_no_token() {
    let ends = Ends::start().await;
    let few = json!({"max_connections": 8, "max_pending_requests": 8, "max_requests": 8});
    let bootstrap = Bootstrap::new()
        .custom_cluster(Cluster::new("as", ends.server.address()).thresholds(&few))
        .cluster("service", ends.service.address())
        .listener(listener(&plugin(json!({}))));
    let set_up = ends.with(bootstrap).await;
    good_ones_pass(&set_up).await;
    let gate = Gate::new();
    set_up.server.on(ENDPOINT, inactive().held_by(&gate));

    // Eight take every connection, and eight more wait for one.
    let mut waiting = Vec::new();
    for n in 0..16 {
        if n == 8 {
            gate.arrived(8).await;
        }
        let mut connection = Connection::open(set_up.address()).await.expect("a connection");
        let request = Request::get("/").bearer(&refused(n));
        connection.send_head(&request).await.expect("a request");
        waiting.push(connection);
    }
    set_up.envoy.stat_reaches("cluster.as.upstream_rq_pending_active", 8).await;
    flood(set_up.address(), 1_000..2_000, refused, is_put_off).await;
    assert_eq!(set_up.calls(), GOOD + 8);
    good_ones_pass(&set_up).await;
    gate.open();
    for mut connection in waiting {
        assert_eq!(connection.response("GET").await.expect("an answer").status, 401);
    }
    assert_eq!(set_up.calls(), GOOD + 16);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_answers_are_kept_only_as_far_as_there_is_room() {
    let ends = Ends::start().await;
    let asked = json!({"claims": {"groups": "a"}});
    let bootstrap = ends.bootstrap().listener(listener(&plugin(asked)));
    let set_up = ends.with_options(bootstrap, &one_worker()).await;
    let of_groups = |groups: Vec<&str>| {
        let answer = Answer::json(200, &json!({"active": true, "groups": groups}));
        set_up.server.on(ENDPOINT, answer);
    };
    of_groups(vec!["a"]);
    assert_eq!(set_up.get("small").await.status, 200);
    // All of these answers together would fill the VM.
    of_groups(vec!["a"; 200_000]);
    for n in 0..100 {
        assert_eq!(set_up.get(&format!("huge-{n}")).await.status, 200, "{n}");
        assert_eq!(set_up.get("small").await.status, 200, "{n}");
    }
    assert_eq!(set_up.calls(), 101, "what is in use is not pushed out by what is huge");
    // The last few are kept, the first are not.
    assert_eq!(set_up.get("huge-99").await.status, 200);
    assert_eq!(set_up.calls(), 101);
    assert_eq!(set_up.get("huge-0").await.status, 200);
    assert_eq!(set_up.calls(), 102);
    set_up.comes_to_rest().await;
}

/// A token that the server refuses.
fn refused(n: usize) -> String {
    format!("refused-{n}")
}

/// Something that is no token.
fn malformed(n: usize) -> String {
    match n % 200 {
        0 => format!("{n}{}", "long".repeat(5_000)),
        n if n % 3 == 0 => format!("to\"ken-{n}"),
        n if n % 3 == 1 => format!("to=ken-{n}"),
        n => format!("token-%{n}"),
    }
}

/// A small cache, in which there are good answers, and a server that refuses everything from now
/// on.
async fn flooded(options: &Options) -> SetUp {
    let cache = json!({"max_ttl": "1h", "max_entries": 1000, "negative_max_entries": 100});
    let ends = Ends::start().await;
    let listener =
        listener(&plugin(json!({"cache": cache}))).connection_manager(json!({"access_log": []}));
    let bootstrap = ends.bootstrap().listener(listener);
    let set_up = ends.with_options(bootstrap, options).await;
    good_ones_pass(&set_up).await;
    assert_eq!(set_up.calls(), GOOD);
    set_up.server.on(ENDPOINT, inactive());
    set_up
}

/// Sends a request with every good token.
async fn good_ones_pass(set_up: &SetUp) {
    for n in 0..GOOD {
        assert_eq!(set_up.get(&format!("good-{n}")).await.status, 200);
    }
}

/// Sends a request with each of these tokens over many connections, and looks at every answer.
async fn flood(
    address: SocketAddr,
    numbers: Range<usize>,
    token: fn(usize) -> String,
    look: fn(&Response),
) {
    let mut clients = JoinSet::new();
    for client in 0..CONNECTIONS {
        let numbers = numbers.clone().skip(client).step_by(CONNECTIONS);
        clients.spawn(async move {
            let mut connection = Connection::open(address).await.expect("a connection");
            for n in numbers {
                let request = Request::get("/").bearer(&token(n));
                look(&connection.send(&request).await.expect("an answer"));
            }
        });
    }
    clients.join_all().await;
}

/// The token is blamed.
fn is_refused(answer: &Response) {
    assert!(matches!(answer.status, 401 | 431), "{}: {}", answer.status, answer.text());
}

/// The server is blamed, and nothing is said of the token.
fn is_put_off(answer: &Response) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.header("retry-after").as_deref(), Some("1"));
    assert_eq!(answer.header("www-authenticate"), None);
}

/// What Envoy takes, in bytes.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// What it has allocated: shared data is in there, and the memory of VMs is not.
    allocated: u64,
    /// What the system has given it, the memory of VMs too.
    resident: u64,
}

impl Memory {
    async fn of(set_up: &SetUp) -> Self {
        let memory: Value =
            serde_json::from_str(&set_up.envoy.admin_get("/memory").await).expect("JSON");
        let allocated = memory["allocated"].as_str().and_then(|bytes| bytes.parse().ok());
        let status = fs::read_to_string(format!("/proc/{}/status", set_up.envoy.pid()));
        let status = status.expect("the status of Envoy's process");
        let resident = status.lines().find_map(|line| {
            let kib: u64 = line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kib * 1024)
        });
        Self { allocated: allocated.expect("bytes"), resident: resident.expect("kilobytes") }
    }

    /// What has been added.
    fn since(self, before: Self) -> Self {
        Self {
            allocated: self.allocated.saturating_sub(before.allocated),
            resident: self.resident.saturating_sub(before.resident),
        }
    }
}
