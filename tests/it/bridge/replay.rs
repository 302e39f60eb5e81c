//! What real AI clients send when they open a server, replayed message for message.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    bridge::serve::open_bridge,
    support::vendor::{Answer, Script},
};

/// One line of a capture: when, in which process of the client's, and what.
#[derive(Deserialize)]
struct Line<'a> {
    pid: u64,
    #[serde(borrow)]
    message: &'a RawValue,
}

#[derive(Deserialize)]
struct Sent<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<String>,
}

fn captures() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures");
    let mut captures: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    captures.sort();
    captures
}

/// Every client's opening, against a server of the era that it was recorded with: each request is answered exactly
/// once, and stdout holds JSON-RPC only.
#[test]
fn every_captured_client_is_answered_exactly_once() {
    let captures = captures();
    assert!(captures.len() >= 9, "captures are missing: {}", captures.len());
    for (name, capture) in captures {
        let mut processes: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for line in capture.lines() {
            let line: Line<'_> = serde_json::from_str(line).unwrap();
            processes.entry(line.pid).or_default().push(line.message.get());
        }
        for messages in processes.values() {
            for answer in [Answer::Json, Answer::Events] {
                replay(&name, messages, answer);
            }
        }
    }
}

fn replay(name: &str, messages: &[&str], answer: Answer) {
    let sent: Vec<Sent<'_>> = messages.iter().map(|message| serde_json::from_str(message).unwrap()).collect();
    // A recording that goes on after a discovery without a handshake had found a modern server.
    let handshake = sent.iter().any(|sent| sent.method.as_deref() == Some("initialize"));
    let modern = !handshake && messages.len() > 1;
    let script = Script { answer, asks_for_roots: true, ..Script::default() };
    let (_sandbox, vendor, mut serve) = open_bridge(if modern { script.modern() } else { script });

    let mut answers = Vec::new();
    for (message, sent) in messages.iter().zip(&sent) {
        match (&sent.method, sent.id) {
            (None, Some(id)) => {
                let question = serve.incoming("roots/list");
                assert_eq!(question.id(), Some(id.get()), "{name}");
                serve.send(message);
            }
            (Some(method), Some(id)) => {
                serve.send(message);
                // A client waits for these two before it goes on, and for no other.
                if ["initialize", "server/discover"].contains(&method.as_str()) {
                    answers.push(serve.answer_to(id.get()).raw);
                }
            }
            _ => serve.send(message),
        }
    }
    for sent in &sent {
        let (Some(method), Some(id)) = (&sent.method, sent.id) else { continue };
        // A subscription is answered when it ends.
        if !["initialize", "server/discover", "subscriptions/listen"].contains(&method.as_str()) {
            let answer = serve.answer_to(id.get());
            if ["tools/list", "tools/call", "ping"].contains(&method.as_str()) {
                answer.result();
            }
            answers.push(answer.raw);
        }
    }
    assert_eq!(vendor.complaints(), Vec::<String>::new(), "{name}");
    serve.close_stdin();
    serve.exit_within(Duration::from_secs(2));
    for message in serve.rest(Duration::from_millis(200)) {
        let known = sent.iter().find(|sent| sent.id.is_some_and(|id| message.answers(id.get())));
        let allowed = known.is_none_or(|sent| sent.method.as_deref() == Some("subscriptions/listen"));
        assert!(allowed && (known.is_some() || message.method().is_some()), "{name}: answered twice: {}", message.raw);
    }
    assert_eq!(vendor.session_count(), 0, "{name}");
}
