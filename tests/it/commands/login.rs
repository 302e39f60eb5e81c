//! `finmcp login`: a machine by its own credentials, a person in the browser, and the servers that are refused.

use std::ffi::OsString;

use crate::support::{
    PATIENCE,
    sandbox::{Run, Sandbox},
    vendor::{ExpiresIn, Registration, Script, Vendor},
};

/// What the vendors of these tests know the client by.
pub const CLIENT_SECRET: &str = "client-secret-5f1c9e77a0b24d6e8c";

/// A vendor like Asset, which knows the client `x`.
pub fn machine_vendor() -> Vendor {
    Vendor::start(Script::machine("x", CLIENT_SECRET))
}

/// The command line that signs a machine in to Asset's sandbox, here `vendor`.
pub fn machine_login(sandbox: &Sandbox, vendor: &Vendor) -> Vec<OsString> {
    let secret = sandbox.give("client-secret", format!("{CLIENT_SECRET}\n"));
    let mut arguments: Vec<OsString> = ["login", "asset", "--env", "sandbox", "--url"].map(Into::into).into();
    arguments.push(vendor.url().into());
    arguments.push("--token-endpoint".into());
    arguments.push(vendor.token_endpoint().into());
    arguments.extend(["--client-id", "x", "--client-secret-file"].map(Into::into));
    arguments.push(secret.into());
    arguments.extend(["--business-id", "biz_1"].map(Into::into));
    arguments
}

/// t049, t061, t091: the secret travels in the form body and is in no file, no argument and no output.
#[test]
fn a_machine_signs_in_and_a_script_gets_a_token() {
    let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
    let run = sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success();
    assert_eq!(run.stdout, "", "login has no data to print");

    let requests = vendor.records_at("/token");
    assert_eq!((requests.len(), vendor.records_at("/.well-known/oauth-protected-resource/mcp").len()), (1, 0));
    let form = requests[0].form();
    assert_eq!(form["client_id"], "x");
    assert_eq!(form["client_secret"], CLIENT_SECRET);
    assert_eq!(form["resource"], vendor.url());
    assert_eq!(form["business_id"], "biz_1");
    assert_eq!(requests[0].header("authorization"), None);
    assert_eq!(vendor.complaints(), Vec::<String>::new());

    let run = sandbox.finmcp(["token", "--env", "sandbox"]).expect_success();
    let token = run.stdout.strip_suffix('\n').expect("a newline at the end");
    assert!(vendor.secrets().iter().any(|secret| secret == token), "{token}");
    assert_eq!(vendor.records_at("/token").len(), 1, "the token of the sign-in is still good");
    sandbox.assert_no_secret(&vendor.secrets());
}

#[test]
fn the_client_secret_comes_from_stdin_or_the_environment() {
    let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
    let mut arguments = machine_login(&sandbox, &vendor);
    let at = arguments.iter().position(|argument| argument == "--client-secret-file").unwrap();
    arguments[at + 1] = "-".into();
    sandbox.finmcp_with_stdin(&arguments, format!("{CLIENT_SECRET}\n")).expect_success();

    let mut sandbox = Sandbox::new();
    sandbox.set("FINMCP_CLIENT_SECRET", CLIENT_SECRET);
    arguments.drain(at..at + 2);
    sandbox.finmcp(&arguments).expect_success();
    assert_eq!(vendor.records_at("/token")[1].form()["client_secret"], CLIENT_SECRET);
    sandbox.assert_no_secret(&vendor.secrets());
}

/// A sign-in that waits for a silent pipe can be stopped.
#[cfg(unix)]
#[test]
fn ctrl_c_stops_a_sign_in_that_waits_for_its_secret() {
    let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
    let pipe = sandbox.watched().join("pipe");
    let mut command = sandbox.command("mkfifo");
    command.arg(&pipe);
    sandbox.run(command, Vec::new()).expect_success();
    let mut arguments = machine_login(&sandbox, &vendor);
    let at = arguments.iter().position(|argument| argument == "--client-secret-file").unwrap();
    arguments[at + 1] = pipe.clone().into();
    let mut login = sandbox.start(arguments);
    // Comes back once the other end is open too.
    let held = std::fs::File::options().write(true).open(&pipe).unwrap();
    login.signal(rustix::process::Signal::INT);
    assert_eq!(login.exit_within(PATIENCE), Some(130));
    drop(held);
}

/// t091: there is no flag that would put the secret on a command line.
#[test]
fn t091_a_client_secret_in_the_arguments_is_refused() {
    let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
    let mut arguments = machine_login(&sandbox, &vendor);
    let at = arguments.iter().position(|argument| argument == "--client-secret-file").unwrap();
    arguments[at] = "--client-secret".into();
    arguments[at + 1] = CLIENT_SECRET.into();
    sandbox.finmcp(&arguments).expect_code(2);
    assert!(vendor.records().is_empty());
}

/// t053, t054: whatever the style, the true end is known.
#[test]
fn t053_the_true_expiry_is_found_in_every_style_of_expires_in() {
    for style in [ExpiresIn::Seconds, ExpiresIn::Text, ExpiresIn::UnixTime, ExpiresIn::Absent] {
        let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
        vendor.change(|script| script.expires_in = style);
        sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success();
        let json = sandbox.finmcp(["token", "--env", "sandbox", "--json"]).expect_success().stdout;
        let left = serde_json::from_str::<serde_json::Value>(&json).unwrap()["expires_in"].as_i64();
        assert!(left.is_some_and(|left| (3500..=3600).contains(&left)), "{style:?}: {left:?}");
    }
}

#[test]
fn a_wrong_client_secret_is_reported_and_nothing_is_stored() {
    let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
    let arguments = machine_login(&sandbox, &vendor);
    sandbox.give("client-secret", "wrong-but-long-enough-to-look-for");
    let run = sandbox.finmcp(&arguments).expect_stderr(&["invalid_client"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_code(4);
    sandbox.assert_no_secret(&["wrong-but-long-enough-to-look-for".to_owned()]);
}

/// t061: a key that the server does not list is not tried, and the way out is said.
#[test]
fn t061_a_private_key_that_the_server_does_not_accept() {
    use serde_json::json;
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/ec-pkcs8.pem");
    for (methods, algorithms, said) in [
        (json!(["client_secret_post"]), json!(null), &["private_key_jwt", "--client-secret-file"][..]),
        (
            json!(["private_key_jwt"]),
            json!(["RS256", "PS256"]),
            &["does not accept ES256 keys, only RS256, PS256", "RSA keys"],
        ),
    ] {
        let vendor = Vendor::start(Script {
            authorization_server: json!({
                "token_endpoint_auth_methods_supported": methods,
                "token_endpoint_auth_signing_alg_values_supported": algorithms,
            }),
            ..Script::people()
        });
        let url = vendor.url();
        let client = ["--client-id", "x", "--private-key-file", key, "--grant", "client-credentials"];
        let run = Sandbox::new().finmcp([&["login", &url], &client[..]].concat());
        run.expect_code(2).expect_stderr(said);
        assert!(vendor.records_at("/token").is_empty());
    }
}

/// t133: plain http is for this machine alone. The reason is said, and said once.
#[test]
fn t133_http_to_another_machine_is_refused() {
    let run = Sandbox::new().finmcp(["login", "http://mcp.example.com/mcp"]).expect_stderr(&["https"]);
    assert!(matches!(run.code, Some(2 | 5)), "{run:?}");
    assert_eq!(run.stderr.matches("only https").count(), 1, "{run:?}");
}

#[cfg(unix)]
mod person {
    use serde_json::{Value, json};

    use super::*;
    use crate::support::{
        browser::{FakeBrowser, Person, login},
        eventually,
        vendor::{Effect, IssuerParameter, On, Reply, StateParameter},
        visitor::visit,
    };

    /// Signs in at `vendor` with a browser in front of which sits `person`.
    fn sign_in(sandbox: &mut Sandbox, vendor: &Vendor, person: Person, more: &[&str]) -> (Run, FakeBrowser) {
        login(sandbox, person, &vendor.url(), more)
    }

    /// t001, t021, t023, t031, t043: one browser with one argument, S256, state, `resource` on every leg, and a last
    /// page that gives nothing away.
    #[test]
    fn a_person_signs_in_at_a_server_never_seen_before() {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let (run, browser) = sign_in(&mut sandbox, &vendor, Person::Consents, &[]);
        run.expect_success();
        assert_eq!(vendor.complaints(), Vec::<String>::new());

        let starts = browser.starts();
        assert_eq!(starts.len(), 1);
        assert_eq!(starts[0].arguments.len(), 1);
        let query = vendor.records_at("/authorize")[0].query();
        let redirect = url::Url::parse(&query["redirect_uri"]).unwrap();
        assert_eq!((redirect.scheme(), redirect.host_str()), ("http", Some("127.0.0.1")));
        assert!(redirect.port().is_some_and(|port| port > 1024));
        assert!(!query.contains_key("scope"), "the server named no scope, so none is asked for");

        let page = browser.last_page();
        assert_eq!(page.status, 200);
        assert!(!page.text().contains("http"), "the last page leads nowhere: {}", page.text());
        let code = vendor.secrets().into_iter().find(|secret| secret.starts_with("code-")).unwrap();
        assert!(!page.text().contains(&code));
        for (name, value) in [
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'"),
        ] {
            assert!(page.header(name).is_some_and(|header| header.contains(value)), "{name}: {:?}", page.headers);
        }

        let token = sandbox.finmcp(["token", &vendor.url()]).expect_success().stdout;
        assert!(vendor.secrets().contains(&token.trim_end().to_owned()));
        sandbox.assert_no_secret(&vendor.secrets());
    }

    /// t057, t043: a refresh names the resource and the client again; what it brings is kept.
    #[test]
    fn a_sign_in_is_renewed_without_the_user_as_long_as_the_server_allows() {
        for registration in [Registration::Public, Registration::Confidential] {
            let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script { registration, ..Script::people() }));
            let (run, browser) = sign_in(&mut sandbox, &vendor, Person::Consents, &[]);
            run.expect_success();
            let mut tokens = vec![sandbox.finmcp(["token", &vendor.url()]).expect_success().stdout];
            for _ in 0..3 {
                tokens.push(sandbox.finmcp(["token", &vendor.url(), "--force-refresh"]).expect_success().stdout);
            }
            tokens.dedup();
            assert_eq!(tokens.len(), 4, "{registration:?}: each renewal brings another token");
            assert_eq!(vendor.replays(), 0, "{registration:?}");
            assert_eq!(vendor.records_at("/register").len(), 1, "{registration:?}");
            assert_eq!(browser.starts().len(), 1, "{registration:?}");
            assert_eq!(vendor.complaints(), Vec::<String>::new(), "{registration:?}");
            sandbox.assert_no_secret(&vendor.secrets());
        }
    }

    /// t010, t013, t020, t021: what makes a server untrustworthy is said, with exit code 5, before any browser opens.
    #[test]
    fn t020_a_server_that_cannot_be_trusted_is_refused_before_the_browser_opens() {
        let server = |patch: Value| Script { authorization_server: patch, ..Script::people() };
        let resource = |patch: Value| Script { protected_resource: patch, ..Script::people() };
        for (script, said) in [
            (server(json!({"code_challenge_methods_supported": null})), "S256"),
            (server(json!({"code_challenge_methods_supported": ["plain"]})), "S256"),
            (server(json!({"issuer": "https://evil.example"})), "issuer"),
            (server(json!({"issuer": null})), "metadata"),
            (resource(json!({"resource": "https://evil.example/mcp"})), "resource"),
            (resource(json!({"resource": null})), "resource"),
            (resource(json!({"authorization_servers": []})), "lists no authorization server"),
            (server(json!({"authorization_endpoint": "http://evil.example/authorize"})), "https"),
            (server(json!({"token_endpoint": "javascript:alert(1)"})), "https"),
        ] {
            let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script.clone()));
            let (run, browser) = sign_in(&mut sandbox, &vendor, Person::Consents, &["--timeout", "5"]);
            assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
            let patches = (script.authorization_server, script.protected_resource);
            assert_eq!(run.code, Some(5), "{patches:?}: {}", run.stderr);
            assert!(browser.starts().is_empty(), "{patches:?}");
            assert!(
                vendor.records().iter().all(|record| record.method == "GET" || record.path == "/mcp"),
                "{patches:?}"
            );
        }
    }

    /// t005, t008: what a server names is at most as near as itself; a private network needs the person's word, and
    /// the address where cloud machines find their credentials is never called.
    #[test]
    fn t008_a_server_may_not_name_a_nearer_zone() {
        for (authorization_server, more, said) in [
            ("https://10.0.0.9", &[][..], "allow_private_network"),
            ("https://[fd00::9]", &[], "--allow-private-network"),
            ("https://169.254.169.254", &[], "`authorization_servers` cannot be used"),
            ("https://169.254.169.254", &["--allow-private-network"], "`authorization_servers` cannot be used"),
            ("https://[fe80::1]", &["--allow-private-network"], "`authorization_servers` cannot be used"),
        ] {
            let resource = json!({"authorization_servers": [authorization_server]});
            let script = Script { protected_resource: resource, ..Script::people() };
            let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
            let (run, browser) = sign_in(&mut sandbox, &vendor, Person::Consents, more);
            run.expect_code(5).expect_stderr(&[said]);
            assert!(browser.starts().is_empty());
        }
        // With the word of the person it is called, and the rest is as ever.
        let endpoint = json!({"token_endpoint": "https://10.0.0.9/token"});
        let (mut sandbox, vendor) =
            (Sandbox::new(), Vendor::start(Script { authorization_server: endpoint, ..Script::people() }));
        let arguments = ["--allow-private-network", "--timeout", "1"];
        let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
        let url = vendor.url();
        sandbox
            .finmcp([&["login", &url][..], &arguments].concat())
            .expect_code(1)
            .expect_stderr(&["allow_private_network is set", "the sign-in timed out"]);
        assert_eq!(browser.starts().len(), 1);
    }

    /// t011: a server that breaks a rule can be accepted by name, exactly, in the person's own settings.
    #[test]
    fn t011_a_named_override_accepts_one_server() {
        let settings = |sandbox: &Sandbox, vendor: &Vendor, overrides: &str| {
            let folder = sandbox.home().join("finmcp");
            std::fs::create_dir_all(&folder).unwrap();
            let text = format!("[profiles.odd]\nurl = {:?}\noverrides = {{ {overrides} }}\n", vendor.url());
            std::fs::write(folder.join("config.toml"), text).unwrap();
        };
        let issuer = json!({
            "issuer": "https://api.atlassian.example",
            "authorization_response_iss_parameter_supported": false,
        });
        let pkce = json!({"code_challenge_methods_supported": null});
        let offline = json!({"scopes_supported": ["offline_access"]});
        for (patch, overrides, code, said) in [
            (&issuer, "", 5, "issuer_override"),
            (&issuer, "issuer_override = 'https://api.atlassian.example'", 0, "issuer_override is set"),
            (&issuer, "issuer_override = 'https://api.atlassian.example/'", 5, "as its issuer, not"),
            (&issuer, "issuer_override = 'https://evil.example'", 5, "as its issuer, not"),
            (&pkce, "", 5, "allow_missing_pkce_metadata"),
            (&pkce, "allow_missing_pkce_metadata = true", 0, "allow_missing_pkce_metadata is set"),
            (&offline, "offline_access = false", 0, "Signed in"),
            (&offline, "no_such_override = true", 2, "no_such_override"),
        ] {
            let mut script = Script { authorization_server: patch.clone(), ..Script::people() };
            if patch.get("issuer").is_some() {
                script.callback_issuer = IssuerParameter::Absent;
            }
            let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
            settings(&sandbox, &vendor, overrides);
            let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
            sandbox.finmcp(["login", "odd"]).expect_code(code).expect_stderr(&[said]);
            assert_eq!(browser.starts().len(), usize::from(code == 0), "{overrides}");
            for record in vendor.records_at("/authorize") {
                assert_eq!(record.query()["code_challenge_method"], "S256");
                assert!(!record.query().contains_key("scope"), "{overrides}");
            }
            if code == 0 {
                let saved = std::fs::read_to_string(sandbox.home().join("finmcp").join("config.toml")).unwrap();
                let name = overrides.split(' ').next().unwrap();
                assert!(saved.contains(name), "the override stays for the next sign-in: {saved}");
            }
        }
    }

    /// Entra wants the scope on a refresh too (RFC 6749 section 6 lets a client send it); others may refuse that.
    #[test]
    fn a_refresh_names_the_scope_if_the_server_needs_it() {
        for (overrides, scope) in [("", None), ("scope_on_refresh = true", Some("invoices:read"))] {
            let script = Script { challenge_scope: Some("invoices:read"), ..Script::people() };
            let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
            let folder = sandbox.home().join("finmcp");
            std::fs::create_dir_all(&folder).unwrap();
            let text = format!("[profiles.odd]\nurl = {:?}\noverrides = {{ {overrides} }}\n", vendor.url());
            std::fs::write(folder.join("config.toml"), text).unwrap();
            let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
            sandbox.finmcp(["login", "odd"]).expect_success();
            sandbox.finmcp(["token", "odd", "--force-refresh"]).expect_success();
            let refresh = vendor.records_at("/token").last().unwrap().form();
            assert_eq!(refresh["grant_type"], "refresh_token");
            assert_eq!(refresh.get("scope").map(String::as_str), scope);
        }
    }

    /// t026, t027: the `iss` of the response decides (RFC 9207), in a refusal too: the code is not redeemed, and the page
    /// and the error repeat nothing of the answer.
    #[test]
    fn t026_an_answer_of_another_issuer_is_refused() {
        for (callback_issuer, person) in [
            (IssuerParameter::Wrong, Person::Consents),
            (IssuerParameter::Absent, Person::Consents),
            (IssuerParameter::Wrong, Person::Denies),
        ] {
            let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script { callback_issuer, ..Script::people() }));
            let (run, browser) = sign_in(&mut sandbox, &vendor, person, &["--timeout", "5"]);
            let run = run.expect_code(5).expect_stderr(&["does not come from the expected authorization server"]);
            assert!(vendor.records_at("/token").is_empty(), "{callback_issuer:?}");
            let page = browser.last_page().text();
            assert!(page.contains("Could not sign in to"), "{page}");
            for said in [&page, &run.stderr] {
                assert!(!said.contains("access_denied") && !said.contains("the person said no"), "{said}");
            }
        }
    }

    /// t023, t025: an answer without the right `state` is refused, and the sign-in goes on waiting.
    #[test]
    fn t023_an_answer_without_the_right_state_changes_nothing() {
        for callback_state in [StateParameter::Wrong, StateParameter::Absent] {
            let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script { callback_state, ..Script::people() }));
            let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
            let mut login = sandbox.start(["login", &vendor.url()]);
            assert_eq!(browser.last_page().status, 400, "{callback_state:?}");
            assert!(login.is_running(), "{callback_state:?}");
            assert!(vendor.records_at("/token").is_empty());
            // The person tries again, and this time nothing comes between.
            vendor.change(|script| script.callback_state = StateParameter::Right);
            let again = visit("GET", &browser.starts()[0].arguments[0], &[], "").unwrap();
            visit("GET", again.header("location").unwrap(), &[], "").unwrap();
            assert_eq!(login.exit_within(PATIENCE), Some(0), "{callback_state:?}: {}", login.stderr());
            assert_eq!(vendor.records_at("/token").len(), 1);
        }
    }

    #[test]
    fn declining_ends_the_sign_in() {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let (run, _browser) = sign_in(&mut sandbox, &vendor, Person::Denies, &[]);
        run.expect_code(1).expect_stderr(&["access_denied"]);
        sandbox.finmcp(["token", &vendor.url()]).expect_code(4);
    }

    /// t035: the person never comes back.
    #[test]
    fn t035_waiting_for_the_user_ends() {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let (run, browser) = sign_in(&mut sandbox, &vendor, Person::Ignores, &["--timeout", "1"]);
        run.expect_code(1);
        assert_eq!(browser.starts().len(), 1);
    }

    /// The address is printed where no browser opens, or none is wanted; visiting it by hand works.
    #[test]
    fn the_address_is_printed_when_no_browser_opens() {
        for no_browser in [true, false] {
            let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
            sandbox.set("FINMCP_BROWSER", "/nonexistent/browser");
            let url = vendor.url();
            let arguments: &[&str] = if no_browser { &["login", &url, "--no-browser"] } else { &["login", &url] };
            let mut login = sandbox.start(arguments);
            let begin = vendor.at("/authorize");
            let address = eventually("the address on stderr", || {
                let stderr = login.stderr();
                let from = stderr.find(&begin)?;
                let length = stderr[from..].find(char::is_whitespace)?;
                Some(stderr[from..from + length].to_owned())
            });
            let page = visit("GET", &address, &[], "").unwrap();
            visit("GET", page.header("location").unwrap(), &[], "").unwrap();
            assert_eq!(login.exit_within(PATIENCE), Some(0), "{}", login.stderr());
            sandbox.finmcp(["token", &vendor.url()]).expect_success();
        }
    }

    /// t016: the scope of the challenge is asked for, and only that.
    #[test]
    fn t016_the_scope_of_the_challenge_is_asked_for() {
        let script = Script {
            challenge_scope: Some("invoices:read"),
            protected_resource: json!({"scopes_supported": ["invoices:read", "invoices:write"]}),
            ..Script::people()
        };
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        let (run, _browser) = sign_in(&mut sandbox, &vendor, Person::Consents, &[]);
        run.expect_success();
        assert_eq!(vendor.records_at("/authorize")[0].query()["scope"], "invoices:read");
    }

    /// A server that registers clients for its own scopes only, as the most widespread Node provider does, still grants a resource's.
    #[test]
    fn a_registration_refused_for_its_scope_is_tried_without() {
        let script = Script { challenge_scope: Some("invoices:read"), ..Script::people() };
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        let refusal = Reply::new(400).json(&json!({"error": "invalid_client_metadata"}));
        vendor.fault(On::Path("/register"), Effect::Answer(refusal));
        let (run, _browser) = sign_in(&mut sandbox, &vendor, Person::Consents, &[]);
        run.expect_success();
        let asked: Vec<_> =
            vendor.records_at("/register").iter().map(|record| record.json()["scope"].clone()).collect();
        assert_eq!(asked, [json!("invoices:read"), Value::Null]);
        assert_eq!(vendor.records_at("/authorize")[0].query()["scope"], "invoices:read");
    }

    /// t092: the browser is a stranger; it gets no secret of ours.
    #[test]
    fn t092_the_browser_gets_no_secret_in_its_environment() {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        sandbox.set("FINMCP_CLIENT_SECRET", CLIENT_SECRET);
        let (_run, browser) = sign_in(&mut sandbox, &vendor, Person::Ignores, &["--timeout", "1"]);
        let environment = &browser.starts()[0].environment;
        assert!(environment.contains("HOME="), "the browser's environment was noted");
        assert!(!environment.contains(CLIENT_SECRET), "{environment}");
    }
}
