//! Sign-ins, tokens, and the settings that choose them.

use super::*;

#[test]
fn cure_a_sign_in_that_the_server_has_ended() {
    let (sandbox, vendor, _browser) = books(Script { access_lifetime: Duration::from_secs(1), ..Script::people() });
    pass(Duration::from_secs(1));
    vendor.revoke_sign_ins();
    // The first time, the server says `invalid_grant`; later it is known here.
    for step in ["token", "sign-in"] {
        diagnose(&sandbox, &["books"], step, &["the server ended the sign-in"]);
    }
    vendor.change(|script| script.access_lifetime = Duration::from_secs(3600));
    let said = diagnose(&sandbox, &["books"], "sign-in", &[]);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &["books"]);
}

#[test]
fn cure_a_client_that_the_server_has_forgotten() {
    let (sandbox, vendor, _browser) = books(Script { access_lifetime: Duration::from_secs(1), ..Script::people() });
    pass(Duration::from_secs(1));
    vendor.forget_clients();
    vendor.change(|script| script.access_lifetime = Duration::from_secs(3600));
    let said = diagnose(&sandbox, &["books"], "token", &["the server has forgotten this client"]);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &["books"]);
    assert_eq!(vendor.records_at("/register").len(), 2);
}

#[test]
fn cure_a_client_secret_that_the_vendor_has_replaced() {
    let (sandbox, vendor) = signed_in_machine();
    vendor.know("x", "another-secret-0123456789");
    let said = diagnose(&sandbox, &["--env", "sandbox"], "token", &["the client secret changed"]);
    assert_eq!(said.hints.len(), 1, "signing in with the old secret would not help: {:#}", said.report);
    let secret = sandbox.give("new-secret", "another-secret-0123456789").display().to_string();
    carry_out(&sandbox, &said.command("finmcp login asset").replace("ID", "x").replace("PATH", &secret));
    expect_green(&sandbox, &["--env", "sandbox"]);
}

#[test]
fn cure_settings_that_cannot_be_read() {
    let (sandbox, _vendor, _browser) = books(Script::people());
    let good = fs::read_to_string(config(&sandbox)).unwrap();
    fs::write(config(&sandbox), format!("default = [\n{good}")).unwrap();
    let said = diagnose(&sandbox, &["books"], "settings", &["~/finmcp/config.toml", "line"]);
    let command = said.command("finmcp config check");
    sandbox.finmcp(command.split(' ').skip(1).collect::<Vec<_>>()).expect_code(2);
    fs::write(config(&sandbox), good).unwrap();
    expect_green(&sandbox, &["books"]);
}

#[test]
fn cure_an_unknown_profile() {
    let (sandbox, _vendor, _browser) = books(Script::people());
    let said = diagnose(&sandbox, &["bokos"], "server", &["no preset or profile is called"]);
    let command = said.command("finmcp doctor");
    assert_eq!(command, "finmcp doctor books");
    carry_out(&sandbox, &command);
}

/// A token that has not expired and cannot be renewed, and that the server refuses again and again.
#[test]
fn cure_a_token_that_the_server_refuses() {
    let (sandbox, vendor, _browser) = books(Script { refresh_tokens: false, ..Script::people() });
    vendor.revoke_access_tokens();
    let said = diagnose(&sandbox, &["books"], "handshake", &["but the server rejects it"]);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &["books"]);
}

#[test]
fn cure_a_missing_scope() {
    let (mut sandbox, vendor) =
        (Sandbox::new(), Vendor::start(Script { granted_scope: Some("mcp"), ..Script::people() }));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", "masset", "--url", &vendor.url()]).expect_success();
    // The server refuses what needs more (RFC 6750 section 3.1): the same cause.
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"mcp:asset_read\"";
    let refused = Reply::new(403).header("www-authenticate", challenge);
    vendor.fault(On::Rpc("tools/list"), Effect::Answer(refused));
    let said = diagnose(&sandbox, &["masset"], "scope", &["it was requested but not granted"]);
    vendor.heal();
    // The user, or the administrator, now allows everything.
    vendor.change(|script| script.granted_scope = None);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &["masset"]);
}

#[test]
fn cure_a_browser_that_does_not_exist() {
    let (mut sandbox, _vendor, _browser) = books(Script::people());
    sandbox.set("FINMCP_BROWSER", "/nowhere/firefox");
    let said = diagnose(&sandbox, &["books"], "browser", &["cannot find the browser /nowhere/firefox"]);
    said.advises("or unset FINMCP_BROWSER");
    sandbox.unset("FINMCP_BROWSER");
    expect_green(&sandbox, &["books"]);
    sandbox.set("BROWSER", "no-such-browser -x %s:/nowhere/w3m");
    diagnose(&sandbox, &["books"], "browser", &["no-such-browser"]).advises("set BROWSER to a program that exists");
    sandbox.set("BROWSER", "no-such-browser -x %s:sh");
    expect_green(&sandbox, &["books"]);
}

#[test]
fn cure_no_sign_in_yet() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let said = diagnose(&sandbox, &[&vendor.url()], "sign-in", &["not signed in"]);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &[&vendor.url()]);
    sandbox.finmcp(["logout", &vendor.url()]).expect_success();
    let said = diagnose(&sandbox, &[&vendor.url()], "sign-in", &["not signed in"]);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &[&vendor.url()]);
}

/// The one cause is the missing sign-in: what it will need is said there, not as another failure.
#[test]
fn cure_no_sign_in_yet_of_a_program() {
    let (sandbox, vendor) = signed_in_machine();
    sandbox.finmcp(["logout", "asset", "--env", "sandbox"]).expect_success();
    let said = diagnose(&sandbox, &["--env", "sandbox"], "sign-in", &["not signed in"]);
    said.advises("--client-secret-file PATH");
    let secret = sandbox.give("secret", CLIENT_SECRET).display().to_string();
    let command = said.command("finmcp login");
    carry_out(&sandbox, &format!("{command} --client-id x --client-secret-file {secret}"));
    expect_green(&sandbox, &["--env", "sandbox"]);
    drop(vendor);
}

/// The report says whom the server's tokens name, and which profile it is.
#[test]
fn doctor_names_the_person_and_the_profile() {
    for (claims, named) in [
        (json!({"email": "ada@example.com", "exp": "fresh"}), "as ada@example.com (the server says), profile books"),
        (Value::Null, "profile books, client client-1"),
    ] {
        let (sandbox, _vendor, _browser) = books(Script { id_token: claims, ..Script::people() });
        let report = report(&sandbox.finmcp(["doctor", "--json", "books"]), 0);
        let step = steps(&report).find(|step| step["step"] == "sign-in").unwrap();
        assert!(step["what"].as_str().unwrap().starts_with(named), "{step}");
    }
}
