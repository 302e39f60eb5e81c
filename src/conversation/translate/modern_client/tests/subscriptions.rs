//! Subscriptions: what changes on the server.

use super::*;

#[test]
fn the_id_of_a_subscription_is_in_use() {
    let mut translator = translator(r#"{"tools":{}}"#);
    client(&mut translator, &listen("1", ""));
    assert!(client(&mut translator, &call("1", "", ""))[0].starts_with("refused 1: this id is still in use"));
}

/// finmcp's own requests may fail: the messages that waited for them are sent anyway.
#[test]
fn finmcps_own_requests_may_fail() {
    let fail = |translator: &mut ModernClient, id: &str| {
        let request = message(&format!(r#"{{"id":"{id}","method":"x"}}"#));
        told(|steps| translator.refused(Refusal::unsent(request, Failure::Cut), steps))
    };
    let mut translator = translator(r#"{"logging":{},"resources":{"subscribe":true}}"#);
    assert_eq!(client(&mut translator, &logging("1", "warning")), [set(1, "warning")]);
    assert_eq!(fail(&mut translator, "finmcp-1"), [sent("1")]);
    assert_eq!(client(&mut translator, &logging("2", "warning")), [sent("2")], "once is enough");
    client(&mut translator, &listen("3", r#""resourceSubscriptions":["a:b"]"#));
    assert_eq!(fail(&mut translator, "finmcp-2"), [acknowledged("3", "")]);
}

#[test]
fn only_an_update_reports_a_resource() {
    let mut translator = translator(r#"{"resources":{"subscribe":true}}"#);
    client(&mut translator, &listen("1", r#""resourceSubscriptions":["a:b/"]"#));
    server(&mut translator, r#"{"id":"finmcp-1","result":{}}"#);
    let about = |method: &str| format!(r#"{{"method":"notifications/{method}","params":{{"uri":"a:b/part"}}}}"#);
    assert_eq!(server(&mut translator, &about("resources/updated")).len(), 1);
    assert_eq!(server(&mut translator, &about("resources/other")), NOTHING);
}

/// The server need not declare that it reports changes to its tools: having tools is enough.
#[test]
fn a_subscription_covers_what_the_server_has() {
    let mut translator = translator(r#"{"tools":{},"prompts":{"listChanged":true}}"#);
    let all = r#""resourceSubscriptions":["a:b"],"resourcesListChanged":true,"promptsListChanged":true,"toolsListChanged":true"#;
    let told = client(&mut translator, &listen("1", all));
    assert_eq!(told, [acknowledged("1", r#""toolsListChanged":true,"promptsListChanged":true"#)]);
    let told = client(&mut translator, &listen("2", r#""toolsListChanged":false"#));
    assert_eq!(told, [acknowledged("2", "")]);
}

#[test]
fn each_subscription_gets_what_it_asked_for() {
    let mut translator = translator(r#"{"tools":{},"prompts":{}}"#);
    client(&mut translator, &listen("1", r#""toolsListChanged":true"#));
    client(&mut translator, &listen(r#""b""#, r#""toolsListChanged":true,"promptsListChanged":true"#));
    let change = |list: &str| format!(r#"{{"method":"notifications/{list}/list_changed","params":{{"n":1.10}}}}"#);
    let change_for = |list: &str, id: &str| {
        format!(
            r#"to client {{"method":"notifications/{list}/list_changed","params":{{"n":1.10,"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
        )
    };
    let mut told = server(&mut translator, &change("tools"));
    told.sort();
    assert_eq!(told, [change_for("tools", r#""b""#), change_for("tools", "1")]);
    assert_eq!(server(&mut translator, &change("prompts")), [change_for("prompts", r#""b""#)]);
    assert_eq!(server(&mut translator, &change("resources")), NOTHING);
    let cancel = r#"{"method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(client(&mut translator, cancel), NOTHING);
    assert_eq!(server(&mut translator, &change("tools")), [change_for("tools", r#""b""#)]);
}

#[test]
fn resources_are_subscribed_to_one_by_one() {
    let mut translator = translator(r#"{"resources":{"subscribe":true}}"#);
    let subscribe = |number: u8, verb: &str, uri: &str| {
        format!(
            r#"to server {{"jsonrpc":"2.0","id":"finmcp-{number}","method":"resources/{verb}","params":{{"uri":"{uri}"}}}}"#
        )
    };
    let told = client(&mut translator, &listen("1", r#""resourceSubscriptions":["a:b","a:c"]"#));
    assert_eq!(told, [subscribe(1, "subscribe", "a:b"), subscribe(2, "subscribe", "a:c")]);
    // The acknowledgement comes once the server has responded to all, and names only what the server accepted.
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-2","error":{"code":1,"message":""}}"#), NOTHING);
    let told = server(&mut translator, r#"{"id":"finmcp-1","result":{}}"#);
    assert_eq!(told, [acknowledged("1", r#""resourceSubscriptions":["a:b"]"#)]);
    client(&mut translator, &listen("2", r#""resourceSubscriptions":["a:b"]"#));
    server(&mut translator, r#"{"id":"finmcp-3","result":{}}"#);
    let update = |uri: &str| format!(r#"{{"method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#);
    for (uri, heard) in [("a:b", 2), ("a:b/part", 2), ("a:bc", 0), ("a:c", 0)] {
        assert_eq!(server(&mut translator, &update(uri)).len(), heard, "{uri}");
    }
    // While one subscription is left, the server is not told to unsubscribe.
    let cancel = |id: u8| format!(r#"{{"method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
    assert_eq!(client(&mut translator, &cancel(1)), NOTHING);
    assert_eq!(client(&mut translator, &cancel(2)), [subscribe(4, "unsubscribe", "a:b")]);
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-4","result":{}}"#), NOTHING);
}
