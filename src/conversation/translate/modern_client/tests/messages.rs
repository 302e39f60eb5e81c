//! Messages that are rewritten, and what stays as it is.

use super::*;

#[test]
fn the_server_description_is_translated() {
    let told = client(&mut translator(r#"{"tools":{}}"#), r#"{"id":1.50,"method":"server/discover","params":{}}"#);
    assert!(told[0].starts_with(r#"to client {"jsonrpc":"2.0","id":1.50,"result":{"capabilities":{"tools":{}},"#));
    assert!(told[0].contains(r#""supportedVersions":["2026-07-28"]"#));
    let hello = message(&format!(r#"{{"id":1,"method":"server/discover","params":{{"_meta":{{{META}}}}}}}"#));
    assert_eq!(
        ModernClient::initialize(&hello, Id::own(1)).raw(),
        r#"{"jsonrpc":"2.0","id":"finmcp-1","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{},"roots":{}},"clientInfo":{"name":"c"}}}"#
            .as_bytes()
    );
}

#[test]
fn a_request_loses_the_sender_description_and_nothing_else() {
    let mut translator = translator("{}");
    let level = r#","io.modelcontextprotocol/logLevel":"info""#;
    for (meta, left) in [
        (META.to_owned() + level, ""),
        (format!(r#""progressToken":1.0,{META},"v/x":1e2"#), r#","_meta":{"progressToken":1.0,"v/x":1e2}"#),
    ] {
        let text = format!(
            r#"{{"x":1.10,"id":"\u0061","params":{{"cursor":"\/","_meta":{{{meta}}}}},"method":"tools/list"}}"#
        );
        let expected =
            format!(r#"to server {{"x":1.10,"id":"\u0061","params":{{"cursor":"\/"{left}}},"method":"tools/list"}}"#);
        assert_eq!(client(&mut translator, &text), [expected]);
    }
    for text in [r#"{ "id":1, "method":"x","params":{ } }"#, r#"{"method":"notifications/x" }"#] {
        assert_eq!(client(&mut translator, text), [format!("to server {text}")]);
    }
}

#[test]
fn a_result_gets_the_members_of_modern_results() {
    let mut translator = translator("{}");
    for (came, goes) in [
        (r#"{"n":1.10,"content":[]}"#, r#"{"n":1.10,"content":[],"resultType":"complete"}"#),
        (
            r#"{"tools":[{"n":12345678901234567890123}],"z":"\ud800"}"#,
            r#"{"tools":[{"n":12345678901234567890123}],"z":"\ud800","resultType":"complete","ttlMs":0,"cacheScope":"private"}"#,
        ),
        (
            r#"{"contents":[],"ttlMs":1.0,"cacheScope":"public","resultType":"x"}"#,
            r#"{"contents":[],"ttlMs":1.0,"cacheScope":"public","resultType":"x"}"#,
        ),
    ] {
        let told = server(&mut translator, &format!(r#"{{"x":1.10,"id":1,"result":{came}}}"#));
        assert_eq!(told, [format!(r#"to client {{"x":1.10,"id":1,"result":{goes}}}"#)]);
    }
    let error = r#"{"id":1,"error":{"code":-32002,"message":"","data":1.10}}"#;
    assert_eq!(server(&mut translator, error), [format!("to client {error}")]);
}
