//! Requests under way: their ids, limits, cancellations, and the end.

use super::*;

/// t105: responses to no request, or a second response, are dropped.
#[test]
fn t105_a_request_gets_one_response() {
    let mut rig = Rig::ready();
    rig.client(CALL);
    let call = rig.post("tools/call");
    for _ in 0..3 {
        rig.server(call, RESULT);
    }
    rig.server(call, &RESULT.replace('7', "8"));
    rig.handle(Event::Finished(call, Ending::Complete));
    assert_eq!(rig.replies, [RESULT]);
}

/// t104: a client may compare ids as text, so it gets its own spelling back.
#[test]
fn t104_an_id_comes_back_as_it_was_spelled() {
    let mut rig = Rig::ready();
    rig.client(&CALL.replace('7', r#""\u0061""#));
    rig.server(rig.post("tools/call"), r#"{"jsonrpc":"2.0","id":"a","result":{}}"#);
    assert_eq!(rig.replies, [r#"{"jsonrpc":"2.0","id":"\u0061","result":{}}"#]);
}

/// t104: an id in use is refused; once it is free it can be used again.
#[test]
fn t104_an_id_in_use_is_refused() {
    let mut rig = Rig::ready();
    rig.client(CALL);
    rig.client(CALL);
    assert_eq!(rig.count("tools/call"), 1);
    assert!(rig.replies[0].contains("-32600"));
    rig.server(rig.post("tools/call"), RESULT);
    rig.client(CALL);
    assert_eq!(rig.count("tools/call"), 2);
}

/// t108: a flood of requests waits its turn, but not the messages that the server or the client needs to resolve it.
#[test]
fn t108_only_requests_wait_for_capacity() {
    let mut rig = Rig::ready();
    for id in 0..IN_FLIGHT_LIMIT + 9 {
        rig.client(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"pay"}}}}"#));
    }
    assert_eq!(rig.count("tools/call"), IN_FLIGHT_LIMIT);
    rig.server(rig.post("\"id\":0,"), r#"{"jsonrpc":"2.0","id":"e","method":"elicitation/create"}"#);
    rig.client(r#"{"jsonrpc":"2.0","id":"e","result":{}}"#);
    rig.client(CANCELLED);
    assert_eq!((rig.count("\"id\":\"e\""), rig.count("notifications/cancelled")), (1, 1));
    // A request cancelled while it waits is never sent.
    rig.client(&CANCELLED.replace('7', &IN_FLIGHT_LIMIT.to_string()));
    for part in ["\"id\":\"e\"", "notifications/cancelled", "\"id\":7,", "\"id\":0,"] {
        rig.handle(Event::Finished(rig.post(part), Ending::Complete));
    }
    assert_eq!(rig.count("tools/call"), IN_FLIGHT_LIMIT + 2);
    assert_eq!(rig.count(&format!("\"id\":{IN_FLIGHT_LIMIT},")), 0);
}

/// t106: a modern server sends no requests.
#[test]
fn t106_requests_of_a_modern_server_are_dropped() {
    let mut rig = Rig::new();
    rig.client(MODERN_CALL);
    let (call, _, headers) = rig.posts[0].clone();
    assert_eq!(&headers["mcp-name"], "pay");
    rig.server(call, r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#);
    rig.server(call, r#"{"jsonrpc":"2.0","method":"notifications/message"}"#);
    assert_eq!(rig.replies, [r#"{"jsonrpc":"2.0","method":"notifications/message"}"#]);
}

#[test]
fn cancelling_closes_a_modern_exchange_and_notifies_a_legacy_server() {
    let mut rig = Rig::new();
    rig.client(MODERN_CALL);
    rig.client(CANCELLED);
    assert_eq!((rig.cancelled.as_slice(), rig.posts.len()), ([1].as_slice(), 1));

    let mut rig = Rig::ready();
    rig.client(CALL);
    rig.client(CANCELLED);
    assert_eq!(rig.count("notifications/cancelled"), 1);
    rig.handle(Event::Finished(rig.post("tools/call"), Ending::Complete));
    assert!(rig.replies.is_empty(), "no response is due");
}

/// A server need not respond to a cancelled request, or end the stream on which it would.
#[test]
fn a_delivered_cancellation_ends_the_request() {
    let mut rig = Rig::ready();
    rig.client(CALL);
    let call = rig.post("tools/call");
    rig.client(CANCELLED);
    assert!(rig.cancelled.is_empty(), "a response may still come");
    rig.handle(Event::Finished(rig.post("notifications/cancelled"), Ending::Complete));
    assert_eq!(rig.cancelled, [call]);
    rig.handle(Event::Closed);
    assert!(rig.stopped && rig.replies.is_empty());
}

#[test]
fn the_end_waits_for_messages_in_flight() {
    let mut rig = Rig::ready();
    rig.client(CALL);
    rig.handle(Event::Closed);
    assert!(!rig.stopped);
    rig.server(rig.post("tools/call"), RESULT);
    rig.handle(Event::Finished(rig.post("tools/call"), Ending::Complete));
    assert!(rig.stopped);
    assert_eq!((rig.deletes, rig.cancelled.as_slice()), (1, rig.listens.as_slice()));
}

/// t111: when told to stop, finmcp responds to every request, and says which outcomes are unknown.
#[test]
fn t111_when_stopping_every_request_gets_a_response() {
    let mut rig = Rig::ready();
    rig.client(CALL);
    rig.client(&CALL.replace('7', "8").replace("tools/call", "tools/list"));
    rig.handle(Event::Stopping);
    assert!(rig.stopped);
    assert_eq!((rig.replies.len(), rig.deletes), (2, 1));
    assert!(rig.replies.iter().any(|reply| reply.contains("-31010")), "{:?}", rig.replies);
}
