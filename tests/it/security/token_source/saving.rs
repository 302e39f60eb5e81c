//! Tokens are saved before they are used, and a store that fails loses none.

use super::*;

/// t066: the server refuses our refresh token, and meanwhile a person has signed in again without asking for the lock:
/// theirs stays, and is used.
#[tokio::test]
async fn t066_a_late_failure_does_not_clear_a_newer_token() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.expire();
    machine.answers(400, r#"{"error":"invalid_grant"}"#);
    let gate = machine.holds();
    let call = tokio::spawn({
        let source = source.clone();
        async move { token(&source).await }
    });
    gate.arrived().await;
    let mut winner = Credential { generation: 9, ..machine.credential.clone() };
    let tokens = winner.tokens.as_mut().unwrap();
    tokens.access_token = Secret::new("winner".to_owned());
    tokens.issued_at = machine.clock.now();
    tokens.expires_at = Some(machine.clock.now() + SignedDuration::from_secs(3600));
    machine.store.save(&machine.identity.entry(), winner.to_payload().unwrap()).await.unwrap();
    gate.open();
    assert_eq!(call.await.unwrap().unwrap(), "winner");
    assert_eq!(machine.stored().await.generation, 9);
}

/// t070: the caller goes away in the middle of it; what the server hands out is saved all the same, and a process that
/// ends can wait for that.
#[tokio::test]
async fn t070_cancellation_loses_no_token() {
    for is_ending in [false, true] {
        let machine = Machine::new().await;
        let source = machine.process();
        machine.expire();
        let gate = machine.holds();
        tokio::select! {
            _ = token(&source) => panic!("it has not been answered"),
            () = gate.arrived() => {}
        }
        let settled = tokio::spawn({
            let source = source.clone();
            async move {
                if is_ending {
                    source.settle().await;
                }
            }
        });
        tokio::task::yield_now().await;
        assert_eq!(settled.is_finished(), !is_ending);
        gate.open();
        settled.await.unwrap();
        if !is_ending {
            eventually(async || machine.stored_refresh_token().await.as_deref() != Some("refresh-0")).await;
        }
        assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("refresh-1"));
        assert_eq!(token(&source).await.unwrap(), "access-1");
        assert_eq!(machine.requests(), 1);
    }
}

/// t070: what waits for the lock when the process ends is given up: nothing has been sent, and nothing will be.
#[tokio::test]
async fn t070_no_renewal_starts_during_shutdown() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.expire();
    let held = Lock::acquire(&machine.folder.path().join("locks"), &machine.identity.entry(), Duration::ZERO).await;
    let call = tokio::spawn({
        let source = source.clone();
        async move { token(&source).await }
    });
    tokio::task::yield_now().await;
    source.settle().await;
    assert!(!call.is_finished());
    drop(held);
    assert!(matches!(call.await.unwrap(), Err(TokenSourceError::Interrupted)));
    assert_eq!(machine.requests(), 0);
}

/// Saved before it is used: when the caller has the token, another process finds it in the store.
#[tokio::test]
async fn t070_a_token_is_stored_before_it_is_used() {
    let machine = Machine::new().await;
    machine.expire();
    assert_eq!(token(&machine.process()).await.unwrap(), "access-1");
    assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("refresh-1"));
    assert_eq!(machine.stored().await.generation, 2);
}

/// t070: a store that takes nothing is found out before the refresh token is spent.
#[tokio::test]
async fn t070_no_refresh_token_is_used_if_the_store_cannot_be_written() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.store.saves_left(Some(0));
    machine.expire();
    assert!(
        matches!(token(&source).await, Err(TokenSourceError::Store(error)) if matches!(*error, StoreError::Locked))
    );
    assert_eq!(machine.requests(), 0);
    machine.store.saves_left(None);
    assert_eq!(token(&source).await.unwrap(), "access-1");
}

impl Machine {
    /// `source` renews its token, which the store does not take; the store works again after that.
    async fn renew_unsaved(&self, source: &TokenSource) {
        self.expire();
        self.store.saves_left(Some(1));
        token(source).await.unwrap();
        self.store.saves_left(None);
    }
}

/// t071: the store fails between the request and the save: calls go on from memory, the save is tried again, and
/// nothing is spent twice.
#[tokio::test]
async fn t071_a_failed_save_is_repeated() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.expire();
    machine.store.saves_left(Some(1));
    assert_eq!(token(&source).await.unwrap(), "access-1");
    assert_eq!(token(&source).await.unwrap(), "access-1");
    assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("refresh-0"));
    // The next renewal starts from what is in memory, and is not made while that cannot be saved.
    machine.expire();
    assert!(matches!(token(&source).await, Err(TokenSourceError::Store(_))));
    assert_eq!(machine.requests(), 1);
    machine.store.saves_left(None);
    eventually(async || machine.stored_refresh_token().await.as_deref() == Some("refresh-1")).await;
    assert_eq!(token(&source).await.unwrap(), "access-2");
    assert_eq!((machine.requests(), machine.vendor.replays()), (2, 0));
}

/// t071: the process ends before the next attempt.
#[tokio::test]
async fn t071_settling_saves_unsaved_tokens() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.renew_unsaved(&source).await;
    source.settle().await;
    assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("refresh-1"));
}

/// t071, t080: what could not be saved does not undo what others did meanwhile.
#[tokio::test]
async fn t080_an_unsaved_token_yields_to_others() {
    for signs_out in [true, false] {
        let machine = Machine::new().await;
        let (source, other) = (machine.process(), machine.process());
        machine.renew_unsaved(&source).await;
        if signs_out {
            other.sign_out().await.unwrap();
        } else {
            other.sign_in(machine.credential.clone()).await.unwrap();
        }
        source.settle().await;
        let stored = machine.process().credential().await.unwrap();
        let refresh_token = stored.and_then(|stored| stored.tokens?.refresh_token);
        assert_eq!(refresh_token.map(|token| token.expose().clone()), (!signs_out).then(|| "refresh-0".to_owned()));
    }
}

/// t080: generations start again with a sign-in after a sign-out. What could not be saved before is not its successor.
#[tokio::test]
async fn t080_an_unsaved_token_does_not_survive_a_sign_out() {
    let machine = Machine::new().await;
    let (source, other) = (machine.process(), machine.process());
    machine.renew_unsaved(&source).await;
    other.sign_out().await.unwrap();
    let mut again = machine.credential.clone();
    again.tokens.as_mut().unwrap().refresh_token = Some(Secret::new("another sign-in".to_owned()));
    other.sign_in(again).await.unwrap();
    source.settle().await;
    assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("another sign-in"));
}

/// t080: signing out waits for a renewal and wins over it; signing in again is seen by those who run.
#[tokio::test]
async fn t080_a_sign_out_wins_over_a_renewal() {
    let machine = Machine::new().await;
    let (source, other) = (machine.process(), machine.process());
    machine.expire();
    let gate = machine.holds();
    let call = tokio::spawn({
        let source = source.clone();
        async move { token(&source).await }
    });
    gate.arrived().await;
    let signed_out = tokio::spawn({
        let other = other.clone();
        async move { other.sign_out().await }
    });
    gate.open();
    assert_eq!(call.await.unwrap().unwrap(), "access-1");
    // The newest tokens are returned for revocation.
    let gone = signed_out.await.unwrap().unwrap().unwrap();
    assert_eq!(gone.tokens.unwrap().refresh_token.unwrap().expose(), "refresh-1");
    assert!(other.sign_out().await.unwrap().is_none());
    machine.expire();
    assert!(matches!(token(&source).await, Err(TokenSourceError::LoginRequired(LoginReason::SignedOut))));
    let mut again = machine.credential.clone();
    again.tokens.as_mut().unwrap().expires_at = None;
    other.sign_in(again).await.unwrap();
    assert_eq!(token(&source).await.unwrap(), "access-0");
}

/// t081, t086: a damaged record can be signed in over and signed out of; a newer finmcp's is left alone.
#[tokio::test]
async fn t086_a_damaged_record_is_replaced_and_a_newer_one_is_not() {
    let machine = Machine::new().await;
    let (source, entry) = (machine.process(), machine.identity.entry());
    let write = |text: &str| machine.store.save(&entry, Zeroizing::new(text.as_bytes().to_vec()));
    write("garbage").await.unwrap();
    assert!(
        matches!(token(&source).await, Err(TokenSourceError::Store(error)) if matches!(*error, StoreError::Corrupt(_)))
    );
    source.sign_in(machine.credential.clone()).await.unwrap();
    assert_eq!(token(&source).await.unwrap(), "access-0");
    write("garbage").await.unwrap();
    assert!(source.sign_out().await.unwrap().is_none());
    assert!(machine.store.load(&entry).await.unwrap().is_none());
    write(r#"{"version":2}"#).await.unwrap();
    assert!(source.sign_in(machine.credential.clone()).await.is_err());
    assert!(source.sign_out().await.is_err());
    assert_eq!(*machine.store.load(&entry).await.unwrap().unwrap(), br#"{"version":2}"#);
}
