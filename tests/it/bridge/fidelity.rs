//! Not a byte changes: what the bridge passes on is what it was given, number for number and member for member.

use serde_json::json;

use crate::{
    bridge::serve::open_bridge,
    support::{
        serve::{Message, Serve},
        vendor::{Answer, Era, Script, Vendor},
    },
};

/// Members that a careless relay alters: spellings of numbers, numbers beyond every machine type, unknown members at
/// every level, key order, lone surrogates, escapes that need not be, white space, duplicates.
pub const HARD: &str = r#""z":1.10,"a":1e2,"m":-0.0,"big":12345678901234567890123,"precise":0.1234567890123456789,"huge":1E400,"money":[100.10, 1.00,0.0],"lone":"\ud800","pair":"\ud83d\ude00","escaped":"\u0041\/","nul":"\u0000","separators":"\u2028 ","null":null,"empty":{},"nested":{"z":{"y":{"x":[[],[{}],1.0]}},"b":true,"a":false},"twice":1,"twice":2"#;

const IDS: [&str; 8] = [
    "0",
    "-1",
    "9007199254740993",
    "12345678901234567890123",
    "-98765432109876543210",
    "\"a\"",
    "\"\\ud83d\\ude00 \\u0041\"",
    "\"0\"",
];

/// The envelope's metadata that a modern request has to have.
const META: &str = r#""_meta":{"vendor/x":1.10,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"test","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;

/// Both eras, both transports, both kinds of answer, and a name for each.
fn bridges() -> impl Iterator<Item = (Script, String)> {
    let eras = [Script::default(), Script::default().modern(), Script::default().over_sse()];
    eras.into_iter().flat_map(|era| {
        [Answer::Json, Answer::Events].map(|answer| {
            let name = format!("{:?}, {:?}, {answer:?}", era.era, era.transport);
            (Script { answer, ..era.clone() }, name)
        })
    })
}

/// Calls the tool `raw` with `line`, in which `@ID@` is the id, and gives the answer.
fn call(serve: &mut Serve, line: &str, id: &str) -> Message {
    serve.send(line.replace("@ID@", id));
    serve.answer_to(id)
}

fn request(more: &str) -> String {
    format!(
        r#"{{ {HARD}, "method":"tools/call","id":@ID@ ,"params":{{"arguments":{{"name":"hard",{HARD}}},{more},"name":"raw",{HARD}}},"jsonrpc":"2.0"}}"#
    )
}

fn begin(script: &Script, serve: &mut Serve) {
    if script.era == Era::Legacy {
        serve.initialize();
    }
}

fn last_call(vendor: &Vendor) -> String {
    vendor.calls("tools/call").last().unwrap().text()
}

#[test]
fn requests_and_results_cross_byte_for_byte() {
    let response = format!(
        r#"{{"trace":"abc",{HARD},"id":@ID@,"result":{{"structuredContent":{{{HARD}}},"content":[{{"type":"text","text":"\ud800","foo":{{{HARD}}}}},{{"type":"unheard-of"}}],"isError":false,"extra":1.10}},"jsonrpc":"2.0"}}"#
    );
    for (script, what) in bridges() {
        let (_sandbox, vendor, mut serve) = open_bridge(script.clone());
        vendor.prepare("hard", response.as_str());
        begin(&script, &mut serve);
        let more = if script.era == Era::Modern { META } else { r#""_meta":{"progressToken":1.10}"# };
        for id in IDS {
            let line = request(more);
            let answer = call(&mut serve, &line, id);
            assert_eq!(last_call(&vendor), line.replace("@ID@", id), "{what}");
            assert_eq!(answer.raw, response.replace("@ID@", id), "{what}");
        }
        assert_eq!(vendor.complaints(), Vec::<String>::new(), "{what}");
    }
}

#[test]
fn errors_cross_byte_for_byte() {
    let response = format!(
        r#"{{"jsonrpc":"2.0","id":@ID@,"error":{{"data":{{{HARD}}},"message":"\ud800","code":-99999999999,"extra":1.10}}}}"#
    );
    for (script, what) in bridges() {
        let (_sandbox, vendor, mut serve) = open_bridge(script.clone());
        vendor.prepare("hard", response.as_str());
        begin(&script, &mut serve);
        let more = if script.era == Era::Modern { META } else { r#""_meta":null"# };
        assert_eq!(call(&mut serve, &request(more), "5").raw, response.replace("@ID@", "5"), "{what}");
    }
}

#[test]
fn server_requests_client_answers_and_notifications_cross_byte_for_byte() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    serve.initialize();
    for id in IDS {
        let question =
            format!(r#"{{{HARD},"params":{{{HARD}}},"method":"sampling/createMessage","id":{id},"jsonrpc":"2.0"}}"#);
        vendor.push(&question);
        assert_eq!(serve.incoming("sampling/createMessage").raw, question);
        let answer = format!(r#"{{"result":{{{HARD}}},{HARD},"id":{id},"jsonrpc":"2.0"}}"#);
        serve.send(&answer);
        vendor.wait_for("the client's answer", |record| record.text() == answer);
    }
    let notification = format!(r#"{{"method":"notifications/anything","params":{{{HARD}}},{HARD},"jsonrpc":"2.0"}}"#);
    vendor.push(&notification);
    assert_eq!(serve.incoming("notifications/anything").raw, notification);
    serve.send(&notification);
    vendor.wait_for("the client's notification", |record| record.text() == notification);
}

/// The handshake too: unknown capabilities, and a server's own.
#[test]
fn the_handshake_crosses_byte_for_byte() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    let initialize = format!(
        r#"{{"id":"i","params":{{"capabilities":{{"newcap":{{{HARD}}},"roots":{{"future":1.10}}}},"clientInfo":{{"vendor":1.10,"version":"1","name":"x"}},"protocolVersion":"2025-11-25"}},"method":"initialize","jsonrpc":"2.0"}}"#
    );
    serve.send(&initialize);
    serve.answer_to("\"i\"").result();
    assert_eq!(vendor.calls("initialize")[0].text(), initialize);
}

/// White space between tokens is the only thing that may go, where it would break the line.
#[test]
fn t103_a_multi_line_result_becomes_one_line_with_the_same_tokens() {
    for (script, what) in bridges() {
        let (_sandbox, vendor, mut serve) = open_bridge(script.clone());
        vendor.prepare("hard", "{\n  \"jsonrpc\": \"2.0\",\r\n  \"id\": @ID@,\n  \"result\": {\n    \"a\": 1.10,\n    \"b\": \"\\n\"\n  }\n}\n");
        begin(&script, &mut serve);
        let more = if script.era == Era::Modern { META } else { r#""_meta":{}"# };
        let answer = call(&mut serve, &request(more), "5").raw;
        let tokens: String = answer.split_whitespace().collect();
        assert_eq!(tokens, r#"{"jsonrpc":"2.0","id":5,"result":{"a":1.10,"b":"\n"}}"#, "{what}");
    }
}

#[test]
fn ten_megabytes_cross_both_ways() {
    let long = "0123456789abcdef".repeat(640 * 1024);
    let response =
        format!(r#"{{"jsonrpc":"2.0","id":@ID@,"result":{{"n":1.10,"content":[{{"type":"text","text":"{long}"}}]}}}}"#);
    for (script, what) in bridges() {
        let (_sandbox, vendor, mut serve) = open_bridge(script.clone());
        vendor.prepare("hard", response.as_str());
        begin(&script, &mut serve);
        let more = if script.era == Era::Modern { META } else { r#""_meta":{}"# };
        let line = request(&format!(r#"{more},"long":"{long}""#));
        let answer = call(&mut serve, &line, "5");
        assert!(answer.raw == response.replace("@ID@", "5"), "{what}: the result changed");
        assert!(last_call(&vendor) == line.replace("@ID@", "5"), "{what}: the request changed");
    }
}

/// A server may compare a header with the body text for text: both say the same, digit by digit.
#[test]
fn a12_headers_repeat_the_arguments_of_the_body() {
    let annotated = |kind: &str, header: &str| json!({"type": kind, "x-mcp-header": header});
    let tool = json!({"name": "echo", "inputSchema": {"type": "object", "properties": {
        "whole": annotated("integer", "Whole"), "flag": annotated("boolean", "Flag"), "text": annotated("string", "Text"),
    }}});
    for client in [Era::Legacy, Era::Modern] {
        let script = Script { tool_pages: vec![json!([tool])], ..Script::default().modern() };
        let (_sandbox, vendor, mut serve) = open_bridge(script);
        serve.greet(client).result();
        serve.request_in(client, "tools/list", json!({})).result();
        let meta = if client == Era::Modern { META } else { r#""_meta":{}"# };
        for (id, number) in ["12345678901234567890123", "1e3", "-0", "1.10", "1E5", "1e400"].iter().enumerate() {
            serve.send(format!(
                r#"{{"jsonrpc":"2.0","id":"c{id}","method":"tools/call","params":{{"name":"echo","arguments":{{"whole":{number},"flag":true,"text":"\u0041\/b","lone":"\ud800","list":[{number}]}},{meta}}}}}"#
            ));
            serve.answer_to(&format!("\"c{id}\"")).result();
            let call = vendor.calls("tools/call").pop().unwrap();
            let header = |name: &str| call.header(name).map(str::to_owned);
            assert_eq!(header("mcp-param-whole").as_deref(), Some(*number), "{client:?}");
            assert_eq!(header("mcp-param-flag").as_deref(), Some("true"), "{client:?} {number}");
            assert_eq!(header("mcp-param-text").as_deref(), Some("A/b"), "{client:?} {number}");
        }
        assert_eq!(vendor.calls("tools/call").len(), 6, "{client:?}: each was sent once");
    }
}
