//! The clients that the server knows, and those that the files of `envoy/` name, for people and
//! guides to try them with.

use super::{OAuthError, Options, refused};

/// Id of the embedded client that gets tokens.
pub const SHOP: &str = "shop";
/// Secret of [`SHOP`].
pub const SHOP_SECRET: &str = "shop-secret";
/// Id of the embedded resource server, which may introspect.
pub const ORDERS_API: &str = "orders-api";
/// Secret of [`ORDERS_API`].
pub const ORDERS_API_SECRET: &str = "orders-api-secret";
/// Audience of the tokens of [`SHOP`].
pub const ORDERS_AUDIENCE: &str = "https://orders.example.com";

/// A registered client.
#[derive(Clone, Debug)]
pub struct Client {
    /// `client_id`.
    pub id: String,
    /// `client_secret`.
    pub secret: String,
    /// The grants it may use.
    pub grant_types: Vec<GrantType>,
    /// The scope it may have, all of which it gets when it asks for none.
    pub scope: Vec<String>,
    /// `sub` of the tokens it gets for itself.
    pub subject: String,
    /// `aud` of its tokens.
    pub audience: String,
    /// What it may name as `resource` (RFC 8707), or as `audience` of a token exchange, to get
    /// tokens for that instead.
    pub resources: Vec<String>,
    /// Whether it may introspect.
    pub introspects: bool,
}

impl Client {
    /// A client of this id, whose secret is that and `-secret`; it may do nothing yet.
    fn named(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            secret: format!("{id}-secret"),
            grant_types: Vec::new(),
            scope: Vec::new(),
            subject: id.to_owned(),
            audience: String::new(),
            resources: Vec::new(),
            introspects: false,
        }
    }

    /// [`SHOP`]: may get `orders:read orders:write` for [`ORDERS_AUDIENCE`].
    pub fn shop() -> Self {
        Self {
            grant_types: vec![GrantType::ClientCredentials],
            scope: words("orders:read orders:write"),
            audience: ORDERS_AUDIENCE.to_owned(),
            ..Self::named(SHOP)
        }
    }

    /// [`ORDERS_API`]: may introspect and gets no tokens.
    pub fn orders_api() -> Self {
        Self { introspects: true, ..Self::named(ORDERS_API) }
    }

    /// The audience that its token gets when it asks for this resource.
    pub(super) fn grantable_audience(&self, requested: Option<&str>) -> Result<&str, OAuthError> {
        let Some(requested) = requested else { return Ok(&self.audience) };
        let resource = self.resources.iter().find(|resource| *resource == requested);
        resource.map(String::as_str).ok_or_else(|| refused("invalid_target"))
    }

    /// The scope it gets when it asks for this.
    pub(super) fn grantable_scope(&self, requested: Option<&str>) -> Result<String, OAuthError> {
        let Some(requested) = requested else { return Ok(self.scope.join(" ")) };
        let allowed = |word| self.scope.iter().any(|scope| scope == word);
        let is_allowed = requested.split(' ').all(allowed);
        is_allowed.then(|| requested.to_owned()).ok_or_else(|| refused("invalid_scope"))
    }
}

/// How a client obtains a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GrantType {
    /// `client_credentials` (RFC 6749 section 4.4).
    ClientCredentials,
    /// `urn:ietf:params:oauth:grant-type:token-exchange` (RFC 8693).
    TokenExchange,
}

impl GrantType {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }
}

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
            Client { introspects: true, ..Client::named("mcp-server") },
            Client {
                grant_types: vec![GrantType::TokenExchange],
                scope: words("invoices:read"),
                resources: vec![BILLING.to_owned()],
                introspects: true,
                ..Client::named("gateway")
            },
            Client { introspects: true, ..Client::named("billing-api") },
            Client {
                grant_types: vec![GrantType::ClientCredentials],
                scope: words("invoices:read"),
                audience: BILLING.to_owned(),
                ..Client::named("orders")
            },
        ];
        Self { clients, ..Self::default() }
    }

    /// A second server, that of a partner: it knows the service, and a client of its own.
    pub fn of_partner() -> Self {
        let partner = Client::named("partner");
        let Client { id, secret, subject, .. } = partner;
        let partner = Client { id, secret, subject, ..Client::shop() };
        let clients = vec![partner, Client::orders_api()];
        Self { clients, token_prefix: "partner_".to_owned(), ..Self::default() }
    }
}

fn words(scope: &str) -> Vec<String> {
    scope.split(' ').map(str::to_owned).collect()
}

const BILLING: &str = "https://billing.example.com";
const GATEWAY: &str = "https://gateway.example.com";
const MCP_SERVER: &str = "https://mcp.example.com/mcp";
