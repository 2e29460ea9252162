//! The rows of a table: a title, a listener, and what token a request brings; then the headers with which
//! the request arrives, or the status and reason with which it is rejected.

use oauth2_filter_testbed::{client::Request, envoy::Envoy};
use serde_json::Value;

use super::{
    Report,
    world::{ORDER, Outcome, TLS, World, same, text, token_of},
};

/// Plays the rows of this member of the table.
pub(crate) async fn play(world: &World, report: &mut Report, member: &str, envoy: &Envoy) {
    for row in world.setup.table[member].as_array().into_iter().flatten() {
        report.step(text(row, 0), row_of(world, envoy, row)).await;
    }
}

async fn row_of(world: &World, envoy: &Envoy, row: &Value) -> Outcome {
    let token = token(world, text(row, 2)).await?;
    if let Some(status) = row[3].as_u64() {
        let expected = (u16::try_from(status)?, text(row, 4));
        return world.rejected(envoy, text(row, 1), token.as_deref(), expected).await;
    }
    let request = token.iter().fold(Request::get(ORDER), |request, token| request.bearer(token));
    let headers = world.arrives(envoy, text(row, 1), &request).await?;
    for (name, value) in row[3].as_object().into_iter().flatten() {
        let found = headers.all(name).join(", ");
        same(name, found.as_str(), value.as_str().unwrap_or_default())?;
    }
    Ok(())
}

/// A token of this kind; `None` for the kind `""`.
pub(crate) async fn token(world: &World, kind: &str) -> Outcome<Option<String>> {
    let setup = &world.setup;
    Ok(Some(match kind {
        "" => return Ok(None),
        "own" => world.token(&setup.parameters()).await?,
        "plain" => world.token(&[]).await?,
        "jwt" => world.token(&[("resource", "https://jwt.example.com")]).await?,
        "unknown" => "unknown-to-the-server".to_owned(),
        "revoked" => {
            let token = world.token(&setup.parameters()).await?;
            world.revoke(("svc", "svc-secret"), &token).await?;
            token
        }
        "access" | "refresh" | "id" => {
            let name = format!("{kind}_token");
            text(&world.user_tokens().await?, name.as_str()).to_owned()
        }
        "forged" => forged(&Box::pin(token(world, setup.text("jwt"))).await?.unwrap_or_default()),
        "raw" => {
            // `odd:s%c&r=t+/~!`, which is not encoded before it goes into Basic.
            let request = world.token_request(&setup.parameters());
            let request = request.header("authorization", "Basic b2RkOnMlYyZyPXQrL34h");
            token_of(&request.send(setup.address).await?)?
        }
        // Of a client that the table names.
        kind => {
            let of = &setup.table["tokens"][kind];
            let form = of["form"].as_object().into_iter().flatten();
            let form =
                form.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()));
            let grant = of["form"]["grant_type"].is_null();
            let grant = grant.then_some(("grant_type", "client_credentials"));
            let form: Vec<_> = form.chain(grant).collect();
            let endpoint = of["endpoint"].as_str().unwrap_or_else(|| setup.text("token"));
            let client = (text(of, "client_id"), text(of, "client_secret"));
            let request = Request::form(endpoint, &form).basic(client.0, client.1);
            let answer = if of["tls"] == true {
                let request = request.authority(&setup.server.addresses.tls_authority());
                request.send(world.guard.address(TLS)).await?
            } else {
                request.send(setup.address).await?
            };
            let token = token_of(&answer)?;
            if of["revoked"] == true {
                world.revoke(client, &token).await?;
            }
            if of["expires"] == true {
                world.expires(&token).await?;
            }
            token
        }
    }))
}

/// A JWT with another signature.
fn forged(jwt: &str) -> String {
    let (signed, signature) = jwt.rsplit_once('.').unwrap_or_default();
    let (first, rest) = signature.split_at_checked(1).unwrap_or_default();
    let other = if first == "A" { "B" } else { "A" };
    format!("{signed}.{other}{rest}")
}
