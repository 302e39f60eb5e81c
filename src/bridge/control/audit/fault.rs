//! What happened to a log whose lines are not linked.

use std::fmt;

use crate::bridge::control::audit::{
    entries::{Above, Entry},
    link::digest,
};

/// The first place where a log is not as finmcp wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub file: String,
    /// The line, from 1. For lines that were removed: the line that they were before.
    pub line: u64,
    pub kind: FaultKind,
    pub reason: String,
}

/// What happened at that place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The line was changed.
    Changed,
    /// Lines before this one were removed.
    Removed,
    /// The line was inserted.
    Inserted,
    /// The line was moved, or copied, from another place.
    Moved,
    /// The line may be intact, but nothing here can show that.
    Unsealed,
}

/// The line at fault.
pub struct Explained<'a> {
    pub entry: &'a Entry,
    pub kind: FaultKind,
    pub reason: String,
}

impl FaultKind {
    /// The name for scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Inserted => "inserted",
            Self::Moved => "moved",
            Self::Unsealed => "unsealed",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, kind, .. } = self;
        match kind {
            FaultKind::Changed => write!(formatter, "{file}: line {line} was changed"),
            FaultKind::Removed => write!(formatter, "{file}: lines were removed before line {line}"),
            FaultKind::Inserted => write!(formatter, "{file}: line {line} was inserted"),
            FaultKind::Moved => write!(formatter, "{file}: line {line} is out of place"),
            FaultKind::Unsealed => write!(formatter, "{file}: the seal of line {line} cannot be checked"),
        }
    }
}

impl std::error::Error for Fault {}

/// Checks the first line of the first file, which names the chain.
pub fn explain_first(entry: &Entry) -> Result<(), (FaultKind, String)> {
    let nothing = Above { lines: 0, digest: digest(b"") };
    let above = entry.above.as_ref().unwrap_or(&nothing);
    if entry.head.is_none() {
        return Err((FaultKind::Removed, "the line that the chain begins with is missing".to_owned()));
    }
    if entry.link.number > 0 && above.lines > 0 {
        return Err((FaultKind::Removed, "the lines above do not belong to the chain, which goes on here".to_owned()));
    }
    if entry.link.number == 0 && entry.link.previous != above.digest {
        let reason = match above.lines {
            0 => "the chain begins here, and its digest is not that of an empty file".to_owned(),
            lines => format!("its digest is not that of the {lines} lines above, which an older finmcp wrote"),
        };
        return Err((FaultKind::Changed, reason));
    }
    Ok(())
}

/// Says what happened where `entry` does not follow `before`. `confirmed` says that what comes after `entry` has its
/// digest. `later` are the lines after `next`, with `next` itself.
pub fn explain<'a, E>(
    before: &'a Entry,
    entry: &'a Entry,
    next: Option<&Entry>,
    confirmed: bool,
    later: &mut impl Iterator<Item = Result<Entry, E>>,
) -> Explained<'a> {
    let at = |entry, kind, reason: String| Explained { entry, kind, reason };
    let (number, expected) = (entry.link.number, before.link.number.saturating_add(1));
    let numbered = format!("its number in the chain is {number}, and {expected} comes after line {}", before.line);
    let follows_before =
        |next: &Entry| next.link.number == expected && next.link.previous == before.with_rest;
    if entry.above.as_ref().is_some_and(|above| above.lines > 0) && entry.follows(before) {
        return at(entry, FaultKind::Removed, "the lines above it do not belong to the chain".to_owned());
    }
    if number == expected {
        if before.rest > 0 && entry.link.previous == before.digest {
            let reason = format!("the chain knows nothing of the {} lines above it", before.rest);
            return at(entry, FaultKind::Inserted, reason);
        }
        if confirmed || next.is_none() {
            let reason = format!("line {} has another digest of it", entry.line);
            return at(before, FaultKind::Changed, reason);
        }
        return at(entry, FaultKind::Changed, format!("it has another digest of line {}", before.line));
    }
    if number > expected {
        let is_renumbered = next.is_some_and(|next| next.link.number == expected.saturating_add(1));
        if is_renumbered && entry.link.previous == before.with_rest {
            return at(entry, FaultKind::Changed, numbered);
        }
        if later.filter_map(Result::ok).any(|later| later.link.number == expected) {
            return at(entry, FaultKind::Moved, numbered);
        }
        let missing = number - expected;
        return at(entry, FaultKind::Removed, format!("{missing} lines of the chain are missing ({numbered})"));
    }
    if number == before.link.number && entry.link.previous == before.link.previous {
        return match entry.digest == before.digest {
            true => at(entry, FaultKind::Inserted, format!("it is a copy of line {}", before.line)),
            false if confirmed => at(before, FaultKind::Inserted, format!("line {} has its place", entry.line)),
            false => at(entry, FaultKind::Inserted, format!("line {} has its place", before.line)),
        };
    }
    if next.is_some_and(follows_before) {
        return at(entry, FaultKind::Inserted, numbered);
    }
    if entry.link.previous == before.with_rest {
        return at(entry, FaultKind::Changed, numbered);
    }
    if confirmed && before.above.is_some() {
        return at(before, FaultKind::Changed, format!("line {} has another number and digest of it", entry.line));
    }
    at(entry, FaultKind::Inserted, numbered)
}
