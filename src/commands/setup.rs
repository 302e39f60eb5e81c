//! `finmcp setup`.

mod clients;
mod keys;
mod list;
mod notes;
mod serve_options;
mod servers;
mod writing;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::{
    app::credentials::Credentials,
    cli::{self, setup::Setup},
    console::Console,
    error::{Error, ErrorKind},
    settings::{self, Settings, machine::Machine},
    setup::{
        change::{self, Change, Taken, Wish},
        client::{Client, Scope},
        deeplink::deeplink,
        document::Document,
        entry::Entry,
        file::ConfigFile,
        header_command::in_shell,
        plaintext::{Exposed, Place},
        plan::{Plan, Target},
        program,
        surroundings::Surroundings,
    },
};

/// Adds the entries to the files of the selected clients, or removes them, or lists what there is.
///
/// # Errors
/// The command line is wrong, the user cancels, or a file could not be read or changed.
pub async fn run(
    settings: &Settings,
    credentials: &Credentials,
    console: Console,
    mut arguments: Setup,
) -> Result<(), Error> {
    arguments.arrange(|word| settings.profiles.knows(word));
    let machine = settings::machine()?;
    if arguments.list.list {
        return list::run(settings, console, &machine, &arguments);
    }
    let clients = clients::clients(settings, console, &machine, &mut arguments).await?;
    let servers = servers::servers(settings, console, &arguments).await?;
    let mut failed = None;
    let mut progress = Progress::default();
    let is_single = servers.len() * clients.len() == 1;
    for server in servers {
        let arguments = Setup { server, ..arguments.clone() };
        let mut job = Job::new(settings, credentials, console, machine.clone(), arguments)?;
        job.refuse_bound_tokens().await?;
        job.progress = std::mem::take(&mut progress);
        for client in &clients {
            match job.run(*client).await {
                Ok(()) => {}
                Err(error) if is_single => return Err(error),
                Err(error) => {
                    console.report(&error);
                    failed.get_or_insert(error.kind);
                }
            }
        }
        job.say_next();
        progress = job.progress;
    }
    match failed {
        None => Ok(()),
        Some(kind) => Err(Error::new(kind, "some clients could not be set up")),
    }
}

fn usage(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, text)
}

/// What to do for each client.
struct Job<'a> {
    settings: &'a Settings,
    credentials: &'a Credentials,
    console: Console,
    machine: Machine,
    arguments: Setup,
    plan: Plan<'a>,
    /// The profiles that this run signed in to, with a key from a client's file.
    moved: BTreeSet<String>,
    progress: Progress,
    /// Whether an entry was written or was there already.
    is_there: bool,
}

/// What this run has done for other clients and servers.
#[derive(Default)]
struct Progress {
    /// The files that are backed up: the copy is of what the user had.
    backed_up: BTreeSet<PathBuf>,
    /// The warnings that the user has read.
    said: BTreeSet<String>,
}

impl<'a> Job<'a> {
    fn new(
        settings: &'a Settings,
        credentials: &'a Credentials,
        console: Console,
        machine: Machine,
        arguments: Setup,
    ) -> Result<Self, Error> {
        let target = Target::select(&arguments.server.clone().into(), &settings.profiles)?;
        if arguments.native && target.profile.is_none() {
            return Err(usage("the demo's vendors run inside finmcp, so no client can connect to them itself")
                .hint("omit --native"));
        }
        if arguments.native && !arguments.serve.is_empty() {
            return Err(usage("options after -- configure \"serve\", which --native does not start")
                .hint("omit --native to use them"));
        }
        let registers = serve_options::check(&target, &arguments.serve)?;
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
            native: arguments.native,
        };
        Ok(Self {
            settings,
            credentials,
            console,
            machine,
            arguments,
            plan,
            moved: BTreeSet::new(),
            progress: Progress::default(),
            is_there: false,
        })
    }

    /// Refuses --native if the tokens are bound to a key that only finmcp has (RFC 9449).
    async fn refuse_bound_tokens(&self) -> Result<(), Error> {
        let Some(profile) = self.plan.target.profile.as_ref().filter(|_| self.plan.native && !self.arguments.remove)
        else {
            return Ok(());
        };
        // A store that cannot be read now says nothing about the tokens.
        let credential = self.credentials.earlier(profile).await.ok().flatten();
        if !profile.options.dpop && credential.is_none_or(|credential| credential.dpop_key.is_none()) {
            return Ok(());
        }
        let text =
            format!("the tokens of {} are bound to finmcp's DPoP key, and only finmcp can prove that", profile.title);
        Err(usage(text).hint("omit --native"))
    }

    /// Does the job for one client.
    async fn run(&mut self, client: Client) -> Result<(), Error> {
        let surroundings = match self.plan.native {
            true => Surroundings::of_helper(client, self.arguments.scope, &self.machine),
            false => Surroundings::needed(client, &self.machine),
        };
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
        let replaced = if self.is_to_replace(client, &file, &document, &found).await { found } else { Vec::new() };
        // Fails before a key moves.
        self.changes(client, &document, &wish, &replaced)?;
        let replaced = self.move_keys(&document, replaced).await?;
        let changes = self.changes(client, &document, &wish, &replaced)?;
        let after = file.about(change::applied(client, &file.text, &changes))?;
        if self.arguments.output.dry_run {
            return self.show(client, &file, &after, &changes);
        }
        if changes.is_empty() {
            self.console.note(&format!("{} is already set up: {}", client.title(), path.display()));
        } else {
            self.write(client, &file, &document, &after, &changes).await?;
        }
        self.is_there = true;
        self.note(client, &surroundings);
        self.say_options(client, &document, &wish);
        Ok(())
    }

    /// The changes that add the entry and replace those of `replaced`.
    fn changes(
        &self,
        client: Client,
        document: &Document,
        wish: &Wish,
        replaced: &[(Exposed, Target)],
    ) -> Result<Vec<Change>, Taken> {
        let with_entry =
            |(exposed, target): &(Exposed, Target)| (exposed.clone(), self.plan.other(exposed, target, wish));
        let replaced: Vec<(Exposed, Option<Entry>)> = replaced.iter().map(with_entry).collect();
        change::wanted(client, document, wish, &replaced, |own| self.plan.is_same(own, &wish.entry))
    }

    /// Whether the user wants `found` replaced. Without a terminal to ask in, prints the command to run.
    async fn is_to_replace(
        &self,
        client: Client,
        file: &ConfigFile,
        document: &Document,
        found: &[(Exposed, Target)],
    ) -> bool {
        if found.is_empty() || self.arguments.replace {
            return self.arguments.replace;
        }
        let line = |(exposed, target): &(Exposed, Target)| match exposed.place {
            Place::Here if matches!(keys::key_for(document, exposed, target.profile.as_ref()), Some(Ok(_))) => {
                let store = self.credentials.store.description();
                format!("  {}: holds an API key in plain text, which moves into {store}\n", exposed.name)
            }
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
        let native = if self.plan.native { " --native" } else { "" };
        let options = if options.is_empty() { String::new() } else { format!(" -- {}", options.join(" ")) };
        let server = self.plan.target.arguments.join(" ");
        let command = format!("finmcp setup {} {server}{scope}{name}{native} --replace{options}", client.id());
        self.console.say(&format!("{report}To replace them, run: {command}"));
        false
    }

    async fn remove(
        &mut self,
        client: Client,
        file: &ConfigFile,
        document: &Document,
        wish: &Wish,
    ) -> Result<(), Error> {
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
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| -> Option<PathBuf> { path.canonicalize().ok() };
    real(one).is_some_and(|one| real(other) == Some(one))
}
