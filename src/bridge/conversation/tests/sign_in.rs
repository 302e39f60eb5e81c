//! A call while signed out: the page that the client opens, and what follows.

use super::*;

/// A call while nobody is signed in: the address, in the way that the client can show it, and then the call itself, once.
#[test]
fn a_call_while_signed_out_leads_to_the_page_and_is_made_then() {
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

    // The server does not care for that sign-in: it is said, not tried again.
    rig.client(request(2, "tools/call", json!({"name": "pay"})));
    rig.fail("tools/call", Failure::Refused);
    assert_eq!(rig.sign_ins, [Need::Any, Need::Another]);
    rig.handle(Event::SignedIn);
    rig.fail("tools/call", Failure::Refused);
    assert_eq!(rig.answered(&json!(2))["error"]["code"], -31004);
    assert_eq!(rig.sign_ins.len(), 2);
}

#[test]
fn a_client_that_can_open_no_page_is_told_where_it_is() {
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
    rig.handle(Event::SignInFailed("nobody came".to_owned()));
    rig.client(request(4, "tools/call", json!({"name": "finmcp_sign_in"})));
    assert_eq!(rig.sign_ins.len(), 2, "a new one after that");
}

#[test]
fn a_modern_client_comes_back_from_the_page() {
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

/// A client that turns every question down without asking anybody: the way in is said in words then.
#[test]
fn a_client_that_shows_no_page_is_told_where_it_is() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    rig.client(request(1, "tools/call", json!({"name": "finmcp_sign_in"})));
    rig.handle(offered("https://as.example/a"));
    let question = rig.said("elicitation/create")[0].clone();
    rig.client(json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}}));
    let text = rig.answered(&json!(1))["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("https://as.example/a") && text.contains("finmcp login server"), "{text}");
    assert_eq!(rig.sign_ins.len(), 1, "the page goes on waiting for the person");
}

impl Rig {
    /// A client that is asked to open the page for the call `pay` of id 1, and says that it does; with the id of the
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

    /// The client opens the page that it was asked for last.
    fn accept(&mut self) {
        let question = self.said("elicitation/create").last().unwrap()["id"].clone();
        self.client(json!({"jsonrpc": "2.0", "id": question, "result": {"action": "accept"}}));
    }

    /// Every call has waited for a person long enough.
    fn wait_for_person(&mut self) {
        let alarms = self.alarms.clone();
        for alarm in alarms.into_iter().filter(|alarm| matches!(alarm, Alarm::SignIn(_))) {
            self.handle(Event::Woken(alarm));
        }
    }

    /// Somebody signs in, and the server answers whatever it is asked then.
    fn sign_in_and_settle(&mut self, is_modern: bool) {
        self.handle(Event::SignedIn);
        if !is_modern {
            self.answer("initialize", legacy_hello());
            self.accept_notifications();
        }
    }
}

/// A person who has opened the page and does not sign in: the client hears of it before it gives the call up, and the
/// call is not made behind its back when they sign in after all.
#[test]
fn unanswered_a_call_is_answered_while_its_sign_in_stays_open() {
    for is_modern in [false, true] {
        let (mut rig, waiting) = Rig::accepted(is_modern);
        let (before, sign_ins) = (rig.count("tools/call"), rig.sign_ins.len());
        rig.wait_for_person();
        let result = rig.answered(&waiting)["result"].clone();
        assert_eq!((&result["isError"], result.get("resultType").is_some()), (&json!(true), is_modern));
        let text = result["content"][0]["text"].as_str().unwrap();
        for part in ["still open", "https://as.example/a", "finmcp login server", "make it again"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        rig.sign_in_and_settle(is_modern);
        assert_eq!(rig.count("tools/call"), before, "an answered call was made");
        rig.answered(&waiting);
        // The next one is made at once: the sign-in was there all the time.
        let params = json!({"name": "pay"});
        rig.client(request(9, "tools/call", if is_modern { modern(params) } else { params }));
        assert_eq!((rig.count("tools/call"), rig.sign_ins.len()), (before + 1, sign_ins));
    }
}

/// A call whose person signs in in time is made, and has nothing left that could answer it a second time.
#[test]
fn unanswered_an_alarm_after_the_sign_in_answers_nothing() {
    for is_modern in [false, true] {
        let (mut rig, waiting) = Rig::accepted(is_modern);
        let before = rig.count("tools/call");
        rig.sign_in_and_settle(is_modern);
        assert_eq!(rig.count("tools/call"), before + 1);
        rig.wait_for_person();
        rig.answer("tools/call", json!({"result": {"content": []}}));
        assert_eq!(rig.answered(&waiting)["result"]["content"], json!([]));
    }
}

/// A call that the client has cancelled is not answered any more.
#[test]
fn unanswered_an_alarm_after_a_cancellation_answers_nothing() {
    let (mut rig, waiting) = Rig::accepted(false);
    rig.client(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": waiting}}));
    rig.wait_for_person();
    assert!(rig.written.iter().all(|line| line["id"] != waiting), "{:?}", rig.written);
}

/// The client's question to its person is not cut short; the time begins again when they have opened the page.
#[test]
fn unanswered_a_question_that_is_open_is_left_to_the_person() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    rig.client(request(1, "tools/call", json!({"name": "finmcp_sign_in"})));
    rig.handle(offered("https://as.example/a"));
    rig.wait_for_person();
    assert!(rig.written.iter().all(|line| line["id"] != 1), "{:?}", rig.written);
    rig.accept();
    assert!(rig.written.iter().all(|line| line["id"] != 1), "{:?}", rig.written);
    rig.wait_for_person();
    let result = &rig.answered(&json!(1))["result"];
    assert_eq!(result["isError"], false);
    assert!(result["content"][0]["text"].as_str().unwrap().contains("still open"));
}

/// A sign-in whose page does not come: the call is answered all the same.
#[test]
fn unanswered_a_call_whose_page_does_not_come_is_answered() {
    let mut rig = Rig::new(None);
    rig.client(initialize());
    rig.fail("initialize", signed_out());
    rig.client(request(1, "tools/call", json!({"name": "pay"})));
    rig.fail("initialize", signed_out());
    rig.wait_for_person();
    let text = rig.answered(&json!(1))["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("not there yet") && text.contains("finmcp login server"), "{text}");
    rig.handle(offered("https://as.example/a"));
    rig.sign_in_and_settle(false);
    assert_eq!(rig.count("tools/call"), 0);
}
