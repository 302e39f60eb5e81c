//! The authorization request that a person's browser carries, and the judgement of what comes back.

use std::borrow::Cow;

use oauth2::{AuthUrl, CsrfToken, PkceCodeChallenge, RedirectUrl, basic::BasicClient};
use url::{Url, form_urlencoded};

use crate::{
    oauth::{
        authorization_server::AuthorizationServer,
        error::{OAuthError, Untrusted},
        registration::ClientRegistration,
        scope::Scope,
    },
    secret::Secret,
    server_url::{ServerUrl, ServerUrlError},
};

/// An authorization request (RFC 6749 section 4.1.1) with PKCE (RFC 7636 section 4.3), and all that its answer is measured by. Each is good for one answer.
#[derive(Debug)]
pub struct AuthorizationRequest {
    /// The URL for the person's browser.
    pub url: ServerUrl,
    /// The PKCE verifier, for the token request.
    pub verifier: Secret,
    /// The redirect URI, for the token request.
    pub redirect_uri: String,
    state: Secret,
    issuer: String,
    names_itself: bool,
}

/// What an [`AuthorizationRequest`] asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The `resource` parameter (RFC 8707 section 2.1).
    pub resource: Option<&'a str>,
    /// The `scope` parameter.
    pub scope: Option<&'a Scope>,
    /// Further parameters that this server wants. One that the request has already is left out: a parameter must not come twice (RFC 6749 section 3.1).
    pub parameters: &'a [(String, String)],
}

/// What the authorization server answered, in its own name (RFC 6749 section 4.1.2).
#[derive(Debug)]
pub enum AuthorizationResponse {
    /// The code to exchange for tokens.
    Code(Secret),
    /// An error: `access_denied` when the person said no.
    Error(OAuthError),
}

/// Why a request to the redirect URI is not the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// Not an answer to this request: another `state` or none, a parameter twice, neither code nor error. The real one may still come.
    #[error("this is not the answer to the sign-in")]
    Unrelated,
    /// An answer to this request in another's name. Nothing that it says may be used or shown (MCP authorization, "Authorization Response Validation").
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
}

impl AuthorizationRequest {
    /// A new request to `server`, with a verifier and a state of 256 random bits each.
    ///
    /// # Errors
    /// [`Untrusted`] where the server has no authorization endpoint, or does not support S256.
    pub fn new(
        server: &AuthorizationServer,
        registration: &ClientRegistration,
        redirect_uri: &str,
        wanted: Wanted<'_>,
    ) -> Result<Self, Untrusted> {
        let endpoint = server.authorization_endpoint()?;
        let unusable = |reason| Untrusted::Url { member: "authorization_endpoint", reason };
        let redirect = RedirectUrl::new(redirect_uri.to_owned()).map_err(|_| unusable(ServerUrlError::Malformed))?;
        let client = BasicClient::new(oauth2::ClientId::new(registration.client_id.clone()))
            .set_auth_uri(AuthUrl::from_url(endpoint.as_url().clone()))
            .set_redirect_uri(redirect);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request =
            client.authorize_url(|| CsrfToken::new_random_len(32)).set_pkce_challenge(challenge).add_scopes(
                wanted.scope.into_iter().flat_map(Scope::iter).map(|token| oauth2::Scope::new(token.to_owned())),
            );
        if let Some(resource) = wanted.resource {
            request = request.add_extra_param("resource", resource);
        }
        let (mut url, state) = request.url();
        add_missing(&mut url, wanted.parameters);
        // OpenID Connect Core 1.0 section 11: without a prompt for consent, a request for offline access is ignored.
        if wanted.scope.is_some_and(|scope| scope.contains("offline_access")) {
            add_missing(&mut url, &[("prompt".to_owned(), "consent".to_owned())]);
        }
        Ok(Self {
            url: url.try_into().map_err(unusable)?,
            verifier: Secret::new(verifier.into_secret()),
            redirect_uri: redirect_uri.to_owned(),
            state: Secret::new(state.into_secret()),
            issuer: server.issuer.clone(),
            names_itself: server.names_itself,
        })
    }

    /// Judges the query of a request to the redirect URI: `state` first, then `iss`, and only then whether it is an error or a code.
    ///
    /// # Errors
    /// Any [`CallbackError`].
    pub fn judge(&self, query: &str) -> Result<AuthorizationResponse, CallbackError> {
        let state = only(query, "state")?.ok_or(CallbackError::Unrelated)?;
        if !Secret::new(state.into_owned()).same_as(&self.state) {
            return Err(CallbackError::Unrelated);
        }
        // RFC 9207 section 2.4, and the table of MCP authorization, "Authorization Response Validation": compared as decoded, with no normalisation.
        match only(query, "iss")? {
            Some(issuer) if issuer != self.issuer => return Err(Untrusted::MixUp.into()),
            None if self.names_itself => return Err(Untrusted::MixUp.into()),
            _ => {}
        }
        let (code, error) = (only(query, "code")?, only(query, "error")?);
        let description = only(query, "error_description")?;
        match (code, error) {
            (_, Some(error)) => Ok(AuthorizationResponse::Error(OAuthError::new(&error, description.as_deref()))),
            (Some(code), None) if !code.is_empty() => Ok(AuthorizationResponse::Code(Secret::new(code.into_owned()))),
            _ => Err(CallbackError::Unrelated),
        }
    }
}

/// Appends each parameter whose key is not in the URL.
fn add_missing(url: &mut Url, parameters: &[(String, String)]) {
    for (key, value) in parameters {
        if url.query_pairs().all(|(present, _)| present != key.as_str()) {
            url.query_pairs_mut().append_pair(key, value);
        }
    }
}

/// The value of a parameter, which must not come twice (RFC 6749 section 3.1).
fn only<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, str>>, CallbackError> {
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(CallbackError::Unrelated),
    }
}
