//! The tokens of a user, who lets a client have them.

use std::collections::BTreeMap;

use oauth2_filter_testbed::client::Request;
use serde_json::{Value, json};

use super::world::{Outcome, READ, Setup, same, text};

impl Setup {
    /// A user's tokens, for the client that this member of the table names with its secret and further
    /// scopes: by password, or by code if the table has an authorization endpoint.
    pub(crate) async fn user_tokens(&self, client: &str) -> Outcome<Value> {
        let client = &self.table[client];
        let (id, scope) = (text(client, 0), format!("{} {READ}", text(client, 2)));
        let code;
        let mut form = match self.text("authorization") {
            "" => vec![
                ("grant_type", "password"),
                ("username", "alice"),
                ("password", "alice-pw"),
                ("scope", scope.trim()),
            ],
            endpoint => {
                code = self.code(endpoint, id, scope.trim()).await?;
                let code = ("code", code.as_str());
                vec![("grant_type", "authorization_code"), ("redirect_uri", CALLBACK), code]
            }
        };
        form.extend(self.parameters());
        let request = Request::form(self.text("token"), &form).basic(id, text(client, 1));
        let answer = request.send(self.address).await?;
        same("the token endpoint's status", answer.status, 200)?;
        Ok(answer.json())
    }

    /// Follows redirects with the user's cookies until the client gets a code; a login page gets her name
    /// and password.
    async fn code(&self, endpoint: &str, client_id: &str, scope: &str) -> Outcome<String> {
        let mut asked = form_urlencoded::Serializer::new(String::new());
        asked.extend_pairs([("response_type", "code"), ("client_id", client_id)]);
        asked.extend_pairs([("redirect_uri", CALLBACK), ("scope", scope), ("state", STATE)]);
        asked.extend_pairs(self.parameters());
        let mut target = format!("{endpoint}?{}", asked.finish());
        let mut cookies = BTreeMap::new();
        for _ in 0..MAX_REDIRECTS {
            let request = if target == self.text("login") {
                Request::form(&target, &[("username", "alice"), ("password", "alice-pw")])
            } else {
                Request::get(&target)
            };
            let all: Vec<_> = cookies.values().cloned().collect();
            let request = request.header("cookie", all.join("; ")).header("accept", "text/html");
            let answer = request.send(self.address).await?;
            for cookie in answer.headers.all("set-cookie") {
                let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
                cookies.insert(cookie.split('=').next().unwrap_or_default().to_owned(), cookie);
            }
            let Some(location) = answer.header("location") else {
                return Err(format!("{target}: {} {}", answer.status, answer.text()).into());
            };
            if location.starts_with(CALLBACK) {
                let code = parameter(&location, "code");
                return Ok(code.ok_or_else(|| format!("no code: {location}"))?);
            }
            let location = match self.accepted(&location, scope).await? {
                Some(next) => next,
                None => location,
            };
            let origin = format!("http://{}", self.address);
            location.strip_prefix(&origin).unwrap_or(&location).clone_into(&mut target);
        }
        Err(format!("more than {MAX_REDIRECTS} redirects").into())
    }

    /// Where Hydra asks who the user is, and whether she agrees, says what its operator's application
    /// would say, and returns where it redirects to then.
    async fn accepted(&self, location: &str, scope: &str) -> Outcome<Option<String>> {
        let audience: Vec<_> = self.parameters().into_iter().map(|(_, value)| value).collect();
        let scope: Vec<_> = scope.split(' ').collect();
        for (what, body) in [
            ("login", json!({"subject": "alice"})),
            ("consent", json!({"grant_scope": scope, "grant_access_token_audience": audience})),
        ] {
            let Some(challenge) = parameter(location, &format!("{what}_challenge")) else {
                continue;
            };
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair(&format!("{what}_challenge"), &challenge);
            let target = format!("/admin/oauth2/auth/requests/{what}/accept?{}", query.finish());
            let request = Request::new("PUT", &target).body(body.to_string());
            let answer = request.send(self.server.addresses.admin).await?;
            same("the status of an acceptance", answer.status, 200)?;
            return Ok(Some(text(&answer.json(), "redirect_to").to_owned()));
        }
        Ok(None)
    }
}

/// A parameter in the query of a URL.
fn parameter(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find_map(|(found, value)| (found == name).then(|| value.into_owned()))
}

/// Where the client of the user awaits the code; nobody listens there.
const CALLBACK: &str = "http://127.0.0.1/callback";
/// Hydra wants eight characters.
const STATE: &str = "state-of-the-client";
const MAX_REDIRECTS: usize = 10;
