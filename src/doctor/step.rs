//! One step of the diagnosis, and its finding.

use crate::error::Error;

/// One step of the diagnosis.
#[derive(Debug)]
pub struct Step {
    pub name: &'static str,
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
    Skipped(&'static str),
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
}

/// The same texts that any command prints for the error.
impl<E: Into<Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        let error = error.into();
        Self { what: error.message(), why: error.causes(), hints: error.hints().to_vec() }
    }
}

impl Finding {
    /// The verdict in one word.
    pub fn verdict(&self) -> &'static str {
        match self {
            Self::Ok(_) => "ok",
            Self::Warning(_) => "warning",
            Self::Failed(_) => "failed",
            Self::Skipped(_) => "skipped",
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
