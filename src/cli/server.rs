//! Which server, as it can be typed.

use clap::Args;

use crate::{profile::selector::Selector, server_url::ServerUrl};

/// Which server.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// A preset, a saved profile, or an https URL
    pub server: Option<String>,
    /// Which of several.
    #[command(flatten)]
    pub which: Which,
}

/// Which of a server's environments, addresses and sign-ins.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// The vendor's environment, such as sandbox
    #[arg(long = "env", value_name = "NAME")]
    pub environment: Option<String>,
    /// The MCP endpoint, in place of the preset's own
    #[arg(long, value_name = "URL")]
    pub url: Option<ServerUrl>,
    /// The name to keep this sign-in under, for a second account or server
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
}

impl Which {
    /// That one of `server`.
    pub fn of(self, server: Option<String>) -> Selector {
        Selector { server, environment: self.environment, url: self.url, profile: self.profile }
    }
}

impl From<Server> for Selector {
    fn from(server: Server) -> Self {
        server.which.of(server.server)
    }
}

/// Which server, for a command whose own argument is something else.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct NamedServer {
    /// A preset, a saved profile, or an https URL
    #[arg(long, short, value_name = "SERVER")]
    pub server: Option<String>,
    /// Which of several.
    #[command(flatten)]
    pub which: Which,
}

impl From<NamedServer> for Selector {
    fn from(server: NamedServer) -> Self {
        server.which.of(server.server)
    }
}
