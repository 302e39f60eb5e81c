//! The turn to ask the user to sign in: one process at a time, and none for a while after the user declined.

use std::{path::Path, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    credential::token_source::{SILENCE, SignInFailure},
    disk::lock::{Lock, LockError},
};

/// A process's turn. It ends when this is dropped or the process dies, without an outcome.
#[derive(Debug)]
pub struct Turn(Lock);

/// The outcome that one turn leaves for the next.
#[derive(Serialize, Deserialize)]
struct Note {
    /// When it ended, in milliseconds of the Unix epoch.
    at: i64,
    outcome: Outcome,
    reason: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Untrusted,
    LoginRequired,
    Failed,
}

impl Turn {
    /// Waits up to `deadline` until no other process asks the user to sign in to this profile.
    ///
    /// # Errors
    /// Any [`LockError`].
    pub async fn wait(locks: &Path, profile: &str, deadline: Duration) -> Result<Self, LockError> {
        Lock::acquire(locks, &format!("sign-in-{profile}"), deadline).await.map(Self)
    }

    /// The failure of the last turn while it is too early to ask the user again: the processes that waited for that
    /// turn fail the same way.
    pub async fn refusal(&self, now: Timestamp) -> Option<SignInFailure> {
        let Note { at, outcome, reason } = serde_json::from_slice(&self.0.note().await.ok()?).ok()?;
        let age = now.duration_since(Timestamp::from_millisecond(at).ok()?);
        // If the clock was set back, the age is unknown.
        let is_recent = !age.is_negative() && age < SignedDuration::try_from(SILENCE).unwrap_or_default();
        let failure = match outcome {
            Outcome::Untrusted => SignInFailure::Untrusted(reason),
            Outcome::LoginRequired => SignInFailure::LoginRequired(reason),
            Outcome::Failed => SignInFailure::Failed(reason),
        };
        Some(failure).filter(|_| is_recent)
    }

    /// Ends the turn and leaves its failure for the processes that wait. They ask again after a network failure, or if
    /// the failure cannot be written.
    pub async fn end(self, failure: Option<&SignInFailure>, now: Timestamp) {
        let (outcome, reason) = match failure {
            Some(SignInFailure::Untrusted(reason)) => (Outcome::Untrusted, reason.clone()),
            Some(SignInFailure::LoginRequired(reason)) => (Outcome::LoginRequired, reason.clone()),
            Some(SignInFailure::Failed(reason)) => (Outcome::Failed, reason.clone()),
            Some(SignInFailure::Unreachable(_)) | None => {
                let _ = self.0.leave(b"").await;
                return;
            }
        };
        let note = Note { at: now.as_millisecond(), outcome, reason };
        let _ = self.0.leave(&serde_json::to_vec(&note).unwrap_or_default()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_763_600_000 + second).unwrap()
    }

    /// t036: a failure applies to the turns after it for a while; a success, a network failure and an aborted turn
    /// leave none.
    #[tokio::test]
    async fn t036_a_failure_applies_to_the_next_turns() {
        let folder = tempfile::tempdir().unwrap();
        let locks = folder.path().join("locks");
        let turn = || Turn::wait(&locks, "p", SOON);
        assert_eq!(turn().await.unwrap().refusal(at(0)).await, None);
        for failure in [
            SignInFailure::Failed("a \"no\"\n".to_owned()),
            SignInFailure::LoginRequired("no browser".to_owned()),
            SignInFailure::Untrusted("x".repeat(5000)),
        ] {
            turn().await.unwrap().end(Some(&failure), at(0)).await;
            for (second, remembered) in [(0, true), (59, true), (60, false), (-1, false)] {
                let found = turn().await.unwrap().refusal(at(second)).await;
                assert_eq!(found, remembered.then(|| failure.clone()), "{second}");
            }
            assert_eq!(Turn::wait(&locks, "q", SOON).await.unwrap().refusal(at(0)).await, None, "another profile");
        }
        for outcome in [None, Some(SignInFailure::Unreachable("down".to_owned()))] {
            turn().await.unwrap().end(Some(&SignInFailure::Failed("no".to_owned())), at(0)).await;
            turn().await.unwrap().end(outcome.as_ref(), at(1)).await;
            assert_eq!(turn().await.unwrap().refusal(at(1)).await, None, "{outcome:?}");
        }
        // Anything else in the file is ignored.
        for garbage in [&b"{"[..], b"\xff", b"{}", b"[1]"] {
            turn().await.unwrap().0.leave(garbage).await.unwrap();
            assert_eq!(turn().await.unwrap().refusal(at(0)).await, None);
        }
    }
}
