//! A certified OpenID provider by other authors, and an MCP server that accepts its tokens. `tests/run.sh`
//! installs both.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    security::provider::{Events, Provider},
    support::{
        browser::{FakeBrowser, Person, login, sign_in_at},
        eventually,
        sandbox::{Run, Sandbox},
        visitor::post_form,
    },
};

fn start(options: &[&str]) -> Provider {
    Provider::start("provider.cjs", options)
}

/// Signs in with a browser in front of which sits `person`.
fn sign_in(provider: &Provider, sandbox: &mut Sandbox, person: Person) -> Run {
    login(sandbox, person, &provider.mcp, &["--timeout", "10"]).0
}

/// Panics unless one person signed in once for `scope`, and no refresh token was used twice.
#[track_caller]
fn expect_one_sign_in(events: &Events, scope: &str) {
    let asked: Vec<_> = events.of("authorization").map(|event| &event["scope"]).collect();
    assert_eq!(asked, [scope]);
    assert_eq!((events.of("registration").count(), events.grants("authorization_code")), (1, 1));
    // This provider registers no client for a resource's scopes: finmcp then registers without any.
    let refusal = ("registration", "invalid_client_metadata");
    assert_eq!(events.errors(), if scope == OFFLINE_ACCESS { vec![] } else { vec![refusal] });
    assert_eq!(events.of("revoked").count(), 0, "a refresh token was used twice");
}

const OFFLINE_ACCESS: &str = "offline_access";
const ALL_SCOPES: &str = "mcp:tools offline_access";

/// t057, t058: one sign-in, then bridges and scripts at once on one rotating refresh token. Using one twice would end
/// the sign-in.
#[test]
fn many_processes_live_on_one_sign_in_through_many_lifetimes() {
    const LIFE: Duration = Duration::from_secs(12);
    const BEAT: Duration = Duration::from_millis(500);
    let (mut sandbox, provider) = (Sandbox::new(), start(&[]));
    sign_in(&provider, &mut sandbox, Person::Consents).expect_success();
    let begun = Instant::now();
    thread::scope(|scope| {
        for number in 0..8 {
            let (sandbox, mcp) = (&sandbox, &provider.mcp);
            scope.spawn(move || {
                let mut serve = (number % 2 == 0).then(|| sandbox.serve([mcp]));
                if let Some(serve) = &mut serve {
                    serve.initialize().result();
                }
                // All at the same moments, so that all find the token too old at once.
                for beat in (1..).map(|beat| beat * BEAT).take_while(|beat| *beat < LIFE) {
                    thread::sleep(beat.saturating_sub(begun.elapsed()));
                    match &mut serve {
                        Some(serve) => serve.echo("hello"),
                        None => drop(sandbox.finmcp(["token", mcp]).expect_success()),
                    }
                }
            });
        }
    });
    let lived = begun.elapsed();
    let events = provider.end();
    expect_one_sign_in(&events, ALL_SCOPES);
    let refreshes = events.grants("refresh_token");
    // The provider counts in whole seconds, so that a token of 5 s lives for 4 s at the least; it is replaced an eighth
    // before its end.
    let most = lived.as_secs_f64() / 3.5 + 1.0;
    assert!(refreshes >= 2 && refreshes as f64 <= most, "{refreshes} refreshes in {lived:?}");
    let calls = events.of("mcp").filter(|event| event["method"] == "tools/call").count();
    assert!(calls >= 40, "{calls}");
    // On a busy machine a token may end on its way; the call is then sent again, and its caller sees nothing of it.
    let refused = events.of("mcp").filter(|event| event["status"] == 401 && event["bare"] == false).count();
    assert!(refused * 10 < calls, "{refused} of {calls}");
    sandbox.assert_no_secret(&events.secrets());
}

/// Signs in, calls, renews, calls again and signs out.
fn live_with(options: &[&str], scope: &str, authentication: &str) {
    let (mut sandbox, provider) = (Sandbox::new(), start(options));
    sign_in(&provider, &mut sandbox, Person::Consents).expect_success();
    let mut serve = sandbox.serve([&provider.mcp]);
    serve.initialize().result();
    serve.echo("before");
    sandbox.finmcp(["token", &provider.mcp, "--force-refresh"]).expect_success();
    serve.echo("after");
    drop(serve);
    let events = provider.so_far();
    expect_one_sign_in(&events, scope);
    assert_eq!(events.of("registration").next().unwrap()["method"], authentication);

    sandbox.finmcp(["logout", &provider.mcp]).expect_success();
    sandbox.finmcp(["token", &provider.mcp]).expect_code(4);
    let events = provider.end();
    assert_eq!(events.of("revoked").count(), 1, "the refresh token is revoked");
    sandbox.assert_no_secret(&events.secrets());
}

#[test]
fn a_provider_without_an_rfc_8414_document() {
    live_with(&["--openid-only"], ALL_SCOPES, "none");
}

#[test]
fn an_issuer_with_a_path() {
    live_with(&["--path=/tenant/one"], ALL_SCOPES, "none");
}

#[test]
fn access_tokens_that_only_introspection_can_read() {
    live_with(&["--opaque"], ALL_SCOPES, "none");
}

#[test]
fn a_provider_that_insists_on_a_client_secret() {
    live_with(&["--confidential"], ALL_SCOPES, "client_secret_basic");
}

/// Offline access is asked for because the provider offers it, whatever the MCP server says of scopes.
#[test]
fn a_server_that_names_no_scopes() {
    live_with(&["--no-scopes"], OFFLINE_ACCESS, "none");
}

/// t057: a caller that asks for a token shortly before its end waits only briefly, but the renewal that began then has
/// spent the refresh token. Its successor must not end with the process.
#[test]
fn t057_a_slow_renewal_does_not_end_the_sign_in() {
    let (mut sandbox, provider) = (Sandbox::new(), start(&["--delay=1"]));
    sign_in(&provider, &mut sandbox, Person::Consents).expect_success();
    eventually("a renewal", || {
        sandbox.finmcp(["token", &provider.mcp]).expect_success();
        (provider.so_far().grants("refresh_token") > 0).then_some(())
    });
    sandbox.finmcp(["token", &provider.mcp, "--force-refresh"]).expect_success();
    let events = provider.end();
    expect_one_sign_in(&events, ALL_SCOPES);
    assert_eq!(events.grants("refresh_token"), 2);
}

/// t058: the provider does punish the second use of a refresh token. finmcp says what to do then, and that works.
#[test]
fn t058_a_refresh_token_stolen_and_used_ends_the_sign_in() {
    let (mut sandbox, provider) = (Sandbox::new(), start(&[]));
    sign_in(&provider, &mut sandbox, Person::Consents).expect_success();
    sandbox.finmcp(["token", &provider.mcp, "--force-refresh"]).expect_success();
    let events = provider.so_far();
    let client = events.of("registration").next().unwrap()["id"].as_str().unwrap();
    let spent = events.of("token").next().unwrap()["secrets"][1].as_str().unwrap();
    let form = [("grant_type", "refresh_token"), ("refresh_token", spent), ("client_id", client)];
    assert_eq!(post_form(&format!("{}/token", provider.issuer), &form).json()["error"], "invalid_grant");

    let run = sandbox.finmcp(["token", &provider.mcp, "--force-refresh"]).expect_code(4);
    let run = run.expect_stderr(&["the server ended the sign-in"]);
    let (_, hint) = run.stderr.split_once("run `finmcp ").expect("a command to run");
    let command: Vec<_> = hint.split_once('`').unwrap().0.split(' ').collect();
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(command).expect_success();
    drop(browser);
    sandbox.finmcp(["token", &provider.mcp, "--force-refresh"]).expect_success();
    let events = provider.end();
    assert_eq!(events.of("revoked").count(), 1);
    assert_eq!(events.of("registration").count(), 1, "the registration is good for the second sign-in too");
}

/// A sign-in without a refresh token is used to its end, and then a person has to sign in.
#[test]
fn a_provider_without_refresh_tokens() {
    let (mut sandbox, provider) = (Sandbox::new(), start(&["--no-refresh"]));
    sign_in(&provider, &mut sandbox, Person::Consents)
        .expect_success()
        .expect_stderr(&["the server issued no refresh token"]);
    let token = sandbox.finmcp(["token", &provider.mcp]).expect_success().stdout;
    let run = eventually("the end of the token", || {
        let run = sandbox.finmcp(["token", &provider.mcp]);
        (run.stdout != token).then_some(run)
    });
    run.expect_code(4).expect_stderr(&["the server issued no refresh token"]);
    let events = provider.end();
    assert_eq!(events.of("authorization").next().unwrap()["scope"], "mcp:tools");
    assert_eq!(events.grants("refresh_token"), 0);
}

#[test]
fn declining_ends_the_sign_in() {
    let (mut sandbox, provider) = (Sandbox::new(), start(&[]));
    let run = sign_in(&provider, &mut sandbox, Person::Denies).expect_code(1);
    run.expect_stderr(&["the sign-in was declined: access_denied"]);
    sandbox.finmcp(["token", &provider.mcp]).expect_code(4);
    assert_eq!(provider.end().grants("authorization_code"), 0);
}

#[test]
fn a_provider_that_does_not_know_the_server_says_so() {
    let (mut sandbox, provider) = (Sandbox::new(), start(&["--unknown-resource"]));
    sign_in(&provider, &mut sandbox, Person::Consents).expect_code(1).expect_stderr(&["invalid_target"]);
}

/// A person far from any browser: the code is entered at the provider's own pages.
#[test]
fn a_person_signs_in_on_another_device() {
    let (sandbox, provider) = (Sandbox::new(), start(&["--devices"]));
    let mut login = sandbox.start(["login", &provider.mcp, "--grant", "device-code"]);
    let page = format!("{}/device", provider.issuer);
    let code = eventually("the code", || {
        let said = login.stderr();
        let (_, code) = said.contains(&page).then(|| said.split_once("enter the code "))??;
        Some(code.split_once(':')?.0.to_owned())
    });
    sign_in_at(&format!("{page}?user_code={code}"));
    assert_eq!(login.exit_within(Duration::from_secs(20)), Some(0), "{}", login.stderr());
    sandbox.finmcp(["token", &provider.mcp, "--force-refresh"]).expect_success();
    let mut serve = sandbox.serve([&provider.mcp]);
    serve.initialize().result();
    serve.echo("hello");
    drop(serve);
    let events = provider.end();
    assert_eq!(events.grants("urn:ietf:params:oauth:grant-type:device_code"), 1);
    assert_eq!(events.of("revoked").count(), 0);
    sandbox.assert_no_secret(&events.secrets());
}

/// Programs with a secret, in either place, and with a key, of either kind.
#[test]
fn programs_sign_in_without_a_person() {
    let keys: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "keys"].iter().collect();
    let key = |name: &str| keys.join(name).to_str().unwrap().to_owned();
    for (client, key) in [
        ("client_secret_basic", key("ec-pkcs8.pem")),
        ("client_secret_post", key("ec-pkcs8.pem")),
        ("key", key("ec-pkcs8.pem")),
        ("key", key("rsa-pkcs8.pem")),
    ] {
        let (sandbox, provider) = (Sandbox::new(), start(&[&format!("--key={key}")]));
        let secret = sandbox.give("secret", "correct horse+battery/staple");
        let proof = match client {
            "key" => ["--private-key-file", &key],
            _ => ["--client-secret-file", secret.to_str().unwrap()],
        };
        let program = ["--grant", "client-credentials", "--client-id", client];
        sandbox.finmcp([&["login", &provider.mcp], &program[..], &proof].concat()).expect_success();
        sandbox.finmcp(["token", &provider.mcp, "--force-refresh"]).expect_success();
        let mut serve = sandbox.serve([&provider.mcp]);
        serve.initialize().result();
        serve.echo("hello");
        drop(serve);
        let events = provider.end();
        assert_eq!((events.errors(), events.grants("client_credentials")), (vec![], 2), "{client}");
        sandbox.assert_no_secret(&[events.secrets(), vec!["correct horse+battery/staple".to_owned()]].concat());
    }
}

/// FAPI 2.0 Security Profile section 5.4: an RSA key signs with PS256 if the provider lists it; a client that the provider
/// registered for RS256 only goes on working, and finmcp remembers that.
#[test]
fn fapi_an_rsa_key_signs_as_the_client_is_registered() {
    let keys: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "keys"].iter().collect();
    for (file, registered, signed) in [
        ("rsa-pkcs8.pem", None, "PS256"),
        ("rsa-pkcs8.pem", Some("PS256"), "PS256"),
        ("rsa-pkcs1.pem", Some("RS256"), "RS256"),
        ("ec-pkcs8.pem", Some("ES256"), "ES256"),
    ] {
        let key = keys.join(file).to_str().unwrap().to_owned();
        let algorithm = registered.map(|algorithm| format!("--key-algorithm={algorithm}"));
        let options = [Some(format!("--key={key}")), algorithm].into_iter().flatten().collect::<Vec<_>>();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let (sandbox, provider) = (Sandbox::new(), start(&options));
        let program = ["--grant", "client-credentials", "--client-id", "key", "--private-key-file", &key];
        sandbox.finmcp([&["login", &provider.mcp], &program[..]].concat()).expect_success();
        sandbox.finmcp(["token", &provider.mcp, "--force-refresh"]).expect_success();
        let events = provider.end();
        let found: Vec<_> = events.of("token").map(|event| event["algorithm"].as_str().unwrap()).collect();
        assert_eq!(found, [signed, signed], "{file} {registered:?}");
        let refused = usize::from(registered == Some("RS256"));
        assert_eq!(events.errors(), vec![("token", "invalid_client"); refused], "{file} {registered:?}");
    }
}

/// The document that this project publishes is one that the provider takes, and nothing is registered then.
#[test]
fn a_provider_reads_the_document_that_we_publish() {
    const DOCUMENT: &str = "https://clients.example/finmcp.json";
    let (mut sandbox, provider) = (Sandbox::new(), start(&["--documents"]));
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", &provider.mcp, "--client-metadata-url", DOCUMENT, "--timeout", "10"]).expect_success();
    drop(browser);
    sandbox.finmcp(["token", &provider.mcp, "--force-refresh"]).expect_success();
    let events = provider.end();
    assert_eq!(events.of("document").next().unwrap()["url"], DOCUMENT);
    assert_eq!((events.of("registration").count(), events.errors()), (0, vec![]));
    assert_eq!((events.grants("authorization_code"), events.grants("refresh_token")), (1, 1));
}

/// A tool that needs another scope: the person grants it besides the others, once, and the call is made then.
#[test]
fn a_tool_that_needs_another_scope() {
    let (mut sandbox, provider) = (Sandbox::new(), start(&[]));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", &provider.mcp, "--timeout", "10"]).expect_success();
    let mut serve = sandbox.serve(["--sign-in", "auto", &provider.mcp]);
    serve.initialize().result();
    for message in ["once", "twice"] {
        assert_eq!(serve.call("pay", json!({"message": message})).result()["content"][0]["text"], message);
    }
    drop(serve);
    let events = provider.end();
    let asked: Vec<_> = events.of("authorization").map(|event| event["scope"].as_str().unwrap()).collect();
    assert_eq!(asked, [ALL_SCOPES, "mcp:pay mcp:tools offline_access"]);
    let refused = events.of("mcp").filter(|event| event["status"] == 403).count();
    assert_eq!(refused, 1);
}
