//! The client that a person signs in to: one that is known already, one that an earlier attempt has registered, or a new
//! one.

use std::time::Duration;

use crate::{
    credential::{record::Identity, registrations::Pending},
    login::{
        context::{Context, Progress},
        error::LoginError,
        loopback::Loopback,
        place::Place,
        request::LoginRequest,
    },
    oauth::{
        authorization::{AuthorizationRequest, Wanted},
        authorization_server::AuthorizationServer,
        client,
        discovery::Discovery,
        error::RegistrationError,
        registration::{ClientAuthentication, ClientRegistration, RegistrationRequest},
        scope::Scope,
    },
    server_url::ServerUrl,
};

/// The longest that a server that is busy is waited for, in all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a client comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The person, a document about finmcp, or the provider.
    Given,
    /// It registered itself, and somebody has signed in with it.
    Earlier,
    /// It registered itself, and nobody has signed in with it yet.
    Pending,
    /// It has just registered itself.
    New,
}

impl Origin {
    /// Whether nobody has signed in with it yet: the server has said how it authenticates, and not shown it.
    fn is_unproven(self) -> bool {
        matches!(self, Self::Pending | Self::New)
    }

    /// How else the client could authenticate if the server refuses it, where it has never been accepted and the person
    /// has not chosen.
    pub(super) fn other_authentication(
        self,
        request: &LoginRequest,
        registration: &ClientRegistration,
    ) -> Option<ClientAuthentication> {
        let is_open = self.is_unproven() && request.options.overrides.authentication().is_none();
        if is_open { registration.other_authentication() } else { None }
    }

    /// Whether the server may have forgotten it.
    pub(super) fn may_be_forgotten(self) -> bool {
        matches!(self, Self::Earlier | Self::Pending)
    }
}

/// A sign-in that needs a client.
pub(super) struct Applicant<'a> {
    /// What is signed in to.
    pub request: &'a LoginRequest,
    /// Where tokens come from.
    pub discovery: &'a Discovery,
    /// What is asked for.
    pub scope: Option<&'a Scope>,
    /// What it works with.
    pub context: &'a Context<'a>,
}

/// Whom to tell what happens.
type Tell<'p> = &'p mut (dyn FnMut(Progress<'_>) + Send);

impl Applicant<'_> {
    /// The client, and the listener for its redirect URI. The port comes first: a registration and a sign-in page are of
    /// no use without it.
    pub(super) async fn for_browser(
        &self,
        place: &Place<'_>,
        progress: Tell<'_>,
    ) -> Result<(Loopback, ClientRegistration, Origin), LoginError> {
        let given = self.request.registration(self.server(), self.context.clock.now());
        let (loopback, reusable) = place.listen(given).await?;
        let mut forgotten = None;
        if let Some(registration) = reusable {
            if !registration.is_dynamic() {
                return Ok((loopback, registration, Origin::Given));
            }
            if !self.is_forgotten(&registration, &loopback).await {
                return Ok((loopback, registration, Origin::Earlier));
            }
            forgotten = Some(registration);
        }
        let mut pending = self.pending().await;
        let candidates = pending.as_ref().map(Pending::clients).unwrap_or_default().to_vec();
        for registration in candidates.into_iter().filter(|client| self.is_usable(client)) {
            let uri = registration.redirect_uri.as_deref();
            if uri == Some(loopback.redirect_uri().as_str()) {
                if !self.is_forgotten(&registration, &loopback).await {
                    return Ok((loopback, registration, Origin::Pending));
                }
            } else if let Some(own) = place.listen_again(uri).await {
                if !self.is_forgotten(&registration, &own).await {
                    return Ok((own, registration, Origin::Pending));
                }
            } else {
                // Another process waits for its person there.
                continue;
            }
            drop_client(pending.as_mut(), &registration).await;
        }
        match (self.register_at(place, loopback, progress).await, forgotten) {
            (Ok((loopback, registration)), _) => {
                keep_client(pending.as_mut(), &registration).await;
                Ok((loopback, registration, Origin::New))
            }
            // It is not certain that the client is forgotten, and there is no other.
            (Err(error), Some(forgotten)) => {
                tracing::warn!(%error, "the server seems to have forgotten this client, and registers no other");
                let (loopback, usable) = place.listen(Some(forgotten)).await?;
                Ok((loopback, usable.ok_or(error)?, Origin::Earlier))
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Registers a client that is sent back to `loopback`, or to `localhost` where the server refuses 127.0.0.1.
    async fn register_at(
        &self,
        place: &Place<'_>,
        loopback: Loopback,
        progress: Tell<'_>,
    ) -> Result<(Loopback, ClientRegistration), LoginError> {
        // RFC 7591 section 3.2.2 has the first for this. Servers also say the others.
        const REFUSALS: [&str; 3] = ["invalid_redirect_uri", "invalid_client_metadata", "invalid_request"];
        let refusal = match self.register_for_browser(&loopback, progress).await {
            Ok(registration) => return Ok((loopback, registration)),
            Err(LoginError::Registration(RegistrationError::Refused(refusal)))
                if REFUSALS.contains(&&refusal.code[..]) =>
            {
                refusal
            }
            Err(error) => return Err(error),
        };
        // Where that does not help, the first refusal says why.
        let refused = || LoginError::Registration(RegistrationError::Refused(refusal.clone()));
        let localhost = place.as_localhost(loopback).await.ok_or_else(refused)?;
        let registration = self.register_for_browser(&localhost, progress).await.map_err(|_| refused())?;
        Ok((localhost, registration))
    }

    async fn register_for_browser(
        &self,
        loopback: &Loopback,
        progress: Tell<'_>,
    ) -> Result<ClientRegistration, LoginError> {
        let request = |scope| self.registration_request(loopback.redirect_uri().as_str(), scope);
        // Some servers offer the device grant, and not to everybody.
        let lesser =
            [self.scope.map(|_| request(None)), self.server().device_codes.then(|| request(None).for_browsers())];
        self.register(request(self.scope), lesser, progress).await
    }

    /// The client of a sign-in on another device, which needs no listener. `redirect_uri` is one that it might use
    /// another time.
    pub(super) async fn for_device(
        &self,
        redirect_uri: &str,
        progress: Tell<'_>,
    ) -> Result<(ClientRegistration, Origin), LoginError> {
        if let Some(registration) = self.request.registration(self.server(), self.context.clock.now()) {
            let origin = if registration.is_dynamic() { Origin::Earlier } else { Origin::Given };
            return Ok((registration, origin));
        }
        let mut pending = self.pending().await;
        let candidates = pending.as_ref().map(Pending::clients).unwrap_or_default();
        let is_ours = |client: &&ClientRegistration| {
            client.redirect_uri.as_deref() == Some(redirect_uri) && self.is_usable(client)
        };
        if let Some(registration) = candidates.iter().find(is_ours) {
            return Ok((registration.clone(), Origin::Pending));
        }
        let request = |scope| self.registration_request(redirect_uri, scope).for_devices();
        let registration = self.register(request(self.scope), [self.scope.map(|_| request(None))], progress).await?;
        keep_client(pending.as_mut(), &registration).await;
        Ok((registration, Origin::New))
    }

    fn server(&self) -> &AuthorizationServer {
        &self.discovery.authorization_server
    }

    fn registration_request(&self, redirect_uri: &str, scope: Option<&Scope>) -> RegistrationRequest {
        let method = self.request.options.overrides.authentication();
        RegistrationRequest::new(self.server(), redirect_uri, scope).authenticating(method)
    }

    fn is_usable(&self, client: &ClientRegistration) -> bool {
        client.expires_at.is_none_or(|end| end > self.context.clock.now())
    }

    /// The clients that earlier attempts have registered, for as long as nobody else may register one. Without them this
    /// sign-in registers its own.
    async fn pending(&self) -> Option<Pending> {
        let registrations = self.context.registrations.as_ref()?;
        let (resource, _) = self.request.resource(self.discovery);
        let identity = Identity {
            environment: self.request.environment.clone(),
            issuer: self.server().issuer.clone(),
            resource,
            client_id: String::new(),
            account: self.request.account.clone(),
        };
        let opened = registrations.open(&identity).await;
        let mut pending = opened.inspect_err(|error| tracing::debug!(%error, "registrations are not shared")).ok()?;
        if self.request.registers_anew
            && let Err(error) = pending.clear().await
        {
            tracing::debug!(%error, "earlier registrations stay stored");
        }
        Some(pending)
    }

    async fn is_forgotten(&self, registration: &ClientRegistration, loopback: &Loopback) -> bool {
        let (_, resource) = self.request.resource(self.discovery);
        let wanted = Wanted {
            resource: resource.as_deref(),
            scope: self.scope,
            dpop_jkt: None,
            parameters: &self.request.options.parameters,
        };
        match AuthorizationRequest::new(self.server(), registration, loopback.redirect_uri().as_str(), wanted) {
            Ok(request) => client::is_client_unknown(self.context.http, &request).await,
            Err(_) => false,
        }
    }

    /// Registers with `request`, or with the first of `lesser` that the server does not refuse. Some let a client
    /// register for their own scopes only, and grant those of a protected resource all the same: what a registration
    /// without is good for is theirs to say (RFC 7591 section 2).
    async fn register(
        &self,
        request: RegistrationRequest,
        lesser: impl IntoIterator<Item = Option<RegistrationRequest>>,
        progress: Tell<'_>,
    ) -> Result<ClientRegistration, LoginError> {
        let Some(endpoint) = &self.server().registration_endpoint else {
            return Err(LoginError::NeedsRegistration { host: self.server().token_endpoint.host() });
        };
        let mut left = PATIENCE;
        let mut outcome = self.register_once(endpoint, request, &mut left, progress).await;
        for lesser in lesser.into_iter().flatten() {
            if let Err(RegistrationError::Refused(_)) = outcome {
                outcome = self.register_once(endpoint, lesser, &mut left, progress).await;
            }
        }
        Ok(outcome?)
    }

    /// Registers, and waits for a server that is busy as long as it asks for, where `left` allows that.
    async fn register_once(
        &self,
        endpoint: &ServerUrl,
        request: RegistrationRequest,
        left: &mut Duration,
        progress: Tell<'_>,
    ) -> Result<ClientRegistration, RegistrationError> {
        loop {
            let outcome =
                client::register(self.context.http, endpoint, request.clone(), self.context.clock.now()).await;
            match outcome {
                Err(RegistrationError::Busy { after }) if after <= *left => {
                    let pause = after.max(Duration::from_secs(1)).min(*left);
                    *left = left.saturating_sub(pause);
                    progress(Progress::Busy(pause));
                    tokio::time::sleep(pause).await;
                }
                outcome => return outcome,
            }
        }
    }
}

async fn keep_client(pending: Option<&mut Pending>, registration: &ClientRegistration) {
    if let Some(pending) = pending
        && let Err(error) = pending.add(registration.clone()).await
    {
        tracing::debug!(%error, "a registration could not be kept for the next sign-in");
    }
}

async fn drop_client(pending: Option<&mut Pending>, registration: &ClientRegistration) {
    if let Some(pending) = pending
        && let Err(error) = pending.remove(&registration.client_id).await
    {
        tracing::debug!(%error, "a forgotten registration stays stored");
    }
}
