//! A credential: its identity, its grant and its tokens.

use std::sync::Arc;

pub use crate::credential::identity::Identity;
use crate::{
    credential::{assertion_source::AssertionSource, key_header::KeyHeader},
    oauth::{
        client::{Grant, TokenRequest},
        dpop::DpopKey,
        registration::ClientRegistration,
        scope::Scope,
        token_set::TokenSet,
    },
    server_url::ServerUrl,
};
use serde::{Deserialize, Serialize};

/// How a credential is renewed.
#[derive(Debug, Clone)]
pub enum Renewal {
    /// With the refresh token of the user's sign-in; without one, the user has to sign in again.
    RefreshToken,
    /// With the client's own credentials (RFC 6749 section 4.4).
    ClientCredentials,
    /// With a new assertion (RFC 7523 section 2.1).
    JwtBearer(AssertionSource),
    /// Nothing: the token is an API key, which this header carries. It works until the vendor revokes it.
    ApiKey(KeyHeader),
}

/// Why a sign-in has ended. Its tokens stay stored until the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The authorization server refused the refresh token.
    Refused,
    /// The authorization server no longer knows the client that it registered.
    ClientForgotten,
}

/// Which of its tokens a credential sends to the MCP server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Bearer {
    /// Send the access token
    #[default]
    AccessToken,
    /// Send the ID token, for gateways that expect it
    IdToken,
}

/// A credential.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Its identity; checked on every read.
    pub identity: Identity,
    /// Incremented by every save.
    pub generation: u64,
    /// A random number of the sign-in, which renewals keep; 0 in records of older versions.
    pub sign_in: u64,
    /// How it is renewed.
    pub renewal: Renewal,
    /// The client.
    pub registration: ClientRegistration,
    /// The token endpoint.
    pub token_endpoint: ServerUrl,
    /// The revocation endpoint (RFC 7009), if the server has one.
    pub revocation_endpoint: Option<ServerUrl>,
    /// The `resource` parameter, the same in all requests; none if the server accepts none.
    pub resource: Option<String>,
    /// The requested scope.
    pub scope: Option<Scope>,
    /// Whether to request the scope again with a refresh token.
    pub scope_on_refresh: bool,
    /// Whether to refuse a token that was issued for another resource.
    pub require_audience: bool,
    /// Additional form fields for this server.
    pub parameters: Vec<(String, String)>,
    /// Which of its tokens the MCP server gets.
    pub bearer: Bearer,
    /// The key that its tokens are bound to (RFC 9449); none for bearer tokens.
    pub dpop_key: Option<Arc<DpopKey>>,
    /// The tokens; none before the first request.
    pub tokens: Option<TokenSet>,
    /// Why the sign-in has ended: its tokens are kept only to be revoked.
    pub end: Option<End>,
}

impl Credential {
    /// Its token request: always the same except for the grant.
    pub fn token_request<'a>(&'a self, grant: Grant<'a>) -> TokenRequest<'a> {
        TokenRequest {
            endpoint: &self.token_endpoint,
            issuer: &self.identity.issuer,
            registration: &self.registration,
            grant,
            resource: self.resource.as_deref(),
            scope: self.scope.as_ref(),
            dpop_key: self.dpop_key.as_deref(),
            parameters: &self.parameters,
            audience: self.resource.as_deref().filter(|_| self.require_audience),
        }
    }

    /// The name of its sign-in: renewals keep it, and every sign-in changes it, even with the same client.
    pub fn sign_in_name(&self) -> String {
        format!("{} {}", self.identity.entry(), self.sign_in)
    }

    /// Whether it can provide tokens without a user, as far as this machine knows.
    pub fn is_alive(&self) -> bool {
        match self.renewal {
            Renewal::RefreshToken | Renewal::ApiKey(_) => self.tokens.is_some() && self.end.is_none(),
            Renewal::ClientCredentials | Renewal::JwtBearer(_) => true,
        }
    }

    /// Its holder's display name: the user if the server names one, and the account.
    pub fn holder(&self) -> String {
        let account = &self.identity.account;
        match self.tokens.as_ref().and_then(|tokens| tokens.person.as_ref()) {
            Some(person) if person != account => format!("{person} ({account})"),
            _ => account.clone(),
        }
    }

    /// The resource that its access token was issued for, if it is not the requested one. The server may still accept
    /// it.
    pub fn other_audience(&self) -> Option<String> {
        self.tokens.as_ref()?.other_audience(self.resource.as_deref()?)
    }

    /// Whether its tokens are renewed without a user.
    pub fn renews_automatically(&self) -> bool {
        match self.renewal {
            Renewal::RefreshToken => {
                self.end.is_none() && self.tokens.as_ref().is_some_and(|tokens| tokens.refresh_token.is_some())
            }
            Renewal::ClientCredentials | Renewal::JwtBearer(_) => true,
            Renewal::ApiKey(_) => false,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
