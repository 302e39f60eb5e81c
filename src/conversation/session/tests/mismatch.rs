//! A header mismatch: the tools are listed, and the call is sent once more.

use super::*;

const MIRRORED_CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"pay","arguments":{"to":"DE","n":1.10},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
const MISMATCH: &str = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32020,"message":"Mcp-Param-To is missing"}}"#;

/// The tools have changed since they were listed: finmcp lists them again, all pages, and sends the call once more.
#[test]
fn a_header_mismatch_lists_again_and_sends_once_more() {
    let mut rig = Rig::new();
    rig.client(MIRRORED_CALL);
    rig.server(rig.post("tools/call"), MISMATCH);
    rig.handle(Event::Finished(rig.post("tools/call"), Ending::Complete));
    assert_eq!((rig.count("tools/call"), rig.count("tools/list"), rig.replies.len()), (1, 1, 0));
    let part = |tools: &str| format!(r#"{{"jsonrpc":"2.0","id":"finmcp-list-1","result":{{"tools":[{tools}]}}}}"#);
    rig.server(rig.post("tools/list"), &part("").replace(']', r#"],"nextCursor":"2""#));
    assert_eq!(rig.count(r#""cursor":"2""#), 1);
    let tool = r#"{"name":"pay","inputSchema":{"properties":{"to":{"type":"string","x-mcp-header":"To"}}}}"#;
    rig.server(rig.post("tools/list"), &part(tool));
    let (again, message, headers) = rig.posts.last().unwrap().clone();
    assert_eq!((message.as_str(), headers["mcp-param-to"].to_str().unwrap()), (MIRRORED_CALL, "DE"));
    // Not a second time, nor a third.
    rig.server(again, MISMATCH);
    rig.handle(Event::Finished(again, Ending::Complete));
    assert_eq!(rig.replies, [MISMATCH]);
    assert_eq!(rig.count("tools/call"), 2);
}

#[test]
fn a_header_mismatch_without_a_list_is_the_response() {
    for ending in [Ending::Complete, Ending::Failed(Failure::Malformed)] {
        let mut rig = Rig::new();
        rig.client(MIRRORED_CALL);
        rig.server(rig.post("tools/call"), MISMATCH);
        rig.handle(Event::Finished(rig.post("tools/call"), Ending::Complete));
        rig.handle(Event::Finished(rig.post("tools/list"), ending));
        assert_eq!(rig.replies, [MISMATCH]);
    }
    let mut rig = Rig::new();
    rig.client(MIRRORED_CALL);
    rig.server(rig.post("tools/call"), MISMATCH);
    rig.handle(Event::Stopping);
    assert_eq!(rig.replies, [MISMATCH]);
    assert!(rig.stopped);
}
