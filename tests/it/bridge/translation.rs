//! Between a client of one era and a server of the other: every revision, and what a translation leaves as it is.

use serde_json::json;

use crate::{
    bridge::{fidelity::HARD, serve::open_bridge},
    support::{
        serve::{Serve, modern},
        vendor::{Answer, Script, Vendor},
    },
};

const LEGACY_REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

const NOTHING: Vec<String> = Vec::new();

/// The handshake of a client that asks for `revision`, and the revision that it gets.
fn negotiate(serve: &mut Serve, revision: &str) -> String {
    let hello = json!({
        "protocolVersion": revision,
        "capabilities": {"roots": {}, "elicitation": {}},
        "clientInfo": {"name": "test", "version": "1"},
    });
    let answer = serve.request("initialize", hello).result();
    serve.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    answer["protocolVersion"].as_str().unwrap().to_owned()
}

/// The client lists the tools and calls one, and the server has nothing to complain about.
#[track_caller]
fn use_tools(vendor: &Vendor, serve: &mut Serve, is_modern: bool) {
    let params = |params| if is_modern { modern(params) } else { params };
    let tools = serve.request("tools/list", params(json!({}))).result();
    assert_eq!(tools["tools"][0]["name"], "echo");
    let call = params(json!({"name": "echo", "arguments": {"message": "hi"}}));
    assert_eq!(serve.request("tools/call", call).result()["content"][0]["text"], "hi");
    assert_eq!(vendor.complaints(), NOTHING);
}

/// A server that speaks one revision says so, whatever it is asked for; and hears it in every header from then on.
#[test]
fn every_legacy_revision_of_a_server_is_spoken_to_every_client() {
    for spoken in LEGACY_REVISIONS {
        let script = Script { revision: Some(spoken), ..Script::default() };
        for asked in LEGACY_REVISIONS {
            let (_sandbox, vendor, mut serve) = open_bridge(script.clone());
            assert_eq!(negotiate(&mut serve, asked), spoken);
            use_tools(&vendor, &mut serve, false);
        }
        let (_sandbox, vendor, mut serve) = open_bridge(script);
        let discovered = serve.request("server/discover", modern(json!({}))).result();
        assert_eq!(discovered["supportedVersions"], json!(["2026-07-28"]));
        use_tools(&vendor, &mut serve, true);
        assert_eq!(vendor.calls("initialize").len(), 1);
    }
}

#[test]
fn every_revision_of_a_client_is_spoken_to_every_server() {
    for asked in LEGACY_REVISIONS {
        for script in [Script::default(), Script::default().modern()] {
            let (_sandbox, vendor, mut serve) = open_bridge(script);
            assert_eq!(negotiate(&mut serve, asked), asked);
            use_tools(&vendor, &mut serve, false);
        }
    }
    // An unknown revision becomes the last one that has such a handshake.
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default().modern());
    assert_eq!(negotiate(&mut serve, "2099-01-01"), "2025-11-25");
    use_tools(&vendor, &mut serve, false);
}

/// A modern client need not ask who the server is.
#[test]
fn a_modern_client_may_start_with_a_call() {
    for script in [Script::default(), Script::default().modern()] {
        let (_sandbox, vendor, mut serve) = open_bridge(script);
        use_tools(&vendor, &mut serve, true);
    }
}

/// What a modern request says about its sender, as a client with `capabilities` does.
fn meta(capabilities: &str) -> String {
    format!(
        r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{{"name":"test","version":"1"}},"io.modelcontextprotocol/clientCapabilities":{capabilities}"#
    )
}

/// A call of the tool `raw`, with `meta` in its metadata.
fn call(id: &str, more: &str, meta: &str) -> String {
    format!(
        r#"{{{HARD},"method":"tools/call","id":{id},"params":{{"arguments":{{"name":"hard",{HARD}}},"name":"raw",{HARD},"_meta":{{"v/x":1.10,{HARD}{meta}}}{more}}},"jsonrpc":"2.0"}}"#
    )
}

fn last_call(vendor: &Vendor) -> String {
    vendor.calls("tools/call").last().unwrap().text()
}

const IDS: [&str; 3] = ["12345678901234567890123", "\"\\ud83d\\ude00 \\u0041\"", "1.50"];

#[test]
fn a_legacy_client_and_a_modern_server_get_each_others_own_bytes() {
    for answer in [Answer::Json, Answer::Events] {
        let (_sandbox, vendor, mut serve) = open_bridge(Script { answer, ..Script::default().modern() });
        let response = format!(
            r#"{{{HARD},"id":@ID@,"result":{{{HARD},"resultType":"complete","content":[{{{HARD}}}]}},"jsonrpc":"2.0"}}"#
        );
        vendor.prepare("hard", response.as_str());
        negotiate(&mut serve, "2025-11-25");
        for id in IDS {
            serve.send(call(id, "", ""));
            assert_eq!(serve.answer_to(id).raw, response.replace("@ID@", id));
            let said = format!(",{}", meta(r#"{"elicitation":{},"roots":{}}"#));
            assert_eq!(last_call(&vendor), call(id, "", &said));
        }
        let error = format!(
            r#"{{{HARD},"id":@ID@,"error":{{"code":-99999999999,"message":"\ud800",{HARD}}},"jsonrpc":"2.0"}}"#
        );
        vendor.prepare("hard", error.as_str());
        serve.send(call("7", "", ""));
        assert_eq!(serve.first("error", |message| message.raw.contains("error")).raw, error.replace("@ID@", "7"));
    }
}

#[test]
fn a_modern_client_and_a_legacy_server_get_each_others_own_bytes() {
    for answer in [Answer::Json, Answer::Events] {
        let (_sandbox, vendor, mut serve) = open_bridge(Script { answer, ..Script::default() });
        let response = |more: &str| {
            format!(r#"{{{HARD},"id":@ID@,"result":{{{HARD},"content":[{{{HARD}}}]{more}}},"jsonrpc":"2.0"}}"#)
        };
        vendor.prepare("hard", response(""));
        for id in IDS {
            serve.send(call(id, "", &format!(",{}", meta("{}"))));
            let expected = response(r#","resultType":"complete""#).replace("@ID@", id);
            assert_eq!(serve.answer_to(id).raw, expected);
            assert_eq!(last_call(&vendor), call(id, "", ""));
        }
        let error = format!(
            r#"{{{HARD},"id":@ID@,"error":{{"code":-99999999999,"message":"\ud800",{HARD}}},"jsonrpc":"2.0"}}"#
        );
        vendor.prepare("hard", error.as_str());
        serve.send(call("7", "", &format!(",{}", meta("{}"))));
        assert_eq!(serve.first("error", |message| message.raw.contains("error")).raw, error.replace("@ID@", "7"));
    }
}

/// A modern server's question and its state, and a legacy client's answer.
#[test]
fn input_requests_of_a_modern_server_cross_byte_for_byte() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default().modern());
    let state = r#""\u0041\/ 1.10 \ud83d\ude00""#;
    vendor.prepare(
        "hard",
        format!(
            r#"{{"jsonrpc":"2.0","id":@ID@,"result":{{"resultType":"input_required","requestState":{state},"inputRequests":{{"k":{{"method":"elicitation/create","params":{{{HARD}}}}}}}}}}}"#
        ),
    );
    negotiate(&mut serve, "2025-11-25");
    serve.send(call("7", "", ""));
    let question = serve.incoming("elicitation/create");
    let id = question.id().unwrap().to_owned();
    let expected = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"elicitation/create","params":{{{HARD}}}}}"#);
    assert_eq!(question.raw, expected);
    vendor.prepare("hard", r#"{"jsonrpc":"2.0","id":@ID@,"result":{"n":1.10}}"#);
    serve.send(format!(r#"{{"result":{{{HARD}}},"id":{id},"jsonrpc":"2.0"}}"#));
    assert_eq!(serve.answer_to("7").raw, r#"{"jsonrpc":"2.0","id":7,"result":{"n":1.10}}"#);
    let again = last_call(&vendor);
    let answers = format!(r#","inputResponses":{{"k":{{{HARD}}}}},"requestState":{state}"#);
    let said = format!(",{}", meta(r#"{"elicitation":{},"roots":{}}"#));
    let new_id = vendor.calls("tools/call").last().unwrap().rpc_id().unwrap();
    assert_ne!(new_id, "7");
    assert_eq!(again, call(&new_id, &answers, &said));
    assert_eq!(vendor.complaints(), NOTHING);
}

/// A legacy server's question, and a modern client's answer.
#[test]
fn requests_of_a_legacy_server_cross_byte_for_byte() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    let said = format!(",{}", meta(r#"{"elicitation":{}}"#));
    serve.send(call("7", "", &said).replace(r#""name":"raw""#, r#""name":"hang""#));
    vendor.wait_for("the call", |record| record.rpc_method().as_deref() == Some("tools/call"));
    vendor.push(format!(r#"{{"jsonrpc":"2.0","id":1.50,"method":"elicitation/create","params":{{{HARD}}}}}"#));
    let asked = serve.answer_to("7").raw;
    // The key and the state are the bridge's own; everything else is the server's.
    let key = asked.split('"').find(|text| text.starts_with("finmcp-")).unwrap();
    let question = format!(r#"{{"method":"elicitation/create","params":{{{HARD}}}}}"#);
    let state = r#""requestState":"7""#;
    let result = format!(r#"{{"resultType":"input_required","inputRequests":{{"{key}":{question}}},{state}}}"#);
    assert_eq!(asked, format!(r#"{{"jsonrpc":"2.0","id":7,"result":{result}}}"#));
    let back = format!(r#",{state},"inputResponses":{{"{key}":{{{HARD}}}}}"#);
    serve.send(call("8", &back, &said));
    let answer = format!(r#"{{"jsonrpc":"2.0","id":1.50,"result":{{{HARD}}}}}"#);
    vendor.wait_for("the answer", |record| record.text() == answer);
    assert_eq!(vendor.complaints(), NOTHING);
}
