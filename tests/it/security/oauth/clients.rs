//! Clients that the server has forgotten, and clients that sign-ins share.

use super::*;

/// b5, d6: a server that has forgotten the client says so before a person is sent there, in whatever form, and the client
/// registers again, once.
#[test]
fn b5_d6_a_forgotten_client_registers_again() {
    let json = |status: u16, body: Value| Some(Reply::new(status).json(&body));
    for reply in [
        None,
        json(400, json!({"error": "invalid_client"})),
        json(401, json!({"error": "invalid_request", "error_description": "Client ID 'client-1' not found"})),
        json(422, json!({"message": "Unrecognized client_id"})),
        Some(Reply::new(400).body("text/html", "<h1>Client Not Registered</h1>")),
        Some(Reply::new(403).body("text/plain", "unknown client")),
        // FastMCP and others, with 200
        Some(Reply::new(200).body("text/html", "<html>Client ID not found</html>")),
        Some(
            Reply::new(200)
                .body("text/html", "<h1>Client Not Registered</h1><p>The client ID <b>c</b> was not found</p>"),
        ),
        Some(Reply::new(200).body("text/plain", "The client_id c-1 is not registered.")),
        json(200, json!({"error": "unauthorized_client"})),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let (run, browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        run.expect_success();
        match reply.clone() {
            None => vendor.forget_clients(),
            Some(reply) => vendor.fault(On::Path("/authorize"), Effect::Answer(reply)),
        }
        let run = sandbox.finmcp(["login", &vendor.url(), "--timeout", "20"]).expect_success();
        assert_eq!(asked_for(&vendor), ["client-1", "client-1", "client-2"], "{reply:?}: {}", run.stderr);
        assert_eq!(vendor.records_at("/register").len(), 2);
        // The question has a state and a challenge that nothing else has, and no cookie; and no page was opened for it.
        let requests: Vec<Recorded> = vendor.records_at("/authorize");
        for field in ["state", "code_challenge"] {
            assert_ne!(requests[1].query()[field], requests[2].query()[field]);
        }
        assert_eq!(requests[1].header("cookie"), None);
        assert_eq!(browser.starts().len(), 2);
        assert_eq!(vendor.complaints(), Vec::<String>::new());
    }
}

/// b5, d6: whatever says nothing about the client is no reason to register another.
#[test]
fn b5_a_client_that_may_be_known_is_kept() {
    for reply in [
        Reply::new(302).header("location", "https://login.example/?next=invalid_client"),
        Reply::new(303).header("location", "/login"),
        Reply::new(200).body("text/html", "<form>Sign in. client_id</form>"),
        Reply::new(200)
            .body("text/html", "<p>Unknown client wants access</p><form method=post><button>Allow</button></form>"),
        Reply::new(200).body("text/html", "<div id=root></div><script>m={e:'Client ID not found'}</script>"),
        Reply::new(200).json(&json!({"redirect": true, "url": "/login?error_description=client_id+not+found"})),
        Reply::new(403).body("text/html", "<title>Just a moment...</title>"),
        Reply::new(429).body("text/plain", "client_id"),
        Reply::new(503).body("text/plain", "client_id"),
        Reply::new(400).json(&json!({"error": "invalid_scope"})),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        run.expect_success();
        vendor.fault(On::Path("/authorize"), Effect::Answer(reply.clone()));
        sandbox.finmcp(["login", &vendor.url(), "--timeout", "20"]).expect_success();
        assert_eq!(asked_for(&vendor), ["client-1", "client-1", "client-1"], "{reply:?}");
        assert_eq!(vendor.records_at("/register").len(), 1, "{reply:?}");
        // It follows nowhere.
        assert!(vendor.records_at("/login").is_empty());
    }
}

/// A client that signed in at `vendor`, whose sign-in has ended; no browser opens any more.
fn revoked(vendor: &Vendor) -> Sandbox {
    let (mut sandbox, _browser) = signed_in(vendor, &[]);
    sandbox.unset("FINMCP_BROWSER");
    vendor.revoke_sign_ins();
    sandbox
}

/// b5: a client's sign-in that is offered at a server that has forgotten it, and says so on a page, is a new one's; and
/// where the page of a server that says it in other words is shown, the way out is named.
#[test]
fn b5_an_offered_sign_in_is_not_for_a_client_that_a_page_says_is_unknown() {
    let vendor = Vendor::start(Script::people());
    let mut sandbox = revoked(&vendor);
    for (page, client) in [("<p>The client is not ours</p>", "client-1"), ("<p>Client ID not found</p>", "client-2")] {
        vendor.fault(On::Path("/authorize"), Effect::Answer(Reply::new(200).body("text/html", page)));
        let mut serve = sandbox.serve([vendor.url()]);
        assert_eq!(client_of(&offered(&mut serve)), client, "{page}");
        let result = serve.call("finmcp_sign_in", json!({})).result();
        let text = result["content"][0]["text"].as_str().unwrap();
        let command = format!("finmcp login 127-0-0-1-{} --force", vendor.port());
        assert!(text.contains(&command), "{command}: {text}");
    }
    // In a terminal, too, and only where a client is known from before.
    let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
    let run = sandbox.finmcp(["login", &vendor.url(), "--timeout", "1"]).expect_code(1);
    assert!(run.stderr.contains(" --force`"), "{}", run.stderr);
    drop(browser);
    let (run, _browser) = sign_in(&mut Sandbox::new(), &vendor.url(), &[]);
    assert!(!run.expect_success().stderr.contains("--force"));
}

/// b5: where no other client can be had, the person is sent there all the same; and a client that a person was given is
/// not asked about.
#[test]
fn b5_the_person_is_asked_where_no_client_can_be_registered() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
    run.expect_success();
    vendor.change(|script| script.registration = Registration::Closed);
    vendor.fault(On::Path("/authorize"), Effect::Answer(Reply::new(400).json(&json!({"error": "invalid_client"}))));
    sandbox.finmcp(["login", &vendor.url(), "--timeout", "20"]).expect_success();
    assert_eq!(asked_for(&vendor), ["client-1", "client-1", "client-1"]);

    let secret = "client-secret-5f1c9e77a0b24d6e8c";
    let script = Script { clients: vec![("x".to_owned(), Some(secret.to_owned()))], ..Script::people() };
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    sandbox.set("FINMCP_CLIENT_SECRET", secret);
    let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &["--client-id", "x"]);
    run.expect_success();
    sandbox.finmcp(["login", &vendor.url(), "--timeout", "20"]).expect_success();
    assert_eq!(asked_for(&vendor), ["x", "x"]);
}

/// What an AI client's person is given to sign in.
fn offered(serve: &mut Serve) -> url::Url {
    let hello =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    serve.request("initialize", hello).result();
    serve.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    page_in(&serve.call("finmcp_sign_in", json!({})).result())
}

/// The address in the answer to `finmcp_sign_in`.
fn page_in(result: &Value) -> url::Url {
    let text = result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {result}"));
    let address = text.lines().find(|line| line.starts_with("http")).unwrap_or_else(|| panic!("no address in {text}"));
    address.parse().unwrap()
}

fn client_of(page: &url::Url) -> String {
    page.query_pairs().find(|(name, _)| name == "client_id").unwrap().1.into_owned()
}

/// b16: a sign-in that is offered and not taken leaves its client to the next process, secret and all, and the one that
/// is taken takes it along.
#[test]
fn b16_an_offered_sign_in_registers_one_client() {
    for registration in [Registration::Public, Registration::Confidential] {
        let script = Script { registration, ..Script::people() };
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
        for _ in 0..3 {
            let mut serve = sandbox.serve([vendor.url()]);
            assert_eq!(client_of(&offered(&mut serve)), "client-1");
        }
        sandbox.finmcp(["login", &vendor.url(), "--timeout", "1"]).expect_code(1);
        sandbox.assert_no_secret(&vendor.secrets());
        drop(browser);
        let mut serve = sandbox.serve([vendor.url()]);
        let page = offered(&mut serve);
        sign_in_at(page.as_str());
        serve.incoming("notifications/tools/list_changed");
        assert_eq!(vendor.records_at("/register").len(), 1, "{registration:?}");
        drop(serve);
        // The credential has it now; after that is gone there is none.
        sandbox.finmcp(["token", &vendor.url()]).expect_success();
        sandbox.finmcp(["logout", &vendor.url()]).expect_success();
        let mut serve = sandbox.serve([vendor.url()]);
        assert_eq!(client_of(&offered(&mut serve)), "client-2");
        sandbox.assert_no_secret(&vendor.secrets());
    }
}

fn redirect_uri_of(page: &url::Url) -> String {
    page.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned()
}

/// The redirect URIs of the one client that was registered.
fn redirect_uris_of_the_client(vendor: &Vendor) -> Vec<String> {
    let records = vendor.records_at("/register");
    assert_eq!(records.len(), 1, "registrations");
    serde_json::from_value(records[0].json()["redirect_uris"].clone()).unwrap()
}

/// Five pages of sign-ins at the same time are one client's, and each leads to another registered port.
fn assert_one_client(vendor: &Vendor, pages: &[url::Url]) {
    let registered = redirect_uris_of_the_client(vendor);
    let mut asked: Vec<_> = pages.iter().map(redirect_uri_of).collect();
    assert!(asked.iter().all(|uri| registered.contains(uri)), "{asked:?} {registered:?}");
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 5, "{asked:?}");
    assert!(pages.iter().all(|page| client_of(page) == "client-1"), "{pages:?}");
}

/// b16: processes that offer the sign-in at the same time share one client, whichever comes first, and each of their
/// pages signs in.
#[test]
fn b16_concurrent_sign_ins_share_one_client() {
    for registration in [Registration::Public, Registration::Confidential] {
        let script = Script { registration, ..Script::people() };
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        for _ in 0..5 {
            vendor.fault(On::Path("/register"), Effect::Delay(Duration::from_millis(500)));
        }
        let mut serves: Vec<_> = (0..5).map(|_| sandbox.serve([vendor.url()])).collect();
        serves.iter_mut().for_each(|serve| drop(serve.initialize()));
        let calls: Vec<_> = serves
            .iter_mut()
            .map(|serve| serve.post("tools/call", json!({"name": "finmcp_sign_in", "arguments": {}})))
            .collect();
        let pages: Vec<_> =
            serves.iter_mut().zip(&calls).map(|(serve, call)| page_in(&serve.answer_to(call).result())).collect();
        assert_one_client(&vendor, &pages);
        sign_in_at(pages[4].as_str());
        serves[4].incoming("notifications/tools/list_changed");
        sandbox.finmcp(["token", &vendor.url()]).expect_success();
        sandbox.assert_no_secret(&vendor.secrets());
    }
}

/// b16: logins at the same time do so too.
#[test]
fn b16_logins_at_the_same_time_share_one_client() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    for _ in 0..5 {
        vendor.fault(On::Path("/register"), Effect::Delay(Duration::from_millis(500)));
    }
    let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| sandbox.finmcp(["login", &vendor.url(), "--timeout", "10"]).expect_code(1));
        }
    });
    let pages: Vec<_> = browser.starts().iter().map(|start| start.arguments[0].parse().unwrap()).collect();
    assert_eq!(pages.len(), 5);
    assert_one_client(&vendor, &pages);
}

/// b16: a client that has signed in keeps its ports for the processes that sign in again at the same time.
#[test]
fn b16_a_client_that_has_signed_in_is_shared_too() {
    let vendor = Vendor::start(Script::people());
    let sandbox = revoked(&vendor);
    let mut serves: Vec<_> = (0..5).map(|_| sandbox.serve([vendor.url()])).collect();
    let pages: Vec<_> = serves.iter_mut().map(offered).collect();
    assert_one_client(&vendor, &pages);
}

/// b16: a server that never answers a registration holds up the process that asks it, and another one no longer than
/// that one's own deadline.
#[test]
fn b16_a_registration_that_hangs_does_not_hold_up_others_for_ever() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    vendor.fault(On::Path("/register"), Effect::Delay(Duration::from_secs(60)));
    let mut serve = sandbox.serve([vendor.url()]);
    serve.initialize();
    serve.post("tools/call", json!({"name": "finmcp_sign_in", "arguments": {}}));
    vendor.wait_for("the registration", |record| record.path == "/register");
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", &vendor.url(), "--timeout", "3"]).expect_success();
    assert_eq!((browser.starts().len(), vendor.records_at("/register").len()), (1, 2));
}

/// b16: at a server that registers one redirect URI a client, processes at the same time have a client each; no more are
/// registered later.
#[test]
fn b16_concurrent_sign_ins_register_separately_if_required() {
    for (others, registrations) in [(OtherRedirectUris::Refused, 6), (OtherRedirectUris::LeftOut, 2)] {
        assert_a_client_each(others, registrations);
    }
}

fn assert_a_client_each(others: OtherRedirectUris, registrations: usize) {
    let script = Script { one_redirect_uri: Some(others), ..Script::people() };
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    let round = || {
        let mut clients: Vec<(Serve, String)> = Vec::new();
        for _ in 0..2 {
            let mut serve = sandbox.serve([vendor.url()]);
            let client = client_of(&offered(&mut serve));
            clients.push((serve, client));
        }
        clients.into_iter().map(|(_, client)| client).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        let mut clients = round();
        clients.sort();
        assert_eq!(clients, ["client-1", "client-2"]);
    }
    // The host is tried by its other name as well, before one redirect URI alone.
    assert_eq!(vendor.records_at("/register").len(), registrations, "{others:?}");
}

/// b16: a client that waits for its person is forgotten by the server, or by the person with `--force`: a new one takes
/// its place.
#[test]
fn b16_a_kept_client_that_is_forgotten_is_replaced() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    assert_eq!(client_of(&offered(&mut sandbox.serve([vendor.url()]))), "client-1");
    vendor.forget_clients();
    for _ in 0..2 {
        assert_eq!(client_of(&offered(&mut sandbox.serve([vendor.url()]))), "client-2");
    }
    let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &["--force"]);
    run.expect_success();
    assert_eq!(asked_for(&vendor).last().unwrap(), "client-3");
    assert_eq!(vendor.records_at("/register").len(), 3);
}
