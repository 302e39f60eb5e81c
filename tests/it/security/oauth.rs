//! Signing in at servers as they are: what deviates from the specifications harmlessly is taken, and what is not harmless
//! is still refused. The names of the tests begin with the row of the fault.

use std::{thread, time::Duration};

use serde_json::{Value, json};

use crate::support::{
    browser::{FakeBrowser, Person, sign_in_at},
    eventually,
    sandbox::{Run, Sandbox},
    serve::Serve,
    vendor::{
        Device, Effect, On, OtherRedirectUris, OtherScopes, Recorded, Registration, Reply, Script, SecretPlace, Vendor,
    },
};

const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource/mcp";
const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";

/// Signs a person in who consents, at `url`.
fn sign_in(sandbox: &mut Sandbox, url: &str, more: &[&str]) -> (Run, FakeBrowser) {
    let browser = FakeBrowser::install(sandbox, Person::Consents);
    let run = sandbox.finmcp([&["login", url, "--timeout", "20"], more].concat());
    (run, browser)
}

/// What servers send for an address that they know nothing of, with 200.
fn no_documents() -> [Reply; 5] {
    [
        Reply::new(200).body("text/html", "<!doctype html><title>App</title>"),
        Reply::new(200).body("application/json", "<!doctype html><title>App</title>"),
        Reply::new(200),
        Reply::new(200).body("text/plain", "OK"),
        Reply::new(200).body("application/json", "\"OK\""),
    ]
}

/// b3: a page for every path is as good as a 404: the next place of the specification's order is asked.
#[test]
fn b3_what_is_no_document_is_passed_over() {
    for reply in no_documents() {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let document = json!({"resource": vendor.url(), "authorization_servers": [vendor.origin()]});
        vendor.fault(On::Path(PROTECTED_RESOURCE), Effect::Answer(reply.clone()));
        vendor
            .fault(On::Path("/.well-known/oauth-protected-resource"), Effect::Answer(Reply::new(200).json(&document)));
        let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        run.expect_success();

        let mut sandbox = Sandbox::new();
        vendor.fault(On::Path(AUTHORIZATION_SERVER), Effect::Answer(reply));
        let (run, browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        // The vendor has no other metadata.
        run.expect_code(3);
        assert!(browser.starts().is_empty());
        assert_eq!(vendor.records().last().unwrap().path, "/.well-known/openid-configuration");
    }
}

/// b3: a JSON document that is wrong still ends it, and nothing else is asked for.
#[test]
fn b3_a_wrong_document_is_not_passed_over() {
    for body in ["{", "[]", "{}", "{{template}}", "\u{feff}{}"] {
        for path in [PROTECTED_RESOURCE, AUTHORIZATION_SERVER] {
            let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
            vendor.fault(On::Path(path), Effect::Answer(Reply::new(200).body("text/html", body)));
            let (run, browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
            run.expect_code(5);
            assert!(browser.starts().is_empty());
            assert_eq!(vendor.records().last().unwrap().path, path, "{body}");
        }
    }
}

/// b4: a challenge that points at no document, or by a path alone.
#[test]
fn b4_a_pointer_that_is_no_document_or_relative() {
    for (pointer, first) in [
        ("{}/mcp", Some("/mcp")),
        ("{}/nowhere", Some("/nowhere")),
        ("/nowhere", Some("/nowhere")),
        ("/.well-known/oauth-protected-resource/mcp", None),
        ("./.well-known/oauth-protected-resource/mcp", None),
        ("", None),
        ("not a url at all %%", None),
        ("undefined", None),
        ("https://", None),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let pointer = pointer.replace("{}", &vendor.origin());
        let challenge = format!("Bearer resource_metadata=\"{pointer}\"");
        vendor.fault(On::Method("POST"), Effect::Answer(Reply::new(401).header("www-authenticate", challenge)));
        let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        run.expect_success();
        let asked: Vec<String> = vendor.records().into_iter().skip(1).map(|record| record.path).collect();
        let wanted: Vec<&str> = first.into_iter().chain([PROTECTED_RESOURCE, AUTHORIZATION_SERVER]).collect();
        assert_eq!(asked[..wanted.len()], wanted, "{pointer}");
    }
}

/// b4: an address that must not be called is still refused, and so is a path that might lead to another host: nothing is
/// asked for.
#[test]
fn b4_a_pointer_to_a_refused_address_is_not_passed_over() {
    for pointer in ["http://mcp.example/meta", "http://10.0.0.1/x", "https://u:p@mcp.example/x", "//other.example/meta"]
    {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let challenge = format!("Bearer resource_metadata=\"{pointer}\"");
        vendor.fault(On::Method("POST"), Effect::Answer(Reply::new(401).header("www-authenticate", challenge)));
        let (run, browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        run.expect_code(5);
        assert!(browser.starts().is_empty() && vendor.records().len() == 1, "{pointer}");
    }
}

/// b12: an authorization server that is down or publishes nothing is passed over before a person is asked.
#[test]
fn b12_the_next_authorization_server_is_tried() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for down in [Some(503), Some(404), Some(429), None] {
        let (first, second) = (Vendor::start(Script::people()), Vendor::start(Script::people()));
        if let Some(status) = down {
            for _ in 0..2 {
                first.fault(On::Path(AUTHORIZATION_SERVER), Effect::status(status));
            }
        }
        let first = down.map_or_else(|| format!("http://{closed}"), |_| first.origin());
        second.change(|script| {
            script.protected_resource = json!({"authorization_servers": [first, second.origin()]});
        });
        let mut sandbox = Sandbox::new();
        let (run, browser) = sign_in(&mut sandbox, &second.url(), &[]);
        let run = run.expect_success();
        assert!(run.stderr.contains("Signed in"), "{down:?}: {}", run.stderr);
        assert!(browser.starts()[0].arguments[0].starts_with(&second.origin()), "{down:?}");
    }
}

/// b12: where none answers, all are named, and the way to choose one.
#[test]
fn b12_all_authorization_servers_that_are_down_are_named() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let first = format!("http://{closed}");
    vendor.change(|script| {
        script.protected_resource = json!({"authorization_servers": [first, vendor.origin()]});
    });
    vendor.fault(On::Path(AUTHORIZATION_SERVER), Effect::status(503));
    let (run, browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
    let run = run.expect_code(3);
    for said in [first.as_str(), &vendor.origin(), "--issuer"] {
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
    }
    assert!(browser.starts().is_empty());
}

/// b12: one that says something wrong is not passed over.
#[test]
fn b12_a_wrong_authorization_server_is_not_passed_over() {
    for (path, wrong) in [
        (
            AUTHORIZATION_SERVER,
            Reply::new(200).json(&json!({"issuer": "https://honest.example", "token_endpoint": "https://a.example/"})),
        ),
        (AUTHORIZATION_SERVER, Reply::new(200).body("application/json", "{")),
        (AUTHORIZATION_SERVER, Reply::new(302).header("location", "https://evil.example/")),
    ] {
        let (first, second) = (Vendor::start(Script::people()), Vendor::start(Script::people()));
        first.fault(On::Path(path), Effect::Answer(wrong));
        second.change(|script| {
            script.protected_resource = json!({"authorization_servers": [first.origin(), second.origin()]});
        });
        let mut sandbox = Sandbox::new();
        let (run, browser) = sign_in(&mut sandbox, &second.url(), &[]);
        run.expect_code(5);
        assert!(browser.starts().is_empty() && second.records_at(AUTHORIZATION_SERVER).is_empty());
    }
}

/// d2: the one slash after an issuer's origin is excused, in either direction, and `iss` is still the metadata's word.
#[test]
fn d2_the_slash_after_an_issuers_origin() {
    for (named, own, iss, is_right) in [
        ("{}/", "{}", "{}", true),
        ("{}", "{}/", "{}/", true),
        // RFC 9207: what the metadata say, byte for byte.
        ("{}/", "{}", "{}/", false),
        ("{}", "{}/", "{}", false),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let of = |text: &str| text.replace("{}", &vendor.origin());
        let (named, own, iss) = (of(named), of(own), of(iss));
        vendor.change(|script| {
            script.protected_resource = json!({"authorization_servers": [named]});
            script.authorization_server = json!({"issuer": own});
            script.iss = Some(iss.clone());
        });
        let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        assert_eq!(run.code, Some(if is_right { 0 } else { 5 }), "{named} {own} {iss}: {}", run.stderr);
    }
}

/// d2: near misses, in either direction, stay refused, and the way out names `--issuer`.
#[test]
fn d2_no_other_spelling_of_an_issuer() {
    for (named, own) in [
        ("{}", "{}//"),
        ("{}//", "{}"),
        ("{}/x", "{}/x/"),
        ("{}/x/", "{}/x"),
        ("{}/", "{}/x"),
        ("{}", "{}?"),
        ("{}", "{}/#"),
        ("{}", "HTTP://{host}"),
        ("{}", "http://localhost:{port}"),
        ("{}", "https://{host}"),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let of = |text: &str| {
            let host = format!("127.0.0.1:{}", vendor.port());
            text.replace("{}", &vendor.origin()).replace("{host}", &host).replace("{port}", &vendor.port().to_string())
        };
        let (named, own) = (of(named), of(own));
        let metadata = json!({
            "issuer": own, "authorization_endpoint": vendor.at("/authorize"), "token_endpoint": vendor.token_endpoint(),
            "code_challenge_methods_supported": ["S256"],
        });
        vendor.change(|script| script.protected_resource = json!({"authorization_servers": [named]}));
        for path in [AUTHORIZATION_SERVER, "/.well-known/oauth-authorization-server/x"] {
            vendor.fault(On::Path(path), Effect::Answer(Reply::new(200).json(&metadata)));
        }
        let (run, browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        let run = run.expect_code(5);
        assert!(run.stderr.contains("--issuer"), "{named} {own}: {}", run.stderr);
        assert!(browser.starts().is_empty());
    }
}

/// The client that each authorization request was for, in order.
fn asked_for(vendor: &Vendor) -> Vec<String> {
    vendor.records_at("/authorize").iter().map(|record| record.query()["client_id"].clone()).collect()
}

/// b5, d6: a server that has forgotten the client says so before a person is sent there, in whatever form, and the client
/// registers anew, once.
#[test]
fn b5_d6_a_forgotten_client_is_registered_again() {
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

/// b5: a client's sign-in that is offered at a server that has forgotten it, and says so on a page, is a new one's; and
/// where the page of a server that says it in other words is shown, the way out is named.
#[test]
fn b5_an_offered_sign_in_is_not_for_a_client_that_a_page_says_is_unknown() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let (run, browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
    run.expect_success();
    drop(browser);
    sandbox.unset("FINMCP_BROWSER");
    vendor.revoke_sign_ins();
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

/// Five pages of sign-ins at the same time are one client's, and each leads to a port of its own that is registered.
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
fn b16_offers_at_the_same_time_share_one_client() {
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
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let (run, browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
    run.expect_success();
    drop(browser);
    sandbox.unset("FINMCP_BROWSER");
    vendor.revoke_sign_ins();
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
fn b16_offers_at_the_same_time_have_a_client_each_where_they_must() {
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

/// GitHub's answers are forms.
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// b1, b10: a token response that is a form is taken, with all that it says, and one that refuses a renewal ends the
/// sign-in as its JSON would.
#[test]
fn b1_b10_a_token_response_that_is_a_form() {
    for (status, content_type) in [(200, FORM), (400, FORM), (200, "text/plain"), (400, "text/plain")] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let success =
            "access_token=token-7f%2Bx&token_type=bearer&scope=books&refresh_token=renew-0123456789&expires_in=1";
        vendor.fault(On::Path("/token"), Effect::Answer(Reply::new(200).body(content_type, success)));
        let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        run.expect_success();
        let refusal = "error=bad_refresh_token&error_description=The+refresh+token+is+incorrect+or+expired.";
        vendor.fault(On::Path("/token"), Effect::Answer(Reply::new(status).body(content_type, refusal)));
        sandbox.finmcp(["token", &vendor.url(), "--force-refresh"]).expect_code(4);
        let requests = vendor.records_at("/token");
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[1].form()["refresh_token"], "renew-0123456789");
        let status = sandbox.finmcp(["status", "--json"]).expect_success();
        assert!(status.stdout.contains(r#""signed_in": false"#), "{}", status.stdout);
    }
}

/// b10: what must not be used of a JSON document is not used of a form: a member twice, a token that is no header value, a
/// type that nobody asked for.
#[test]
fn b10_a_form_that_must_not_be_used() {
    for form in [
        "access_token=a&access_token=b&token_type=bearer",
        "access_token=a%0Ab&token_type=bearer",
        "access_token=&token_type=bearer",
        "access_token=a&token_type=mac",
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        vendor.fault(On::Path("/token"), Effect::Answer(Reply::new(200).body(FORM, form)));
        let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        run.expect_code(5);
    }
}

/// b1: a server in trouble has refused nothing, in a form either.
#[test]
fn b1_a_form_of_a_server_in_trouble_ends_nothing() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
    run.expect_success();
    for status in [429, 503] {
        let refusal = Reply::new(status).body(FORM, "error=bad_refresh_token");
        vendor.fault(On::Path("/token"), Effect::Answer(refusal));
        sandbox.finmcp(["token", &vendor.url(), "--force-refresh"]).expect_code(3);
    }
    vendor.heal();
    sandbox.finmcp(["token", &vendor.url(), "--force-refresh"]).expect_success();
}

/// b10: a refusal in another form than OAuth's is shown in the server's words, cleaned, and a secret that it repeats is
/// not.
#[test]
fn b10_the_servers_words_in_every_form() {
    let google = json!({"error": {"code": 400, "message": "Bad \u{1b}[2Jcode", "status": "INVALID_ARGUMENT"}});
    for (reply, said) in [
        (Reply::new(400).json(&google), "INVALID_ARGUMENT (\"Bad [2Jcode\")"),
        (
            Reply::new(400).json(&json!([{"error": "invalid_request", "error_description": "no"}])),
            "invalid_request (\"no\")",
        ),
        (Reply::new(403).json(&json!({"errors": [{"message": "not you"}]})), "HTTP 403 (\"not you\")"),
        (Reply::new(401).json(&json!({"message": "Unauthorized"})), "HTTP 401 (\"Unauthorized\")"),
        (Reply::new(400).body("text/plain", "code expired\n at x.js:1"), "HTTP 400 (\"code expired\")"),
        (Reply::new(200).json(&json!({"error": "bad_verification_code"})), "bad_verification_code"),
        (
            Reply::new(200).body(FORM, "error=bad_verification_code&error_description=The+code+is+expired.%1B%5B2J"),
            "bad_verification_code (\"The code is expired.[2J\")",
        ),
        (Reply::new(400).body("text/plain", "error=redirect_uri_mismatch"), "redirect_uri_mismatch"),
        // Two readers could take a different one each.
        (Reply::new(400).body(FORM, "error=a&error=b"), "HTTP 400"),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        vendor.fault(On::Path("/token"), Effect::Answer(reply));
        let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        let run = run.expect_code(1);
        assert!(run.stderr.contains(said) && !run.stderr.contains('\u{1b}'), "{said}: {}", run.stderr);
    }
}

/// d1: the form is chosen where both ways are listed; where the server reads another place than it says, the other way is
/// tried once, with the same code, and stays for renewals.
#[test]
fn d1_where_a_secret_is_looked_for() {
    let both = json!(["client_secret_post", "client_secret_basic"]);
    let (post, basic) = (json!(["client_secret_post"]), json!(["client_secret_basic"]));
    for (listed, place, attempts) in [
        (&both, SecretPlace::Form, 1),
        (&post, SecretPlace::Form, 1),
        (&both, SecretPlace::Header, 2),
        (&basic, SecretPlace::Form, 2),
        (&basic, SecretPlace::Header, 2),
    ] {
        let script = Script {
            registration: Registration::Confidential,
            secret_place: Some(place),
            authorization_server: json!({"token_endpoint_auth_methods_supported": listed}),
            ..Script::people()
        };
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        if place == SecretPlace::Form && *listed == basic {
            // What it registers for is the header.
            let answer = json!({"client_id": "c9", "client_secret": "secret-0123456789", "token_endpoint_auth_method": "client_secret_basic"});
            vendor.know("c9", "secret-0123456789");
            vendor.fault(On::Path("/register"), Effect::Answer(Reply::new(201).json(&answer)));
        }
        let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        let run = run.expect_success();
        let requests = vendor.records_at("/token");
        assert_eq!(requests.len(), attempts, "{listed} {place:?}: {}", run.stderr);
        let codes: Vec<String> = requests.iter().map(|request| request.form()["code"].clone()).collect();
        assert!(codes.iter().all(|code| *code == codes[0]));
        sandbox.finmcp(["token", &vendor.url(), "--force-refresh"]).expect_success();
        let requests = vendor.records_at("/token");
        assert_eq!(requests.len(), attempts + 1, "the way that worked is remembered");
        let last = requests.last().unwrap();
        assert_eq!(last.header("authorization").is_some(), place == SecretPlace::Header);
        assert_eq!(last.form().contains_key("client_secret"), place == SecretPlace::Form);
        sandbox.assert_no_secret(&vendor.secrets());
    }
}

/// d1: a client that is refused both ways is refused, with a way out that speaks of no secret that nobody chose; one that
/// a person was given is tried one way.
#[test]
fn d1_a_client_that_is_refused_both_ways() {
    let script = Script { registration: Registration::Confidential, ..Script::people() };
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    for _ in 0..2 {
        let refusal = json!({"error": "invalid_client", "error_description": "Missing client_id"});
        vendor.fault(On::Path("/token"), Effect::Answer(Reply::new(401).json(&refusal)));
    }
    let (run, browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
    let run = run.expect_code(1);
    assert!(
        run.stderr.contains("Missing client_id") && run.stderr.contains("token_endpoint_auth_method"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("--client-id") && !run.stderr.contains("its secret or key"), "{}", run.stderr);
    assert_eq!((vendor.records_at("/token").len(), browser.starts().len()), (2, 1));

    let secret = "client-secret-5f1c9e77a0b24d6e8c";
    let script = Script {
        clients: vec![("x".to_owned(), Some(secret.to_owned()))],
        secret_place: Some(SecretPlace::Form),
        authorization_server: json!({"token_endpoint_auth_methods_supported": ["client_secret_basic"]}),
        ..Script::people()
    };
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    sandbox.set("FINMCP_CLIENT_SECRET", secret);
    let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &["--client-id", "x"]);
    run.expect_code(1);
    assert_eq!(vendor.records_at("/token").len(), 1);
}

/// d1: what a person has chosen in config.toml is asked for and used, and nothing else is tried.
#[test]
fn d1_a_method_that_a_person_has_chosen() {
    for (method, place) in [("client_secret_basic", SecretPlace::Header), ("client_secret_post", SecretPlace::Form)] {
        let script = Script { registration: Registration::Confidential, secret_place: Some(place), ..Script::people() };
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        crate::commands::settings::configure(
            &sandbox,
            &format!(
                "[profiles.books]\nurl = \"{}\"\noverrides = {{ token_endpoint_auth_method = \"{method}\" }}\n",
                vendor.url()
            ),
        );
        let (run, _browser) = sign_in(&mut sandbox, "books", &[]);
        run.expect_success();
        assert_eq!(vendor.records_at("/register")[0].json()["token_endpoint_auth_method"], method);
        assert_eq!(vendor.records_at("/token").len(), 1, "{method}");
    }
}

/// d4: a secret that was issued along with the method `none` is used when `none` is refused.
#[test]
fn d4_a_secret_that_comes_with_none() {
    for (listed, place) in [
        (json!(["none"]), Some(SecretPlace::Form)),
        (json!(["none", "client_secret_basic"]), None),
        (json!(null), Some(SecretPlace::Form)),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        vendor.know("c9", "secret-0123456789");
        vendor.change(|script| {
            script.secret_place = place;
            script.authorization_server = json!({"token_endpoint_auth_methods_supported": listed});
        });
        let answer =
            json!({"client_id": "c9", "client_secret": "secret-0123456789", "token_endpoint_auth_method": "none"});
        vendor.fault(On::Path("/register"), Effect::Answer(Reply::new(201).json(&answer)));
        let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        run.expect_success();
        let requests = vendor.records_at("/token");
        let sent: Vec<bool> = requests.iter().map(|request| request.form().contains_key("client_secret")).collect();
        assert_eq!(sent, [false, true], "{listed}");
    }
}

/// d5: a server that takes only pushed requests is named before anything is registered or opened.
#[test]
fn d5_pushed_requests_are_named_before_the_browser_opens() {
    for (required, code) in [(json!(true), 1), (json!(false), 0), (json!(null), 0)] {
        let script = Script {
            authorization_server: json!({
                "require_pushed_authorization_requests": required,
                "pushed_authorization_request_endpoint": "https://as.example/par",
            }),
            ..Script::people()
        };
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        let (run, browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        let run = run.expect_code(code);
        if code == 1 {
            assert!(run.stderr.contains("pushed") && run.stderr.contains("PAR"), "{}", run.stderr);
            assert!(browser.starts().is_empty() && vendor.records_at("/register").is_empty());
        }
    }
}

/// d8: how long a sign-in lasts is said as people say it, and a token that still lives is not said to have ended.
#[test]
fn d8_when_a_sign_in_ends() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script { refresh_tokens: false, ..Script::people() }));
    let (run, _browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
    let run = run.expect_success();
    let said = run.stderr.lines().find(|line| line.contains("Valid for ")).unwrap_or_else(|| panic!("{}", run.stderr));
    assert!(said.contains(" min") && !said.contains('Z'), "{said}");
    let run = sandbox.finmcp(["token", &vendor.url(), "--force-refresh"]).expect_code(4);
    assert!(!run.stderr.contains("ended") && run.stderr.contains("no refresh token"), "{}", run.stderr);
}
