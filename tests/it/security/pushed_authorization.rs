//! Pushed authorization requests (PAR, RFC 9126), against the scripted vendor. tests/it/security/fapi.rs has a certified
//! server that requires them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    browser::{FakeBrowser, Person, login, sign_in_at},
    eventually,
    sandbox::{Run, Sandbox},
    serve::{Serve, modern},
    vendor::{Dpop, Effect, On, Pushing, Registration, Reply, Script, SecretPlace, Vendor},
    visitor::{get, visit},
};

const SECRET: &str = "secret:0123456789+/%";

fn people(pushing: Pushing) -> Script {
    Script { pushing: Some(pushing), ..Script::people() }
}

fn sign_in(sandbox: &mut Sandbox, vendor: &Vendor, more: &[&str]) -> (Run, FakeBrowser) {
    login(sandbox, Person::Consents, &vendor.url(), &[&["--timeout", "20"], more].concat())
}

/// The names of the parameters that the browser had in its URL, in each request.
fn in_browser(vendor: &Vendor) -> Vec<Vec<String>> {
    vendor.records_at("/authorize").iter().map(|request| request.query().into_keys().collect()).collect()
}

/// d5: the browser has only a reference, for every kind of client; the server gets each parameter once, and the client's
/// authentication as at the token endpoint.
#[test]
fn d5_a_pushed_request_leaves_the_browser_only_a_reference() {
    for pushing in [Pushing::Offered, Pushing::Required] {
        for (methods, place, more) in [
            (json!(["none"]), None, &[][..]),
            (json!(["client_secret_basic"]), Some("header"), &["--client-id", "c9"]),
            (json!(["client_secret_post"]), Some("form"), &["--client-id", "c9"]),
        ] {
            let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(people(pushing)));
            vendor.know("c9", SECRET);
            vendor.change(|script| {
                script.authorization_server = json!({"token_endpoint_auth_methods_supported": methods});
            });
            let file = sandbox.give("secret", SECRET);
            let file = ["--client-secret-file", file.to_str().unwrap()];
            let more = if place.is_some() { [more, &file].concat() } else { more.to_vec() };
            let (run, browser) = sign_in(&mut sandbox, &vendor, &[&more[..], &["--param", "login_hint=a&b"]].concat());
            run.expect_success();
            assert_eq!(in_browser(&vendor), [["client_id", "request_uri"]], "{pushing:?} {place:?}");
            let [pushed] = &vendor.records_at("/par")[..] else { panic!("not one pushed request") };
            let form = pushed.form();
            let names: Vec<&str> = form.keys().map(String::as_str).collect();
            let mut wanted = vec![
                "client_id",
                "code_challenge",
                "code_challenge_method",
                "login_hint",
                "redirect_uri",
                "resource",
                "response_type",
                "state",
            ];
            if place == Some("form") {
                wanted.insert(1, "client_secret");
                wanted.sort_unstable();
            }
            assert_eq!(names, wanted);
            assert_eq!((&form["login_hint"][..], &form["code_challenge_method"][..]), ("a&b", "S256"));
            assert_eq!(pushed.header("authorization").is_some(), place == Some("header"));
            let page = &browser.starts()[0].arguments[0];
            assert!(!page.contains(&form["state"]) && !page.contains(&form["code_challenge"]), "{page}");
            sandbox.finmcp(["token", &vendor.url(), "--force-refresh"]).expect_success();
            assert_eq!(vendor.complaints(), Vec::<String>::new());
            sandbox.assert_no_secret(&[vendor.secrets(), vec![SECRET.to_owned()]].concat());
        }
    }
}

/// d5: with tokens that are bound to a key, the pushed request proves possession of it (RFC 9449 section 10.1), with a
/// nonce if the server asks for one.
#[test]
fn d5_a_pushed_request_proves_possession_of_the_key() {
    for nonces in [false, true] {
        let script = Script { dpop: Some(Dpop::Required), nonces, ..people(Pushing::Required) };
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        let (run, _browser) = sign_in(&mut sandbox, &vendor, &[]);
        run.expect_success();
        let pushed = vendor.records_at("/par");
        assert_eq!(pushed.len(), if nonces { 2 } else { 1 });
        assert!(pushed.iter().all(|request| request.header("dpop").is_some()));
        assert!(pushed[0].form().contains_key("dpop_jkt"));
        assert_eq!((in_browser(&vendor), vendor.complaints()), (vec![names(&["client_id", "request_uri"])], vec![]));
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// d5: an endpoint that does not exist is no obstacle where pushing is optional. Where it is required, no browser opens
/// and nothing goes into a URL.
#[test]
fn d5_a_missing_endpoint_matters_only_where_pushing_is_required() {
    for status in [404, 405, 501] {
        for (pushing, code) in [(Pushing::Offered, 0), (Pushing::Required, 3)] {
            let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(people(pushing)));
            vendor.fault(On::Path("/par"), Effect::status(status));
            let (run, browser) = sign_in(&mut sandbox, &vendor, &[]);
            let run = run.expect_code(code);
            if code == 0 {
                assert!(in_browser(&vendor)[0].contains(&"code_challenge".to_owned()));
                continue;
            }
            assert!(run.stderr.contains("PAR") && run.stderr.contains(&status.to_string()), "{}", run.stderr);
            assert!(run.stderr.contains("hint:"), "{}", run.stderr);
            assert!(browser.starts().is_empty() && in_browser(&vendor).is_empty());
        }
    }
}

/// d5: every other failure ends the sign-in even where pushing is optional, so that finmcp cannot be made to put the
/// parameters into a URL; and no browser opens.
#[test]
fn d5_no_other_failure_is_a_reason_to_put_the_request_into_a_url() {
    let json = |status, body: Value| Reply::new(status).json(&body);
    let refusal = |code| json(400, json!({"error": code, "error_description": "no"}));
    for (reply, code, words) in [
        (refusal("invalid_scope"), 1, "invalid_scope"),
        (refusal("invalid_request"), 1, "invalid_request"),
        (json(404, json!({"error": "invalid_client"})), 1, "invalid_client"),
        (Reply::new(500), 3, "HTTP 500"),
        (Reply::new(429), 3, "HTTP 429"),
        (Reply::new(403), 3, "HTTP 403"),
        (Reply::new(307).header("location", "/par2"), 5, "redirect"),
        (json(201, json!({"expires_in": 60})), 5, "PAR"),
        (json(201, json!({"request_uri": ""})), 5, "PAR"),
        (json(201, json!({"request_uri": "a\u{1b}[2J"})), 5, "PAR"),
        (json(201, json!({"request_uri": "u".repeat(4000)})), 5, "PAR"),
        (Reply::new(201).body("application/json", r#"{"request_uri":"a","request_uri":"b"}"#), 5, "PAR"),
        (Reply::new(201).body("text/html", "<html>"), 5, "PAR"),
    ] {
        for pushing in [Pushing::Offered, Pushing::Required] {
            let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(people(pushing)));
            vendor.fault(On::Path("/par"), Effect::Answer(reply.clone()));
            let (run, browser) = sign_in(&mut sandbox, &vendor, &[]);
            let run = run.expect_code(code);
            assert!(run.stderr.contains(words) && !run.stderr.contains('\u{1b}'), "{words}: {}", run.stderr);
            assert!(browser.starts().is_empty() && in_browser(&vendor).is_empty(), "{words}");
            assert!(vendor.records_at("/par2").is_empty());
        }
    }
}

/// d5: a server that requires what it does not offer, or names an endpoint that no request may go to, is refused before
/// finmcp registers a client; `doctor` says the same.
#[test]
fn d5_an_endpoint_that_must_not_be_called() {
    for endpoint in [
        Value::Null,
        json!("http://as.example/par"),
        json!("https://10.0.0.1/par"),
        json!("https://u:p@as.example/par"),
        json!("javascript:alert(1)"),
        json!(""),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(people(Pushing::Required)));
        vendor.change(|script| {
            script.authorization_server = json!({"pushed_authorization_request_endpoint": endpoint});
        });
        let (run, browser) = sign_in(&mut sandbox, &vendor, &[]);
        let run = run.expect_code(5);
        assert!(run.stderr.contains("pushed_authorization_request_endpoint"), "{endpoint}: {}", run.stderr);
        assert!(browser.starts().is_empty() && vendor.records_at("/register").is_empty());
        let doctor = sandbox.finmcp(["doctor", &vendor.url()]);
        assert!(doctor.stdout.contains("pushed_authorization_request_endpoint"), "{}", doctor.stdout);
    }
}

/// d5: a server that has forgotten its client says so when the request is pushed; finmcp registers a new one, and the
/// user sees one page.
#[test]
fn d5_a_client_that_the_server_has_forgotten_is_registered_again() {
    let unknown_uri = json!({"error": "invalid_request", "error_description": "redirect_uri is not registered"});
    for reply in [None, Some(Reply::new(400).json(&unknown_uri))] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(people(Pushing::Required)));
        let (run, browser) = sign_in(&mut sandbox, &vendor, &[]);
        run.expect_success();
        match reply {
            None => vendor.forget_clients(),
            Some(reply) => vendor.fault(On::Path("/par"), Effect::Answer(reply)),
        }
        sandbox.finmcp(["login", &vendor.url(), "--timeout", "20"]).expect_success();
        let clients: Vec<_> = vendor.records_at("/par").iter().map(|push| push.form()["client_id"].clone()).collect();
        assert_eq!(clients, ["client-1", "client-1", "client-2"]);
        assert_eq!((vendor.records_at("/authorize").len(), browser.starts().len()), (2, 2));
        assert_eq!(vendor.records_at("/register").len(), 2);
    }
}

/// d5: a new client whose secret the server looks for elsewhere is authenticated the other way, from the push on.
#[test]
fn d5_a_pushed_request_tries_the_other_place_for_the_secret() {
    for place in [SecretPlace::Form, SecretPlace::Header] {
        let script =
            Script { registration: Registration::Confidential, secret_place: Some(place), ..people(Pushing::Required) };
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        let answer = |id: &str, method: &str| json!({"client_id": id, "client_secret": SECRET, "token_endpoint_auth_method": method});
        vendor.know("c9", SECRET);
        let method = if place == SecretPlace::Form { "client_secret_basic" } else { "client_secret_post" };
        vendor.fault(On::Path("/register"), Effect::Answer(Reply::new(201).json(&answer("c9", method))));
        let (run, _browser) = sign_in(&mut sandbox, &vendor, &[]);
        run.expect_success();
        let in_form = |path| {
            let requests = vendor.records_at(path);
            requests.iter().map(|request| request.form().contains_key("client_secret")).collect::<Vec<_>>()
        };
        let right = place == SecretPlace::Form;
        assert_eq!((in_form("/par"), in_form("/token")), (vec![!right, right], vec![right]), "{place:?}");
    }
}

/// d5: a user who opens the page by hand gets a new address when the first has expired. It is the same sign-in.
#[test]
fn d5_a_page_that_expired_gets_a_new_address() {
    let script = Script { pushed_life: json!(1), ..people(Pushing::Required) };
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    let mut login = sandbox.start(["login", &vendor.url(), "--no-browser", "--timeout", "60"]);
    let page = eventually("the second address", || {
        let said = login.stderr();
        let (_, after) = said.split_once("has expired")?;
        after.lines().map(str::trim).find(|line| line.starts_with("http://")).map(str::to_owned)
    });
    sign_in_at(&page);
    assert_eq!(login.exit_within(Duration::from_secs(20)), Some(0), "{}", login.stderr());
    let states: Vec<_> = vendor.records_at("/par").iter().map(|push| push.form()["state"].clone()).collect();
    assert!(states.len() >= 2 && states[0] == states[1], "{states:?}");
    assert_eq!(vendor.complaints(), Vec::<String>::new());
}

/// How an AI client shows a sign-in.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shown {
    /// `elicitation/create`, in the middle of a call.
    Legacy,
    /// `input_required`.
    Modern,
    /// The text of `finmcp_sign_in`.
    Text,
}

/// Asks for a sign-in; returns the address that the client shows.
fn invitation(serve: &mut Serve, shown: Shown) -> String {
    let shows = json!({"elicitation": {"url": {}}});
    let call = json!({"name": "echo", "arguments": {"message": "hi"}});
    let info = json!({"name": "t", "version": "1"});
    let initialize = |capabilities: Value| json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": info});
    match shown {
        Shown::Legacy => {
            serve.request("initialize", initialize(shows)).result();
            serve.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
            serve.post("tools/call", call);
            serve.incoming("elicitation/create").json()["params"]["url"].as_str().unwrap().to_owned()
        }
        Shown::Modern => {
            serve.request("server/discover", modern(json!({}))).result();
            let mut call = modern(call);
            call["_meta"]["io.modelcontextprotocol/clientCapabilities"] = shows;
            let result = serve.request("tools/call", call).result();
            let question = result["inputRequests"].as_object().unwrap().values().next().unwrap().clone();
            question["params"]["url"].as_str().unwrap().to_owned()
        }
        Shown::Text => {
            serve.request("initialize", initialize(json!({}))).result();
            serve.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
            let result = serve.call("finmcp_sign_in", json!({})).result();
            let text = result["content"][0]["text"].as_str().unwrap();
            text.lines().find(|line| line.starts_with("http")).unwrap().to_owned()
        }
    }
}

/// d5: an AI client's user opens the page when they get to it, long after the pushed request has expired. The link that
/// the client shows pushes it again, as often as it is opened; it is the same sign-in, and only the first response counts.
#[test]
fn d5_a_link_that_an_ai_client_shows_outlives_the_pushed_request() {
    for shown in [Shown::Legacy, Shown::Modern, Shown::Text] {
        let script = Script { pushed_life: json!(2), ..people(Pushing::Required) };
        let script = if shown == Shown::Modern { script.modern() } else { script };
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        let _browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
        let mut serve = sandbox.serve([vendor.url()]);
        let link = invitation(&mut serve, shown);
        assert!(link.starts_with("http://127.0.0.1:") && !link.contains("request_uri"), "{shown:?}: {link}");
        vendor.expire_pushed_requests();
        // An AI client's preview opens it too, and the user more than once.
        for _ in 0..2 {
            let page = get(&link);
            assert_eq!(page.status, 303, "{}", page.text());
            assert!(page.header("location").unwrap().starts_with(&format!("{}/authorize?", vendor.origin())));
            vendor.expire_pushed_requests();
        }
        let pages = sign_in_at(&link);
        assert!(pages.last().unwrap().text().contains("You are signed in"), "{shown:?}: {pages:?}");
        eventually("the sign-in", || (sandbox.finmcp(["token", &vendor.url()]).code == Some(0)).then_some(()));
        let pushed = vendor.records_at("/par");
        assert_eq!(pushed.len(), 4, "{shown:?}");
        assert!(pushed.iter().all(|push| push.form()["state"] == pushed[0].form()["state"]), "one sign-in");
        assert_eq!((vendor.records_at("/token").len(), vendor.complaints()), (1, vec![]));
        // The link ended with the sign-in, and with it the listener.
        assert!(visit("GET", &link, &[], "").is_err(), "{shown:?}");
    }
}

/// d5: where nothing is pushed nothing expires, and the client shows the server's own page.
#[test]
fn d5_a_request_that_was_not_pushed_needs_no_link() {
    for script in [Script::people(), people(Pushing::Offered)] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        vendor.fault(On::Path("/par"), Effect::status(404));
        let _browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
        let address = invitation(&mut sandbox.serve([vendor.url()]), Shown::Legacy);
        assert!(address.starts_with(&format!("{}/authorize?", vendor.origin())), "{address}");
    }
}

/// d5: a server that no longer accepts the pushed request: the browser is told, and the link works again later.
#[test]
fn d5_a_link_whose_page_the_server_refuses_can_be_opened_again() {
    for effect in [Effect::status(500), Effect::status(429), Effect::Answer(Reply::new(400))] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(people(Pushing::Required)));
        let _browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
        let mut serve = sandbox.serve([vendor.url()]);
        let link = invitation(&mut serve, Shown::Legacy);
        vendor.fault(On::Path("/par"), effect);
        let page = get(&link);
        assert_eq!((page.status, page.header("location")), (503, None));
        sign_in_at(&link);
        eventually("the sign-in", || (sandbox.finmcp(["token", &vendor.url()]).code == Some(0)).then_some(()));
    }
}
