//! `finmcp completions`, and the answers to the scripts' requests while the user types.

use std::collections::BTreeMap;

use clap::{Arg, Command, CommandFactory};
use clap_complete::{
    Shell,
    engine::{ArgValueCandidates, CompletionCandidate},
    env::{CompleteEnv, Shells},
};

use crate::{cli::Cli, console::Console, error::Error, settings::Settings};

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
    CompleteEnv::with_factory(command).var(VARIABLE).complete();
}

/// The command line, with the servers, environments and profiles of this machine.
fn command() -> Command {
    let command = Cli::command();
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, |command| command.mut_args(with_candidates)))
}

fn with_candidates(argument: Arg) -> Arg {
    let candidates = match argument.get_id().as_str() {
        "server" => servers,
        "environment" => environments,
        "profile" => profiles,
        _ => return argument,
    };
    argument.add(ArgValueCandidates::new(candidates))
}

fn servers() -> Vec<CompletionCandidate> {
    let Ok(settings) = Settings::load() else { return Vec::new() };
    let presets = settings.profiles.ordered_providers().into_iter();
    let presets = presets.map(|provider| candidate(&provider.id, &provider.title));
    let saved = settings.profiles.all().filter(|profile| !settings.profiles.providers.contains_key(&profile.name));
    presets.chain(saved.map(|profile| candidate(&profile.name, profile.server.as_str()))).collect()
}

fn environments() -> Vec<CompletionCandidate> {
    let Ok(settings) = Settings::load() else { return Vec::new() };
    let mut vendors: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for provider in settings.profiles.ordered_providers() {
        for name in provider.environment_names() {
            vendors.entry(name).or_default().push(&provider.title);
        }
    }
    vendors.into_iter().map(|(name, titles)| candidate(name, &titles.join(", "))).collect()
}

fn profiles() -> Vec<CompletionCandidate> {
    let Ok(settings) = Settings::load() else { return Vec::new() };
    settings.profiles.all().map(|profile| candidate(&profile.name, profile.server.as_str())).collect()
}

fn candidate(value: &str, about: &str) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(about.to_owned().into()))
}
