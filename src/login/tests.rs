//! What a compiler can check of a sign-in. How sign-ins go is in tests/it/security/sign_in.

use std::time::Duration;

use super::{
    client_credentials::client_credentials,
    context::{Context, Progress, Redirection},
    options::Options,
    person::authorization_code,
    request::LoginRequest,
};
use crate::{credential::clock::SystemClock, http::Http};

/// `serve` runs a sign-in as a task, which may move between threads.
#[test]
fn a_sign_in_can_change_threads() {
    fn movable<T: Send>(_: T) {}
    let http = Http::default();
    let context = Context { http: &http, clock: &SystemClock, browser: None, registrations: None };
    let request = LoginRequest {
        server: "https://mcp.example".parse().unwrap(),
        title: String::new(),
        environment: String::new(),
        account: String::new(),
        options: Options::default(),
        client_secret: None,
        certificate: None,
        known: None,
        force_registration: false,
        challenge: None,
    };
    let mut progress = |_: Progress<'_>| {};
    movable(authorization_code(
        request.clone(),
        Redirection { port: None, paste: None, timeout: Duration::from_secs(20) },
        &context,
        &mut progress,
    ));
    movable(client_credentials(request, &context));
}
