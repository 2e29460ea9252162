//! Outbound clients: how each obtains its token, and where the token goes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::single_flight::CallId;
use crate::http::header_name::Spelling;
use crate::ids::ClientId;
use crate::oauth::cached_token::{CachedToken, Lifetime};
use crate::oauth::call::{Call, Purpose};
use crate::oauth::endpoint::{Endpoint, Repeat};
use crate::oauth::failure::{Failure, OAuthError};
use crate::oauth::secret::{Credential, Secret};
use crate::oauth::token_response::TokenResponseKind;
use crate::store::ClientKey;
use crate::timestamp::Timestamp;

/// The token type of an access token (RFC 8693, section 3).
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The values of `grant_type` in the configuration and in token requests.
pub(crate) mod grant_type {
    pub(crate) const CLIENT_CREDENTIALS: &str = "client_credentials";
    pub(crate) const PASSWORD: &str = "password";
    pub(crate) const REFRESH_TOKEN: &str = "refresh_token";
    /// An access token that was obtained elsewhere; it is never sent.
    pub(crate) const DIRECT_TOKEN: &str = "direct_token";
    pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    pub(crate) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
}

/// The configuration of an outbound client.
pub(crate) struct Client {
    /// The name in rules, logs and statistics.
    pub(crate) name: Arc<str>,
    pub(crate) grant: Grant,
    /// The token endpoint, unless the token was obtained elsewhere.
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    /// How a refresh token is used, if at all.
    pub(crate) refresh: Option<Refresh>,
    /// Parameters of all token requests.
    pub(crate) asked: RequestedScope,
    pub(crate) lifetime: Lifetime,
    pub(crate) placement: Placement,
    /// The statuses with which an upstream service rejects a token.
    pub(crate) renew_on_status: Vec<u16>,
    /// Whether requests are forwarded without a token if none can be obtained.
    pub(crate) failure_mode_allow: bool,
    /// Identifies the client's records in the store.
    pub(crate) key: ClientKey,
}

/// The grant with which a token is obtained.
#[derive(Debug)]
pub(crate) enum Grant {
    /// The client's own credentials (RFC 6749, section 4.4).
    ClientCredentials,
    /// A user's password (RFC 6749, section 4.3), which is a legacy grant.
    Password {
        /// The username of the resource owner.
        username: Secret,
        /// The password of the resource owner.
        password: Credential,
    },
    /// A refresh token that was obtained elsewhere (RFC 6749, section 6).
    RefreshToken(Secret),
    /// An access token that was obtained elsewhere.
    DirectToken {
        access_token: Secret,
        /// The lifetime, counted from the first use by the filter.
        expires_in: Option<Duration>,
        refresh_token: Option<Secret>,
    },
    /// An assertion (RFC 7523, section 2.1).
    JwtBearer {
        /// A JWT, sent as configured.
        assertion: Credential,
    },
    /// An exchange of the caller's token (RFC 8693).
    TokenExchange {
        subject_token_type: String,
        requested_token_type: Option<String>,
        /// The client whose token identifies the acting party.
        actor: Option<ClientId>,
    },
}

/// Parameters of all token requests of a client.
#[derive(Debug, Default)]
pub(crate) struct RequestedScope {
    pub(crate) scope: Option<String>,
    pub(crate) audience: Option<String>,
    /// Sent as one parameter for each resource (RFC 8707, section 2).
    pub(crate) resource: Vec<String>,
}

/// How a refresh token is used.
#[derive(Debug)]
pub(crate) struct Refresh {
    pub(crate) endpoint: Arc<Endpoint>,
    /// At most the scope that was granted (RFC 6749, section 6).
    pub(crate) scope: Option<String>,
}

/// How a token is put on a request.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    /// The name of the header, in lower case.
    pub(crate) header: Arc<str>,
    /// The text before the token, without the space between them; may be empty.
    pub(crate) scheme: String,
    /// Whether a value that the caller has set is replaced.
    pub(crate) overwrite: bool,
    /// All spellings of the header.
    pub(crate) spelling: Spelling,
}

impl Placement {
    /// Puts a token into `header`, a name in lower case, after `scheme`.
    pub(crate) fn new(header: &str, scheme: String, overwrite: bool) -> Self {
        Self { spelling: Spelling::of(header), header: header.into(), scheme, overwrite }
    }

    /// The value of the header for this token.
    pub(crate) fn value(&self, token: &str) -> Arc<str> {
        if self.scheme.is_empty() {
            token.into()
        } else {
            format!("{} {token}", self.scheme).into()
        }
    }
}

/// The kind of a token request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum TokenRequest {
    Grant,
    Refresh(Secret),
}

/// The tokens that a token exchange sends.
#[derive(Clone, Debug)]
pub(crate) struct SentTokens {
    /// The caller's token.
    pub(crate) subject: Secret,
    /// The proxy's own token, if it acts for the caller.
    pub(crate) actor: Option<Secret>,
}

impl Grant {
    /// The client whose token identifies the acting party.
    pub(crate) fn actor(&self) -> Option<ClientId> {
        let Self::TokenExchange { actor, .. } = self else { return None };
        *actor
    }
}

impl Client {
    /// The parts of token requests that are secret, or may be, without the tokens that are sent.
    pub(crate) fn each_secret(&self, check: &mut dyn FnMut(&str)) {
        let of_refresh = self.refresh.iter().map(|refresh| &refresh.endpoint);
        for endpoint in self.endpoint.iter().chain(of_refresh) {
            endpoint.each_secret(check);
        }
        match &self.grant {
            Grant::Password { username, password } => {
                check(username.reveal());
                password.each(check);
            }
            Grant::JwtBearer { assertion } => assertion.each(check),
            // Sent in requests of their own, or not at all.
            Grant::ClientCredentials
            | Grant::RefreshToken(_)
            | Grant::DirectToken { .. }
            | Grant::TokenExchange { .. } => {}
        }
    }

    /// The next token request; `None` if there is neither a grant nor a refresh token.
    pub(crate) fn ask(&self, holding: &CachedToken) -> Option<TokenRequest> {
        let kept = || {
            let token = holding.token.as_ref()?.refresh_token()?;
            self.refresh.as_ref()?;
            Some(TokenRequest::Refresh(Secret::new(token.to_owned())))
        };
        let given = |token: &Secret| {
            self.refresh.as_ref()?;
            Some(TokenRequest::Refresh(token.clone()))
        };
        match &self.grant {
            Grant::ClientCredentials | Grant::TokenExchange { .. } => Some(TokenRequest::Grant),
            // A refresh token that may be spent is not sent again if the grant can be used instead.
            Grant::Password { .. } | Grant::JwtBearer { .. } => {
                Some(kept().filter(|_| !holding.refresh_unsure).unwrap_or(TokenRequest::Grant))
            }
            Grant::RefreshToken(token) => kept().or_else(|| given(token)),
            Grant::DirectToken { refresh_token, .. } => {
                kept().or_else(|| given(refresh_token.as_ref()?))
            }
        }
    }

    /// The request that may follow after `ask` has failed, because the server rejects a refresh
    /// token that it issued earlier.
    pub(crate) fn fallback(&self, ask: &TokenRequest, failure: Failure) -> Option<TokenRequest> {
        let TokenRequest::Refresh(_) = ask else { return None };
        let other = self.ask(&CachedToken::default()).filter(|other| other != ask)?;
        match failure {
            Failure::Refused { error: Some(OAuthError::InvalidGrant), .. } => Some(other),
            Failure::Refused {
                error:
                    Some(
                        OAuthError::InvalidClient
                        | OAuthError::UnauthorizedClient
                        | OAuthError::UnsupportedGrantType
                        | OAuthError::InvalidScope,
                    ),
                ..
            } => None,
            // Some servers use another error code. Where the cause is uncertain, only the grant is
            // tried, because sending another refresh token could spend it.
            Failure::Refused { status: 200 | 201 | 400, .. } => {
                Some(other).filter(|other| *other == TokenRequest::Grant)
            }
            _ => None,
        }
    }

    /// Whether another token can be obtained.
    pub(crate) fn can_renew(&self) -> bool {
        self.ask(&CachedToken::default()).is_some()
    }

    /// The kind of response that a token request must get.
    pub(crate) fn expected(&self) -> TokenResponseKind<'_> {
        match &self.grant {
            Grant::TokenExchange { requested_token_type, .. } => {
                TokenResponseKind::Exchange { requested: requested_token_type.as_deref() }
            }
            _ => TokenResponseKind::AnyGrant,
        }
    }

    /// Whether each caller gets a token of its own.
    pub(crate) fn is_exchange(&self) -> bool {
        matches!(self.grant, Grant::TokenExchange { .. })
    }

    fn endpoint_for(&self, ask: &TokenRequest) -> Option<&Endpoint> {
        match ask {
            TokenRequest::Grant => self.endpoint.as_deref(),
            TokenRequest::Refresh(_) => self.refresh.as_ref().map(|refresh| &*refresh.endpoint),
        }
    }

    pub(crate) fn timeout(&self, ask: &TokenRequest) -> Duration {
        self.endpoint_for(ask).map(|endpoint| endpoint.timeout).unwrap_or_default()
    }

    /// The timeout of a request, together with that of the one that may [follow](Self::fallback).
    pub(crate) fn longest(&self, ask: &TokenRequest) -> Duration {
        let then = match ask {
            TokenRequest::Grant => None,
            TokenRequest::Refresh(_) => self.ask(&CachedToken::default()),
        };
        let then = then.map(|then| self.timeout(&then)).unwrap_or_default();
        self.timeout(ask).saturating_add(then)
    }

    /// The call for a token request. A token exchange needs the tokens in `exchanged`.
    ///
    /// # Errors
    /// A secret is missing, or the request is not one of this client's.
    pub(crate) fn call(
        &self,
        id: CallId,
        ask: &TokenRequest,
        exchanged: Option<&SentTokens>,
        now: Timestamp,
    ) -> Option<Call> {
        let secret;
        let mut form: Vec<(&str, &str)> = Vec::new();
        let mut scope = self.asked.scope.as_deref();
        let mut audience = self.asked.audience.as_deref();
        let mut repeat = Repeat::Harmless;
        match (ask, &self.grant) {
            (TokenRequest::Refresh(token), grant) => {
                form.extend([
                    ("grant_type", grant_type::REFRESH_TOKEN),
                    ("refresh_token", token.reveal()),
                ]);
                if !matches!(grant, Grant::RefreshToken(_)) {
                    let refresh = self.refresh.as_ref()?;
                    scope = refresh.scope.as_deref();
                    audience = None;
                }
                repeat = Repeat::Harmful;
            }
            (TokenRequest::Grant, Grant::ClientCredentials) => {
                form.push(("grant_type", grant_type::CLIENT_CREDENTIALS));
            }
            (TokenRequest::Grant, Grant::Password { username, password }) => {
                secret = password.current()?;
                form.extend([
                    ("grant_type", grant_type::PASSWORD),
                    ("username", username.reveal()),
                    ("password", secret.reveal()),
                ]);
            }
            (TokenRequest::Grant, Grant::JwtBearer { assertion }) => {
                secret = assertion.current()?;
                form.extend([
                    ("grant_type", grant_type::JWT_BEARER),
                    ("assertion", secret.reveal()),
                ]);
                repeat = Repeat::Harmful;
            }
            (
                TokenRequest::Grant,
                Grant::TokenExchange { subject_token_type, requested_token_type, .. },
            ) => {
                let SentTokens { subject, actor } = exchanged?;
                form.extend([
                    ("grant_type", grant_type::TOKEN_EXCHANGE),
                    ("subject_token", subject.reveal()),
                    ("subject_token_type", subject_token_type),
                ]);
                let requested = requested_token_type.as_deref();
                form.extend(requested.map(|kind| ("requested_token_type", kind)));
                if let Some(actor) = actor {
                    form.extend([
                        ("actor_token", actor.reveal()),
                        ("actor_token_type", ACCESS_TOKEN),
                    ]);
                }
            }
            (TokenRequest::Grant, Grant::RefreshToken(_) | Grant::DirectToken { .. }) => {
                return None;
            }
        }
        form.extend(scope.map(|scope| ("scope", scope)));
        form.extend(audience.map(|audience| ("audience", audience)));
        form.extend(self.asked.resource.iter().map(|resource| ("resource", resource.as_str())));
        let endpoint = self.endpoint_for(ask)?;
        endpoint.call(id, Purpose::Token, &form, repeat, now)
    }
}

/// Omits everything but the name, because the configuration contains secrets.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish_non_exhaustive()
    }
}
