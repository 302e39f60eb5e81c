use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::credential::clock::SystemClock;

fn message(text: &str) -> Message {
    Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn call(id: u8) -> Message {
    message(&format!(r#"{{"id":{id},"method":"tools/call","params":{{"name":"t"}}}}"#))
}

fn answer(id: u8) -> Message {
    message(&format!(r#"{{"id":{id},"result":{{}}}}"#))
}

/// A log whose file takes one line per message in the sender, and its complaints.
fn log() -> (Audit, Sender<Result<(), AuditError>>, Receiver<AuditError>) {
    log_into(channel().0)
}

/// The same, with the lines that are written.
fn log_into(written: Sender<String>) -> (Audit, Sender<Result<(), AuditError>>, Receiver<AuditError>) {
    let (report_failure, complaints) = channel();
    let options = AuditOptions {
        path: "log".into(),
        profile: "p".to_owned(),
        environment: String::new(),
        arguments: false,
        seal: None,
        clock: Arc::new(SystemClock),
        report_failure: Box::new(move |error| report_failure.send(error).unwrap()),
    };
    let (let_write, may_write) = channel::<Result<(), AuditError>>();
    let write = move |order: &Order| {
        let Order::Write(line) = order else { return Ok(()) };
        may_write.recv().unwrap_or(Ok(()))?;
        let line: serde_json::Value = serde_json::from_str(&line.object).unwrap();
        let _ = written.send(format!("{} {}", line["tool"].as_str().unwrap(), line["outcome"].as_str().unwrap()));
        Ok(())
    };
    (Audit::with(options, write).unwrap(), let_write, complaints)
}

/// The client asks about the task "a" with request `id` and gets this status. Returns whether the response goes out at
/// once.
fn ask(audit: &mut Audit, id: u8, method: &str, status: &str) -> bool {
    let asked = message(&format!(r#"{{"id":{id},"method":"{method}","params":{{"taskId":"a"}}}}"#));
    assert!(audit.received(&asked).is_continue(), "no request about a task waits");
    let answer = message(&format!(r#"{{"id":{id},"result":{{"taskId":"a","status":"{status}"}}}}"#));
    audit.answered(answer).is_some()
}

/// The response that turns a call into the task "a".
fn task(id: u8) -> Message {
    message(&format!(r#"{{"id":{id},"result":{{"task":{{"taskId":"a","status":"working"}}}}}}"#))
}

fn told(released: Vec<Released>) -> Vec<String> {
    let line = |message: &Message| String::from_utf8(message.raw().to_vec()).unwrap();
    let told = |released| match released {
        Released::Call(call) => format!("call {}", call.id().unwrap()),
        Released::Answer(answer) if line(&answer).contains("cannot write the audit log") => {
            format!("refusal {}", answer.id().unwrap())
        }
        Released::Answer(answer) => format!("answer {}", answer.id().unwrap()),
    };
    released.into_iter().map(told).collect()
}

const NOTHING: [&str; 0] = [];

/// a15: while a line is being written, its response and the next calls wait in order; nothing else waits.
#[tokio::test]
async fn a15_an_answer_and_the_next_call_wait_for_the_line() {
    let (mut audit, let_write, complaints) = log();
    assert!(audit.received(&call(1)).is_continue());
    assert!(audit.answered(answer(1)).is_none());
    assert_eq!(audit.received(&call(2)).break_value().map(|answer| answer.is_none()), Some(true));
    for text in [r#"{"id":3,"method":"ping"}"#, r#"{"id":4,"method":"tools/list"}"#, r#"{"method":"notifications/x"}"#]
    {
        assert!(audit.received(&message(text)).is_continue(), "{text}");
    }
    assert!(audit.answered(answer(3)).is_some());
    assert_eq!(told(audit.released()), NOTHING);
    let_write.send(Ok(())).unwrap();
    audit.changed().await;
    assert_eq!(told(audit.released()), ["answer 1", "call 2"]);
    assert!(!audit.is_waited_for());
    assert!(audit.received(&call(5)).is_continue(), "no line is being written");
    assert!(complaints.try_recv().is_err());
}

/// a15: a file that takes too long counts as failing: responses go on, calls are refused, and one complaint is made;
/// once the line is written, calls pass again.
#[tokio::test(start_paused = true)]
async fn a15_a_file_that_stalls_counts_as_failing() {
    let (mut audit, let_write, complaints) = log();
    assert!(audit.received(&call(1)).is_continue());
    assert!(audit.answered(answer(1)).is_none());
    assert!(audit.received(&call(2)).is_break());
    let begun = Instant::now();
    audit.changed().await;
    assert_eq!(begun.elapsed(), WRITE_LIMIT);
    assert_eq!(told(audit.released()), ["answer 1", "refusal 2"]);
    assert!(matches!(audit.received(&call(3)), ControlFlow::Break(Some(_))), "at once");
    assert!(complaints.try_recv().unwrap().to_string().contains("has not accepted a line"));
    assert!(complaints.try_recv().is_err());
    let_write.send(Ok(())).unwrap();
    audit.changed().await;
    assert!(audit.received(&call(4)).is_continue());
}

/// a15: a line that could not be written is retried for the next call, which waits for the result.
#[tokio::test]
async fn a15_a_call_waits_for_the_retry() {
    let (mut audit, let_write, _complaints) = log();
    assert!(audit.received(&call(1)).is_continue());
    assert!(audit.answered(answer(1)).is_none());
    let_write.send(Err(AuditError("full".to_owned()))).unwrap();
    audit.changed().await;
    assert_eq!(told(audit.released()), ["answer 1"]);
    for (outcome, told_then) in [(Err(AuditError("full".to_owned())), "refusal 2"), (Ok(()), "call 2")] {
        assert_eq!(audit.received(&call(2)).break_value().map(|answer| answer.is_none()), Some(true));
        let_write.send(outcome).unwrap();
        audit.changed().await;
        assert_eq!(told(audit.released()), [told_then]);
    }
}

/// b15: a response that causes a line for a task waits for that line; one that causes no line waits for none, even
/// while another line is being written.
#[tokio::test]
async fn b15_a_response_about_a_task_waits_only_for_its_own_line() {
    let (written, lines) = channel();
    let (mut audit, let_write, _complaints) = log_into(written);
    assert!(audit.received(&call(1)).is_continue());
    assert!(audit.answered(task(1)).is_none());
    assert!(ask(&mut audit, 2, "tasks/get", "working"));
    assert!(!ask(&mut audit, 3, "tasks/get", "completed"));
    assert!(ask(&mut audit, 4, "tasks/get", "completed"), "it has its line already");
    let notification = r#"{"method":"notifications/tasks/status","params":{"taskId":"a","status":"completed"}}"#;
    assert!(audit.answered(message(notification)).is_some());
    for released in ["answer 1", "answer 3"] {
        assert_eq!(told(audit.released()), NOTHING);
        let_write.send(Ok(())).unwrap();
        audit.changed().await;
        assert_eq!(told(audit.released()), [released]);
    }
    assert_eq!(lines.try_iter().collect::<Vec<_>>(), ["t task", "t ok"]);
    assert!(!audit.is_waited_for());
}

/// b15: a log that hangs holds up responses about tasks only for a limited time; once it goes on, the lines are
/// written in the order of the events.
#[tokio::test(start_paused = true)]
async fn b15_a_log_that_hangs_holds_up_no_task() {
    let (written, lines) = channel();
    let (mut audit, let_write, complaints) = log_into(written);
    assert!(audit.received(&call(1)).is_continue());
    assert!(audit.received(&call(2)).is_continue());
    assert!(audit.answered(task(1)).is_none());
    assert!(!ask(&mut audit, 3, "tasks/cancel", "cancelled"));
    let begun = Instant::now();
    audit.changed().await;
    assert_eq!(begun.elapsed(), WRITE_LIMIT);
    assert_eq!(told(audit.released()), ["answer 1", "answer 3"]);
    assert!(ask(&mut audit, 4, "tasks/get", "completed"), "returned at once, and recorded later");
    assert!(audit.answered(answer(2)).is_some());
    assert!(matches!(audit.received(&call(5)), ControlFlow::Break(Some(_))));
    assert_eq!(complaints.try_iter().count(), 1);
    (0..4).for_each(|_| let_write.send(Ok(())).unwrap());
    while audit.is_waited_for() {
        audit.changed().await;
    }
    assert_eq!(lines.try_iter().collect::<Vec<_>>(), ["t task", "t cancelled", "t ok", "t ok"]);
    assert!(audit.received(&call(6)).is_continue());
}

/// a15: a call cancelled while it waits is not made, but still has a line.
#[tokio::test]
async fn a15_a_cancelled_call_that_waits_is_not_made() {
    let (mut audit, let_write, _complaints) = log();
    assert!(audit.received(&call(1)).is_continue());
    assert!(audit.answered(answer(1)).is_none());
    assert!(audit.received(&call(2)).is_break());
    let cancelled = message(r#"{"method":"notifications/cancelled","params":{"requestId":2}}"#);
    assert!(audit.received(&cancelled).is_break());
    for _ in 0..2 {
        let_write.send(Ok(())).unwrap();
        audit.changed().await;
    }
    assert_eq!(told(audit.released()), ["answer 1"]);
    assert_eq!(audit.given, 2, "a line for each");
}
