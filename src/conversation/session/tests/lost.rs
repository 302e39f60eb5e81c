//! A session that the server lost, and the one that takes its place.

use super::*;

/// t119: one new session for all messages that a lost one refused; each is sent once more, except those that may have
/// been processed.
#[test]
fn t119_a_lost_session_is_replaced_once() {
    let mut rig = Rig::ready();
    for id in 10..30 {
        rig.client(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"n{id}"}}}}"#));
    }
    let calls: Vec<Exchange> = (10..30).map(|id| rig.post(&format!("\"n{id}\""))).collect();
    rig.handle(Event::Finished(calls[0], Ending::Failed(Failure::Cut)));
    assert!(rig.replies.pop().unwrap().contains("not known"), "a call that may have been processed is not sent again");
    for call in &calls[1..10] {
        rig.handle(Event::Finished(*call, lost_session()));
    }
    assert_eq!(rig.count("\"initialize\""), 2);
    let (_, again, headers) = rig.posts.last().unwrap();
    assert_eq!(
        (again.as_str(), headers.get(SESSION_ID)),
        (INITIALIZE, None),
        "the client's own parameters, no old session"
    );
    rig.open("two");
    rig.settle();
    // Late refusals from the old session do not open a third one.
    for call in &calls[10..] {
        rig.handle(Event::Finished(*call, lost_session()));
    }
    assert_eq!((rig.count("\"initialize\""), rig.count("notifications/initialized")), (2, 2));
    for id in 11..30 {
        let part = format!("\"n{id}\"");
        assert_eq!(rig.count(&part), 2, "{part}");
        rig.server(rig.post(&part), &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
    }
    assert_eq!(rig.replies.len(), 19, "the second response to initialize is for finmcp");
    assert!(rig.session.channel.in_flight.is_settled());
}

/// t119: finmcp restores the client's state in the new session, without the client noticing.
#[test]
fn t119_state_is_restored_in_a_new_session() {
    let mut rig = Rig::ready();
    let done = |rig: &mut Rig, id: u8, method: &str, parameters: &str, outcome: &str| {
        rig.client(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{parameters}}}}}"#));
        let exchange = rig.post(&format!(r#""id":{id},"#));
        rig.server(exchange, &format!(r#"{{"jsonrpc":"2.0","id":{id},{outcome}}}"#));
        rig.handle(Event::Finished(exchange, Ending::Complete));
    };
    let (yes, no) = (r#""result":{}"#, r#""error":{"code":-1,"message":""}"#);
    for (id, method, parameters, outcome) in [
        (10, "logging/setLevel", r#""level":"info""#, yes),
        (11, "logging/setLevel", r#""level":"debug""#, yes),
        (12, "logging/setLevel", r#""level":"loud""#, no),
        (13, "resources/subscribe", r#""uri":"x:kept","_meta":{"x":1.10}"#, yes),
        (14, "resources/subscribe", r#""uri":"x:left""#, yes),
        (15, "resources/unsubscribe", r#""uri":"x:left""#, yes),
        (16, "resources/subscribe", r#""uri":"x:refused""#, no),
        (17, "resources/subscribe", r#""uri":"x:leaving""#, yes),
    ] {
        done(&mut rig, id, method, parameters, outcome);
    }
    rig.replies.clear();
    // This request is in flight already and will be sent again anyway.
    rig.client(r#"{"jsonrpc":"2.0","id":18,"method":"resources/unsubscribe","params":{"uri":"x:leaving"}}"#);
    let before = rig.posts.len();
    rig.handle(Event::Finished(rig.post("x:leaving"), lost_session()));
    rig.open("two");
    rig.settle();
    let again: Vec<&str> = rig.posts[before..].iter().map(|(_, message, _)| message.as_str()).collect();
    assert_eq!(
        again,
        [
            INITIALIZE,
            INITIALIZED,
            r#"{"jsonrpc":"2.0","id":"finmcp-again-1","method":"logging/setLevel","params":{"level":"debug"}}"#,
            r#"{"jsonrpc":"2.0","id":"finmcp-again-2","method":"resources/subscribe","params":{"uri":"x:kept","_meta":{"x":1.10}}}"#,
            r#"{"jsonrpc":"2.0","id":18,"method":"resources/unsubscribe","params":{"uri":"x:leaving"}}"#,
        ]
    );
    let (_, _, headers) = rig.posts.last().unwrap();
    assert_eq!(headers[SESSION_ID], "two");
    // Whatever the responses, the client does not get them, and no third session is opened for them.
    let (level, kept) = (rig.post("finmcp-again-1"), rig.post("finmcp-again-2"));
    rig.server(level, r#"{"jsonrpc":"2.0","id":"finmcp-again-1","result":{}}"#);
    rig.handle(Event::Finished(kept, lost_session()));
    assert_eq!((rig.replies.as_slice(), rig.count("\"initialize\"")), ([].as_slice(), 2));
    rig.server(rig.post("x:leaving"), r#"{"jsonrpc":"2.0","id":18,"result":{}}"#);
    assert_eq!(rig.replies.len(), 1);

    // The next session gets the same state, under new ids; after a new handshake of the client there is no state.
    rig.handle(Event::Finished(rig.post("x:leaving"), Ending::Complete));
    rig.client(CALL);
    rig.handle(Event::Finished(rig.post("tools/call"), lost_session()));
    rig.open("three");
    rig.settle();
    assert_eq!((rig.count("finmcp-again-3"), rig.count("finmcp-again-4"), rig.count("again-5")), (1, 1, 0));
    for exchange in [level, rig.post("finmcp-again-3"), rig.post("finmcp-again-4")] {
        rig.handle(Event::Finished(exchange, Ending::Complete));
    }
    rig.client(&INITIALIZE.replace("\"id\":0", "\"id\":30"));
    rig.server(rig.post("\"id\":30"), &INITIALIZE_RESULT.replace("\"id\":0", "\"id\":30"));
    rig.client(INITIALIZED);
    rig.settle();
    rig.client(&CALL.replace('7', "31"));
    rig.handle(Event::Finished(rig.post("\"id\":31"), lost_session()));
    rig.server(rig.post("\"initialize\""), &INITIALIZE_RESULT.replace("\"id\":0", "\"id\":30"));
    rig.settle();
    assert_eq!((rig.count("\"id\":31"), rig.count("again-5")), (2, 0));
}

#[test]
fn a_message_refused_in_two_sessions_fails() {
    let mut rig = Rig::ready();
    rig.client(CALL);
    rig.handle(Event::Finished(rig.post("tools/call"), lost_session()));
    rig.open("two");
    rig.settle();
    rig.handle(Event::Finished(rig.post("tools/call"), lost_session()));
    assert_eq!(rig.count("tools/call"), 2);
    assert!(rig.replies[0].contains("HTTP 404"), "{:?}", rig.replies);
}

/// A late refusal from the old session, after the next one could not be opened either, opens one itself.
#[test]
fn t119_a_late_refusal_opens_a_session_where_there_is_none() {
    let mut rig = Rig::ready();
    for id in 10..13 {
        rig.client(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"n{id}"}}}}"#));
    }
    let [early, late, _] = [10, 11, 12].map(|id| rig.post(&format!("\"n{id}\"")));
    rig.handle(Event::Finished(early, lost_session()));
    rig.open("two");
    rig.settle();
    rig.client(CALL);
    rig.handle(Event::Finished(rig.post("\"id\":7"), lost_session()));
    rig.handle(Event::Finished(rig.post("initialize\""), Ending::Complete));
    assert_eq!((rig.count("\"initialize\""), rig.replies.len()), (3, 1), "that call is refused: {:?}", rig.replies);
    rig.handle(Event::Finished(late, lost_session()));
    assert_eq!(rig.count("\"initialize\""), 4);
    rig.open("four");
    rig.settle();
    assert_eq!(rig.count("\"n11\""), 2);
}

/// t119: a server that loses each session at once does not get new ones forever.
#[test]
fn t119_a_session_lost_at_once_is_not_replaced() {
    let mut rig = Rig::ready();
    rig.client(CALL);
    rig.handle(Event::Finished(rig.post("tools/call"), lost_session()));
    for id in ["two", "three"] {
        rig.open(id);
        rig.handle(Event::Finished(rig.post("notifications/initialized"), lost_session()));
    }
    assert_eq!(rig.count("\"initialize\""), 2, "one for the client, one for the lost session");
    rig.handle(Event::Finished(*rig.listens.last().unwrap(), Ending::Complete));
    rig.handle(Event::Finished(rig.post("tools/call"), lost_session()));
    assert!(rig.replies.len() == 1 && rig.replies[0].contains("HTTP 404"), "{:?}", rig.replies);
}

#[test]
fn a_session_that_cannot_be_replaced_is_tried_again_with_the_next_message() {
    let mut rig = Rig::ready();
    rig.client(CALL);
    rig.handle(Event::Finished(rig.post("tools/call"), lost_session()));
    let gone = Failure::Status { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: None, reason: None };
    rig.handle(Event::Finished(rig.post("\"initialize\""), Ending::Failed(gone)));
    assert!(rig.replies[0].contains("503"), "{:?}", rig.replies);
    rig.client(&CALL.replace('7', "8"));
    rig.open("two");
    rig.settle();
    rig.server(rig.post("\"id\":8"), &RESULT.replace('7', "8"));
    assert_eq!(rig.replies.len(), 2);
}

/// a11: the client's response to a request of a lost session is dropped, and the client gets a cancellation; a request
/// in a session with a call in flight gets its response, and so does one of the new session.
#[test]
fn a11_a_response_goes_only_to_the_session_that_asked() {
    let question = |id: u8| format!(r#"{{"jsonrpc":"2.0","id":"q{id}","method":"roots/list"}}"#);
    let answer = |id: u8| format!(r#"{{"jsonrpc":"2.0","id":"q{id}","result":{{"roots":[{id}]}}}}"#);
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    for goes_on in [false, true] {
        let mut rig = Rig::ready();
        rig.client(&answer(9));
        rig.client(progress);
        assert_eq!((rig.count("result"), rig.count("progress")), (0, 0), "the server has not asked");
        let stream = *rig.listens.last().unwrap();
        if goes_on {
            rig.client(&CALL.replace('7', "8"));
        }
        rig.server(stream, &question(1));
        rig.client(progress);
        assert_eq!(rig.count("progress"), 1);
        rig.client(CALL);
        rig.handle(Event::Finished(rig.post("\"id\":7"), lost_session()));
        assert_eq!(rig.replies.iter().any(|line| line.contains("notifications/cancelled")), !goes_on);
        rig.open("two");
        rig.settle();
        rig.client(&answer(1));
        assert_eq!(rig.count("[1]"), usize::from(goes_on));
        rig.server(*rig.listens.last().unwrap(), &question(2));
        rig.client(&answer(2));
        assert_eq!(rig.count("[2]"), 1);
    }
}
