use super::*;
use crate::bridge::conversation::failure::Taken;

fn message(text: &str) -> Message {
    Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

const LEGACY: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
const MODERN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#;

fn initialized(version: &str) -> Message {
    message(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"protocolVersion":"{version}","capabilities":{{}}}}}}"#))
}

fn over_sse() -> Description {
    Description::learn(Era::Legacy, &initialized("2024-11-05")).unwrap().over(Transport::HttpSse)
}

/// A greeting whose first question has been asked, and that question.
fn begun(hello: &str, server: Option<&Description>) -> (Greeting, Question) {
    let mut greeting = Greeting::new(message(hello), server);
    let question = greeting.begin();
    greeting.ask(question, &Numbers::default());
    (greeting, question)
}

fn status(code: u16) -> Failure {
    Failure::Status { status: StatusCode::from_u16(code).unwrap(), retry_after: None, reason: None }
}

fn refuse(greeting: &mut Greeting, failure: Failure) -> Outcome {
    let outcome = greeting.refused(Refusal { message: message(LEGACY), failure: Arc::new(failure), taken: Taken::No });
    if let Outcome::Next(question) = outcome {
        greeting.ask(question, &Numbers::default());
    }
    outcome
}

/// What is asked of a server that turns one question after the other down so, and what comes of the last.
fn questions(hello: &str, server: Option<&Description>, failures: Vec<Failure>) -> (Vec<Question>, Outcome) {
    let (mut greeting, first) = begun(hello, server);
    let mut asked = vec![first];
    for failure in failures {
        match refuse(&mut greeting, failure) {
            Outcome::Next(question) => asked.push(question),
            outcome => return (asked, outcome),
        }
    }
    panic!("more than {asked:?} is asked");
}

use Question::{Discover, Initialize, InitializeOverSse};

#[test]
fn a_stream_is_asked_for_last_and_where_no_message_is_taken() {
    for (hello, first, second) in [(LEGACY, Initialize, Discover), (MODERN, Discover, Initialize)] {
        for codes in [[404, 404], [405, 400], [400, 405]] {
            let (asked, outcome) = questions(hello, None, vec![status(codes[0]), status(codes[1]), status(404)]);
            assert_eq!(asked, [first, second, InitializeOverSse]);
            assert!(
                matches!(outcome, Outcome::Rejected(None, failure) if failure.to_string() == status(codes[0]).to_string())
            );
        }
        for (one, other) in [(404, 410), (410, 404), (501, 404), (404, 307)] {
            assert_eq!(questions(hello, None, vec![status(one), status(other)]).0, [first, second]);
        }
        for other in [Failure::Malformed, Failure::NotMcp { content_type: String::new() }] {
            assert_eq!(questions(hello, None, vec![status(404), other]).0, [first, second]);
        }
    }
}

/// t136: an answer, be it an error, is the server's, and its own words are the client's to have.
#[test]
fn t136_a_server_that_answers_takes_messages() {
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"no"}}"#;
    let (mut greeting, _) = begun(LEGACY, None);
    assert!(matches!(greeting.answered(message(error)), Outcome::Next(Discover)));
    greeting.ask(Discover, &Numbers::default());
    assert!(matches!(refuse(&mut greeting, status(404)), Outcome::Rejected(Some(_), _)));
    let (mut greeting, _) = begun(LEGACY, None);
    assert!(matches!(refuse(&mut greeting, status(404)), Outcome::Next(Discover)));
    assert!(matches!(greeting.answered(message(error)), Outcome::Rejected(None, _)));
}

/// What is no answer is the server's too, where the stream comes to nothing.
#[test]
fn what_is_said_where_nobody_takes_messages_is_no_answer() {
    let said = |code, text| Failure::Unaddressed {
        status: StatusCode::from_u16(code).unwrap(),
        said: Box::new(message(text)),
    };
    let first = r#"{"id":null,"error":{"code":-32601,"message":"first"}}"#;
    let second = r#"{"id":"server-error","error":{"code":-32600,"message":"second"}}"#;
    for hello in [LEGACY, MODERN] {
        let (asked, outcome) = questions(hello, None, vec![said(405, first), said(404, second), status(404)]);
        assert_eq!((asked.len(), asked[2]), (3, InitializeOverSse));
        let Outcome::Rejected(Some(answer), failure) = outcome else { panic!("{outcome:?}") };
        assert_eq!(answer.id(), message(hello).id());
        assert!(String::from_utf8_lossy(answer.raw()).contains("first"));
        assert_eq!(failure.to_string(), "the server answered HTTP 405");
        assert_eq!(questions(hello, None, vec![status(404), said(400, second), status(404)]).0.len(), 3);
    }
}

#[test]
fn a_known_stream_is_asked_for_first_and_once() {
    for hello in [LEGACY, MODERN] {
        let (asked, outcome) = questions(hello, Some(&over_sse()), vec![status(404), status(404), status(404)]);
        assert_eq!(asked, [InitializeOverSse, Initialize, Discover]);
        assert!(matches!(outcome, Outcome::Rejected(..)));
        let (mut greeting, question) = begun(hello, Some(&over_sse()));
        assert_eq!((question.transport(), question.method()), (Transport::HttpSse, "initialize"));
        let Outcome::Known(known, answer) = greeting.answered(initialized("2024-11-05")) else { panic!() };
        assert_eq!((known.era, known.transport), (Era::Legacy, Transport::HttpSse));
        assert_eq!(answer.is_some(), hello == LEGACY, "the client has its own question answered");
    }
}

#[test]
fn a_server_that_moves_is_known_as_it_is_now() {
    let (mut greeting, _) = begun(LEGACY, Some(&over_sse()));
    assert!(matches!(refuse(&mut greeting, Failure::NoEndpoint { status: None }), Outcome::Next(Initialize)));
    let Outcome::Known(known, Some(_)) = greeting.answered(initialized("2025-11-25")) else { panic!() };
    assert_eq!(known.transport, Transport::StreamableHttp);
}

/// That there is no stream tells less than what the server said before. What comes later may tell more.
#[test]
fn a_wrong_guess_changes_nothing() {
    let guess = |failure| questions(LEGACY, None, vec![status(404), status(404), failure]).1;
    let none = |code| Failure::NoEndpoint { status: Some(StatusCode::from_u16(code).unwrap()) };
    for failure in [Failure::NoEndpoint { status: None }, none(404), none(403), none(503), Failure::Malformed] {
        let what = format!("{failure:?}");
        assert!(
            matches!(guess(failure), Outcome::Rejected(None, said) if said.to_string() == status(404).to_string()),
            "{what}"
        );
    }
    for failure in [Failure::ForeignEndpoint, Failure::Refused, Failure::TimedOut { seconds: 1 }, status(503)] {
        let what = format!("{failure:?}");
        assert!(matches!(guess(failure), Outcome::OutOfReach(_)), "{what}");
    }
}

#[test]
fn every_beginning_is_a_new_one() {
    let (mut greeting, _) = begun(LEGACY, None);
    refuse(&mut greeting, status(410));
    refuse(&mut greeting, status(410));
    for expected in [Initialize, Discover, InitializeOverSse] {
        let question = if expected == Initialize {
            greeting.begin()
        } else {
            match refuse(&mut greeting, status(404)) {
                Outcome::Next(question) => question,
                outcome => panic!("{outcome:?}"),
            }
        };
        assert_eq!(question, expected);
        greeting.ask(question, &Numbers::default());
    }
}
