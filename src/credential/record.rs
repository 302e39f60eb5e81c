//! One credential: whose it is, how it is renewed, and its tokens.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

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

/// What a credential belongs to. Two credentials with any part different never meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The vendor environment (`production`, `sandbox`), empty where there is one only.
    pub environment: String,
    /// The authorization server's issuer identifier (RFC 8414 section 2); for a pinned token endpoint without one, the
    /// endpoint's URL.
    pub issuer: String,
    /// The protected resource's identifier (RFC 8707).
    pub resource: String,
    /// The client identifier.
    pub client_id: String,
    /// The business or person, as the profile names it.
    pub account: String,
}

impl Identity {
    /// The name of its entry in a store and of its lock: `finmcp-` and a SHA-256 in hexadecimal. Each part is hashed
    /// with its length, so that no two identities share a name by moving characters from one part to the next.
    pub fn entry(&self) -> String {
        let mut hash = Sha256::new_with_prefix(b"finmcp credential 1");
        for part in [&self.environment, &self.issuer, &self.resource, &self.client_id, &self.account] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        format!("finmcp-{}", hex::encode(hash.finalize()))
    }
}

/// What renews a credential.
#[derive(Debug, Clone)]
pub enum Renewal {
    /// The refresh token of an authorization code sign-in; a person when it is spent.
    RefreshToken,
    /// The client's own credentials: asking again (RFC 6749 section 4.4).
    ClientCredentials,
    /// An assertion, got anew (RFC 7523 section 2.1).
    JwtBearer(AssertionSource),
    /// Nothing: the token is an API key, which this header carries. It works until the vendor revokes it.
    ApiKey(KeyHeader),
}

/// Why a sign-in is over, though its tokens are kept until the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The authorization server refused the refresh token.
    Refused,
    /// The authorization server no longer knows the client that it once registered.
    ClientForgotten,
}

/// A credential, whole.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Whose it is; checked on every read.
    pub identity: Identity,
    /// One more with each save.
    pub generation: u64,
    /// A number that is drawn at each sign-in and that renewals keep; 0 in a record from before there was one.
    pub sign_in: u64,
    /// How it is renewed.
    pub renewal: Renewal,
    /// Who asks.
    pub registration: ClientRegistration,
    /// Where tokens come from.
    pub token_endpoint: ServerUrl,
    /// Where they are revoked (RFC 7009), where there is such a place.
    pub revocation_endpoint: Option<ServerUrl>,
    /// The `resource` parameter that is sent, on every leg alike; none where the server wants none.
    pub resource: Option<String>,
    /// The scope that was asked for.
    pub scope: Option<Scope>,
    /// Whether a refresh asks for it again.
    pub scope_on_refresh: bool,
    /// Whether a token must not be for another resource.
    pub require_audience: bool,
    /// Further form fields that this server wants.
    pub parameters: Vec<(String, String)>,
    /// The key that its tokens are bound to (RFC 9449); none where they are bearer tokens.
    pub dpop_key: Option<Arc<DpopKey>>,
    /// The tokens; none before the first.
    pub tokens: Option<TokenSet>,
    /// Why the tokens are no longer used: they are kept to be revoked.
    pub end: Option<End>,
}

impl Credential {
    /// What its tokens are asked for with: the same on every leg, but for the grant.
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

    /// The name of the sign-in that it came from: the same after each renewal, and another after each sign-in, be it of
    /// another person with the same client.
    pub fn sign_in_name(&self) -> String {
        format!("{} {}", self.identity.entry(), self.sign_in)
    }

    /// Whether tokens come of it without a person, as far as this machine knows.
    pub fn is_alive(&self) -> bool {
        match self.renewal {
            Renewal::RefreshToken | Renewal::ApiKey(_) => self.tokens.is_some() && self.end.is_none(),
            Renewal::ClientCredentials | Renewal::JwtBearer(_) => true,
        }
    }

    /// Whose it is, for people to read: the person, where the server names one, and the account.
    pub fn holder(&self) -> String {
        let account = &self.identity.account;
        match self.tokens.as_ref().and_then(|tokens| tokens.person.as_ref()) {
            Some(person) if person != account => format!("{person} ({account})"),
            _ => account.clone(),
        }
    }

    /// Whom its access token is for in place of the resource that was asked for. Advice: the server may know what it does.
    pub fn other_audience(&self) -> Option<String> {
        self.tokens.as_ref()?.other_audience(self.resource.as_deref()?)
    }

    /// Whether its tokens are renewed without a person.
    pub fn renews_by_itself(&self) -> bool {
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
