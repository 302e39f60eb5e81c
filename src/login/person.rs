//! Signing in with a browser.

use std::sync::Arc;

use crate::{
    credential::record::{Credential, Renewal},
    login::{
        answer::{Answer, Asked},
        client::Applicant,
        context::{Context, Progress, Redirection},
        error::LoginError,
        page::Page,
        place::Place,
        request::{LoginRequest, with_first_tokens, with_holder},
        sign_in_page::{SignInPage, refused_client, refused_push},
    },
    oauth::{
        authorization::{AuthorizationRequest, Wanted},
        client::Grant,
        error::TokenError,
        id_token::check_nonce,
    },
};

/// Signs in with the authorization code grant and PKCE (RFC 6749 section 4.1, RFC 7636), or with a device code if no
/// browser opens here and the server offers device codes. If the server has forgotten an earlier registration, finmcp
/// registers a new client and asks the user again.
///
/// # Errors
/// Any [`LoginError`].
pub async fn authorization_code(
    request: LoginRequest,
    mut redirection: Redirection,
    context: &Context<'_>,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Credential, LoginError> {
    let again = LoginRequest { known: None, force_registration: true, ..request.clone() };
    match sign_in_in_browser(request, &mut redirection, context, progress).await {
        Err(LoginError::ClientForgotten(_)) => sign_in_in_browser(again, &mut redirection, context, progress).await,
        outcome => outcome,
    }
}

async fn sign_in_in_browser(
    request: LoginRequest,
    redirection: &mut Redirection,
    context: &Context<'_>,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Credential, LoginError> {
    let discovery = request.discover(context).await?;
    let server = &discovery.authorization_server;
    // Fails before finmcp registers a client or opens a page.
    server.authorization_endpoint()?;
    server.push_endpoint()?;
    let scope = request.scope_for_person(&discovery);
    let place = Place { fixed: request.options.redirect_uri.as_ref(), port: redirection.port };
    let timeout = redirection.timeout;
    let applicant = Applicant { request: &request, discovery: &discovery, scope: scope.as_ref(), context, timeout };
    let (loopback, registration, origin) = applicant.for_browser(&place, progress).await?;
    let redirect_uri = loopback.redirect_uri().to_string();
    let other = origin.other_registration(&request, server, &registration);
    let (title, host) = (request.title.clone(), request.server.host());
    let nonce = request.nonce();
    let parameters = request.authorization_parameters(nonce.as_deref());
    let mut credential = request.credential(&discovery, Renewal::RefreshToken, registration, scope)?;
    let dpop_jkt = credential.dpop_key.as_ref().map(|key| key.thumbprint());
    let wanted = Wanted {
        resource: credential.resource.as_deref(),
        scope: credential.scope.as_ref(),
        dpop_jkt: dpop_jkt.as_deref(),
        parameters: &parameters,
    };
    let authorization = Arc::new(AuthorizationRequest::new(server, &credential.registration, &redirect_uri, wanted)?);
    let page = SignInPage::new(server, &authorization, &mut credential, other.as_ref(), context)
        .await
        .map_err(|error| refused_push(error, origin))?;
    // The server accepted the client when it took the pushed request.
    let other = other.filter(|_| !page.is_pushed(&authorization));
    let asked = Asked {
        server,
        page: &page,
        authorization: &authorization,
        credential: &credential,
        device: server.device_authorization_endpoint.as_ref().filter(|_| server.device_codes),
        known_client: origin.may_be_forgotten(),
    };
    let (answer, visitor) = match asked.first_answer(loopback, redirection, context, progress).await? {
        Answer::Elsewhere(credential) => return Ok(with_holder(*credential, server, context).await),
        Answer::Here(answer, visitor) => (answer, visitor),
    };
    let outcome = match answer {
        Ok(code) => {
            progress(Progress::Answered);
            let verifier = &authorization.verifier;
            let grant = Grant::AuthorizationCode { code: &code, verifier, redirect_uri: &redirect_uri };
            match with_first_tokens(credential, grant, other.as_ref(), context).await {
                Err(LoginError::Token(TokenError::Refused(refusal))) if refusal.code == "invalid_client" => {
                    Err(refused_client(refusal, origin))
                }
                outcome => outcome.and_then(|credential| with_nonce(credential, nonce.as_deref())),
            }
        }
        Err(error) => Err(error),
    };
    let outcome = match outcome {
        Ok(credential) => Ok(with_holder(credential, server, context).await),
        outcome => outcome,
    };
    if let Some(visitor) = visitor {
        let page = match &outcome {
            Ok(Credential { identity, tokens, .. }) => {
                let person = tokens.as_ref().and_then(|tokens| tokens.person.as_deref());
                Page::signed_in(&title, &host, person, &identity.account)
            }
            Err(_) => Page::failed(&title),
        };
        visitor.show(page).await;
    }
    outcome
}

/// `credential`, unless its ID token belongs to another authorization request.
fn with_nonce(credential: Credential, nonce: Option<&str>) -> Result<Credential, LoginError> {
    let id_token = credential.tokens.as_ref().and_then(|tokens| tokens.id_token.as_ref());
    if let (Some(nonce), Some(id_token)) = (nonce, id_token) {
        check_nonce(id_token, nonce)?;
    }
    Ok(credential)
}
