//! The server's metadata (RFC 8414).

use serde_json::{Value, json};

use super::{State, client_authentication::METHODS, registry::GrantType};

pub(super) fn document(state: &State) -> Value {
    let issuer = &state.issuer;
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/token"),
        "introspection_endpoint": format!("{issuer}/introspect"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "scopes_supported": state.registry.scopes(),
        "response_types_supported": [],
        "grant_types_supported": GrantType::ALL.map(GrantType::name),
        "token_endpoint_auth_methods_supported": METHODS,
        "introspection_endpoint_auth_methods_supported": METHODS,
        "revocation_endpoint_auth_methods_supported": METHODS,
    })
}
