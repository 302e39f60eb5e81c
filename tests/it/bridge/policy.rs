//! `finmcp serve --read-only`, `--allow-tool` and `--deny-tool`: what is listed can be called, and nothing else.

use serde_json::{Value, json};

use crate::support::{
    eventually,
    sandbox::Sandbox,
    serve::{Message, Serve},
    vendor::{Effect, Era, On, Reply, Script, Vendor},
};

/// A server of `era` with one tool that reads, one that may do anything, and one that writes.
pub fn three_tools(era: Era) -> Script {
    let tools = json!([
        {"name": "echo", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true}},
        {"name": "get_rate", "inputSchema": {"type": "object"}},
        {"name": "delete_invoice", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": false}},
    ]);
    Script { era, tool_pages: vec![tools], ..Script::default() }
}

fn bridge(sandbox: &Sandbox, vendor: &Vendor, flags: &[&str]) -> Serve {
    sandbox.serve([&[vendor.url().as_str()], flags].concat())
}

fn names(list: &Message) -> Vec<String> {
    let tools = list.result()["tools"].as_array().unwrap().clone();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn list(serve: &mut Serve, client: Era) -> Vec<String> {
    names(&serve.request_in(client, "tools/list", json!({})))
}

/// Waits until the server's tools are remembered for the next process.
fn wait_until_remembered(sandbox: &Sandbox) {
    eventually("a remembered list", || {
        let mut kept = sandbox.files().into_iter().filter(|file| file.extension().is_some_and(|end| end == "json"));
        kept.find(|file| std::fs::read_to_string(file).is_ok_and(|text| text.contains("delete_invoice")))
    });
}

#[test]
fn only_listed_tools_can_be_called() {
    let cases: [(&[&str], &[&str], &str); 5] = [
        (&["--read-only"], &["echo"], "--read-only"),
        (&["--allow-tool", "e*", "--allow-tool", "get_[a-z]*"], &["echo", "get_rate"], "--allow-tool"),
        (&["--deny-tool", "delete_*"], &["echo", "get_rate"], "--deny-tool 'delete_*'"),
        (&["--allow-tool", "*", "--deny-tool", "*e*"], &[], "--deny-tool '*e*'"),
        (&["--read-only", "--allow-tool", "get_*"], &[], "started with --"),
    ];
    for (client, server) in Era::COMBINATIONS {
        for (flags, allowed, reason) in cases {
            let what = format!("{client:?} to {server:?}: {flags:?}");
            let (sandbox, vendor) = (Sandbox::new(), Vendor::start(three_tools(server)));
            let mut serve = bridge(&sandbox, &vendor, flags);
            serve.greet(client).result();
            assert_eq!(list(&mut serve, client), allowed, "{what}");
            for tool in ["echo", "get_rate", "delete_invoice"] {
                let answer = serve.call_in(client, tool, json!({"message": "hi"}));
                if !allowed.contains(&tool) {
                    let error = answer.error();
                    assert_eq!(error["code"], -32602, "{what}");
                    let message = error["message"].as_str().unwrap();
                    assert!(message.contains(reason) && message.contains(tool), "{what}: {message}");
                }
            }
            assert_eq!(vendor.executed(), allowed, "{what}");
            assert_eq!(vendor.calls("tools/call").len(), allowed.len(), "{what}");
        }
    }
}

/// Under `--read-only` a tool of which nothing is known yet is not called: not before it is listed, by this process or an
/// earlier one.
#[test]
fn an_unlisted_tool_may_write() {
    for (client, server) in Era::COMBINATIONS {
        let what = format!("{client:?} to {server:?}");
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(three_tools(server)));
        let mut serve = bridge(&sandbox, &vendor, &["--read-only"]);
        serve.greet(client).result();
        let error = serve.call_in(client, "echo", json!({"message": "hi"})).error();
        assert!(error["message"].as_str().unwrap().contains("list the tools"), "{what}: {error}");
        assert_eq!(vendor.calls("tools/call").len(), 0, "{what}");
        assert_eq!(list(&mut serve, client), ["echo"], "{what}");
        serve.call_in(client, "echo", json!({"message": "hi"})).result();

        wait_until_remembered(&sandbox);
        let mut next = bridge(&sandbox, &vendor, &["--read-only"]);
        next.greet(client).result();
        assert_eq!(next.call_in(client, "delete_invoice", json!({})).error()["code"], -32602, "{what}");
        next.call_in(client, "echo", json!({"message": "hi"})).result();
        assert_eq!(vendor.executed(), ["echo", "echo"], "{what}");
    }
}

#[test]
fn every_page_of_a_list_is_cut() {
    for (client, server) in Era::COMBINATIONS {
        let what = format!("{client:?} to {server:?}");
        let second = json!([
            {"name": "drop_all", "inputSchema": {}},
            {"name": "progress", "inputSchema": {}, "annotations": {"readOnlyHint": true}},
        ]);
        let mut script = three_tools(server);
        script.tool_pages.push(second);
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        let mut serve = bridge(&sandbox, &vendor, &["--read-only"]);
        serve.greet(client).result();
        let first = serve.request_in(client, "tools/list", json!({}));
        assert_eq!((names(&first), &first.result()["nextCursor"]), (vec!["echo".to_owned()], &json!("1")), "{what}");
        assert_eq!(serve.call_in(client, "progress", json!({})).error()["code"], -32602, "{what}");
        let second = serve.request_in(client, "tools/list", json!({"cursor": "1"}));
        assert_eq!((names(&second), second.result().get("nextCursor")), (vec!["progress".to_owned()], None), "{what}");
        serve.call_in(client, "progress", json!({})).result();
        serve.call_in(client, "echo", json!({"message": "hi"})).result();
        assert_eq!(vendor.executed(), ["progress", "echo"], "{what}");
    }
}

/// A tool that begins to write is listed and called no more.
#[test]
fn a_changed_list_is_filtered_again() {
    const CHANGED: &str = "notifications/tools/list_changed";
    for (client, server) in Era::COMBINATIONS {
        let what = format!("{client:?} to {server:?}");
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(three_tools(server)));
        let mut serve = bridge(&sandbox, &vendor, &["--read-only"]);
        serve.greet(client).result();
        if client == Era::Modern {
            let filter = json!({"notifications": {"toolsListChanged": true}});
            serve.post_in(client, "subscriptions/listen", filter);
            serve.incoming("notifications/subscriptions/acknowledged");
        }
        assert_eq!(list(&mut serve, client), ["echo"], "{what}");
        vendor.change(|script| {
            script.tool_pages = vec![json!([
                {"name": "echo", "inputSchema": {}, "annotations": {"readOnlyHint": false}},
                {"name": "progress", "inputSchema": {}, "annotations": {"readOnlyHint": true}},
            ])];
        });
        vendor.push(json!({"jsonrpc": "2.0", "method": CHANGED}).to_string());
        serve.incoming(CHANGED);
        assert_eq!(list(&mut serve, client), ["progress"], "{what}");
        assert_eq!(serve.call_in(client, "echo", json!({"message": "hi"})).error()["code"], -32602, "{what}");
        assert!(vendor.executed().is_empty(), "{what}");
    }
}

/// What is remembered of a server that is down is cut like what it says itself.
#[test]
fn a_remembered_list_is_cut() {
    for (client, server) in Era::COMBINATIONS {
        let what = format!("{client:?} to {server:?}");
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(three_tools(server)));
        let url = vendor.url();
        let mut serve = sandbox.serve([&url]);
        serve.greet(client).result();
        assert_eq!(list(&mut serve, client).len(), 3, "{what}");
        wait_until_remembered(&sandbox);
        drop(serve);
        vendor.stop();
        let mut serve = sandbox.serve([url.as_str(), "--deny-tool", "delete_*"]);
        serve.greet(client).result();
        assert_eq!(list(&mut serve, client), ["echo", "get_rate"], "{what}");
    }
}

/// The same while signed out; no rule can deny finmcp's own tool.
#[cfg(unix)]
#[test]
fn signing_in_is_always_allowed() {
    use crate::support::browser::{FakeBrowser, Person, signed_in};

    for (client, server) in Era::COMBINATIONS {
        let what = format!("{client:?} to {server:?}");
        let guarded = Script { guard: Script::people().guard, ..three_tools(server) };
        let vendor = Vendor::start(guarded);
        let (mut sandbox, browser) = signed_in(&vendor, &[]);
        let url = vendor.url();
        let mut serve = sandbox.serve([&url]);
        serve.greet(client).result();
        assert_eq!(list(&mut serve, client).len(), 3, "{what}");
        wait_until_remembered(&sandbox);
        drop(serve);
        sandbox.finmcp(["logout", &url]).expect_success();
        drop(browser);
        let _browser = FakeBrowser::install(&mut sandbox, Person::Ignores);

        for (flags, listed) in [
            (["--read-only", "--allow-tool", "*"], &["echo", "finmcp_sign_in"][..]),
            (["--read-only", "--deny-tool", "*"], &["finmcp_sign_in"]),
        ] {
            let mut serve = bridge(&sandbox, &vendor, &flags);
            serve.greet(client).result();
            assert_eq!(list(&mut serve, client), listed, "{what}");
            assert_eq!(serve.call_in(client, "delete_invoice", json!({})).error()["code"], -32602, "{what}");
            let result = serve.call_in(client, "finmcp_sign_in", json!({})).result();
            assert!(result["content"][0]["text"].as_str().unwrap().contains("/authorize?"), "{what}: {result}");
        }
        assert!(vendor.executed().is_empty(), "{what}");
    }
}

/// A tool's name is what it means, not how it is spelled; and a call that could be taken for another one is no call.
#[test]
fn a_call_names_one_tool() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(three_tools(Era::Legacy)));
    let mut serve = bridge(&sandbox, &vendor, &["--allow-tool", "echo"]);
    serve.greet(Era::Legacy).result();
    let delete = r#""delete_invoice""#;
    let arguments = r#""arguments":{"message":"hi"}"#;
    for params in [
        format!(r#""params":{{"name":{delete},{arguments}}}"#),
        format!(r#""params":{{"name":"delete\u005finvoice",{arguments}}}"#),
        format!(r#""params":{{"name":"echo","name":{delete}}}"#),
        format!(r#""params":{{"name":"echo","n\u0061me":{delete}}}"#),
        format!(r#""params":{{"name":"echo"}},"params":{{"name":{delete}}}"#),
        format!(r#""params":{{"name":[{delete}]}}"#),
        format!(r#""params":[{delete}]"#),
        r#""params":{"name":null}"#.to_owned(),
        r#""params":{"name":"echo\u0000"}"#.to_owned(),
        r#""params":{"name":" echo"}"#.to_owned(),
        r#""params":{"name":"ECHO"}"#.to_owned(),
        r#""params":null"#.to_owned(),
    ] {
        serve.send(format!(r#"{{"jsonrpc":"2.0","id":"x","method":"tools\/call",{params}}}"#));
        assert_eq!(serve.answer_to(r#""x""#).error()["code"], -32602, "{params}");
        serve.send(format!(r#"{{"jsonrpc":"2.0","method":"tools/call",{params}}}"#));
        serve.send(format!(r#"[{{"jsonrpc":"2.0","id":"x","method":"tools/call",{params}}}]"#));
        let refusal = serve.first("refusal", |message| message.json()["id"].is_null() && message.method().is_none());
        assert_eq!(refusal.error()["code"], -32600, "{params}");
    }
    assert_eq!(vendor.calls("tools/call").len(), 0);
    assert!(vendor.records().iter().all(|record| !record.text().contains("tools")), "{:?}", vendor.records());
    serve.send(r#"{"jsonrpc":"2.0","id":"y","method":"tools\/call","params":{"name":"\u0065cho"}}"#);
    serve.answer_to(r#""y""#).result();
    assert_eq!(vendor.executed(), ["echo"]);
}

/// What is left of a list is what the server wrote.
#[test]
fn nothing_else_of_a_list_changes() {
    const BEFORE: &str = r#"{"jsonrpc":"2.0", "id":2,"result":{ "n" : 1.10, "tools":[ {"name":"echo","x":1e400}"#;
    const AFTER: &str = r#"{"name":"get_rate" ,"z":"\ud800"} ],"resultType":"complete","ttlMs":0}}"#;
    for era in [Era::Legacy, Era::Modern] {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(three_tools(era)));
        let mut serve = bridge(&sandbox, &vendor, &["--deny-tool", "delete_*"]);
        serve.greet(era).result();
        for list in [
            format!(r#"{BEFORE} , {{"name":"delete_invoice","name2":7}} ,{AFTER}"#),
            format!(r#"{BEFORE},{{"name":"get_rate" ,"z":"\ud800"}} ],"nextCursor":null}}}}"#),
        ] {
            let reply = Reply::new(200).body("application/json", list.clone());
            vendor.fault(On::Rpc("tools/list"), Effect::Answer(reply));
            serve.send(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": params(era)}).to_string());
            let expected = if list.contains("delete_") { format!("{BEFORE},{AFTER}") } else { list };
            assert_eq!(serve.answer_to("2").raw, expected);
        }
    }
}

fn params(era: Era) -> Value {
    if era == Era::Modern { crate::support::serve::modern(json!({})) } else { json!({}) }
}

/// A vendor's documentation says what a server leaves open, and not what it denies.
#[cfg(unix)]
#[test]
fn a_vendors_documentation_says_which_tools_read() {
    use crate::support::browser::{FakeBrowser, Person};

    let guarded = Script { guard: Script::people().guard, ..three_tools(Era::Legacy) };
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(guarded));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let config = format!(
        "[providers.office]\nurl = \"{}\"\nread_only_tools = [\"get_rate\", \"delete_invoice\"]\n",
        vendor.url()
    );
    let folder = sandbox.home().join("finmcp");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.toml"), config).unwrap();
    sandbox.finmcp(["login", "office"]).expect_success();
    let mut serve = sandbox.serve(["office", "--read-only"]);
    serve.greet(Era::Legacy).result();
    // Documented, so known before it is listed.
    serve.call("get_rate", json!({}));
    assert_eq!(vendor.executed(), ["get_rate"]);
    assert_eq!(list(&mut serve, Era::Legacy), ["echo", "get_rate"]);
    assert_eq!(serve.call("delete_invoice", json!({})).error()["code"], -32602);
    assert_eq!(vendor.executed(), ["get_rate"]);
}

#[test]
fn an_invalid_pattern_is_a_usage_error() {
    let vendor = Vendor::start(Script::default());
    let run = Sandbox::new().finmcp(["serve", &vendor.url(), "--deny-tool", "delete_[a"]).expect_code(2);
    run.expect_stderr(&["--deny-tool", "delete_[a"]);
    assert!(vendor.records().is_empty());
}
