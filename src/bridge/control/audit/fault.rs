//! Explains what happened to a log whose lines are not linked.

use std::fmt;

use crate::bridge::control::audit::{
    entries::{Above, Entry},
    link::digest,
};

/// The first fault in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub file: String,
    /// The line, from 1. For removed lines: the line that follows them.
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
    /// The line may be intact, but its seal cannot be checked.
    Unsealed,
}

/// A fault, with the file's number, from 0, instead of its name.
#[derive(Debug)]
pub struct Explained {
    pub file: usize,
    pub line: u64,
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
pub fn explain_first(entry: &Entry) -> Result<(), Explained> {
    let at = |line, kind, reason: String| Err(Explained { file: entry.file, line, kind, reason });
    let nothing = Above { lines: 0, digest: digest(b"") };
    let above = entry.above.as_ref().unwrap_or(&nothing);
    match (&entry.head, entry.link.number, above.lines) {
        (None, _, 0) => at(entry.line, FaultKind::Removed, "the first line of the chain is missing".to_owned()),
        (None, ..) => at(entry.line - 1, FaultKind::Changed, "it is not the first line of the chain".to_owned()),
        (Some(_), 1.., 1..) => {
            let reason = "the chain does not cover the lines above".to_owned();
            at(entry.line - 1, FaultKind::Inserted, reason)
        }
        (Some(_), 0, lines) if entry.link.previous != above.digest => {
            let reason = match lines {
                0 => "the chain starts here, but its `prev` is not the digest of an empty file".to_owned(),
                lines => format!("its `prev` is not the digest of the {} above the chain", count(lines)),
            };
            at(entry.line, FaultKind::Changed, reason)
        }
        _ => Ok(()),
    }
}

/// Explains why `entry` does not follow `before`. `confirmed`: the line after `entry`, or the note of the last line,
/// has the digest of `entry`. `later` are the lines after `entry`.
pub fn explain<E>(
    before: &Entry,
    entry: &Entry,
    next: Option<&Entry>,
    confirmed: bool,
    later: &mut impl Iterator<Item = Result<Entry, E>>,
) -> Explained {
    let (number, expected) = (entry.link.number, before.link.number.saturating_add(1));
    let numbered =
        format!("its number in the chain is {number} instead of {expected}, the next after line {}", before.line);
    let at = |entry: &Entry, kind, reason: String| Explained { file: entry.file, line: entry.line, kind, reason };
    // Lines without a link, above the first line of a file or below `before`: one may have lost its link.
    let above = entry.above.as_ref().is_some_and(|above| above.lines > 0).then_some((entry.file, 1));
    if let Some((file, line)) = above.or((before.rest > 0).then_some((before.file, before.line + 1))) {
        if number > expected {
            let reason = format!("it is not linked, and {} missing from the chain", lines_are(number - expected));
            return Explained { file, line, kind: FaultKind::Changed, reason };
        }
        if number == expected && (above.is_some() || entry.link.previous == before.digest) {
            let reason = format!("line {} does not link to it", entry.line);
            return Explained { file, line, kind: FaultKind::Inserted, reason };
        }
    }
    if number == expected {
        return match confirmed || next.is_none() {
            true => at(
                before,
                FaultKind::Changed,
                format!("its digest does not match the one recorded in line {}", entry.line),
            ),
            false => at(entry, FaultKind::Changed, format!("it records a different digest for line {}", before.line)),
        };
    }
    if number > expected {
        let is_renumbered = next.is_some_and(|next| next.link.number == expected.saturating_add(1));
        if is_renumbered && entry.link.previous == before.with_rest {
            return at(entry, FaultKind::Changed, numbered);
        }
        if later.filter_map(Result::ok).any(|later| later.link.number == expected) {
            return at(entry, FaultKind::Moved, numbered);
        }
        let reason = format!("{} missing from the chain ({numbered})", lines_are(number - expected));
        return at(entry, FaultKind::Removed, reason);
    }
    if number == before.link.number && entry.link.previous == before.link.previous {
        return match entry.digest == before.digest {
            true => at(entry, FaultKind::Inserted, format!("it is a copy of line {}", before.line)),
            false if confirmed => {
                at(before, FaultKind::Inserted, format!("line {} has the same number in the chain", entry.line))
            }
            false => at(entry, FaultKind::Inserted, format!("line {} has the same number in the chain", before.line)),
        };
    }
    if next.is_some_and(|next| next.link.number == expected && next.link.previous == before.with_rest) {
        return at(entry, FaultKind::Inserted, numbered);
    }
    if entry.link.previous == before.with_rest {
        return at(entry, FaultKind::Changed, numbered);
    }
    if confirmed && before.above.is_some() {
        return at(
            before,
            FaultKind::Changed,
            format!("line {} records a different number and digest for it", entry.line),
        );
    }
    at(entry, FaultKind::Inserted, numbered)
}

/// A number of lines.
pub fn count(lines: u64) -> String {
    if lines == 1 { "1 line".to_owned() } else { format!("{lines} lines") }
}

/// `1 line is` or `3 lines are`.
fn lines_are(lines: u64) -> String {
    format!("{} {}", count(lines), if lines == 1 { "is" } else { "are" })
}
