use std::time::Duration;

use serde_json::json;

use super::*;
use crate::client::{Connection, Request, Response};

async fn get(server: &ScriptedServer, path: &str) -> io::Result<Response> {
    Request::get(path).send(server.address()).await
}

#[tokio::test]
async fn the_answers_of_a_script_come_in_order_and_the_last_repeats() {
    let server = ScriptedServer::start().await;
    server.on("/a", [Answer::status(503), Answer::json(200, &json!({"active": true}))]);
    let mut connection = Connection::open(server.address()).await.unwrap();
    for status in [503, 200, 200] {
        let answer = connection.send(&Request::form("/a?q", &[("token", "t")])).await.unwrap();
        assert_eq!(answer.status, status);
    }
    let requests = server.requests("/a");
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[2].parameter("token").as_deref(), Some("t"));
    assert_eq!(requests[2].connection, 0, "kept alive");
    assert_eq!(get(&server, "/b").await.unwrap().status, 404);
}

#[tokio::test]
async fn an_answer_can_depend_on_the_request() {
    let server = ScriptedServer::start().await;
    server.on_each("/a", |request| Answer::json(200, &json!({"sub": request.parameter("token")})));
    let answer = Request::form("/a", &[("token", "t")]).send(server.address()).await.unwrap();
    assert_eq!(answer.json()["sub"], "t");
}

#[tokio::test]
async fn a_body_is_framed_in_every_way() {
    let server = ScriptedServer::start().await;
    let hello = || Answer::status(200).body("hello");
    server.on("/length", hello());
    server.on("/chunked", hello().chunked());
    server.on("/close", hello().until_close());
    server.on("/hints", hello().early_hints());
    server.on("/drip", hello().chunked().dripping(1, Duration::from_millis(1)));
    for path in ["/length", "/chunked", "/close", "/hints", "/drip"] {
        assert_eq!(get(&server, path).await.unwrap().text(), "hello", "{path}");
    }
    assert_eq!(get(&server, "/hints").await.unwrap().interim, [103]);
}

#[tokio::test]
async fn a_padded_body_is_as_long_as_wanted_and_means_the_same() {
    let server = ScriptedServer::start().await;
    let answer = Answer::json(200, &json!({"active": false})).padded_to(2_000_001);
    server.on("/length", answer.clone());
    server.on("/chunked", answer.chunked());
    for path in ["/length", "/chunked"] {
        let answer = get(&server, path).await.unwrap();
        assert_eq!((answer.body.len(), answer.json()), (2_000_001, json!({"active": false})));
    }
}

#[tokio::test]
async fn an_answer_can_be_spoilt_in_every_way() {
    let server = ScriptedServer::start().await;
    let hello = || Answer::status(200).body("hello");
    server.on("/garbage", Answer::raw("\0\x01garbage\r\n\r\n"));
    server.on("/truncated", hello().truncated(3));
    server.on("/truncated-chunks", hello().chunked().truncated(3));
    server.on("/reset", Answer::reset());
    server.on("/reset-after-head", hello().reset_after_head());
    server.on("/close", Answer::close());
    let cases = [
        ("/garbage", io::ErrorKind::InvalidData),
        ("/truncated", io::ErrorKind::UnexpectedEof),
        ("/truncated-chunks", io::ErrorKind::UnexpectedEof),
        ("/reset", io::ErrorKind::ConnectionReset),
        ("/reset-after-head", io::ErrorKind::ConnectionReset),
        ("/close", io::ErrorKind::UnexpectedEof),
    ];
    for (path, kind) in cases {
        let error = get(&server, path).await.expect_err(path);
        assert_eq!(error.kind(), kind, "{path}: {error}");
    }
}

#[tokio::test]
async fn a_gate_holds_every_request_until_it_opens() {
    let server = ScriptedServer::start().await;
    let gate = Gate::new();
    server.on("/a", Answer::status(200).held_by(&gate));
    let address = server.address();
    let clients: Vec<_> = (0..50)
        .map(|_| tokio::spawn(async move { Request::get("/a").send(address).await }))
        .collect();
    gate.arrived(50).await;
    assert_eq!(gate.waiting(), 50);
    assert!(!clients.iter().any(JoinHandle::is_finished));
    gate.open();
    for client in clients {
        assert_eq!(client.await.unwrap().unwrap().status, 200);
    }
    gate.deserted().await;
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_at_the_gate() {
    let server = ScriptedServer::start().await;
    let gate = Gate::new();
    server.on("/a", Answer::status(200).held_by(&gate));
    let mut connection = Connection::open(server.address()).await.unwrap();
    connection.send_head(&Request::get("/a")).await.unwrap();
    gate.arrived(1).await;
    connection.abort();
    gate.deserted().await;
}

#[tokio::test]
async fn what_hangs_ends_with_the_connection() {
    let server = ScriptedServer::start().await;
    server.on("/a", Answer::hang());
    let mut connection = Connection::open(server.address()).await.unwrap();
    connection.send_head(&Request::get("/a")).await.unwrap();
    server.arrived("/a", 1).await;
    server.refuse().await;
    connection.closed().await.unwrap();
}

#[tokio::test]
async fn it_refuses_and_accepts_again_on_the_same_port() {
    let server = ScriptedServer::start().await;
    server.on("/a", Answer::status(200));
    let mut kept = Connection::open(server.address()).await.unwrap();
    assert_eq!(kept.send(&Request::get("/a")).await.unwrap().status, 200);
    for _ in 0..3 {
        server.refuse().await;
        let error = get(&server, "/a").await.expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        server.accept();
        assert_eq!(get(&server, "/a").await.unwrap().status, 200);
    }
    kept.closed().await.unwrap();
}
