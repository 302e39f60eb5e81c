//! Why a client's file cannot be read, or not changed.

/// Why a file cannot be read, or not changed. Says where, and never what is there: that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not in its format.
    #[error("line {line} is not valid {format}")]
    Malformed {
        /// The line, from 1.
        line: usize,
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
    /// Valid, but of a shape that finmcp does not change.
    #[error("line {line}: finmcp cannot change {what} safely")]
    Unsupported {
        /// The line, from 1.
        line: usize,
        /// What it is.
        what: &'static str,
    },
}
