//! The exchanges that must come out the same in the simulated host and in the real Envoy.
//!
//! An [`Exchange`] is a configuration, what the authorization server answers, and requests with
//! what must come of each. The table is in [`table`]; each host has a runner for it.

// A table is as long as what it lists, and reads best when its parts are given as values.
#![allow(clippy::too_many_lines, clippy::needless_pass_by_value)]

mod check;
mod claims;
mod jwt;
mod resources;
#[path = "../signing/mod.rs"]
pub mod signing;
mod table;

use serde_json::{Value, json};

pub use check::{Seen, check};
pub use table::table;

/// One configuration and what happens with it.
pub struct Exchange {
    /// What it proves, as a sentence; the lines of the standards that it proves stand before
    /// (`tests/standards.rs`).
    pub name: &'static str,
    /// Added to the `inbound` object.
    pub inbound: Value,
    /// What the authorization server answers, call by call; the last repeats.
    pub server: Vec<Scripted>,
    /// Further authorization servers: the path of each after the exchange's own prefix.
    pub others: Vec<(&'static str, Vec<Scripted>)>,
    /// Requests, one after the other.
    pub steps: Vec<Step>,
}

/// A request and what must come of it.
pub struct Step {
    /// The request.
    pub request: Request,
    /// What must come of it.
    pub expected: Expected,
    /// How many calls the authorization server must have had by then, if that is to be checked.
    pub calls: Option<usize>,
    /// What the last call must have looked like, if that is to be checked.
    pub call: Option<ExpectedCall>,
}

/// A request's head; `host` stands for `:authority`.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: &'static str,
    /// The request target as it goes on the wire.
    pub path: &'static str,
    /// The `:authority`.
    pub host: &'static str,
    /// Further headers, in order.
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// The body, if it is not empty. Exchanges with bodies have Envoy's filter `mcp` before ours.
    pub body: Vec<u8>,
}

/// What an authorization server does with a call.
#[derive(Clone)]
pub enum Scripted {
    /// An answer with this status, these headers and this body.
    Answer(u16, Vec<(&'static str, &'static str)>, Vec<u8>),
    /// A 200 with so many bytes of JSON.
    Huge(u64),
    /// The connection is reset before the answer.
    Reset,
    /// The connection is closed before the answer.
    Close,
    /// The answer breaks off in the middle of its body.
    Truncated,
    /// What comes is no HTTP.
    Garbage,
    /// A 103 comes before this answer.
    EarlyHints(Box<Self>),
    /// Nothing comes.
    Hang,
}

/// What must come of a request.
#[derive(Clone)]
pub enum Expected {
    /// The service gets it.
    Passed {
        /// Headers that it must have, each exactly once.
        has: Vec<(&'static str, String)>,
        /// Headers that it must not have.
        lacks: Vec<&'static str>,
    },
    /// The filter answers it.
    Refused {
        /// The status; gRPC requests get the one that belongs to it.
        status: u16,
        /// `%RESPONSE_CODE_DETAILS%`.
        details: &'static str,
        /// `WWW-Authenticate` after `Bearer realm="oauth2"`, if there is one.
        challenge: Option<&'static str>,
        /// The `error` of the body.
        error: &'static str,
        /// `Retry-After`, if there is one.
        retry_after: Option<&'static str>,
    },
    /// The filter answers it with the resource's metadata.
    Described(Value),
    /// The filter answers it so.
    Answered {
        /// The status; gRPC requests get the one that belongs to it.
        status: u16,
        /// `%RESPONSE_CODE_DETAILS%`.
        details: &'static str,
        /// Headers that it must have, each exactly once.
        has: Vec<(&'static str, String)>,
        /// Headers that it must not have.
        lacks: Vec<&'static str>,
    },
}

/// What a call to the authorization server must look like.
#[derive(Clone)]
pub struct ExpectedCall {
    /// The path and query after the exchange's own prefix.
    pub path: &'static str,
    /// Headers that it must have.
    pub headers: Vec<(&'static str, &'static str)>,
    /// Headers that it must not have.
    pub lacks: Vec<&'static str>,
    /// The form.
    pub body: &'static str,
}

/// An exchange with nothing in it yet: every request needs a token, every token is active.
pub fn exchange(name: &'static str) -> Exchange {
    let server = vec![active(json!({}))];
    Exchange { name, inbound: json!({}), server, others: Vec::new(), steps: Vec::new() }
}

impl Exchange {
    /// Adds to the `inbound` object; `introspection` is added to member by member, or `false`.
    pub fn inbound(mut self, inbound: Value) -> Self {
        self.inbound = inbound;
        self
    }

    /// What the authorization server does, call by call.
    pub fn server(mut self, answers: impl IntoIterator<Item = Scripted>) -> Self {
        self.server = answers.into_iter().collect();
        self
    }

    /// What another authorization server does, call by call, under this path.
    pub fn other(
        mut self,
        path: &'static str,
        answers: impl IntoIterator<Item = Scripted>,
    ) -> Self {
        self.others.push((path, answers.into_iter().collect()));
        self
    }

    /// Sends a request that must pass.
    pub fn passes(self, request: Request) -> Self {
        self.expect(request, Expected::Passed { has: Vec::new(), lacks: Vec::new() })
    }

    /// Sends a request that must be refused.
    pub fn refuses(self, request: Request, refusal: Refusal) -> Self {
        let Refusal { status, details, challenge, error, retry_after } = refusal;
        let expected = Expected::Refused { status, details, challenge, error, retry_after };
        self.expect(request, expected)
    }

    /// Sends so many requests, each with a token of its own, that must all pass.
    pub fn passes_tokens(self, tokens: usize) -> Self {
        (0..tokens).fold(self, |exchange, _| {
            let token = format!("token-{}", exchange.steps.len());
            exchange.passes(get("/").bearer(&token))
        })
    }

    /// Sends so many requests, each with a token of its own, that must all be refused.
    pub fn refuses_tokens(self, tokens: usize, refusal: Refusal) -> Self {
        (0..tokens).fold(self, |exchange, _| {
            let token = format!("token-{}", exchange.steps.len());
            exchange.refuses(get("/").bearer(&token), refusal.clone())
        })
    }

    /// Sends a request that must get this document of the resource's metadata.
    pub fn describes(self, request: Request, document: Value) -> Self {
        self.expect(request, Expected::Described(document))
    }

    /// Sends a request that the filter must answer so.
    pub fn answers(self, request: Request, status: u16, details: &'static str) -> Self {
        let (has, lacks) = (Vec::new(), Vec::new());
        self.expect(request, Expected::Answered { status, details, has, lacks })
    }

    /// The service must get this header in the last request, or the answer must have it.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        match self.steps.last_mut().map(|step| &mut step.expected) {
            Some(Expected::Passed { has, .. } | Expected::Answered { has, .. }) => {
                has.push((name, value.into()));
            }
            _ => panic!("{}: `with` follows `passes` or `answers`", self.name),
        }
        self
    }

    /// The service must not get this header in the last request, or the answer must lack it.
    pub fn without(mut self, name: &'static str) -> Self {
        match self.steps.last_mut().map(|step| &mut step.expected) {
            Some(Expected::Passed { lacks, .. } | Expected::Answered { lacks, .. }) => {
                lacks.push(name);
            }
            _ => panic!("{}: `without` follows `passes` or `answers`", self.name),
        }
        self
    }

    /// After the last request, the authorization server must have had this many calls.
    pub fn calls(mut self, calls: usize) -> Self {
        self.steps.last_mut().expect("`calls` follows a request").calls = Some(calls);
        self
    }

    /// The call made for the last request must look so.
    pub fn call(mut self, call: ExpectedCall) -> Self {
        self.steps.last_mut().expect("`call` follows a request").call = Some(call);
        self
    }

    /// The configuration, with an endpoint of its own under `prefix`.
    pub fn document(&self, prefix: &str) -> Value {
        let block = json!({
            "endpoint": format!("http://as.test/{prefix}/introspect"),
            "cluster": "as",
            "client_id": "rs",
            "client_secret": "rs-secret",
            "timeout": "500ms",
        });
        let with_default = |members: &Value| {
            let mut merged = block.clone();
            for (key, value) in members.as_object().expect("a block is an object") {
                merged[key] = match value {
                    Value::String(text) => json!(text.replace("{prefix}", prefix)),
                    other => other.clone(),
                };
            }
            merged.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
            merged
        };
        let mut inbound = self.inbound.clone();
        inbound["introspection"] = match &self.inbound["introspection"] {
            Value::Null => block.clone(),
            Value::Bool(false) => {
                inbound.as_object_mut().expect("an object").remove("introspection");
                return json!({ "inbound": inbound });
            }
            Value::Array(blocks) => blocks.iter().map(with_default).collect(),
            members => with_default(members),
        };
        json!({ "inbound": inbound })
    }

    fn expect(mut self, request: Request, expected: Expected) -> Self {
        self.steps.push(Step { request, expected, calls: None, call: None });
        self
    }
}

/// A GET without a token.
pub fn get(path: &'static str) -> Request {
    Request { method: "GET", path, host: "api.test", headers: Vec::new(), body: Vec::new() }
}

/// A POST of a message of MCP.
pub fn message(path: &'static str, message: impl ToString) -> Request {
    get(path)
        .method("POST")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(message.to_string())
}

impl Request {
    /// With another method.
    pub fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    /// To another host.
    pub fn host(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    /// With a bearer token.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// With a header.
    pub fn header(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With a body.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// As a gRPC request.
    pub fn grpc(self) -> Self {
        self.method("POST").header("content-type", "application/grpc").header("te", "trailers")
    }

    /// Whether it is one.
    pub fn is_grpc(&self) -> bool {
        let kinds = self.headers.iter().filter(|(name, _)| *name == "content-type");
        let mut rests = kinds.filter_map(|(_, value)| value.strip_prefix(b"application/grpc"));
        rests.any(|rest| rest.is_empty() || rest.starts_with(b"+"))
    }
}

/// The parts of [`Expected::Refused`].
#[derive(Clone)]
pub struct Refusal {
    status: u16,
    details: &'static str,
    challenge: Option<&'static str>,
    error: &'static str,
    retry_after: Option<&'static str>,
}

impl Refusal {
    /// With these parameters in the challenge after the realm.
    pub fn challenge(self, challenge: &'static str) -> Self {
        Self { challenge: Some(challenge), ..self }
    }

    /// With this `Retry-After`.
    pub fn retry_after(self, seconds: &'static str) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

/// 401 without an error code.
pub fn no_token() -> Refusal {
    let (status, details, error) = (401, "oauth2_no_token", "unauthorized");
    Refusal { status, details, challenge: Some(""), error, retry_after: None }
}

/// 401: the token is no good.
pub fn invalid_token(details: &'static str) -> Refusal {
    let challenge = Some(r#", error="invalid_token""#);
    Refusal { status: 401, details, challenge, error: "invalid_token", retry_after: None }
}

/// 400.
pub fn invalid_request(details: &'static str) -> Refusal {
    let challenge = Some(r#", error="invalid_request""#);
    Refusal { status: 400, details, challenge, error: "invalid_request", retry_after: None }
}

/// 431: the token is too long.
pub fn token_too_long() -> Refusal {
    Refusal { status: 431, ..invalid_request("oauth2_token_too_long") }
}

/// 403 with the challenge's parameters after the realm.
pub fn insufficient_scope(challenge: &'static str) -> Refusal {
    let (details, error) = ("oauth2_insufficient_scope", "insufficient_scope");
    Refusal { status: 403, details, challenge: Some(challenge), error, retry_after: None }
}

/// 401: the user has to be authenticated otherwise, or anew.
pub fn insufficient_user_authentication(challenge: &'static str) -> Refusal {
    let (details, error) =
        ("oauth2_insufficient_user_authentication", "insufficient_user_authentication");
    Refusal { status: 401, details, challenge: Some(challenge), error, retry_after: None }
}

/// 403 without a challenge.
pub fn access_denied(details: &'static str) -> Refusal {
    let error = "access_denied";
    Refusal { status: 403, details, challenge: None, error, retry_after: None }
}

/// 503.
pub fn unavailable(details: &'static str) -> Refusal {
    let (error, retry_after) = ("temporarily_unavailable", Some("1"));
    Refusal { status: 503, details, challenge: None, error, retry_after }
}

/// 502.
pub fn server_error(details: &'static str) -> Refusal {
    let error = "server_error";
    Refusal { status: 502, details, challenge: None, error, retry_after: None }
}

/// The server says that the token is active, and these claims.
pub fn active(claims: Value) -> Scripted {
    let mut body = json!({"active": true});
    for (name, value) in claims.as_object().expect("claims are an object") {
        body[name] = value.clone();
    }
    says(body.to_string())
}

/// The server says that the token is not active.
pub fn inactive() -> Scripted {
    says(r#"{"active":false}"#)
}

/// A 200 with this body.
pub fn says(body: impl AsRef<[u8]>) -> Scripted {
    let headers = vec![("content-type", "application/json")];
    Scripted::Answer(200, headers, body.as_ref().to_vec())
}

/// An answer with this status and an active token's body, which must not count.
pub fn status(status: u16) -> Scripted {
    Scripted::Answer(status, Vec::new(), br#"{"active":true}"#.to_vec())
}

/// Seconds since the epoch, so far from now as this.
#[expect(clippy::disallowed_methods, reason = "the real Envoy's clock is the real one")]
pub fn seconds_from_now(seconds: i64) -> i64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_secs()).expect("a clock before the end of time") + seconds
}
