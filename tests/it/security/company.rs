//! Company sign-in (MCP "Enterprise-Managed Authorization"): the user signs in once at the identity provider, for all
//! servers that trust it.

use std::time::Duration;

use serde_json::json;

use crate::{
    commands::{login::CLIENT_SECRET, token::pass},
    support::{
        browser::{FakeBrowser, Person},
        eventually,
        sandbox::Sandbox,
        vendor::{Era, Recorded, Registration, Script, Vendor},
    },
};

const AN_HOUR: Duration = Duration::from_secs(3600);

/// Long enough for an exchange on a busy machine, and short enough to wait for its end.
const SHORT: Duration = Duration::from_secs(4);

/// An identity provider that knows finmcp as `sso`, and issues ID tokens.
fn identity_provider() -> Vendor {
    Vendor::start(Script {
        clients: vec![("sso".to_owned(), None)],
        registration: Registration::Closed,
        serves_mcp: false,
        id_token: json!({"sub": "u-1", "email": "ada@company.example", "exp": "fresh"}),
        ..Script::people()
    })
}

/// A server that trusts `provider`.
fn server(provider: &Vendor) -> Vendor {
    Vendor::start(Script {
        trusted_issuer: Some(provider.origin()),
        clients: vec![("x".to_owned(), Some(CLIENT_SECRET.to_owned()))],
        registration: Registration::Closed,
        refresh_tokens: false,
        ..Script::people()
    })
}

/// The command line that signs in to `server` through `provider`.
fn arguments(sandbox: &Sandbox, server: &Vendor, provider: &Vendor) -> Vec<String> {
    let secret = sandbox.give("client-secret", CLIENT_SECRET).to_str().unwrap().to_owned();
    let (url, provider) = (server.url(), provider.origin());
    ["login", &url, "--client-id", "x", "--client-secret-file", &secret, "--identity-provider", &provider]
        .into_iter()
        .chain(["--identity-provider-client-id", "sso"])
        .map(str::to_owned)
        .collect()
}

/// A browser whose user consents, an identity provider, and two servers that trust it.
fn company() -> (Sandbox, FakeBrowser, Vendor, [Vendor; 2]) {
    let mut sandbox = Sandbox::new();
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let provider = identity_provider();
    let servers = [server(&provider), server(&provider)];
    (sandbox, browser, provider, servers)
}

#[test]
fn one_sign_in_is_enough_for_all_servers_of_the_company() {
    let (sandbox, browser, provider, servers) = company();
    for server in &servers {
        sandbox.finmcp(arguments(&sandbox, server, &provider)).expect_success();
        let mut serve = sandbox.serve([server.url()]);
        serve.initialize().result();
        serve.call("echo", json!({"message": "hi"})).result();
        assert_eq!(server.complaints(), Vec::<String>::new());
        assert!(server.records_at("/authorize").is_empty());
    }
    assert_eq!(browser.starts().len(), 1, "one page for both");
    assert_eq!(provider.complaints(), Vec::<String>::new());
    // PKCE at the identity provider, and its ID token stays between the two.
    let authorization = provider.records_at("/authorize")[0].query();
    assert_eq!(authorization["code_challenge_method"], "S256");
    assert!(authorization["scope"].split(' ').any(|scope| scope == "openid"), "{authorization:?}");
    let exchange = provider.records_at("/token").into_iter().find(|record| record.form().contains_key("subject_token"));
    let id_token = exchange.unwrap().form()["subject_token"].clone();
    for server in &servers {
        assert!(!server.records().iter().any(|record| record.text().contains(&id_token)));
    }
    let secrets = [provider.secrets(), servers[0].secrets(), servers[1].secrets(), vec![id_token]].concat();
    sandbox.assert_no_secret(&secrets);
}

/// The identity provider's refresh token brings a new ID token, without the user.
#[test]
fn an_expired_id_token_is_renewed_without_the_user() {
    let (sandbox, browser, provider, [server, _]) = company();
    provider.change(|script| script.access_lifetime = SHORT);
    sandbox.finmcp(arguments(&sandbox, &server, &provider)).expect_success();
    provider.change(|script| script.access_lifetime = AN_HOUR);
    pass(SHORT);
    sandbox.finmcp(["token", &server.url(), "--force-refresh"]).expect_success();
    let refreshed = |record: &Recorded| record.form().contains_key("refresh_token");
    assert_eq!(provider.records_at("/token").iter().filter(|record| refreshed(record)).count(), 1);
    assert_eq!((browser.starts().len(), provider.replays()), (1, 0));
}

#[test]
fn a_company_sign_in_that_ended_is_made_again_once_for_all() {
    let (sandbox, browser, provider, servers) = company();
    provider.change(|script| script.access_lifetime = SHORT);
    for server in &servers {
        sandbox.finmcp(arguments(&sandbox, server, &provider)).expect_success();
    }
    provider.revoke_sign_ins();
    pass(SHORT);
    let run = sandbox.finmcp(["token", &servers[0].url(), "--force-refresh"]).expect_code(4);
    run.expect_stderr(&["finmcp login"]);
    let before = browser.starts().len();
    provider.change(|script| script.access_lifetime = AN_HOUR);
    for server in &servers {
        sandbox.finmcp(["login", &server.url()]).expect_success();
        sandbox.finmcp(["token", &server.url(), "--force-refresh"]).expect_success();
    }
    assert_eq!(browser.starts().len() - before, 1);
}

/// A client that is signed out offers the sign-in, whose page is the identity provider's.
#[test]
fn a_client_can_have_the_user_sign_in_at_the_identity_provider() {
    let (sandbox, browser, provider, [server, _]) = company();
    let mut serve = sandbox.serve([&[server.url()][..], &arguments(&sandbox, &server, &provider)[2..]].concat());
    serve.initialize().result();
    serve.call("finmcp_sign_in", json!({})).result();
    eventually("the sign-in", || sandbox.finmcp(["token", &server.url()]).code.filter(|code| *code == 0));
    serve.call("echo", json!({"message": "hi"})).result();
    assert_eq!(browser.starts().len(), 1);
    assert_eq!(server.executed(), ["echo"]);
}

#[test]
fn login_all_signs_in_to_signed_out_profiles() {
    let (sandbox, browser, provider, servers) = company();
    for server in &servers {
        sandbox.finmcp(arguments(&sandbox, server, &provider)).expect_success();
    }
    sandbox.finmcp(["logout", "--all"]).expect_success().expect_stderr(&["company sign-in"]);
    for server in &servers {
        sandbox.finmcp(["token", &server.url()]).expect_code(4);
    }
    let secret = sandbox.give("client-secret", CLIENT_SECRET);
    sandbox.finmcp(["login", "--all", "--client-secret-file", secret.to_str().unwrap()]).expect_success();
    assert_eq!(browser.starts().len(), 2, "one page each time");
    for server in &servers {
        sandbox.finmcp(["token", &server.url()]).expect_success();
    }
    let before = servers[0].records().len();
    sandbox.finmcp(["login", "--all"]).expect_success();
    assert_eq!(servers[0].records().len(), before, "nothing is left to do");
}

/// For gateways that want it: the ID token goes to the server in place of the access token.
#[test]
fn a_gateway_can_get_the_id_token() {
    let mut sandbox = Sandbox::new();
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let claims = json!({"sub": "u-1", "exp": "fresh"});
    let vendor = Vendor::start(Script { id_token: claims, ..Script::people() });
    sandbox.finmcp(["login", &vendor.url(), "--bearer", "id-token", "--profile", "gateway"]).expect_success();
    let token = sandbox.finmcp(["token", "gateway"]).expect_success().stdout;
    assert_eq!(token.trim_end().split('.').count(), 3, "a JWT: {token}");
    assert!(vendor.records_at("/authorize")[0].query()["scope"].contains("openid"));
    sandbox.finmcp(["call", "echo", "message=hi", "-s", "gateway"]);
    let sent = format!("Bearer {}", token.trim_end());
    assert!(vendor.calls("initialize").iter().any(|call| call.header("authorization") == Some(&sent)));
    sandbox.assert_no_secret(&[vendor.secrets(), vec![token.trim_end().to_owned()]].concat());

    let without = Vendor::start(Script::people());
    let run = sandbox.finmcp(["login", &without.url(), "--bearer", "id-token"]);
    run.expect_code(5).expect_stderr(&["contains no ID token"]);
}

/// `status` names the company sign-in of each profile, and `logout` of one server says that it stays.
#[test]
fn the_company_sign_in_is_shown_and_named() {
    let (sandbox, _browser, provider, servers) = company();
    for server in &servers {
        sandbox.finmcp(arguments(&sandbox, server, &provider)).expect_success();
    }
    let documents = || {
        let status = sandbox.finmcp(["status", "--json"]).expect_success().stdout;
        let documents: serde_json::Value = serde_json::from_str(&status).unwrap();
        let company = |document: &serde_json::Value| {
            let company = document["company"].clone();
            assert_eq!(company["issuer"], provider.origin());
            (
                company["signed_in"] == true,
                company["person"] == "ada@company.example",
                company["expires_at"].is_string(),
            )
        };
        documents.as_array().unwrap().iter().map(company).collect::<Vec<_>>()
    };
    assert_eq!(documents(), [(true, true, true); 2]);
    let row = format!("signed in to {} as ada@company.example, ID token expires 20", provider.origin());
    let status = sandbox.finmcp(["status", "-v"]).expect_success().stdout;
    assert_eq!(status.matches(&row).count(), 2, "{status}");

    let run = sandbox.finmcp(["logout", &servers[0].url()]).expect_success();
    let host = provider.origin().replace("http://", "");
    let stays = format!("Still signed in to {host} (company sign-in)");
    run.expect_stderr(&[&stays, "finmcp logout --all"]);
    assert_eq!(documents(), [(true, true, true); 2]);
    let run = sandbox.finmcp(["logout", "--all"]).expect_success();
    assert!(!run.stderr.contains("Still signed in"), "{}", run.stderr);
    assert_eq!(documents(), [(false, false, false); 2]);
    let run = sandbox.finmcp(["logout", &servers[0].url()]).expect_success();
    assert!(!run.stderr.contains("company sign-in"), "there is none any more: {}", run.stderr);
}

/// The extension's identifier (MCP "Extensions").
const EXTENSION: &str = "io.modelcontextprotocol/enterprise-managed-authorization";

/// The capabilities that a client states in `message`; null if it states none.
fn stated_capabilities(message: &Recorded) -> serde_json::Value {
    let message = message.json();
    match message["method"] == "initialize" {
        true => message["params"]["capabilities"].clone(),
        false => message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"].clone(),
    }
}

/// Panics unless every message that states capabilities declares the extension, and at least `least` do.
#[track_caller]
fn expect_declared(messages: &[Recorded], least: usize) {
    let stated: Vec<_> = messages.iter().map(stated_capabilities).filter(|stated| !stated.is_null()).collect();
    assert!(stated.len() >= least, "{stated:?}");
    assert!(stated.iter().all(|stated| stated["extensions"] == json!({EXTENSION: {}})), "{stated:?}");
}

/// The MCP messages that `server` has got, without the probes of discovery.
fn mcp_messages(server: &Vendor) -> Vec<Recorded> {
    let is_message = |record: &Recorded| record.method == "POST" && record.header("authorization").is_some();
    server.records_at("/mcp").into_iter().filter(is_message).collect()
}

/// finmcp signs in, not the client, so finmcp declares the extension to the server, whatever the eras of the two.
#[test]
fn the_extension_is_declared_in_both_eras() {
    for server_era in [Era::Legacy, Era::Modern] {
        for client_era in [Era::Legacy, Era::Modern] {
            let (sandbox, _browser, provider, [server, _]) = company();
            server.change(|script| script.era = server_era);
            sandbox.finmcp(arguments(&sandbox, &server, &provider)).expect_success();
            let before = mcp_messages(&server).len();
            let mut serve = sandbox.serve([server.url()]);
            serve.greet(client_era).result();
            serve.call_in(client_era, "echo", json!({"message": "hi"})).result();
            drop(serve);
            let least = if server_era == Era::Modern { 2 } else { 1 };
            expect_declared(&mcp_messages(&server)[before..], least);
            assert_eq!((server.complaints(), server.executed().len()), (vec![], 1), "{client_era:?} {server_era:?}");
        }
    }
}

/// The same in finmcp's own requests.
#[test]
fn the_extension_is_declared_by_every_command() {
    for server_era in [Era::Legacy, Era::Modern] {
        let (sandbox, _browser, provider, [server, _]) = company();
        server.change(|script| script.era = server_era);
        sandbox
            .finmcp([&arguments(&sandbox, &server, &provider)[..], &["--profile".to_owned(), "p".to_owned()]].concat())
            .expect_success();
        for command in [&["tools", "p"][..], &["call", "echo", "message=hi", "-s", "p"], &["doctor", "p"]] {
            let before = mcp_messages(&server).len();
            sandbox.finmcp(command);
            expect_declared(&mcp_messages(&server)[before..], 1);
        }
    }
}

/// Nothing else of a message changes, and nothing at all for other profiles and in messages without capabilities.
#[test]
fn the_declaration_changes_no_other_byte() {
    let declaration = format!(r#""extensions":{{"{EXTENSION}":{{}}}}"#);
    let sent_as = |server: &Vendor, sandbox: &Sandbox, era: Era, id: &str, line: &str| {
        server.change(|script| script.era = era);
        let mut serve = sandbox.serve([server.url()]);
        serve.greet(era).result();
        serve.send(line);
        serve.answer_to(id).result();
        let call = server.calls("tools/call").pop().unwrap();
        String::from_utf8(call.body).unwrap()
    };
    let legacy = r#"{"jsonrpc":"2.0", "id":"a\u0062", "method":"tools/call","params":{"name":"echo","arguments":{"message":"\u00e9","n":1.10,"big":12345678901234567890123},"x":1e400}}"#;
    let modern = |capabilities: &str| {
        let meta = format!(
            r#"{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{"v":1.0{capabilities}}},"io.modelcontextprotocol/clientInfo":{{"name":"c","version":"1"}}}}"#
        );
        format!(
            r#"{{"jsonrpc":"2.0","id":77.0,"method":"tools/call","params":{{"name":"echo","_meta":{meta},"arguments":{{"message":"\u00e9","n":1.10}}}}}}"#
        )
    };
    let (sandbox, _browser, provider, [server, _]) = company();
    sandbox.finmcp(arguments(&sandbox, &server, &provider)).expect_success();
    assert_eq!(sent_as(&server, &sandbox, Era::Legacy, r#""a\u0062""#, legacy), legacy);
    let declared = modern(&format!(",{declaration}"));
    assert_eq!(sent_as(&server, &sandbox, Era::Modern, "77.0", &modern("")), declared);
    assert_eq!(sent_as(&server, &sandbox, Era::Modern, "77.0", &declared), declared, "declared by the client already");

    let (other, mut sandbox) = (Vendor::start(Script::people()), Sandbox::new());
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", &other.url()]).expect_success();
    assert_eq!(sent_as(&other, &sandbox, Era::Modern, "77.0", &modern("")), modern(""));
    assert!(!other.records().iter().any(|record| record.text().contains("enterprise-managed")));
}
