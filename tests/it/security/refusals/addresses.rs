//! Addresses that no server may send finmcp to.

use super::*;

/// t007, t048: what holds a secret goes to the endpoint that it is for and to no other, not even of the same origin.
#[test]
fn t048_no_secret_is_sent_on() {
    let elsewhere = Vendor::start(confidential());
    let login = |sandbox: &Sandbox, vendor: &Vendor| {
        let secret = sandbox.give("client-secret", CLIENT_SECRET).display().to_string();
        let (url, endpoint) = (vendor.url(), vendor.token_endpoint());
        let grant = ["--grant", "client-credentials", "--token-endpoint", &endpoint];
        let client = ["--client-id", "x", "--client-secret-file", &secret];
        sandbox.finmcp([&["login", &url][..], &grant, &client].concat())
    };
    let redirect = |vendor: &Vendor, path, status: u16| {
        let reply = Reply::new(status).header("location", elsewhere.at(path));
        vendor.fault(On::Path(path), Effect::Answer(reply));
    };
    for status in [301, 302, 303, 307, 308] {
        let said = format!("(HTTP {status}); finmcp did not follow it");
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(confidential()));
        redirect(&vendor, "/token", status);
        login(&sandbox, &vendor).expect_code(5).expect_stderr(&[&said, "hint: "]);
        vendor.fault(On::Path("/token"), Effect::Answer(Reply::new(status).header("location", "/token")));
        login(&sandbox, &vendor).expect_code(5).expect_stderr(&[&said]);
        assert_eq!(vendor.records_at("/token").len(), 2, "not even within the origin");

        // A renewal and a revocation; the sign-in stays.
        login(&sandbox, &vendor).expect_success();
        redirect(&vendor, "/token", status);
        let renew = ["token", &vendor.url(), "--force-refresh"];
        sandbox.finmcp(renew).expect_code(5).expect_stderr(&[&said, "you are still signed in"]);
        sandbox.finmcp(renew).expect_success();

        // A registration.
        let people = Vendor::start(Script::people());
        redirect(&people, "/register", status);
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        sandbox.finmcp(["login", &people.url()]).expect_code(5).expect_stderr(&[&said]);
        assert!(browser.starts().is_empty());
        sandbox.finmcp(["login", &people.url()]).expect_success();
        redirect(&people, "/revoke", status);
        sandbox.finmcp(["logout", &people.url()]);
        assert!(!people.records_at("/revoke").is_empty());
    }
    assert!(elsewhere.records().is_empty());
}

/// t005, t009: a server that is far away cannot send us to this machine or into its networks, however it writes the
/// address and wherever it names it; by way of the person's proxy and with the person's own authority, too.
#[test]
fn t005_t009_a_server_elsewhere_cannot_send_finmcp_here() {
    let here = TcpListener::bind("127.0.0.1:0").unwrap();
    here.set_nonblocking(true).unwrap();
    let port = here.local_addr().unwrap().port();
    let near = "resolves to this machine, but a remote server named it";
    let nowhere = "reserved address";
    let forms = [
        ("127.0.0.1", near),
        ("127.1", near),
        ("127.0.1", near),
        ("127.255.255.254", near),
        ("2130706433", near),
        ("0x7f000001", near),
        ("0x7f.0.0.1", near),
        ("0x7f.1", near),
        ("0177.0.0.1", near),
        ("0177.1", near),
        ("017700000001", near),
        ("127.0.0.1.", near),
        ("%31%32%37.0.0.1", near),
        ("\u{ff11}27.0.0.1", near),
        ("127\u{3002}0\u{3002}0\u{3002}1", near),
        ("localhost", near),
        ("LOCALHOST", near),
        ("localhost.", near),
        ("a.localhost", near),
        ("[::1]", near),
        ("[0:0:0:0:0:0:0:1]", near),
        ("[::ffff:127.0.0.1]", near),
        ("[::ffff:7f00:1]", near),
        ("[::127.0.0.1]", near),
        ("[64:ff9b::7f00:1]", near),
        ("[2002:7f00:1::]", near),
        ("10.0.0.9", "allow_private_network"),
        ("172.16.0.1", "allow_private_network"),
        ("192.168.1.1", "allow_private_network"),
        ("0xa.9", "allow_private_network"),
        ("[fd00::1]", "allow_private_network"),
        ("[::ffff:10.0.0.9]", "allow_private_network"),
        ("0.0.0.0", nowhere),
        ("0", nowhere),
        ("169.254.169.254", nowhere),
        ("2852039166", nowhere),
        ("0xa9fea9fe", nowhere),
        ("[fe80::1]", nowhere),
        ("[::]", nowhere),
        ("[::ffff:169.254.169.254]", nowhere),
    ];
    let mut cases: Vec<(&str, String, &str)> = Vec::new();
    for (place, count) in [("resource_metadata", forms.len()), ("authorization_servers", forms.len())]
        .into_iter()
        .chain(MEMBERS.map(|member| (member, 4)))
    {
        // Each of the others goes through the same judgement: four of every ten forms will do.
        let step = forms.len() / count;
        cases.extend(forms.iter().step_by(step).map(|(host, why)| (place, format!("https://{host}:{port}/x"), *why)));
    }
    in_parallel(&cases, |(place, url, why)| {
        let (mut sandbox, vendor) = (Sandbox::new(), far_vendor(confidential()));
        let internet = Internet::join(&mut sandbox);
        internet.host("mcp.example", &vendor, Identity::Good);
        match *place {
            "resource_metadata" => vendor.fault(On::Path("/mcp"), Effect::Answer(challenge(url))),
            "authorization_servers" => {
                vendor.change(|script| script.protected_resource = json!({"authorization_servers": [url]}));
            }
            member => vendor.change(|script| script.authorization_server = json!({member.to_owned(): url})),
        }
        let (run, browser) = machine_sign_in(&mut sandbox, &vendor.url(), &[]);
        let said = format!("`{place}` cannot be used");
        assert_refused(&format!("{place} {url}"), &run, &[&said, why], &browser, &sandbox, &vendor);
        let asked = internet.asked();
        assert!(asked.iter().all(|asked| asked == "CONNECT mcp.example:443"), "{place} {url}: {asked:?}");
    });
    assert!(here.accept().is_err(), "something was sent to this machine");
}

/// t007, t009: a document that is far away does not lead here by a redirect either.
#[test]
fn t007_t009_no_redirect_leads_here() {
    let here = Vendor::start(Script::people());
    for (status, location) in
        [(302, here.at("/x")), (307, format!("https://127.0.0.1:{}/", here.port())), (308, "//localhost/".to_owned())]
    {
        let (mut sandbox, vendor) = (Sandbox::new(), far_vendor(confidential()));
        let internet = Internet::join(&mut sandbox);
        internet.host("mcp.example", &vendor, Identity::Good);
        vendor.fault(On::Path(PROTECTED_RESOURCE), Effect::Answer(Reply::new(status).header("location", location)));
        let (run, browser) = machine_sign_in(&mut sandbox, &vendor.url(), &[]);
        assert_refused("redirect", &run, &["finmcp did not follow it"], &browser, &sandbox, &vendor);
        assert!(internet.asked().iter().all(|asked| asked == "CONNECT mcp.example:443"), "{:?}", internet.asked());
    }
    assert!(here.records().is_empty());
}

/// t008: a company's authorization server in its own network is reached with the person's word and not without; what no
/// server may have is not reached with it either.
#[test]
fn t008_a_private_network_needs_the_users_permission() {
    let named = |address: &str| {
        let base = format!("https://{address}");
        Script {
            protected_resource: json!({"authorization_servers": [base]}),
            authorization_server: json!({"issuer": base, "token_endpoint": format!("{base}/token")}),
            ..confidential()
        }
    };
    let (mut sandbox, vendor) = (Sandbox::new(), far_vendor(named("10.0.0.9")));
    let internet = Internet::join(&mut sandbox);
    for host in ["mcp.example", "10.0.0.9"] {
        internet.host(host, &vendor, Identity::Good);
    }
    let inside = "CONNECT 10.0.0.9:443".to_owned();
    let (run, browser) = machine_sign_in(&mut sandbox, &vendor.url(), &[]);
    assert_refused("without", &run, &["--allow-private-network"], &browser, &sandbox, &vendor);
    assert!(!internet.asked().contains(&inside));

    let (run, _browser) = machine_sign_in(&mut sandbox, &vendor.url(), &["--allow-private-network"]);
    run.expect_success().expect_stderr(&["allow_private_network is set"]);
    assert!(internet.asked().contains(&inside));
    // The word is kept with the sign-in: a renewal goes there too, and the token works.
    let token = sandbox.finmcp(["token", &vendor.url(), "--force-refresh"]).expect_success().stdout;
    assert_eq!(vendor.records_at("/token").len(), 2);
    let mut serve = sandbox.serve([vendor.url()]);
    serve.initialize().result();
    serve.echo("hi");
    let bearer = format!("Bearer {}", token.trim_end());
    assert_eq!(vendor.calls("tools/call")[0].header("authorization"), Some(&bearer[..]));

    for address in ["169.254.169.254", "[fe80::1]", "0.0.0.0"] {
        vendor.change(|script| *script = named(address));
        let url = format!("https://{address}/mcp");
        let (by_server, _browser) = machine_sign_in(&mut sandbox, &vendor.url(), &["--allow-private-network"]);
        by_server.expect_code(5).expect_stderr(&["reserved address"]);
        let (by_person, _browser) = machine_sign_in(&mut sandbox, &url, &["--allow-private-network"]);
        by_person.expect_code(5).expect_stderr(&["is blocked", "reserved address"]);
        assert!(!internet.asked().iter().any(|asked| asked.contains(address)), "{:?}", internet.asked());
    }
}

/// t132: no certificate that is not good is accepted, each in its own words, and no byte of a request is sent.
#[test]
fn t132_servers_with_invalid_certificates() {
    for (identity, said, way_out) in [
        (Identity::Expired, "has expired", "this machine's clock"),
        (Identity::NotYetValid, "is not valid yet", "this machine's clock"),
        (Identity::OtherName, "is for another name", "the certificate names another server"),
        (Identity::SelfSigned, "is self-signed, or from an authority that this machine does not trust", "ca_file"),
        (
            Identity::UnknownAuthority,
            "is self-signed, or from an authority that this machine does not trust",
            "ca_file",
        ),
        (Identity::OldTls, "offers no safe TLS version", "no secret was sent"),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), far_vendor(confidential()));
        let internet = Internet::join(&mut sandbox);
        internet.host("mcp.example", &vendor, identity);
        for more in [&[][..], &["--token-endpoint", "https://mcp.example/token"]] {
            let (run, browser) = machine_sign_in(&mut sandbox, &vendor.url(), more);
            assert_refused(
                &format!("{identity:?}"),
                &run,
                &["mcp.example", said, way_out],
                &browser,
                &sandbox,
                &vendor,
            );
        }
        let mut serve = sandbox.serve([vendor.url()]);
        serve.initialize();
        let answer = serve.call("echo", json!({}));
        assert_eq!(answer.error()["code"], -31005, "{identity:?}: {}", answer.raw);
        assert!(answer.raw.contains(said) && answer.raw.contains(way_out), "{}", answer.raw);
        assert!(vendor.records().is_empty(), "{identity:?}");
    }
    // There is no way to switch it off.
    for flag in ["--insecure", "--no-verify", "-k"] {
        Sandbox::new().finmcp(["login", "https://mcp.example/mcp", flag]).expect_code(2);
    }
}
