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
use crate::oauth::secret::Secret;
use crate::oauth::token_response::TokenResponseKind;
use crate::store::ClientKey;
use crate::timestamp::Timestamp;

/// The token type of an access token (RFC 8693, section 3).
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The values of `grant_type`: of the configuration, and of what is sent.
pub(crate) mod grant_type {
    /// The client itself.
    pub(crate) const CLIENT_CREDENTIALS: &str = "client_credentials";
    /// A user's password.
    pub(crate) const PASSWORD: &str = "password";
    /// A refresh token.
    pub(crate) const REFRESH_TOKEN: &str = "refresh_token";
    /// An access token that was obtained elsewhere; it is never sent.
    pub(crate) const DIRECT_TOKEN: &str = "direct_token";
    /// An assertion.
    pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    /// The caller's token.
    pub(crate) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
}

/// A client, as configured.
pub(crate) struct Client {
    /// What rules, logs and statistics call it.
    pub(crate) name: Arc<str>,
    /// What its tokens are asked for with.
    pub(crate) grant: Grant,
    /// The token endpoint; a token that was obtained elsewhere needs none.
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    /// How a refresh token is used, if at all.
    pub(crate) refresh: Option<Refresh>,
    /// What is asked for.
    pub(crate) asked: RequestedScope,
    /// How long tokens serve.
    pub(crate) lifetime: Lifetime,
    /// Where they go.
    pub(crate) placement: Placement,
    /// The statuses by which an upstream says that it does not take a token.
    pub(crate) renew_on_status: Vec<u16>,
    /// Whether requests go on without a token if there is none to be had.
    pub(crate) failure_mode_allow: bool,
    /// What tells its tokens from others', for all workers.
    pub(crate) key: ClientKey,
}

/// What a token is asked for with.
#[derive(Debug)]
pub(crate) enum Grant {
    /// The client itself (RFC 6749, section 4.4).
    ClientCredentials,
    /// A user's password (RFC 6749, section 4.3): legacy.
    Password {
        /// The user.
        username: Secret,
        /// The password.
        password: Secret,
    },
    /// A refresh token that was obtained elsewhere (RFC 6749, section 6).
    RefreshToken(Secret),
    /// An access token that was obtained elsewhere.
    DirectToken {
        /// The token.
        access_token: Secret,
        /// How long it lives from when it was first used here.
        expires_in: Option<Duration>,
        /// What renews it.
        refresh_token: Option<Secret>,
    },
    /// An assertion (RFC 7523, section 2.1).
    JwtBearer {
        /// One JWT.
        assertion: Secret,
    },
    /// The caller's token (RFC 8693).
    TokenExchange {
        /// What the caller's token is.
        subject_token_type: String,
        /// What is wanted.
        requested_token_type: Option<String>,
        /// The client whose token says who acts for the caller.
        actor: Option<ClientId>,
    },
}

/// Parameters that every request of a client has.
#[derive(Debug, Default)]
pub(crate) struct RequestedScope {
    /// `scope`.
    pub(crate) scope: Option<String>,
    /// `audience`.
    pub(crate) audience: Option<String>,
    /// `resource`, each by itself (RFC 8707, section 2).
    pub(crate) resource: Vec<String>,
}

/// How a refresh token is used.
#[derive(Debug)]
pub(crate) struct Refresh {
    /// Where.
    pub(crate) endpoint: Arc<Endpoint>,
    /// Not more than what was granted (RFC 6749, section 6).
    pub(crate) scope: Option<String>,
}

/// Where a token goes.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    /// The header, in lower case.
    pub(crate) header: Arc<str>,
    /// What stands before the token; empty for nothing.
    pub(crate) scheme: String,
    /// Whether what the caller has there is replaced.
    pub(crate) overwrite: bool,
    /// All spellings of the header.
    pub(crate) spelling: Spelling,
}

impl Placement {
    /// A token goes into `header`, a name in lower case, after `scheme`.
    pub(crate) fn new(header: &str, scheme: String, overwrite: bool) -> Self {
        Self { spelling: Spelling::of(header), header: header.into(), scheme, overwrite }
    }

    /// The header's value with this token.
    pub(crate) fn value(&self, token: &str) -> Arc<str> {
        if self.scheme.is_empty() {
            token.into()
        } else {
            format!("{} {token}", self.scheme).into()
        }
    }
}

/// What the next call sends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum TokenRequest {
    /// The grant.
    Grant,
    /// This refresh token.
    Refresh(Secret),
}

/// The tokens that a token exchange sends.
#[derive(Clone, Debug)]
pub(crate) struct SentTokens {
    /// The caller's.
    pub(crate) subject: Secret,
    /// Ours, if we act for the caller.
    pub(crate) actor: Option<Secret>,
}

impl Grant {
    /// The client whose token says who acts for the caller.
    pub(crate) fn actor(&self) -> Option<ClientId> {
        let Self::TokenExchange { actor, .. } = self else { return None };
        *actor
    }
}

impl Client {
    /// What the next call sends; `None` if nothing is left.
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
            // A refresh token that may be spent is not sent again where there is another way.
            Grant::Password { .. } | Grant::JwtBearer { .. } => {
                Some(kept().filter(|_| !holding.refresh_unsure).unwrap_or(TokenRequest::Grant))
            }
            Grant::RefreshToken(token) => kept().or_else(|| given(token)),
            Grant::DirectToken { refresh_token, .. } => {
                kept().or_else(|| given(refresh_token.as_ref()?))
            }
        }
    }

    /// What may be sent after `ask` has failed with `failure`: the server does not take a refresh
    /// token any more that it had given us.
    pub(crate) fn fallback(&self, ask: &TokenRequest, failure: Failure) -> Option<TokenRequest> {
        let TokenRequest::Refresh(_) = ask else { return None };
        let other = self.ask(&CachedToken::default()).filter(|other| other != ask)?;
        match failure {
            Failure::Refused { error: Some(OAuthError::InvalidGrant), .. } => Some(other),
            // Not every server has that word for it. On a guess, no refresh token is sent that may
            // be spent.
            Failure::Refused {
                status: 200 | 201 | 400,
                error:
                    None
                    | Some(OAuthError::InvalidRequest | OAuthError::InvalidTarget | OAuthError::Other),
            } => Some(other).filter(|other| *other == TokenRequest::Grant),
            _ => None,
        }
    }

    /// Whether another token could be obtained.
    pub(crate) fn can_renew(&self) -> bool {
        self.ask(&CachedToken::default()).is_some()
    }

    /// What the answer has to be.
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

    /// The endpoint that a call goes to.
    fn endpoint_for(&self, ask: &TokenRequest) -> Option<&Endpoint> {
        match ask {
            TokenRequest::Grant => self.endpoint.as_deref(),
            TokenRequest::Refresh(_) => self.refresh.as_ref().map(|refresh| &*refresh.endpoint),
        }
    }

    /// How long a call may take.
    pub(crate) fn timeout(&self, ask: &TokenRequest) -> Duration {
        self.endpoint_for(ask).map(|endpoint| endpoint.timeout).unwrap_or_default()
    }

    /// How long a call may take together with the one that may [follow](Self::fallback).
    pub(crate) fn longest(&self, ask: &TokenRequest) -> Duration {
        let then = match ask {
            TokenRequest::Grant => None,
            TokenRequest::Refresh(_) => self.ask(&CachedToken::default()),
        };
        let then = then.map(|then| self.timeout(&then)).unwrap_or_default();
        self.timeout(ask).saturating_add(then)
    }

    /// The call that asks for a token.
    pub(crate) fn call(
        &self,
        id: CallId,
        ask: &TokenRequest,
        exchanged: Option<&SentTokens>,
        now: Timestamp,
    ) -> Option<Call> {
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
                    scope = self.refresh.as_ref()?.scope.as_deref();
                    audience = None;
                }
                repeat = Repeat::Harmful;
            }
            (TokenRequest::Grant, Grant::ClientCredentials) => {
                form.push(("grant_type", grant_type::CLIENT_CREDENTIALS));
            }
            (TokenRequest::Grant, Grant::Password { username, password }) => form.extend([
                ("grant_type", grant_type::PASSWORD),
                ("username", username.reveal()),
                ("password", password.reveal()),
            ]),
            (TokenRequest::Grant, Grant::JwtBearer { assertion }) => {
                form.extend([
                    ("grant_type", grant_type::JWT_BEARER),
                    ("assertion", assertion.reveal()),
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
        Some(self.endpoint_for(ask)?.call(id, Purpose::Token, &form, repeat, now))
    }
}

/// Shows nothing of what it holds.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish_non_exhaustive()
    }
}
