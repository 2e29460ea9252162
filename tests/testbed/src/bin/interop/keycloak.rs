//! Keycloak, set up by `tests/interop/keycloak`.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use oauth2_filter_testbed::client::Request;
use serde_json::Value;

use super::{
    Boxed, Report, rows, table_steps,
    world::{ORDER, Outcome, World, same, text},
};

pub(crate) fn steps<'a>(world: &'a World, report: &'a mut Report) -> Boxed<'a> {
    Box::pin(async move {
        let title = "A lightweight token is replaced by the JWT in the response";
        report.step(title, phantom(world)).await;
        table_steps(world, report).await;
    })
}

/// The client's tokens say little; what the service gets in `x-jwt` has roles.
async fn phantom(world: &World) -> Outcome {
    let token = rows::token(world, "lightweight").await?.unwrap_or_default();
    same("the token's roles", claims(&token)?.get("realm_access"), None)?;
    let request = Request::get(ORDER).bearer(&token);
    let headers = world.arrives(&world.guard, "phantom", &request).await?;
    let full = claims(&headers.all("x-jwt").join(", "))?;
    same("the client", text(&full, "azp"), "lightweight")?;
    same("the role", text(&full["realm_access"]["roles"], 0), "clerk")
}

/// The claims of a JWT.
fn claims(jwt: &str) -> Outcome<Value> {
    let payload = jwt.split('.').nth(1).ok_or("not a JWT")?;
    Ok(serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload)?)?)
}
