//! How the bridge ends: soon, with the session closed and every request answered, whatever ends it.

use std::{io::Write, process::Stdio, time::Duration};

use serde_json::json;

use crate::{
    bridge::serve::open_bridge,
    support::{
        eventually,
        sandbox::{Sandbox, wait},
        vendor::{Effect, On, Script, Vendor},
    },
};

const SOON: Duration = Duration::from_secs(2);

#[test]
fn the_end_of_stdin_ends_the_bridge_and_the_session() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    serve.initialize();
    serve.call("echo", json!({"message": "hi"})).result();
    serve.close_stdin();
    assert_eq!(serve.exit_within(SOON), Some(0), "{}", serve.stderr());
    assert_eq!(vendor.session_count(), 0, "the session was left open");
    assert_eq!(vendor.complaints(), Vec::<String>::new());
}

/// A client that writes its requests and closes stdin at once still wants the answers.
#[test]
fn requests_sent_just_before_the_end_of_stdin_are_answered() {
    let (_sandbox, _vendor, mut serve) = open_bridge(Script::default());
    serve.initialize();
    let calls: Vec<String> =
        (0..20).map(|_| serve.post("tools/call", json!({"name": "echo", "arguments": {"message": "hi"}}))).collect();
    serve.close_stdin();
    for call in calls {
        serve.answer_to(&call);
    }
    serve.exit_within(SOON);
}

#[test]
fn an_unused_bridge_ends_with_its_stdin() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    serve.close_stdin();
    assert_eq!(serve.exit_within(SOON), Some(0));
    assert!(vendor.records().is_empty());
}

/// The server's latest description is stored for the next time, however soon the client goes.
#[test]
fn the_servers_last_description_is_saved_at_exit() {
    for round in 0..5 {
        let script = Script { sessions: false, get_stream: false, ..Script::default() };
        let (sandbox, _vendor, mut serve) = open_bridge(script);
        serve.initialize();
        serve.request("tools/list", json!({})).result();
        serve.close_stdin();
        serve.exit_within(SOON);
        let kept = sandbox.files().into_iter().filter(|file| file.parent().is_some_and(|at| at.ends_with("servers")));
        let kept: Vec<String> = kept.map(|file| std::fs::read_to_string(file).unwrap()).collect();
        assert!(kept.len() == 1 && kept[0].contains("Says it back"), "round {round}: {kept:?}");
    }
}

/// t111: what is in flight gets an answer that does not claim to know what became of it.
#[test]
fn t111_calls_in_flight_at_the_end_are_answered() {
    let (_sandbox, _vendor, mut serve) = open_bridge(Script::default());
    serve.initialize();
    let calls: Vec<String> =
        (0..5).map(|_| serve.post("tools/call", json!({"name": "hang", "arguments": {}}))).collect();
    // Answered after the calls were taken: they are in flight by now.
    serve.request("ping", json!({})).result();
    serve.close_stdin();
    for call in calls {
        serve.answer_to(&call).error();
    }
    serve.exit_within(SOON);
}

/// t112: a server that does not answer the DELETE does not hold the bridge up.
#[test]
fn t112_a_server_that_ignores_the_end_of_the_session_is_not_waited_for() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    serve.initialize();
    serve.request("ping", json!({})).result();
    vendor.fault(On::Method("DELETE"), Effect::Delay(Duration::from_secs(60)));
    serve.close_stdin();
    serve.exit_within(SOON);
    assert!(vendor.records().iter().any(|record| record.method == "DELETE"));
}

/// t112: not for several sessions either.
#[test]
fn t112_several_ends_of_sessions_are_waited_for_together() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    for _ in 0..8 {
        vendor.fault(On::Method("DELETE"), Effect::Delay(Duration::from_secs(60)));
        serve.initialize();
    }
    serve.close_stdin();
    serve.exit_within(SOON);
}

/// t108: a client that asks for more than is sent at once is still heard, its end included.
#[test]
fn t108_the_end_of_stdin_is_noticed_behind_a_flood() {
    let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
    vendor.fault(On::Rpc("initialize"), Effect::Delay(Duration::from_secs(60)));
    serve.post("initialize", json!({}));
    let calls: Vec<String> = (0..3000).map(|_| serve.post("tools/list", json!({}))).collect();
    serve.close_stdin();
    for call in calls {
        serve.answer_to(&call).error();
    }
    serve.exit_within(SOON);
}

/// t107: a client that has stopped reading is still heard, its end included.
#[test]
fn t107_the_end_of_stdin_is_noticed_while_stdout_is_blocked() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script { sessions: false, ..Script::default() }));
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
    command.arg("serve").arg(vendor.url()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let call =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"progress","arguments":{"count":100000}}}"#;
    writeln!(stdin, "{call}").unwrap();
    let stdout = child.stdout.take().unwrap();
    // More of the answer has come with each, and after the first few nothing more goes out.
    for id in 2..50 {
        writeln!(stdin, r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#).unwrap();
        vendor.wait_for("the ping", |record| record.text().contains(&format!(r#""id":{id},"#)));
    }
    drop(stdin);
    assert!(wait(&mut child, SOON).is_some(), "it still runs");
    drop(stdout);
}

#[cfg(unix)]
mod signals {
    use std::process::{Command, Stdio};

    use rustix::process::Signal;

    use super::*;
    use crate::support::{sandbox::Sandbox, serve::Serve, vendor::Vendor};

    #[test]
    fn signals_end_the_bridge_and_the_session() {
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            let (_sandbox, vendor, mut serve) = open_bridge(Script::default());
            serve.initialize();
            serve.request("ping", json!({})).result();
            let call = serve.post("tools/call", json!({"name": "hang", "arguments": {}}));
            vendor.wait_for("the call", |record| record.rpc_method().as_deref() == Some("tools/call"));
            serve.signal(signal);
            serve.answer_to(&call).error();
            serve.exit_within(SOON);
            assert_eq!(vendor.session_count(), 0, "{signal:?}: the session was left open");
        }
    }

    /// t109: the client is gone without a word, and something else still holds the pipes.
    #[test]
    fn t109_the_death_of_the_parent_ends_the_bridge() {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
        let mut command = sandbox.command("sh");
        // A shell's background command would get an empty stdin: it is handed over by another number.
        command.args(["-c", r#"exec 3<&0; "$@" <&3 3<&- & exec 0</dev/null 3<&-; wait"#, "sh"]);
        command.args([env!("CARGO_BIN_EXE_finmcp"), "serve"]).arg(vendor.url());
        let mut shell = Serve::start(command, sandbox.transcript());
        shell.initialize();
        shell.request("ping", json!({})).result();
        shell.signal(Signal::KILL);
        // The bridge was the last to hold the other end of stdout.
        shell.wait_for_closed_stdout(Duration::from_secs(5));
        assert_eq!(vendor.session_count(), 0, "the session was left open");
    }

    /// t110: the client has closed its end of stdout.
    #[test]
    fn t110_a_closed_stdout_ends_the_bridge() {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script { sessions: false, ..Script::default() }));
        let mut command: Command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
        command.arg("serve").arg(vendor.url()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        drop(child.stdout.take());
        let _ = std::io::Write::write_all(
            &mut stdin,
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\"clientInfo\":{\"name\":\"x\",\"version\":\"1\"}}}\n",
        );
        assert!(crate::support::sandbox::wait(&mut child, Duration::from_secs(5)).is_some(), "it still runs");
        drop(stdin);
    }

    /// t117: a bridge that is killed answers no request: what was under way is outside of our promise. But none of it
    /// is left for the next one to make again.
    #[test]
    fn t117_calls_of_a_killed_bridge_are_not_repeated() {
        for script in [Script::default(), Script::default().modern()] {
            let era = script.era;
            let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
            let mut killed = sandbox.serve([vendor.url()]);
            killed.greet(era).result();
            let call = json!({"name": "hang", "arguments": {}});
            for _ in 0..3 {
                killed.post_in(era, "tools/call", call.clone());
            }
            eventually("the calls", || (vendor.executed().len() == 3).then_some(()));
            killed.signal(Signal::KILL);
            assert_eq!(killed.exit_within(SOON), None);
            let mut next = sandbox.serve([vendor.url()]);
            next.greet(era).result();
            next.request_in(era, "tools/list", json!({})).result();
            next.call_in(era, "echo", json!({"message": "hi"})).result();
            assert_eq!(vendor.executed(), ["hang", "hang", "hang", "echo"]);
            assert_eq!(vendor.calls("tools/call").len(), 4);
            assert!(next.rest(Duration::from_millis(100)).is_empty());
        }
    }
}

/// t099: nothing but messages is on stdout, even if other code writes to descriptor 1.
#[cfg(target_os = "linux")]
#[test]
fn t099_other_output_on_stdout_goes_to_stderr() {
    use std::fs::OpenOptions;

    let (_sandbox, _vendor, mut serve) = open_bridge(Script::default());
    serve.initialize().result();
    // As a library would, that knows no better.
    let mut stray = OpenOptions::new().write(true).open(serve.descriptor(1)).unwrap();
    for round in 0..10 {
        writeln!(stray, "STRAY {round}").unwrap();
        // Each line that comes is a message, or this panics.
        serve.echo("hi");
    }
    assert!(serve.rest(Duration::from_millis(100)).is_empty());
    eventually("what was written", || serve.stderr().contains("STRAY 9").then_some(()));
}
