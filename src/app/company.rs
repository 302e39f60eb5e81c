//! The user's sign-in at a company's identity provider (MCP "Enterprise-Managed Authorization"): one for all servers that
//! trust it.

use std::time::Duration;

use crate::{
    app::{credentials::Credentials, person::Person},
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
    oauth::{challenge::Challenge, error::Untrusted},
    secret::Secret,
    server_url::ServerUrl,
};

/// How long the ID token must still be valid: the exchange for an ID-JAG takes a moment.
const MIN_TTL: Duration = Duration::from_secs(30);

/// The account part of the identity: one sign-in for the whole company.
const ACCOUNT: &str = "company";

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

    /// A valid ID token of the stored sign-in, if there is one.
    ///
    /// # Errors
    /// The store failed, or the identity provider cannot be reached now.
    pub async fn id_token(&self, credentials: &Credentials) -> Result<Option<Secret>, TokenSourceError> {
        match credentials.tokens(Some(self.identity())).access_token(MIN_TTL).await {
            Ok(token) => Ok(token.map(|token| token.secret().clone())),
            Err(TokenSourceError::LoginRequired(_) | TokenSourceError::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        }
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
        let earlier = tokens.credential().await.ok().flatten();
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
        tokens.sign_in(credential).await.map_err(LoginError::Store)?;
        Ok(id_token)
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
