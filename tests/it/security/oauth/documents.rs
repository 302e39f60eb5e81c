//! Metadata documents: where they are, and which are passed over.

use super::*;

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
fn b3_a_response_that_is_not_a_document_is_skipped() {
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
fn b3_a_wrong_document_is_not_skipped() {
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
fn b4_a_pointer_to_a_blocked_address_is_not_skipped() {
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
fn b12_a_wrong_authorization_server_is_not_skipped() {
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
