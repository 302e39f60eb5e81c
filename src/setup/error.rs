//! Why a client's file cannot be read, or not changed.

use crate::setup::lines::{line_at, line_start};

/// Why a file cannot be read or changed. Names the place but never quotes the text, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The syntax is wrong.
    #[error("line {line}, column {column}: not valid {format}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// The character in that line, from 1.
        column: usize,
        /// The format's name.
        format: &'static str,
    },
    /// A value where finmcp expects a table of servers or of settings.
    #[error("line {line}: {what} is not {wanted}")]
    NotTable {
        line: usize,
        /// The member, or the file as a whole.
        what: String,
        /// What it should be, in the format's vocabulary.
        wanted: &'static str,
    },
    /// A duplicate of a member that finmcp changes.
    #[error("line {line}: duplicate {name:?}")]
    Duplicate {
        /// The line of the second, from 1.
        line: usize,
        name: String,
    },
    /// Valid, but finmcp cannot safely change it.
    #[error("line {line}: finmcp cannot safely change {what}")]
    Unsupported {
        /// The line, from 1.
        line: usize,
        what: &'static str,
    },
}

/// The error for a syntax error at the byte `offset` of `text`.
pub(super) fn malformed(text: &str, offset: usize, format: &'static str) -> DocumentError {
    let offset = text.floor_char_boundary(offset);
    let column = text[line_start(text, offset)..offset].chars().count() + 1;
    DocumentError::Malformed { line: line_at(text, offset), column, format }
}
