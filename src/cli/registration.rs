//! The sign-in options of the command line.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{
    credential::{key_header::KeyHeader, record::Bearer},
    error::{Error, ErrorKind},
    login::{
        options::{Assertion, GrantKind, Options, ResourceParameter},
        parameters::{self, ParameterError},
        redirect_uri::RedirectUri,
    },
    mcp::extra_headers::ExtraHeaders,
    oauth::{
        client_metadata::ClientMetadataUrl, overrides::Overrides, registration::ClientAuthentication, scope::Scope,
    },
    server_url::ServerUrl,
};

/// How to sign in: the OAuth client, the request, and the authorization server.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub struct Registration {
    /// How to sign in (default: as the preset or the server says)
    #[arg(long, value_enum, hide_short_help = true)]
    pub grant: Option<GrantKind>,
    /// The client ID that the vendor gave you
    #[arg(long, value_name = "ID", help_heading = "Client")]
    pub client_id: Option<String>,
    /// A file with the client secret, or - for stdin (or set FINMCP_CLIENT_SECRET)
    #[arg(long, value_name = "PATH|-", help_heading = "Client")]
    pub client_secret_file: Option<PathBuf>,
    /// A PEM file with the client's private key, or - for stdin; the key is never sent
    #[arg(
        long,
        value_name = "PATH|-",
        conflicts_with = "client_secret_file",
        requires = "client_id",
        help_heading = "Client",
        hide_short_help = true
    )]
    pub private_key_file: Option<PathBuf>,
    /// A PEM file with the client's certificate chain and its private key (or give that with --private-key-file)
    #[arg(long, value_name = "PATH|-", requires = "client_id", help_heading = "Client", hide_short_help = true)]
    pub client_certificate_file: Option<PathBuf>,
    /// Not accepted: other users of this machine can see command-line arguments
    #[arg(long, hide = true, value_name = "SECRET")]
    pub client_secret: Option<String>,
    /// URL of a Client ID Metadata Document that you host
    #[arg(long, value_name = "URL", help_heading = "Client", hide_short_help = true)]
    pub client_metadata_url: Option<ClientMetadataUrl>,
    /// The client's registered redirect URI, on this machine: for example http://localhost:3118/callback
    #[arg(long, value_name = "URI", help_heading = "Client", hide_short_help = true)]
    pub redirect_uri: Option<RedirectUri>,
    /// A file with an API key that the vendor gave you, or - for stdin; if omitted, finmcp prompts for it in a terminal
    #[arg(
        long,
        value_name = "PATH|-",
        conflicts_with_all = ["client_secret_file", "private_key_file"],
        help_heading = "API key"
    )]
    pub api_key_file: Option<PathBuf>,
    /// The header that carries the API key, with a prefix if needed (default: "Authorization: Bearer")
    #[arg(long, value_name = "NAME[: PREFIX]", help_heading = "API key", hide_short_help = true)]
    pub api_key_header: Option<KeyHeader>,
    /// A file with a JWT that identifies you or this workload; re-read for every access token
    #[arg(long, value_name = "PATH", help_heading = "Assertion", hide_short_help = true)]
    pub assertion_file: Option<PathBuf>,
    /// Issuer URL of your company's identity provider (enterprise-managed authorization)
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "assertion_file",
        requires = "identity_provider_client_id",
        help_heading = "Assertion",
        hide_short_help = true
    )]
    pub identity_provider: Option<String>,
    /// The client ID at the identity provider
    #[arg(long, value_name = "ID", requires = "identity_provider", help_heading = "Assertion", hide_short_help = true)]
    pub identity_provider_client_id: Option<String>,
    /// A file with the client secret for the identity provider, or - for stdin
    #[arg(
        long,
        value_name = "PATH|-",
        requires = "identity_provider",
        help_heading = "Assertion",
        hide_short_help = true
    )]
    pub identity_provider_client_secret_file: Option<PathBuf>,
    /// A file with an ID token from the identity provider, instead of a sign-in there; re-read for every access token
    #[arg(
        long,
        value_name = "PATH",
        requires = "identity_provider",
        help_heading = "Assertion",
        hide_short_help = true
    )]
    pub id_token_file: Option<PathBuf>,
    /// Limit the token to one business
    #[arg(long, value_name = "ID", help_heading = "Request", hide_short_help = true)]
    pub business_id: Option<String>,
    /// A scope to request; may be repeated
    #[arg(long, value_name = "SCOPE", help_heading = "Request", hide_short_help = true)]
    pub scope: Vec<Scope>,
    /// Which token to send to the server (default: the access token)
    #[arg(long, value_enum, value_name = "TOKEN", help_heading = "Request", hide_short_help = true)]
    pub bearer: Option<Bearer>,
    /// A header to add to every request to the server, for example Stripe-Account=ID; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", help_heading = "Request", hide_short_help = true)]
    pub headers: Vec<ExtraHeaders>,
    /// An extra parameter to send to the authorization server; may be repeated
    #[arg(long = "param", value_name = "KEY=VALUE", value_parser = key_value, help_heading = "Request", hide_short_help = true)]
    pub parameters: Vec<(String, String)>,
    /// The resource parameter to send instead of the server's; none to omit it
    #[arg(long, value_name = "URI|none", help_heading = "Request", hide_short_help = true)]
    pub resource: Option<String>,
    /// Bind the tokens to a key on this machine (DPoP) even if the server does not require it
    #[arg(long, help_heading = "Request", hide_short_help = true)]
    pub dpop: bool,
    /// Token endpoint (skips discovery)
    #[arg(long, value_name = "URL", help_heading = "Authorization server", hide_short_help = true)]
    pub token_endpoint: Option<ServerUrl>,
    /// Issuer URL of the authorization server to use
    #[arg(long, value_name = "URL", help_heading = "Authorization server", hide_short_help = true)]
    pub issuer: Option<String>,
    /// Allow this server's authorization server to be on a private network
    #[arg(long, help_heading = "Authorization server", hide_short_help = true)]
    pub allow_private_network: bool,
}

impl Registration {
    /// Converts the arguments to options, without secrets.
    ///
    /// # Errors
    /// Conflicting options, and a path that `config.toml` cannot store.
    pub fn options(self) -> Result<Options, Error> {
        let scope = self.scope.iter().fold(None, |whole: Option<Scope>, scope| {
            Some(whole.map_or_else(|| scope.clone(), |whole| whole.union(scope)))
        });
        let assertion = match (self.assertion_file, self.identity_provider) {
            (Some(path), _) => Some(Assertion::File(lasting(&path)?)),
            (None, Some(issuer)) => Some(Assertion::IdentityProvider {
                issuer,
                client_id: self.identity_provider_client_id.unwrap_or_default(),
                id_token_file: self.id_token_file.as_deref().map(lasting).transpose()?,
            }),
            (None, None) => None,
        };
        let grant = match (self.grant, &assertion) {
            (None, Some(_)) => Some(GrantKind::JwtBearer),
            (Some(grant), Some(_)) if grant != GrantKind::JwtBearer => {
                let text = "--assertion-file and --identity-provider require --grant jwt-bearer";
                return Err(Error::new(ErrorKind::Usage, text).hint("leave --grant out"));
            }
            (None, None) if self.api_key_file.is_some() || self.api_key_header.is_some() => Some(GrantKind::ApiKey),
            (grant, _) => grant,
        };
        if grant != Some(GrantKind::ApiKey) && (self.api_key_file.is_some() || self.api_key_header.is_some()) {
            let text = "--api-key-file and --api-key-header require --grant api-key";
            return Err(Error::new(ErrorKind::Usage, text).hint("leave --grant out"));
        }
        let mut parameters = self.parameters;
        parameters.extend(self.business_id.map(|id| ("business_id".to_owned(), id)));
        Ok(Options {
            grant,
            assertion,
            client_id: self.client_id,
            client_authentication: self.private_key_file.map(|_| ClientAuthentication::PrivateKeyJwt),
            client_metadata_url: self.client_metadata_url,
            redirect_uri: self.redirect_uri,
            api_key_header: self.api_key_header,
            bearer: self.bearer,
            headers: self.headers.into_iter().fold(ExtraHeaders::default(), |all, header| header.or(all)),
            scope,
            token_endpoint: self.token_endpoint,
            issuer: self.issuer,
            resource: self.resource.as_deref().map(ResourceParameter::from).unwrap_or_default(),
            parameters,
            dpop: self.dpop,
            overrides: Overrides { allow_private_network: self.allow_private_network, ..Overrides::default() },
        })
    }

    /// Refuses a `--param` that finmcp sets itself. Its value, which may be a secret, is not shown.
    ///
    /// # Errors
    /// The parameter, and the option to use instead.
    pub fn check_parameters(&self) -> Result<(), Error> {
        let refused = self.parameters.iter().find_map(|(name, _)| parameters::check(name).err());
        match refused {
            None => Ok(()),
            Some(error @ ParameterError::Option { option, .. }) => {
                Err(Error::new(ErrorKind::Usage, error.to_string()).hint(format!("give {option} instead of --param")))
            }
            Some(error @ ParameterError::Ours(_)) => {
                Err(Error::new(ErrorKind::Usage, error.to_string()).hint("leave this --param out"))
            }
        }
    }

    /// The files that each sign-in with these options reads.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let files = [
            &self.client_secret_file,
            &self.private_key_file,
            &self.client_certificate_file,
            &self.api_key_file,
            &self.assertion_file,
            &self.identity_provider_client_secret_file,
            &self.id_token_file,
        ];
        files.into_iter().flatten()
    }
}

/// The absolute path of a file that finmcp will read again later, from any folder.
fn lasting(path: &Path) -> Result<PathBuf, Error> {
    let absolute = std::path::absolute(path)?;
    match absolute.to_str() {
        Some(_) => Ok(absolute),
        None => Err(Error::new(ErrorKind::Usage, format!("the path {} is not valid UTF-8", path.display()))
            .hint("rename the file: config.toml stores only UTF-8 paths")),
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}
