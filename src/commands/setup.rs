//! `finmcp setup`.

use std::path::{Path, PathBuf};

use clap::Parser;

use crate::{
    cli::{Cli, Command, Registration, Serve, setup::Setup},
    commands::{App, registration::check_parameters},
    credential::store::{KeySource, StoreChoice},
    error::{Error, ErrorKind},
    profile::{Profile, Selector},
    server_url::ServerUrl,
    settings::Settings,
    setup::{
        change::{self, Change, Wish},
        claude,
        client::{Client, Machine, Scope},
        deeplink::deeplink,
        document::{Document, DocumentError},
        entry::{self, Entry, Surroundings},
        file::{Access, ConfigFile, FileError},
        plaintext::{self, Exposed, Place},
        program,
    },
};

/// Adds the entry to the files of the selected clients, or removes it.
///
/// # Errors
/// The command line is wrong, or a file could not be read or changed.
pub async fn run(app: &App, mut arguments: Setup) -> Result<(), Error> {
    let machine = Settings::machine()?;
    let clients = clients(app, &machine, &mut arguments).await?;
    let job = Job::new(app, machine, arguments)?;
    if let [client] = clients[..] {
        return job.run(client).await;
    }
    let mut failed = None;
    for client in clients {
        if let Err(error) = job.run(client).await {
            app.console.report(&error);
            failed.get_or_insert(error.kind);
        }
    }
    match failed {
        None => Ok(()),
        Some(kind) => Err(Error::new(kind, "some clients could not be set up")),
    }
}

/// The selected clients.
async fn clients(app: &App, machine: &Machine, arguments: &mut Setup) -> Result<Vec<Client>, Error> {
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
            if app.console.is_attended() {
                // If the server is unclear, fail before asking for the client.
                Target::select(&arguments.server.clone().into(), &app.settings)?;
            }
            Ok(vec![choose(app, &detected).await?])
        }
    }
}

/// Asks the user to choose a client.
async fn choose(app: &App, detected: &[Client]) -> Result<Client, Error> {
    let unnamed = || usage("which AI client?").hint(list());
    if detected.is_empty() {
        return Err(unnamed());
    }
    let lines = detected.iter().zip(1..).map(|(client, number)| format!("  {number}. {}\n", client.title()));
    let question = format!("AI clients on this machine:\n{}Which one? ", lines.collect::<String>());
    let answer = app.console.ask(&question).await.ok_or_else(unnamed)?;
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
    app: &'a App,
    machine: Machine,
    arguments: Setup,
    target: Target,
    /// Whether the options for `serve` contain sign-in options, which only the target server may see.
    registers: bool,
    program: String,
}

/// The server that an entry is for.
struct Target {
    /// Its profile; none for the simulated servers.
    profile: Option<Profile>,
    name: String,
    /// What follows `serve`.
    arguments: Vec<String>,
}

impl Target {
    fn select(selector: &Selector, settings: &Settings) -> Result<Self, Error> {
        if let Some(name) = selector.server.as_deref().filter(|name| settings.is_embedded(Some(name))) {
            let environment = selector.environment.as_ref();
            let option = environment.into_iter().flat_map(|name| ["--env".to_owned(), name.clone()]);
            return Ok(Self {
                profile: None,
                name: environment.map_or(name.to_owned(), |environment| format!("{name}-{environment}")),
                arguments: std::iter::once(name.to_owned()).chain(option).collect(),
            });
        }
        Ok(Self::of(Profile::select(selector, settings)?))
    }

    /// The server that these arguments of `finmcp` select, if any.
    fn meant(arguments: &[String], settings: &Settings) -> Option<Self> {
        let words = std::iter::once("finmcp").chain(arguments.iter().map(String::as_str));
        match Cli::try_parse_from(words).ok()?.command {
            Command::Serve(serve) => Self::select(&Selector::from(serve.server), settings).ok(),
            _ => None,
        }
    }

    /// Whether both select the same server.
    fn is_meant_by_both(some: &[String], others: &[String], settings: &Settings) -> bool {
        let [one, other] = [some, others].map(|arguments| Self::meant(arguments, settings));
        some == others || one.zip(other).is_some_and(|(one, other)| one.is_same(&other))
    }

    /// Whether both are the same server with the same sign-in.
    fn is_same(&self, other: &Self) -> bool {
        self.arguments == other.arguments
    }

    fn of(profile: Profile) -> Self {
        // Some clients do not allow dots.
        Self { name: profile.name.replace('.', "-"), arguments: profile.arguments(), profile: Some(profile) }
    }
}

impl<'a> Job<'a> {
    fn new(app: &'a App, machine: Machine, arguments: Setup) -> Result<Self, Error> {
        let target = Target::select(&arguments.server.clone().into(), &app.settings)?;
        let registers = check_serve_options(&target, &arguments.serve)?;
        let plain: Vec<String> = std::iter::once("serve".to_owned()).chain(target.arguments.clone()).collect();
        let with_options = [&plain[..], &arguments.serve].concat();
        if !Target::is_meant_by_both(&plain, &with_options, &app.settings) {
            return Err(usage("options after -- configure \"serve\" and cannot select a server")
                .hint("move the options that select the server before --"));
        }
        let start = Settings::start()?;
        let program = program::lasting(&start, &machine.path, is_same_file);
        let program = program.into_os_string().into_string().map_err(|program| {
            usage(format!("the path of finmcp is not valid Unicode: {}", Path::new(&program).display()))
                .hint("move finmcp to a folder whose path is valid Unicode and run it from there")
        })?;
        Ok(Self { app, machine, arguments, target, registers, program })
    }

    /// Does the job for one client.
    async fn run(&self, client: Client) -> Result<(), Error> {
        let surroundings = Surroundings::needed(client, &self.machine);
        let wish = self.wish(&surroundings);
        let output = &self.arguments.output;
        if output.deeplink {
            let link = deeplink(client, &wish.entry)
                .ok_or_else(|| usage(format!("{} does not support install links", client.title())))?;
            return Ok(self.app.console.data(&(link + "\n"))?);
        }
        if output.print {
            let empty = Document::read(client, "").and_then(|d| d.with(&wish.entry.name, &wish.entry.members(client)));
            let text = empty.map_err(|error| Error::new(ErrorKind::Failure, error.to_string()))?;
            self.note(client, &surroundings);
            return Ok(self.app.console.data(&text)?);
        }
        let path = client.file(self.arguments.scope, &self.machine).ok_or_else(|| {
            usage(format!("{} has no project configuration", client.title())).hint("omit --scope project")
        })?;
        let file = ConfigFile::read(&path)?;
        let document = read(client, &file)?;
        if self.arguments.remove {
            return self.remove(client, &file, &document, &wish).await;
        }
        let found = self.known(&document);
        let replaced = if self.is_to_replace(client, &file, &found).await { found.as_slice() } else { &[] };
        let replaced: Vec<(Exposed, Option<Entry>)> =
            replaced.iter().map(|(exposed, target)| (exposed.clone(), self.other(exposed, target, &wish))).collect();
        let changes = change::wanted(client, &document, &wish, &replaced)?;
        let after = about(&file, change::applied(client, &file.text, &changes))?;
        if output.dry_run {
            return self.show(client, &file, &after, &changes);
        }
        if changes.is_empty() {
            self.app.console.note(&format!("{} is already set up: {}", client.title(), path.display()));
        } else {
            self.write(client, &file, &document, &after, &changes).await?;
        }
        self.note(client, &surroundings);
        self.say_next();
        Ok(())
    }

    fn wish(&self, surroundings: &Surroundings) -> Wish {
        let name = self.arguments.name.clone().unwrap_or_else(|| self.target.name.clone());
        let serve = ["serve".to_owned()];
        let arguments = serve.iter().chain(&self.target.arguments).chain(&self.arguments.serve).cloned().collect();
        let entry = Entry {
            name,
            command: self.program.clone(),
            arguments,
            environment: surroundings.environment.clone(),
            passed: surroundings.passed.clone(),
        };
        Wish { entry, named: self.arguments.name.is_some(), force: self.arguments.force }
    }

    /// The servers in `document` that have a secret in plain text and that finmcp knows, with the profile for each.
    fn known(&self, document: &Document) -> Vec<(Exposed, Target)> {
        let own = self.target.profile.as_ref();
        let target = |exposed: &Exposed| {
            let url: ServerUrl = exposed.url.parse().ok()?;
            let is_it = |other: &ServerUrl| other.as_str().trim_end_matches('/') == url.as_str().trim_end_matches('/');
            if let Some(profile) = own.filter(|profile| is_it(&profile.server)) {
                return Some(Target::of(profile.clone()));
            }
            profile_of(&self.app.settings, is_it).map(Target::of)
        };
        let found = plaintext::exposed(document).into_iter();
        let known = found.filter_map(|exposed| target(&exposed).map(|target| (exposed, target)));
        known.filter(|(_, target)| !self.registers || target.is_same(&self.target)).collect()
    }

    /// The entry that replaces `exposed`; none if that is the requested one.
    fn other(&self, exposed: &Exposed, target: &Target, wish: &Wish) -> Option<Entry> {
        if target.is_same(&self.target) {
            return None;
        }
        let serve = ["serve".to_owned()];
        let arguments = serve.iter().chain(&target.arguments).chain(&self.arguments.serve).cloned().collect();
        Some(Entry { name: exposed.name.clone(), arguments, ..wish.entry.clone() })
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
        if !self.arguments.output.dry_run && self.app.console.is_attended() {
            return self.app.console.confirm(&format!("{report}Replace them? [y/N] ")).await;
        }
        let scope = if self.arguments.scope == Scope::Project { " --scope project" } else { "" };
        let name = self.arguments.name.iter().map(|name| format!(" --name {name}")).collect::<String>();
        let options: Vec<String> = self.arguments.serve.iter().map(|word| in_shell(word)).collect();
        let options = if options.is_empty() { String::new() } else { format!(" -- {}", options.join(" ")) };
        let server = self.target.arguments.join(" ");
        let command = format!("finmcp setup {} {server}{scope}{name} --replace{options}", client.id());
        self.app.console.say(&format!("{report}To replace them, run: {command}"));
        false
    }

    async fn remove(&self, client: Client, file: &ConfigFile, document: &Document, wish: &Wish) -> Result<(), Error> {
        let settings = &self.app.settings;
        let is_meant = |entry: &Entry| Target::is_meant_by_both(&entry.arguments, &wish.entry.arguments, settings);
        let changes = change::unwanted(client, document, wish, is_meant).map_err(|taken| {
            Error::from_source(ErrorKind::Failure, taken)
                .hint("nothing was changed; use --force to remove it anyway, or --name NAME to remove another entry")
        })?;
        if changes.is_empty() {
            let name = &wish.entry.name;
            self.app.console.note(&format!("{} has no finmcp entry {name:?}: nothing to remove", client.title()));
            return Ok(());
        }
        let before = file.backup();
        let after = about(file, change::taken_back(client, &file.text, &changes, before.as_deref()))?;
        match self.arguments.output.dry_run {
            true => self.show(client, file, &after, &changes),
            false => self.write(client, file, document, &after, &changes).await,
        }
    }

    /// Prints the difference, with secrets hidden.
    fn show(&self, client: Client, file: &ConfigFile, after: &str, changes: &[Change]) -> Result<(), Error> {
        if changes.is_empty() {
            self.app.console.note(&format!("{} is already set up: {}", client.title(), file.path.display()));
            return Ok(());
        }
        let hidden = |text: &str| {
            let document = Document::read(client, text);
            about(file, document.map(|document| plaintext::masked(&document, client.format())))
        };
        let (before, after) = (hidden(&file.text)?, hidden(after)?);
        let path = file.path.display().to_string();
        let old = if file.exists { &path } else { "/dev/null" };
        let difference = similar::TextDiff::from_lines(&before, &after);
        self.app.console.data(&difference.unified_diff().header(old, &path).to_string())?;
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
            Some(program) => by_claude(&program, file, document, changes, access).await?,
            None => file.replace_with_backup(after, access)?,
        };
        let (console, title) = (&self.app.console, client.title());
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
        let console = &self.app.console;
        for name in &surroundings.withheld {
            console.say(&format!(
                "warning: {name} contains a password, so finmcp did not write it to {}'s file. Set it in the \
                 environment that starts {}, if possible without the password.",
                client.title(),
                client.title()
            ));
        }
        if matches!(
            self.app.settings.store,
            StoreChoice::File { key: KeySource::Passphrase(_) | KeySource::Unknown, .. }
        ) {
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
        let signed_out = self.target.profile.as_ref().filter(|profile| profile.signed_in.is_none());
        if let Some(profile) = signed_out {
            self.app.console.say(&format!("Next, sign in: {}", profile.login_command()));
        }
    }
}

/// Lets Claude Code make `changes`, then makes those that it did not. Returns the path of the backup.
async fn by_claude(
    program: &Path,
    file: &ConfigFile,
    document: &Document,
    changes: &[Change],
    access: Access,
) -> Result<Option<PathBuf>, Error> {
    let backup = file.back_up(access)?;
    claude::run(program, &claude::commands(changes, |name| document.server(name).is_some())).await;
    let Err(error) = complete(file, changes) else { return Ok(backup) };
    let is_as_before = ConfigFile::read(&file.path).is_ok_and(|now| now.exists == file.exists && now.text == file.text);
    match backup {
        _ if is_as_before => Err(error.into()),
        backup => {
            let copy = backup.map(|path| format!(" (backup: {})", path.display())).unwrap_or_default();
            Err(Error::from_source(ErrorKind::Failure, error).hint(format!(
                "Claude Code or another program changed the file: check it{copy}, then run this command again"
            )))
        }
    }
}

/// Makes those of `changes` that the file does not have yet.
fn complete(file: &ConfigFile, changes: &[Change]) -> Result<(), FileError> {
    let client = Client::ClaudeCode;
    let now = ConfigFile::read(&file.path)?;
    let document = read(client, &now)?;
    let is_made = |change: &Change| match change {
        Change::Put(entry) => document.server(&entry.name).is_some_and(|node| entry.is_that_of(client, node)),
        Change::Take(name) => document.server(name).is_none(),
    };
    if changes.iter().all(is_made) {
        return Ok(());
    }
    now.replace(&about(&now, change::applied(client, &now.text, changes))?)
}

/// The profile of the preset with this server, else the only saved profile with it.
fn profile_of(settings: &Settings, is_it: impl Fn(&ServerUrl) -> bool) -> Option<Profile> {
    let presets = settings.providers.values().flat_map(|provider| {
        let names = provider.environment_names();
        let names: Vec<Option<&str>> =
            if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
        names.into_iter().map(move |name| (provider, name))
    });
    let mut presets = presets.filter(|(provider, name)| {
        provider.environment(*name).and_then(|(_, environment)| environment.server.as_ref()).is_some_and(&is_it)
    });
    if let Some((provider, environment)) = presets.next() {
        let selector = Selector {
            server: Some(provider.id.clone()),
            environment: environment.map(str::to_owned),
            ..Selector::default()
        };
        return Profile::select(&selector, settings).ok().filter(|profile| is_it(&profile.server));
    }
    let mut saved = settings.profiles().filter(|profile| is_it(&profile.server));
    saved.next().filter(|_| saved.next().is_none())
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
    check_parameters(&registration.parameters)?;
    let files = [
        &serve.control.audit_log,
        &registration.client_secret_file,
        &registration.private_key_file,
        &registration.assertion_file,
        &registration.identity_provider_client_secret_file,
        &registration.id_token_file,
    ];
    match files.into_iter().flatten().find(|path| path.is_relative()) {
        Some(path) => {
            Err(usage(format!("relative path {}: the client may start finmcp in any folder", path.display()))
                .hint("use an absolute path"))
        }
        None => Ok(serve.registration != Registration::default()),
    }
}

fn read(client: Client, file: &ConfigFile) -> Result<Document, FileError> {
    about(file, Document::read(client, &file.text))
}

/// Adds the file's path to the error.
fn about<T>(file: &ConfigFile, outcome: Result<T, DocumentError>) -> Result<T, FileError> {
    outcome.map_err(|error| FileError::Document { path: file.path.clone(), error })
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
