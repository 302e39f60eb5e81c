//! The user's sign-in at a company's identity provider (MCP "Enterprise-Managed Authorization"): one for all servers that
//! trust it.

use std::time::Duration;

use crate::{
    app::{credentials::Credentials, person::Person},
    conversation::extension::{ENTERPRISE_MANAGED_AUTHORIZATION, Extension},
    credential::{
        record::{Bearer, Credential, Identity},
        token_source::TokenSourceError,
    },
    login::{
        context::Context,
        error::LoginError,
        options::{Assertion, Options, ResourceParameter},
        person::authorization_code,
        request::{KnownClient, LoginRequest},
    },
    oauth::{
        challenge::Challenge,
        error::{TokenError, Untrusted},
        id_token::check_parties,
    },
    secret::Secret,
    server_url::ServerUrl,
};

/// How long the ID token must still be valid: the exchange for an ID-JAG takes a moment.
const MIN_TTL: Duration = Duration::from_secs(30);

/// The account part of the identity: one sign-in for the whole company.
const ACCOUNT: &str = "company";

/// The extension to declare to a server that is signed in to with these options. It covers an ID token from a file too.
pub fn extension(options: &Options) -> Option<Extension> {
    let is_company = matches!(options.assertion, Some(Assertion::IdentityProvider { .. }));
    is_company.then_some(ENTERPRISE_MANAGED_AUTHORIZATION)
}

/// An identity provider, and finmcp's client there.
pub struct Company {
    issuer: String,
    url: ServerUrl,
    client_id: String,
}

impl Company {
    /// The identity provider where a profile with these options has its user sign in; none if it does not.
    ///
    /// # Errors
    /// Its issuer is not a URL.
    pub fn of(options: &Options) -> Result<Option<Self>, LoginError> {
        let Some(Assertion::IdentityProvider { issuer, client_id, id_token_file: None }) = &options.assertion else {
            return Ok(None);
        };
        let url: ServerUrl = issuer.parse().map_err(|reason| Untrusted::Url { member: "identity_provider", reason })?;
        let url = if options.overrides.allow_private_network { url.granting_private_network() } else { url };
        Ok(Some(Self { issuer: issuer.clone(), url, client_id: client_id.clone() }))
    }

    /// The identity of the sign-in there.
    pub fn identity(&self) -> Identity {
        Identity {
            environment: String::new(),
            issuer: self.issuer.clone(),
            resource: self.url.resource(),
            client_id: self.client_id.clone(),
            account: ACCOUNT.to_owned(),
        }
    }

    /// The identity provider's host.
    pub fn host(&self) -> String {
        self.url.host()
    }

    /// A valid ID token of the stored sign-in, if there is one for this client from this provider.
    ///
    /// # Errors
    /// The store failed, or the identity provider cannot be reached now.
    pub async fn id_token(&self, credentials: &Credentials) -> Result<Option<Secret>, TokenSourceError> {
        match credentials.tokens(Some(self.identity())).access_token(MIN_TTL).await {
            Ok(token) => Ok(token.map(|token| token.secret().clone()).filter(|token| self.check(token).is_ok())),
            Err(TokenSourceError::LoginRequired(_) | TokenSourceError::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The stored sign-in, even if it has ended.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn credential(&self, credentials: &Credentials) -> Result<Option<Credential>, TokenSourceError> {
        credentials.tokens(Some(self.identity())).credential().await
    }

    /// Has the user sign in with the browser, stores the credential, and returns its ID token.
    ///
    /// # Errors
    /// Any [`LoginError`].
    pub async fn sign_in(
        &self,
        credentials: &Credentials,
        options: &Options,
        client_secret: Option<Secret>,
        person: Person<'_>,
    ) -> Result<Secret, LoginError> {
        let tokens = credentials.tokens(Some(self.identity()));
        let earlier = self.credential(credentials).await.ok().flatten();
        let context = Context {
            http: &credentials.http,
            clock: credentials.clock.as_ref(),
            browser: person.browser,
            registrations: None,
        };
        let request = self.request(options, client_secret, earlier);
        let credential = authorization_code(request, person.redirection, &context, person.progress).await?;
        let id_token = credential.tokens.as_ref().and_then(|tokens| tokens.id_token.clone());
        let id_token = id_token.ok_or(LoginError::NeedsAssertion)?;
        self.check(&id_token)?;
        tokens.sign_in(credential).await.map_err(LoginError::Store)?;
        Ok(id_token)
    }

    /// Checks an ID token before it is stored or used.
    fn check(&self, id_token: &Secret) -> Result<(), TokenError> {
        check_parties(id_token, &self.issuer, &self.client_id)
    }

    fn request(&self, options: &Options, client_secret: Option<Secret>, earlier: Option<Credential>) -> LoginRequest {
        let known = earlier.map(|credential| KnownClient {
            issuer: credential.identity.issuer,
            registration: credential.registration,
        });
        LoginRequest {
            server: self.url.clone(),
            title: self.host(),
            environment: String::new(),
            account: ACCOUNT.to_owned(),
            options: Options {
                client_id: Some(self.client_id.clone()),
                issuer: Some(self.issuer.clone()),
                redirect_uri: options.redirect_uri.clone(),
                resource: ResourceParameter::Omitted,
                bearer: Some(Bearer::IdToken),
                ..Options::default()
            },
            client_secret,
            certificate: None,
            known,
            force_registration: false,
            // The identity provider is no MCP server: it is not probed.
            challenge: Some(Challenge::default()),
        }
    }
}
