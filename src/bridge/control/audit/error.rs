//! Why the audit log cannot be written.

use crate::disk::private_folder::PlaceError;

/// Why the log cannot be written: the operation, the file and the error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuditError(pub(super) String);

impl From<PlaceError> for AuditError {
    fn from(error: PlaceError) -> Self {
        Self(match error {
            PlaceError::Unsafe(place) => format!("{place}; {}", place.fix),
            PlaceError::Failed { what, source } => format!("{what}: {source}"),
        })
    }
}
