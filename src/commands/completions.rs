//! `finmcp completions`, and the answers to the scripts' requests while the user types.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use clap::{ArgMatches, Command, CommandFactory};
use clap_complete::{
    Shell,
    engine::{ArgValueCandidates, CompletionCandidate},
    env::{Bash, CompleteEnv, Elvish, EnvCompleter, Fish, Powershell, Shells, Zsh},
};
use serde::Deserialize;

use crate::{
    app::relay::remembered,
    cli::Cli,
    console::Console,
    error::Error,
    profile::{provider::Provider, selector::Selector},
    settings::{self, Settings},
};

/// The variable that marks a request from a completion script.
const VARIABLE: &str = "FINMCP_COMPLETE";

/// zsh loads the script at the first completion, and expects it to complete that one too.
const ZSH_FIRST_TIME: &str = r#"
if [ "$funcstack[1]" = "_finmcp" ]; then
    _clap_dynamic_completer_finmcp "$@"
fi
"#;

/// Prints the completion script for `shell`, which calls this program for candidates.
///
/// # Errors
/// stdout cannot be written.
pub fn run(console: Console, shell: Shell) -> Result<(), Error> {
    let mut script = Vec::new();
    if let Some(shell) = Shells::builtins().completer(&shell.to_string()) {
        shell.write_registration(VARIABLE, "finmcp", "finmcp", "finmcp", &mut script)?;
    }
    if shell == Shell::Zsh {
        script.extend_from_slice(ZSH_FIRST_TIME.as_bytes());
    }
    console.data(&String::from_utf8_lossy(&script))?;
    Ok(())
}

/// If a completion script started this process, answers it and exits.
pub fn answer() {
    const SHELLS: Shells<'static> =
        Shells(&[&Completer(Bash), &Completer(Elvish), &Completer(Fish), &Completer(Powershell), &Completer(Zsh)]);
    CompleteEnv::with_factory(Cli::command).var(VARIABLE).shells(SHELLS).complete();
}

/// A shell's completer that knows this machine's servers, and offers options only once the user has typed `-`.
struct Completer<Shell>(Shell);

impl<Shell: EnvCompleter> EnvCompleter for Completer<Shell> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn is(&self, name: &str) -> bool {
        self.0.is(name)
    }

    fn write_registration(
        &self,
        variable: &str,
        name: &str,
        program: &str,
        completer: &str,
        output: &mut dyn Write,
    ) -> io::Result<()> {
        self.0.write_registration(variable, name, program, completer, output)
    }

    fn write_complete(
        &self,
        _: &mut Command,
        words: Vec<OsString>,
        folder: Option<&Path>,
        output: &mut dyn Write,
    ) -> io::Result<()> {
        // Shells that do not say which word it is send only the words up to it.
        let last = words.len().saturating_sub(1);
        let index = settings::completed_word().unwrap_or(last).min(last);
        let mut others = words.clone();
        let word = others.remove(index);
        let mut candidates = Vec::new();
        self.0.write_complete(&mut command(Line::read(&others)), words, folder, &mut candidates)?;
        if word.to_string_lossy().starts_with('-') {
            return output.write_all(&candidates);
        }
        // bash separates candidates by a vertical tab, the others by a line break.
        let candidates = String::from_utf8_lossy(&candidates).into_owned();
        let separator = if candidates.contains('\u{b}') { '\u{b}' } else { '\n' };
        let values = candidates.split(separator).filter(|candidate| !candidate.starts_with('-'));
        output.write_all(values.collect::<Vec<_>>().join(&separator.to_string()).as_bytes())
    }
}

/// The other words of the command line, as far as they can be read.
#[derive(Clone, Default)]
struct Line {
    selector: Selector,
    /// The tool, in `finmcp call`.
    tool: Option<String>,
}

impl Line {
    fn read(words: &[OsString]) -> Self {
        let matches = Cli::command().ignore_errors(true).try_get_matches_from(words);
        let Ok(matches) = matches else { return Self::default() };
        let Some((_, arguments)) = matches.subcommand() else { return Self::default() };
        let text = |name: &str| text_of(arguments, name);
        let selector =
            Selector { server: text("server"), environment: text("environment"), url: None, profile: text("profile") };
        Self { selector, tool: text("tool") }
    }

    /// The settings, with the server that the words select.
    fn selected(&self) -> Option<(Settings, Selector)> {
        let settings = Settings::load().ok()?;
        let mut selector = self.selector.clone();
        // `finmcp call SERVER TOOL` is accepted, too.
        if selector.server.is_none() {
            selector.server = self.tool.clone().filter(|word| settings.profiles.knows(word));
        }
        Some((settings, selector))
    }
}

fn text_of(arguments: &ArgMatches, name: &str) -> Option<String> {
    arguments.try_get_one::<String>(name).ok().flatten().cloned()
}

/// The command line, with the servers, environments, profiles and tools of this machine.
fn command(line: Line) -> Command {
    with_candidates(Cli::command(), &Arc::new(line))
}

fn with_candidates(command: Command, line: &Arc<Line>) -> Command {
    let name = command.get_name().to_owned();
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let command = command.mut_args(|argument| {
        let line = line.clone();
        let candidates: ArgValueCandidates = match (argument.get_id().as_str(), name.as_str()) {
            ("server", "logout" | "status") | ("profile" | "saved", _) => ArgValueCandidates::new(profiles),
            ("server", _) => ArgValueCandidates::new(servers),
            ("environment", _) => ArgValueCandidates::new(move || environments(&line)),
            ("tool", "call") => ArgValueCandidates::new(move || tools(&line)),
            ("tool", "tools") => ArgValueCandidates::new(move || tools(&line)),
            ("arguments", "call") => ArgValueCandidates::new(move || tools_of_first(&line)),
            _ => return argument,
        };
        argument.add(candidates)
    });
    names
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, |command| with_candidates(command, line)))
}

fn servers() -> Vec<CompletionCandidate> {
    let Ok(settings) = Settings::load() else { return Vec::new() };
    let presets = settings.profiles.ordered_providers().into_iter();
    let presets = presets.map(|provider| candidate(&provider.id, &provider.title));
    let saved = settings.profiles.all().filter(|profile| !settings.profiles.providers.contains_key(&profile.name));
    presets.chain(saved.map(|profile| candidate(&profile.name, profile.server.as_str()))).collect()
}

/// The environments of the vendor that the line names, else of every vendor.
fn environments(line: &Line) -> Vec<CompletionCandidate> {
    let Some((settings, selector)) = line.selected() else { return Vec::new() };
    let profiles = &settings.profiles;
    let named = selector.server.or_else(|| profiles.default_server.clone());
    let vendor = |name: &str| -> Option<&Provider> {
        let name = profiles.known_name(name)?;
        profiles.providers.get(name).or_else(|| profiles.provider(&profiles.named(name)?))
    };
    let providers = match &named {
        Some(name) => vendor(name).into_iter().collect(),
        None => profiles.ordered_providers(),
    };
    let mut vendors: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for provider in providers {
        for name in provider.environment_names() {
            vendors.entry(name).or_default().push(&provider.title);
        }
    }
    vendors.into_iter().map(|(name, titles)| candidate(name, &titles.join(", "))).collect()
}

/// The tools that the line's server had when finmcp last listed them.
fn tools(line: &Line) -> Vec<CompletionCandidate> {
    #[derive(Deserialize)]
    struct List {
        tools: Vec<Tool>,
    }
    #[derive(Deserialize)]
    struct Tool {
        name: String,
        #[serde(default)]
        description: String,
    }
    let known = || {
        let (settings, selector) = line.selected()?;
        let description = remembered(&settings, &settings.profiles.select(&selector).ok()?)?;
        serde_json::from_str::<List>(description.tools()?).ok()
    };
    let tools = known().map(|list| list.tools).unwrap_or_default();
    // A tool's name comes from the server, and a shell would not quote it.
    let is_plain =
        |tool: &Tool| tool.name.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-/".contains(letter));
    let tools = tools.into_iter().filter(|tool| is_plain(tool) && !tool.name.starts_with('-'));
    tools
        .map(|tool| {
            candidate(&tool.name, &crate::printable::printable(tool.description.lines().next().unwrap_or_default()))
        })
        .collect()
}

/// The tools of the server that stands in the tool's place.
fn tools_of_first(line: &Line) -> Vec<CompletionCandidate> {
    let is_server = line.selected().is_some_and(|(_, selector)| selector.server != line.selector.server);
    if is_server { tools(line) } else { Vec::new() }
}

fn profiles() -> Vec<CompletionCandidate> {
    let Ok(settings) = Settings::load() else { return Vec::new() };
    settings.profiles.all().map(|profile| candidate(&profile.name, profile.server.as_str())).collect()
}

fn candidate(value: &str, about: &str) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(about.to_owned().into()))
}
