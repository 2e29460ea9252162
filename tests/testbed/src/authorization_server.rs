//! A small OAuth 2.0 authorization server, in memory: token (RFC 6749), introspection (RFC 7662),
//! revocation (RFC 7009) and metadata (RFC 8414) endpoints over plain HTTP.

mod registry;

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response,
    body::Incoming,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE},
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

pub use self::registry::{
    Client, GrantType, ORDERS_API, ORDERS_API_SECRET, ORDERS_AUDIENCE, SHOP, SHOP_SECRET,
};
use crate::service::{FREE_PORT, Service};

/// How an authorization server is set up; the default has the embedded registrations.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens: a free loopback port by default.
    pub listen: SocketAddr,
    /// How long an access token lives: an hour by default.
    pub access_token_ttl: Duration,
    /// Its registered clients: [`Client::shop`] and [`Client::orders_api`] by default.
    pub clients: Vec<Client>,
    /// What its tokens begin with: nothing by default.
    pub token_prefix: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: FREE_PORT,
            access_token_ttl: Duration::from_hours(1),
            clients: vec![Client::shop(), Client::orders_api()],
            token_prefix: String::new(),
        }
    }
}

/// A running authorization server.
#[derive(Debug)]
pub struct AuthorizationServer {
    service: Service,
    state: Arc<State>,
}

/// Number of calls by endpoint, failed ones too.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Calls of the token endpoint.
    pub token: u64,
    /// Calls of the introspection endpoint.
    pub introspect: u64,
    /// Calls of the revocation endpoint.
    pub revoke: u64,
}

#[derive(Debug)]
struct State {
    issuer: String,
    options: Options,
    changing: Mutex<Changing>,
}

#[derive(Debug, Default)]
struct Changing {
    /// Access tokens, and what introspection says of them.
    tokens: HashMap<String, Value>,
    stats: Stats,
    /// How many seconds the clock has been put ahead.
    ahead: u64,
}

impl AuthorizationServer {
    /// Starts it.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let issuer = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(State { issuer, options, changing: Mutex::default() });
        let shared = Arc::clone(&state);
        let service = Service::start(listener, move |_, request| {
            let state = Arc::clone(&shared);
            async move { state.respond(request).await }
        })?;
        Ok(Self { service, state })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.service.address
    }

    /// Its issuer identifier, `http://ADDRESS`.
    pub fn issuer(&self) -> &str {
        &self.state.issuer
    }

    /// How often each endpoint was called.
    pub fn stats(&self) -> Stats {
        self.state.lock().stats
    }

    /// Issues an access token without a call of the token endpoint. Panics if there is no client of
    /// this id, or it may not have this scope.
    pub fn issue(&self, client_id: &str, scope: &str) -> String {
        let mut clients = self.state.options.clients.iter();
        let client = clients.find(|client| client.id == client_id).expect("a registered client");
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let form = form.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let answer = self.state.token(client, &HeaderMap::new(), &Form(form.into()));
        let answer = answer.expect("a scope the client may have");
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    /// Revokes an access token without a call of the revocation endpoint.
    pub fn revoke(&self, token: &str) {
        self.state.lock().tokens.remove(token);
    }

    /// Puts the server's clock ahead, so that its tokens expire without waiting.
    pub fn advance_clock(&self, by: Duration) {
        self.state.lock().ahead += by.as_secs();
    }

    /// Closes the port and every connection.
    pub async fn stop(self) {
        self.service.stop().await;
    }
}

/// Why a call failed: status, `error` and `error_description` (RFC 6749 section 5.2).
type OAuthError = (u16, &'static str, String);

fn invalid_request(description: impl Into<String>) -> OAuthError {
    (400, "invalid_request", description.into())
}

fn refused(error: &'static str) -> OAuthError {
    let status = if error == "invalid_client" { 401 } else { 400 };
    (status, error, "not for this client".to_owned())
}

/// Form parameters; none is repeated, and one without a value counts as omitted (RFC 6749 section 3.2).
#[derive(Debug)]
struct Form(HashMap<String, String>);

impl Form {
    async fn read(headers: &HeaderMap, body: Incoming) -> Result<Self, OAuthError> {
        let is_form = headers.get(CONTENT_TYPE).is_some_and(|value| {
            value.as_bytes().starts_with(b"application/x-www-form-urlencoded")
        });
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map_err(|_| invalid_request("the body is broken or too long"))?.to_bytes();
        if !is_form {
            return Err(invalid_request("the body is not a form"));
        }
        let mut parameters = HashMap::new();
        for (name, value) in form_urlencoded::parse(&body).into_owned() {
            if parameters.insert(name, value).is_some() {
                return Err(invalid_request("a parameter is repeated"));
            }
        }
        parameters.retain(|_, value| !value.is_empty());
        Ok(Self(parameters))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn required(&self, name: &str) -> Result<&str, OAuthError> {
        self.get(name).ok_or_else(|| invalid_request(format!("{name} is missing")))
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let answer = self.answer(request).await;
        let (status, body) = match answer {
            // A successful revocation has nothing to say (RFC 7009 section 2.2).
            Ok(Value::Null) => (200, String::new()),
            Ok(body) => (200, body.to_string()),
            Err((status, error, description)) => {
                (status, json!({"error": error, "error_description": description}).to_string())
            }
        };
        let mut response = Response::builder()
            .status(status)
            .header(CONTENT_TYPE, "application/json")
            .header(CACHE_CONTROL, "no-store");
        if status == 401 {
            response = response.header(WWW_AUTHENTICATE, r#"Basic realm="authorization server""#);
        }
        response.body(Full::from(body)).expect("a valid status and fixed fields")
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Value, OAuthError> {
        type Endpoint = fn(&State, &Client, &HeaderMap, &Form) -> Result<Value, OAuthError>;
        let (head, body) = request.into_parts();
        let (count, endpoint): (fn(&mut Stats) -> &mut u64, Endpoint) = match head.uri.path() {
            "/token" => (|stats| &mut stats.token, Self::token),
            "/introspect" => (|stats| &mut stats.introspect, Self::introspect),
            "/revoke" => (|stats| &mut stats.revoke, Self::revoke),
            "/.well-known/oauth-authorization-server" => return Ok(self.metadata()),
            "/stats" => {
                let Stats { token, introspect, revoke } = self.lock().stats;
                return Ok(json!({"token": token, "introspect": introspect, "revoke": revoke}));
            }
            _ => return Err((404, "not_found", "no such endpoint".to_owned())),
        };
        *count(&mut self.lock().stats) += 1;
        if head.method != Method::POST {
            return Err((405, "invalid_request", "the endpoint's method is POST".to_owned()));
        }
        let form = Form::read(&head.headers, body).await?;
        let client = self.authenticate(&head.headers, &form)?;
        endpoint(self, client, &head.headers, &form)
    }

    /// The client that sent the request (RFC 6749 section 2.3.1).
    fn authenticate(&self, headers: &HeaderMap, form: &Form) -> Result<&Client, OAuthError> {
        let in_form = form.get("client_id").zip(form.get("client_secret"));
        let in_form = in_form.map(|(id, secret)| (id.to_owned(), secret.to_owned()));
        let credentials = match (headers.get(AUTHORIZATION), in_form) {
            (Some(_), Some(_)) => return Err(invalid_request("two ways of client authentication")),
            (Some(value), None) => value.to_str().ok().and_then(basic),
            (None, in_form) => in_form,
        };
        let (id, secret) = credentials.ok_or_else(|| refused("invalid_client"))?;
        if form.get("client_id").is_some_and(|form_id| form_id != id) {
            return Err(invalid_request("two client ids"));
        }
        let mut clients = self.options.clients.iter();
        let client = clients.find(|client| client.id == id && client.secret == secret);
        client.ok_or_else(|| refused("invalid_client"))
    }

    /// Seconds since 1970 (RFC 7519 `NumericDate`).
    fn now(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        now.as_secs() + self.lock().ahead
    }

    /// What introspection says of a token, if it has not expired.
    fn active(&self, token: &str) -> Option<Value> {
        let now = self.now();
        let claims = self.lock().tokens.get(token).cloned();
        claims.filter(|claims| claims["exp"].as_u64() > Some(now))
    }

    fn token(
        &self,
        client: &Client,
        headers: &HeaderMap,
        form: &Form,
    ) -> Result<Value, OAuthError> {
        let mut grants = [GrantType::ClientCredentials, GrantType::TokenExchange].into_iter();
        let wanted = form.required("grant_type")?;
        let grant = grants.find(|grant| grant.name() == wanted);
        let grant = grant.ok_or_else(|| refused("unsupported_grant_type"))?;
        if !client.grant_types.contains(&grant) {
            return Err(refused("unauthorized_client"));
        }
        let now = self.now();
        let mut expires = now + self.options.access_token_ttl.as_secs();
        let (subject, scope, audience) = match grant {
            GrantType::ClientCredentials => {
                let scope = client.grantable_scope(form.get("scope"))?;
                (client.subject.clone(), scope, form.get("resource"))
            }
            // RFC 8693: the subject's token becomes one for `audience`, which lives no longer.
            GrantType::TokenExchange => {
                if form.required("subject_token_type")? != ACCESS_TOKEN {
                    return Err(invalid_request("the subject token is of another type"));
                }
                let subject = self.active(form.required("subject_token")?);
                let subject =
                    subject.ok_or_else(|| invalid_request("the subject token is not active"))?;
                expires = expires.min(subject["exp"].as_u64().unwrap_or_default());
                let text = |name: &str| subject[name].as_str().unwrap_or_default().to_owned();
                (text("sub"), text("scope"), form.get("audience"))
            }
        };
        let mut claims = json!({
            "active": true,
            "scope": scope,
            "client_id": client.id,
            "token_type": "Bearer",
            "exp": expires,
            "iat": now,
            "sub": subject,
            "aud": client.grantable_audience(audience)?,
            "iss": self.issuer,
            "jti": random(),
        });
        if let Some(thumbprint) = thumbprint(headers)? {
            claims["cnf"] = json!({"x5t#S256": thumbprint});
        }
        let token = format!("{}{}", self.options.token_prefix, random());
        self.lock().tokens.insert(token.clone(), claims);
        let mut answer = json!({
            "access_token": token, "token_type": "Bearer", "expires_in": expires - now,
            "scope": scope,
        });
        if grant == GrantType::TokenExchange {
            answer["issued_token_type"] = ACCESS_TOKEN.into();
        }
        Ok(answer)
    }

    fn introspect(&self, client: &Client, _: &HeaderMap, form: &Form) -> Result<Value, OAuthError> {
        if !client.introspects {
            return Err(refused("invalid_client"));
        }
        let claims = self.active(form.required("token")?);
        Ok(claims.unwrap_or_else(|| json!({"active": false})))
    }

    fn revoke(&self, client: &Client, _: &HeaderMap, form: &Form) -> Result<Value, OAuthError> {
        let token = form.required("token")?;
        // An unknown token is as good as revoked (RFC 7009 section 2.2).
        if self.active(token).is_some_and(|claims| claims["client_id"] != client.id) {
            return Err(refused("unauthorized_client"));
        }
        self.lock().tokens.remove(token);
        Ok(Value::Null)
    }

    fn metadata(&self) -> Value {
        let issuer = &self.issuer;
        let mut scopes: Vec<_> =
            self.options.clients.iter().flat_map(|client| &client.scope).collect();
        scopes.sort_unstable();
        scopes.dedup();
        json!({
            "issuer": issuer,
            "token_endpoint": format!("{issuer}/token"),
            "introspection_endpoint": format!("{issuer}/introspect"),
            "revocation_endpoint": format!("{issuer}/revoke"),
            "scopes_supported": scopes,
            "response_types_supported": [],
            "grant_types_supported":
                [GrantType::ClientCredentials.name(), GrantType::TokenExchange.name()],
            "token_endpoint_auth_methods_supported": METHODS,
            "introspection_endpoint_auth_methods_supported": METHODS,
            "revocation_endpoint_auth_methods_supported": METHODS,
        })
    }
}

/// Id and secret of the Basic scheme, each form-encoded before they were joined.
fn basic(authorization: &str) -> Option<(String, String)> {
    let (scheme, credentials) = authorization.split_once(' ')?;
    let credentials = BASE64_STANDARD.decode(credentials.trim()).ok()?;
    let credentials = String::from_utf8(credentials).ok()?.replace('+', " ");
    let (id, secret) =
        credentials.split_once(':').filter(|_| scheme.eq_ignore_ascii_case("Basic"))?;
    let decoded = |text| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
    Some((decoded(id)?, decoded(secret)?))
}

/// The `x5t#S256` of the client's certificate (RFC 8705), as a TLS proxy before the server names it
/// (RFC 9440).
fn thumbprint(headers: &HeaderMap) -> Result<Option<String>, OAuthError> {
    let Some(value) = headers.get("client-cert") else { return Ok(None) };
    let value = value.to_str().ok().and_then(|value| value.strip_prefix(':')?.strip_suffix(':'));
    let certificate = value.and_then(|value| BASE64_STANDARD.decode(value).ok());
    let certificate =
        certificate.ok_or_else(|| invalid_request("client-cert is not `:BASE64:`"))?;
    Ok(Some(BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(certificate))))
}

/// 256 random bits as `b64token` characters (RFC 6750 section 2.1).
fn random() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the system's randomness");
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const METHODS: [&str; 2] = ["client_secret_basic", "client_secret_post"];
const MAX_BODY: usize = 64 * 1024;

#[cfg(test)]
mod tests;
