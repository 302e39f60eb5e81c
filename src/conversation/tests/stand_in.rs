//! A server that cannot be asked: slow, down, or without a sign-in.

use super::*;

/// A slow server: finmcp responds to the client in its place, and opens the session once the server responds.
#[test]
fn finmcp_responds_in_place_of_a_slow_server() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    let alarm = rig.alarms[0];
    assert!(rig.written.is_empty());
    rig.handle(Event::Woken(alarm));
    assert_eq!(rig.answered(&json!(0))["result"]["serverInfo"]["name"], "Server");
    rig.client(initialized());
    rig.client(request(1, "tools/list", json!({})));
    assert_eq!(rig.methods(), ["initialize"]);
    rig.answer("initialize", legacy_hello());
    rig.accept_notifications();
    rig.answer("tools/list", json!({"result": {"tools": []}}));
    rig.answered(&json!(1));
    // The server's description differs from the one that the client got.
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
    // The alarm of a finished negotiation does nothing.
    rig.handle(Event::Woken(alarm));
    rig.answered(&json!(0));
}

/// The user is signed out: the list has the remembered tools and the sign-in tool.
#[test]
fn signed_out_the_list_has_the_known_tools_and_the_sign_in_tool() {
    let mut rig = Rig::new(Some(description(Era::Legacy)));
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    let hello = &rig.answered(&json!(0))["result"];
    assert_eq!(
        (&hello["serverInfo"]["name"], &hello["capabilities"]["tools"]["listChanged"]),
        (&json!("L"), &json!(true))
    );
    rig.client(initialized());
    rig.client(request(1, "tools/list", json!({})));
    rig.fail("initialize", signed_out());
    let names: Vec<_> = rig.answered(&json!(1))["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].clone())
        .collect();
    assert_eq!(names, ["pay", "finmcp_sign_in"]);
    assert!(rig.watches > 0);

    // The user signs in through another process.
    rig.handle(Event::SignedIn);
    rig.answer("initialize", legacy_hello());
    rig.accept_notifications();
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
    // Both the sign-in itself and the watcher report it.
    rig.handle(Event::SignedIn);
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
    rig.client(request(2, "tools/call", json!({"name": "pay"})));
    assert_eq!(rig.count("tools/call"), 1);
}

/// A sign-in ends in the middle of a session, and the user signs in again: the list with the sign-in tool is out of
/// date.
#[test]
fn a_legacy_client_is_notified_after_a_sign_in_in_mid_session() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.answer("initialize", legacy_hello());
    rig.client(initialized());
    rig.accept_notifications();
    rig.client(request(1, "tools/list", json!({})));
    rig.fail("tools/list", signed_out());
    assert_eq!(rig.answered(&json!(1))["result"]["tools"][0]["name"], "finmcp_sign_in");
    rig.handle(Event::SignedIn);
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
}

/// When the client learns that the sign-in is complete, it can already list the tools.
#[test]
fn the_tools_work_before_the_client_is_told() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    rig.client(initialized());
    rig.client(request(1, "tools/list", json!({})));
    rig.fail("initialize", signed_out());
    rig.client(request(2, "tools/call", json!({"name": "finmcp_sign_in"})));
    rig.handle(offered("https://as.example/a"));
    let question = rig.said("elicitation/create")[0].clone();
    rig.client(json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}}));
    rig.handle(Event::SignedIn);
    rig.answer("initialize", legacy_hello());
    rig.accept_notifications();
    assert_eq!(rig.sign_ins, [Need::Any, Need::Any], "the second finds the user signed in");
    rig.handle(Event::SignedIn);
    assert!(rig.answered(&json!(2))["result"]["content"][0]["text"].as_str().unwrap().contains("work now"));
    let place = |found: &dyn Fn(&Value) -> bool| rig.written.iter().position(found).unwrap();
    let changed = place(&|line| line["method"] == "notifications/tools/list_changed");
    assert!(changed < place(&|line| line["id"] == 2));
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
}

/// If the client cannot start a sign-in, it still gets the remembered tools, in its own era, and each call says what
/// to do.
#[test]
fn without_a_sign_in_tool_the_known_tools_are_listed() {
    for is_modern in [false, true] {
        let mut rig = Rig::with(Some(description(Era::Legacy)), SignIn::new(false));
        let question = if is_modern { "server/discover" } else { "initialize" };
        rig.client(if is_modern { discover() } else { initialize() });
        rig.fail("initialize", signed_out());
        let ask = |id, method, params| request(id, method, if is_modern { modern(params) } else { params });
        rig.client(ask(1, "tools/list", json!({})));
        rig.fail("initialize", signed_out());
        let result = &rig.answered(&json!(1))["result"];
        assert_eq!(result["tools"], json!([{"name": "pay"}]), "{question}");
        assert_eq!(result.get("resultType").is_some(), is_modern);
        rig.client(ask(2, "tools/call", json!({"name": "pay"})));
        rig.fail("initialize", signed_out());
        let error = rig.answered(&json!(2))["error"].clone();
        assert_eq!(error["code"], -31004);
        assert!(error["message"].as_str().unwrap().contains("finmcp login server"), "{error}");
    }
}

/// The known tools are listed while the user is still signing in, and a notification follows if there are others.
#[test]
fn the_known_tools_are_listed_before_the_sign_in() {
    for lists_early in [true, false] {
        let mut rig = Rig::with(Some(description(Era::Legacy)), SignIn::new(false));
        rig.client(initialize());
        let alarm = rig.alarms[0];
        if lists_early {
            rig.client(request(1, "tools/list", json!({})));
            assert!(rig.written.is_empty());
        }
        rig.handle(Event::Woken(alarm));
        rig.client(initialized());
        if !lists_early {
            rig.client(request(1, "tools/list", json!({})));
        }
        assert_eq!(rig.answered(&json!(1))["result"]["tools"], json!([{"name": "pay"}]));
        rig.client(request(2, "tools/call", json!({"name": "pay"})));
        rig.answer("initialize", legacy_hello());
        rig.accept_notifications();
        assert_eq!(rig.said("notifications/tools/list_changed").len(), 1, "the tools may have changed");
        assert_eq!((rig.count("tools/list"), rig.count("tools/call")), (0, 1));
        rig.answer("tools/call", json!({"result": {"content": []}}));
    }
}

/// A server without subscriptions: finmcp keeps the one that it acknowledged, until the client cancels it.
#[test]
fn an_acknowledged_subscription_is_kept() {
    for refuses_by_status in [false, true] {
        let mut rig = Rig::new(Some(description(Era::Modern)));
        rig.client(discover());
        rig.fail("server/discover", signed_out());
        for id in ["s", "t"] {
            rig.client(request(id, SUBSCRIBE, modern(json!({"notifications": {"toolsListChanged": true}}))));
        }
        rig.handle(Event::SignedIn);
        rig.answer("server/discover", modern_hello());
        let posts: Vec<_> = rig.posts.iter().filter(|post| post.1.method() == Some(SUBSCRIBE)).cloned().collect();
        for (exchange, message) in posts {
            if refuses_by_status {
                rig.network(session::Event::Finished(exchange, Ending::Failed(status(404))));
            } else {
                let id = message.id().unwrap();
                rig.network(session::Event::Delivered(exchange, Message::error(Some(id), -32601, "no")));
                rig.network(session::Event::Finished(exchange, Ending::Complete));
            }
        }
        assert!(rig.written.iter().all(|line| line.get("error").is_none()), "{:#?}", rig.written);
        rig.client(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "t"}}));

        // The sign-in ends, and the next one changes the tools.
        rig.client(request(1, "tools/list", modern(json!({}))));
        rig.fail("tools/list", signed_out());
        rig.handle(Event::SignedIn);
        let changed = rig.said("notifications/tools/list_changed");
        let told: Vec<_> =
            changed.iter().map(|line| &line["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"]).collect();
        assert_eq!(told, ["s"]);
        rig.handle(Event::Closed);
        assert_eq!(rig.answered(&json!("s"))["result"]["resultType"], "complete");
        assert!(rig.written.iter().all(|line| line["id"] != "t"));
    }
}

#[test]
fn a_modern_client_is_notified_of_the_sign_in_by_its_subscription() {
    let mut rig = Rig::new(Some(description(Era::Modern)));
    rig.client(discover());
    rig.fail("server/discover", signed_out());
    rig.answered(&json!("d"));
    rig.client(request("s", SUBSCRIBE, modern(json!({"notifications": {"toolsListChanged": true}}))));
    assert_eq!(rig.said("notifications/subscriptions/acknowledged").len(), 1);
    rig.client(request(1, "tools/list", modern(json!({}))));
    rig.fail("server/discover", signed_out());
    assert_eq!(rig.answered(&json!(1))["result"]["resultType"], "complete");
    rig.handle(Event::SignedIn);
    rig.answer("server/discover", modern_hello());
    let changed = rig.said("notifications/tools/list_changed");
    assert_eq!(changed[0]["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "s");
    // The client does not get the server's own acknowledgement as well.
    let (exchange, _) = rig.post(SUBSCRIBE);
    let told = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
        "params": {"_meta": {"io.modelcontextprotocol/subscriptionId": "s"}, "notifications": {}}});
    rig.network(session::Event::Delivered(exchange, parse(&told)));
    assert_eq!(rig.said("notifications/subscriptions/acknowledged").len(), 1);
}

/// A server that is down: the tools come from memory, and other requests fail.
#[test]
fn the_tools_of_a_server_that_is_down_come_from_memory() {
    let mut rig = Rig::new(Some(description(Era::Legacy)));
    rig.client(initialize());
    rig.fail("initialize", status(503));
    rig.answered(&json!(0));
    rig.client(request(1, "tools/list", json!({})));
    rig.fail("initialize", status(503));
    assert_eq!(rig.answered(&json!(1))["result"]["tools"], json!([{"name": "pay"}]));
    rig.client(request(2, "tools/call", json!({"name": "pay"})));
    rig.fail("initialize", status(503));
    assert_eq!(rig.answered(&json!(2))["error"]["code"], -31003, "not sent, so its outcome is known");
    rig.client(request(3, "tools/call", json!({"name": "pay"})));
    rig.answer("initialize", legacy_hello());
    rig.accept_notifications();
    rig.client(initialized());
    rig.accept_notifications();
    rig.answer("tools/call", json!({"result": {"content": []}}));
    rig.answered(&json!(3));
}
