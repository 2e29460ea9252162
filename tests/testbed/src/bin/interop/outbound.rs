//! The filter gets tokens from a server that tells its token requests (`/grants`), and puts them on
//! requests.

use std::collections::BTreeSet;

use oauth2_filter_testbed::{client::Request, wait};
use serde_json::Value;

use super::{
    inbound::until_rejected,
    world::{GUARDED, ORDER, Outcome, World, same, text, token_on},
};

impl World {
    /// A client that has no token gets one with one token request, which is authenticated with this
    /// method; the request, as the server tells it.
    pub(crate) async fn obtains(&self, listener: &str, id: &str, method: &str) -> Outcome<Value> {
        let before = self.grants(id).await?.len();
        let token = self.serves(listener, id).await?;
        let grants = self.grants(id).await?;
        same("the number of token requests", grants.len() - before, 1)?;
        let grant = grants.last().cloned().unwrap_or_default();
        same("the method", text(&grant, "method"), method)?;
        same("grant_type", text(&grant, "grant_type"), "client_credentials")?;
        same("the token that was issued", text(&grant, "access_token"), &token)?;
        Ok(grant)
    }

    /// What a client's request carries is replaced by the token of one token request.
    pub(crate) async fn obtains_once(&self) -> Outcome {
        let request = Request::get(ORDER).bearer("of-the-caller");
        let token = token_on(&self.arrives(&self.client, "basic", &request).await?)?;
        same("the next request's token", &self.serves("basic", "shop").await?, &token)?;
        let grants = self.grants("shop").await?;
        same("the number of token requests", grants.len(), 1)?;
        same("the method", text(&grants[0], "method"), "client_secret_basic")?;
        same("the token that was issued", text(&grants[0], "access_token"), &token)
    }

    /// Two requests of a client with a wrong secret are rejected, after one token request.
    pub(crate) async fn wrong_secret(&self) -> Outcome {
        for _ in 0..2 {
            self.rejected(&self.client, "wrong-secret", None, REFUSED_CLIENT).await?;
        }
        if self.setup.table["tells"] == false {
            return Ok(());
        }
        let refused = self.grants("shop").await?;
        let refused = refused.iter().filter(|grant| grant["error"] == "invalid_client").count();
        same("the number of refused token requests", refused, 1)
    }

    /// Requests flow while a client's token is renewed several times, with each refresh token once:
    /// the client's token requests, without the first.
    pub(crate) async fn renews(&self, listener: &str, id: &str) -> Outcome<Vec<Value>> {
        let before = self.grants(id).await?.len();
        let enough = async || Ok(self.grants(id).await?.len() > before + RENEWALS);
        let tokens = self.load(listener, enough).await?;
        let mut grants = self.grants(id).await?;
        let issued: BTreeSet<_> = grants.iter().map(|grant| text(grant, "access_token")).collect();
        let foreign = tokens.iter().find(|token| !issued.contains(token.as_str()));
        same("a token that was not issued for this client", foreign, None)?;
        grants.remove(0);
        for grant in &grants {
            same("grant_type", text(grant, "grant_type"), "refresh_token")?;
            same("the error", text(grant, "error"), "")?;
        }
        let sent: BTreeSet<_> = grants.iter().map(|grant| text(grant, "refresh_token")).collect();
        same("the number of different refresh tokens", sent.len(), grants.len())?;
        Ok(grants)
    }

    /// Waits, without a request of the client, until the service rejects this token.
    pub(crate) async fn expires(&self, token: &str) -> Outcome {
        let request = Request::get(ORDER).bearer(token);
        until_rejected(self, GUARDED, &request, wait::LIMIT).await.map(drop)
    }

    /// Somebody else sends a refresh token that was sent before. The server then revokes all that came
    /// of the grant, so the client runs it again.
    pub(crate) async fn lost_grant(&self, listener: &str, id: &str, spent: &str) -> Outcome<Value> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", spent)];
        let request = Request::form(self.setup.text("token"), &form);
        let answer = request.basic(id, &format!("{id}-secret")).send(self.setup.address).await?;
        same("the status", answer.status, 400)?;
        let grants = self.grants(id).await?;
        let held = grants.iter().rfind(|grant| grant["error"].is_null());
        let token = self.replaces(listener, held.map_or("", |grant| text(grant, "access_token")));
        let token = token.await?;
        let last = self.grants(id).await?.pop().unwrap_or_default();
        same("the token that was issued", text(&last, "access_token"), &token)?;
        Ok(last)
    }

    /// These were a client's last token requests.
    pub(crate) async fn last_grants(&self, id: &str, expected: &[&str]) -> Outcome {
        let grants = self.grants(id).await?;
        let asked = grants.iter().map(|grant| match text(grant, "error") {
            "" => text(grant, "grant_type").to_owned(),
            error => format!("{} ({error})", text(grant, "grant_type")),
        });
        let skipped = grants.len().saturating_sub(expected.len());
        let last: Vec<_> = asked.skip(skipped).collect();
        same("the last token requests", last.join(", "), expected.join(", "))
    }
}

/// A server that does not accept the filter's credentials.
pub(crate) const REFUSED_CLIENT: (u16, &str) = (502, "oauth2_server_refused_client");
/// How often a token is renewed under load.
const RENEWALS: usize = 4;
