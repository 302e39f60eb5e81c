//! What belongs to one server stays with it: its tokens, its client, its sign-in.

use std::fs;

use serde_json::json;

use crate::{
    commands::login::CLIENT_SECRET,
    support::{
        browser::{FakeBrowser, Person, signed_in},
        sandbox::{Run, Sandbox},
        secrets::Canary,
        vendor::{Effect, Era, Guard, On, Registration, Reply, Script, Vendor},
    },
};

/// A vendor that knows the client `x` and its secret.
fn confidential() -> Script {
    Script {
        registration: Registration::Closed,
        clients: vec![("x".to_owned(), Some(CLIENT_SECRET.to_owned()))],
        ..Script::people()
    }
}

/// Signs in as the client `x`, by its own credentials.
fn machine_sign_in(sandbox: &Sandbox, vendor: &Vendor, more: &[&str]) -> Run {
    let secret = sandbox.give("client-secret", CLIENT_SECRET).display().to_string();
    let url = vendor.url();
    let arguments =
        ["login", &url, "--grant", "client-credentials", "--client-id", "x", "--client-secret-file", &secret];
    sandbox.finmcp([&arguments, more].concat())
}

/// Panics where `vendor` got any of `secrets`, in whatever form.
#[track_caller]
fn assert_got_none(vendor: &Vendor, secrets: &[String]) {
    assert!(!secrets.is_empty());
    for record in vendor.records() {
        for secret in secrets {
            let head = format!("{} {} {:?}", record.path, record.query, record.headers);
            Canary::new(secret).assert_absent(head.as_bytes(), "another server");
            Canary::new(secret).assert_absent(&record.body, "another server");
        }
    }
}

/// t017, t040: a server that names another authorization server than before: that one gets a new registration,
/// and nothing that the first one gave; the sign-in that there is goes on with the first.
#[test]
fn t017_another_authorization_server_gets_nothing_of_the_first() {
    let mut sandbox = Sandbox::new();
    let others = (0..4).map(|number| (format!("other-{number}"), None)).collect();
    let first = Vendor::start(Script { registration: Registration::Confidential, clients: others, ..Script::people() });
    let second = Vendor::start(Script { registration: Registration::Confidential, ..Script::people() });
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let url = first.url();
    sandbox.finmcp(["login", &url]).expect_success();
    assert_eq!(first.records_at("/token")[0].form()["client_id"], "client-5");
    let secrets = first.secrets();

    first.change(|script| script.protected_resource = json!({"authorization_servers": [second.origin()]}));
    sandbox.finmcp(["token", &url, "--force-refresh"]).expect_success();
    assert!(second.records().is_empty(), "a renewal asks whom it always asked");
    // The second one grants nothing for the first one's resource, and is asked all the same.
    sandbox.finmcp(["login", &url]);
    assert_eq!((second.records_at("/register").len(), browser.starts().len()), (1, 2));
    assert_eq!(second.records_at("/token")[0].form()["client_id"], "client-1");
    assert_got_none(&second, &secrets);
    assert!(second.records().iter().all(|record| !format!("{record:?}{}", record.text()).contains("client-5")));
}

/// t017: a client that was registered by hand belongs to the server that it was registered with: another one is refused,
/// even where its secret is given once more, unless the person names it.
#[test]
fn t017_a_registered_client_is_used_only_at_its_server() {
    let (mut sandbox, first, second) = (Sandbox::new(), Vendor::start(confidential()), Vendor::start(confidential()));
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    machine_sign_in(&sandbox, &first, &[]).expect_success();
    first.change(|script| script.protected_resource = json!({"authorization_servers": [second.origin()]}));
    let secret = sandbox.give("client-secret", CLIENT_SECRET).display().to_string();
    let url = first.url();
    for grant in ["client-credentials", "authorization-code"] {
        let client = ["--grant", grant, "--client-id", "x", "--client-secret-file", &secret];
        let run = sandbox.finmcp([&["login", &url], &client[..]].concat()).expect_code(5);
        run.expect_stderr(&[&second.origin(), &format!("registered with {}", first.origin()), "--issuer"]);
        assert!(browser.starts().is_empty(), "{grant}");
        assert_got_none(&second, &first.secrets());
        assert!(second.records().iter().all(|record| record.method == "GET"));
    }
    sandbox.finmcp(["token", &first.url()]).expect_success();
    let issuer = second.origin();
    machine_sign_in(&sandbox, &first, &["--issuer", &issuer]);
    assert_eq!(second.records_at("/token").len(), 1, "where the person says so it is asked");
}

/// t044: a sign-in is for the server that it was made for: where the address is changed by hand, there is no sign-in
/// there, be it another origin or another path.
#[test]
fn t044_a_changed_address_is_not_signed_in() {
    let (sandbox, first) = (Sandbox::new(), Vendor::start(confidential()));
    machine_sign_in(&sandbox, &first, &["--profile", "books"]).expect_success();
    sandbox.finmcp(["token", "books"]).expect_success();
    let file = sandbox.home().join("finmcp").join("config.toml");
    let saved = fs::read_to_string(&file).unwrap();
    for guard in [Guard::Bearer, Guard::Open] {
        let second = Vendor::start(Script { guard, ..confidential() });
        for url in [second.url(), first.at("/mcp/other"), first.at("/other")] {
            let line = format!("url = \"{}\"\n", first.url());
            assert!(saved.contains(&line), "{saved}");
            fs::write(&file, saved.replacen(&line, &format!("url = \"{url}\"\n"), 1)).unwrap();
            sandbox.finmcp(["token", "books"]).expect_code(4);
            sandbox.finmcp(["token", &url]).expect_code(4);
            let before = first.records().len();
            let mut serve = sandbox.serve(["books"]);
            serve.initialize();
            serve.request("tools/list", json!({}));
            assert_got_none(&second, &first.secrets());
            assert!(first.records()[before..].iter().all(|record| record.header("authorization").is_none()), "{url}");
        }
    }
    fs::write(&file, &saved).unwrap();
    sandbox.finmcp(["token", "books"]).expect_success();
}

/// t044, t046: a token is its own server's alone: another one, though it names the same authorization server, gets none,
/// and there is no way to write one down for it.
#[test]
fn t044_t046_no_token_is_shared_or_stored_in_plain_text() {
    let (sandbox, first) = (Sandbox::new(), Vendor::start(confidential()));
    machine_sign_in(&sandbox, &first, &[]).expect_success();
    for guard in [Guard::Bearer, Guard::Open] {
        let resource = json!({"authorization_servers": [first.origin()]});
        let second = Vendor::start(Script { guard, protected_resource: resource, ..confidential() });
        let mut serve = sandbox.serve([second.url()]);
        serve.initialize();
        serve.call("echo", json!({"message": "hi"}));
        sandbox.finmcp(["token", &second.url()]).expect_code(4);
        assert!(second.records().iter().all(|record| record.header("authorization").is_none()));
        assert_got_none(&second, &first.secrets());
    }

    let file = sandbox.home().join("finmcp").join("config.toml");
    let saved = fs::read_to_string(&file).unwrap();
    let second = Vendor::start(confidential());
    for member in
        ["headers = { Authorization = 'Bearer pasted' }", "header = 'x'", "token = 'pasted'", "access_token = 'pasted'"]
    {
        let profile = format!("{saved}\n[profiles.second]\nurl = {:?}\n{member}\n", second.url());
        fs::write(&file, profile).unwrap();
        let name = member.split([' ', '=']).next().unwrap();
        let name = if name == "headers" { "remove header \"authorization\"" } else { name };
        sandbox.finmcp(["token", "second"]).expect_code(2).expect_stderr(&["config.toml", name]);
    }
    assert!(second.records().is_empty());
}

/// t047, a8: the bridge's requests go on to their own address where the server says so, once, with their token and to
/// their end; nothing goes to another path or origin, and none becomes another request.
#[test]
fn t047_a8_a_redirect_is_followed_to_the_same_address_alone() {
    let elsewhere = Vendor::start(Script { sessions: false, ..Script::default() });
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(confidential()));
    machine_sign_in(&sandbox, &vendor, &[]).expect_success();
    let mut serve = sandbox.serve([vendor.url()]);
    let redirect = |on: On, status: u16, location: &str| {
        vendor.fault(on, Effect::Answer(Reply::new(status).header("location", location)));
    };
    // From the first request on; the GET stream too.
    redirect(On::Rpc("initialize"), 307, "/mcp");
    redirect(On::Method("GET"), 308, "/mcp");
    serve.initialize().result();
    serve.request("ping", json!({})).result();
    assert_eq!(vendor.stream_count(), 1);
    for status in [301, 302, 307, 308] {
        let (received, executed) = (vendor.calls("tools/call").len(), vendor.executed().len());
        redirect(On::Rpc("tools/call"), status, &vendor.url());
        let message = format!("after {status}");
        let answer = serve.call("echo", json!({"message": message}));
        assert_eq!(answer.result()["content"][0]["text"], message.as_str());
        let calls = vendor.calls("tools/call").split_off(received);
        assert_eq!((calls.len(), vendor.executed().len() - executed), (2, 1));
        assert!(calls.windows(2).all(|pair| pair[0].body == pair[1].body && pair[0].headers == pair[1].headers));
    }

    let (host, port) = (elsewhere.url(), elsewhere.origin().rsplit(':').next().unwrap().to_owned());
    let own_port = vendor.origin().rsplit(':').next().unwrap().to_owned();
    for status in [301, 302, 303, 307, 308] {
        let mut locations = vec![
            host.clone(),
            host.replace("http:", ""),
            format!("http://localhost:{port}/mcp"),
            format!("http://localhost:{own_port}/mcp"),
            format!("https://127.0.0.1:{own_port}/mcp"),
            format!("http://u:p@127.0.0.1:{own_port}/mcp"),
            "https://evil.example/mcp".to_owned(),
        ];
        locations.extend(["/other", "/", "/mcp/x", "/mcp?a=b"].map(str::to_owned));
        if status == 303 {
            locations.push("/mcp".to_owned());
        }
        for location in locations {
            let (received, executed) = (vendor.calls("tools/call").len(), vendor.executed().len());
            redirect(On::Rpc("tools/call"), status, &location);
            let error = serve.call("echo", json!({"message": "hi"})).error();
            let text = error["message"].as_str().unwrap();
            assert!(text.contains(&format!("(HTTP {status}); finmcp did not follow it")), "{location}: {text}");
            // A server that answers 307 or 308 has not taken it. The others do not say.
            let code = if status < 307 { -31010 } else { -31005 };
            assert_eq!(error["code"], code, "{location}: {text}");
            assert_eq!(vendor.calls("tools/call").len() - received, 1, "{status} {location}");
            assert_eq!(vendor.executed().len(), executed, "{status} {location}");
        }
    }
    // One that goes round is left after the first.
    let received = vendor.calls("tools/call").len();
    for _ in 0..10 {
        redirect(On::Rpc("tools/call"), 307, "/mcp");
    }
    serve.call("echo", json!({"message": "hi"})).error();
    assert_eq!(vendor.calls("tools/call").len() - received, 2);
    assert!(elsewhere.records().is_empty());
    assert_eq!(vendor.complaints(), Vec::<String>::new());
}

/// t047: a server that is found at another path of its origin is asked there from the first request of a sign-in on.
#[test]
fn t047_a_sign_in_starts_at_the_servers_address() {
    let script = Script { challenge_scope: Some("invoices:read"), ..Script::people() };
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    vendor.fault(On::Path("/mcp"), Effect::Answer(Reply::new(307).header("location", "/mcp")));
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", &vendor.url()]).expect_success();
    assert_eq!(browser.starts().len(), 1);
    // Nowhere else could it be read.
    assert_eq!(vendor.records_at("/authorize")[0].query()["scope"], "invoices:read");

    // One that leads elsewhere, and publishes nothing, is refused.
    let elsewhere = Vendor::start(Script::people());
    let open = Vendor::start(Script { publishes_metadata: false, ..Script::default() });
    for status in [301, 302, 307, 308] {
        open.fault(On::Path("/mcp"), Effect::Answer(Reply::new(status).header("location", elsewhere.url())));
        let run = sandbox.finmcp(["login", &open.url()]).expect_code(5);
        run.expect_stderr(&[
            &format!("redirects to {} (HTTP {status}); finmcp did not follow it", elsewhere.url()),
            "sign in at its new address",
        ]);
    }
    assert!(elsewhere.records().is_empty() && browser.starts().len() == 1);
}

/// t049: tokens, codes, secrets and session ids are in no address that is asked for, in either era.
#[test]
fn t049_nothing_secret_is_in_an_address() {
    for script in [Script::people(), Script::people().modern()] {
        let is_modern = script.era == Era::Modern;
        let script = Script { registration: Registration::Confidential, ..script };
        let vendor = Vendor::start(script);
        let (sandbox, browser) = signed_in(&vendor, &[]);
        let url = vendor.url();
        let mut serve = sandbox.serve([&url]);
        if is_modern {
            vendor.revoke_access_tokens();
            serve.call_modern("echo", json!({"message": "hi"})).result();
        } else {
            serve.initialize();
            vendor.revoke_access_tokens();
            serve.call("echo", json!({"message": "hi"})).result();
        }
        serve.close_stdin();
        serve.exit_within(std::time::Duration::from_secs(5));
        sandbox.finmcp(["logout", &url]).expect_success();

        let secrets = vendor.secrets();
        for kind in ["access-token", "refresh-token", "client-secret", "code"] {
            assert!(secrets.iter().any(|secret| secret.starts_with(kind)), "no {kind} was there to be seen");
        }
        let mut addresses: Vec<String> =
            vendor.records().iter().map(|record| format!("{}?{}", record.path, record.query)).collect();
        addresses.extend(browser.starts().iter().map(|start| start.arguments.join(" ")));
        let referrers =
            vendor.records().iter().filter_map(|record| record.header("referer").map(str::to_owned)).count();
        assert_eq!(referrers, 0);
        for secret in &secrets {
            Canary::new(secret).assert_absent(addresses.join("\n").as_bytes(), "an address");
        }
        assert_eq!(vendor.complaints(), Vec::<String>::new());
    }
}
