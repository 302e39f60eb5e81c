//! The person who is asked to sign in: once at a time, and not again and again where that did not help.

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

/// Brings a person to sign in as the challenge asks, stores what that brought, and says whom it belongs to.
pub type SignIn = Arc<dyn Fn(Challenge) -> BoxFuture<'static, Result<Identity, SignInFailure>> + Send + Sync>;

/// How long a person who said no, or did not come, is not asked again; nor one whom nobody could trust the server with.
pub const SILENCE: Duration = Duration::from_secs(60);

/// The shortest and the longest time between two sign-ins, where the first one was no help.
const SIGN_IN_GAPS: (Duration, Duration) = (SILENCE, Duration::from_secs(3600));

/// How many wider scopes one process asks the person for.
const WISHES: usize = 10;

/// What the person is asked, and what came of it. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Asking(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The sign-in that is under way, for everybody to wait for.
    flight: Option<Flight>,
    /// When the last one came to nothing, and why.
    failed: Option<(Instant, SignInFailure)>,
    /// The sign-ins that people completed.
    answered: Pacing,
    /// The server has taken a token since the last of them.
    helped: bool,
    /// The scopes that the person has signed in for because the server wanted them.
    widened: Vec<Scope>,
    /// What a server demanded for which nobody could be asked.
    challenge: Option<Challenge>,
}

/// A sign-in that is under way.
type Flight = Shared<BoxFuture<'static, Result<Identity, SignInFailure>>>;

impl Asking {
    /// Takes note that the server took a token.
    pub(super) fn helped(&self) {
        self.state().helped = true;
    }

    /// Whether another sign-in may help. A server that rejects what a person has only just signed in for is not helped by
    /// it; a sign-in that did help and is over, as where the authorization server has moved, is another matter.
    pub(super) fn may_help(&self, error: &TokenSourceError) -> bool {
        let asking = self.state();
        let is_over = asking.helped && matches!(error, TokenSourceError::LoginRequired(_));
        asking.answered.admits(Instant::now()) || is_over && asking.answered.is_calm(SIGN_IN_GAPS)
    }

    /// Whether the person need not be asked for `wish`: they have signed in for it, or for too many.
    pub(super) fn knows(&self, wish: &Scope) -> bool {
        let widened = &self.state().widened;
        widened.contains(wish) || widened.len() >= WISHES
    }

    /// Takes note that the person has signed in for `wish`.
    pub(super) fn note(&self, wish: Scope) {
        let widened = &mut self.state().widened;
        if !widened.contains(&wish) {
            widened.push(wish);
        }
    }

    /// Takes note that a server demanded `challenge`, and nobody can be asked.
    pub(super) fn nobody(&self, challenge: Challenge) {
        self.state().challenge = Some(challenge);
    }

    /// What the server demanded last for which nobody could be asked.
    pub(super) fn last_challenge(&self) -> Option<Challenge> {
        self.state().challenge.clone()
    }

    /// The sign-in that is under way, or a new one: in a task of its own, since the browser is open even if whoever
    /// asked no longer waits.
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
                asking.answered.note(Instant::now(), SIGN_IN_GAPS);
                asking.helped = false;
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
