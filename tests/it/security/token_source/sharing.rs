//! Processes and callers share what one of them was given.

use super::*;

/// t065, t068: 64 at once with every expiry; one of them asks, the others use what it got.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t065_one_request_an_expiry_among_64() {
    let machine = Machine::new().await;
    let key = machine.folder.path().join("key");
    std::fs::write(&key, [7; 32]).unwrap();
    let open = || FileStore::new(machine.folder.path().join("credentials"), KeySource::KeyFile(key.clone()));
    let sources: Vec<_> = (0..64).map(|_| machine.process_with(Arc::new(open()))).collect();
    sources[0].sign_in(machine.credential.clone()).await.unwrap();
    let barrier = Arc::new(Barrier::new(sources.len()));
    for round in 1..=20 {
        machine.expire();
        let calls = sources.iter().cloned().map(|source| {
            let barrier = barrier.clone();
            tokio::spawn(async move {
                barrier.wait().await;
                token(&source).await.unwrap()
            })
        });
        for call in join_all(calls).await {
            assert_eq!(call.unwrap(), format!("access-{round}"));
        }
        assert_eq!(machine.requests(), round);
    }
    assert_eq!(machine.vendor.replays(), 0);
}

/// t065: the same within one process: they share one request, and its failure.
#[tokio::test]
async fn t065_callers_in_one_process_share_a_flight() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.expire();
    machine.answers(503, "");
    for outcome in join_all((0..64).map(|_| token(&source))).await {
        assert!(matches!(outcome, Err(TokenSourceError::Unavailable(_))));
    }
    assert_eq!(machine.requests(), 1);
    machine.rotates();
    for outcome in join_all((0..64).map(|_| token(&source))).await {
        assert_eq!(outcome.unwrap(), "access-2");
    }
    assert_eq!(machine.requests(), 2);
}

/// t069: a process that slept through twenty rotations uses none of the old tokens.
#[tokio::test]
async fn t069_an_idle_process_reuses_nothing() {
    let machine = Machine::new().await;
    let (idle, busy) = (machine.process(), machine.process());
    assert_eq!(token(&idle).await.unwrap(), "access-0");
    for _ in 0..20 {
        machine.expire();
        token(&busy).await.unwrap();
    }
    assert_eq!(token(&idle).await.unwrap(), "access-20");
    machine.expire();
    assert_eq!(token(&idle).await.unwrap(), "access-21");
    assert_eq!((machine.requests(), machine.vendor.replays()), (21, 0));
}

/// One read of the store in the life of a token, and none for a server without a sign-in.
#[tokio::test]
async fn the_steady_state_touches_no_store() {
    let machine = Machine::new().await;
    let source = machine.process();
    for _ in 0..1000 {
        assert_eq!(token(&source).await.unwrap(), "access-0");
    }
    assert_eq!(machine.store.loads.load(Ordering::SeqCst), 1);
    let anonymous = TokenSource::new(
        None,
        machine.store.clone(),
        machine.folder.path().join("none"),
        Arc::new(Http::default()),
        machine.clock.clone(),
    );
    assert_eq!(anonymous.access_token(Duration::ZERO).await.unwrap(), None);
    assert!(anonymous.credential().await.unwrap().is_none());
    assert!(anonymous.sign_out().await.unwrap().is_none());
    anonymous.settle().await;
    assert_eq!(machine.store.loads.load(Ordering::SeqCst), 1);
    assert!(!machine.folder.path().join("none").exists());
    // Until there is one, made here or elsewhere.
    anonymous.use_identity(machine.identity.clone());
    assert_eq!(token(&anonymous).await.unwrap(), "access-0");
}

/// t064: a wider sign-in of another process is used at once; a mere renewal there does not pass for one.
#[tokio::test]
async fn t064_a_wider_sign_in_elsewhere_is_used() {
    let machine = Machine::new().await;
    let source = machine.process();
    let narrow = source.access_token(Duration::ZERO).await.unwrap().unwrap();
    let widened = async || {
        let challenge = r#"Bearer error="insufficient_scope", scope="admin""#;
        judged(&source, &narrow, 403, challenge, &Attempts::default()).await
    };
    let is_narrow = |judgement| {
        let Judgement::Refused(RefusalReason::InsufficientScope { missing, wanted }) = judgement else { return false };
        missing.as_deref() == Some("admin") && wanted == ["admin", "read", "write"]
    };
    assert!(is_narrow(widened().await));

    let renewed = machine.process().force_refresh().await.unwrap();
    assert_ne!(renewed, narrow);
    assert!(is_narrow(widened().await));

    let mut wide = machine.credential.clone();
    let tokens = wide.tokens.as_mut().unwrap();
    tokens.access_token = Secret::new("wide".to_owned());
    tokens.scope = Some("admin read write".parse().unwrap());
    machine.process().sign_in(wide).await.unwrap();
    let requests = machine.requests();
    assert!(matches!(widened().await, Judgement::Retry(wider) if text(&wider) == "wide"));
    assert_eq!(token(&source).await.unwrap(), "wide");
    assert_eq!(machine.requests(), requests);
}

/// t056: a 401 for a token that looks valid: another process's newer one is used; else one request is made, however
/// many calls were rejected.
#[tokio::test]
async fn t056_a_rejected_token_is_replaced_once() {
    let machine = Machine::new().await;
    let (source, other) = (machine.process(), machine.process());
    let rejected = source.access_token(Duration::ZERO).await.unwrap().unwrap();
    let rejected_there = other.access_token(Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(rejected, rejected_there);
    for renewed in join_all((0..64).map(|_| renewed(&source, &rejected))).await {
        assert_eq!(text(&renewed.unwrap()), "access-1");
    }
    assert_eq!(text(&renewed(&other, &rejected_there).await.unwrap()), "access-1");
    // Late news of the old token.
    assert_eq!(text(&renewed(&source, &rejected).await.unwrap()), "access-1");
    assert_eq!(machine.requests(), 1);
}

/// A server that rejects every token does not make us fetch one for each call.
#[tokio::test]
async fn t056_rejections_start_no_storm() {
    let machine = Machine::new().await;
    let source = machine.process();
    let first = source.access_token(Duration::ZERO).await.unwrap().unwrap();
    let second = renewed(&source, &first).await.unwrap();
    for _ in 0..100 {
        assert!(matches!(renewed(&source, &second).await, Err(TokenSourceError::Rejected)));
    }
    assert_eq!(machine.requests(), 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(text(&renewed(&source, &second).await.unwrap()), "access-2");
}

/// t062: the client's own credentials: the same lock, the same sharing, asked for again and again without a person.
#[tokio::test]
async fn t062_client_credentials_are_minted_once_for_all() {
    let machine = Machine::new().await;
    machine.vendor.know("client", "secret");
    let mut credential = Credential { renewal: Renewal::ClientCredentials, tokens: None, ..machine.credential.clone() };
    credential.registration.client_secret = Some(Secret::new("secret".to_owned()));
    credential.registration.authentication = ClientAuthentication::Body;
    machine.process().sign_in(credential).await.unwrap();
    let sources: Vec<_> = (0..64).map(|_| machine.process()).collect();
    for round in 1..=5 {
        for outcome in join_all(sources.iter().map(token)).await {
            assert_eq!(outcome.unwrap(), format!("access-{round}"));
        }
        assert_eq!(machine.requests(), round);
        machine.expire();
    }
    assert!(machine.vendor.records_at("/token").iter().all(|record| record.form()["scope"] == "read write"));
    // Not even `invalid_grant` ends what needs no person.
    machine.answers(400, r#"{"error":"invalid_grant"}"#);
    assert!(matches!(token(&sources[0]).await, Err(TokenSourceError::Refused(_))));
    machine.rotates();
    token(&sources[0]).await.unwrap();
    // A store that fails costs another request later, and no call.
    machine.expire();
    machine.store.saves_left(Some(0));
    token(&sources[0]).await.unwrap();
}

#[tokio::test]
async fn a_forced_refresh_asks_even_for_a_valid_token() {
    let machine = Machine::new().await;
    let source = machine.process();
    assert_eq!(text(&source.force_refresh().await.unwrap()), "access-1");
    assert_eq!(text(&source.force_refresh().await.unwrap()), "access-2");
    assert_eq!(token(&source).await.unwrap(), "access-2");
    assert_eq!(machine.vendor.replays(), 0);
}
