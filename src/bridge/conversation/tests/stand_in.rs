//! A server that cannot be asked: slow, down, or without a sign-in.

use super::*;

/// A slow server: the client is answered for it, and the session is there when the server is.
#[test]
fn a_slow_server_is_answered_for() {
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
    // It said something else than the client was told.
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
    // A greeting that is over has no alarm.
    rig.handle(Event::Woken(alarm));
    rig.answered(&json!(0));
}

/// Nobody is signed in: the tools that are known, and the one that helps.
#[test]
fn signed_out_lists_what_is_known_and_the_way_in() {
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

    // Somebody signs in elsewhere.
    rig.handle(Event::SignedIn);
    rig.answer("initialize", legacy_hello());
    rig.accept_notifications();
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
    // Both that sign-in and whoever looks out for one say so.
    rig.handle(Event::SignedIn);
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
    rig.client(request(2, "tools/call", json!({"name": "pay"})));
    assert_eq!(rig.count("tools/call"), 1);
}

/// A sign-in that ends in the middle of a session, and is had again: the list with the tool in it is out of date then.
#[test]
fn a_legacy_client_hears_of_a_sign_in_in_mid_session() {
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

/// Whoever is told that the sign-in is done can see the tools by then.
#[test]
fn the_tools_come_before_the_word_that_they_work() {
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
    assert_eq!(rig.sign_ins, [Need::Any, Need::Any], "the second finds somebody signed in");
    rig.handle(Event::SignedIn);
    assert!(rig.answered(&json!(2))["result"]["content"][0]["text"].as_str().unwrap().contains("work now"));
    let place = |found: &dyn Fn(&Value) -> bool| rig.written.iter().position(found).unwrap();
    let changed = place(&|line| line["method"] == "notifications/tools/list_changed");
    assert!(changed < place(&|line| line["id"] == 2));
    assert_eq!(rig.said("notifications/tools/list_changed").len(), 1);
}

/// Where nobody can sign in from within, the tools are listed all the same, in the client's own words, and each call says
/// what to do.
#[test]
fn a_client_that_offers_no_sign_in_lists_what_is_known() {
    for is_modern in [false, true] {
        let mut rig = Rig::with(Some(description(Era::Legacy)), SignIn::offered_if(false));
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

/// Whoever is slow to sign in keeps nobody from seeing the tools: those that are known, and the others when there are any.
#[test]
fn the_tools_that_are_known_wait_for_nobody() {
    for lists_early in [true, false] {
        let mut rig = Rig::with(Some(description(Era::Legacy)), SignIn::offered_if(false));
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
        assert_eq!(rig.said("notifications/tools/list_changed").len(), 1, "there may be others now");
        assert_eq!((rig.count("tools/list"), rig.count("tools/call")), (0, 1));
        rig.answer("tools/call", json!({"result": {"content": []}}));
    }
}

/// A server without subscriptions: the one that the client has been told it has is kept here, until it wants it no more.
#[test]
fn a_subscription_that_was_acknowledged_is_kept() {
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
fn a_modern_client_hears_of_the_sign_in_by_its_subscription() {
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
    // The server's own acknowledgment is one too many.
    let (exchange, _) = rig.post(SUBSCRIBE);
    let told = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
        "params": {"_meta": {"io.modelcontextprotocol/subscriptionId": "s"}, "notifications": {}}});
    rig.network(session::Event::Delivered(exchange, parse(&told)));
    assert_eq!(rig.said("notifications/subscriptions/acknowledged").len(), 1);
}

/// A server that is down: tools from memory, and an honest error for the rest.
#[test]
fn a_server_that_is_down_lists_what_it_listed_last() {
    let mut rig = Rig::new(Some(description(Era::Legacy)));
    rig.client(initialize());
    rig.fail("initialize", status(503));
    rig.answered(&json!(0));
    rig.client(request(1, "tools/list", json!({})));
    rig.fail("initialize", status(503));
    assert_eq!(rig.answered(&json!(1))["result"]["tools"], json!([{"name": "pay"}]));
    rig.client(request(2, "tools/call", json!({"name": "pay"})));
    rig.fail("initialize", status(503));
    assert_eq!(rig.answered(&json!(2))["error"]["code"], -31003, "not sent, so nothing is open");
    rig.client(request(3, "tools/call", json!({"name": "pay"})));
    rig.answer("initialize", legacy_hello());
    rig.accept_notifications();
    rig.client(initialized());
    rig.accept_notifications();
    rig.answer("tools/call", json!({"result": {"content": []}}));
    rig.answered(&json!(3));
}
