//! Log messages.

use super::*;

/// However the call that wanted a log ends: the next call without a log gets none.
#[test]
fn log_messages_end_with_the_call_that_wanted_them() {
    for is_cancelled in [true, false] {
        let mut translator = translator("{}");
        client(&mut translator, &logging("1", "warning"));
        if is_cancelled {
            client(&mut translator, &cancel("1"));
        } else {
            let refusal = Refusal::unsent(message(r#"{"id":1,"method":"tools/call"}"#), Failure::Cut);
            assert_eq!(told(|steps| translator.refused(refusal, steps)).len(), 1);
        }
        client(&mut translator, &call("2", "", ""));
        assert_eq!(server(&mut translator, &logged("error")), NOTHING, "{is_cancelled}");
    }
}

/// The call waits until the level is set, and each call gets messages from its own level on.
#[test]
fn the_server_logs_at_the_lowest_level_wanted() {
    let mut translator = translator(r#"{"logging":{}}"#);
    assert_eq!(client(&mut translator, &logging("1", "warning")), [set(1, "warning")]);
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-1","result":{}}"#), [sent("1")]);
    assert_eq!(client(&mut translator, &logging("2", "error")), [sent("2")], "the level is already low enough");
    assert_eq!(client(&mut translator, &logging("3", "info")), [set(2, "info")]);
    // Whatever the response to setting the level, the call is made.
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-2","error":{"code":1,"message":""}}"#), [sent("3")]);
    assert_eq!(client(&mut translator, &call("4", "", "")), [sent("4")]);
    for (id, level, heard) in [
        ("1", "warning", true),
        ("1", "notice", false),
        ("2", "critical", true),
        ("2", "warning", false),
        ("3", "info", true),
        ("3", "debug", false),
        ("4", "emergency", false),
    ] {
        let told = within(&mut translator, id, &logged(level));
        assert_eq!(
            told.first().is_some_and(|told| *told == format!("to client {}", logged(level))),
            heard,
            "{id} {level}"
        );
    }
}

/// Many servers on the Python SDK log without declaring it.
#[test]
fn the_level_is_not_set_on_a_server_without_logging() {
    let mut translator = translator("{}");
    assert_eq!(client(&mut translator, &logging("1", "warning")), [sent("1")]);
    assert_eq!(within(&mut translator, "1", &logged("error")).len(), 1);
    assert_eq!(within(&mut translator, "1", &logged("info")), NOTHING);
}

#[test]
fn log_messages_outside_exchanges_go_to_the_last_call_that_wanted_them() {
    let mut translator = translator("{}");
    assert_eq!(server(&mut translator, &logged("error")), NOTHING);
    client(&mut translator, &logging("1", "warning"));
    assert_eq!(server(&mut translator, &logged("error")).len(), 1);
    assert_eq!(server(&mut translator, &logged("info")), NOTHING);
    server(&mut translator, r#"{"id":1,"result":{}}"#);
    assert_eq!(server(&mut translator, &logged("error")).len(), 1, "it may come a little late");
    client(&mut translator, &call("2", "", ""));
    assert_eq!(server(&mut translator, &logged("error")), NOTHING);
}

#[test]
fn a_call_that_waits_for_the_level_can_be_cancelled() {
    let mut translator = translator(r#"{"logging":{}}"#);
    client(&mut translator, &logging("1", "warning"));
    let cancel = r#"{"method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(client(&mut translator, cancel), NOTHING);
    assert_eq!(server(&mut translator, r#"{"id":"finmcp-1","result":{}}"#), NOTHING);
}
