//! Every request is answered exactly once, in any order of events.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// An event that proptest picks: everything an exchange can do, in any order, and the client meanwhile.
#[derive(Debug, Clone)]
enum Step {
    Request(u8),
    Notify,
    Initialized,
    CancelRequest(u8),
    Accept(usize),
    Answer(usize),
    Complete(usize),
    Lose(usize),
    Fail(usize),
    Expire,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u8..20).prop_map(Step::Request),
        1 => Just(Step::Notify),
        1 => Just(Step::Initialized),
        1 => (1u8..20).prop_map(Step::CancelRequest),
        4 => (0usize..8).prop_map(Step::Accept),
        4 => (0usize..8).prop_map(Step::Answer),
        2 => (0usize..8).prop_map(Step::Complete),
        2 => (0usize..8).prop_map(Step::Lose),
        1 => (0usize..8).prop_map(Step::Fail),
        1 => Just(Step::Expire),
    ];
    prop::collection::vec(step, 0..80)
}

/// How all exchanges end that are still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Without a response.
    Cut,
    /// With a lost session, again and again.
    Lost,
    /// Without any new session.
    Refused,
}

fn last() -> impl Strategy<Value = Last> {
    prop_oneof![Just(Last::Cut), Just(Last::Lost), Just(Last::Refused)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever happens in whatever order, every request gets exactly one response in the end; a cancelled one gets at
    /// most one.
    #[test]
    fn every_request_gets_exactly_one_response(handshake in any::<bool>(), steps in steps(), ending in last()) {
        let mut rig = if handshake { Rig::ready() } else { Rig::new() };
        if !handshake {
            rig.client(INITIALIZE);
        }
        let mut asked: BTreeMap<u8, usize> = BTreeMap::new();
        let mut cancelled = std::collections::BTreeSet::new();
        let mut over = std::collections::BTreeSet::new();
        for step in steps {
            let open: Vec<(Exchange, String)> = rig
                .posts
                .iter()
                .map(|(exchange, message, _)| (*exchange, message.clone()))
                .filter(|(exchange, _)| !over.contains(exchange))
                .collect();
            let pick = |index: usize| open.get(index % open.len().max(1)).cloned();
            match step {
                Step::Request(id) => {
                    *asked.entry(id).or_default() += 1;
                    rig.client(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{}}}}"#));
                }
                Step::Notify => rig.client(r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#),
                Step::Initialized => rig.client(INITIALIZED),
                Step::CancelRequest(id) => {
                    cancelled.insert(id);
                    rig.client(&CANCELLED.replace('7', &id.to_string()));
                }
                Step::Accept(index) => if let Some((exchange, _)) = pick(index) {
                    rig.handle(Event::Accepted(exchange, Some(HeaderValue::from_static("s"))));
                },
                Step::Answer(index) => if let Some((exchange, message)) = pick(index)
                    && let Kind::Request { id, .. } = parse(&message).kind
                {
                    rig.server(exchange, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":"x"}}}}"#));
                },
                Step::Complete(index) => if let Some((exchange, _)) = pick(index) {
                    over.insert(exchange);
                    rig.handle(Event::Finished(exchange, Ending::Complete));
                },
                // The message that opens a session carries no session id.
                Step::Lose(index) => if let Some((exchange, message)) = pick(index)
                    && !message.contains("\"initialize\"")
                {
                    over.insert(exchange);
                    rig.handle(Event::Finished(exchange, lost_session()));
                },
                Step::Fail(index) => if let Some((exchange, _)) = pick(index) {
                    over.insert(exchange);
                    rig.handle(Event::Finished(exchange, Ending::Failed(Failure::Malformed)));
                },
                Step::Expire => if let Some(listen) = rig.listens.last().copied() {
                    rig.handle(Event::HoldExpired(listen));
                },
            }
        }
        // No request waits longer than the exchanges in flight, however these end.
        for round in 0.. {
            let open: Vec<(Exchange, String)> =
                rig.posts.iter().filter(|post| over.insert(post.0)).map(|post| (post.0, post.1.clone())).collect();
            if open.is_empty() && rig.listens.is_empty() {
                break;
            }
            prop_assert!(round < 10 + 2 * asked.len(), "it does not end");
            for (exchange, message) in open {
                let ending = match (&ending, message.contains("\"initialize\"")) {
                    (Last::Lost, false) => lost_session(),
                    (Last::Lost | Last::Refused, true) => {
                        let member = if ending == Last::Lost { "result" } else { "error" };
                        rig.server(exchange, &format!(r#"{{"jsonrpc":"2.0","id":0,"{member}":{{}}}}"#));
                        Ending::Complete
                    }
                    _ => Ending::Complete,
                };
                rig.handle(Event::Finished(exchange, ending));
            }
            for listen in std::mem::take(&mut rig.listens) {
                rig.handle(Event::HoldExpired(listen));
            }
        }
        prop_assert!(rig.session.channel.in_flight.is_settled(), "{:?}", rig.session);
        rig.handle(Event::Stopping);
        prop_assert!(rig.stopped);

        let mut answered: BTreeMap<u8, usize> = BTreeMap::new();
        for reply in &rig.replies {
            let Kind::Response { id: Some(id), .. } = parse(reply).kind else { continue };
            *answered.entry(id.to_string().parse().unwrap()).or_default() += 1;
        }
        for (id, asked) in asked {
            let answered = answered.get(&id).copied().unwrap_or(0);
            if cancelled.contains(&id) {
                prop_assert!(answered <= asked);
            } else {
                prop_assert_eq!(answered, asked, "request {}: {:?}", id, rig.replies);
            }
        }
    }
}
