//! The clients that the files of `envoy/` name, for people and guides to try them with.

use super::{Client, GrantType, Options};

impl Options {
    /// A server for all files of `envoy/`.
    pub fn of_examples() -> Self {
        let clients = vec![
            Client {
                scope: words("orders:read orders:write invoices:read mcp:tools mcp:admin"),
                resources: [GATEWAY, MCP_SERVER].map(str::to_owned).to_vec(),
                ..Client::shop()
            },
            Client::orders_api(),
            resource_server("mcp-server"),
            Client {
                grant_types: vec![GrantType::TokenExchange],
                scope: words("invoices:read"),
                resources: vec![BILLING.to_owned()],
                ..resource_server("gateway")
            },
            resource_server("billing-api"),
            Client {
                id: "orders".to_owned(),
                secret: "orders-secret".to_owned(),
                scope: words("invoices:read"),
                subject: "orders".to_owned(),
                audience: BILLING.to_owned(),
                ..Client::shop()
            },
        ];
        Self { clients, ..Self::default() }
    }

    /// A second server, that of a partner: it knows the service, and a client of its own.
    pub fn of_partner() -> Self {
        let partner = Client {
            id: "partner".to_owned(),
            secret: "partner-secret".to_owned(),
            subject: "partner".to_owned(),
            ..Client::shop()
        };
        let clients = vec![partner, Client::orders_api()];
        Self { clients, token_prefix: "partner_".to_owned(), ..Self::default() }
    }
}

/// A client that introspects; its secret is its name and `-secret`.
fn resource_server(id: &str) -> Client {
    let id = id.to_owned();
    Client { secret: format!("{id}-secret"), subject: id.clone(), id, ..Client::orders_api() }
}

fn words(scope: &str) -> Vec<String> {
    scope.split(' ').map(str::to_owned).collect()
}

const BILLING: &str = "https://billing.example.com";
const GATEWAY: &str = "https://gateway.example.com";
const MCP_SERVER: &str = "https://mcp.example.com/mcp";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization_server::SHOP;

    #[test]
    fn the_shop_may_have_what_the_examples_ask_for() {
        let options = Options::of_examples();
        let shop = options.clients.iter().find(|client| client.id == SHOP).unwrap();
        for (resource, scope) in [(GATEWAY, "invoices:read"), (MCP_SERVER, "mcp:tools mcp:admin")] {
            assert_eq!(shop.grantable_audience(Some(resource)), Ok(resource));
            assert_eq!(shop.grantable_scope(Some(scope)), Ok(scope.to_owned()));
        }
    }
}
