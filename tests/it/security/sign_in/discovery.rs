//! Where a sign-in begins: the places of the metadata, and servers that publish none or ask for no sign-in.

use std::time::Duration;

use super::*;

/// t014: without a pointer the well-known places are tried in order, each until a 404, and OpenID Connect's document does
/// as well.
#[test]
fn t014_the_well_known_places_are_tried_in_order() {
    let (mut sandbox, vendor) = (
        Sandbox::new(),
        Vendor::start(Script {
            challenge_points: false,
            publishes_metadata: false,
            token_answer: Some(tokens()),
            ..Script::people()
        }),
    );
    let issuer = vendor.at("/as");
    vendor.change(|script| script.iss = Some(issuer.clone()));
    let resource = json!({
        "resource": vendor.origin(), "authorization_servers": [issuer], "scopes_supported": ["mcp", "more"],
    });
    for (path, document) in [
        ("/.well-known/oauth-protected-resource", resource),
        ("/as/.well-known/openid-configuration", metadata(&vendor, &issuer)),
    ] {
        vendor.fault(On::Path(path), Effect::Answer(Reply::new(200).json(&document)));
    }
    let (run, _browser) = sign_in(&mut sandbox, &vendor, &[]);
    run.expect_success();
    assert_eq!(
        paths(&vendor)[..6],
        [
            "POST /mcp",
            "GET /.well-known/oauth-protected-resource/mcp",
            "GET /.well-known/oauth-protected-resource",
            "GET /.well-known/oauth-authorization-server/as",
            "GET /.well-known/openid-configuration/as",
            "GET /as/.well-known/openid-configuration",
        ]
    );
    let page = vendor.records_at("/authorize")[0].query();
    assert_eq!(page["resource"], vendor.origin(), "the resource that the document names");
    // All of the resource's scopes, since the challenge names none.
    assert_eq!(page["scope"], "mcp more offline_access");
}

/// MCP 2025-03-26: a server that is its own authorization server, without any metadata or with its own at its root.
#[test]
fn a_server_can_be_its_own_authorization_server() {
    for issuer in [None, Some(""), Some("/")] {
        let (mut sandbox, vendor) = (
            Sandbox::new(),
            Vendor::start(Script {
                challenge_points: false,
                publishes_metadata: false,
                callback_issuer: IssuerParameter::Absent,
                ..Script::people()
            }),
        );
        if let Some(slash) = issuer {
            let document = metadata(&vendor, &format!("{}{slash}", vendor.origin()));
            vendor.fault(On::Path(AUTHORIZATION_SERVER), Effect::Answer(Reply::new(200).json(&document)));
        }
        let (run, _browser) = sign_in(&mut sandbox, &vendor, &[]);
        run.expect_success();
        assert_eq!(vendor.records_at("/token")[0].form()["resource"], vendor.url());
        assert_eq!(vendor.complaints(), Vec::<String>::new());
    }
}

/// A server that serves without a token needs no sign-in: the session that it opened is closed, and an answer without an
/// end is not read.
#[test]
fn a_server_without_authorization_needs_no_sign_in() {
    for endless in [false, true] {
        let (mut sandbox, vendor) =
            (Sandbox::new(), Vendor::start(Script { publishes_metadata: false, ..Script::default() }));
        if endless {
            let later = Effect::Drip(vec![String::new()], Duration::from_secs(600));
            vendor.fault(On::Rpc("initialize"), later);
        }
        let (run, browser) = sign_in(&mut sandbox, &vendor, &[]);
        run.expect_code(1).expect_stderr(&["does not require a sign-in"]);
        assert!(browser.starts().is_empty());
        assert_eq!(vendor.session_count(), 0);
        assert_eq!(vendor.records().iter().any(|record| record.method == "DELETE"), !endless);
    }
    // One that publishes where its tokens come from can be signed in to.
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    sign_in(&mut sandbox, &vendor, &[]).0.expect_success();
}

/// Some servers guard their tools alone, and some know no handshake: the challenge of their tools counts.
#[test]
fn a_server_may_guard_its_tools_alone() {
    let hello = json!({"jsonrpc": "2.0", "id": 0, "result": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"},
    }});
    let open = Reply::new(200).json(&hello).header("mcp-session-id", "s1");
    for (handshake, session) in [(open, Some("s1")), (Reply::new(400), None)] {
        let script = Script {
            challenge_scope: Some("mcp"),
            protected_resource: json!({"scopes_supported": ["mcp", "more"]}),
            ..Script::people()
        };
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        vendor.fault(On::Rpc("initialize"), Effect::Answer(handshake));
        let (run, _browser) = sign_in(&mut sandbox, &vendor, &[]);
        run.expect_success();
        // Of all the scopes that the resource has, the one that the challenge names.
        assert_eq!(vendor.records_at("/authorize")[0].query()["scope"], "mcp");
        let asked = vendor.records_at("/mcp");
        let methods: Vec<_> = asked[..2].iter().map(|record| record.rpc_method().unwrap()).collect();
        assert_eq!(methods, ["initialize", "tools/list"]);
        assert_eq!(asked[1].header("mcp-session-id"), session);
        let closed: Vec<_> = asked.iter().filter(|record| record.method == "DELETE").collect();
        assert_eq!(closed.iter().map(|record| record.header("mcp-session-id")).collect::<Vec<_>>(), {
            Vec::from_iter(session.map(Some))
        });
    }
}

/// The issuer that the person names comes before the server's own list.
#[test]
fn a_pinned_issuer_comes_before_the_servers_list() {
    let resource = json!({"authorization_servers": ["https://elsewhere.example"]});
    let (mut sandbox, vendor) =
        (Sandbox::new(), Vendor::start(Script { protected_resource: resource, ..Script::people() }));
    let issuer = vendor.origin();
    sign_in(&mut sandbox, &vendor, &["--issuer", &issuer]).0.expect_success();
}

/// A server that says too little is said to: no metadata where it points, no way for a client to register, no MCP.
#[test]
fn a_server_with_missing_metadata_is_named() {
    let silent = Script { publishes_metadata: false, ..Script::people() };
    let closed = Script { registration: Registration::Closed, ..Script::people() };
    for (script, path, code, said) in [
        (silent, "/mcp", 3, "--token-endpoint"),
        (closed, "/mcp", 2, "--client-id"),
        (Script::people(), "/other", 3, "HTTP 404"),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        let (run, browser) = login(&mut sandbox, Person::Consents, &vendor.at(path), &[]);
        run.expect_code(code).expect_stderr(&[said]);
        assert!(browser.starts().is_empty());
    }
}
