//! The page that the user signs in at: its URL has the whole authorization request, or a reference to one that finmcp
//! pushed to the server (RFC 9126).

use std::time::Duration;

use http::StatusCode;

use crate::{
    credential::record::Credential,
    login::{client::Origin, context::Context, error::LoginError},
    oauth::{
        authorization::{AuthorizationRequest, says_unknown_client},
        authorization_server::{AuthorizationServer, PushEndpoint},
        client::{self, PushedRequest},
        error::{OAuthError, PushError, TokenError},
        registration::ClientRegistration,
    },
    server_url::ServerUrl,
};

/// The page.
#[derive(Debug)]
pub(super) struct SignInPage {
    pub url: ServerUrl,
    /// How long its URL works; `None` if it does not expire, or the server does not say when.
    pub expires_in: Option<Duration>,
}

impl SignInPage {
    /// Whether its URL refers to a pushed request, and so expires.
    pub fn is_pushed(&self, authorization: &AuthorizationRequest) -> bool {
        self.url != authorization.url
    }

    /// The page for `authorization`, pushed if the server requires or offers that. If the server refuses the client,
    /// tries its `other` registration, which `credential` then keeps.
    pub async fn new(
        server: &AuthorizationServer,
        authorization: &AuthorizationRequest,
        credential: &mut Credential,
        other: Option<&ClientRegistration>,
        context: &Context<'_>,
    ) -> Result<Self, PushError> {
        let (refusal, registration) = match (Self::once(server, authorization, credential, context).await, other) {
            (Err(PushError::Token(refusal)), Some(other)) if refusal.refuses_client() => (refusal, other.clone()),
            (outcome, _) => return outcome,
        };
        let second = Credential { registration, ..credential.clone() };
        let page = Self::once(server, authorization, &second, context).await;
        page.inspect(|_| *credential = second).map_err(|_| PushError::Token(refusal))
    }

    async fn once(
        server: &AuthorizationServer,
        authorization: &AuthorizationRequest,
        credential: &Credential,
        context: &Context<'_>,
    ) -> Result<Self, PushError> {
        let plain = || Self { url: authorization.url.clone(), expires_in: None };
        let Some(PushEndpoint { url, is_required }) = server.push_endpoint()? else { return Ok(plain()) };
        let request = PushedRequest {
            endpoint: url,
            issuer: &server.issuer,
            registration: &credential.registration,
            authorization,
            dpop_key: credential.dpop_key.as_deref(),
        };
        match client::push(context.http, request, context.clock.now()).await {
            Ok(pushed) => {
                Ok(Self { url: authorization.by_reference(&pushed.request_uri)?, expires_in: pushed.expires_in })
            }
            Err(PushError::Absent { status }) if !is_required => {
                tracing::debug!(status, "the server publishes an endpoint for pushed requests that does not exist");
                Ok(plain())
            }
            Err(error) => Err(error),
        }
    }
}

/// What `invalid_client` means, depending on the client's origin.
pub(super) fn refused_client(refusal: OAuthError, origin: Origin) -> LoginError {
    match origin {
        Origin::Given => LoginError::Token(TokenError::Refused(refusal)),
        Origin::Earlier | Origin::Pending => LoginError::ClientForgotten(refusal),
        Origin::New => LoginError::NewClientRefused(refusal),
    }
}

/// What a failed push means. A server that has forgotten a client says so here, where it would otherwise show the user
/// an error page.
pub(super) fn refused_push(error: PushError, origin: Origin) -> LoginError {
    match error {
        PushError::Token(TokenError::Refused(refusal)) if refusal.code == "invalid_client" => {
            refused_client(refusal, origin)
        }
        PushError::Token(TokenError::Refused(refusal)) if origin.may_be_forgotten() && is_about_client(&refusal) => {
            LoginError::ClientForgotten(refusal)
        }
        error => error.into(),
    }
}

fn is_about_client(refusal: &OAuthError) -> bool {
    says_unknown_client(StatusCode::BAD_REQUEST, refusal.to_string().as_bytes())
}
