//! When a refusal ends a sign-in, and when it does not.

use super::*;

/// t060, t067, b1: a server that is busy, broken or makes no sense ends nothing: the next attempt works.
#[tokio::test]
async fn t060_a_server_error_ends_no_sign_in() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.expire();
    for (status, body) in [
        (408, ""),
        (425, ""),
        (429, r#"{"error":"slow_down"}"#),
        (429, r#"{"error":"invalid_grant"}"#),
        (500, r#"{"error":"server_error"}"#),
        (500, r#"{"error":"invalid_grant"}"#),
        (400, r#"{"error":"temporarily_unavailable"}"#),
        (502, "<html>bad gateway</html>"),
        (503, ""),
        (200, "<html>sign in</html>"),
        (200, r#"{"access_token":"#),
        (200, "{}"),
        (200, r#"{"access_token":"a\r\nX: y","token_type":"Bearer"}"#),
        (200, r#"{"access_token":"a","token_type":"mac"}"#),
    ] {
        machine.answers(status, body);
        let outcome = token(&source).await;
        assert!(matches!(outcome, Err(TokenSourceError::Unavailable(_))), "{status} {body}: {outcome:?}");
        assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("refresh-0"), "{status} {body}");
        assert_eq!(machine.stored().await.end, None, "{status} {body}");
    }
    machine.rotates();
    token(&source).await.unwrap();
    assert_eq!(machine.vendor.replays(), 0);
}

/// t060, b1: a definite refusal ends the sign-in in whatever words it comes. It is asked for once, in all processes; the
/// tokens are kept until the next sign-in.
#[tokio::test]
async fn b1_a_definite_refusal_ends_a_sign_in_in_any_words() {
    for (status, body) in [
        (400, r#"{"error":"invalid_grant"}"#),
        (401, r#"{"error":"invalid_grant"}"#),
        (200, r#"{"error":"bad_refresh_token","error_description":"The refresh token is incorrect or expired."}"#),
        (403, r#"{"error":"unauthorized_client"}"#),
        (400, r#"{"error":"invalid_request"}"#),
        (400, r#"{"error":"invalid_client"}"#),
        (400, r#"{"error":"something_new"}"#),
        (400, r#"{"error":{"code":400,"message":"Token has been revoked","status":"INVALID_ARGUMENT"}}"#),
        (400, r#"["no"]"#),
        (400, "{}"),
        (401, "the refresh token is unknown"),
        (403, ""),
        (404, "not found"),
    ] {
        let machine = Machine::new().await;
        let source = machine.process();
        machine.expire();
        machine.answers(status, body);
        for source in [&source, &source, &machine.process()] {
            let outcome = token(source).await;
            assert!(matches!(outcome, Err(TokenSourceError::LoginRequired(LoginReason::Ended))), "{body}: {outcome:?}");
            assert!(!source.is_signed_in().await, "{body}");
        }
        assert_eq!(machine.requests(), 1, "once it is known there is no further request: {body}");
        assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("refresh-0"), "{body}");
        // What it takes to sign in again is still there.
        assert_eq!(machine.stored().await.registration.client_id, "client");
        assert!(source.force_refresh().await.is_err());
        assert_eq!(machine.requests(), 1, "{body}");
        source.sign_in(machine.credential.clone()).await.unwrap();
        assert!(source.is_signed_in().await, "{body}");
    }
}

/// a1: a token that the resource server refused and that nothing replaces is no sign-in, whatever its lifetime says: not
/// until the server takes it after all, or a person signs in.
#[tokio::test]
async fn a1_a_refused_token_is_no_sign_in() {
    let mut machine = Machine::new().await;
    let tokens = machine.credential.tokens.as_mut().unwrap();
    tokens.refresh_token = None;
    let credential = machine.credential.clone();
    let source = machine.process();
    source.sign_in(credential.clone()).await.unwrap();
    assert!(source.is_signed_in().await);
    let held = source.access_token(Duration::ZERO).await.unwrap().unwrap();
    let renewed = renewed(&source, &held).await;
    assert!(matches!(renewed, Err(TokenSourceError::LoginRequired(LoginReason::NotRenewable))), "{renewed:?}");
    assert!(!source.is_signed_in().await);
    // For another request it may do.
    assert_eq!(token(&source).await.unwrap(), "access-0");
    assert!(!source.is_signed_in().await);
    let taken = judged(&source, &held, 200, "", &Attempts::default()).await;
    assert!(matches!(taken, Judgement::Accepted) && source.is_signed_in().await, "{taken:?}");
    // The retry limits allow no retry after this one.
    let spent = Attempts::default();
    spent.may_have_run();
    let refused = judged(&source, &held, 401, "Bearer", &spent).await;
    assert!(matches!(refused, Judgement::Refused(RefusalReason::InvalidToken)), "{refused:?}");
    assert!(!source.is_signed_in().await);
    let fresh = TokenSet { access_token: Secret::new("access-9".to_owned()), ..credential.tokens.clone().unwrap() };
    machine.process().sign_in(Credential { tokens: Some(fresh), ..credential }).await.unwrap();
    assert!(source.is_signed_in().await);
}

/// a2: nothing is renewed to find out whether there is a sign-in; and a sign-in by another process shows without a look
/// at the store.
#[tokio::test]
async fn a2_looking_for_a_sign_in_renews_nothing() {
    let machine = Machine::new().await;
    let source = machine.process();
    token(&source).await.unwrap();
    machine.expire();
    for _ in 0..3 {
        assert!(source.is_signed_in().await, "it can be renewed");
    }
    assert_eq!(machine.requests(), 0);
    let before = source.trace().await;
    let loads = machine.store.loads.load(Ordering::SeqCst);
    assert_eq!(source.trace().await, before);
    assert_eq!(machine.store.loads.load(Ordering::SeqCst), loads);
    machine.process().sign_in(machine.credential.clone()).await.unwrap();
    assert_ne!(source.trace().await, before);
}

/// t067: no network at all.
#[tokio::test]
async fn t067_being_offline_ends_nothing() {
    let machine = Machine::new().await;
    let source = machine.process();
    let offline =
        Credential { token_endpoint: "http://127.0.0.1:1/token".parse().unwrap(), ..machine.credential.clone() };
    source.sign_in(offline).await.unwrap();
    machine.expire();
    assert!(matches!(token(&source).await, Err(TokenSourceError::Unavailable(_))));
    assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("refresh-0"));
}

#[tokio::test]
async fn without_a_refresh_token_the_user_has_to_sign_in() {
    let machine = Machine::new().await;
    let mut credential = machine.credential.clone();
    credential.tokens.as_mut().unwrap().refresh_token = None;
    let source = machine.process();
    source.sign_in(credential).await.unwrap();
    assert_eq!(token(&source).await.unwrap(), "access-0");
    // Until it ends.
    machine.clock.advance(3599.0);
    assert_eq!(token(&source).await.unwrap(), "access-0");
    machine.clock.advance(1.0);
    assert!(matches!(token(&source).await, Err(TokenSourceError::LoginRequired(LoginReason::NotRenewable))));
    assert_eq!(machine.requests(), 0);
}
