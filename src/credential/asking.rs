//! Asks the user to sign in: once at a time, and rarely if that did not help.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::time::Instant;

use crate::{
    credential::{
        error::{SignInFailure, TokenSourceError},
        pacing::Pacing,
        record::Identity,
    },
    oauth::{challenge::Challenge, scope::Scope},
};

/// Asks the user to sign in for the challenge, stores the credential and returns its identity.
pub type SignIn = Arc<dyn Fn(Challenge) -> BoxFuture<'static, Result<Identity, SignInFailure>> + Send + Sync>;

/// How long the user is not asked again after a sign-in was declined, timed out, or failed because the server is
/// untrusted.
pub const SILENCE: Duration = Duration::from_secs(60);

/// The shortest and the longest time between two sign-ins if the first did not help.
const SIGN_IN_GAPS: (Duration, Duration) = (SILENCE, Duration::from_secs(3600));

/// How many wider scopes one process asks the user for.
const MOST_WIDENED: usize = 10;

/// The sign-ins that the user was asked for, and their outcomes. Clones share their state.
#[derive(Clone, Default)]
pub(super) struct Asking(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The sign-in in progress, shared by all that wait for it.
    flight: Option<Flight>,
    /// When the last one failed, and why.
    failed: Option<(Instant, SignInFailure)>,
    /// The successful sign-ins.
    completed: Pacing,
    /// Whether the server has accepted a token since the last of them.
    accepted: bool,
    /// The scopes that the user has signed in for because the server required them.
    widened: Vec<Scope>,
    /// The last challenge without a user to ask.
    challenge: Option<Challenge>,
}

/// A sign-in in progress.
type Flight = Shared<BoxFuture<'static, Result<Identity, SignInFailure>>>;

impl Asking {
    /// Records that the server accepted a token.
    pub(super) fn accepted(&self) {
        self.state().accepted = true;
    }

    /// Whether another sign-in may help. It does not if the server rejects the token of a sign-in that just completed.
    /// It may if the server accepted that token before, for example because the authorization server has moved.
    pub(super) fn may_help(&self, error: &TokenSourceError) -> bool {
        let asking = self.state();
        let is_over = asking.accepted && matches!(error, TokenSourceError::LoginRequired(_));
        asking.completed.admits(Instant::now()) || is_over && asking.completed.is_calm(SIGN_IN_GAPS)
    }

    /// Whether not to ask the user for `wish`: they have signed in for it, or for too many scopes.
    pub(super) fn is_asked(&self, wish: &Scope) -> bool {
        let widened = &self.state().widened;
        widened.contains(wish) || widened.len() >= MOST_WIDENED
    }

    /// Records that the user has signed in for `wish`.
    pub(super) fn note(&self, wish: Scope) {
        let widened = &mut self.state().widened;
        if !widened.contains(&wish) {
            widened.push(wish);
        }
    }

    /// Records a challenge without a user to ask.
    pub(super) fn note_challenge(&self, challenge: Challenge) {
        self.state().challenge = Some(challenge);
    }

    /// The last challenge without a user to ask.
    pub(super) fn last_challenge(&self) -> Option<Challenge> {
        self.state().challenge.clone()
    }

    /// The sign-in in progress, or a new one. It runs in a separate task, since the browser stays open even if the
    /// caller no longer waits.
    pub(super) fn ask(&self, sign_in: &SignIn, challenge: Challenge) -> Result<Flight, SignInFailure> {
        let mut asking = self.state();
        if let Some(flight) = &asking.flight {
            return Ok(flight.clone());
        }
        match &asking.failed {
            Some((at, failure)) if at.elapsed() < SILENCE => return Err(failure.clone()),
            _ => {}
        }
        let (signing_in, memory) = (sign_in(challenge), self.clone());
        let task = tokio::spawn(async move {
            let outcome = signing_in.await;
            let mut asking = memory.state();
            let failure = outcome.as_ref().err().filter(|failure| !matches!(failure, SignInFailure::Unreachable(_)));
            asking.flight = None;
            asking.failed = failure.map(|failure| (Instant::now(), failure.clone()));
            if outcome.is_ok() {
                asking.completed.note(Instant::now(), SIGN_IN_GAPS);
                asking.accepted = false;
            }
            drop(asking);
            outcome
        });
        let interrupted = || SignInFailure::Failed("the sign-in was interrupted".to_owned());
        let flight = async move { task.await.unwrap_or_else(|_| Err(interrupted())) }.boxed().shared();
        Ok(asking.flight.insert(flight).clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
