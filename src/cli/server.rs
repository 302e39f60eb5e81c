//! The server arguments of the command line.

use clap::Args;

use crate::{
    profile::selector::Selector,
    server_url::{ServerUrl, ServerUrlError},
};

/// The server that a command is about.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// A preset (see finmcp login --list), a saved profile, or an https URL
    pub server: Option<String>,
    /// Its environment, URL and profile.
    #[command(flatten)]
    pub which: Which,
}

/// The environment, the URL and the profile of a server.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// The vendor's environment, for example sandbox
    #[arg(long = "env", value_name = "NAME")]
    pub environment: Option<String>,
    /// The MCP endpoint to use instead of the preset's
    #[arg(long, value_name = "URL", value_parser = server_url)]
    pub url: Option<ServerUrl>,
    /// A name for this sign-in, to keep several accounts or servers apart
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
}

impl Which {
    /// The selector for `server` with these options.
    pub fn of(self, server: Option<String>) -> Selector {
        Selector { server, environment: self.environment, url: self.url, profile: self.profile }
    }
}

impl From<Server> for Selector {
    fn from(server: Server) -> Self {
        server.which.of(server.server)
    }
}

/// The server, for a command whose positional argument is something else.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct NamedServer {
    /// A preset (see finmcp login --list), a saved profile, or an https URL
    #[arg(long, short, value_name = "SERVER")]
    pub server: Option<String>,
    /// Its environment, URL and profile.
    #[command(flatten)]
    pub which: Which,
}

impl From<NamedServer> for Selector {
    fn from(server: NamedServer) -> Self {
        server.which.of(server.server)
    }
}

/// A server's URL. Without a scheme, it is an https URL, as in a browser.
fn server_url(text: &str) -> Result<ServerUrl, String> {
    let parsed = if text.contains("://") { text.parse() } else { format!("https://{text}").parse() };
    let url: ServerUrl = parsed.map_err(|error: ServerUrlError| error.to_string())?;
    match url.is_loopback() && !text.contains("://") {
        true => Err(format!("a server on this machine needs its scheme: http://{text}")),
        false => Ok(url),
    }
}
