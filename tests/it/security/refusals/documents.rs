//! Documents that must not be believed.

use super::*;

/// The sign-in at a server that names `url` in every place there is.
fn naming(url: &str, why: &str) -> Vec<Hostile> {
    let said = |member: &str| format!("`{member}` cannot be used: {why}");
    let mut cases: Vec<Hostile> = MEMBERS
        .iter()
        .map(|member| {
            let patch = json!({(*member).to_owned(): url});
            Hostile::new(format!("{member} {url}"), with_server(patch), &[&said(member)])
        })
        .collect();
    let issuer = with_resource(json!({"authorization_servers": [url]}));
    cases.push(Hostile::new(format!("issuer {url}"), issuer, &[&said("authorization_servers")]));
    cases.push(Hostile::answering(format!("pointer {url}"), "/mcp", challenge(url), &[&said("resource_metadata")]));
    cases
}

/// t002, t003, t004, t038, t039: whatever is no plain https URL, in each place where a server names one: other schemes,
/// plain http, a user name in front of the host, a fragment, an option for a program.
#[test]
fn t002_t003_t004_t038_t039_unsafe_urls_are_refused() {
    let scheme = "only https is accepted";
    let malformed = "not a valid absolute URL";
    let urls = [
        ("javascript:alert(1)", scheme),
        ("data:text/html,x", scheme),
        ("file:///etc/passwd", scheme),
        ("vbscript:msgbox", scheme),
        ("ms-msdt:/id", scheme),
        ("smb://host/share", scheme),
        ("\\\\host\\share", malformed),
        ("http://as.example/x", scheme),
        ("http://169.254.169.254/latest", scheme),
        ("--upload-pack=x", malformed),
        ("-a Calculator", malformed),
        ("https://bank.example@evil.example/x", "a URL must not contain a user name or password"),
        ("https://u:p@evil.example/x", "a URL must not contain a user name or password"),
        ("https://as.example/x#y", "a URL must not have a fragment"),
        ("https://169.254.169.254/x", "it resolves to a reserved address"),
        ("https://[::ffff:10.0.0.9]/x", "it resolves to a private address"),
    ];
    refuse_all(&urls.into_iter().flat_map(|(url, why)| naming(url, why)).collect::<Vec<_>>());
}

/// t003: what is of no use to us is neither called nor opened nor shown, whatever it is.
#[test]
fn t003_unused_metadata_urls_are_ignored() {
    let evil = "javascript:alert(1)";
    let script = Script {
        protected_resource: json!({"resource_documentation": evil, "resource_policy_uri": evil, "jwks_uri": evil}),
        authorization_server: json!({"service_documentation": evil, "op_policy_uri": evil, "jwks_uri": evil}),
        ..Script::people()
    };
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
    let mut login = sandbox.start(["login", &vendor.url()]);
    let page = eventually("the browser", || browser.starts().first().cloned()).arguments[0].clone();
    let page = url::Url::parse(&page).unwrap();
    let field = |name: &str| page.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
    let mut answer = url::Url::parse(&field("redirect_uri")).unwrap();
    answer
        .query_pairs_mut()
        .append_pair("state", &field("state"))
        .append_pair("iss", &vendor.origin())
        .append_pair("error", "invalid_scope")
        .append_pair("error_uri", evil);
    assert!(!visit("GET", answer.as_str(), &[], "").unwrap().text().contains("javascript"));
    assert_eq!(login.exit_within(PATIENCE), Some(1), "{}", login.stderr());
    assert!(login.stderr().contains("invalid_scope") && !login.stderr().contains("javascript"), "{}", login.stderr());
    assert_eq!(browser.starts().len(), 1);
}

/// t038: a host in another script is shown, before the browser opens, in the form that cannot deceive.
#[test]
fn t038_the_host_is_shown_before_the_browser_opens() {
    let script = Script {
        authorization_server: json!({"authorization_endpoint": "https://b\u{fc}cher.example/authorize"}),
        ..Script::people()
    };
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
    let login = sandbox.start(["login", &vendor.url()]);
    let opened = eventually("the browser", || browser.starts().first().cloned());
    assert!(opened.arguments[0].starts_with("https://xn--bcher-kva.example/authorize?"), "{opened:?}");
    let said = login.stderr();
    assert!(said.contains(" at xn--bcher-kva.example\n") && !said.contains('\u{fc}'), "{said}");
}

/// t010: the issuer is compared byte for byte, and both are named.
#[test]
fn t010_another_issuer_is_refused_and_both_are_named() {
    let mut cases = Vec::new();
    for issuer in ["https://honest.example", "{}//", "{}/x", "{}/x/", "{}:443", "{}/?", ""] {
        let mut case = Hostile::new(issuer, confidential(), &["as its issuer, not {}", "issuer_override"]);
        case.said.push(format!("names {issuer} as"));
        cases.push((case, issuer));
    }
    in_parallel(&cases, |(case, issuer)| {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(case.script.clone()));
        let issuer = issuer.replace("{}", &vendor.origin());
        vendor.change(|script| script.authorization_server = json!({"issuer": issuer}));
        let (run, browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        let said: Vec<String> = case.said.iter().map(|said| said.replace("{}", &vendor.origin())).collect();
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        assert_refused(&case.what, &run, &said, &browser, &sandbox, &vendor);
    });
}

/// t012: the issuer to expect is the one that the server's metadata name, not one made of the server's own URL: GitLab's
/// way, where the MCP server is at a path of the issuer's origin, and a company's, where it is another host.
#[test]
fn t012_the_expected_issuer_is_the_one_that_is_named() {
    let server = Vendor::start(Script::people());
    for (issuer, is_right) in [(server.origin(), true), (server.url(), false)] {
        let resource = Vendor::start(Script {
            protected_resource: json!({"authorization_servers": [server.origin()]}),
            ..Script::people()
        });
        server.change(|script| script.authorization_server = json!({"issuer": issuer}));
        for url in [resource.url(), server.url()] {
            let mut sandbox = Sandbox::new();
            let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
            let run = sandbox.finmcp(["login", &url, "--timeout", "1"]);
            assert_eq!(run.code, Some(if is_right { 1 } else { 5 }), "{url}: {}", run.stderr);
            if is_right {
                // The browser may be slower than the wait for it.
                let start = eventually("the browser", || browser.starts().pop());
                assert!(start.arguments[0].starts_with(&server.at("/authorize?")), "{start:?}");
            }
            assert_eq!(browser.starts().len(), usize::from(is_right), "{url}");
        }
    }
}

/// t014: a server that publishes a bad document is not asked for another, and trouble is not taken for "not here".
#[test]
fn t014_invalid_metadata_ends_discovery() {
    let bad =
        Reply::new(200).json(&json!({"issuer": "https://honest.example", "token_endpoint": "https://a.example/"}));
    for (reply, code) in [(bad, 5), (Reply::new(500), 3), (Reply::new(503), 3), (Reply::new(429), 3)] {
        for path in [PROTECTED_RESOURCE, AUTHORIZATION_SERVER] {
            let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
            vendor.fault(On::Path(path), Effect::Answer(reply.clone()));
            let (run, browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
            assert_eq!(run.code, Some(code), "{reply:?} {path}: {}", run.stderr);
            assert!(browser.starts().is_empty());
            assert_eq!(vendor.records().last().unwrap().path, path, "{reply:?}");
        }
    }
    // "Not here" is: the next place is asked, in the order of the specification.
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    vendor.fault(On::Path(AUTHORIZATION_SERVER), Effect::status(404));
    sign_in(&mut sandbox, &vendor.url(), &[]);
    let paths: Vec<String> = vendor.records().into_iter().map(|record| record.path).collect();
    assert_eq!(paths, ["/mcp", PROTECTED_RESOURCE, AUTHORIZATION_SERVER, "/.well-known/openid-configuration"]);
}

/// t015: documents that are too large, compressed, too deep, ambiguous, or none.
#[test]
fn t015_invalid_documents_are_refused() {
    let mut cases = Vec::new();
    let resource = json!({"resource": "https://mcp.example", "authorization_servers": ["https://as.example"]});
    let server = json!({"issuer": "https://as.example", "token_endpoint": "https://as.example/token"});
    for (path, good) in [(PROTECTED_RESOURCE, resource), (AUTHORIZATION_SERVER, server)] {
        for (what, reply, said) in bad_documents(&good) {
            cases.push(Hostile::answering(format!("{what} {path}"), path, reply, &[said]));
        }
    }
    refuse_all(&cases);
}

/// t015: a document without an end is left after its first mebibyte.
#[test]
fn t015_a_document_without_an_end_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n");
        while stream.write_all(&[b' '; 1 << 16]).is_ok() {
            count.fetch_add(1 << 16, Ordering::SeqCst);
        }
    });
    let begun = Instant::now();
    let pointer = challenge(&format!("http://127.0.0.1:{port}/"));
    Hostile::answering("endless", "/mcp", pointer, &["sent more than 1048576 bytes"]).check();
    assert!(begun.elapsed() < PATIENCE);
    // What the system holds for both ends is never read.
    let taken = taken.load(Ordering::SeqCst);
    assert!((1 << 20..32 << 20).contains(&taken), "{taken}");
}

/// t016: scopes that are none, or too many for a URL.
#[test]
fn t016_hostile_scopes_are_refused() {
    let many: Vec<String> = (0..100_000).map(|number| format!("s{number}")).collect();
    let long: Vec<String> = (0..80).map(|number| format!("[{number:02}{}", "]".repeat(47))).collect();
    let mut cases: Vec<Hostile> =
        [json!(["a\nb"]), json!(["a\"b"]), json!(["a b"]), json!(["\u{1b}]52;c;x"]), json!(["\u{e9}"])]
            .into_iter()
            .map(|scopes| (scopes, "`scopes_supported` is not valid or too long"))
            .chain([
                (json!(many), "`scopes_supported` is not valid or too long"),
                (json!(long), "longer than 8192 bytes"),
            ])
            .map(|(scopes, said)| {
                let what: String = scopes.to_string().chars().take(40).collect();
                Hostile::new(what, with_resource(json!({"scopes_supported": scopes})), &[said])
            })
            .collect();
    let endpoint = format!("https://as.example/{}", "x".repeat(8 << 10));
    cases.push(Hostile::new(
        "endpoint",
        with_server(json!({"authorization_endpoint": endpoint})),
        &["longer than 8192"],
    ));
    refuse_all(&cases);

    // What fits is asked for, in a URL that a browser can be started with.
    let fits: Vec<String> = (0..80).map(|number| format!("x{number:02}{}", "y".repeat(40))).collect();
    let script = Script { protected_resource: json!({"scopes_supported": fits}), ..Script::people() };
    let vendor = Vendor::start(script);
    let (_sandbox, browser) = signed_in(&vendor, &[]);
    assert!(browser.starts()[0].arguments[0].len() <= 8 << 10);
    assert_eq!(vendor.records_at("/authorize")[0].query()["scope"].split(' ').count(), 80);
}

/// t007: a document that is elsewhere is not fetched from there; within its origin it may have moved.
#[test]
fn t007_documents_of_other_origins_are_not_fetched() {
    let elsewhere = Vendor::start(Script::people());
    let mut cases = Vec::new();
    for path in [PROTECTED_RESOURCE, AUTHORIZATION_SERVER] {
        for status in [301, 302, 303, 307, 308] {
            for location in [
                elsewhere.at(path),
                elsewhere.at(path).replace("http:", ""),
                elsewhere.at(path).replace("127.0.0.1", "localhost"),
                "http://169.254.169.254/latest".to_owned(),
                "https://as.example/".to_owned(),
                "file:///etc/passwd".to_owned(),
            ] {
                let what = format!("{status} {path} {location}");
                let reply = Reply::new(status).header("location", location);
                cases.push(Hostile::answering(
                    what,
                    path,
                    reply,
                    &[&format!("(HTTP {status}); finmcp did not follow it")],
                ));
            }
        }
    }
    refuse_all(&cases);
    assert!(elsewhere.records().is_empty());

    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    vendor.fault(On::Path(PROTECTED_RESOURCE), Effect::Answer(Reply::new(302).header("location", PROTECTED_RESOURCE)));
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", &vendor.url()]).expect_success();
    assert_eq!(browser.starts().len(), 1);
}
