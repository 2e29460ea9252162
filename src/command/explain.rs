//! `explain`: shows what happens to a request.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use base64ct::{Base64, Encoding};
use lexopt::{Arg, Parser, ValueExt};
use oauth2_filter_core::{
    Action, Answer, Body, Call, Context, Dropped, Event, Explanation, Fields, Filter, Forward,
    Head, Input, IssuerNeeds, Jwt, Message, NotWritten, Output, Purpose, Reply, SharedData,
    SharedStore, Step, StreamId, Timestamp, TokenNeeds, Verdict,
};
use serde_json::{Map, Value, json};

use crate::report::{Format, Report};
use crate::token::{self, TOKEN, Token};
use crate::uses::{Contents, Host, Use};
use crate::{Failure, check, contents, read_file, review, say, text_value};

/// A JWT of the authorization server: `{"alg":"RS256"}.{}` with a signature of three bytes.
const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln";

/// The stream of the only request.
const STREAM: StreamId = StreamId(1);

/// The arguments.
#[derive(Debug, Default)]
struct Question {
    file: Option<String>,
    /// The number of the use of the filter in it, from 1.
    number: Option<usize>,
    url: Option<String>,
    method: Option<String>,
    /// Additional headers, with names in lower case.
    headers: Vec<(String, String)>,
    /// The method of a message of the Model Context Protocol.
    mcp_method: Option<String>,
    /// The tool that it calls.
    mcp_tool: Option<String>,
    /// The introspection response.
    claims: Option<Map<String, Value>>,
    /// The scope of the token, if no claims are given.
    scope: Option<String>,
    /// Whether there is no token.
    no_token: bool,
    /// What runs a document alone.
    host: Option<Host>,
}

/// Runs the command.
pub(crate) fn run(arguments: Parser) -> Result<ExitCode, Failure> {
    let question = Question::read(arguments)?;
    let file = question.file.as_deref().ok_or_else(|| Failure::usage("missing FILE"))?;
    let url = question.url.as_deref().ok_or_else(|| Failure::usage("missing --url"))?;
    let body = question.body()?;
    let method = if body == Body::Empty { "GET" } else { "POST" };
    let mut head = head(question.method.as_deref().unwrap_or(method), url)?;
    let mut contents = contents::read(file, &read_file(file)?);
    contents.set_host(question.host.unwrap_or(Host::Module));
    let found = chosen(&contents, question.number, file)?;
    let Some(mut filter) = load(found) else {
        let mut report = Report::default();
        report.add(file, &contents, check::findings(&contents, false));
        say(&Format::Text.write(&report))?;
        return Ok(ExitCode::from(1));
    };
    head.extend(question.headers.iter().cloned());
    let request = |head: &[_]| Request::new(fields(head), body.clone());
    let explanation = filter.explain(&request(&head));
    let claims = question.claims(&explanation.needs);
    let now = since_epoch().as_secs();
    let token = Token::new(&claims, question.claims.is_some(), &explanation, now);
    let carrier = filter.carrier(&request(&head), &token.text);
    let is_made = carrier.is_some();
    // A request has one `Authorization` header.
    let has_other = |(name, _): &(String, String)| {
        *name == "authorization" && question.headers.iter().any(|(given, _)| given == name)
    };
    let no_token = question.no_token || carrier.as_ref().is_some_and(has_other);
    let has_token = carrier.is_none() || !no_token;
    if explanation.looks_for_token
        && !no_token
        && let Some(carrier) = carrier
    {
        head.retain(|(name, _)| *name != carrier.0 || name != ":path");
        head.push(carrier);
    }
    let mut request = request(&head);
    let jwt = filter.jwt(&request);
    if let Some((_, jwt)) = jwt.as_ref().filter(|(issuer, _)| issuer.is_verified_by_host) {
        request.jwt_authn = Some(token::verified_by_host(jwt));
    }
    let given = question.headers.into_iter().map(|(name, _)| name).collect();
    let Token { text: token, says } = token;
    let says = says.filter(|_| is_made);
    let mut story = Story { claims, head, given, token, jwt, text: String::new() };
    let verdict = story.drive(&mut filter, &request);
    let calls = std::mem::take(&mut story.text);
    story.tell_request(&explanation, has_token);
    story.tell_rule(&explanation, verdict.as_ref());
    if matches!(explanation.access, "token" | "optional") {
        story.tell_jwt(says);
    }
    story.text += &calls;
    match verdict {
        Some(verdict) => story.tell_verdict(&verdict),
        None => story.line("", "no decision: the request waits, but no call is pending"),
    }
    say(&story.text)?;
    Ok(ExitCode::SUCCESS)
}

impl Question {
    fn read(mut arguments: Parser) -> Result<Self, Failure> {
        let mut question = Self::default();
        while let Some(argument) = arguments.next()? {
            match argument {
                Arg::Long("url") => question.url = Some(text_value(&mut arguments)?),
                Arg::Long("method") => question.method = Some(text_value(&mut arguments)?),
                Arg::Long("scope") => question.scope = Some(text_value(&mut arguments)?),
                Arg::Long("mcp-method") => {
                    question.mcp_method = Some(text_value(&mut arguments)?);
                }
                Arg::Long("mcp-tool") => question.mcp_tool = Some(text_value(&mut arguments)?),
                Arg::Long("no-token") => question.no_token = true,
                Arg::Long("host") => {
                    question.host = Some(arguments.value()?.parse_with(Host::of_name)?);
                }
                Arg::Long("use") => question.number = Some(arguments.value()?.parse()?),
                Arg::Long("header") => {
                    let header = text_value(&mut arguments)?;
                    let header = header.split_once(':').map(|(name, value)| {
                        (name.trim().to_ascii_lowercase(), value.trim().to_owned())
                    });
                    let is_header = |(name, value): &(String, String)| {
                        !name.is_empty()
                            && name.chars().all(|c| c.is_ascii_graphic())
                            && !value.contains(char::is_control)
                    };
                    let header = header.filter(is_header);
                    let header =
                        header.ok_or_else(|| Failure::usage("--header must be 'NAME: VALUE'"))?;
                    question.headers.push(header);
                }
                Arg::Long("claims") => {
                    let file = text_value(&mut arguments)?;
                    question.claims = Some(claims_of(&file, &read_file(&file)?)?);
                }
                Arg::Value(file) if question.file.is_none() => {
                    question.file = Some(file.string()?);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        let tokens = [question.claims.is_some(), question.scope.is_some(), question.no_token];
        if tokens.into_iter().filter(|is_given| *is_given).count() > 1 {
            return Err(Failure::usage("--claims, --scope and --no-token cannot be combined"));
        }
        Ok(question)
    }

    /// The body of the request.
    fn body(&self) -> Result<Body, Failure> {
        let method = match (&self.mcp_method, &self.mcp_tool) {
            (None, None) => return Ok(Body::Empty),
            (Some(method), Some(_)) if method != "tools/call" => {
                return Err(Failure::usage("--mcp-tool is for --mcp-method tools/call"));
            }
            (method, _) => method.as_deref().unwrap_or("tools/call"),
        };
        let name = self.mcp_tool.as_deref().map(Into::into);
        Ok(Body::Message(Message { method: method.into(), name }))
    }

    /// The introspection response: the given claims, or else the given scope and everything else
    /// that the rule requires.
    fn claims(&self, needs: &TokenNeeds) -> Map<String, Value> {
        let mut claims = Map::from_iter([("active".to_owned(), json!(true))]);
        if let Some(given) = &self.claims {
            claims.extend(given.clone());
        }
        if needs.jwt_response && !claims.contains_key("jwt") {
            claims.insert("jwt".to_owned(), JWT.into());
        }
        if self.claims.is_some() {
            return claims;
        }
        if let Some(claim) = &needs.bearer {
            claims.insert(claim.clone(), JWT.into());
        }
        for (name, values) in
            [("aud", &needs.audience), ("iss", &needs.issuer), ("acr", &needs.acr_values)]
        {
            if let Some(value) = values.first() {
                claims.insert(name.to_owned(), value.as_str().into());
            }
        }
        if needs.max_age.is_some() {
            claims.insert("auth_time".to_owned(), since_epoch().as_secs().into());
        }
        if needs.token_type {
            claims.insert("token_type".to_owned(), "Bearer".into());
        }
        if let Some(scope) = &self.scope {
            claims.insert("scope".to_owned(), scope.as_str().into());
        }
        claims
    }
}

/// The claims in a file. An error must not quote the file, which may contain a token.
fn claims_of(file: &str, text: &str) -> Result<Map<String, Value>, Failure> {
    match serde_json::from_str(text) {
        Ok(Value::Object(claims)) => Ok(claims),
        Ok(_) => Err(Failure(format!("{file}: expected a JSON object of claims"))),
        Err(error) => Err(Failure(format!("{file}: expected a JSON object of claims: {error}"))),
    }
}

/// The pseudo-headers of a request. The path is unchanged, because the filter checks it.
fn head(method: &str, url: &str) -> Result<Vec<(String, String)>, Failure> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| {
        Failure::usage("--url must be an absolute URL such as https://api.example.com/a")
    })?;
    if method.is_empty() || !url.chars().chain(method.chars()).all(|c| c.is_ascii_graphic()) {
        return Err(Failure::usage("--url must be percent-encoded, and --method a single word"));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if !["http", "https"].contains(&&*scheme.to_ascii_lowercase()) {
        return Err(Failure::usage("--url must begin with http:// or https://"));
    }
    if authority.is_empty() || authority.contains('@') {
        return Err(Failure::usage("--url must have a host and no user information"));
    }
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let head =
        [(":method", method), (":scheme", scheme), (":authority", authority), (":path", &path)];
    Ok(head.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
}

/// The selected use.
fn chosen<'c>(
    contents: &'c Contents,
    number: Option<usize>,
    file: &str,
) -> Result<&'c Use, Failure> {
    match (contents.uses.as_slice(), number) {
        ([], _) => Err(Failure(format!("{file}: no configuration of the filter"))),
        ([only], None) => Ok(only),
        (uses, Some(number)) => uses
            .get(number.wrapping_sub(1))
            .ok_or_else(|| Failure(format!("{file}: --use must be from 1 to {}", uses.len()))),
        (uses, None) => {
            let list = uses
                .iter()
                .enumerate()
                .map(|(n, found)| format!("{} is {}", n.saturating_add(1), found.within));
            let list = list.collect::<Vec<_>>().join("; ");
            Err(Failure(format!(
                "{file}: the filter is configured more than once; select one with --use: {list}"
            )))
        }
    }
}

/// The filter with the document of a use, without its secrets, so that none can be printed. `None`
/// if there are errors.
fn load(found: &Use) -> Option<Filter> {
    let review = review::reviewed(found, false);
    let bare = found.without_secrets(&review.secrets)?;
    let filter = review::credulous_filter(&bare);
    let is_refused = found.remarks.iter().any(|remark| remark.is_mistake);
    filter.filter(|_| review.mistakes.is_empty() && !is_refused)
}

/// The request, and the output about it.
struct Story {
    /// The introspection response.
    claims: Map<String, Value>,
    /// The request's headers.
    head: Vec<(String, String)>,
    /// The names of the given headers.
    given: Vec<String>,
    /// The caller's token.
    token: String,
    /// The same as a JWT that is verified, and its issuer.
    jwt: Option<(IssuerNeeds, Jwt)>,
    /// The output.
    text: String,
}

impl Story {
    /// Adds a line with a label. Writing to a String does not fail.
    fn line(&mut self, word: &str, text: &str) {
        let _ = writeln!(self.text, "{}", format!("{word:<10}{text}").trim_end());
    }

    /// A header of the request.
    fn header(&self, name: &str) -> &str {
        let header = self.head.iter().find(|(known, _)| known == name);
        header.map_or("", |(_, value)| value)
    }

    /// Prints the request.
    fn tell_request(&mut self, explanation: &Explanation, has_token: bool) {
        let token = match (explanation.looks_for_token, has_token) {
            (false, _) => "",
            (true, true) => ", with a token",
            (true, false) => ", without a token",
        };
        let path = self.header(":path").replace(&self.token, TOKEN);
        let request =
            format!("{} {path} for {}{token}", self.header(":method"), self.header(":authority"));
        self.line("request", &request);
    }

    /// Prints the rule that decides, and what it requires.
    fn tell_rule(&mut self, explanation: &Explanation, verdict: Option<&Verdict>) {
        let state = |wanted: &str| {
            let mut state = verdict.into_iter().flat_map(|verdict| verdict.attributes.iter());
            state.find_map(|(name, value)| (name == wanted).then_some(value))
        };
        let decided = state("oauth2_rule");
        if let Some(client) = &explanation.client {
            self.line("client", client);
        }
        for (rule, other) in &explanation.near {
            self.line("nearly", &format!("{rule}, for {other}"));
        }
        let Some(rule) = decided.or(explanation.rule.as_deref()) else { return };
        self.line("rule", rule);
        if rule == "resource_metadata" && state("oauth2_decision") == Some("denied") {
            self.line("resource", "none covers this request");
        } else if let Some(resource) = &explanation.resource {
            self.line("resource", resource);
        }
        if explanation.rule.as_deref() != Some(rule) {
            // Something other than a rule decided.
            return;
        }
        self.line("access", explanation.access);
        let needs = &explanation.needs;
        let age = needs.max_age.map(|age| format!("{} s", age.as_secs())).into_iter().collect();
        for (name, values) in [
            ("scope", needs.scope.clone()),
            ("audience", needs.audience.clone()),
            ("issuer", needs.issuer.clone()),
            ("acr_values", needs.acr_values.clone()),
            ("max_age", age),
        ] {
            if !values.is_empty() {
                self.line("requires", &format!("{name}: {}", values.join(", or ")));
            }
        }
        let is_introspected = self.jwt.as_ref().is_none_or(|(issuer, _)| issuer.is_introspected);
        let (one, new) = if is_introspected {
            ("an introspection response", "a new introspection response")
        } else {
            ("a verification", "a new verification")
        };
        match needs.max_ttl {
            Some(Duration::ZERO) => self.line("requires", new),
            Some(age) => self.line("requires", &format!("{one} less than {age:?} old")),
            None => {}
        }
        if needs.token_type && is_introspected {
            self.line("requires", "token_type in the introspection response");
        }
        if let Some(claim) = &needs.bearer {
            self.line("requires", &format!("claim {claim}: a token, which replaces the caller's"));
        }
        for (claim, test) in &needs.claims {
            self.line("requires", &format!("claim {claim}: {test}"));
        }
    }

    /// Prints what verifies the token, if it is a JWT that is verified, and what the token says if
    /// it was made.
    fn tell_jwt(&mut self, says: Option<(Map<String, Value>, bool)>) {
        let Some((issuer, _)) = self.jwt.clone() else { return };
        self.line("jwt", &format!("of {}", issuer.issuer));
        if let Some((claims, lacks_end)) = says {
            let end = if lacks_end { ", exp in 5 minutes" } else { "" };
            self.line("claims", &format!("{}{end}", Value::Object(claims)));
        }
        let algorithms = issuer.algorithms.iter().map(|name| (*name).to_owned()).collect();
        for (name, values) in
            [("typ", issuer.types), ("alg", algorithms), ("audience", issuer.audience)]
        {
            if !values.is_empty() {
                self.line("requires", &format!("{name}: {}", values.join(", or ")));
            }
        }
        for (claim, test) in &issuer.claims {
            self.line("requires", &format!("claim {claim}: {test}"));
        }
        self.line("requires", "claim exp: later than now");
        if issuer.is_introspected {
            self.line("requires", "introspection, too");
        }
        self.line(
            "signature",
            if issuer.is_verified_by_host {
                "assumed to be verified by envoy.filters.http.jwt_authn"
            } else {
                "assumed to be valid"
            },
        );
    }

    /// Runs the filter until it has decided.
    fn drive(&mut self, filter: &mut Filter, head: &Request) -> Option<Verdict> {
        let data = Memory::default();
        let now = Timestamp::from_millis(u64::try_from(since_epoch().as_millis()).unwrap_or(0));
        let store = SharedStore::new(&data);
        let (context, mut output) = (Context { now, store: &store }, Output::default());
        if let Step::Decided(verdict) =
            filter.handle(Input::Request(STREAM, head), context, &mut output)
        {
            return Some(verdict);
        }
        while output.decided.is_empty() && !output.calls.is_empty() {
            for call in std::mem::take(&mut output.calls) {
                let answer = self.answer(&call);
                let _ = filter.handle(Input::CallEnded(call.id, Ok(&answer)), context, &mut output);
            }
        }
        for event in &output.events {
            if let Event::Dropped(Dropped { header, cause }) = event {
                let name = filter.claim_headers().nth(header.index()).unwrap_or_default();
                self.line("dropped", &format!("header {name}: its claim is {cause}"));
            }
        }
        output.decided.pop().map(|(_, verdict)| verdict)
    }

    /// The response of the authorization server to a call.
    fn answer(&mut self, call: &Call) -> Answer {
        let header = |name: &str| {
            let header = call.headers.iter().find(|(known, _)| **known == *name);
            header.map_or("", |(_, value)| value).to_owned()
        };
        // A query may contain secrets.
        let path = header(":path");
        let path = path.split('?').next().unwrap_or_default();
        let origin = format!("{}://{}", header(":scheme"), header(":authority"));
        let (method, cluster) = (header(":method"), &call.cluster);
        self.line("call", &format!("{method} {origin}{path} (cluster {cluster})"));
        let (body, told) = if call.purpose == Purpose::Introspection {
            let claims = Value::Object(self.claims.clone());
            (claims.clone(), claims.to_string())
        } else if call.purpose == Purpose::Keys {
            let is_metadata = path.contains("/.well-known/");
            let told =
                if is_metadata { format!("jwks_uri: {origin}/keys") } else { "keys".to_owned() };
            let known = self.jwt.as_ref();
            let body = known.map(|(issuer, jwt)| token::keys(&issuer.issuer, jwt, &origin));
            (body.unwrap_or_default(), told)
        } else {
            let is_token = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
            let cluster: String =
                call.cluster.chars().map(|c| if is_token(c) { c } else { '-' }).collect();
            let token = format!("{TOKEN}-FROM-{cluster}");
            let told = format!("a token: {token}");
            let kind = "urn:ietf:params:oauth:token-type:access_token";
            let body = json!({
                "access_token": token, "token_type": "Bearer", "expires_in": 3600,
                "issued_token_type": kind,
            });
            (body, told)
        };
        self.line("response", &told);
        Answer { status: 200, retry_after: None, body: body.to_string().into_bytes() }
    }

    /// Prints the decision.
    fn tell_verdict(&mut self, verdict: &Verdict) {
        let state: Vec<_> = verdict.attributes.iter().collect();
        for (name, value) in state {
            let name = name.strip_prefix("oauth2_").unwrap_or(name);
            if matches!(name, "decision" | "reason") {
                self.line(name, value);
            }
        }
        match &verdict.action {
            Action::Respond(reply) => self.tell_reply(reply),
            Action::Forward(forward) => self.tell_forward(forward),
        }
    }

    /// Prints the response to the client.
    fn tell_reply(&mut self, reply: &Reply) {
        let is_grpc =
            reply.grpc_status != 0 && reply.headers.iter().all(|(name, _)| *name != "content-type");
        self.line("details", reply.details);
        let _ = writeln!(self.text, "\nThe client receives:");
        if is_grpc {
            let _ = writeln!(self.text, "HTTP 200\ngrpc-status: {}", reply.grpc_status);
            let _ = writeln!(self.text, "grpc-message: {}", reply.body);
        } else {
            let _ = writeln!(self.text, "HTTP {} {}", reply.status, phrase(reply.status));
        }
        for (name, value) in &reply.headers {
            let _ = writeln!(self.text, "{name}: {value}");
        }
        if !is_grpc {
            let _ = writeln!(self.text, "\n{}", reply.body);
        }
    }

    /// Prints the headers that the upstream service receives: unchanged, removed (-), added (+).
    fn tell_forward(&mut self, forward: &Forward) {
        let _ = writeln!(self.text, "\nThe upstream service receives:");
        let is_gone = |name: &str| forward.removed().any(|removed| **removed == *name);
        let is_set = |name: &str| forward.given().any(|(set, _)| **set == *name);
        let password = Base64::encode_string(format!(":{}", self.token).as_bytes());
        for (name, value) in &self.head {
            let sign = if is_gone(name) || is_set(name) { '-' } else { ' ' };
            // A given value may be a secret.
            let is_given = self.given.contains(name);
            let value = value.replace(&password, "BASE64(:TOKEN)").replace(&self.token, TOKEN);
            let value = if is_given { "[as given]" } else { &*value };
            let _ = writeln!(self.text, "{sign} {name}: {value}");
        }
        for (name, value) in forward.given() {
            let _ = writeln!(self.text, "+ {name}: {value}");
        }
    }
}

/// The reason phrase of a status.
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[expect(clippy::disallowed_methods, reason = "here the command is the host")]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// The request's headers, as received from Envoy.
fn fields(head: &[(String, String)]) -> Fields {
    head.iter().map(|(name, value)| (name, value)).collect()
}

/// A request as Envoy hands it over, without a client certificate.
struct Request {
    fields: Fields,
    body: Body,
    /// The metadata of `jwt_authn`.
    jwt_authn: Option<Vec<u8>>,
}

impl Request {
    fn new(fields: Fields, body: Body) -> Self {
        Self { fields, body, jwt_authn: None }
    }
}

impl Head for Request {
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.fields.value(name)
    }

    fn fields(&self) -> &Fields {
        &self.fields
    }

    fn peer_certificate(&self) -> Option<[u8; 32]> {
        None
    }

    fn body(&self) -> Body {
        self.body.clone()
    }

    fn jwt_authn(&self) -> Option<Vec<u8>> {
        self.jwt_authn.clone()
    }
}

/// Shared data of one worker.
#[derive(Default)]
struct Memory(RefCell<HashMap<String, (Vec<u8>, u32)>>);

impl SharedData for Memory {
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.0.borrow().get(key).cloned()
    }

    fn set(&self, key: &str, value: &[u8], after: Option<u32>) -> Result<(), NotWritten> {
        let mut values = self.0.borrow_mut();
        let current = values.get(key).map_or(0, |(_, number)| *number);
        if current > 0 && after.is_some_and(|after| after != current) {
            return Err(NotWritten::Lost);
        }
        values.insert(key.to_owned(), (value.to_vec(), current.saturating_add(1)));
        Ok(())
    }
}
