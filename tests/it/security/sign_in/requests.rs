//! The requests of a person's sign-in, and the ends that it can come to.

use std::{env, fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::commands::settings::configure;

/// t040, t043: five requests before the person is asked and one after; the resource, the client and what the person added
/// are on every leg.
#[test]
fn t043_every_request_of_a_sign_in_names_the_resource_and_the_client() {
    let (mut sandbox, vendor) = (
        Sandbox::new(),
        Vendor::start(Script {
            challenge_scope: Some("mcp"),
            authorization_server: json!({"scopes_supported": ["mcp", "offline_access"]}),
            ..Script::people()
        }),
    );
    let (run, _browser) = sign_in(&mut sandbox, &vendor, &["--param", "business_id=biz_1"]);
    run.expect_success();
    assert_eq!(
        paths(&vendor)[..6],
        [
            "POST /mcp",
            &format!("GET {PROTECTED_RESOURCE}"),
            &format!("GET {AUTHORIZATION_SERVER}"),
            "POST /register",
            "GET /authorize",
            "POST /token",
        ]
    );
    let (page, token) = (vendor.records_at("/authorize")[0].query(), vendor.records_at("/token")[0].form());
    for leg in [&page, &token] {
        assert_eq!(leg["resource"], vendor.url());
        assert_eq!(leg["client_id"], "client-1");
        assert_eq!(leg["business_id"], "biz_1");
    }
    assert_eq!((&page["scope"][..], &page["prompt"][..]), ("mcp offline_access", "consent"));
    let registration = vendor.records_at("/register")[0].json();
    assert_eq!(registration["application_type"], "native");
    assert!(registration["redirect_uris"].as_array().unwrap().contains(&json!(page["redirect_uri"])));
    assert_eq!(vendor.complaints(), Vec::<String>::new());
}

/// The override `offline_access = false` keeps that scope out of the request, whatever names it: the authorization
/// server, the resource, the challenge, the profile or the user. Without the override, each of them does name it.
#[test]
fn the_user_can_forbid_offline_access() {
    let (plain, offline) =
        (json!({"scopes_supported": ["mcp"]}), json!({"scopes_supported": ["mcp", "offline_access"]}));
    let both = "mcp offline_access";
    for (source, resource, server, challenge, profile, arguments) in [
        ("authorization server", &plain, &offline, None, "", &[][..]),
        ("resource", &offline, &plain, None, "", &[]),
        ("challenge", &plain, &plain, Some(both), "", &[]),
        ("profile", &plain, &plain, None, "scope = 'mcp offline_access'", &[]),
        ("user", &plain, &plain, None, "", &["--scope", "mcp", "--scope", "offline_access"]),
        ("all of them", &offline, &offline, Some(both), "scope = 'mcp offline_access'", &["--scope", both]),
    ] {
        for (overrides, asked, prompt) in
            [("", both, Some("consent")), ("overrides = { offline_access = false }", "mcp", None)]
        {
            let script = Script {
                challenge_scope: challenge,
                protected_resource: resource.clone(),
                authorization_server: server.clone(),
                ..Script::people()
            };
            let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
            configure(&sandbox, &format!("[profiles.odd]\nurl = {:?}\n{profile}\n{overrides}\n", vendor.url()));
            let (run, _browser) = login(&mut sandbox, Person::Consents, "odd", arguments);
            run.expect_success();
            let page = vendor.records_at("/authorize")[0].query();
            let prompt_sent = page.get("prompt").map(String::as_str);
            assert_eq!((&page["scope"][..], prompt_sent), (asked, prompt), "{source}: {overrides}");
        }
    }
}

/// A browser that is a script may return only when it has read the last page, which waits for the token.
#[test]
fn a_browser_that_returns_after_the_last_page_gets_that_page() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let (program, read) = (sandbox.watched().join("browser"), sandbox.watched().join("read"));
    let script = format!(
        "#!/bin/sh\nBROWSER_PAGE=\"$1\" '{}' --exact security::sign_in::requests::browser --ignored && : > '{}'\n",
        env::current_exe().unwrap().display(),
        read.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    sandbox.set("FINMCP_BROWSER", &program);
    sandbox.finmcp(["login", &vendor.url(), "--timeout", "20"]).expect_success();
    eventually("the last page", || read.exists().then_some(()));
}

/// Not a test: the browser of the test above.
#[test]
#[ignore = "runs inside of the other test"]
fn browser() {
    let Ok(page) = env::var("BROWSER_PAGE") else { return };
    let pages = sign_in_at(&page);
    assert!(pages.last().is_some_and(|page| page.text().contains("You are signed in to")), "{pages:?}");
}

/// What the server refuses ends the sign-in in the server's words, at the latest when it is asked for the token.
#[test]
fn a_refusal_ends_the_sign_in_with_the_servers_reason() {
    for (path, error, starts) in [("/register", "invalid_software_statement", 0), ("/token", "unsupported", 1)] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let refusal = Reply::new(400).json(&json!({"error": error, "error_description": "not today"}));
        vendor.fault(On::Path(path), Effect::Answer(refusal));
        let (run, browser) = sign_in(&mut sandbox, &vendor, &[]);
        run.expect_code(1).expect_stderr(&[error, "(\"not today\")"]);
        assert_eq!(browser.starts().len(), starts, "{path}");
        sandbox.finmcp(["token", &vendor.url()]).expect_code(4);
    }
}

#[test]
fn the_resource_parameter_can_be_set() {
    for (value, sent) in [("urn:x", Some("urn:x")), ("none", None)] {
        let (mut sandbox, vendor) =
            (Sandbox::new(), Vendor::start(Script { token_answer: Some(tokens()), ..Script::people() }));
        let (run, _browser) = sign_in(&mut sandbox, &vendor, &["--resource", value]);
        run.expect_success();
        for leg in [vendor.records_at("/authorize")[0].query(), vendor.records_at("/token")[0].form()] {
            assert_eq!(leg.get("resource").map(String::as_str), sent, "{value}");
        }
    }
}
