//! What a command ends with when it does not succeed: a kind, words, and what to do next. `advice` is where all of that is
//! known of the errors of the domain.

mod advice;
#[cfg(test)]
mod tests;

use std::{io, process::ExitCode};

/// What kind of failure it is: what the caller of the command can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The work was tried and failed, or was denied.
    Failure,
    /// What was asked for makes no sense, or is incomplete.
    Usage,
    /// The network, or a server that is not itself.
    Network,
    /// A person has to sign in.
    LoginRequired,
    /// A server or a file must not be trusted.
    Untrusted,
    /// Secrets cannot be kept.
    Store,
    /// The person stopped it.
    Interrupted,
}

impl ErrorKind {
    /// The exit code (the table is in `finmcp help`).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Network => 3,
            Self::LoginRequired => 4,
            Self::Untrusted => 5,
            Self::Store => 6,
            Self::Interrupted => 130,
        }
    }
}

impl From<ErrorKind> for ExitCode {
    fn from(kind: ErrorKind) -> Self {
        Self::from(kind.exit_code())
    }
}

/// What a command ends with when it does not succeed.
#[derive(Debug)]
pub struct Error {
    /// Its kind.
    pub kind: ErrorKind,
    source: anyhow::Error,
    hints: Vec<String>,
}

impl Error {
    /// An error that a command itself found.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, source: anyhow::Error::msg(message.into()), hints: Vec::new() }
    }

    /// `source` as an error of this kind.
    pub fn from_source(kind: ErrorKind, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { kind, source: source.into(), hints: Vec::new() }
    }

    /// This error, and what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// This error as what kept `doing` from being done.
    pub fn while_doing(mut self, doing: impl Into<String>) -> Self {
        self.source = self.source.context(doing.into());
        self
    }

    /// The same with another kind.
    pub fn because_of(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// Whether nobody reads what it wanted to say any more, as behind `| head`.
    pub fn is_of_a_closed_pipe(&self) -> bool {
        let cause = self.source.downcast_ref::<io::Error>();
        cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What happened.
    pub fn message(&self) -> String {
        self.source.to_string()
    }

    /// Why, from the nearest cause to the farthest.
    pub fn causes(&self) -> Vec<String> {
        let chain: Vec<_> = self.source.chain().skip(1).collect();
        // Below the HTTP client's own error its layers name themselves; only the last says why.
        let client = chain.iter().position(|cause| cause.is::<reqwest::Error>());
        let causes = chain.iter().enumerate();
        let causes =
            causes.filter(|(index, _)| client.is_none_or(|client| *index < client) || index + 1 == chain.len());
        let mut before = self.message();
        let mut said = Vec::new();
        for cause in causes.map(|(_, cause)| cause.to_string()) {
            // Some say their cause themselves.
            if !before.ends_with(&cause) {
                said.push(cause.clone());
            }
            before = cause;
        }
        said
    }

    /// What to do next.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    fn judged(
        source: impl std::error::Error + Send + Sync + 'static,
        (kind, hint): (ErrorKind, Option<String>),
    ) -> Self {
        Self { kind, source: source.into(), hints: hint.into_iter().collect() }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::from_source(ErrorKind::Failure, error)
    }
}
