//! A call while signed out: the page that the client opens, and what follows.

use super::*;

/// A call while the user is signed out: the client gets the address, in the way that it can show it, and then the call
/// is made, once.
#[test]
fn a_call_while_signed_out_leads_to_the_page_and_is_made_after_it() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    rig.client(initialized());
    rig.client(request(1, "tools/call", json!({"name": "pay"})));
    rig.fail("initialize", signed_out());
    assert_eq!(rig.sign_ins, [Need::Any]);
    rig.handle(offered("https://as.example/authorize?x=1"));
    let question = rig.said("elicitation/create")[0].clone();
    assert_eq!(
        (&question["params"]["mode"], &question["params"]["url"]),
        (&json!("url"), &json!("https://as.example/authorize?x=1"))
    );
    rig.client(json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}}));
    rig.handle(Event::SignedIn);
    rig.answer("initialize", legacy_hello());
    rig.accept_notifications();
    assert_eq!(rig.count("tools/call"), 1);
    rig.answer("tools/call", json!({"result": {"content": []}}));
    rig.answered(&json!(1));

    // The server rejects that sign-in too: the client gets the error, and no retry.
    rig.client(request(2, "tools/call", json!({"name": "pay"})));
    rig.fail("tools/call", Failure::Refused);
    assert_eq!(rig.sign_ins, [Need::Any, Need::Another]);
    rig.handle(Event::SignedIn);
    rig.fail("tools/call", Failure::Refused);
    assert_eq!(rig.answered(&json!(2))["error"]["code"], -31004);
    assert_eq!(rig.sign_ins.len(), 2);
}

#[test]
fn a_client_without_url_elicitation_gets_the_address() {
    let mut rig = Rig::new(None);
    rig.client(request(0, "initialize", json!({"protocolVersion": "2025-06-18", "capabilities": {}})));
    rig.fail("initialize", signed_out());
    for (id, tool, is_error) in [(1, "finmcp_sign_in", false), (2, "pay", true)] {
        rig.client(request(id, "tools/call", json!({"name": tool})));
        if tool == "pay" {
            rig.fail("initialize", signed_out());
        }
        rig.handle(offered("https://as.example/a"));
        let result = &rig.answered(&json!(id))["result"];
        assert_eq!(result["isError"], is_error);
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("https://as.example/a") && text.contains("finmcp login server"), "{text}");
    }
    assert_eq!(rig.sign_ins.len(), 1, "one sign-in for both");
    rig.client(request(3, "tools/call", json!({"name": "finmcp_sign_in"})));
    rig.handle(Event::SignInFailed("timed out".to_owned()));
    rig.client(request(4, "tools/call", json!({"name": "finmcp_sign_in"})));
    assert_eq!(rig.sign_ins.len(), 2, "a new one afterwards");
}

#[test]
fn a_modern_client_sends_the_call_again_after_the_page() {
    for (action, calls) in [("accept", 1), ("decline", 0)] {
        let mut rig = Rig::new(Some(description(Era::Modern)));
        rig.client(request(1, "tools/call", modern(json!({"name": "pay"}))));
        rig.fail("tools/call", signed_out());
        rig.handle(offered("https://as.example/a"));
        let result = rig.answered(&json!(1))["result"].clone();
        assert_eq!(result["inputRequests"]["sign_in"]["params"]["url"], "https://as.example/a");
        let back = json!({"name": "pay", "requestState": result["requestState"], "inputResponses": {"sign_in": {"action": action}}});
        let before = rig.count("tools/call");
        rig.client(request(2, "tools/call", modern(back)));
        rig.handle(Event::SignedIn);
        assert_eq!(rig.count("tools/call") - before, calls);
        if calls == 1 {
            assert_eq!(rig.post("tools/call").1.member("requestState"), None);
            rig.answer("tools/call", json!({"result": {"content": []}}));
        }
        let text = rig.answered(&json!(2))["result"]["content"][0]["text"].as_str().unwrap_or_default();
        assert_eq!(text.contains("https://as.example/a") && text.contains("finmcp login server"), calls == 0, "{text}");
    }
}

/// A client that declines every elicitation without asking the user: the result then has the address.
#[test]
fn a_client_that_declines_gets_the_address() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    rig.client(request(1, "tools/call", json!({"name": "finmcp_sign_in"})));
    rig.handle(offered("https://as.example/a"));
    let question = rig.said("elicitation/create")[0].clone();
    rig.client(json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}}));
    let text = rig.answered(&json!(1))["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("https://as.example/a") && text.contains("finmcp login server"), "{text}");
    assert_eq!(rig.sign_ins.len(), 1, "the sign-in goes on waiting for the user");
}

impl Rig {
    /// A client that was asked to open the page for the call `pay` with id 1 and has accepted; with the id of the
    /// request that waits then.
    fn accepted(is_modern: bool) -> (Self, Value) {
        let mut rig = Self::new(is_modern.then(|| description(Era::Modern)));
        if is_modern {
            rig.client(request(1, "tools/call", modern(json!({"name": "pay"}))));
            rig.fail("tools/call", signed_out());
            rig.handle(offered("https://as.example/a"));
            let state = rig.answered(&json!(1))["result"]["requestState"].clone();
            let answers = json!({"sign_in": {"action": "accept"}});
            let back = json!({"name": "pay", "requestState": state, "inputResponses": answers});
            rig.client(request(2, "tools/call", modern(back)));
            return (rig, json!(2));
        }
        rig.client(initialize());
        rig.fail("initialize", signed_out());
        rig.client(initialized());
        rig.client(request(1, "tools/call", json!({"name": "pay"})));
        rig.fail("initialize", signed_out());
        rig.handle(offered("https://as.example/a"));
        rig.accept();
        (rig, json!(1))
    }

    /// The client accepts the last elicitation.
    fn accept(&mut self) {
        let question = self.said("elicitation/create").last().unwrap()["id"].clone();
        self.client(json!({"jsonrpc": "2.0", "id": question, "result": {"action": "accept"}}));
    }

    /// Every call has waited long enough for the sign-in.
    fn wait_for_user(&mut self) {
        let alarms = self.alarms.clone();
        for alarm in alarms.into_iter().filter(|alarm| matches!(alarm, Alarm::SignIn(_))) {
            self.handle(Event::Woken(alarm));
        }
    }

    /// The user signs in, and the server responds to everything that it is sent.
    fn sign_in_and_settle(&mut self, is_modern: bool) {
        self.handle(Event::SignedIn);
        if !is_modern {
            self.answer("initialize", legacy_hello());
            self.accept_notifications();
        }
    }
}

/// The user has opened the page but does not sign in: the client gets a response before it gives up, and the call is
/// not made if the user signs in later.
#[test]
fn unanswered_a_call_gets_a_response_while_its_sign_in_stays_open() {
    for is_modern in [false, true] {
        let (mut rig, waiting) = Rig::accepted(is_modern);
        let (before, sign_ins) = (rig.count("tools/call"), rig.sign_ins.len());
        rig.wait_for_user();
        let result = rig.answered(&waiting)["result"].clone();
        assert_eq!((&result["isError"], result.get("resultType").is_some()), (&json!(true), is_modern));
        let text = result["content"][0]["text"].as_str().unwrap();
        for part in ["still open", "https://as.example/a", "finmcp login server", "repeat it after signing in"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        rig.sign_in_and_settle(is_modern);
        assert_eq!(rig.count("tools/call"), before, "a call with a response was made");
        rig.answered(&waiting);
        // The next call is made at once: the sign-in was there all the time.
        let params = json!({"name": "pay"});
        rig.client(request(9, "tools/call", if is_modern { modern(params) } else { params }));
        assert_eq!((rig.count("tools/call"), rig.sign_ins.len()), (before + 1, sign_ins));
    }
}

/// A call whose user signs in in time is made, and no alarm is left that could respond to it again.
#[test]
fn unanswered_an_alarm_after_the_sign_in_does_nothing() {
    for is_modern in [false, true] {
        let (mut rig, waiting) = Rig::accepted(is_modern);
        let before = rig.count("tools/call");
        rig.sign_in_and_settle(is_modern);
        assert_eq!(rig.count("tools/call"), before + 1);
        rig.wait_for_user();
        rig.answer("tools/call", json!({"result": {"content": []}}));
        assert_eq!(rig.answered(&waiting)["result"]["content"], json!([]));
    }
}

/// A cancelled call gets no response.
#[test]
fn unanswered_an_alarm_after_a_cancellation_does_nothing() {
    let (mut rig, waiting) = Rig::accepted(false);
    rig.client(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": waiting}}));
    rig.wait_for_user();
    assert!(rig.written.iter().all(|line| line["id"] != waiting), "{:?}", rig.written);
}

/// The client may ask the user for any time; the wait starts again when the user has opened the page.
#[test]
fn unanswered_an_open_elicitation_is_left_to_the_user() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    rig.client(request(1, "tools/call", json!({"name": "finmcp_sign_in"})));
    rig.handle(offered("https://as.example/a"));
    rig.wait_for_user();
    assert!(rig.written.iter().all(|line| line["id"] != 1), "{:?}", rig.written);
    rig.accept();
    assert!(rig.written.iter().all(|line| line["id"] != 1), "{:?}", rig.written);
    rig.wait_for_user();
    let result = &rig.answered(&json!(1))["result"];
    assert_eq!(result["isError"], false);
    assert!(result["content"][0]["text"].as_str().unwrap().contains("still open"));
}

/// The page never becomes ready: the call still gets a response.
#[test]
fn unanswered_a_call_whose_page_does_not_come_gets_a_response() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    rig.client(request(1, "tools/call", json!({"name": "pay"})));
    rig.fail("initialize", signed_out());
    rig.wait_for_user();
    let text = rig.answered(&json!(1))["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("not ready yet") && text.contains("finmcp login server"), "{text}");
    rig.handle(offered("https://as.example/a"));
    rig.sign_in_and_settle(false);
    assert_eq!(rig.count("tools/call"), 0);
}
