//! What the tests of both translators use.

use super::*;

pub fn message(text: &str) -> Message {
    Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

/// The resulting steps, one line each.
pub fn told(say: impl FnOnce(&mut Vec<Step>)) -> Vec<String> {
    let mut steps = Vec::new();
    say(&mut steps);
    let line = |step| match step {
        Step::ToServer(message) => format!("to server {}", String::from_utf8_lossy(message.raw())),
        Step::ToClient(message) => format!("to client {}", String::from_utf8_lossy(message.raw())),
        Step::Refuse(refusal) => format!("refused {}: {}", refusal.message.id().unwrap(), refusal.failure),
        Step::Wake(_, after) => format!("wake after {} ms", after.as_millis()),
        step => panic!("{step:?}"),
    };
    steps.into_iter().map(line).collect()
}
