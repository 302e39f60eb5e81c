//! Why a command failed: the message, the causes, the hints and the exit code.

mod advice;
#[cfg(test)]
mod tests;

use std::{io, process::ExitCode};

use crate::advice::Advice;
pub use crate::advice::ErrorKind;

impl From<ErrorKind> for ExitCode {
    fn from(kind: ErrorKind) -> Self {
        Self::from(kind.exit_code())
    }
}

/// Why a command failed.
#[derive(Debug)]
pub struct Error {
    /// Determines the exit code.
    pub kind: ErrorKind,
    source: anyhow::Error,
    hints: Vec<String>,
}

impl Error {
    /// An error of a command itself.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, source: anyhow::Error::msg(message.into()), hints: Vec::new() }
    }

    /// `source` as an error of this kind.
    pub fn from_source(kind: ErrorKind, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { kind, source: source.into(), hints: Vec::new() }
    }

    fn advised(source: impl std::error::Error + Send + Sync + 'static, advice: Advice) -> Self {
        let hints = advice.hints.iter().map(ToString::to_string).collect();
        Self { kind: advice.kind, source: source.into(), hints }
    }

    /// The same with a further hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same as the cause of a failure to do more: `message` says what failed.
    pub fn while_doing(mut self, message: impl Into<String>) -> Self {
        self.source = self.source.context(message.into());
        self
    }

    /// The same with another kind.
    pub fn with_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// Whether the reader of the output closed the pipe, as in `| head`.
    pub fn is_of_a_closed_pipe(&self) -> bool {
        let cause = self.source.downcast_ref::<io::Error>();
        cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What failed.
    pub fn message(&self) -> String {
        self.source.to_string()
    }

    /// Why, from the nearest cause to the root cause.
    pub fn causes(&self) -> Vec<String> {
        let chain: Vec<_> = self.source.chain().skip(1).collect();
        // The HTTP client's error and the layers below it only name themselves; the last cause says why.
        let client = chain.iter().position(|cause| cause.is::<reqwest::Error>());
        let causes = chain.iter().enumerate();
        let causes =
            causes.filter(|(index, _)| client.is_none_or(|client| *index < client) || index + 1 == chain.len());
        let mut before = self.message();
        let mut shown = Vec::new();
        for cause in causes.map(|(_, cause)| cause.to_string()) {
            // Some errors include the text of their cause.
            if !before.ends_with(&cause) {
                shown.push(cause.clone());
            }
            before = cause;
        }
        shown
    }

    /// What to do next.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::from_source(ErrorKind::Failure, error)
    }
}
