//! One step of the diagnosis, and its finding.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::error::Error;

/// What a step checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepName {
    Settings,
    Server,
    Proxy,
    Dns,
    Connection,
    Endpoint,
    Resource,
    Issuer,
    Metadata,
    Store,
    SignIn,
    Lock,
    Registration,
    Browser,
    Token,
    Scope,
    Handshake,
    Tools,
    Clock,
    /// An AI client's entry.
    Client,
}

impl StepName {
    fn text(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Server => "server",
            Self::Proxy => "proxy",
            Self::Dns => "dns",
            Self::Connection => "connection",
            Self::Endpoint => "endpoint",
            Self::Resource => "resource",
            Self::Issuer => "issuer",
            Self::Metadata => "metadata",
            Self::Store => "store",
            Self::SignIn => "sign-in",
            Self::Lock => "lock",
            Self::Registration => "registration",
            Self::Browser => "browser",
            Self::Token => "token",
            Self::Scope => "scope",
            Self::Handshake => "handshake",
            Self::Tools => "tools",
            Self::Clock => "clock",
            Self::Client => "client",
        }
    }
}

impl Display for StepName {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.pad(self.text())
    }
}

/// The result of a step, without the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    Warning,
    Failed,
    Skipped,
}

impl Verdict {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// One step of the diagnosis.
#[derive(Debug)]
pub struct Step {
    pub name: StepName,
    pub finding: Finding,
}

/// The result of a step.
#[derive(Debug)]
pub enum Finding {
    Ok(String),
    /// The step works now, but may fail later or for some requests.
    Warning(Trouble),
    Failed(Trouble),
    /// Skipped, because it depends on this failed step.
    Skipped(StepName),
}

/// What is wrong.
#[derive(Debug, Clone)]
pub struct Trouble {
    pub what: String,
    /// Why, from the nearest cause to the root cause.
    pub why: Vec<String>,
    /// What to do next: any of these.
    pub hints: Vec<String>,
}

impl Trouble {
    /// A problem without a known cause or hint.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), why: Vec::new(), hints: Vec::new() }
    }

    /// The same, with a further cause.
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why.push(why.into());
        self
    }

    /// The same, with a further thing to do.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same, with this as the only thing to do: what helps with this error elsewhere does not help here.
    pub fn with_only_hint(self, hint: impl Into<String>) -> Self {
        Self { hints: vec![hint.into()], ..self }
    }
}

/// The same texts that any command prints for the error.
impl<E: Into<Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        let error = error.into();
        Self { what: error.message(), why: error.causes(), hints: error.hints().to_vec() }
    }
}

impl Finding {
    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Ok(_) => Verdict::Ok,
            Self::Warning(_) => Verdict::Warning,
            Self::Failed(_) => Verdict::Failed,
            Self::Skipped(_) => Verdict::Skipped,
        }
    }

    /// The problem, if there is one.
    pub fn trouble(&self) -> Option<&Trouble> {
        match self {
            Self::Warning(trouble) | Self::Failed(trouble) => Some(trouble),
            Self::Ok(_) | Self::Skipped(_) => None,
        }
    }

    /// What happened, in one sentence.
    pub fn what(&self) -> String {
        match self {
            Self::Ok(what) => what.clone(),
            Self::Warning(trouble) | Self::Failed(trouble) => trouble.what.clone(),
            Self::Skipped(step) => format!("depends on {step}"),
        }
    }
}
