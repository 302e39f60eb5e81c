//! `finmcp serve --audit-log`: one line for each call, whatever comes of it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    bridge::policy::three_tools,
    commands::login::{CLIENT_SECRET, machine_login},
    support::{
        eventually,
        sandbox::Sandbox,
        serve::{Serve, modern},
        vendor::{Effect, Era, On, Script, Vendor},
    },
};

pub fn log_in(sandbox: &Sandbox) -> PathBuf {
    sandbox.watched().join("audit.jsonl")
}

/// A bridge to `vendor` that keeps the log in [`log_in`], and has whatever else `flags` say.
pub fn bridge(sandbox: &Sandbox, vendor: &Vendor, flags: &[&str]) -> Serve {
    let (url, log) = (vendor.url(), log_in(sandbox).to_str().unwrap().to_owned());
    sandbox.serve([&[url.as_str(), "--profile", "books", "--audit-log", &log], flags].concat())
}

/// Every line of the log: each is whole.
pub fn lines(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    let parsed = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parsed).collect()
}

/// Tool and outcome of every line.
pub fn outcomes(log: &Path) -> Vec<(String, String)> {
    let word = |line: &Value, name: &str| line[name].as_str().unwrap_or("-").to_owned();
    lines(log).iter().map(|line| (word(line, "tool"), word(line, "outcome"))).collect()
}

pub fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(tool, outcome)| ((*tool).to_owned(), (*outcome).to_owned())).collect()
}

fn digest(text: &str) -> Value {
    let bytes = Sha256::digest(text);
    json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

#[test]
fn every_call_has_one_line_with_its_outcome() {
    for (client, server) in Era::COMBINATIONS {
        let what = format!("{client:?} to {server:?}");
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(three_tools(server)));
        let log = log_in(&sandbox);
        let mut serve = bridge(&sandbox, &vendor, &["--deny-tool", "delete_*"]);
        serve.greet(client).result();
        serve.request_in(client, "tools/list", json!({})).result();
        assert_eq!(lines(&log), Vec::<Value>::new(), "{what}: only calls are recorded");

        serve.call_in(client, "echo", json!({"message": "hi"})).result();
        assert_eq!(outcomes(&log), pairs(&[("echo", "ok")]), "{what}: there when the client has its answer");
        let failed = r#"{"jsonrpc":"2.0","id":@ID@,"result":{"isError":true,"content":[]}}"#;
        vendor.prepare("failed", failed);
        assert_eq!(serve.call_in(client, "raw", json!({"name": "failed"})).result()["isError"], true);
        serve.call_in(client, "no such tool", json!({})).error();
        serve.call_in(client, "delete_invoice", json!({})).error();
        vendor.fault(On::Rpc("tools/call"), Effect::CutAfter);
        assert_eq!(serve.call_in(client, "echo", json!({"message": "hi"})).error()["code"], -31010, "{what}");
        let hanging = serve.post_in(client, "tools/call", json!({"name": "hang", "arguments": {}}));
        eventually("the call", || vendor.executed().contains(&"hang".to_owned()).then_some(()));
        let params = json!({"requestId": hanging.parse::<u64>().unwrap()});
        serve.send(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}).to_string());
        // What is open at the end is answered, and recorded.
        eventually("the cancellation", || (outcomes(&log).len() == 6).then_some(()));
        serve.post_in(client, "tools/call", json!({"name": "hang", "arguments": {}}));
        eventually("the call", || (vendor.executed().iter().filter(|tool| *tool == "hang").count() == 2).then_some(()));
        serve.close_stdin();
        serve.exit_within(Duration::from_secs(3));
        let expected = [
            ("echo", "ok"),
            ("raw", "tool_error"),
            ("no such tool", "error:-32602"),
            ("delete_invoice", "refused"),
            ("echo", "unknown"),
            ("hang", "cancelled"),
            ("hang", "unknown"),
        ];
        assert_eq!(outcomes(&log), pairs(&expected), "{what}");
        assert!(!vendor.executed().contains(&"delete_invoice".to_owned()), "{what}");
    }
}

/// The members of a line, in their order; what the arguments are is not among them, and their digest is the same wherever
/// they are written the same.
#[test]
fn a_line_has_the_tool_and_the_time_but_no_arguments() {
    let arguments = r#"{ "message":"PRIVATE-0123456789","amount":1.10}"#;
    for (client, server) in Era::COMBINATIONS {
        let vendor = Vendor::start(Script { era: server, ..Script::machine("x", CLIENT_SECRET) });
        let sandbox = Sandbox::new();
        sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success();
        let log = log_in(&sandbox);
        let mut serve = sandbox.serve(["asset", "--env", "sandbox", "--audit-log", log.to_str().unwrap()]);
        let before = jiff::Timestamp::now();
        serve.greet(client).result();
        let meta = if client == Era::Modern { modern(json!({}))["_meta"].to_string() } else { "{}".to_owned() };
        vendor.fault(On::Rpc("tools/call"), Effect::Delay(Duration::from_millis(120)));
        serve.send(format!(
            r#"{{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{{"_meta":{meta},"arguments":{arguments},"name":"e\u0063ho"}}}}"#
        ));
        serve.answer_to(r#""a""#).result();
        serve.request_in(client, "tools/call", json!({"name": "echo"}));

        let text = fs::read_to_string(&log).unwrap();
        assert!(!text.contains("PRIVATE") && !text.contains("1.10") && !text.contains("amount"), "{text}");
        let members: Vec<_> =
            text.lines().next().unwrap().split("\":").map(|part| part.rsplit('"').next().unwrap()).collect();
        let expected = ["time", "profile", "environment", "tool", "arguments_sha256", "outcome", "duration_ms"];
        assert_eq!(members[..7], expected);
        assert_eq!(members[7..12], ["call", "audit_log", "chain", "seq", "prev"]);
        let lines = lines(&log);
        let line = &lines[0];
        assert_eq!((&line["profile"], &line["environment"]), (&json!("asset-sandbox"), &json!("sandbox")));
        assert_eq!((&line["tool"], &line["outcome"]), (&json!("echo"), &json!("ok")));
        assert_eq!(line["arguments_sha256"], digest(arguments));
        let time = line["time"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.len() == "2026-01-02T03:04:05.678Z".len(), "{time}");
        let time: jiff::Timestamp = time.parse().unwrap();
        assert!(time + Duration::from_millis(1) > before && time < jiff::Timestamp::now(), "{before} {time}");
        assert!((120..20_000).contains(&line["duration_ms"].as_u64().unwrap()), "{line}");
        assert_eq!(lines[1]["arguments_sha256"], Value::Null, "there were none");
    }
}

#[test]
fn the_arguments_are_written_where_that_is_asked_for() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let mut serve = bridge(&sandbox, &vendor, &["--audit-arguments"]);
    serve.greet(Era::Legacy).result();
    let arguments = "{\"message\":\"hi\",\r\"n\":1.10, \"n\":12345678901234567890123,\"x\":\"\\ud800\"}";
    serve.send(format!(
        r#"{{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{{"name":"echo","arguments":{arguments}}}}}"#
    ));
    serve.answer_to(r#""a""#).result();
    let text = fs::read_to_string(log_in(&sandbox)).unwrap();
    assert!(text.contains(&format!(r#""arguments":{},"outcome""#, arguments.replace('\r', " "))), "{text}");
    assert!(text.contains(digest(arguments).as_str().unwrap()), "{text}");
    assert!(text.contains(r#""environment":null"#), "{text}");
    // They mean nothing without a log.
    sandbox.finmcp(["serve", &vendor.url(), "--audit-arguments"]).expect_code(2).expect_stderr(&["--audit-log"]);
}

/// What finmcp answers while signed out is not a tool's error.
#[test]
fn a_call_while_signed_out_is_not_the_tools_failure() {
    for client in [Era::Legacy, Era::Modern] {
        for (mode, outcome) in [("tool", "refused"), ("off", "error:-31004")] {
            let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
            let mut serve = bridge(&sandbox, &vendor, &["--sign-in", mode]);
            serve.greet(client).result();
            serve.call_in(client, "echo", json!({"message": "hi"}));
            let mut expected = vec![("echo", outcome)];
            if mode == "tool" {
                serve.call_in(client, "finmcp_sign_in", json!({})).result();
                expected.push(("finmcp_sign_in", "ok"));
            }
            assert_eq!(outcomes(&log_in(&sandbox)), pairs(&expected), "{client:?} {mode}");
        }
    }
}

/// A call that waits for the client's answer to a question has no outcome yet: the one that comes back has.
#[test]
fn a_call_with_input_requests_is_recorded_at_its_end() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let mut serve = bridge(&sandbox, &vendor, &[]);
    serve.greet(Era::Modern).result();
    let mut params = modern(json!({"name": "roots", "arguments": {}}));
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({"roots": {}});
    let asked = serve.request("tools/call", params.clone()).result();
    params["requestState"] = asked["requestState"].clone();
    for key in asked["inputRequests"].as_object().unwrap().keys() {
        params["inputResponses"][key] = json!({"roots": []});
    }
    serve.request("tools/call", params).result();
    assert_eq!(outcomes(&log_in(&sandbox)), pairs(&[("roots", "input_required"), ("roots", "ok")]));
}

/// A call that became a task is not done: its end gets another line, at the first message that reports it.
#[test]
fn b15_a_task_is_recorded_when_it_begins_and_when_its_end_is_seen() {
    let answer = |result: &str| format!(r#"{{"jsonrpc":"2.0","id":@ID@,"result":{result}}}"#);
    let status = |status: &str| format!(r#""taskId":"t-1","status":"{status}""#);
    let done = |is_error: bool| format!(r#""result":{{"content":[],"isError":{is_error}}}"#);
    let modern_task = format!(r#"{{"resultType":"task",{}}}"#, status("working"));
    let legacy_task = format!(r#"{{"task":{{{}}}}}"#, status("working"));
    let asked = |more: &str| answer(&format!(r#"{{"resultType":"complete",{more}}}"#));
    let failure = r#"{"jsonrpc":"2.0","id":@ID@,"error":{"code":-32603,"message":"no"}}"#.to_owned();
    for (era, method, said, end) in [
        (Era::Modern, "tasks/get", asked(&format!("{},{}", status("completed"), done(false))), Some("ok")),
        (Era::Modern, "tasks/get", asked(&format!("{},{}", status("completed"), done(true))), Some("tool_error")),
        (
            Era::Modern,
            "tasks/get",
            asked(&format!(r#"{},"error":{{"code":-32001,"message":""}}"#, status("failed"))),
            Some("error:-32001"),
        ),
        (Era::Modern, "tasks/get", asked(&status("working")), None),
        (Era::Modern, "tasks/get", failure.clone(), None),
        (Era::Modern, "tasks/update", answer(r#"{"resultType":"complete"}"#), None),
        (Era::Modern, "tasks/cancel", answer(r#"{"resultType":"complete"}"#), Some("cancelled")),
        (Era::Legacy, "tasks/get", answer(&format!("{{{}}}", status("completed"))), Some("ok")),
        (Era::Legacy, "tasks/get", answer(&format!("{{{}}}", status("failed"))), Some("failed")),
        (Era::Legacy, "tasks/get", answer(&format!("{{{}}}", status("input_required"))), None),
        (Era::Legacy, "tasks/result", answer(r#"{"content":[]}"#), Some("ok")),
        (Era::Legacy, "tasks/result", answer(r#"{"content":[],"isError":true}"#), Some("tool_error")),
        (Era::Legacy, "tasks/result", failure, Some("error:-32603")),
        (Era::Legacy, "tasks/cancel", answer(&format!("{{{}}}", status("cancelled"))), Some("cancelled")),
        (Era::Legacy, "tasks/list", answer(&format!(r#"{{"tasks":[{{{}}}]}}"#, status("failed"))), Some("failed")),
    ] {
        let what = format!("{era:?} {method} {said}");
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script { era, ..Script::default() }));
        let log = log_in(&sandbox);
        let mut serve = bridge(&sandbox, &vendor, &[]);
        serve.greet(era).result();
        vendor.prepare("long", answer(if era == Era::Modern { &modern_task } else { &legacy_task }));
        vendor.prepare(method, said);
        let mut call = json!({"name": "raw", "arguments": {"name": "long"}});
        if era == Era::Legacy {
            call["task"] = json!({"ttl": 60000});
        }
        serve.request_in(era, "tools/call", call).result();
        assert_eq!(outcomes(&log), pairs(&[("raw", "task")]), "{what}");
        // A client that asks again is told the same, and nothing is written twice.
        for _ in 0..2 {
            serve.request_in(era, method, json!({"taskId": "t-1"}));
        }
        let lines = lines(&log);
        let ends: Vec<_> = lines[1..].iter().map(|line| line["outcome"].as_str().unwrap()).collect();
        assert_eq!(ends, end.into_iter().collect::<Vec<_>>(), "{what}");
        for line in &lines {
            assert_eq!(line["task_sha256"], digest("t-1"), "{what}");
            assert_eq!(line["arguments_sha256"], digest(r#"{"name":"long"}"#), "{what}");
            assert_eq!(line["tool"], "raw", "{what}");
            assert!(line["duration_ms"].is_u64(), "{what}");
        }
        assert!(!fs::read_to_string(&log).unwrap().contains("t-1"), "the id may be all that a reader needs");
        // The call was made once, and what is asked about a task says which in a header (the vendor complains else).
        assert_eq!(vendor.executed(), ["raw"], "{what}");
        assert_eq!(vendor.complaints(), Vec::<String>::new(), "{what}");
        let header = (era == Era::Modern).then_some("t-1");
        assert!(vendor.calls(method).iter().all(|call| call.header("mcp-name") == header), "{what}");
    }
}

/// The server's own word counts for the tasks that the client has.
#[test]
fn b15_a_notification_of_a_tasks_end_is_recorded_and_passes() {
    for (era, method, task) in [
        (Era::Legacy, "notifications/tasks/status", r#"{"task":{"taskId":"t-1","status":"working"}}"#),
        (Era::Modern, "notifications/tasks", r#"{"resultType":"task","taskId":"t-1","status":"working"}"#),
    ] {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script { era, ..Script::default() }));
        let mut serve = bridge(&sandbox, &vendor, &[]);
        serve.greet(era).result();
        if era == Era::Modern {
            serve.post_in(era, "subscriptions/listen", json!({"notifications": {"taskIds": ["t-1"]}}));
            serve.incoming("notifications/subscriptions/acknowledged");
        }
        vendor.prepare("long", format!(r#"{{"jsonrpc":"2.0","id":@ID@,"result":{task}}}"#));
        serve.call_in(era, "raw", json!({"name": "long"})).result();
        for (id, status) in [("t-2", "completed"), ("t-1", "working"), ("t-1", "failed"), ("t-1", "failed")] {
            let params = format!(r#"{{"taskId":"{id}","status":"{status}","n":1.10}}"#);
            let notification = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#);
            vendor.push(&notification);
            assert_eq!(serve.incoming(method).raw, notification);
        }
        assert_eq!(outcomes(&log_in(&sandbox)), pairs(&[("raw", "task"), ("raw", "failed")]), "{era:?}");
    }
}

/// A client may come back to a task that another process began: which call that was is not known here.
#[test]
fn b15_the_end_of_a_task_from_before_is_recorded_too() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default().modern()));
    let mut serve = bridge(&sandbox, &vendor, &[]);
    serve.greet(Era::Modern).result();
    let result = r#"{"resultType":"complete","taskId":"t-0","status":"completed","result":{"content":[]}}"#;
    vendor.prepare("tasks/get", format!(r#"{{"jsonrpc":"2.0","id":@ID@,"result":{result}}}"#));
    serve.request_in(Era::Modern, "tasks/get", json!({"taskId": "t-0"})).result();
    let lines = lines(&log_in(&sandbox));
    assert_eq!((lines.len(), &lines[0]["outcome"], &lines[0]["tool"]), (1, &json!("ok"), &Value::Null));
    assert_eq!((&lines[0]["task_sha256"], &lines[0]["duration_ms"]), (&digest("t-0"), &Value::Null));
}

/// Neither kind of tasks is offered to the other era; a server that makes one all the same is not believed to be done.
#[test]
fn b15_tasks_do_not_cross_the_eras() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default().modern()));
    let mut serve = bridge(&sandbox, &vendor, &[]);
    let capabilities = json!({"tasks": {"list": {}}, "extensions": {"io.modelcontextprotocol/tasks": {}}});
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {"name": "c", "version": "1"}});
    serve.request("initialize", hello).result();
    serve.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let result = r#"{"resultType":"task","taskId":"t-1","status":"working"}"#;
    vendor.prepare("long", format!(r#"{{"jsonrpc":"2.0","id":@ID@,"result":{result}}}"#));
    let error = serve.call("raw", json!({"name": "long"})).error();
    assert_eq!((&error["code"], &error["data"]["taskId"]), (&json!(-31010), &json!("t-1")));
    assert_eq!(outcomes(&log_in(&sandbox)), pairs(&[("raw", "task")]));
    assert_eq!(vendor.executed(), ["raw"]);
    // (The client's own `initialize` went out first, in case that the server is of its era.)
    let modern: Vec<_> =
        vendor.records().into_iter().filter(|record| record.text().contains("clientCapabilities")).collect();
    for method in ["server/discover", "tools/call"] {
        assert!(modern.iter().any(|record| record.rpc_method().as_deref() == Some(method)), "{method}");
    }
    assert!(modern.iter().all(|record| !record.text().contains("tasks")), "it was not offered");
}

/// Several bridges write one file, and what was there stays.
#[test]
fn bridges_share_a_log() {
    const CALLS: usize = 300;
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let log = log_in(&sandbox);
    for _ in 0..2 {
        let mut bridges = [bridge(&sandbox, &vendor, &[]), bridge(&sandbox, &vendor, &["--audit-arguments"])];
        // Lines of very different lengths.
        let message = "long".repeat(1000);
        for serve in &mut bridges {
            serve.greet(Era::Legacy).result();
        }
        let mut asked = Vec::new();
        for _ in 0..CALLS {
            for (index, serve) in bridges.iter_mut().enumerate() {
                let params = json!({"name": "echo", "arguments": {"message": message}});
                asked.push((index, serve.post("tools/call", params)));
            }
        }
        for (index, id) in asked {
            bridges[index].answer_to(&id).result();
        }
    }
    let lines = lines(&log);
    assert_eq!(lines.len(), 4 * CALLS);
    assert!(lines.iter().all(|line| line["outcome"] == "ok"));
    let long = lines.iter().filter(|line| line["arguments"].is_object()).count();
    assert_eq!(long, 2 * CALLS);
}

#[cfg(unix)]
mod unix {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    #[test]
    fn the_log_is_its_owners_alone() {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
        let mut serve = bridge(&sandbox, &vendor, &[]);
        serve.greet(Era::Legacy).result();
        assert_eq!(fs::metadata(log_in(&sandbox)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    /// A log that cannot be kept is said before anything else is done.
    #[test]
    fn serve_exits_at_startup_if_the_log_cannot_be_opened() {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
        let folder = sandbox.watched();
        let (victim, link, fifo, open) =
            (folder.join("victim"), folder.join("link"), folder.join("fifo"), folder.join("open"));
        fs::write(&victim, "as it was").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&victim, &link).unwrap();
        let mut mkfifo = sandbox.command("mkfifo");
        mkfifo.arg(&fifo);
        sandbox.run(mkfifo, Vec::new()).expect_success();
        fs::write(&open, "").unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o660)).unwrap();
        for (path, why) in [
            (&link, "symbolic link"),
            (&fifo, "not a regular file"),
            (&folder, "could not open"),
            (&open, "other users can access"),
            (&folder.join("missing").join("audit.jsonl"), "No such file"),
        ] {
            let run = sandbox.finmcp(["serve", &vendor.url(), "--audit-log", path.to_str().unwrap()]).expect_code(1);
            let name = path.file_name().unwrap().to_str().unwrap();
            run.expect_stderr(&["could not write the audit log", why, name, "--audit-log"]);
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "as it was");
        assert!(vendor.records().is_empty());
    }

    /// A log that is moved away is started again; nothing is lost.
    #[test]
    fn a_log_can_be_moved_away() {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
        let log = log_in(&sandbox);
        let mut serve = bridge(&sandbox, &vendor, &[]);
        serve.greet(Era::Legacy).result();
        serve.call("echo", json!({"message": "hi"})).result();
        let moved = log.with_extension("1");
        fs::rename(&log, &moved).unwrap();
        serve.call("no such tool", json!({})).error();
        assert_eq!(outcomes(&moved), pairs(&[("echo", "ok")]));
        assert_eq!(outcomes(&log), pairs(&[("no such tool", "error:-32602")]));
    }

    /// Without its log no tool is called; with room again the lines that are missing come first.
    #[test]
    fn a_full_log_stops_calls() {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
        let log = log_in(&sandbox);
        // A limit of some lines stands for a full disk; without the signal it is an error like that.
        let mut command = sandbox.command("sh");
        let script = "trap '' XFSZ; ulimit -f 4; exec \"$@\"";
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_finmcp"), "serve", &vendor.url(), "--audit-log"]);
        command.arg(&log);
        let mut serve = Serve::start(command, sandbox.transcript());
        serve.greet(Era::Legacy).result();
        let mut calls = 0;
        let refusal = loop {
            let answer = serve.call("echo", json!({"message": "hi"}));
            match answer.json().get("error") {
                Some(error) => break error.clone(),
                None => calls += 1,
            }
            assert!(calls < 100);
        };
        assert_eq!(refusal["code"], -31001);
        assert!(refusal["message"].as_str().unwrap().contains("audit log"), "{refusal}");
        assert_eq!(vendor.calls("tools/call").len(), calls, "what is refused is not sent");
        assert!(calls > 1);
        let complaint = eventually("a complaint", || Some(serve.stderr()).filter(|text| text.contains("audit log")));
        assert!(complaint.contains("audit.jsonl"), "{complaint}");
        // Everything else goes on.
        serve.request("tools/list", json!({})).result();
        assert_eq!(serve.call("echo", json!({"message": "hi"})).error()["code"], -31001);
        assert_eq!(serve.stderr().matches("error:").count(), 1, "said once: {}", serve.stderr());

        // Nothing stays of the line that did not fit, and it is written once there is room.
        assert_eq!(lines(&log).len(), calls - 1);
        let full = log.with_extension("1");
        fs::rename(&log, &full).unwrap();
        serve.call("echo", json!({"message": "hi"})).result();
        assert_eq!(lines(&log).len(), 2);
        assert_eq!(vendor.calls("tools/call").len(), calls + 1);
        let files = [full.to_str().unwrap(), log.to_str().unwrap()];
        sandbox.finmcp(["audit", "verify", files[0], files[1]]).expect_success();
    }
}

/// Two requests with one id: the answer to the one is not taken for the other's.
#[test]
fn ids_that_are_used_twice_do_not_hide_an_outcome() {
    for (client, server) in Era::COMBINATIONS {
        let what = format!("{client:?} to {server:?}");
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(three_tools(server)));
        let mut serve = bridge(&sandbox, &vendor, &[]);
        serve.greet(client).result();
        vendor.fault(On::Rpc("tools/call"), Effect::Delay(Duration::from_millis(300)));
        let params = |params: Value| if client == Era::Modern { modern(params) } else { params };
        let call = params(json!({"name": "echo", "arguments": {"message": "hi"}}));
        let again = params(json!({"name": "get_rate", "arguments": {}}));
        let page = params(json!({"uri": "a:b"}));
        for (method, params) in [("tools/call", call), ("resources/read", page), ("tools/call", again)] {
            serve.send(json!({"jsonrpc": "2.0", "id": "same", "method": method, "params": params}).to_string());
        }
        for code in [json!(-32600), json!(-32600), Value::Null] {
            let answer = serve.answer_to(r#""same""#).json();
            assert_eq!(answer["error"].get("code").unwrap_or(&Value::Null), &code, "{what}: {answer}");
        }
        let expected = [("get_rate", "error:-32600"), ("echo", "ok")];
        assert_eq!(outcomes(&log_in(&sandbox)), pairs(&expected), "{what}");
        assert_eq!(vendor.executed(), ["echo"], "{what}");
    }
}

/// A call that wants no answer would have no outcome: it is recorded, and goes nowhere.
#[test]
fn a_call_without_an_id_is_not_made() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let mut serve = bridge(&sandbox, &vendor, &[]);
    serve.greet(Era::Legacy).result();
    vendor.fault(On::Rpc("tools/call"), Effect::status(503));
    serve.send(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"echo","arguments":{}}}"#);
    serve.send(r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"echo","name":"hang"}}"#);
    serve.answer_to(r#""a""#).error();
    assert_eq!(outcomes(&log_in(&sandbox)), pairs(&[("echo", "refused"), ("-", "unknown")]));
    assert_eq!(vendor.calls("tools/call").len(), 1);
}
