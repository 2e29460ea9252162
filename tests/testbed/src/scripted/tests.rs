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
    let last = &server.requests("/a")[2];
    assert_eq!((last.parameter("token").as_deref(), last.connection), (Some("t"), 0));
    assert_eq!(get(&server, "/b").await.unwrap().status, 404);
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
    server.on("/padded", Answer::json(200, &json!({"active": false})).padded_to(2_000_001));
    let padded = get(&server, "/padded").await.unwrap();
    assert_eq!((padded.body.len(), padded.json()), (2_000_001, json!({"active": false})));
}

#[tokio::test]
async fn an_answer_can_be_spoilt_in_every_way() {
    use io::ErrorKind::{ConnectionReset, InvalidData, UnexpectedEof};
    let server = ScriptedServer::start().await;
    let hello = || Answer::status(200).body("hello");
    for (answer, kind) in [
        (Answer::raw("\0\x01garbage\r\n\r\n"), InvalidData),
        (hello().truncated(3), UnexpectedEof),
        (hello().chunked().truncated(3), UnexpectedEof),
        (Answer::reset(), ConnectionReset),
        (hello().reset_after_head(), ConnectionReset),
        (Answer::close(), UnexpectedEof),
    ] {
        server.on("/a", answer);
        let error = get(&server, "/a").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[tokio::test]
async fn a_gate_holds_every_request_until_it_opens_and_notices_who_leaves() {
    let server = ScriptedServer::start().await;
    let gate = Gate::new();
    server.on("/a", Answer::status(200).held_by(&gate));
    let mut leaving = Connection::open(server.address()).await.unwrap();
    leaving.send_head(&Request::get("/a")).await.unwrap();
    let address = server.address();
    let client = tokio::spawn(async move { Request::get("/a").send(address).await });
    gate.arrived(2).await;
    leaving.abort();
    wait::until("who leaves to be noticed", async || gate.waiting() == 1).await;
    assert!(!client.is_finished());
    gate.open();
    assert_eq!(client.await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn it_refuses_and_accepts_again_on_the_same_port() {
    let server = ScriptedServer::start().await;
    server.on("/a", Answer::hang());
    let mut kept = Connection::open(server.address()).await.unwrap();
    kept.send_head(&Request::get("/a")).await.unwrap();
    server.arrived("/a", 1).await;
    server.refuse().await;
    kept.closed().await.unwrap();
    let error = get(&server, "/a").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    server.accept();
    server.on("/a", Answer::status(200));
    assert_eq!(get(&server, "/a").await.unwrap().status, 200);
}
