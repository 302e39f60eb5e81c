//! What the user should know after an entry was written.

use crate::{
    commands::setup::Job,
    credential::{choice::StoreChoice, file::KeySource},
    settings::machine::System,
    setup::{
        change::Wish,
        client::{Client, Scope},
        document::Document,
        entry::Entry,
        header_command::in_shell,
        surroundings::Surroundings,
    },
};

impl Job<'_> {
    /// Warns about what `serve` needs and the entry cannot contain.
    pub(super) fn note(&mut self, client: Client, surroundings: &Surroundings) {
        let title = client.title();
        let mut texts: Vec<String> = Vec::new();
        for name in &surroundings.withheld {
            let is_windows = self.machine.system == System::Windows;
            let reason = if is_windows { "a command cannot set it on Windows" } else { "it contains a password" };
            texts.push(match self.plan.native {
                true => format!(
                    "warning: {title} does not pass {name} to the command, and finmcp did not write it: {reason}. If \
                     finmcp needs it, use an entry without --native."
                ),
                false => format!(
                    "warning: {name} contains a password, so finmcp did not write it to {title}'s file. Set it in the \
                     environment that starts {title}, if possible without the password."
                ),
            });
        }
        if matches!(self.settings.store, StoreChoice::File { key: KeySource::Passphrase(_) | KeySource::Unknown, .. }) {
            texts.push(
                "warning: an AI client cannot enter the passphrase of the credential store. Set \
                 FINMCP_STORE_KEY_FILE to the path of a key file and run this command again."
                    .to_owned(),
            );
        }
        if self.plan.native {
            texts.push(format!(
                "note: with --native, {title} connects to the server itself. --read-only and the other tool rules, the \
                 audit log, the label, the shared rate limit, the translation between protocol versions and \
                 at-most-once calls apply only through `finmcp serve`, without --native."
            ));
        }
        if self.arguments.scope == Scope::Project {
            texts.push("note: the entry contains paths of this machine. Do not commit or share it.".to_owned());
        }
        // One that is the same for several clients is said once.
        for text in texts {
            if !self.progress.said.contains(&text) {
                self.console.say(&text);
                self.progress.said.insert(text);
            }
        }
    }

    /// Says how to sign in, if the profile is signed out.
    pub(super) fn say_next(&self) {
        if !self.is_there {
            return;
        }
        let signed_out = self
            .plan
            .target
            .profile
            .as_ref()
            .filter(|profile| profile.signed_in.is_none() && !self.moved.contains(&profile.name));
        if let Some(profile) = signed_out {
            self.console.say(&format!("Next, sign in: {}", profile.login_command()));
        }
    }

    /// Names the options of an entry that stay because this command has none.
    pub(super) fn say_options(&self, client: Client, document: &Document, wish: &Wish) {
        let name = &wish.entry.name;
        let own = document.server(name).and_then(|node| Entry::read(client, name, node));
        let kept = own.filter(|own| own.runs_finmcp() && !wish.force && !wish.has_options);
        if let Some(own) = kept.filter(|own| own.arguments != wish.entry.arguments && own.url == wish.entry.url) {
            let words: Vec<String> = own.arguments.iter().map(|word| in_shell(word)).collect();
            self.console.note(&format!(
                "{name} keeps its options: finmcp {}. --force drops them; new ones after -- replace them.",
                words.join(" ")
            ));
        }
    }
}
