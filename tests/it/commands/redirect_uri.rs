//! `--redirect-uri`: a client that is registered with one exact address of this machine.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

use serde_json::json;

use crate::support::{
    browser::{FakeBrowser, Person, sign_in_at},
    sandbox::Sandbox,
    vendor::{Effect, On, Registration, Reply, Script, Vendor},
};

/// A vendor that knows one client, registered by hand.
fn vendor() -> Vendor {
    let clients = vec![("by-hand".to_owned(), None)];
    Vendor::start(Script { registration: Registration::Closed, clients, ..Script::people() })
}

/// A port that was free on both addresses a moment ago.
fn free_port() -> u16 {
    loop {
        let here = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = here.local_addr().unwrap().port();
        let there = TcpListener::bind((Ipv6Addr::LOCALHOST, port));
        if there.is_ok_and(|_| true) || TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            return port;
        }
    }
}

fn config(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(sandbox.home().join("finmcp/config.toml")).unwrap_or_default()
}

/// It goes to the server byte for byte, in both requests; the browser comes back to it; and the next sign-in, here or in a
/// client, uses the same without a word.
#[test]
fn b2_a_fixed_redirect_uri_is_used_and_remembered() {
    for spelled in
        ["http://localhost:{}/callback", "http://localhost:{}", "http://127.0.0.1:{}/oauth/back", "http://[::1]:{}/x/"]
    {
        if spelled.contains("::1") && TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            continue;
        }
        let uri = spelled.replace("{}", &free_port().to_string());
        let (mut sandbox, vendor) = (Sandbox::new(), vendor());
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        let url = vendor.url();
        sandbox
            .finmcp(["login", &url, "--profile", "work", "--client-id", "by-hand", "--redirect-uri", &uri])
            .expect_success();
        assert!(config(&sandbox).contains(&format!("redirect_uri = \"{uri}\"")), "{}", config(&sandbox));
        sandbox.finmcp(["login", "work"]).expect_success();
        sandbox.finmcp(["logout", "work"]).expect_success();
        drop(browser);
        let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
        let mut serve = sandbox.serve(["work"]);
        serve.initialize().result();
        let result = serve.call("finmcp_sign_in", json!({})).result();
        let text = result["content"][0]["text"].as_str().unwrap();
        sign_in_at(text.lines().find(|line| line.starts_with("http")).unwrap());
        vendor.wait_for("the third sign-in", |record| record.path == "/token" && record.form()["redirect_uri"] == uri);
        serve.incoming("notifications/tools/list_changed");
        drop(browser);
        let asked: Vec<_> =
            vendor.records_at("/authorize").iter().map(|record| record.query()["redirect_uri"].clone()).collect();
        let redeemed: Vec<_> = vendor
            .records_at("/token")
            .iter()
            .filter_map(|record| record.form().get("redirect_uri").cloned())
            .collect();
        assert_eq!((asked, redeemed), (vec![uri.clone(); 3], vec![uri.clone(); 3]));
        // A port alone is another redirect URI.
        let port = free_port().to_string();
        let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        sandbox.finmcp(["login", "work", "--port", &port]).expect_success();
        let asked = vendor.records_at("/authorize").last().unwrap().query()["redirect_uri"].clone();
        assert_eq!(asked, format!("http://127.0.0.1:{port}/callback"));
        assert!(!config(&sandbox).contains("redirect_uri"), "{}", config(&sandbox));
    }
}

/// `serve` takes it like the other options of a sign-in.
#[test]
fn b2_serve_takes_a_redirect_uri() {
    let (mut sandbox, vendor) = (Sandbox::new(), vendor());
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let (url, uri) = (vendor.url(), format!("http://localhost:{}/cb", free_port()));
    let mut serve = sandbox.serve([&url[..], "--client-id", "by-hand", "--redirect-uri", &uri, "--sign-in", "auto"]);
    serve.initialize().result();
    serve.echo("hi");
    assert_eq!(browser.starts().len(), 1);
    assert_eq!(vendor.records_at("/authorize")[0].query()["redirect_uri"], uri);
    assert!(config(&sandbox).contains(&uri), "{}", config(&sandbox));
}

/// t033: where another program has the port, on either address of `localhost`, that is said before a browser opens.
#[test]
fn b2_t033_an_occupied_port_is_reported_before_the_browser_opens() {
    for (host, squats) in
        [("localhost", "127.0.0.1:0"), ("localhost", "[::1]:0"), ("127.0.0.1", "127.0.0.1:0"), ("[::1]", "[::1]:0")]
    {
        let Ok(squatter) = TcpListener::bind(squats) else {
            assert!(squats.contains("::1"), "{squats}");
            continue;
        };
        let address = squatter.local_addr().unwrap();
        let (mut sandbox, vendor) = (Sandbox::new(), vendor());
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        let uri = format!("http://{host}:{}/callback", address.port());
        let (url, port) = (vendor.url(), address.to_string());
        sandbox
            .finmcp(["login", &url, "--client-id", "by-hand", "--redirect-uri", &uri])
            .expect_code(1)
            .expect_stderr(&[&port, "end the program that uses this port", "--redirect-uri"]);
        assert!(browser.starts().is_empty() && vendor.records_at("/authorize").is_empty(), "{host} {squats}");
        assert_eq!(config(&sandbox), "");
    }
}

/// A port that is reserved, or that another program has: the error says which one, why, and what to do.
#[test]
fn b2_t033_a_port_that_cannot_be_used_is_named() {
    // Without the right to bind it here, finmcp has none either.
    let squatter = TcpListener::bind("127.0.0.1:80");
    let is_reserved = squatter.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
    for (option, value, hint) in [
        ("--redirect-uri", "http://127.0.0.1:80/callback", "with --redirect-uri"),
        ("--redirect-uri", "http://localhost:80", "with --redirect-uri"),
        ("--port", "80", "omit --port"),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), vendor());
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        let why = if is_reserved { "1024 or higher" } else { "uses this port" };
        sandbox
            .finmcp(["login", &vendor.url(), "--client-id", "by-hand", option, value])
            .expect_code(1)
            .expect_stderr(&["127.0.0.1:80", "caused by", why, hint]);
        assert!(browser.starts().is_empty() && vendor.records_at("/authorize").is_empty(), "{option} {value}");
    }
}

/// Anything but this machine is refused at once, and so is a parameter that would be dropped; what to do is said.
#[test]
fn b2_unusable_redirect_uris_and_parameters_are_usage_errors() {
    let (sandbox, vendor) = (Sandbox::new(), vendor());
    let url = vendor.url();
    for (arguments, said) in [
        (&["--redirect-uri", "https://localhost:3118/callback"][..], "must begin with http://"),
        (&["--redirect-uri", "http://evil.example:3118/callback"], "127.0.0.1, [::1] or localhost"),
        (&["--redirect-uri", "http://127.0.0.1.evil.example:3118/"], "127.0.0.1, [::1] or localhost"),
        (&["--redirect-uri", "http://0.0.0.0:3118/callback"], "127.0.0.1, [::1] or localhost"),
        (&["--redirect-uri", "http://localhost/callback"], "must name a port"),
        (&["--redirect-uri", "http://localhost:0/callback"], "must name a port"),
        (&["--redirect-uri", "http://localhost:3118/callback?x=y"], "no query"),
        (&["--redirect-uri", "http://localhost:3118/callback", "--port", "3118"], "--port"),
        (&["--param", "redirect_uri=http://localhost:3118/callback"], "use --redirect-uri to set redirect_uri"),
        (&["--param", "client_secret=CANARY"], "use --client-secret-file to set client_secret"),
        (&["--param", "client_id=x"], "use --client-id to set client_id"),
        (&["--param", "scope=x"], "use --scope to set scope"),
        (&["--param", "resource=x"], "use --resource to set resource"),
        (&["--param", "state=x"], "finmcp sets state"),
        (&["--param", "code_challenge=x"], "finmcp sets code_challenge"),
        (&["--param", "response_type=token"], "finmcp sets response_type"),
        (&["--param", "request_uri=urn:x"], "finmcp sets request_uri"),
    ] {
        for command in ["login", "serve"] {
            if command == "serve" && arguments.contains(&"--port") {
                continue;
            }
            let arguments = [&[command, &url], arguments].concat();
            let run = sandbox.finmcp(&arguments).expect_code(2).expect_stderr(&[said]);
            assert!(!run.stderr.contains("CANARY"), "{}", run.stderr);
        }
    }
    assert!(vendor.records().is_empty());
    // Nor is it written into a client's file, where it would be refused later.
    let cursor = ["setup", "cursor", "tesorio", "--print", "--", "--param", "state=x"];
    sandbox.finmcp(cursor).expect_code(2).expect_stderr(&["finmcp sets state"]);
    // The same in config.toml: the profile says what is wrong with it.
    for (line, said) in [
        ("redirect_uri = 'http://evil.example:1/'", "redirect_uri its host must be"),
        ("parameters = { redirect_uri = 'http://localhost:1/' }", "--redirect-uri"),
        ("parameters = { state = 'x' }", "finmcp sets state"),
    ] {
        let folder = sandbox.home().join("finmcp");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.toml"), format!("[profiles.odd]\nurl = {url:?}\n{line}\n")).unwrap();
        let status = sandbox.finmcp(["status"]);
        let said_there = format!("{}{}", status.stdout, status.stderr);
        let words = said_there.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(said), "{line}: {said_there}");
    }
}

/// Servers that know a native application by `localhost` alone: the registration that they refuse is made again with that
/// name, and the next sign-in uses it.
#[test]
fn b2_a_registration_that_is_refused_for_its_host_is_made_with_localhost() {
    for code in ["invalid_redirect_uri", "invalid_client_metadata", "invalid_request"] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        vendor.fault(On::Path("/register"), Effect::Answer(Reply::new(400).json(&json!({"error": code}))));
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        let url = vendor.url();
        sandbox.finmcp(["login", &url]).expect_success();
        let registered: Vec<_> = vendor
            .records_at("/register")
            .iter()
            .map(|record| record.json()["redirect_uris"][0].as_str().unwrap().to_owned())
            .collect();
        assert!(registered[0].starts_with("http://127.0.0.1:"), "{code}: {registered:?}");
        assert!(registered[1].starts_with("http://localhost:"), "{code}: {registered:?}");
        sandbox.finmcp(["login", &url]).expect_success();
        let asked: Vec<_> =
            vendor.records_at("/authorize").iter().map(|record| record.query()["redirect_uri"].clone()).collect();
        // (One of them is finmcp's own question whether the server still knows the client.)
        assert_eq!(asked, [&registered[1][..]; 3], "{code}: the second sign-in uses the same registration");
        assert_eq!((vendor.records_at("/register").len(), browser.starts().len()), (2, 2), "{code}");
    }
}

/// A refusal of another kind is no reason to ask again, and neither is one of what the person has fixed.
#[test]
fn b2_a_registration_that_is_refused_otherwise_is_not_made_again() {
    let fixed = format!("http://127.0.0.1:{}/callback", free_port());
    for (code, arguments, registrations) in [
        ("invalid_software_statement", &[][..], 1),
        ("access_denied", &[], 1),
        ("invalid_redirect_uri", &["--redirect-uri", &fixed], 1),
        // For 127.0.0.1, for localhost, and for one port alone.
        ("invalid_redirect_uri", &[], 3),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        for _ in 0..3 {
            vendor.fault(On::Path("/register"), Effect::Answer(Reply::new(400).json(&json!({"error": code}))));
        }
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        let url = vendor.url();
        sandbox.finmcp([&["login", &url], arguments].concat()).expect_code(1).expect_stderr(&[code]);
        assert_eq!(vendor.records_at("/register").len(), registrations, "{code} {arguments:?}");
        assert!(browser.starts().is_empty());
    }
}
