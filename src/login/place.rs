//! The listener for the authorization response.

use crate::{
    login::{
        error::LoginError,
        loopback::{ListenError, Loopback},
        redirect_uri::RedirectUri,
    },
    oauth::registration::ClientRegistration,
};

/// How many other processes can sign in with the same client at the same time.
const OTHER_PORTS: usize = 7;

/// The parts of the redirect URI that the user chose.
pub(super) struct Place<'a> {
    /// All of it.
    pub fixed: Option<&'a RedirectUri>,
    /// Only the port.
    pub port: Option<u16>,
}

impl Place<'_> {
    /// Starts listening, and returns `registration` if it can be used with the listener's redirect URI.
    pub(super) async fn listen(
        &self,
        registration: Option<ClientRegistration>,
    ) -> Result<(Loopback, Option<ClientRegistration>), LoginError> {
        if let Some(registered) = &registration
            && let Some(loopback) = self.listen_again(registered).await
        {
            return Ok((loopback, registration));
        }
        let loopback = match (self.port, self.fixed) {
            (None, Some(fixed)) => Loopback::at(fixed).await,
            (port, _) => Loopback::bind(port).await,
        };
        let loopback = loopback.map_err(|error| self.error(error))?;
        let is_usable = |client: &ClientRegistration| !client.is_dynamic() || is_registered(&loopback, client);
        let usable = registration.filter(is_usable);
        Ok((loopback, usable))
    }

    /// Listens at a redirect URI that `client` is registered with. None if the user chose another, or if other
    /// programs use all its ports.
    pub(super) async fn listen_again(&self, client: &ClientRegistration) -> Option<Loopback> {
        if !self.is_open() {
            return None;
        }
        for uri in client.redirect_uris().filter_map(|uri| uri.parse::<RedirectUri>().ok()) {
            if let Ok(loopback) = Loopback::at(&uri).await {
                return Some(loopback);
            }
        }
        None
    }

    /// Redirect URIs with other free ports, so that other processes can sign in with the same client at the same time:
    /// many servers compare the port. Empty if the user chose the redirect URI or its port.
    pub(super) async fn other_ports(&self, loopback: &Loopback) -> Vec<String> {
        let own = loopback.redirect_uri();
        let any_port = RedirectUri::new(own.host(), 0, own.path());
        let mut others = Vec::new();
        while self.is_open() && others.len() < OTHER_PORTS {
            let Ok(other) = Loopback::at(&any_port).await else { break };
            others.push(other);
        }
        others.iter().map(|other| other.redirect_uri().to_string()).collect()
    }

    fn is_open(&self) -> bool {
        self.fixed.is_none() && self.port.is_none()
    }

    /// The same with `localhost` instead of 127.0.0.1: some servers accept only that for native apps. None if the user
    /// chose the redirect URI.
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

/// Whether `client` is registered with the redirect URI of `loopback`.
pub(super) fn is_registered(loopback: &Loopback, client: &ClientRegistration) -> bool {
    client.redirect_uris().any(|uri| uri == loopback.redirect_uri().as_str())
}
