//! Tests an AI client's entry as that client would start it: with only the variables that the client passes on. A
//! native entry's command is asked for headers; the others serve.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde::Deserialize;
use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};
use zeroize::Zeroizing;

use crate::{
    bridge::stdio::downstream,
    client,
    doctor::{
        step::{Finding, StepName, Trouble},
        store,
    },
    error::ErrorKind,
    printable,
    profile::Profile,
    settings::Settings,
    setup::{
        client::{Client, Scope},
        entry::Entry,
    },
};

/// How long each program may take to respond, and to exit.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long Claude Code and Codex wait for headers.
const HEADERS_DEADLINE: Duration = Duration::from_secs(10);

/// How much of its output is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// The variables that configure a proxy.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// The variables that open the file store.
const STORE_KEYS: [&str; 2] = ["FINMCP_STORE_KEY_FILE", "FINMCP_STORE_PASSPHRASE"];

/// What a program printed.
struct Printed {
    status: ExitStatus,
    /// Its stdout, which may hold a token.
    text: Zeroizing<String>,
    /// Its stderr.
    said: String,
}

/// What this process knows of the sign-in of an entry's profile.
#[derive(Debug, Default, Clone, Copy)]
pub struct SignIn {
    /// Whether there is one that has not ended.
    pub is_live: bool,
    /// Whether its tokens are bound to a key, which no AI client has.
    pub is_bound: bool,
    /// The step that keeps this process from using it.
    pub obstacle: Option<StepName>,
}

/// An entry, and what it should do.
pub struct Attempt<'a> {
    pub settings: &'a Settings,
    pub client: Client,
    /// Who the entry is for.
    pub scope: Scope,
    pub entry: &'a Entry,
    /// The profile that the entry serves, if its arguments name a known server.
    pub profile: Option<&'a Profile>,
    pub sign_in: SignIn,
    /// The variables of this process that the client passes on.
    pub variables: Vec<(OsString, OsString)>,
    /// Whether this process reaches the server through a proxy.
    pub is_proxied: bool,
}

impl Attempt<'_> {
    /// Whether the client gets a working server, and the right one.
    pub async fn examine(&self) -> Finding {
        if self.profile.is_none() {
            let trouble = self.trouble("its arguments do not name a known server");
            let arguments = format!("the arguments are: {}", self.entry.arguments.join(" "));
            let command = format!("finmcp setup {} SERVER --name {} --force", self.client.id(), self.entry.name);
            let hint = format!("run `{command}` with one that `finmcp status` or `finmcp login --list` lists");
            return Finding::Failed(trouble.because(arguments).with_hint(hint));
        }
        // A project's file may come from another author: doctor must not run the programs that it names.
        if self.scope == Scope::Project {
            return Finding::Ok(self.named("not started, because it belongs to the project in this folder"));
        }
        let version = match self.version().await {
            Ok(version) => version,
            Err(finding) => return finding,
        };
        if self.sign_in.obstacle == Some(StepName::Store) {
            return Finding::Skipped(StepName::Store);
        }
        if let Err(trouble) = self.finds_sign_in().await {
            return Finding::Failed(trouble);
        }
        let works = match &self.entry.url {
            Some(url) => self.gives_headers(url).await,
            None => self.serves().await.map_err(Finding::Failed),
        };
        if let Err(finding) = works {
            return finding;
        }
        if self.is_proxied && !PROXIES.iter().any(|name| self.passes(name)) {
            let trouble = self.trouble("starts, but the client does not pass on your proxy variables");
            return Finding::Warning(trouble.with_hint(self.hints()));
        }
        let this = concat!("finmcp ", env!("CARGO_PKG_VERSION"));
        if version != this {
            let trouble = self.trouble(format!("starts {version}, but this is {this}"));
            return Finding::Warning(
                trouble.because(format!("the entry's command is {}", self.entry.command)).with_hint(self.hints()),
            );
        }
        let works = if self.entry.url.is_some() { "gives the headers" } else { "starts and responds" };
        Finding::Ok(self.named(works))
    }

    /// The version that the entry starts.
    async fn version(&self) -> Result<String, Finding> {
        match self.output(&["--version"]).await {
            Ok(text) => Ok(printable::quoted(text.trim())),
            Err(error) => {
                let trouble = match error.kind() {
                    io::ErrorKind::NotFound => self
                        .trouble(format!("cannot start {}: file not found", self.entry.command))
                        .because("finmcp was moved or removed after the entry was written"),
                    _ => self.trouble(format!("cannot start {}", self.entry.command)).because(error.to_string()),
                };
                Err(Finding::Failed(trouble.with_hint(self.hints())))
            }
        }
    }

    /// Whether the started program finds the same sign-in as this one.
    async fn finds_sign_in(&self) -> Result<(), Trouble> {
        #[derive(Deserialize)]
        struct Row {
            profile: String,
            signed_in: bool,
            store: String,
            #[serde(default)]
            problem: Option<String>,
        }
        let Some(profile) = self.profile.filter(|_| self.sign_in.is_live) else { return Ok(()) };
        if store::needs_passphrase(self.settings) && !STORE_KEYS.iter().any(|name| self.passes(name)) {
            let trouble = self.trouble("cannot open the credential store").because("it cannot enter the passphrase");
            let hint = store::with_key_file(self.settings, &profile.login_command(), &self.setup_command());
            return Err(trouble.with_hint(hint));
        }
        let unknown = |why: String| self.trouble("cannot find your sign-in").because(why).with_hint(self.hints());
        let text = self.output(&["status", "--json"]).await.map_err(|error| unknown(error.to_string()))?;
        let rows: Vec<Row> =
            serde_json::from_str(&text).map_err(|_| unknown("its `status --json` cannot be read".to_owned()))?;
        match rows.into_iter().find(|row| row.profile == profile.name) {
            Some(Row { signed_in: true, .. }) => Ok(()),
            Some(Row { problem: Some(problem), .. }) => Err(unknown(problem)),
            Some(Row { store, .. }) => Err(unknown(format!("it looks for credentials in {store}"))),
            None => Err(unknown(
                "it reads a different config.toml: the client does not pass on FINMCP_CONFIG_DIR".to_owned(),
            )),
        }
    }

    /// Whether it answers `initialize`, and exits when the client disconnects.
    async fn serves(&self) -> Result<(), Trouble> {
        let mut command = self.command();
        command.args(quiet(&self.entry.arguments)).stdin(Stdio::piped()).stderr(Stdio::null());
        let failed = |why: String| self.trouble("starts, but does not serve MCP").because(why).with_hint(self.hints());
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let (Some(input), Some(output)) = (child.stdout.take(), child.stdin.take()) else {
            return Err(failed("cannot open its stdin and stdout".to_owned()));
        };
        let connecting = client::Client::connect(downstream::over(Box::pin(input), Box::pin(output)), "{}");
        match timeout(DEADLINE, connecting).await {
            // Closes the client's side of the connection.
            Ok(Ok(client)) => drop(client),
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed(format!("no response to initialize within {} s", DEADLINE.as_secs()))),
        }
        match timeout(DEADLINE, child.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => {
                Err(failed(format!("it is still running {} s after the client disconnected", DEADLINE.as_secs())))
            }
        }
    }

    /// Whether the command prints headers for the server that the client connects to, in time.
    async fn gives_headers(&self, url: &str) -> Result<(), Finding> {
        let broken = |what: &str, why: String| Finding::Failed(self.trouble(what).because(why).with_hint(self.hints()));
        let profile = self.profile.filter(|profile| profile.server.as_str() != url);
        if let Some(profile) = profile {
            let why = format!(
                "the entry's URL is {}, but profile {} is for {}",
                printable::quoted(url),
                profile.name,
                profile.server
            );
            return Err(broken("sends the token to another server", why));
        }
        let arguments: Vec<&str> = self.entry.arguments.iter().map(String::as_str).collect();
        let asked = timeout(HEADERS_DEADLINE, self.printed(&arguments)).await;
        let late = || broken("prints no headers", format!("no output within {} s", HEADERS_DEADLINE.as_secs()));
        let printed = asked.map_err(|_| late())?.map_err(|error| broken("prints no headers", error.to_string()))?;
        if !printed.status.success() {
            return Err(self.refused(&printed));
        }
        match serde_json::from_str::<BTreeMap<String, String>>(&printed.text) {
            Ok(_) => Ok(()),
            Err(_) => Err(broken("prints no headers", "its output is not a JSON object of strings".to_owned())),
        }
    }

    /// Why the command printed no headers, by its exit code and by what this process knows.
    fn refused(&self, printed: &Printed) -> Finding {
        let lines = printed.said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>();
        let trouble = self.trouble("prints no headers").because(printable::quoted(&lines.join("; ")));
        let login_required = i32::from(ErrorKind::LoginRequired.exit_code());
        if let Some(profile) = self.profile.filter(|_| printed.status.code() == Some(login_required)) {
            let trouble = trouble.with_hint(format!("run `{}`", profile.login_command()));
            // Signed out is a normal state.
            return if self.sign_in.is_live { Finding::Failed(trouble) } else { Finding::Warning(trouble) };
        }
        match self.sign_in {
            SignIn { obstacle: Some(step), .. } => Finding::Skipped(step),
            SignIn { is_bound: true, .. } => Finding::Failed(
                trouble.with_hint(format!("use an entry without --native: run `{}`", self.command_of_setup(false))),
            ),
            SignIn { .. } => Finding::Failed(trouble.with_hint(self.hints())),
        }
    }

    /// What the program prints on stdout and stderr, and its end.
    async fn printed(&self, arguments: &[&str]) -> io::Result<Printed> {
        let mut command = self.command();
        let mut child = command.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let (mut text, mut said) = (String::new(), String::new());
        if let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) {
            let (mut output, mut errors) = (output.take(LIMIT), errors.take(LIMIT));
            tokio::try_join!(output.read_to_string(&mut text), errors.read_to_string(&mut said))?;
        }
        Ok(Printed { status: child.wait().await?, text: Zeroizing::new(text), said })
    }

    /// The program's stdout.
    async fn output(&self, arguments: &[&str]) -> io::Result<String> {
        let mut command = self.command();
        let mut child = command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut text = String::new();
        let Some(output) = child.stdout.take() else { return Ok(text) };
        let reading = async {
            output.take(LIMIT).read_to_string(&mut text).await?;
            child.wait().await
        };
        timeout(DEADLINE, reading).await.map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(text)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.entry.command);
        command
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .envs(&self.entry.environment);
        command.stdout(Stdio::piped()).kill_on_drop(true);
        command
    }

    fn passes(&self, name: &str) -> bool {
        self.entry.environment.contains_key(name) || self.variables.iter().any(|(passed, _)| passed == name)
    }

    fn named(&self, what: impl Into<String>) -> String {
        format!("{}, entry {}: {}", self.client.title(), self.entry.name, what.into())
    }

    fn trouble(&self, what: impl Into<String>) -> Trouble {
        Trouble::new(self.named(what))
    }

    /// What rewrites the entry.
    fn hints(&self) -> String {
        format!("run `{}` to rewrite the entry", self.setup_command())
    }

    /// The command that rewrites the entry as it is.
    fn setup_command(&self) -> String {
        self.command_of_setup(self.entry.url.is_some())
    }

    fn command_of_setup(&self, is_native: bool) -> String {
        let server = self.profile.map(|profile| format!(" {}", profile.selector_text())).unwrap_or_default();
        let name = match self.profile.is_some_and(|profile| profile.name == self.entry.name) {
            true => String::new(),
            false => format!(" --name {}", self.entry.name),
        };
        let scope = if self.scope == Scope::Project { " --scope project" } else { "" };
        let native = if is_native { " --native" } else { "" };
        format!("finmcp setup {}{server}{name}{scope}{native}", self.client.id())
    }
}

/// The arguments of `serve`, changed so that it does not ask the user to sign in.
fn quiet(arguments: &[String]) -> Vec<&str> {
    let mut quiet = Vec::new();
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match argument {
            "--sign-in" => drop(arguments.next()),
            argument if argument.starts_with("--sign-in=") => {}
            argument => quiet.push(argument),
        }
    }
    quiet.extend(["--sign-in", "off"]);
    quiet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_opens_no_browser() {
        for arguments in [
            &["serve", "asset", "--label"][..],
            &["serve", "--sign-in", "auto", "asset", "--label"],
            &["serve", "asset", "--sign-in=auto", "--label"],
        ] {
            let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
            assert_eq!(quiet(&arguments), ["serve", "asset", "--label", "--sign-in", "off"]);
        }
    }
}
