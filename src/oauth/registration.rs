//! Who finmcp is to an authorization server.

use jiff::Timestamp;

use crate::{oauth::scope::Scope, secret::Secret};

/// A client as an authorization server knows it: pre-registered, or registered dynamically (RFC 7591).
#[derive(Debug, Clone)]
pub struct ClientRegistration {
    /// The client identifier (RFC 6749 section 2.2); empty where an assertion alone says who asks (RFC 7521 section 4.1).
    pub client_id: String,
    /// The client secret of a confidential client; its private key, in PEM, where it proves itself with
    /// [`ClientAuthentication::PrivateKeyJwt`], and that is never sent.
    pub client_secret: Option<Secret>,
    /// How the client proves itself at the token endpoint.
    pub authentication: ClientAuthentication,
    /// The redirect URI that was registered, so that a later sign-in can use the same port; none where the server takes
    /// any port (RFC 8252 section 7.3).
    pub redirect_uri: Option<String>,
    /// When the server forgets it, or has: `client_secret_expires_at` (RFC 7591 section 3.2.1), or the time of an
    /// `invalid_client`. It is not used for another sign-in then.
    pub expires_at: Option<Timestamp>,
    /// The scopes that finmcp wanted and that the server did not register the client for (RFC 7591 section 2). An
    /// authorization request for one would end with `invalid_scope`.
    pub withheld: Scope,
    /// The further redirect URIs that were registered, for processes that sign in at the same time: each listens on a port
    /// that no other process has.
    pub other_redirect_uris: Vec<String>,
}

impl ClientRegistration {
    /// The redirect URIs that were registered.
    pub fn redirect_uris(&self) -> impl Iterator<Item = &str> {
        self.redirect_uri.iter().chain(&self.other_redirect_uris).map(String::as_str)
    }

    /// What this client may ask for of what is `wanted`. None where that is nothing: the server has a default then (RFC
    /// 6749 section 3.3).
    pub fn allowed(&self, wanted: Option<&Scope>) -> Option<Scope> {
        wanted.map(|wanted| wanted.without(&self.withheld)).filter(|allowed| !allowed.is_empty())
    }

    /// Whether the client registered itself (RFC 7591), and can again.
    pub fn is_dynamic(&self) -> bool {
        self.redirect_uri.is_some()
    }

    /// The same client authenticating by `method`, where there is one and the client can: without a secret it is public.
    pub fn authenticating(self, method: Option<ClientAuthentication>) -> Self {
        let can = |method: &ClientAuthentication| *method == ClientAuthentication::None || self.client_secret.is_some();
        match method.filter(can) {
            Some(authentication) => Self { authentication, ..self },
            None => self,
        }
    }

    /// How else a client could authenticate that a server has just registered and refuses: some servers issue a secret
    /// and expect it though they say `none`, and some read the secret from one place only. None where it has no secret.
    pub fn other_authentication(&self) -> Option<ClientAuthentication> {
        self.client_secret.as_ref()?;
        match self.authentication {
            ClientAuthentication::None | ClientAuthentication::Basic => Some(ClientAuthentication::Body),
            ClientAuthentication::Body => Some(ClientAuthentication::Basic),
            ClientAuthentication::PrivateKeyJwt => None,
        }
    }
}

/// How a client authenticates at the token endpoint: the `token_endpoint_auth_method` of RFC 7591 section 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `none`: a public client, which sends its `client_id` alone.
    None,
    /// `client_secret_basic`: the secret in the `Authorization` header, form-encoded first (RFC 6749 section 2.3.1).
    Basic,
    /// `client_secret_post`: the secret in the form body.
    Body,
    /// `private_key_jwt`: an assertion that the client's private key signs (RFC 7523 section 2.2).
    PrivateKeyJwt,
}

impl ClientAuthentication {
    /// The method of that name; none for one that finmcp does not know.
    pub fn from_method(name: &str) -> Option<Self> {
        [Self::None, Self::Basic, Self::Body, Self::PrivateKeyJwt].into_iter().find(|method| method.method() == name)
    }

    /// Its name in metadata and registrations (RFC 7591 section 2).
    pub fn method(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "client_secret_basic",
            Self::Body => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
        }
    }

    /// How a secret travels to a server that lists these methods: in the header, which RFC 6749 section 2.3.1 has every
    /// server support, unless the body alone is listed.
    pub fn choose(listed: &[Self]) -> Self {
        if listed.contains(&Self::Body) && !listed.contains(&Self::Basic) { Self::Body } else { Self::Basic }
    }
}
