//! `finmcp setup`.

use std::path::{Path, PathBuf};

use clap::Parser;

use crate::{
    cli::{self, Cli, Command, Serve, registration::Registration, setup::Setup},
    console::Console,
    credential::{choice::StoreChoice, file::KeySource},
    error::{Error, ErrorKind},
    settings::{self, Settings, machine::Machine},
    setup::{
        change::{self, Change, Wish},
        claude,
        client::{Client, Scope},
        deeplink::deeplink,
        document::Document,
        entry::{self, Entry},
        file::{Access, ConfigFile},
        plaintext::{self, Exposed, Place},
        plan::{Plan, Target},
        program,
        surroundings::Surroundings,
    },
};

/// Adds the entry to the files of the selected clients, or removes it.
///
/// # Errors
/// The command line is wrong, or a file could not be read or changed.
pub async fn run(settings: &Settings, console: Console, mut arguments: Setup) -> Result<(), Error> {
    let machine = settings::machine()?;
    let clients = clients(settings, console, &machine, &mut arguments).await?;
    let job = Job::new(settings, console, machine, arguments)?;
    if let [client] = clients[..] {
        return job.run(client).await;
    }
    let mut failed = None;
    for client in clients {
        if let Err(error) = job.run(client).await {
            console.report(&error);
            failed.get_or_insert(error.kind);
        }
    }
    match failed {
        None => Ok(()),
        Some(kind) => Err(Error::new(kind, "some clients could not be set up")),
    }
}

/// The selected clients.
async fn clients(
    settings: &Settings,
    console: Console,
    machine: &Machine,
    arguments: &mut Setup,
) -> Result<Vec<Client>, Error> {
    let detected: Vec<Client> = Client::ALL.into_iter().filter(|client| client.is_detected(machine)).collect();
    if arguments.all {
        if let Some(first) = arguments.client.take()
            && arguments.server.server.replace(first).is_some()
        {
            return Err(
                usage("--all cannot be used with CLIENT").hint("name only the server: finmcp setup --all SERVER")
            );
        }
        let with_scope = |client: &Client| !client.files(arguments.scope, machine).is_empty();
        let found: Vec<Client> = detected.into_iter().filter(with_scope).collect();
        return match found.is_empty() {
            true => Err(usage("no supported AI client found on this machine").hint(list())),
            false => Ok(found),
        };
    }
    match arguments.named_client() {
        Ok(Some(client)) => Ok(vec![client]),
        Err(name) => Err(usage(format!("unknown AI client {name:?}")).hint(list())),
        Ok(None) => {
            if console.is_attended() {
                // If the server is unclear, fail before asking for the client.
                Target::select(&arguments.server.clone().into(), &settings.profiles)?;
            }
            Ok(vec![choose(console, &detected).await?])
        }
    }
}

/// Asks the user to choose a client.
async fn choose(console: Console, detected: &[Client]) -> Result<Client, Error> {
    let unnamed = || usage("which AI client?").hint(list());
    if detected.is_empty() {
        return Err(unnamed());
    }
    let lines = detected.iter().zip(1..).map(|(client, number)| format!("  {number}. {}\n", client.title()));
    let question = format!("AI clients on this machine:\n{}Which one? ", lines.collect::<String>());
    let answer = console.ask(&question).await.ok_or_else(unnamed)?;
    let answer = answer.trim();
    let number = answer.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    let named = detected.iter().find(|client| client.id() == answer);
    number.and_then(|at| detected.get(at)).or(named).copied().ok_or_else(unnamed)
}

fn list() -> String {
    let ids: Vec<&str> = Client::ALL.into_iter().map(Client::id).collect();
    format!("name one of: {}", ids.join(", "))
}

fn usage(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, text)
}

/// What to do for each client.
struct Job<'a> {
    settings: &'a Settings,
    console: Console,
    machine: Machine,
    arguments: Setup,
    plan: Plan<'a>,
}

impl<'a> Job<'a> {
    fn new(settings: &'a Settings, console: Console, machine: Machine, arguments: Setup) -> Result<Self, Error> {
        let target = Target::select(&arguments.server.clone().into(), &settings.profiles)?;
        let registers = check_serve_options(&target, &arguments.serve)?;
        let plain: Vec<String> = std::iter::once("serve".to_owned()).chain(target.arguments.clone()).collect();
        let with_options = [&plain[..], &arguments.serve].concat();
        if !Target::is_meant_by_both(&plain, &with_options, &settings.profiles, cli::served) {
            return Err(usage("options after -- configure \"serve\" and cannot select a server")
                .hint("move the options that select the server before --"));
        }
        let start = settings::start()?;
        let program = program::lasting(&start, &machine.path, is_same_file);
        let program = program.into_os_string().into_string().map_err(|program| {
            usage(format!("the path of finmcp is not valid Unicode: {}", Path::new(&program).display()))
                .hint("move finmcp to a folder whose path is valid Unicode and run it from there")
        })?;
        let plan = Plan {
            profiles: &settings.profiles,
            reading: cli::served,
            target,
            name: arguments.name.clone(),
            options: arguments.serve.clone(),
            registers,
            force: arguments.force,
            program,
        };
        Ok(Self { settings, console, machine, arguments, plan })
    }

    /// Does the job for one client.
    async fn run(&self, client: Client) -> Result<(), Error> {
        let surroundings = Surroundings::needed(client, &self.machine);
        let wish = self.plan.wish(&surroundings);
        let output = &self.arguments.output;
        if output.deeplink {
            let link = deeplink(client, &wish.entry)
                .ok_or_else(|| usage(format!("{} does not support install links", client.title())))?;
            return Ok(self.console.data(&(link + "\n"))?);
        }
        if output.print {
            let empty = Document::read(client, "").and_then(|d| d.with(&wish.entry.name, &wish.entry.members(client)));
            let text = empty.map_err(|error| Error::new(ErrorKind::Failure, error.to_string()))?;
            self.note(client, &surroundings);
            return Ok(self.console.data(&text)?);
        }
        let path = client.file(self.arguments.scope, &self.machine).ok_or_else(|| {
            usage(format!("{} has no project configuration", client.title())).hint("omit --scope project")
        })?;
        let file = ConfigFile::read(&path)?;
        let document = file.document(client)?;
        if self.arguments.remove {
            return self.remove(client, &file, &document, &wish).await;
        }
        let found = self.plan.known(&document);
        let replaced = if self.is_to_replace(client, &file, &found).await { found.as_slice() } else { &[] };
        let replaced: Vec<(Exposed, Option<Entry>)> = replaced
            .iter()
            .map(|(exposed, target)| (exposed.clone(), self.plan.other(exposed, target, &wish)))
            .collect();
        let changes = change::wanted(client, &document, &wish, &replaced)?;
        let after = file.about(change::applied(client, &file.text, &changes))?;
        if output.dry_run {
            return self.show(client, &file, &after, &changes);
        }
        if changes.is_empty() {
            self.console.note(&format!("{} is already set up: {}", client.title(), path.display()));
        } else {
            self.write(client, &file, &document, &after, &changes).await?;
        }
        self.note(client, &surroundings);
        self.say_next();
        Ok(())
    }

    /// Whether the user wants `found` replaced. Without a terminal to ask in, prints the command to run.
    async fn is_to_replace(&self, client: Client, file: &ConfigFile, found: &[(Exposed, Target)]) -> bool {
        if found.is_empty() || self.arguments.replace {
            return self.arguments.replace;
        }
        let line = |(exposed, _): &(Exposed, Target)| match exposed.place {
            Place::Here => format!("  {}: holds a secret in plain text\n", exposed.name),
            Place::McpRemote => {
                format!("  {}: starts mcp-remote, which stores its tokens in plain text\n", exposed.name)
            }
        };
        let lines: String = found.iter().map(line).collect();
        let report = format!("finmcp can replace these entries in {}:\n{lines}", file.path.display());
        if !self.arguments.output.dry_run && self.console.is_attended() {
            return self.console.confirm(&format!("{report}Replace them? [y/N] ")).await;
        }
        let scope = if self.arguments.scope == Scope::Project { " --scope project" } else { "" };
        let name = self.arguments.name.iter().map(|name| format!(" --name {name}")).collect::<String>();
        let options: Vec<String> = self.arguments.serve.iter().map(|word| in_shell(word)).collect();
        let options = if options.is_empty() { String::new() } else { format!(" -- {}", options.join(" ")) };
        let server = self.plan.target.arguments.join(" ");
        let command = format!("finmcp setup {} {server}{scope}{name} --replace{options}", client.id());
        self.console.say(&format!("{report}To replace them, run: {command}"));
        false
    }

    async fn remove(&self, client: Client, file: &ConfigFile, document: &Document, wish: &Wish) -> Result<(), Error> {
        let is_meant = |entry: &Entry| self.plan.is_same(entry, &wish.entry);
        let changes = change::unwanted(client, document, wish, is_meant).map_err(|taken| {
            Error::from_source(ErrorKind::Failure, taken)
                .hint("nothing was changed; use --force to remove it anyway, or --name NAME to remove another entry")
        })?;
        if changes.is_empty() {
            let name = &wish.entry.name;
            self.console.note(&format!("{} has no finmcp entry {name:?}: nothing to remove", client.title()));
            return Ok(());
        }
        let before = file.backup();
        let after = file.about(change::taken_back(client, &file.text, &changes, before.as_deref()))?;
        match self.arguments.output.dry_run {
            true => self.show(client, file, &after, &changes),
            false => self.write(client, file, document, &after, &changes).await,
        }
    }

    /// Prints the difference, with secrets hidden.
    fn show(&self, client: Client, file: &ConfigFile, after: &str, changes: &[Change]) -> Result<(), Error> {
        if changes.is_empty() {
            self.console.note(&format!("{} is already set up: {}", client.title(), file.path.display()));
            return Ok(());
        }
        let hidden = |text: &str| {
            let document = Document::read(client, text);
            file.about(document.map(|document| plaintext::masked(&document, client.format())))
        };
        let (before, after) = (hidden(&file.text)?, hidden(after)?);
        let path = file.path.display().to_string();
        let old = if file.exists { &path } else { "/dev/null" };
        let difference = similar::TextDiff::from_lines(&before, &after);
        self.console.data(&difference.unified_diff().header(old, &path).to_string())?;
        Ok(())
    }

    async fn write(
        &self,
        client: Client,
        file: &ConfigFile,
        document: &Document,
        after: &str,
        changes: &[Change],
    ) -> Result<(), Error> {
        let is_changed = |exposed: &Exposed| changes.iter().any(|change| change.name() == exposed.name);
        let mut exposed = plaintext::exposed(document).into_iter().filter(|exposed| exposed.place == Place::Here);
        let open = exposed.any(|exposed| is_changed(&exposed));
        let access = if open { Access::Owner } else { Access::AsBefore };
        let backup = match self.claude(client, document, changes) {
            Some(program) => claude::write(&program, file, document, changes, access).await?,
            None => file.replace_with_backup(after, access)?,
        };
        let (console, title) = (&self.console, client.title());
        for change in changes {
            console.note(&match change {
                Change::Put(entry) => {
                    format!("Added {:?} to {title} ({}). Restart {title}", entry.name, file.path.display())
                }
                Change::Take(name) => format!("Removed {name:?} from {}", file.path.display()),
            });
        }
        match backup {
            Some(backup) if open => console.say(&format!(
                "warning: the backup {} contains the secrets in plain text. Delete it once everything works, and \
                 revoke those tokens at the vendor.",
                backup.display()
            )),
            Some(backup) => console.note(&format!("Backup: {}", backup.display())),
            None => {}
        }
        Ok(())
    }

    /// Claude Code's program, if it should write the file.
    fn claude(&self, client: Client, document: &Document, changes: &[Change]) -> Option<PathBuf> {
        // Its command removes the whole entry, including the members that finmcp keeps.
        let keeps = |change: &Change| {
            let before = document.server(change.name()).filter(|_| matches!(change, Change::Put(_)));
            before.is_some_and(|before| entry::kept(before).next().is_some())
        };
        let is_its_own = client == Client::ClaudeCode && self.arguments.scope == Scope::User;
        let is_its_own = is_its_own && !changes.iter().any(keeps);
        client.program().filter(|_| is_its_own).and_then(|name| self.machine.program(name))
    }

    /// Warns about what `serve` needs and the entry cannot contain.
    fn note(&self, client: Client, surroundings: &Surroundings) {
        let console = &self.console;
        for name in &surroundings.withheld {
            console.say(&format!(
                "warning: {name} contains a password, so finmcp did not write it to {}'s file. Set it in the \
                 environment that starts {}, if possible without the password.",
                client.title(),
                client.title()
            ));
        }
        if matches!(self.settings.store, StoreChoice::File { key: KeySource::Passphrase(_) | KeySource::Unknown, .. }) {
            console.say(
                "warning: an AI client cannot enter the passphrase of the credential store. Set \
                 FINMCP_STORE_KEY_FILE to the path of a key file and run this command again.",
            );
        }
        if self.arguments.scope == Scope::Project {
            console.say("note: the entry contains paths of this machine. Do not commit or share it.");
        }
    }

    fn say_next(&self) {
        let signed_out = self.plan.target.profile.as_ref().filter(|profile| profile.signed_in.is_none());
        if let Some(profile) = signed_out {
            self.console.say(&format!("Next, sign in: {}", profile.login_command()));
        }
    }
}

/// Checks that `serve` accepts the options after `--` and that a file can contain them. Returns whether they include
/// sign-in options.
fn check_serve_options(target: &Target, options: &[String]) -> Result<bool, Error> {
    let words = ["finmcp", "serve"].map(str::to_owned).into_iter().chain(target.arguments.clone());
    let parsed = Cli::try_parse_from(words.chain(options.iter().cloned()));
    let serve: Serve = match parsed {
        Ok(Cli { command: Command::Serve(serve), .. }) => *serve,
        Ok(_) => return Ok(false),
        Err(error) => {
            let text = error.to_string();
            let text = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            return Err(usage(format!("invalid options for finmcp serve: {text}")).hint("run `finmcp serve --help`"));
        }
    };
    let registration = &serve.registration;
    let secret = |(key, _): &(String, String)| {
        ["secret", "token", "password", "assertion"].iter().any(|word| key.contains(word))
    };
    if registration.client_secret.is_some() || registration.parameters.iter().any(secret) {
        return Err(usage("finmcp does not write secrets to a client's file").hint("sign in with `finmcp login` first"));
    }
    registration.check_parameters()?;
    let mut files = serve.control.audit_log.iter().chain(registration.files());
    match files.find(|path| path.is_relative()) {
        Some(path) => {
            Err(usage(format!("relative path {}: the client may start finmcp in any folder", path.display()))
                .hint("use an absolute path"))
        }
        None => Ok(serve.registration != Registration::default()),
    }
}

/// `word`, quoted for a shell.
fn in_shell(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=,@%+".contains(letter);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| -> Option<PathBuf> { path.canonicalize().ok() };
    real(one).is_some_and(|one| real(other) == Some(one))
}
