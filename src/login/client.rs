//! The OAuth client that a user signs in with: a known one, one that an earlier attempt registered, or a new one.

use std::{future::Future, time::Duration};

use crate::{
    credential::{record::Identity, registrations::Pending},
    http::{DOCUMENT_DEADLINE, HttpError},
    login::{
        context::{Context, Progress},
        error::LoginError,
        loopback::Loopback,
        place::{Place, is_registered},
        request::{LoginRequest, with_other_algorithm},
    },
    oauth::{
        authorization::{AuthorizationRequest, Wanted},
        authorization_server::AuthorizationServer,
        client,
        discovery::Discovery,
        error::RegistrationError,
        registration::{ClientAuthentication, ClientRegistration},
        registration_request::RegistrationRequest,
        scope::Scope,
    },
    server_url::ServerUrl,
};

/// How long to wait for a busy server in total.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often to ask a server that is always busy.
const TRIES: u32 = 5;

/// How long a registration may take, and how long to wait for another process's: a server that never responds must not
/// block the other processes.
const DEADLINE: Duration = PATIENCE.saturating_add(DOCUMENT_DEADLINE);

/// The origin of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The user, a Client ID Metadata Document, or the preset provides it.
    Given,
    /// finmcp registered it, and the user signed in with it.
    Earlier,
    /// finmcp registered it, and the user has not signed in with it yet.
    Pending,
    /// finmcp just registered it.
    New,
}

impl Origin {
    /// Whether no sign-in has used it yet, so that its authentication method is untested.
    fn is_unproven(self) -> bool {
        matches!(self, Self::Pending | Self::New)
    }

    /// The client with another authentication method, or another algorithm of its key, to try if `server` refuses the
    /// client. No other method if the server accepted the client before or if the user chose the method.
    pub(super) fn other_registration(
        self,
        request: &LoginRequest,
        server: &AuthorizationServer,
        registration: &ClientRegistration,
    ) -> Option<ClientRegistration> {
        if registration.authentication == ClientAuthentication::PrivateKeyJwt {
            return with_other_algorithm(registration, server);
        }
        let is_open = self.is_unproven() && request.options.overrides.authentication().is_none();
        let method = registration.other_authentication().filter(|_| is_open)?;
        Some(registration.clone().authenticating(Some(method)))
    }

    /// Whether the server may have forgotten it.
    pub(super) fn may_be_forgotten(self) -> bool {
        matches!(self, Self::Earlier | Self::Pending)
    }
}

/// A sign-in that needs a client.
pub(super) struct Applicant<'a> {
    pub request: &'a LoginRequest,
    pub discovery: &'a Discovery,
    pub scope: Option<&'a Scope>,
    pub context: &'a Context<'a>,
    /// How long the sign-in may take.
    pub timeout: Duration,
}

/// The remaining tries and time for a busy server.
struct Patience {
    tries: u32,
    left: Duration,
}

impl Patience {
    /// The pause before the next try if the server asks for `after`; none if no try is left.
    fn pause(&mut self, after: Duration) -> Option<Duration> {
        self.tries = self.tries.checked_sub(1).filter(|tries| *tries > 0)?;
        let pause = after.max(Duration::from_secs(1));
        self.left = self.left.checked_sub(pause).filter(|left| !left.is_zero())?;
        Some(pause)
    }
}

/// Receives what happens.
type Tell<'p> = &'p mut (dyn FnMut(Progress<'_>) + Send);

impl Applicant<'_> {
    /// The client, and the listener for its redirect URI. Binds the port first: a registration and a sign-in page are
    /// useless without it.
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
            if is_registered(&loopback, &registration) {
                if !self.is_forgotten(&registration, &loopback).await {
                    return Ok((loopback, registration, Origin::Pending));
                }
            } else if let Some(own) = place.listen_again(&registration).await {
                if !self.is_forgotten(&registration, &own).await {
                    return Ok((own, registration, Origin::Pending));
                }
            } else {
                // Other processes listen there for their user.
                continue;
            }
            drop_client(pending.as_mut(), &registration).await;
        }
        match (self.in_time(self.register_at(place, loopback, progress)).await, forgotten) {
            (Ok((loopback, registration)), _) => {
                keep_client(pending.as_mut(), &registration).await;
                Ok((loopback, registration, Origin::New))
            }
            // The server may still know the client, and there is no other.
            (Err(error), Some(forgotten)) => {
                tracing::warn!(%error, "the server seems to have forgotten this client, but does not register another");
                let (loopback, usable) = place.listen(Some(forgotten)).await?;
                Ok((loopback, usable.ok_or(error)?, Origin::Earlier))
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Registers a client with the redirect URI of `loopback`, or with `localhost` if the server refuses 127.0.0.1.
    /// Adds other ports, so that other processes can use the client, unless the server refuses them.
    async fn register_at(
        &self,
        place: &Place<'_>,
        loopback: Loopback,
        progress: Tell<'_>,
    ) -> Result<(Loopback, ClientRegistration), LoginError> {
        // RFC 7591 section 3.2.2 defines the first for this. Some servers use the others.
        const REFUSALS: [&str; 3] = ["invalid_redirect_uri", "invalid_client_metadata", "invalid_request"];
        let others = self.other_ports(place, &loopback).await;
        let has_others = !others.is_empty();
        let refusal = match self.register_for_browser(&loopback, others, progress).await {
            Ok(registration) => return Ok((loopback, registration)),
            Err(LoginError::Registration(RegistrationError::Refused(refusal)))
                if REFUSALS.contains(&&refusal.code[..]) =>
            {
                refusal
            }
            Err(error) => return Err(error),
        };
        // If the other tries fail too, the first refusal is the reason.
        let refused = || LoginError::Registration(RegistrationError::Refused(refusal.clone()));
        if let Some(localhost) = place.as_localhost(loopback).await {
            let others = self.other_ports(place, &localhost).await;
            if let Ok(registration) = self.register_for_browser(&localhost, others, progress).await {
                return Ok((localhost, registration));
            }
        }
        if !has_others {
            return Err(refused());
        }
        let (loopback, _) = place.listen(None).await?;
        let registration = self.register_for_browser(&loopback, Vec::new(), progress).await.map_err(|_| refused())?;
        Ok((loopback, registration))
    }

    /// Other redirect URIs for a client that other processes share.
    async fn other_ports(&self, place: &Place<'_>, loopback: &Loopback) -> Vec<String> {
        match self.context.registrations {
            Some(_) => place.other_ports(loopback).await,
            None => Vec::new(),
        }
    }

    async fn register_for_browser(
        &self,
        loopback: &Loopback,
        others: Vec<String>,
        progress: Tell<'_>,
    ) -> Result<ClientRegistration, LoginError> {
        let request = self.registration_request(loopback.redirect_uri().as_str()).with_redirect_uris(others);
        let without_scope = || request.clone().without_scope();
        // Some servers offer the device grant, but not to every client.
        let lesser =
            [self.scope.map(|_| without_scope()), self.server().device_codes.then(|| without_scope().for_browsers())];
        self.register(request.clone(), lesser, progress).await
    }

    /// The client of a sign-in on another device, which needs no listener. It registers with `redirect_uri` for later.
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
            client.redirect_uris().any(|uri| uri == redirect_uri) && self.is_usable(client)
        };
        if let Some(registration) = candidates.iter().find(is_ours) {
            return Ok((registration.clone(), Origin::Pending));
        }
        let request = self.registration_request(redirect_uri).for_devices();
        let lesser = self.scope.map(|_| request.clone().without_scope());
        let registration = self.in_time(self.register(request, [lesser], progress)).await?;
        keep_client(pending.as_mut(), &registration).await;
        Ok((registration, Origin::New))
    }

    fn server(&self) -> &AuthorizationServer {
        &self.discovery.authorization_server
    }

    fn registration_request(&self, redirect_uri: &str) -> RegistrationRequest {
        let method = self.request.options.overrides.authentication();
        RegistrationRequest::new(self.server(), redirect_uri, self.scope).authenticating(method)
    }

    fn is_usable(&self, client: &ClientRegistration) -> bool {
        client.expires_at.is_none_or(|end| end > self.context.clock.now())
    }

    /// The clients that earlier attempts registered. No other process can register one while this is open. None if
    /// they cannot be read: this sign-in then registers its own.
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
        let opened = registrations.open(&identity, self.deadline()).await;
        let mut pending =
            opened.inspect_err(|error| tracing::debug!(%error, "could not open the shared registrations")).ok()?;
        if self.request.force_registration
            && let Err(error) = pending.clear().await
        {
            tracing::debug!(%error, "could not delete the earlier registrations");
        }
        Some(pending)
    }

    async fn is_forgotten(&self, registration: &ClientRegistration, loopback: &Loopback) -> bool {
        // The pushed request shows it.
        if let Ok(Some(_)) = self.server().push_endpoint() {
            return false;
        }
        let (_, resource) = self.request.resource(self.discovery);
        let scope = registration.allowed(self.scope);
        let parameters = self.request.authorization_parameters(None);
        let wanted =
            Wanted { resource: resource.as_deref(), scope: scope.as_ref(), dpop_jkt: None, parameters: &parameters };
        match AuthorizationRequest::new(self.server(), registration, loopback.redirect_uri().as_str(), wanted) {
            Ok(request) => client::is_client_unknown(self.context.http, &request).await,
            Err(_) => false,
        }
    }

    /// Registers with `request`, or with the first of `lesser` that the server accepts. Some servers register clients
    /// for their own scopes only, but grant the scopes of a protected resource. The server decides what a client
    /// without a registered scope may request (RFC 7591 section 2); [`ClientRegistration::allowed`] applies that.
    async fn register(
        &self,
        request: RegistrationRequest,
        lesser: impl IntoIterator<Item = Option<RegistrationRequest>>,
        progress: Tell<'_>,
    ) -> Result<ClientRegistration, LoginError> {
        let Some(endpoint) = &self.server().registration_endpoint else {
            return Err(LoginError::NeedsRegistration { host: self.server().token_endpoint.host() });
        };
        let mut patience = Patience { tries: TRIES, left: PATIENCE.min(self.timeout) };
        let mut outcome = self.register_once(endpoint, request, &mut patience, progress).await;
        for lesser in lesser.into_iter().flatten() {
            if let Err(RegistrationError::Refused(_)) = outcome {
                outcome = self.register_once(endpoint, lesser, &mut patience, progress).await;
            }
        }
        Ok(outcome?)
    }

    /// Registers. Waits for a busy server as long as it asks for, within `patience`.
    async fn register_once(
        &self,
        endpoint: &ServerUrl,
        request: RegistrationRequest,
        patience: &mut Patience,
        progress: Tell<'_>,
    ) -> Result<ClientRegistration, RegistrationError> {
        loop {
            let now = self.context.clock.now();
            let outcome = client::register(self.context.http, endpoint, request.clone(), now).await;
            let pause = match &outcome {
                Err(RegistrationError::Busy { after }) => patience.pause(*after),
                _ => None,
            };
            let Some(pause) = pause else { return outcome };
            progress(Progress::Busy(pause));
            tokio::time::sleep(pause).await;
        }
    }

    fn deadline(&self) -> Duration {
        DEADLINE.min(self.timeout)
    }

    /// The outcome of `registering` within the deadline.
    async fn in_time<T>(&self, registering: impl Future<Output = Result<T, LoginError>>) -> Result<T, LoginError> {
        let after = self.deadline();
        let host = self.server().registration_endpoint.as_ref().unwrap_or(&self.server().token_endpoint).host();
        let timed_out = |_| Err(HttpError::TimedOut { host, after }.into());
        tokio::time::timeout(after, registering).await.unwrap_or_else(timed_out)
    }
}

async fn keep_client(pending: Option<&mut Pending>, registration: &ClientRegistration) {
    if let Some(pending) = pending
        && let Err(error) = pending.add(registration.clone()).await
    {
        tracing::debug!(%error, "could not store a registration for the next sign-in");
    }
}

async fn drop_client(pending: Option<&mut Pending>, registration: &ClientRegistration) {
    if let Some(pending) = pending
        && let Err(error) = pending.remove(&registration.client_id).await
    {
        tracing::debug!(%error, "could not delete a forgotten registration");
    }
}
