//! Which era client and server speak, and what is remembered of the server.

use super::*;

#[test]
fn messages_of_the_same_era_are_relayed_unchanged() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.answer("initialize", legacy_hello());
    assert_eq!(rig.answered(&json!(0))["result"], legacy_hello()["result"]);
    rig.client(initialized());
    rig.accept_notifications();
    rig.client(request(1, "tools/list", json!({})));
    assert_eq!(rig.methods(), ["initialize", INITIALIZED, "tools/list"]);

    let mut rig = Rig::new(None);
    rig.client(discover());
    rig.answer("server/discover", modern_hello());
    assert_eq!(rig.answered(&json!("d"))["result"], modern_hello()["result"]);
    assert_eq!(rig.methods(), ["server/discover"]);
}

#[test]
fn a_legacy_client_is_translated_for_a_server_without_initialize() {
    for refusal in [status(400), status(404), status(405)] {
        let mut rig = Rig::new(None);
        rig.client(initialize());
        rig.fail("initialize", refusal);
        rig.answer("server/discover", modern_hello());
        let hello = &rig.answered(&json!(0))["result"];
        assert_eq!((&hello["protocolVersion"], &hello["serverInfo"]["name"]), (&json!("2025-06-18"), &json!("M")));
        rig.client(initialized());
        rig.client(request(1, "tools/list", json!({})));
        let (_, list) = rig.post("tools/list");
        assert!(list.member("_meta").unwrap().contains("2026-07-28"));
        assert_eq!(rig.count("initialize"), 1);
        assert!(matches!(rig.remembered, Some(Description { era: Era::Modern, .. })));
    }
}

/// t136: an error that only a modern server sends does not make finmcp fall back.
#[test]
fn t136_only_an_unspecific_error_makes_finmcp_fall_back() {
    let mut rig = Rig::new(None);
    rig.client(discover());
    rig.answer("server/discover", json!({"error": {"code": -32022, "message": "", "data": {"supported": ["2027-01-01"], "requested": "2026-07-28"}}}));
    assert_eq!(rig.answered(&json!("d"))["error"]["code"], -32022);
    assert_eq!(rig.count("initialize"), 0);

    let mut rig = Rig::new(None);
    rig.client(discover());
    rig.answer("server/discover", unknown_method());
    rig.answer("initialize", legacy_hello());
    assert_eq!(rig.answered(&json!("d"))["result"]["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(rig.methods()[..3], ["server/discover", "initialize", INITIALIZED]);
}

#[test]
fn the_remembered_era_is_probed_first_and_forgotten_when_wrong() {
    let mut rig = Rig::new(Some(description(Era::Modern)));
    rig.client(initialize());
    assert_eq!(rig.methods(), ["server/discover"]);
    rig.answer("server/discover", unknown_method());
    rig.answer("initialize", legacy_hello());
    assert_eq!(rig.answered(&json!(0))["result"], legacy_hello()["result"]);
    assert!(matches!(rig.remembered, Some(Description { era: Era::Legacy, .. })));

    let mut rig = Rig::new(Some(description(Era::Legacy)));
    rig.client(discover());
    assert_eq!(rig.methods(), ["initialize"]);
    // A modern client that starts without server/discover goes straight to a server known to be modern,
    let mut rig = Rig::new(Some(description(Era::Modern)));
    rig.client(request(1, "tools/call", modern(json!({"name": "pay"}))));
    assert_eq!(rig.methods(), ["tools/call"]);
    // but not to another, which could mistake the call for a legacy one.
    let mut rig = Rig::new(None);
    rig.client(request(1, "tools/call", modern(json!({"name": "pay"}))));
    assert_eq!(rig.methods(), ["server/discover"]);
}

/// A remembered modern server has become legacy: one error, and the next message finds out.
#[test]
fn a_wrong_remembered_era_is_corrected() {
    for wrong in
        [Ok(json!({"error": {"code": -32000, "message": "Bad Request: Server not initialized"}})), Err(status(404))]
    {
        let mut rig = Rig::new(Some(description(Era::Modern)));
        rig.client(request(1, "tools/call", modern(json!({"name": "pay"}))));
        match wrong {
            Ok(answer) => rig.answer("tools/call", answer),
            Err(failure) => rig.fail("tools/call", failure),
        }
        assert!(rig.answered(&json!(1)).get("error").is_some());
        rig.client(request(2, "tools/list", modern(json!({}))));
        rig.answer("server/discover", unknown_method());
        rig.answer("initialize", legacy_hello());
        rig.accept_notifications();
        rig.answer("tools/list", json!({"result": {"tools": []}}));
        rig.answered(&json!(2));
        assert_eq!(rig.count("tools/call"), 1);
    }
}

/// The client starts over: its earlier requests still get responses.
#[test]
fn a_second_handshake_leaves_no_request_waiting() {
    let mut rig = Rig::new(Some(description(Era::Modern)));
    rig.client(initialize());
    rig.client(request(1, "tools/list", json!({})));
    let again = |id: u8| {
        let mut hello = initialize();
        hello["id"] = json!(id);
        hello
    };
    rig.client(again(100));
    rig.answered(&json!(0));
    rig.answered(&json!(1));
    rig.answer("server/discover", modern_hello());
    rig.client(request(2, "tools/call", json!({"name": "pay"})));
    rig.answer(
        "tools/call",
        json!({"result": {"resultType": "input_required", "inputRequests":
        {"k": {"method": "roots/list"}}}}),
    );
    rig.client(again(101));
    rig.answered(&json!(2));
}

#[test]
fn the_client_gets_the_error_of_a_server_that_speaks_neither_era() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.answer("initialize", json!({"error": {"code": -32000, "message": "go away"}}));
    rig.answer("server/discover", unknown_method());
    assert_eq!(rig.answered(&json!(0))["error"]["message"], "go away");
    // Later messages are not kept forever.
    rig.client(request(1, "tools/list", json!({})));
    rig.answer("tools/list", json!({"result": {"tools": []}}));
    rig.answered(&json!(1));
}
