//! The token endpoint: how it is asked, and what it may answer.

use super::*;

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
/// type that was not asked for.
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
fn b1_a_form_with_a_server_error_ends_nothing() {
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
fn d1_places_where_servers_read_the_secret() {
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

/// d1: a client that is refused both ways is refused, with a way out that names no secret unless one was given; one
/// that a person was given is tried one way.
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
fn d1_the_user_chooses_the_authentication_method() {
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
fn d4_a_secret_issued_with_the_method_none() {
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
