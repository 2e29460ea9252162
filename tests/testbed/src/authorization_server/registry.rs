//! The clients that the server knows.

use super::oauth_error::OAuthError;

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
    /// [`SHOP`]: may get `orders:read orders:write` for [`ORDERS_AUDIENCE`].
    pub fn shop() -> Self {
        Self {
            id: SHOP.to_owned(),
            secret: SHOP_SECRET.to_owned(),
            grant_types: vec![GrantType::ClientCredentials],
            scope: vec!["orders:read".to_owned(), "orders:write".to_owned()],
            subject: SHOP.to_owned(),
            audience: ORDERS_AUDIENCE.to_owned(),
            resources: Vec::new(),
            introspects: false,
        }
    }

    /// [`ORDERS_API`]: may introspect and gets no tokens.
    pub fn orders_api() -> Self {
        Self {
            id: ORDERS_API.to_owned(),
            secret: ORDERS_API_SECRET.to_owned(),
            grant_types: Vec::new(),
            scope: Vec::new(),
            subject: ORDERS_API.to_owned(),
            audience: String::new(),
            resources: Vec::new(),
            introspects: true,
        }
    }

    /// The audience that its token gets when it asks for this resource.
    pub(super) fn grantable_audience(&self, requested: Option<&str>) -> Result<&str, OAuthError> {
        let Some(requested) = requested else { return Ok(&self.audience) };
        let resource = self.resources.iter().find(|resource| *resource == requested);
        resource.map(String::as_str).ok_or(OAuthError::InvalidTarget)
    }

    /// The scope it gets when it asks for this.
    pub(super) fn grantable_scope(&self, requested: Option<&str>) -> Result<String, OAuthError> {
        let Some(requested) = requested else { return Ok(self.scope.join(" ")) };
        let allowed = |word| self.scope.iter().any(|scope| scope == word);
        if requested.split(' ').all(allowed) {
            Ok(requested.to_owned())
        } else {
            Err(OAuthError::InvalidScope)
        }
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
    pub(super) const ALL: [Self; 2] = [Self::ClientCredentials, Self::TokenExchange];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }

    pub(super) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant_type| grant_type.name() == name)
    }
}

/// All registered clients.
#[derive(Debug)]
pub(super) struct Registry(Vec<Client>);

impl Registry {
    pub(super) const fn new(clients: Vec<Client>) -> Self {
        Self(clients)
    }

    pub(super) fn client(&self, id: &str) -> Option<&Client> {
        self.0.iter().find(|client| client.id == id)
    }

    /// Every scope that some client may have.
    pub(super) fn scopes(&self) -> Vec<&str> {
        let mut scopes: Vec<_> =
            self.0.iter().flat_map(|client| &client.scope).map(String::as_str).collect();
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    }
}
