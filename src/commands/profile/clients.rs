//! The AI clients that start finmcp for a profile.

use crate::{
    cli,
    profile::Profile,
    settings::{self, Settings},
    setup::{
        self,
        client::{Client, Scope},
        entry::Entry,
        header_command::in_shell,
        plan::Target,
    },
};

/// An AI client's entry for a profile.
pub(super) struct ClientEntry {
    client: Client,
    scope: Scope,
    entry: Entry,
}

/// The entries of AI clients on this machine, and in this folder, that select the profile `name`.
pub(super) fn entries(settings: &Settings, name: &str) -> Vec<ClientEntry> {
    let Ok(machine) = settings::machine() else { return Vec::new() };
    let is_for_it = |entry: &Entry| {
        let target = Target::meant(&entry.arguments, &settings.profiles, cli::served);
        target.and_then(|target| target.profile).is_some_and(|profile| profile.name == name)
    };
    let entries = setup::found(&machine).into_iter().flat_map(|found| {
        let entries = found.entries.unwrap_or_default().into_iter().filter(Entry::runs_finmcp);
        entries.map(move |entry| ClientEntry { client: found.client, scope: found.scope, entry })
    });
    entries.filter(|found| is_for_it(&found.entry)).collect()
}

impl ClientEntry {
    /// The command that makes the entry select `profile`, with the options that it has.
    pub(super) fn update(&self, profile: &Profile) -> String {
        let native = if self.entry.url.is_some() { " --native" } else { "" };
        let options = serve_options(&self.entry.arguments);
        let options: String = options.iter().map(|word| format!(" {}", in_shell(word))).collect();
        let options = if options.is_empty() { options } else { format!(" --{options}") };
        let server = profile.selector_text();
        format!("finmcp setup {} {server}{}{native} --force{options}", self.client.id(), self.place())
    }

    /// The command that removes the entry, after `profile` was removed.
    pub(super) fn removal(&self, settings: &Settings, profile: &Profile) -> String {
        let preset = settings.profiles.provider(profile).and_then(|provider| {
            let (_, environment) = provider.environment(Some(&profile.environment))?;
            (environment.server.as_ref() == Some(&profile.server)).then_some(provider)
        });
        let server = match preset {
            Some(preset) if preset.is_default_environment(&profile.environment) => preset.id.clone(),
            Some(preset) => format!("{} --env {}", preset.id, profile.environment),
            None => profile.server.to_string(),
        };
        format!("finmcp setup {} {server}{} --remove --force", self.client.id(), self.place())
    }

    fn place(&self) -> String {
        let scope = if self.scope == Scope::Project { " --scope project" } else { "" };
        format!("{scope} --name {}", in_shell(&self.entry.name))
    }
}

/// The options in an entry's arguments that do not select the server.
fn serve_options(arguments: &[String]) -> Vec<String> {
    let Some(selector) = cli::served(arguments) else { return Vec::new() };
    let mut words = arguments.iter().skip(1);
    let mut options = Vec::new();
    let mut server = selector.server;
    while let Some(word) = words.next() {
        let name = word.split('=').next().unwrap_or_default();
        match name {
            "--env" | "--url" | "--profile" if word.contains('=') => {}
            "--env" | "--url" | "--profile" => drop(words.next()),
            "--headers" => {}
            _ if server.as_ref() == Some(word) => server = None,
            _ => options.push(word.clone()),
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stay_and_the_selection_goes() {
        let options = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            serve_options(&words).join(" ")
        };
        assert_eq!(options("serve books"), "");
        assert_eq!(options("serve asset --env sandbox --read-only"), "--read-only");
        assert_eq!(options("serve --label --env=sandbox asset --allow-tool get_*"), "--label --allow-tool get_*");
        assert_eq!(options("token --headers books"), "");
        assert_eq!(options("serve books --audit-log books"), "--audit-log books");
    }
}
