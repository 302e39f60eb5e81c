//! Signed out is a normal state: what a client sees of a server before its sign-in, and how it signs in.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    browser::{FakeBrowser, Person, sign_in_at, signed_in},
    sandbox::Sandbox,
    serve::{Message, Serve, modern},
    vendor::{Device, Effect, Era, On, Reply, Script, Vendor},
};

/// The names that a list of tools has.
fn names(list: &Message) -> Vec<String> {
    let result = list.result();
    result["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

/// The address in a result that a person reads.
fn address(result: &Value) -> String {
    let text = result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {result}"));
    text.lines().find(|line| line.starts_with("http")).unwrap_or_else(|| panic!("no address in {text}")).to_owned()
}

fn hello(capabilities: Value) -> Value {
    json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {"name": "t", "version": "1"}})
}

fn open(serve: &mut Serve, capabilities: Value) {
    serve.request("initialize", hello(capabilities)).result();
    serve.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
}

/// The whole way: the tool, its page, the other tools, without a restart.
#[test]
fn a_client_signs_in_by_the_tool() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    // The person ignores the window that opens: the address is enough.
    let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
    let mut serve = sandbox.serve([vendor.url()]);
    open(&mut serve, json!({}));
    assert_eq!(names(&serve.request("tools/list", json!({}))), ["finmcp_sign_in"]);
    let result = serve.call("finmcp_sign_in", json!({})).result();
    assert_eq!(result["isError"], false);
    let text = result["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.contains(&format!("finmcp login {}", vendor.url())), "{text}");
    sign_in_at(&address(&result));
    serve.incoming("notifications/tools/list_changed");
    let listed = names(&serve.request("tools/list", json!({})));
    assert!(listed.contains(&"echo".to_owned()) && !listed.contains(&"finmcp_sign_in".to_owned()), "{listed:?}");
    serve.echo("hi");
    assert_eq!(browser.starts().len(), 1);
    sandbox.finmcp(["token", &vendor.url()]).expect_success();

    // The next client, signed out again, sees the tools that it will have.
    sandbox.finmcp(["logout", &vendor.url()]).expect_success();
    let mut serve = sandbox.serve([vendor.url()]);
    assert_eq!(serve.request("initialize", hello(json!({}))).result()["serverInfo"]["name"], "test vendor");
    let listed = names(&serve.request("tools/list", json!({})));
    assert!(listed.contains(&"echo".to_owned()) && listed.contains(&"finmcp_sign_in".to_owned()), "{listed:?}");
    sandbox.assert_no_secret(&vendor.secrets());
}

/// A client that can show a page is asked to; the call that needed it is made then, once.
#[test]
fn a_legacy_client_shows_the_page_in_the_middle_of_a_call() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let mut serve = sandbox.serve([vendor.url()]);
    open(&mut serve, json!({"elicitation": {"url": {}}}));
    let call = serve.post("tools/call", json!({"name": "echo", "arguments": {"message": "hi"}}));
    let question = serve.incoming("elicitation/create").json();
    assert_eq!(question["params"]["mode"], "url");
    let page = question["params"]["url"].as_str().unwrap();
    serve.send(json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}}).to_string());
    sign_in_at(page);
    assert_eq!(serve.answer_to(&call).result()["content"][0]["text"], "hi");
    assert_eq!(vendor.executed().len(), 1);
}

#[test]
fn a_modern_client_shows_the_page_in_the_middle_of_a_call() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people().modern()));
    let mut serve = sandbox.serve([vendor.url()]);
    let call = |mut params: Value| {
        params["name"] = json!("echo");
        params["arguments"] = json!({"message": "hi"});
        let mut params = modern(params);
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({"elicitation": {"url": {}}});
        params
    };
    serve.request("server/discover", modern(json!({}))).result();
    let result = serve.request("tools/call", call(json!({}))).result();
    assert_eq!(result["resultType"], "input_required");
    let questions = result["inputRequests"].as_object().unwrap();
    let (key, question) = questions.iter().next().unwrap();
    let mut answers = json!({});
    answers[key] = json!({"action": "accept"});
    let again = call(json!({"inputResponses": answers, "requestState": result["requestState"]}));
    let again = serve.post("tools/call", again);
    sign_in_at(question["params"]["url"].as_str().unwrap());
    assert_eq!(serve.answer_to(&again).result()["content"][0]["text"], "hi");
    assert_eq!(vendor.executed().len(), 1);
}

/// A sign-in that the server has ended, in the middle of a session: the same way in, and no restart.
#[test]
fn the_user_can_sign_in_again_in_mid_session() {
    let vendor = Vendor::start(Script::people());
    let (mut sandbox, browser) = signed_in(&vendor, &[]);
    drop(browser);
    let _browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
    let mut serve = sandbox.serve([vendor.url()]);
    open(&mut serve, json!({}));
    serve.call("echo", json!({"message": "hi"})).result();
    let expired = Reply::new(401).header("www-authenticate", "Bearer error=\"invalid_token\"");
    vendor.fault(On::Rpc("tools/call"), Effect::Answer(expired));
    vendor.fault(On::Path("/token"), Effect::Answer(Reply::new(400).json(&json!({"error": "invalid_grant"}))));
    let result = serve.call("echo", json!({"message": "hi"})).result();
    assert_eq!(result["isError"], true);
    sign_in_at(&address(&result));
    let result = crate::support::eventually("the new sign-in", || {
        let answer = serve.call("echo", json!({"message": "hi"})).result();
        (answer["content"][0]["text"] == "hi").then_some(answer)
    });
    assert_eq!(result["content"][0]["text"], "hi");
}

/// A person signs in in a terminal: finmcp notifies the client.
#[test]
fn the_client_is_told_of_a_sign_in_in_another_process() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let mut serve = sandbox.serve([vendor.url()]);
    open(&mut serve, json!({}));
    assert_eq!(names(&serve.request("tools/list", json!({}))), ["finmcp_sign_in"]);
    sandbox.finmcp(["login", &vendor.url()]).expect_success();
    serve.incoming("notifications/tools/list_changed");
    assert!(names(&serve.request("tools/list", json!({}))).contains(&"echo".to_owned()));
}

/// A server that takes its time: the client has its answer all the same, and the session when the server is there.
#[test]
fn a_slow_server_delays_no_handshake() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    vendor.fault(On::Rpc("initialize"), Effect::Delay(Duration::from_secs(3)));
    let mut serve = sandbox.serve([vendor.url()]);
    let started = std::time::Instant::now();
    open(&mut serve, json!({}));
    assert!(started.elapsed() < Duration::from_secs(3), "the answer waited for the server");
    serve.echo("hi");
    assert_eq!(vendor.calls("initialize").len(), 1);
}

/// A server that cannot be reached: the client starts, and works once the server is back.
#[test]
fn a_server_works_again_after_an_outage() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    for _ in 0..3 {
        vendor.fault(On::Rpc("initialize"), Effect::CutBefore);
    }
    let mut serve = sandbox.serve([vendor.url()]);
    open(&mut serve, json!({}));
    let answer = crate::support::eventually("the server", || {
        let answer = serve.call("echo", json!({"message": "hi"}));
        answer.json().get("result").cloned()
    });
    assert_eq!(answer["content"][0]["text"], "hi");
    assert_eq!(vendor.executed().len(), 1);
}

/// A profile that signs in with a code: the client's person gets the page and the code.
#[test]
fn a_client_is_told_the_code_to_enter() {
    let script = Script { device: Device::Consents, ..Script::people() };
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    sandbox.finmcp(["login", &vendor.url(), "--grant", "device-code"]).expect_success();
    vendor.change(|script| script.device = Device::Hesitates);
    sandbox.finmcp(["logout", &vendor.url()]).expect_success();
    let mut serve = sandbox.serve([vendor.url()]);
    open(&mut serve, json!({}));
    let result = serve.call("finmcp_sign_in", json!({})).result();
    assert_eq!(address(&result), vendor.at("/go"));
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("Enter the code WDJB-MJHT there.") && text.contains("on any device"), "{text}");
    vendor.change(|script| script.device = Device::Consents);
    serve.incoming("notifications/tools/list_changed");
    serve.echo("hi");
}

/// The text of a result.
fn said(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap()
}

/// The page opens automatically, once for a sign-in: however often the tool is called meanwhile, and whether it is the
/// tool or a call that was refused. The address is in the answer all the same.
#[test]
fn b7_a_browser_opens_once_for_a_sign_in() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
    let mut serve = sandbox.serve([vendor.url()]);
    open(&mut serve, json!({}));
    assert!(browser.starts().is_empty(), "the client has not called the tool yet");
    let first = serve.call("finmcp_sign_in", json!({})).result();
    let again = serve.call("finmcp_sign_in", json!({})).result();
    let other = serve.call("echo", json!({"message": "hi"})).result();
    for result in [&first, &again, &other] {
        assert!(said(result).contains("A browser window was opened"), "{result}");
        assert_eq!(address(result), address(&first));
    }
    let starts = browser.starts();
    assert_eq!(starts.len(), 1, "{starts:?}");
    assert_eq!(starts[0].arguments, [address(&first)]);
    sign_in_at(&address(&first));
    serve.incoming("notifications/tools/list_changed");
    serve.echo("hi");
    assert_eq!((browser.starts().len(), vendor.records_at("/token").len()), (1, 1));
    sandbox.assert_no_secret(&vendor.secrets());
}

/// b7, t036: an agent that is refused opens no window by going on; the call of the tool shows the page of the same sign-in.
#[test]
fn b7_a_refused_call_opens_no_browser_and_the_tool_does() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
    let mut serve = sandbox.serve([vendor.url()]);
    open(&mut serve, json!({}));
    let refused = serve.call("echo", json!({"message": "hi"})).result();
    let again = serve.call("echo", json!({"message": "hi"})).result();
    assert!(!said(&refused).contains("window") && !said(&again).contains("window"), "{refused}");
    assert!(browser.starts().is_empty(), "serve opens no browser unasked");
    let asked = serve.call("finmcp_sign_in", json!({})).result();
    assert_eq!(address(&asked), address(&refused));
    crate::support::eventually("the window", || (browser.starts().len() == 1).then_some(()));
    serve.call("finmcp_sign_in", json!({})).result();
    assert_eq!(browser.starts()[0].arguments, [address(&refused)]);
    sign_in_at(&address(&refused));
    serve.incoming("notifications/tools/list_changed");
    serve.echo("hi");
    assert_eq!((browser.starts().len(), vendor.records_at("/token").len()), (1, 1));
}

/// The person before the window is enough: the client asks once, and its tools work.
#[test]
fn b7_the_window_alone_signs_in() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let mut serve = sandbox.serve([vendor.url()]);
    open(&mut serve, json!({}));
    assert_eq!(names(&serve.request("tools/list", json!({}))), ["finmcp_sign_in"]);
    serve.call("finmcp_sign_in", json!({})).result();
    serve.incoming("notifications/tools/list_changed");
    serve.echo("hi");
    assert_eq!(browser.starts().len(), 1);
}

/// However many processes need the same sign-in, in whichever mode, one window opens; each client has an address that
/// works, and all of them go on.
#[test]
fn b7_many_clients_open_one_window() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
    let mut clients: Vec<_> = (0..6).map(|_| sandbox.serve([vendor.url()])).collect();
    for serve in &mut clients {
        open(serve, json!({}));
        assert_eq!(names(&serve.request("tools/list", json!({}))), ["finmcp_sign_in"]);
    }
    let asked: Vec<_> =
        clients.iter_mut().map(|serve| serve.post("tools/call", json!({"name": "finmcp_sign_in"}))).collect();
    let answers: Vec<_> = clients.iter_mut().zip(&asked).map(|(serve, id)| serve.answer_to(id).result()).collect();
    let opened = answers.iter().filter(|answer| said(answer).contains("A browser window was opened")).count();
    let elsewhere =
        answers.iter().filter(|answer| said(answer).contains("has already opened a browser window")).count();
    assert_eq!((opened, elsewhere, browser.starts().len()), (1, 5, 1), "{answers:?}");
    // A bridge that opens browsers waits for that one.
    let mut auto = sandbox.serve([vendor.url(), "--sign-in".to_owned(), "auto".to_owned()]);
    auto.initialize().result();
    let waiting = auto.post("tools/call", json!({"name": "echo", "arguments": {"message": "hi"}}));
    let shown = answers.iter().find(|answer| said(answer).contains("A browser window was opened")).unwrap();
    sign_in_at(&address(shown));
    for serve in &mut clients {
        serve.incoming("notifications/tools/list_changed");
        serve.echo("hi");
    }
    assert_eq!(auto.answer_to(&waiting).result()["content"][0]["text"], "hi");
    assert_eq!((browser.starts().len(), vendor.records_at("/token").len()), (1, 1));
}

/// A client that shows the page itself needs no second window, and `--sign-in off` opens none.
#[test]
fn b7_finmcp_opens_no_window_if_the_client_shows_the_page() {
    for (era, mode) in [(Era::Legacy, "tool"), (Era::Modern, "tool"), (Era::Legacy, "off"), (Era::Modern, "off")] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
        let mut serve = sandbox.serve([vendor.url(), "--sign-in".to_owned(), mode.to_owned()]);
        let shows = json!({"elicitation": {"url": {}}});
        let mut params = json!({"name": "echo", "arguments": {"message": "hi"}});
        if era == Era::Modern {
            params = modern(params);
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = shows.clone();
            serve.request("server/discover", modern(json!({})));
        } else {
            serve.request("initialize", hello(shows));
            serve.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        }
        let call = serve.post("tools/call", params);
        match (era, mode) {
            (_, "off") => assert_eq!(serve.answer_to(&call).error()["code"], -31004),
            (Era::Modern, _) => assert_eq!(serve.answer_to(&call).result()["resultType"], "input_required"),
            _ => drop(serve.incoming("elicitation/create")),
        }
        assert!(browser.starts().is_empty(), "{era:?} {mode}");
    }
}

/// Without a screen, and where the browser does not start, the address is all there is, and it works.
#[test]
fn b7_the_url_is_returned_if_no_window_opens() {
    for (variable, value) in [
        ("CI", "true"),
        ("FINMCP_BROWSER", "/nonexistent/browser"),
        ("FINMCP_BROWSER", "/bin/false"),
        ("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22"),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        sandbox.set(variable, value);
        let mut serve = sandbox.serve([vendor.url()]);
        open(&mut serve, json!({}));
        let result = serve.call("finmcp_sign_in", json!({})).result();
        assert!(!said(&result).contains("window"), "{variable}={value}: {result}");
        sign_in_at(&address(&result));
        let answer = crate::support::eventually("the sign-in", || {
            let answer = serve.call("echo", json!({"message": "hi"})).result();
            (answer["content"][0]["text"] == "hi").then_some(answer)
        });
        assert_eq!(answer["isError"], Value::Null, "{variable}={value}");
    }
}

/// t036: a person who says no is not shown another window by whatever is called next, in any client; the address is there
/// for one who meant to say yes.
#[test]
fn b7_t036_no_window_opens_after_the_user_declined() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let browser = FakeBrowser::install(&mut sandbox, Person::Denies);
    let mut clients = [sandbox.serve([vendor.url()]), sandbox.serve([vendor.url()])];
    for serve in &mut clients {
        open(serve, json!({}));
    }
    clients[0].call("finmcp_sign_in", json!({})).result();
    let refused = crate::support::eventually("the refusal", || {
        let result = clients[0].call("echo", json!({"message": "hi"})).result();
        (!said(&result).contains("window")).then_some(result)
    });
    assert!(said(&refused).contains("/authorize?"), "{refused}");
    let other = clients[1].call("finmcp_sign_in", json!({})).result();
    assert!(!said(&other).contains("window was opened"), "{other}");
    assert_eq!(browser.starts().len(), 1);
    sign_in_at(&address(&other));
    clients[1].incoming("notifications/tools/list_changed");
}
