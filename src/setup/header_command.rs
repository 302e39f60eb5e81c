//! The command that a client runs for the headers of its requests: one line of a shell.
//!
//! Claude Code runs it with `/bin/sh -c`, Codex with `sh -c`, and both with `cmd` on Windows.

use std::collections::BTreeMap;

use crate::settings::machine::System;

/// A program with its arguments, and the variables that it needs and that the client drops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderCommand {
    pub environment: BTreeMap<String, String>,
    pub command: String,
    pub arguments: Vec<String>,
}

impl HeaderCommand {
    /// The line for the shell of `system`. A Windows command cannot set variables.
    pub fn text(&self, system: System) -> String {
        let program = std::iter::once(&self.command).chain(&self.arguments);
        if system == System::Windows {
            return program.map(|word| in_windows_shell(word)).collect::<Vec<_>>().join(" ");
        }
        let variables = self.environment.iter().map(|(name, value)| format!("{name}={}", in_shell(value)));
        let env = (!self.environment.is_empty()).then(|| "env".to_owned());
        let words = env.into_iter().chain(variables).chain(program.map(|word| in_shell(word)));
        words.collect::<Vec<_>>().join(" ")
    }

    /// The command in `text`; none if it is not a single program with arguments.
    pub fn parse(text: &str, system: System) -> Option<Self> {
        let words = if system == System::Windows { windows_words(text) } else { shlex::split(text)? };
        let mut words = words.into_iter().peekable();
        let mut environment = BTreeMap::new();
        if words.next_if(|word| word == "env" || word.ends_with("/env")).is_some() {
            while let Some(variable) = words.next_if(|word| word.contains('=')) {
                let (name, value) = variable.split_once('=')?;
                environment.insert(name.to_owned(), value.to_owned());
            }
        }
        Some(Self { environment, command: words.next()?, arguments: words.collect() })
    }
}

/// `word`, quoted for a POSIX shell.
pub fn in_shell(word: &str) -> String {
    // Only a NUL cannot be quoted, and no argument or path contains one.
    shlex::try_quote(word).map_or_else(|_| String::new(), Into::into)
}

/// `word`, quoted for `cmd`.
fn in_windows_shell(word: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || r"-_./:\,@+".contains(letter);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("\"{word}\"") }
}

/// The words of a line for `cmd`: separated by spaces, except within double quotes.
fn windows_words(text: &str) -> Vec<String> {
    let mut is_quoted = false;
    let words = text.split(|letter| {
        is_quoted ^= letter == '"';
        letter == ' ' && !is_quoted
    });
    words.map(|word| word.replace('"', "")).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn helper(environment: &[(&str, &str)], command: &str) -> HeaderCommand {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let arguments = ["token", "--headers", "books & \"more\"", "https://a.example/?a=1&b=$HOME"];
        HeaderCommand {
            environment: environment.collect(),
            command: command.to_owned(),
            arguments: arguments.map(str::to_owned).into(),
        }
    }

    /// What a real shell makes of it.
    #[cfg(unix)]
    #[test]
    fn a_shell_starts_the_program_with_its_arguments_and_variables() {
        let command = helper(&[("FINMCP_CONFIG_DIR", "/a b/it's"), ("HTTPS_PROXY", "http://p:1/$(x)")], "printf");
        let command = HeaderCommand { arguments: [&["<%s>".to_owned()], &command.arguments[..]].concat(), ..command };
        let run = |text: &str| std::process::Command::new("/bin/sh").args(["-c", text]).output().unwrap().stdout;
        let printed = String::from_utf8(run(&command.text(System::Linux))).unwrap();
        assert_eq!(printed, "<token><--headers><books & \"more\"><https://a.example/?a=1&b=$HOME>");
        let command = HeaderCommand { command: "/usr/bin/env".to_owned(), arguments: Vec::new(), ..command };
        let printed = String::from_utf8(run(&command.text(System::Linux))).unwrap();
        assert!(
            printed.contains("FINMCP_CONFIG_DIR=/a b/it's\n") && printed.contains("http://p:1/$(x)\n"),
            "{printed}"
        );
    }

    #[test]
    fn written_values_are_read_back() {
        for environment in [&[][..], &[("A", "b c"), ("D", "")]] {
            let command = helper(environment, "/opt/my tools/finmcp");
            assert_eq!(HeaderCommand::parse(&command.text(System::Linux), System::Linux), Some(command));
        }
        let command = helper(&[], r"C:\Program Files\finmcp.exe");
        let command = HeaderCommand { arguments: vec!["token".to_owned(), "asset".to_owned()], ..command };
        let text = command.text(System::Windows);
        assert_eq!(text, r#""C:\Program Files\finmcp.exe" token asset"#);
        assert_eq!(HeaderCommand::parse(&text, System::Windows), Some(command));
        assert_eq!(HeaderCommand::parse("'", System::Linux), None);
        assert_eq!(HeaderCommand::parse("", System::Linux), None);
    }
}
