//! Hints for a client's file that could not be changed.

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
            FileError::Changed { .. } => "nothing was changed: close that program and run the command again",
            FileError::Dangling { .. } => "nothing was changed: create the link's target or delete the link",
            FileError::Document { error: DocumentError::Malformed { .. }, .. } => {
                "nothing was changed: fix that line, or run the command with --print and add the entry by hand"
            }
            FileError::Document { error: DocumentError::Duplicate { .. }, .. } => {
                "nothing was changed: remove one of the two and run the command again"
            }
            FileError::Document { .. } | FileError::Io { .. } => {
                "nothing was changed: run the command with --print and add the entry by hand"
            }
        };
        Self::from_source(ErrorKind::Failure, error).hint(hint)
    }
}

impl From<Taken> for Error {
    fn from(error: Taken) -> Self {
        let hint = match error.holder {
            Holder::Other | Holder::Finmcp | Holder::Options => {
                "nothing was changed: use --force to replace it or --name NAME to add a second entry; \
                 add --dry-run to preview"
            }
            Holder::Replaced => "nothing was changed: use --name NAME to choose another name",
        };
        Self::from_source(ErrorKind::Failure, error).hint(hint)
    }
}
