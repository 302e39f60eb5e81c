//! The legacy handshake: its order, and what happens when it fails.

use super::*;

#[test]
fn the_handshake_is_kept_in_order() {
    let mut rig = Rig::new();
    rig.client(INITIALIZE);
    // The messages of a client that does not wait for the handshake wait here.
    rig.client(INITIALIZED);
    rig.client(CALL);
    assert_eq!(rig.posts.len(), 1);

    rig.open("one");
    assert_eq!(rig.replies, [INITIALIZE_RESULT]);
    assert_eq!((rig.count("notifications/initialized"), rig.count("tools/call")), (1, 0));
    rig.settle();
    let (_, _, headers) = rig.posts.last().unwrap();
    assert_eq!(rig.count("tools/call"), 1);
    assert_eq!(
        (&headers[SESSION_ID], &headers[PROTOCOL_VERSION]),
        (&"one".parse().unwrap(), &"2025-06-18".parse().unwrap())
    );

    let call = rig.post("tools/call");
    rig.server(call, r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1.0}}"#);
    rig.server(call, RESULT);
    rig.handle(Event::Finished(call, Ending::Complete));
    assert_eq!(
        rig.replies[1..],
        [r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1.0}}"#, RESULT]
    );
}

#[test]
fn a_missing_or_slow_stream_holds_up_no_message() {
    for early in [Event::Finished(3, Ending::Complete), Event::HoldExpired(3)] {
        let mut rig = Rig::new();
        rig.client(INITIALIZE);
        rig.open("one");
        rig.client(INITIALIZED);
        rig.client(CALL);
        rig.handle(Event::Accepted(rig.post("notifications/initialized"), None));
        assert_eq!((rig.listens.as_slice(), rig.count("tools/call")), ([3].as_slice(), 0));
        rig.handle(early);
        assert_eq!(rig.count("tools/call"), 1);
    }
}

/// A refused handshake opens no session, so the requests that waited for it are refused too.
#[test]
fn a_refused_handshake_leaves_no_request_waiting() {
    let refusal = r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32602,"message":"no"}}"#;
    let mut rig = Rig::new();
    rig.client(INITIALIZE);
    rig.client(CALL);
    rig.server(rig.post("initialize\""), refusal);
    assert_eq!((rig.replies.len(), rig.count("tools/call")), (2, 0), "{:?}", rig.replies);
    assert!(rig.replies.iter().any(|reply| reply == refusal));

    let mut rig = Rig::ready();
    rig.client(CALL);
    rig.handle(Event::Finished(rig.post("tools/call"), lost_session()));
    rig.server(rig.post("initialize\""), refusal);
    assert!(rig.replies.len() == 1 && rig.replies[0].contains(r#""id":7"#), "{:?}", rig.replies);
    assert!(!rig.replies[0].contains("not known"), "nothing was processed in the lost session: {:?}", rig.replies);
}
