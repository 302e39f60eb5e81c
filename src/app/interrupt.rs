//! Signals that end the process.

use crate::error::{Error, ErrorKind};

/// The outcome of `work`.
///
/// # Errors
/// A signal arrives first.
pub async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Result<T, Error> {
    tokio::select! {
        biased;
        () = interrupted() => Err(Error::new(ErrorKind::Interrupted, "interrupted")),
        outcome = work => Ok(outcome),
    }
}

/// Returns when Ctrl-C or SIGTERM arrives.
pub async fn interrupted() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    // If signals are unavailable, wait forever instead of ending the process.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
