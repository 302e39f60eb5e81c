//! Client registrations.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    http::client_certificate::ClientCertificate,
    oauth::{private_key::Algorithm, scope::Scope},
    secret::Secret,
};

/// A client that an authorization server knows, pre-registered or registered dynamically (RFC 7591).
#[derive(Debug, Clone)]
pub struct ClientRegistration {
    /// The client identifier (RFC 6749 section 2.2); empty if an assertion alone identifies the client (RFC 7521
    /// section 4.1).
    pub client_id: String,
    /// The client secret of a confidential client; with [`ClientAuthentication::PrivateKeyJwt`] its private key in PEM,
    /// which is never sent.
    pub client_secret: Option<Secret>,
    /// What the private key signs with, chosen by the server's metadata; `None` if an earlier version of finmcp stored
    /// the client: then ES256 or RS256, by the key.
    pub key_algorithm: Option<Algorithm>,
    /// The certificate that the client shows in TLS (RFC 8705): it authenticates the client, or tokens are bound to it.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// How the client authenticates at the token endpoint.
    pub authentication: ClientAuthentication,
    /// The registered redirect URI, so that a later sign-in can use the same port; `None` if the server accepts any
    /// port (RFC 8252 section 7.3).
    pub redirect_uri: Option<String>,
    /// When the registration ends or ended: `client_secret_expires_at` (RFC 7591 section 3.2.1), or the time of an
    /// `invalid_client`. After that it is not used for another sign-in.
    pub expires_at: Option<Timestamp>,
    /// The requested scopes that the server did not register (RFC 7591 section 2). Requesting one would fail with
    /// `invalid_scope`.
    pub withheld: Scope,
    /// Further registered redirect URIs, for processes that sign in at the same time: each needs a different port.
    pub other_redirect_uris: Vec<String>,
}

impl ClientRegistration {
    /// A client without a secret: it sends its `client_id` alone.
    pub fn public(client_id: String) -> Self {
        Self {
            certificate: None,
            client_id,
            client_secret: None,
            key_algorithm: None,
            authentication: ClientAuthentication::None,
            redirect_uri: None,
            expires_at: None,
            withheld: Scope::default(),
            other_redirect_uris: Vec::new(),
        }
    }

    /// A client that authenticates with `client_secret`, if it has one, at a server that lists `methods`.
    pub fn with_secret(client_id: String, client_secret: Option<Secret>, methods: &[ClientAuthentication]) -> Self {
        let authentication = match &client_secret {
            None => ClientAuthentication::None,
            Some(_) => ClientAuthentication::choose(methods),
        };
        Self { client_secret, authentication, ..Self::public(client_id) }
    }

    /// All registered redirect URIs.
    pub fn redirect_uris(&self) -> impl Iterator<Item = &str> {
        self.redirect_uri.iter().chain(&self.other_redirect_uris).map(String::as_str)
    }

    /// The part of `wanted` that this client may request. `None` if that is empty, so that the server uses its default
    /// (RFC 6749 section 3.3).
    pub fn allowed(&self, wanted: Option<&Scope>) -> Option<Scope> {
        wanted.map(|wanted| wanted.without(&self.withheld)).filter(|allowed| !allowed.is_empty())
    }

    /// Whether the client can authenticate without a user.
    pub fn is_confidential(&self) -> bool {
        self.client_secret.is_some() || self.authentication == ClientAuthentication::Certificate
    }

    /// Whether the client was registered dynamically (RFC 7591) and can be registered again.
    pub fn is_dynamic(&self) -> bool {
        self.redirect_uri.is_some()
    }

    /// Changes the authentication method, if `method` is set and the client has the secret that it needs.
    pub fn authenticating(self, method: Option<ClientAuthentication>) -> Self {
        let can = |method: &ClientAuthentication| match method {
            ClientAuthentication::None => true,
            ClientAuthentication::Certificate => self.certificate.is_some(),
            _ => self.client_secret.is_some(),
        };
        match method.filter(can) {
            Some(authentication) => Self { authentication, ..self },
            None => self,
        }
    }

    /// The method to try next if the server refuses the client that it has just registered: some servers issue a secret
    /// and expect it although they say `none`, and some read the secret in one place only. `None` for a client without
    /// a secret.
    pub fn other_authentication(&self) -> Option<ClientAuthentication> {
        self.client_secret.as_ref()?;
        match self.authentication {
            ClientAuthentication::None | ClientAuthentication::Basic => Some(ClientAuthentication::Body),
            ClientAuthentication::Body => Some(ClientAuthentication::Basic),
            ClientAuthentication::PrivateKeyJwt | ClientAuthentication::Certificate => None,
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
    /// `tls_client_auth` or `self_signed_tls_client_auth`: a certificate in TLS, with the `client_id` in the form (RFC
    /// 8705 section 2). The two differ only in how the server checks the certificate.
    Certificate,
}

/// The other name of [`ClientAuthentication::Certificate`] (RFC 8705 section 2.2.1).
const SELF_SIGNED: &str = "self_signed_tls_client_auth";

impl ClientAuthentication {
    /// The method called `name`; `None` if finmcp does not support it.
    pub fn from_method(name: &str) -> Option<Self> {
        let all = [Self::None, Self::Basic, Self::Body, Self::PrivateKeyJwt, Self::Certificate];
        let name = if name == SELF_SIGNED { Self::Certificate.method() } else { name };
        all.into_iter().find(|method| method.method() == name)
    }

    /// The method's name in metadata and registrations (RFC 7591 section 2).
    pub fn method(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "client_secret_basic",
            Self::Body => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::Certificate => "tls_client_auth",
        }
    }

    /// How to send a secret to a server that lists these methods: in the header, which every server must support (RFC
    /// 6749 section 2.3.1), unless only the body is listed.
    pub fn choose(listed: &[Self]) -> Self {
        if listed.contains(&Self::Body) && !listed.contains(&Self::Basic) { Self::Body } else { Self::Basic }
    }
}
