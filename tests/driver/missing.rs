//! A proxy that refuses a call on which no decision depends: what the call is for is missing, and
//! that is logged. Nothing panics, and nothing is forwarded that should not be.

use std::time::Duration;

use oauth2_filter_driver::HostCall;
use serde_json::json;

use crate::exchanges::get;
use crate::proxy::Proxy;
use crate::refused::{check_granted, everything};
use crate::set_up::{SetUp, client, document, logged, value};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_timer_that_is_refused_is_set_by_the_next_callback() {
    let line = |call: &str| format!("ERROR failed to set a timer (1 so far): {call}");
    for (call, name, text) in [
        (HostCall::SetTickPeriod, "", "proxy_set_tick_period_milliseconds returned status 10"),
        (HostCall::SetEffectiveContext, "1", "proxy_set_effective_context returned status 10"),
    ] {
        let mut set_up = SetUp::new(json!({}));
        set_up.send(&get("/").bearer("t"));
        let mut other = set_up.worker(&document(json!({})));
        other.proxy.refuse_for(call, name);
        let follows = other.send(&get("/").bearer("t"));
        assert_eq!(logged(), [line(text)]);
        assert_eq!(other.proxy.tick_period(other.root), Duration::ZERO);
        // A flood of requests is no flood of lines.
        for _ in 0..100 {
            other.send(&get("/"));
        }
        assert_eq!(logged(), [""; 0]);
        other.proxy.grant_all();
        other.send(&get("/"));
        assert!(other.proxy.tick_period(other.root) > Duration::ZERO);
        set_up.respond_to_call(200, &json!({"active": true}));
        other.tick();
        assert_eq!(other.outcome(follows), "forwarded");
    }
}

#[test]
fn a_batch_whose_timer_is_refused_goes_on_with_the_next_callback_that_can() {
    let mut set_up = SetUp::new(json!({}));
    let streams: Vec<u32> = (0..70).map(|_| set_up.send(&get("/").bearer("t"))).collect();
    set_up.proxy.refuse(HostCall::SetTickPeriod);
    set_up.respond_to_call(200, &json!({"active": true}));
    assert_eq!(set_up.outcome(streams[69]), "waits");
    set_up.proxy.grant_all();
    set_up.send(&get("/"));
    set_up.tick();
    assert_eq!(set_up.outcome(streams[69]), "forwarded");
}

#[test]
fn a_worker_without_shared_data_works_by_itself() {
    for (call, name, others) in [
        // What it writes is read by others all the same.
        (HostCall::SharedData, "proxy_get", "forwarded"),
        (HostCall::SetSharedData, "proxy_set", "waits"),
    ] {
        let mut set_up = SetUp::new(json!({}));
        let mut other = set_up.worker(&document(json!({})));
        set_up.proxy.refuse(call);
        let waits = set_up.send(&get("/").bearer("t"));
        set_up.respond_to_call(200, &json!({"active": true}));
        assert_eq!(set_up.outcome(waits), "forwarded", "{call:?}");
        assert_eq!(set_up.outcome_of(&get("/").bearer("t")), "forwarded", "from its own cache");
        assert_eq!(other.outcome_of(&get("/").bearer("t")), others, "{call:?}");
        let lines = logged();
        let text = format!(
            "WARN failed to access shared data (1 so far): {name}_shared_data returned status 10"
        );
        assert_eq!(lines, [text], "once, although it was refused often");
        assert_eq!((set_up.host_errors(), set_up.waiting()), (0, 0));
    }
}

#[test]
fn an_outbound_client_without_shared_data_forwards_nothing_without_a_token() {
    let token = json!({"access_token": "one", "token_type": "Bearer", "expires_in": 90});
    for call in [HostCall::SharedData, HostCall::SetSharedData] {
        let mut set_up = SetUp::with(&client());
        set_up.proxy.refuse(call);
        if call == HostCall::SetSharedData {
            // Without a lease no worker may call, since a refresh token must not be sent twice.
            let refused = set_up.send(&get("/"));
            assert_eq!(set_up.outcome(refused), "oauth2_host_error");
            assert_eq!((set_up.proxy.calls_made(), set_up.waiting()), (0, 0));
            set_up.proxy.grant_all();
        }
        let streams = [(); 2].map(|()| set_up.send(&get("/")));
        assert_eq!(set_up.proxy.calls_made(), 1, "{call:?}");
        set_up.respond_to_call(200, &token);
        for stream in streams {
            assert_eq!(set_up.header(stream, "authorization").unwrap(), "Bearer one", "{call:?}");
        }
    }
}

#[test]
fn a_metric_that_is_refused_is_missing_and_nothing_else() {
    let proxy = Proxy::default();
    let name = "oauth2_filter.lookups.result.hit";
    proxy.refuse_for(HostCall::DefineMetric, name);
    let mut set_up = SetUp::in_proxy(proxy, &document(everything()));
    let line =
        format!("WARN failed to define metric {name}: proxy_define_metric returned status 10");
    assert!(logged().contains(&line));
    check_granted(&mut set_up);
    check_granted(&mut set_up);
    assert_eq!(set_up.proxy.metric("lookups.result.miss"), Some(1));
    assert_eq!(set_up.proxy.metric(name), None);

    // None at all.
    let proxy = Proxy::default();
    proxy.refuse(HostCall::DefineMetric);
    let mut set_up = SetUp::in_proxy(proxy, &document(json!({})));
    let stream = set_up.send(&get("/").bearer("t"));
    set_up.respond_to_call(200, &json!({"active": true}));
    assert_eq!(set_up.outcome(stream), "forwarded");
}

#[test]
fn a_metric_that_is_not_updated_is_too_low_and_nothing_else() {
    let calls = [
        (HostCall::IncrementMetric, "proxy_increment_metric"),
        (HostCall::RecordMetric, "proxy_record_metric"),
    ];
    for (call, name) in calls {
        let mut set_up = SetUp::new(json!({}));
        set_up.proxy.refuse(call);
        let stream = set_up.send(&get("/").bearer("t"));
        set_up.respond_to_call(200, &json!({"active": true}));
        assert_eq!(set_up.outcome(stream), "forwarded");
        let line = format!("WARN failed to update a metric (1 so far): {name} returned status 10");
        assert_eq!(logged(), [line]);
    }
}

#[test]
fn a_configuration_needs_its_document_and_random_bytes_but_no_log_level() {
    let document = document(json!({}));
    for (call, line) in [
        (
            HostCall::Buffer,
            "ERROR failed to read the configuration: proxy_get_buffer_bytes returned status 10",
        ),
        (HostCall::Random, "ERROR failed to get random bytes: random_get returned status 10"),
    ] {
        let mut set_up = SetUp::unconfigured(Proxy::default());
        set_up.proxy.refuse(call);
        assert!(!set_up.configure(&document));
        assert_eq!(logged(), [line]);
        assert_eq!(set_up.outcome_of(&get("/").bearer("t")), "oauth2_unconfigured");
        set_up.proxy.grant_all();
        assert!(set_up.configure(&document));
        logged();
    }
    let mut set_up = SetUp::unconfigured(Proxy::default());
    set_up.proxy.refuse(HostCall::LogLevel);
    assert!(set_up.configure(&document));
    let line = "WARN failed to read the log level, which stays unchanged: proxy_get_log_level \
         returned status 10";
    assert_eq!(logged()[0], line);
}

#[test]
fn a_request_that_cannot_be_answered_stays_where_it_is() {
    let text = "proxy_send_local_response returned status 10";
    let line = format!("ERROR failed to send a response (1 so far): {text}");
    let mut set_up = SetUp::new(json!({}));
    set_up.proxy.refuse(HostCall::SendLocalResponse);
    let at_once = set_up.begin(&get("/"));
    assert_eq!(logged(), [line]);
    let waits = set_up.begin(&get("/").bearer("t"));
    set_up.respond_to_call(200, &json!({"active": false}));
    set_up.proxy.advance(SECOND);
    let unknown = SetUp::unconfigured(set_up.proxy.clone());
    assert!(!unknown.vm.request_headers(500, true));
    for stream in [at_once, waits] {
        assert_eq!(set_up.outcome(stream), "waits");
        assert!(!set_up.body(stream) && !set_up.trailers(stream, &[]));
        set_up.end(stream);
    }
    set_up.proxy.grant_all();
    assert_eq!(set_up.outcome_of(&get("/")), "oauth2_no_token");
}

#[test]
fn a_waiting_request_that_cannot_be_reached_is_not_forwarded_later() {
    let mut set_up = SetUp::new(json!({}));
    let [unreachable, other] = [(); 2].map(|()| set_up.begin(&get("/").bearer("t")));
    set_up.proxy.refuse_for(HostCall::SetEffectiveContext, &unreachable.to_string());
    set_up.respond_to_call(200, &json!({"active": true}));
    assert_eq!(set_up.outcome(unreachable), "waits");
    assert!(!set_up.body(unreachable));
    assert_eq!(set_up.outcome(other), "forwarded");
    let line = "ERROR failed to send a response (1 so far): proxy_set_effective_context returned \
         status 10";
    assert_eq!(logged(), [line]);
    set_up.end(unreachable);
    assert_eq!(set_up.waiting(), 0);
}

#[test]
fn a_response_that_cannot_be_marked_as_private_is_logged() {
    for (call, header, left) in [
        (HostCall::SetHeader, "cache-control", "public"),
        // The directive that could not be read may have been the strictest.
        (HostCall::Header, "cache-control", "private, no-store"),
    ] {
        let mut set_up = SetUp::new(json!({"token_sources": [{"query": "access_token"}]}));
        let stream = set_up.send(&get("/?access_token=t"));
        set_up.respond_to_call(200, &json!({"active": true}));
        set_up.proxy.refuse_for(call, header);
        set_up.respond(stream, 200, &[("cache-control", "public")]);
        let response = set_up.proxy.stream(stream).response.clone();
        assert_eq!(value(&response, "cache-control").unwrap(), left);
        let lines = logged();
        let line = "WARN failed to mark a response as private (1 so far): ";
        assert!(lines.len() == 1 && lines[0].starts_with(line), "{lines:?}");
    }
}
