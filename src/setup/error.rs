//! Why a client's file cannot be read, or not changed.

use crate::setup::lines::{line_at, line_start};

/// Why a file cannot be read, or not changed. Says where, and never what is there: that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not in its format.
    #[error("line {line}, column {column}: not valid {format}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// The character in that line, from 1.
        column: usize,
        /// The format's name.
        format: &'static str,
    },
    /// Something else where servers, or settings as a whole, should be.
    #[error("line {line}: {what} is not {wanted}")]
    NotTable {
        /// The line, from 1.
        line: usize,
        /// The member, or the file as a whole.
        what: String,
        /// What it should be, in the format's words.
        wanted: &'static str,
    },
    /// Two values of one name, in the place of one that finmcp changes.
    #[error("line {line}: {name:?} is there twice")]
    Duplicate {
        /// The line of the second, from 1.
        line: usize,
        /// The name.
        name: String,
    },
    /// Valid, but of a shape that finmcp does not change.
    #[error("line {line}: finmcp cannot change {what} safely")]
    Unsupported {
        /// The line, from 1.
        line: usize,
        /// What it is.
        what: &'static str,
    },
}

/// That `text` is not in its format, from the byte at `offset` on.
pub(super) fn malformed(text: &str, offset: usize, format: &'static str) -> DocumentError {
    let offset = text.floor_char_boundary(offset);
    let column = text[line_start(text, offset)..offset].chars().count() + 1;
    DocumentError::Malformed { line: line_at(text, offset), column, format }
}
