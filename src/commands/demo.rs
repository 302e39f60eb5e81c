//! `finmcp demo`, and the demo as a server that `finmcp serve` knows.

use std::{process::Stdio, sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Child;

use crate::{
    bridge::stdio::downstream,
    cli,
    client::Client,
    commands::{
        App, interrupted,
        login::{self, Person},
        registration::Secrets,
        serve,
    },
    credential::record::Credential,
    demo::{self, Vendors, asset::Asset, person, statement::Statement},
    error::{Error, ErrorKind},
    http::Http,
    login::{
        Progress, Redirection,
        browser::{Browser, BrowserError},
    },
    profile::{Profile, RegistrationOptions, Selector, SelectorError},
    provider::GrantKind,
    secret::Secret,
    server_url::ServerUrl,
    settings::Screen,
};

/// How long to wait for the user to sign in.
const REDIRECTION: Redirection = Redirection { port: None, paste: None, timeout: Duration::from_secs(300) };

/// Demonstrates everything from signing in to a tool's result, with simulated vendors in this process. Leaves no files.
///
/// # Errors
/// Every error of the steps, which are real.
pub async fn run(app: &App, arguments: cli::Demo) -> Result<(), Error> {
    let own_browser = match arguments.browser {
        false => None,
        true => Some(app.settings.surroundings.screen().await),
    };
    let own_browser = match own_browser {
        None => None,
        Some(Screen::Browser(browser)) => Some(browser),
        Some(Screen::Terminal | Screen::Nobody(_)) => {
            let error = Error::new(ErrorKind::LoginRequired, "no browser found to sign in with");
            return Err(error.hint("run `finmcp demo` without --browser: it signs in automatically"));
        }
    };
    let folder = Folder::create()?;
    let own = folder.app(app);
    let console = app.console;
    let step = |number: u8, text: &str| console.note(&format!("\n[{number}/5] {text}"));

    step(1, "Starting simulated servers of the three vendors on this machine");
    let vendors = Vendors::start(demo::Settings::default()).await?;
    for stand_in in StandIn::ALL {
        console.note(&format!("      {:<14} {}", stand_in.title(), stand_in.server(&vendors)));
    }

    step(2, "Signing in");
    for stand_in in StandIn::ALL {
        let browser: Arc<dyn Browser> = match &own_browser {
            Some(browser) => Arc::new(browser.clone()),
            None => Arc::new(Consent::new(&app.http)),
        };
        let credential = stand_in.sign_in(&own, &vendors, browser).await?;
        let end = credential.tokens.as_ref().and_then(|tokens| tokens.expires_at);
        let end = end.map_or_else(String::new, |end| format!(", token valid until {}", end.strftime("%H:%M:%S UTC")));
        login::keep(&own, stand_in.profile(&vendors), credential, None).await?;
        console.note(&format!("      {:<14} {}{end}", stand_in.title(), stand_in.way()));
    }
    console.note(&format!("      stored in: {}", own.store.description()));

    if arguments.keep {
        return keep(&folder, console).await;
    }

    step(3, "Starting `finmcp serve asset` as an AI client does and listing the tools");
    let (mut client, mut process) = start_serve(&folder).await?;
    for tool in client.tools().await.map_err(broken)? {
        let Listed { name, description } = serde_json::from_str(tool.get()).map_err(broken)?;
        console.note(&format!("      {name:<18} {}", description.lines().next().unwrap_or_default()));
    }

    step(4, "Calling profit_and_loss");
    let call = json!({"name": "profit_and_loss", "arguments": {"from": "2025-01-01", "to": "2025-12-31"}});
    let answer = client.request("tools/call", &call.to_string()).await.map_err(broken)?;
    let outcome: Outcome = answer.result().ok_or_else(|| broken("the tool's result has no structured content"))?;
    let content = outcome.content;
    let statement = Statement::from_structured_content(&content).map_err(broken)?;
    console.data(&format!("\n{statement}\n"))?;
    if !statement.adds_up() {
        return Err(broken("the report does not add up"));
    }

    step(5, "Cleaning up");
    drop(client);
    process.wait().await?;
    drop(folder);
    console.note("      No files remain. Next, sign in: finmcp login asset, or finmcp login tesorio");
    Ok(())
}

/// Keeps the servers running for a client that the user tries by hand.
async fn keep(folder: &Folder, console: crate::console::Console) -> Result<(), Error> {
    let program = std::env::current_exe()?;
    let environment: serde_json::Map<_, _> =
        folder.environment().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let entry = json!({"mcpServers": {"finmcp-demo": {
        "command": program, "args": ["serve", "asset"], "env": environment,
    }}});
    let text = serde_json::to_string_pretty(&entry).map_err(std::io::Error::other)?;
    console.say("\nPaste this into your AI client's configuration and restart it:\n");
    console.data(&(text + "\n"))?;
    console.say(
        "\nThe servers run until you press Ctrl-C. (An entry with args [\"serve\", \"demo\"] works without them.)",
    );
    interrupted().await;
    Ok(())
}

/// A simulated server in this process, with a sign-in; dropping it stops the server.
pub struct Embedded {
    /// This program, with temporary settings.
    pub app: App,
    /// The simulated server's profile.
    pub profile: Profile,
    _vendors: Vendors,
    _folder: Folder,
}

/// Starts the simulated server that `selector` selects, and signs in to it.
///
/// # Errors
/// Unknown name, or the server cannot start.
pub async fn start(app: &App, selector: &Selector) -> Result<Embedded, Error> {
    let stand_in = StandIn::named(selector.environment.as_deref())?;
    let folder = Folder::create()?;
    let own = folder.app(app);
    let vendors = Vendors::start(demo::Settings::default()).await?;
    let credential = stand_in.sign_in(&own, &vendors, Arc::new(Consent::new(&app.http))).await?;
    let profile = login::keep(&own, stand_in.profile(&vendors), credential, None).await?;
    Ok(Embedded { app: own, profile, _vendors: vendors, _folder: folder })
}

/// Serves a simulated server in this process.
///
/// # Errors
/// The command line is wrong, or stdin or stdout fails.
pub async fn serve(app: &App, selector: &Selector, deadline: Duration, control: &cli::Control) -> Result<(), Error> {
    let Embedded { app, profile, .. } = &start(app, selector).await?;
    serve::relay(serve::ends(app, profile, app.tokens(profile.signed_in.clone()), deadline, control)?).await
}

/// The members of a tool that the demo shows.
#[derive(Deserialize)]
struct Listed {
    name: String,
    #[serde(default)]
    description: String,
}

/// The members of a tool's result that the demo reads.
#[derive(Deserialize)]
struct Outcome {
    #[serde(rename = "structuredContent")]
    content: serde_json::Value,
}

/// Starts this program again as an AI client would, and connects to it.
async fn start_serve(folder: &Folder) -> Result<(Client, Child), Error> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args(["serve", "asset"]).envs(folder.environment()).kill_on_drop(true);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (Some(input), Some(output)) = (child.stdout.take(), child.stdin.take()) else {
        return Err(broken("the process has no pipes"));
    };
    let client = Client::connect(downstream::over(Box::pin(input), Box::pin(output)), "{}").await.map_err(broken)?;
    Ok((client, child))
}

fn broken(cause: impl ToString) -> Error {
    Error::new(ErrorKind::Failure, cause.to_string()).while_doing("the demo failed")
}

/// One of the servers that the demo runs: an environment of the preset `demo`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StandIn {
    Asset,
    AssetSandbox,
    Tesorio,
    Masset,
}

impl StandIn {
    const ALL: [Self; 4] = [Self::Asset, Self::AssetSandbox, Self::Tesorio, Self::Masset];

    fn named(environment: Option<&str>) -> Result<Self, SelectorError> {
        let Some(environment) = environment else { return Ok(Self::Asset) };
        Self::ALL.into_iter().find(|stand_in| stand_in.name() == environment).ok_or_else(|| {
            SelectorError::Environment {
                title: "the demo".to_owned(),
                environment: environment.to_owned(),
                candidates: Self::ALL.iter().map(|stand_in| stand_in.name().to_owned()).collect(),
            }
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Asset => "asset",
            Self::AssetSandbox => "asset-sandbox",
            Self::Tesorio => "tesorio",
            Self::Masset => "masset",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Asset => "Asset",
            Self::AssetSandbox => "Asset sandbox",
            Self::Tesorio => "Tesorio",
            Self::Masset => "Masset",
        }
    }

    fn way(self) -> &'static str {
        match self {
            Self::Asset | Self::AssetSandbox => "client credentials",
            Self::Tesorio | Self::Masset => "browser sign-in with PKCE, consent given",
        }
    }

    fn server(self, vendors: &Vendors) -> &ServerUrl {
        match self {
            Self::Asset => vendors.asset.mcp_url(),
            Self::AssetSandbox => vendors.asset_sandbox.mcp_url(),
            Self::Tesorio => vendors.tesorio.mcp_url(),
            Self::Masset => vendors.masset.mcp_url(),
        }
    }

    /// The environment that has a client secret.
    fn asset(self, vendors: &Vendors) -> Option<&Asset> {
        match self {
            Self::Asset => Some(&vendors.asset),
            Self::AssetSandbox => Some(&vendors.asset_sandbox),
            Self::Tesorio | Self::Masset => None,
        }
    }

    fn profile(self, vendors: &Vendors) -> Profile {
        let machine = self.asset(vendors);
        let registration = RegistrationOptions {
            grant: Some(if machine.is_some() { GrantKind::ClientCredentials } else { GrantKind::AuthorizationCode }),
            client_id: machine.map(|asset| asset.client_id().to_owned()),
            client_authentication: machine.map(|_| crate::oauth::registration::ClientAuthentication::Body),
            token_endpoint: machine.map(|asset| asset.token_endpoint().clone()),
            ..RegistrationOptions::default()
        };
        let (provider, environment) = match self {
            Self::Asset => ("asset", "production"),
            Self::AssetSandbox => ("asset", "sandbox"),
            Self::Tesorio => ("tesorio", ""),
            Self::Masset => ("masset", ""),
        };
        Profile {
            name: self.name().to_owned(),
            provider: Some(provider.to_owned()),
            title: self.title().to_owned(),
            environment: environment.to_owned(),
            server: self.server(vendors).clone(),
            registration,
            saved: false,
            moved: false,
            signed_in: None,
        }
    }

    async fn sign_in(self, own: &App, vendors: &Vendors, browser: Arc<dyn Browser>) -> Result<Credential, Error> {
        let secret: Option<Secret> = self.asset(vendors).map(|asset| asset.client_secret().clone());
        let console = own.console;
        let mut progress = |progress: Progress<'_>| {
            // With the user's browser, the page may not open.
            if let Progress::NotOpened(_) = progress {
                console.say("      Cannot open a browser; run the demo without --browser");
            }
        };
        let person = Person { browser: Some(browser), redirection: REDIRECTION, progress: &mut progress };
        let secrets = Secrets { client: secret, ..Secrets::default() };
        let outcome =
            login::sign_in(own, &self.profile(vendors), secrets, None, login::Before::default(), person).await;
        outcome.map_err(|error| Error::from(error).while_doing(format!("could not sign in to {}", self.title())))
    }
}

/// The temporary folder for the demo's files.
struct Folder(TempDir);

impl Folder {
    fn create() -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("finmcp-demo-").tempdir()?;
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(std::io::Error::other)?;
        let folder = Self(folder);
        let mut file = tempfile::NamedTempFile::new_in(folder.0.path())?;
        std::io::Write::write_all(&mut file, &key)?;
        file.persist(folder.key()).map_err(std::io::Error::from)?;
        Ok(folder)
    }

    fn key(&self) -> std::path::PathBuf {
        self.0.path().join("key")
    }

    /// This program, with all its files in this folder.
    fn app(&self, app: &App) -> App {
        app.with(app.settings.isolated(self.0.path().to_owned(), self.key()))
    }

    /// The variables that make another process use this folder.
    fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("FINMCP_CONFIG_DIR", self.0.path().display().to_string()),
            ("FINMCP_STORE", "file".to_owned()),
            ("FINMCP_STORE_KEY_FILE", self.key().display().to_string()),
        ]
    }
}

/// A browser without a user: it opens the sign-in page and allows access.
struct Consent {
    http: Arc<Http>,
    runtime: tokio::runtime::Handle,
}

impl Consent {
    fn new(http: &Arc<Http>) -> Self {
        Self { http: http.clone(), runtime: tokio::runtime::Handle::current() }
    }
}

impl Browser for Consent {
    fn open(&self, url: &ServerUrl) -> Result<(), BrowserError> {
        let (http, url) = (self.http.clone(), url.clone());
        self.runtime.spawn(async move {
            if let Err(error) = person::approve(&http, &url).await {
                tracing::warn!("the demo's automatic sign-in failed: {error}");
            }
        });
        Ok(())
    }
}
