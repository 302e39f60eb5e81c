//! As which client a person signs in: one that registered earlier, one that is known by hand, or a document.

use std::net::TcpListener;

use url::Url;

use super::*;

fn clients_asked_for(vendor: &Vendor) -> Vec<String> {
    vendor.records_at("/token").iter().map(|record| record.form()["client_id"].clone()).collect()
}

/// A client that is registered by hand needs no registration, and proves itself in the place that the server reads.
#[test]
fn a_registered_client_authenticates_as_the_server_requires() {
    for (methods, in_form) in [(json!(["none", "client_secret_post"]), true), (json!(null), false)] {
        let script = Script {
            registration: Registration::Closed,
            clients: vec![("mine".to_owned(), Some(CLIENT_SECRET.to_owned()))],
            authorization_server: json!({"token_endpoint_auth_methods_supported": methods}),
            ..Script::people()
        };
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        let secret = sandbox.give("client-secret", CLIENT_SECRET);
        let client = ["--client-id", "mine", "--client-secret-file", secret.to_str().unwrap()];
        let (run, _browser) = sign_in(&mut sandbox, &vendor, &client);
        run.expect_success();
        assert!(!vendor.records_at("/authorize")[0].query().contains_key("client_secret"));
        let token = &vendor.records_at("/token")[0];
        assert_eq!(token.form().contains_key("client_secret"), in_form, "{methods}");
        assert_eq!(token.header("authorization").is_some(), !in_form, "{methods}");
        sandbox.assert_no_secret(&vendor.secrets());
    }
}

/// t041: a document that the person publishes is the client where the server reads such documents: after a client that is
/// given by hand, and before any registration, earlier or new.
#[test]
fn t041_a_published_document_is_the_client() {
    const URL: &str = "https://app.example/client.json";
    for (is_read, by_hand, client) in [(true, None, URL), (true, Some("mine"), "mine"), (false, None, "client-3")] {
        let script = Script {
            clients: vec![(URL.to_owned(), None), ("mine".to_owned(), None)],
            authorization_server: json!({"client_id_metadata_document_supported": is_read}),
            ..Script::people()
        };
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        let (run, _browser) = sign_in(&mut sandbox, &vendor, &[]);
        run.expect_success();
        let by_hand: Vec<&str> = by_hand.iter().flat_map(|id| ["--client-id", id]).collect();
        let (run, _browser) = sign_in(&mut sandbox, &vendor, &[&["--client-metadata-url", URL], &by_hand[..]].concat());
        run.expect_success();
        assert_eq!(clients_asked_for(&vendor).last().unwrap(), client);
        assert_eq!(vendor.records_at("/authorize").last().unwrap().query()["client_id"], client);
        assert_eq!(vendor.records_at("/register").len(), 1, "that of the sign-in before");
    }
}

/// t017, t033, t040: a client that registered earlier is used again, on its port; where that is taken another registers.
/// A port that the person insists on must be free.
#[test]
fn t017_an_earlier_registration_is_used_again_on_its_port() {
    let script = Script { one_redirect_uri: Some(OtherRedirectUris::LeftOut), ..Script::people() };
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    let port = || {
        let page = vendor.records_at("/authorize").last().unwrap().query();
        Url::parse(&page["redirect_uri"]).unwrap().port().unwrap()
    };
    let registrations = || vendor.records_at("/register").len();
    let (run, _browser) = sign_in(&mut sandbox, &vendor, &[]);
    run.expect_success();
    let first = port();
    sign_in_again(&sandbox, &vendor, &[]).expect_success();
    assert_eq!((registrations(), port()), (1, first));

    let holder = TcpListener::bind(("127.0.0.1", first)).unwrap();
    sign_in_again(&sandbox, &vendor, &[]).expect_success();
    assert_eq!(registrations(), 2);
    let (insists, pages) = (["--port", &first.to_string()], vendor.records_at("/authorize").len());
    sign_in_again(&sandbox, &vendor, &insists).expect_code(1).expect_stderr(&[&format!("127.0.0.1:{first}")]);
    assert_eq!((registrations(), vendor.records_at("/authorize").len()), (2, pages));
    drop(holder);
    sign_in_again(&sandbox, &vendor, &insists).expect_success();
    assert_eq!(port(), first);
}

/// t040: a server that forgets its clients gets one new registration, and not one more.
#[test]
fn t040_a_new_client_that_is_refused_too_is_not_replaced() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let (run, browser) = sign_in(&mut sandbox, &vendor, &[]);
    run.expect_success();
    let refusal = Reply::new(401).json(&json!({"error": "invalid_client"}));
    vendor.change(|script| script.token_answer = Some(refusal));
    sign_in_again(&sandbox, &vendor, &[]).expect_code(1).expect_stderr(&["invalid_client"]);
    assert_eq!(vendor.records_at("/register").len(), 2);
    assert_eq!(browser.starts().len(), 3);
    assert_eq!(clients_asked_for(&vendor), ["client-1", "client-1", "client-2"]);
}

/// t040: a client whose registration has ended, as the server said when it made it, is not asked for.
#[test]
fn t040_a_registration_that_has_ended_is_not_used() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    vendor.know("short", CLIENT_SECRET);
    let registered = json!({
        "client_id": "short", "client_secret": CLIENT_SECRET, "client_secret_expires_at": 1,
        "token_endpoint_auth_method": "client_secret_post",
    });
    vendor.fault(On::Path("/register"), Effect::Answer(Reply::new(201).json(&registered)));
    let (run, _browser) = sign_in(&mut sandbox, &vendor, &[]);
    run.expect_success();
    sign_in_again(&sandbox, &vendor, &[]).expect_success();
    let pages = vendor.records_at("/authorize");
    let clients: Vec<_> = pages.iter().map(|record| record.query()["client_id"].clone()).collect();
    assert_eq!(clients.len(), 2, "{clients:?}");
    assert_ne!(clients[1], "short");
    assert_eq!(vendor.records_at("/register").len(), 2);
}
