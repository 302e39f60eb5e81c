//! What to do about a client's file that could not be set up.

use crate::{
    error::{Error, ErrorKind},
    setup::{
        change::{Holder, Taken},
        error::DocumentError,
        file::FileError,
    },
};

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        let hint = match &error {
            FileError::Changed { .. } => "nothing was changed: run it again, best with that program closed",
            FileError::Dangling { .. } => "nothing was changed: put a file where the link leads, or take the link away",
            FileError::Document { error: DocumentError::Malformed { .. }, .. } => {
                "nothing was changed: fix that line; or run it with --print, and put the entry in by hand"
            }
            FileError::Document { error: DocumentError::Duplicate { .. }, .. } => {
                "nothing was changed: remove one of the two, and run it again"
            }
            FileError::Document { .. } | FileError::Io { .. } => {
                "nothing was changed: run it with --print, and put the entry in by hand"
            }
        };
        Self::from_source(ErrorKind::Failure, error).hint(hint)
    }
}

impl From<Taken> for Error {
    fn from(error: Taken) -> Self {
        let hint = match error.holder {
            Holder::Other | Holder::Finmcp => {
                "nothing was changed: --force puts finmcp in its place, --name gives finmcp's another name, \
                 and --dry-run with either shows what would change"
            }
            Holder::Replaced => "nothing was changed: --name gives finmcp's another name",
        };
        Self::from_source(ErrorKind::Failure, error).hint(hint)
    }
}
