use super::*;
use crate::conversation::failure::Processed;

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

/// A negotiation whose first probe is in flight, and that probe.
fn begun(opening: &str, server: Option<&Description>) -> (Probing, Probe) {
    let mut probing = Probing::new(message(opening), server);
    let probe = probing.first_probe();
    probing.send(probe, &RequestIds::default());
    (probing, probe)
}

fn status(code: u16) -> Failure {
    Failure::Status { status: StatusCode::from_u16(code).unwrap(), retry_after: None, reason: None }
}

fn refuse(probing: &mut Probing, failure: Failure) -> ProbeResult {
    let result =
        probing.refused(Refusal { message: message(LEGACY), failure: Arc::new(failure), processed: Processed::No });
    if let ProbeResult::Next(probe) = result {
        probing.send(probe, &RequestIds::default());
    }
    result
}

/// The probes sent to a server that fails them like this one by one, and the result of the last.
fn probes(opening: &str, server: Option<&Description>, failures: Vec<Failure>) -> (Vec<Probe>, ProbeResult) {
    let (mut probing, first) = begun(opening, server);
    let mut asked = vec![first];
    for failure in failures {
        match refuse(&mut probing, failure) {
            ProbeResult::Next(probe) => asked.push(probe),
            result => return (asked, result),
        }
    }
    panic!("more than {asked:?} was sent");
}

use Probe::{Discover, Initialize, InitializeOverSse};

#[test]
fn http_sse_is_probed_last_and_only_if_the_url_accepts_no_messages() {
    for (opening, first, second) in [(LEGACY, Initialize, Discover), (MODERN, Discover, Initialize)] {
        for codes in [[404, 404], [405, 400], [400, 405]] {
            let (asked, result) = probes(opening, None, vec![status(codes[0]), status(codes[1]), status(404)]);
            assert_eq!(asked, [first, second, InitializeOverSse]);
            assert!(
                matches!(result, ProbeResult::Rejected(None, failure) if failure.to_string() == status(codes[0]).to_string())
            );
        }
        for (one, other) in [(404, 410), (410, 404), (501, 404), (404, 307)] {
            assert_eq!(probes(opening, None, vec![status(one), status(other)]).0, [first, second]);
        }
        for other in [Failure::Malformed, Failure::NotMcp { content_type: String::new() }] {
            assert_eq!(probes(opening, None, vec![status(404), other]).0, [first, second]);
        }
    }
}

/// t136: a response, even an error, shows that the server accepts messages, and the client gets the server's own
/// error.
#[test]
fn t136_a_server_that_responds_accepts_messages() {
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"no"}}"#;
    let (mut probing, _) = begun(LEGACY, None);
    assert!(matches!(probing.answered(message(error)), ProbeResult::Next(Discover)));
    probing.send(Discover, &RequestIds::default());
    assert!(matches!(refuse(&mut probing, status(404)), ProbeResult::Rejected(Some(_), _)));
    let (mut probing, _) = begun(LEGACY, None);
    assert!(matches!(refuse(&mut probing, status(404)), ProbeResult::Next(Discover)));
    assert!(matches!(probing.answered(message(error)), ProbeResult::Rejected(None, _)));
}

/// A JSON-RPC error that responds to no request is no response; the client gets it if HTTP+SSE fails too.
#[test]
fn an_error_from_a_url_that_accepts_no_messages_is_no_response() {
    let said = |code, text| Failure::UnrelatedError {
        status: StatusCode::from_u16(code).unwrap(),
        error: Box::new(message(text)),
    };
    let first = r#"{"id":null,"error":{"code":-32601,"message":"first"}}"#;
    let second = r#"{"id":"server-error","error":{"code":-32600,"message":"second"}}"#;
    for opening in [LEGACY, MODERN] {
        let (asked, result) = probes(opening, None, vec![said(405, first), said(404, second), status(404)]);
        assert_eq!((asked.len(), asked[2]), (3, InitializeOverSse));
        let ProbeResult::Rejected(Some(answer), failure) = result else { panic!("{result:?}") };
        assert_eq!(answer.id(), message(opening).id());
        assert!(String::from_utf8_lossy(answer.raw()).contains("first"));
        assert_eq!(failure.to_string(), "the server responded with HTTP 405");
        assert_eq!(probes(opening, None, vec![status(404), said(400, second), status(404)]).0.len(), 3);
    }
}

#[test]
fn a_remembered_http_sse_server_is_probed_so_first_and_once() {
    for opening in [LEGACY, MODERN] {
        let (asked, result) = probes(opening, Some(&over_sse()), vec![status(404), status(404), status(404)]);
        assert_eq!(asked, [InitializeOverSse, Initialize, Discover]);
        assert!(matches!(result, ProbeResult::Rejected(..)));
        let (mut probing, probe) = begun(opening, Some(&over_sse()));
        assert_eq!((probe.transport(), probe.method()), (Transport::HttpSse, "initialize"));
        let ProbeResult::Known(known, answer) = probing.answered(initialized("2024-11-05")) else { panic!() };
        assert_eq!((known.era, known.transport), (Era::Legacy, Transport::HttpSse));
        assert_eq!(answer.is_some(), opening == LEGACY, "the client gets the response to its own request");
    }
}

#[test]
fn a_server_that_changes_transport_is_remembered_with_the_new_one() {
    let (mut probing, _) = begun(LEGACY, Some(&over_sse()));
    assert!(matches!(refuse(&mut probing, Failure::NoEndpoint { status: None }), ProbeResult::Next(Initialize)));
    let ProbeResult::Known(known, Some(_)) = probing.answered(initialized("2025-11-25")) else { panic!() };
    assert_eq!(known.transport, Transport::StreamableHttp);
}

/// A missing HTTP+SSE stream says less than the server's first refusal. Other failures may be temporary.
#[test]
fn a_failed_probe_for_http_sse_changes_nothing() {
    let guess = |failure| probes(LEGACY, None, vec![status(404), status(404), failure]).1;
    let none = |code| Failure::NoEndpoint { status: Some(StatusCode::from_u16(code).unwrap()) };
    for failure in [Failure::NoEndpoint { status: None }, none(404), none(403), none(503), Failure::Malformed] {
        let what = format!("{failure:?}");
        assert!(
            matches!(guess(failure), ProbeResult::Rejected(None, said) if said.to_string() == status(404).to_string()),
            "{what}"
        );
    }
    for failure in [Failure::ForeignEndpoint, Failure::Refused, Failure::TimedOut { seconds: 1 }, status(503)] {
        let what = format!("{failure:?}");
        assert!(matches!(guess(failure), ProbeResult::OutOfReach(_)), "{what}");
    }
}

#[test]
fn every_negotiation_starts_from_scratch() {
    let (mut probing, _) = begun(LEGACY, None);
    refuse(&mut probing, status(410));
    refuse(&mut probing, status(410));
    for expected in [Initialize, Discover, InitializeOverSse] {
        let probe = if expected == Initialize {
            probing.first_probe()
        } else {
            match refuse(&mut probing, status(404)) {
                ProbeResult::Next(probe) => probe,
                result => panic!("{result:?}"),
            }
        };
        assert_eq!(probe, expected);
        probing.send(probe, &RequestIds::default());
    }
}
