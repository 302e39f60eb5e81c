//! `finmcp tools` and `finmcp call`: a server from a terminal or a script.

use serde_json::{Value, json};

use crate::support::{
    browser::{FakeBrowser, Person},
    sandbox::{Run, Sandbox},
    vendor::{Effect, Era, On, Reply, Script, Vendor},
};

/// The arguments of the only call that `vendor` took, as they were written.
fn only_call(vendor: &Vendor) -> String {
    let calls = vendor.calls("tools/call");
    assert_eq!(calls.len(), 1, "{calls:?}");
    let text = calls[0].text();
    let start = text.find(r#""arguments":"#).unwrap() + r#""arguments":"#.len();
    let end = start + text[start..].find(r#","_meta""#).unwrap();
    text[start..end].to_owned()
}

fn with_tool(schema: Value) -> Script {
    let raw = json!({"name": "raw", "description": "Does it", "inputSchema": schema});
    Script { tool_pages: vec![json!([raw]), json!([{"name": "second", "inputSchema": {}}])], ..Script::default() }
}

/// Calls `raw` after the vendor was told to answer with this result.
fn call_raw(sandbox: &Sandbox, vendor: &Vendor, result: &str, arguments: &[&str]) -> Run {
    vendor.prepare("hard", format!(r#"{{"jsonrpc":"2.0","id":@ID@,"result":{result}}}"#));
    sandbox.finmcp([&["call", "raw", "name=hard", "--server", &vendor.url()], arguments].concat())
}

#[test]
fn tools_are_listed_to_the_last_page_in_both_eras() {
    for era in [Era::Legacy, Era::Modern] {
        let (sandbox, schema) = (Sandbox::new(), json!({"properties": {"name": {"type": "string", "default": "x"}}}));
        let vendor = Vendor::start(Script { era, ..with_tool(schema) });
        let run = sandbox.finmcp(["tools", &vendor.url()]).expect_success();
        assert_eq!(run.stdout, "raw\n  Does it\n    name=text  (optional, default x)\n\nsecond\n");
        assert_eq!(run.stderr, "");
        let listed = sandbox.finmcp(["tools", &vendor.url(), "--json", "--tool", "second"]).expect_success().stdout;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        assert_eq!((&listed[0]["name"], listed.as_array().unwrap().len()), (&"second".into(), 1));
        let unknown = sandbox.finmcp(["tools", &vendor.url(), "--tool", "third"]).expect_code(2);
        assert!(unknown.stderr.contains("has no tool \"third\"\nhint: use one of: raw, second"), "{}", unknown.stderr);
        assert_eq!((vendor.complaints(), vendor.session_count()), (Vec::<String>::new(), 0));
    }
}

/// What a server said some time ago does not answer a question of now.
#[test]
fn nothing_is_listed_from_memory() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let url = vendor.url();
    sandbox.finmcp(["tools", &url]).expect_success();
    vendor.stop();
    assert_eq!(sandbox.finmcp(["tools", &url]).expect_code(3).stdout, "");
    sandbox.finmcp(["call", "echo", "message=hi", "--server", &url]).expect_code(3);
}

/// A server whose pages lead in a circle is not followed for ever.
#[test]
fn t128_an_endless_list_is_abandoned() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    for id in 2..=4 {
        let page = json!({"jsonrpc": "2.0", "id": id, "result": {"tools": [], "nextCursor": "again"}});
        vendor.fault(On::Rpc("tools/list"), Effect::Answer(Reply::new(200).json(&page)));
    }
    let run = sandbox.finmcp(["tools", &vendor.url()]).expect_code(3);
    assert!(run.stderr.contains("tools/list pagination loops"), "{}", run.stderr);
}

#[test]
fn arguments_are_sent_as_typed() {
    let schema = json!({
        "properties": {
            "name": {"type": "string"}, "amount": {"type": "number"}, "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name"],
    });
    for era in [Era::Legacy, Era::Modern] {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script { era, ..with_tool(schema.clone()) }));
        vendor.prepare("hard", r#"{"jsonrpc":"2.0","id":@ID@,"result":{"content":[{"type":"text","text":"done"}]}}"#);
        let words =
            ["call", "raw", "--server", &vendor.url(), "name=hard", "amount=1.10", "tags=a", "tags=b=c", "x:=[1.0]"];
        assert_eq!(sandbox.finmcp(words).expect_success().stdout, "done\n");
        assert_eq!(only_call(&vendor), r#"{"name":"hard","amount":1.10,"tags":["a","b=c"],"x":[1.0]}"#);
    }
    let vendor = Vendor::start(with_tool(schema));
    let sandbox = Sandbox::new();
    for (words, said) in [
        (&["amount=1"][..], "raw is missing an argument: name"),
        (&["name=x", "amount=1,10"], "invalid amount \"1,10\": expected number"),
        (&["nam=x"], "raw has no argument \"nam\"\nhint: use one of: name, amount, tags"),
        (&["x"], "invalid argument \"x\": expected NAME=VALUE"),
    ] {
        let run = sandbox.finmcp([&["call", "raw", "--server", &vendor.url()], words].concat()).expect_code(2);
        assert!(run.stderr.contains(said), "{words:?}: {}", run.stderr);
    }
    let run = sandbox.finmcp(["call", "raws", "--server", &vendor.url()]).expect_code(2);
    assert!(run.stderr.contains("has no tool \"raws\"\nhint: use one of: raw, second"), "{}", run.stderr);
    assert!(vendor.calls("tools/call").is_empty());
}

/// What comes on stdin reaches the server as it is, and the result comes back as it is.
#[test]
fn json_goes_in_and_comes_out_byte_for_byte() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let result = r#"{"z":1e400,"content":[{"type":"text","text":"\ud800"}],"structuredContent":{"a":1.10,"n":12345678901234567890123}}"#;
    vendor.prepare("hard", format!(r#"{{"jsonrpc":"2.0","id":@ID@,"result":{result}}}"#));
    let arguments = r#" {"name":"\u0068ard", "amount":1.10,"b":12345678901234567890123}"#;
    let words = ["call", "raw", "--server", &vendor.url(), "--json", "-"];
    let run = sandbox.finmcp_with_stdin(words, arguments).expect_success();
    assert_eq!(run.stdout, format!("{result}\n"));
    assert_eq!(only_call(&vendor), arguments);
    assert!(vendor.calls("tools/list").is_empty(), "nothing is typed by a schema");

    for (stdin, said) in
        [("", "invalid JSON"), ("{", "invalid JSON"), ("[]", "must be a JSON object"), ("{} {}", "invalid JSON")]
    {
        let run = sandbox.finmcp_with_stdin(words, stdin).expect_code(2);
        assert!(run.stderr.contains(said), "{stdin}: {}", run.stderr);
    }
    let run = sandbox.finmcp_with_stdin([&words[..], &["a=b"]].concat(), "{}").expect_code(2);
    assert!(run.stderr.contains("both on stdin and on the command line"), "{}", run.stderr);
    assert_eq!(vendor.calls("tools/call").len(), 1);
}

#[test]
fn json_does_not_consume_the_next_argument() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    vendor.prepare("hard", r#"{"jsonrpc":"2.0","id":@ID@,"result":{"content":[]}}"#);
    let run = sandbox.finmcp(["call", "--server", &vendor.url(), "raw", "--json", "name=hard"]).expect_success();
    assert_eq!(run.stdout, "{\"content\":[]}\n");
    sandbox
        .finmcp(["call", "raw", "--json", "file.json"])
        .expect_code(2)
        .expect_stderr(&["expected -, to read a JSON object from stdin"]);
}

#[test]
fn a_failed_tool_is_exit_code_1() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let result = "{\"content\":[{\"type\":\"text\",\"text\":\"no such \\u001b[31minvoice\"}],\"isError\":true}";
    let run = call_raw(&sandbox, &vendor, result, &[]).expect_code(1);
    assert_eq!(run.stdout, "");
    assert_eq!(run.stderr, "error: raw failed\n  caused by: no such [31minvoice\n");
    let run = call_raw(&sandbox, &vendor, result, &["--json"]).expect_code(1);
    assert_eq!(run.stdout, format!("{result}\n"));
    // An answer that is no result at all.
    vendor.prepare("hard", r#"{"jsonrpc":"2.0","id":@ID@,"error":{"code":-32602,"message":"name is wrong"}}"#);
    let run = sandbox.finmcp(["call", "raw", "name=hard", "--server", &vendor.url()]).expect_code(1);
    assert!(run.stderr.contains("name is wrong"), "{}", run.stderr);
    call_raw(&sandbox, &vendor, "[]", &[]).expect_code(3).expect_stderr(&["invalid response"]);
    // With --json it is shown all the same.
    let odd = r#"{"content":null,"isError":null}"#;
    assert_eq!(call_raw(&sandbox, &vendor, odd, &["--json"]).expect_code(3).stdout, format!("{odd}\n"));
}

#[test]
fn output_files_are_written_to_the_given_path() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let result = r#"{"content":[{"type":"text","text":"two"},{"type":"image","data":"aGk=","mimeType":"image/png"},{"type":"resource","resource":{"uri":"u","blob":"eW8"}}]}"#;
    let path = sandbox.home().join("picture.png");
    let run = call_raw(&sandbox, &vendor, result, &["--output", path.to_str().unwrap()]).expect_success();
    assert!(run.stdout.starts_with("two\n[image/png, 2 bytes"), "{}", run.stdout);
    assert_eq!(std::fs::read(&path).unwrap(), b"hi");
    assert_eq!(std::fs::read(sandbox.home().join("picture-2.png")).unwrap(), b"yo");
    call_raw(&sandbox, &vendor, result, &["-o", "-"]).expect_code(2).expect_stderr(&["cannot write to stdout"]);
    let run = call_raw(&sandbox, &vendor, result, &[]).expect_success();
    assert!(run.stderr.contains("save them with --output FILE"), "{}", run.stderr);
    let nowhere = sandbox.home().join("no/such/folder");
    let before = vendor.executed().len();
    for place in [&nowhere, &sandbox.home()] {
        let run = call_raw(&sandbox, &vendor, result, &["-o", place.to_str().unwrap()]).expect_code(1);
        assert!(
            run.stderr.contains("cannot write") && run.stderr.contains("the server was not asked"),
            "{}",
            run.stderr
        );
    }
    assert_eq!(vendor.executed().len(), before);
    // The file is written even if the reader of stdout has gone.
    for raw in [&[][..], &["--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let early = sandbox.home().join(format!("early-{}.png", raw.len()));
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
        command.args(["call", "raw", "name=hard", "-s", &vendor.url(), "-o", early.to_str().unwrap()]).args(raw);
        assert!(command.stdout(writer).status().unwrap().success());
        assert_eq!(std::fs::read(early).unwrap(), b"hi");
    }
    // The one that is named is replaced, its neighbours are not.
    call_raw(&sandbox, &vendor, result, &["--output", path.to_str().unwrap()]).expect_success();
    assert_eq!(std::fs::read(sandbox.home().join("picture-3.png")).unwrap(), b"yo");
    let result = r#"{"content":[{"type":"text","text":"paid"}]}"#;
    let run = call_raw(&sandbox, &vendor, result, &["-o", path.to_str().unwrap()]).expect_code(1);
    assert!(run.stderr.contains("contains no file") && run.stderr.contains("do not repeat it"), "{}", run.stderr);
    assert_eq!(run.stdout, "paid\n", "what was answered is shown in any case");
    assert_eq!(std::fs::read(&path).unwrap(), b"hi");
}

/// No sign-in starts, and no call is made twice.
#[test]
fn t114_every_failure_of_a_call_has_its_exit_code() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    for command in [&["tools"][..], &["call", "echo", "--server"]] {
        let run = sandbox.finmcp([command, &[&vendor.url()]].concat()).expect_code(4);
        assert!(run.stderr.contains(&format!("finmcp login {}", vendor.url())), "{}", run.stderr);
    }
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", &vendor.url(), "--profile", "books"]).expect_success();
    let call = ["call", "echo", "message=hi", "-s", "books"];
    assert_eq!(sandbox.finmcp(call).expect_success().stdout, "hi\n");
    // A token that is refused is replaced on the way.
    vendor.revoke_access_tokens();
    assert_eq!(sandbox.finmcp(call).expect_success().stdout, "hi\n");

    let before = vendor.executed().len();
    vendor.fault(On::Rpc("tools/call"), Effect::CutAfter);
    let run = sandbox.finmcp(call).expect_code(1);
    assert!(run.stderr.contains("not known whether the call was carried out"), "{}", run.stderr);
    assert_eq!(vendor.executed().len() - before, 1);

    vendor.revoke_sign_ins();
    let run = sandbox.finmcp(call).expect_code(4);
    assert!(run.stderr.contains("finmcp login"), "{}", run.stderr);
    sandbox.assert_no_secret(&vendor.secrets());
    let port = vendor.port();
    vendor.stop();
    Sandbox::new().finmcp(["tools", &format!("http://127.0.0.1:{port}/mcp")]).expect_code(3);
}

#[cfg(unix)]
mod at_a_terminal {
    use std::process::{Child, Stdio};

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;
    use crate::support::{PATIENCE, eventually, sandbox::wait, terminal::Terminal};

    /// finmcp with a person before it.
    fn start(sandbox: &Sandbox, terminal: &Terminal, arguments: &[&str]) -> Child {
        let mut command = sandbox.command("setsid");
        command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_finmcp")]).args(arguments);
        command.stdin(terminal.stdio()).stdout(terminal.stdio()).stderr(terminal.stdio());
        command.spawn().unwrap()
    }

    fn answer(terminal: &Terminal, question: &str, answer: &str) {
        eventually(question, || terminal.shown().contains(question).then_some(()));
        terminal.enter(answer);
    }

    /// The request that a modern server makes of the client before it answers, and then its result.
    fn ask(vendor: &Vendor, params: &Value) {
        let requests = json!({"k": {"method": "elicitation/create", "params": params}});
        let result = json!({"resultType": "input_required", "requestState": "s", "inputRequests": requests});
        vendor.prepare("hard", format!(r#"{{"jsonrpc":"2.0","id":@ID@,"result":{result}}}"#));
    }

    /// What the client answered to that.
    fn answered(vendor: &Vendor) -> Value {
        let record = vendor.wait_for("the answer", |record| record.text().contains("inputResponses"));
        record.json()["params"]["inputResponses"]["k"].clone()
    }

    #[test]
    fn a_servers_question_is_asked_in_the_terminal() {
        let schema = json!({
            "type": "object",
            "properties": {
                "amount": {"type": "number", "description": "How\u{1b}[31m much?"},
                "kind": {"type": "string", "enum": ["cash", "card"], "default": "cash"},
                "note": {"type": "string"},
            },
            "required": ["amount"],
        });
        for (last, expected) in [
            ("y\n", json!({"action": "accept", "content": {"amount": 1.5, "kind": "card"}})),
            ("n\n", json!({"action": "decline"})),
            ("", json!({"action": "cancel"})),
        ] {
            let (sandbox, vendor, terminal) =
                (Sandbox::new(), Vendor::start(Script::default().modern()), Terminal::open());
            ask(&vendor, &json!({"mode": "form", "message": "Refund?", "requestedSchema": schema}));
            let mut child = start(&sandbox, &terminal, &["call", "raw", "name=hard", "-s", &vendor.url()]);
            answer(&terminal, "asks: Refund?", "");
            answer(&terminal, "amount (number): ", "a lot\n");
            answer(&terminal, "That is not number", "1.5\n");
            answer(&terminal, "kind (cash|card, default \"cash\"): ", "card\n");
            answer(&terminal, "note (text, optional): ", if last.is_empty() { "\u{4}" } else { "\n" });
            if !last.is_empty() {
                answer(&terminal, "Send this to", last);
            }
            assert_eq!(answered(&vendor), expected);
            vendor.prepare("hard", r#"{"jsonrpc":"2.0","id":@ID@,"result":{"content":[]}}"#);
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(!terminal.shown().contains("\u{1b}[31m"), "{}", terminal.shown());
        }
    }

    /// The person sees the whole address before it is opened, and only then it is.
    #[test]
    fn a_page_is_opened_with_consent_only() {
        for (said, action, visits) in [("y\n", "accept", 1), ("n\n", "decline", 0)] {
            let (mut sandbox, vendor, terminal) =
                (Sandbox::new(), Vendor::start(Script::default().modern()), Terminal::open());
            let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
            let url = format!("{}/pay?invoice=7", vendor.origin());
            ask(&vendor, &json!({"mode": "url", "message": "Pay", "url": url, "elicitationId": "1"}));
            let mut child = start(&sandbox, &terminal, &["call", "raw", "name=hard", "-s", &vendor.url()]);
            answer(&terminal, &url, "");
            answer(&terminal, "Open it in your browser? [y/N] ", said);
            assert_eq!(answered(&vendor)["action"], action);
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(browser.starts().len(), visits, "{said}");
        }
    }

    /// A server that is asked by a script cannot ask back.
    #[test]
    fn a_script_offers_no_way_to_ask_a_person() {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
        call_raw(&sandbox, &vendor, r#"{"content":[]}"#, &[]).expect_success();
        let hello = vendor.calls("initialize")[0].json();
        assert_eq!(hello["params"]["capabilities"], json!({}));
    }

    #[test]
    fn progress_is_shown_only_at_a_terminal() {
        let (mut sandbox, vendor, terminal) = (Sandbox::new(), Vendor::start(Script::default()), Terminal::open());
        sandbox.set("TERM", "xterm");
        let words = ["call", "progress", "count=4", "-s", &vendor.url()];
        let mut child = start(&sandbox, &terminal, &words);
        assert_eq!(wait(&mut child, PATIENCE), Some(Some(0)), "{}", terminal.shown());
        assert!(terminal.shown().contains('%'), "{}", terminal.shown());
        let run = sandbox.finmcp(words).expect_success();
        assert_eq!((&*run.stdout, &*run.stderr), ("", ""));
    }

    /// t070: a renewal that is under way when the user presses Ctrl-C is completed, and the new token is kept.
    #[test]
    fn t070_ctrl_c_loses_no_renewed_sign_in() {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        vendor.change(|script| script.access_lifetime = std::time::Duration::from_secs(1));
        sandbox.finmcp(["login", &vendor.url(), "--profile", "books"]).expect_success();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(1);
        eventually("the token's end", || (std::time::Instant::now() > end).then_some(()));
        vendor.change(|script| script.access_lifetime = std::time::Duration::from_secs(3600));
        vendor.fault(On::Path("/token"), Effect::Delay(std::time::Duration::from_secs(1)));
        let before = vendor.records_at("/token").len();
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
        let mut child =
            command.args(["call", "echo", "message=hi", "-s", "books"]).stderr(Stdio::null()).spawn().unwrap();
        eventually("the renewal", || (vendor.records_at("/token").len() > before).then_some(()));
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        assert_eq!(wait(&mut child, PATIENCE), Some(Some(130)));
        sandbox.finmcp(["call", "echo", "message=hi", "-s", "books"]).expect_success();
        assert_eq!(vendor.replays(), 0);
    }

    /// Ctrl-C cancels the call at the server, too, and ends the session.
    #[test]
    fn ctrl_c_cancels_a_call() {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
        command.args(["call", "hang", "-s", &vendor.url()]).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        vendor.wait_for("the call", |record| record.rpc_method().as_deref() == Some("tools/call"));
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        assert_eq!(wait(&mut child, PATIENCE), Some(Some(130)));
        let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert!(said.contains("not known whether the call was carried out"), "{said}");
        assert_eq!(vendor.session_count(), 0);
        assert_eq!(vendor.executed(), ["hang"]);
    }
}
