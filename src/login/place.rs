//! Where a person's answer comes back.

use crate::{
    login::{
        error::LoginError,
        loopback::{ListenError, Loopback},
        redirect_uri::RedirectUri,
    },
    oauth::registration::ClientRegistration,
};

/// What a person has fixed of the redirect URI.
pub(super) struct Place<'a> {
    /// The whole of it.
    pub fixed: Option<&'a RedirectUri>,
    /// The port alone.
    pub port: Option<u16>,
}

impl Place<'_> {
    /// Listens there, and says whether `registration` can be used with it: one with another redirect URI cannot.
    pub(super) async fn listen(
        &self,
        registration: Option<ClientRegistration>,
    ) -> Result<(Loopback, Option<ClientRegistration>), LoginError> {
        let registered = registration.as_ref().and_then(|registration| registration.redirect_uri.clone());
        if let Some(loopback) = self.listen_again(registered.as_deref()).await {
            return Ok((loopback, registration));
        }
        let loopback = match (self.port, self.fixed) {
            (None, Some(fixed)) => Loopback::at(fixed).await,
            (port, _) => Loopback::bind(port).await,
        };
        let loopback = loopback.map_err(|error| self.error(error))?;
        let usable = registered.is_none_or(|uri| uri == loopback.redirect_uri().as_str());
        Ok((loopback, registration.filter(|_| usable)))
    }

    /// Listens where a client is registered for, if the person leaves that open and nobody else listens there.
    pub(super) async fn listen_again(&self, registered: Option<&str>) -> Option<Loopback> {
        let is_open = self.fixed.is_none() && self.port.is_none();
        let registered = registered.filter(|_| is_open)?.parse::<RedirectUri>().ok()?;
        Loopback::at(&registered).await.ok()
    }

    /// The same with `localhost` for 127.0.0.1: some servers know a native application by that name alone. None where the
    /// person has fixed the redirect URI.
    pub(super) async fn as_localhost(&self, loopback: Loopback) -> Option<Loopback> {
        let is_chosen = self.fixed.is_some() && self.port.is_none();
        if is_chosen { None } else { loopback.as_localhost(self.port).await.ok() }
    }

    fn error(&self, ListenError { address, source }: ListenError) -> LoginError {
        let option = match (self.port, self.fixed) {
            (Some(_), _) => Some("--port"),
            (None, Some(_)) => Some("--redirect-uri"),
            (None, None) => None,
        };
        LoginError::Listener { address, option, source }
    }
}
