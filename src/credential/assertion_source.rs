//! Sources of assertions (RFC 7523 section 2.1): a file that another program keeps up to date, or an identity provider
//! that exchanges the user's ID token.

use std::path::PathBuf;

use crate::{credential::identity::Identity, oauth::registration::ClientRegistration, server_url::ServerUrl};

/// A source of assertions.
#[derive(Debug, Clone)]
pub enum AssertionSource {
    /// A file, for example with the token that a platform issues to a workload (workload identity federation).
    File(PathBuf),
    /// An identity provider (MCP "Enterprise-Managed Authorization").
    IdentityProvider(Box<IdentityProvider>),
}

/// An enterprise's identity provider, with finmcp's client there.
#[derive(Debug, Clone)]
pub struct IdentityProvider {
    /// Its issuer identifier.
    pub issuer: String,
    /// Its endpoint for the token exchange.
    pub token_endpoint: ServerUrl,
    /// The client that its ID tokens are issued to.
    pub registration: ClientRegistration,
    /// The user's ID token.
    pub id_token: IdToken,
}

/// Where the user's ID token comes from.
#[derive(Debug, Clone)]
pub enum IdToken {
    /// A file that another program keeps up to date.
    File(PathBuf),
    /// The user's sign-in at the identity provider, which all servers of the company share.
    SignIn(Identity),
}
