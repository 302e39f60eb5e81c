//! When somebody wants the process to end.

use crate::error::{Error, ErrorKind};

/// What `work` brings.
///
/// # Errors
/// Somebody wants the process to end first.
pub async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Result<T, Error> {
    tokio::select! {
        biased;
        () = interrupted() => Err(Error::new(ErrorKind::Interrupted, "interrupted")),
        outcome = work => Ok(outcome),
    }
}

/// Returns when somebody wants the process to end.
pub async fn interrupted() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    // Where signals cannot be had, nothing can be said.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
