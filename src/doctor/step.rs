//! One thing that was looked at, and what was found.

use crate::error::Error;

/// One thing that was looked at.
#[derive(Debug)]
pub struct Step {
    /// Its name: one word, or two.
    pub name: &'static str,
    /// What was found.
    pub finding: Finding,
}

/// What was found.
#[derive(Debug)]
pub enum Finding {
    /// It is as it should be.
    Ok(String),
    /// It works, or may; something about it will not do for long, or not for everybody.
    Warning(Trouble),
    /// It does not work.
    Failed(Trouble),
    /// It cannot be judged before this step is mended.
    Skipped(&'static str),
}

/// What is wrong.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// What happened.
    pub what: String,
    /// Why, from the nearest cause to the farthest.
    pub why: Vec<String>,
    /// What to do next: any of these.
    pub cure: Vec<String>,
}

impl Trouble {
    /// Trouble, of which nothing more is known yet.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), why: Vec::new(), cure: Vec::new() }
    }

    /// The same, with a further cause.
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why.push(why.into());
        self
    }

    /// The same, with a further thing to do.
    pub fn cured_by(mut self, cure: impl Into<String>) -> Self {
        self.cure.push(cure.into());
        self
    }
}

/// What any command would say of it.
impl<E: Into<Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        let error = error.into();
        Self { what: error.message(), why: error.causes(), cure: error.hints().to_vec() }
    }
}

impl Finding {
    /// Its one word.
    pub fn verdict(&self) -> &'static str {
        match self {
            Self::Ok(_) => "ok",
            Self::Warning(_) => "warning",
            Self::Failed(_) => "failed",
            Self::Skipped(_) => "skipped",
        }
    }

    /// What is wrong, where anything is.
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
            Self::Skipped(step) => format!("cannot be judged before {step} is mended"),
        }
    }
}
