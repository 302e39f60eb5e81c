//! When tokens end, and when they are renewed.

use super::*;

/// t078: a renewal that hangs in the safety margin does not hold up the calls, and is not started over and over.
#[tokio::test]
async fn t078_a_slow_renewal_delays_no_call() {
    let machine = Machine::new().await;
    let source = machine.process();
    assert_eq!(token(&source).await.unwrap(), "access-0");
    // A second is left.
    machine.clock.advance(3599.0);
    let gate = machine.holds();
    for _ in 0..3 {
        let start = Instant::now();
        assert_eq!(token(&source).await.unwrap(), "access-0");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    assert_eq!(machine.requests(), 1);
    gate.open();
    eventually(async || token(&source).await.unwrap() == "access-1").await;
    assert_eq!(machine.requests(), 1);
}

/// A renewal that fails in the safety margin is tried again after a while, not with each call.
#[tokio::test]
async fn a_failing_renewal_leaves_the_old_token_in_use() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.clock.advance(3570.0);
    machine.answers(503, "");
    for _ in 0..100 {
        assert_eq!(token(&source).await.unwrap(), "access-0");
    }
    assert_eq!(machine.requests(), 1);
    machine.clock.advance(30.0);
    assert!(matches!(token(&source).await, Err(TokenSourceError::Unavailable(_))));
}

/// t057, t058: a response without refresh token, scope or ID token leaves the old ones; a smaller scope is recorded.
#[tokio::test]
async fn t057_values_missing_from_a_response_are_kept() {
    let machine = Machine::new().await;
    let source = machine.process();
    for (body, scope) in [
        (r#"{"access_token":"a","token_type":"Bearer","expires_in":3600}"#, "read write"),
        (r#"{"access_token":"b","token_type":"Bearer","expires_in":3600,"scope":""}"#, "read write"),
        (r#"{"access_token":"c","token_type":"Bearer","expires_in":3600,"scope":"read"}"#, "read"),
        (r#"{"access_token":"d","token_type":"Bearer","expires_in":3600}"#, "read"),
    ] {
        machine.expire();
        machine.answers(200, body);
        let token = source.access_token(Duration::ZERO).await.unwrap().unwrap();
        assert_eq!(token.scope().unwrap().to_string(), scope, "{body}");
        assert_eq!(machine.stored_refresh_token().await.as_deref(), Some("refresh-0"), "{body}");
        let stored = machine.stored().await.tokens.unwrap();
        assert_eq!(
            (&stored.scope.unwrap().to_string()[..], stored.person.as_deref()),
            (scope, Some("p@example")),
            "{body}"
        );
    }
    let forms: Vec<_> = machine.vendor.records_at("/token").iter().map(Recorded::form).collect();
    assert!(forms.iter().all(|form| form["resource"] == RESOURCE && !form.contains_key("scope")));
}

/// t054: a server that hands out expired tokens: each is used, and they are not fetched in a storm.
#[tokio::test]
async fn t054_expired_tokens_start_no_storm() {
    let machine = Machine::new().await;
    let source = machine.process();
    machine.expire();
    for lifetime in [0, -1, -99_999_999] {
        machine.vendor.change(|script| script.expires_in = ExpiresIn::Exactly(lifetime));
        source.force_refresh().await.unwrap();
        let asked = machine.requests();
        for _ in 0..600 {
            token(&source).await.unwrap();
            machine.clock.advance(0.1);
        }
        let asked = machine.requests() - asked;
        assert!((1..=6).contains(&asked), "{lifetime}: {asked} in a minute");
    }
}

/// Five-second tokens for an hour: each is used for most of its life, none after it, and one sign-in is enough.
#[tokio::test]
async fn five_second_tokens_last_for_an_hour() {
    let machine = Machine::new().await;
    machine.vendor.change(|script| script.expires_in = ExpiresIn::Exactly(5));
    let source = machine.process();
    machine.expire();
    for _ in 0..36_000 {
        let token = source.access_token(Duration::ZERO).await.unwrap().unwrap();
        assert!(token.expires_at().unwrap() > machine.clock.now());
        machine.clock.advance(0.1);
    }
    // Between 4.4 s and 4.5 s each, as its process is in haste.
    assert!((720..=820).contains(&machine.requests()), "{}", machine.requests());
    assert_eq!(machine.vendor.replays(), 0);
}

/// t052: the token's end is unknown: it is used until a 401, and then renewed once.
#[tokio::test]
async fn t052_a_token_without_end_is_used_until_a_401() {
    let machine = Machine::new().await;
    machine.answers(200, r#"{"access_token":"endless","token_type":"Bearer","refresh_token":"refresh-0"}"#);
    let source = machine.process();
    machine.expire();
    assert_eq!(token(&source).await.unwrap(), "endless");
    for _ in 0..100 {
        machine.clock.advance(86_400.0);
        assert_eq!(token(&source).await.unwrap(), "endless");
    }
    assert_eq!(machine.requests(), 1);
    machine.rotates();
    let rejected = source.access_token(Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(text(&renewed(&source, &rejected).await.unwrap()), "access-2");
    assert_eq!(token(&source).await.unwrap(), "access-2");
}

/// t055: a clock that jumps a day ahead or back, and a machine that sleeps for two: the next call makes one request at
/// most, no new sign-in is needed, and a 401 has the last word.
#[tokio::test]
async fn t055_a_clock_jump_costs_one_request_and_no_sign_in() {
    const DAY: f64 = 86_400.0;
    let machine = Machine::new().await;
    let (source, other) = (machine.process(), machine.process());
    for (jump, requests) in [(DAY, 1), (-2.0 * DAY, 1), (2.0 * DAY, 1), (2.0 * DAY, 2), (-DAY, 2)] {
        machine.clock.advance(jump);
        let found = token(&source).await.unwrap();
        for _ in 0..20 {
            assert_eq!(token(&source).await.unwrap(), found);
            assert_eq!(token(&other).await.unwrap(), found);
        }
        assert_eq!(machine.requests(), requests, "after {jump} s");
    }
    // Long before its end by our clock, and the server disagrees.
    let rejected = source.access_token(Duration::ZERO).await.unwrap().unwrap();
    renewed(&source, &rejected).await.unwrap();
    assert_eq!((machine.requests(), machine.vendor.replays()), (3, 0));
}

/// A wish for more time than is left is granted, but never more than the server gives.
#[tokio::test]
async fn min_ttl_renews_a_token_that_would_expire_sooner() {
    let machine = Machine::new().await;
    let source = machine.process();
    let long = Duration::from_secs(1800);
    assert_eq!(text(&source.access_token(long).await.unwrap().unwrap()), "access-0");
    machine.clock.advance(1801.0);
    assert_eq!(token(&source).await.unwrap(), "access-0");
    assert_eq!(text(&source.access_token(long).await.unwrap().unwrap()), "access-1");
    for _ in 0..10 {
        assert_eq!(text(&source.access_token(Duration::from_secs(86_400)).await.unwrap().unwrap()), "access-1");
    }
}
