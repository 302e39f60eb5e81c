//! Where assertions come from (RFC 7523 section 2.1): a file that somebody else keeps fresh, or an identity provider that
//! takes the ID token in such a file.

use std::path::PathBuf;

use crate::{oauth::registration::ClientRegistration, server_url::ServerUrl};

/// Where assertions come from.
#[derive(Debug, Clone)]
pub enum AssertionSource {
    /// A file that holds one, such as the token that a platform gives to a workload (workload identity federation).
    File(PathBuf),
    /// An identity provider (MCP "Enterprise-Managed Authorization").
    IdentityProvider(Box<IdentityProvider>),
}

/// An enterprise's identity provider, and who finmcp is there.
#[derive(Debug, Clone)]
pub struct IdentityProvider {
    /// Its issuer identifier.
    pub issuer: String,
    /// Where it exchanges tokens.
    pub token_endpoint: ServerUrl,
    /// The client that its ID tokens are issued to.
    pub registration: ClientRegistration,
    /// The file with the person's ID token.
    pub id_token_file: PathBuf,
}
