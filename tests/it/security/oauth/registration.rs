//! Registrations: their scopes, and servers that refuse or delay them.

use super::*;

/// A vendor whose resource names the scopes `books` and `pay`, and whose authorization server offers `offline_access`.
fn scoped(client_scope: (&'static str, OtherScopes)) -> Script {
    Script {
        protected_resource: json!({"scopes_supported": ["books", "pay"]}),
        authorization_server: json!({"scopes_supported": ["books", "pay", "offline_access"]}),
        client_scope: Some(client_scope),
        ..Script::people()
    }
}

/// The scopes that each authorization request asked for.
fn scopes_asked(vendor: &Vendor) -> Vec<Option<String>> {
    vendor.records_at("/authorize").iter().map(|record| record.query().get("scope").cloned()).collect()
}

/// d9: an authorization request asks for no scope that the client was not registered for, at the first sign-in and at
/// the next, with the same client.
#[test]
fn d9_only_registered_scopes_are_asked_for() {
    for (all, others, registrations, asked) in [
        ("books", OtherScopes::Refused, 2, Some("books")),
        ("books pay", OtherScopes::Refused, 2, Some("books pay")),
        ("books pay offline_access", OtherScopes::Refused, 1, Some("books offline_access pay")),
        ("books", OtherScopes::LeftOut, 1, Some("books")),
        ("books more", OtherScopes::Replaced, 1, Some("books")),
        // The server has a default then.
        ("more", OtherScopes::Replaced, 1, None),
        ("more", OtherScopes::Refused, 2, None),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(scoped((all, others))));
        let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        run.expect_success();
        sandbox.finmcp(["login", &vendor.url(), "--timeout", "20"]).expect_success();
        let asked = asked.map(str::to_owned);
        // The second sign-in first asks whether the client is known.
        assert_eq!(scopes_asked(&vendor), [asked.clone(), asked.clone(), asked], "{all} {others:?}");
        assert_eq!(vendor.records_at("/register").len(), registrations, "{all} {others:?}");
        assert_eq!(vendor.complaints(), Vec::<String>::new());
    }
}

/// d9: the same for the sign-in that `serve` offers after the server has lost the client and the sign-in. Scopes that the
/// server granted without being asked are not asked for.
#[test]
fn d9_an_offered_sign_in_asks_for_registered_scopes_only() {
    for others in [OtherScopes::Refused, OtherScopes::LeftOut, OtherScopes::Replaced] {
        let script = Script {
            authorization_server: json!({}),
            granted_scope: Some("books offline_access pay"),
            ..scoped(("books pay", others))
        };
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        let (run, browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        run.expect_success();
        drop(browser);
        sandbox.unset("FINMCP_BROWSER");
        let mut serve = sandbox.serve([vendor.url()]);
        serve.initialize().result();
        vendor.forget_clients();
        vendor.revoke_sign_ins();
        let refused = serve.call("echo", json!({"message": "lost"})).result();
        let text = refused["content"][0]["text"].as_str().unwrap().to_owned();
        sign_in_at(text.lines().find(|line| line.starts_with("http")).unwrap_or_else(|| panic!("{text}")));
        eventually("the call", || {
            let result = serve.call("echo", json!({"message": "back"})).result();
            (result["content"][0]["text"] == "back").then_some(())
        });
        let asked = scopes_asked(&vendor);
        assert!(asked.iter().all(|scope| scope.as_deref() == Some("books pay")), "{others:?}: {asked:?}");
    }
}

/// d9: a device code is asked for with the registered scopes too.
#[test]
fn d9_a_device_code_is_for_registered_scopes() {
    let script = Script { device: Device::Consents, ..scoped(("books", OtherScopes::Refused)) };
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    sandbox.finmcp(["login", &vendor.url(), "--grant", "device-code", "--timeout", "20"]).expect_success();
    let asked: Vec<_> = vendor.records_at("/device").iter().map(|record| record.form()["scope"].clone()).collect();
    assert_eq!(asked, ["books"]);
}

/// b9: a server that is busy is waited for, and the person is told; for one that asks for more than that it is not worth
/// the wait.
#[test]
fn b9_a_busy_registration_endpoint() {
    for status in [429, 503] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        for _ in 0..2 {
            let busy = Reply::new(status).header("retry-after", "1");
            vendor.fault(On::Path("/register"), Effect::Answer(busy));
        }
        let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        let run = run.expect_success();
        assert_eq!(run.stderr.matches("waiting 1 s to register").count(), 2, "{}", run.stderr);
        assert_eq!(vendor.records_at("/register").len(), 3);
    }
    for (reply, said) in [
        (Reply::new(429).header("retry-after", "3600"), "asks to wait 3600 s"),
        (Reply::new(429).header("retry-after", "Sun, 06 Nov 2095 08:49:37 GMT"), "asks to wait"),
        (Reply::new(429), "HTTP 429"),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        vendor.fault(On::Path("/register"), Effect::Answer(reply));
        let (run, browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        let run = run.expect_code(3);
        assert!(run.stderr.contains(said) && !run.stderr.contains("--client-id"), "{}", run.stderr);
        assert!(browser.starts().is_empty() && vendor.records_at("/register").len() == 1);
    }
}

/// b9: a server that is busy each time is not asked for ever, and not for longer than the person has.
#[test]
fn b9_a_registration_endpoint_that_stays_busy() {
    for (status, after, timeout, requests) in
        [(429, "1", "60", 5), (503, "1", "60", 5), (429, "0", "60", 5), (429, "2", "5", 3), (429, "7", "7", 1)]
    {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        for _ in 0..10 {
            vendor.fault(On::Path("/register"), Effect::Answer(Reply::new(status).header("retry-after", after)));
        }
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        let run = sandbox.finmcp(["login", &vendor.url(), "--timeout", timeout]).expect_code(3);
        let said = format!("asks to wait {after} s");
        assert!(run.stderr.contains(&said) && run.stderr.contains("try again after that time"), "{}", run.stderr);
        assert_eq!(vendor.records_at("/register").len(), requests, "{status} {after} {timeout}");
        assert!(browser.starts().is_empty());
    }
}

/// b9: a registration that is never answered ends with the time that the person has.
#[test]
fn b9_a_registration_endpoint_that_hangs() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    vendor.fault(On::Path("/register"), Effect::Delay(Duration::from_secs(60)));
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let run = sandbox.finmcp(["login", &vendor.url(), "--timeout", "1"]).expect_code(3);
    assert!(run.stderr.contains("1 s"), "{}", run.stderr);
    assert!(browser.starts().is_empty());
}

/// b9: members of another type, as servers write them, are taken for what they mean.
#[test]
fn b9_a_registration_with_other_types() {
    for (answer, id, secret) in [
        (r#"{"client_id":12345678901234567890123,"client_secret_expires_at":"0"}"#, "12345678901234567890123", None),
        (
            r#"{"client_id":"c9","client_secret":"secret-0123456789","client_secret_expires_at":"0","redirect_uris":"x"}"#,
            "c9",
            Some("secret-0123456789"),
        ),
        (
            r#"{"client_id":"c9","client_secret":null,"client_secret_expires_at":null,"token_endpoint_auth_method":null}"#,
            "c9",
            None,
        ),
    ] {
        let script = Script { clients: vec![(id.to_owned(), secret.map(str::to_owned))], ..Script::people() };
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        vendor.fault(On::Path("/register"), Effect::Answer(Reply::new(201).body("application/json", answer)));
        let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        run.expect_success();
        assert_eq!(asked_for(&vendor), [id]);
    }
}
