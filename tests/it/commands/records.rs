//! Results for people and for programs: JSON, CSV, prompts and resources.

use serde_json::{Value, json};

use crate::support::{
    PATIENCE, eventually,
    sandbox::{Run, Sandbox, wait},
    terminal::Terminal,
    vendor::{Era, Script, Vendor},
};

fn vendor(era: Era) -> Vendor {
    Vendor::start(Script { era, ..Script::default() })
}

/// Prepares `result`, an object without its braces, as the vendor's answer.
fn prepare(vendor: &Vendor, era: Era, name: &str, result: &str) {
    let more = if era == Era::Modern { r#","resultType":"complete""# } else { "" };
    vendor.prepare(name, format!(r#"{{"jsonrpc":"2.0","id":@ID@,"result":{{{result}{more}}}}}"#));
}

fn call(sandbox: &Sandbox, vendor: &Vendor, arguments: &[&str]) -> Run {
    sandbox.finmcp([&["call", "raw", "name=hard", "--server", &vendor.url()], arguments].concat())
}

/// What finmcp shows on a terminal.
fn at_a_terminal(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let terminal = Terminal::open();
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
    let mut child = command.args(arguments).stdout(terminal.stdio()).spawn().unwrap();
    assert_eq!(wait(&mut child, PATIENCE), Some(Some(0)));
    eventually("the output", || terminal.shown().ends_with('\n').then_some(()));
    terminal.shown().replace("\r\n", "\n")
}

#[test]
fn json_is_indented_at_a_terminal_and_the_servers_bytes_elsewhere() {
    let (sandbox, vendor) = (Sandbox::new(), vendor(Era::Legacy));
    prepare(&vendor, Era::Legacy, "hard", r#""content":[{"type":"text","text":"{\"a\": 1.10,\"b\":[1]}"}]"#);
    assert_eq!(call(&sandbox, &vendor, &[]).expect_success().stdout, "{\"a\": 1.10,\"b\":[1]}\n");
    let url = vendor.url();
    let words = ["call", "raw", "name=hard", "--server", &url];
    assert_eq!(at_a_terminal(&sandbox, &words), "{\n  \"a\": 1.10,\n  \"b\": [\n    1\n  ]\n}\n");
    let shown = at_a_terminal(&sandbox, &[&words[..], &["--json"]].concat());
    assert!(shown.starts_with("{\n  \"content\": [\n    {\n"), "{shown}");
}

#[test]
fn a_list_of_records_becomes_csv_with_the_servers_numbers() {
    for era in [Era::Legacy, Era::Modern] {
        let (sandbox, vendor) = (Sandbox::new(), vendor(era));
        let content = r#"{"items":[{"amount":1.10,"id":12345678901234567890123},{"id":-2,"memo":"=HYPERLINK(\"x\"), \"y\"","tags":["a"]}],"total":2}"#;
        let expected = "amount,id,memo,tags\r\n1.10,12345678901234567890123,,\r\n\
                        ,-2,\"'=HYPERLINK(\"\"x\"\"), \"\"y\"\"\",\"[\"\"a\"\"]\"\r\n";
        let text = serde_json::to_string(content).unwrap();
        for result in [
            format!(r#""content":[],"structuredContent":{content}"#),
            format!(r#""content":[{{"type":"text","text":{text}}}]"#),
        ] {
            prepare(&vendor, era, "hard", &result);
            let run = call(&sandbox, &vendor, &["--csv"]).expect_success();
            assert_eq!((&*run.stdout, &*run.stderr), (expected, ""), "{era:?} {result}");
        }
    }
}

#[test]
fn what_is_no_list_is_not_lost_and_says_so() {
    let (sandbox, vendor) = (Sandbox::new(), vendor(Era::Legacy));
    for (content, said) in [
        (r#"{"paid":true}"#, "the result is not a list of records"),
        (r#"{"paid":[{"a":1}],"open":[{"a":2}]}"#, "the result has several lists: paid, open"),
    ] {
        prepare(&vendor, Era::Legacy, "hard", &format!(r#""content":[],"structuredContent":{content}"#));
        let run = call(&sandbox, &vendor, &["--csv"]).expect_code(1);
        assert_eq!(run.stdout, "");
        run.expect_stderr(&[content, said, "do not repeat it", "without --csv"]);
    }
    assert_eq!(vendor.executed().len(), 2);
    prepare(&vendor, Era::Legacy, "hard", r#""content":[{"type":"text","text":"no"}],"isError":true"#);
    call(&sandbox, &vendor, &["--csv"]).expect_code(1).expect_stderr(&["raw failed"]);
    call(&sandbox, &vendor, &["--csv", "--json"]).expect_code(2);
}

#[test]
fn prompts_are_listed_and_filled_in_both_eras() {
    for era in [Era::Legacy, Era::Modern] {
        let (sandbox, vendor) = (Sandbox::new(), vendor(era));
        let url = vendor.url();
        let run = sandbox.finmcp(["prompts", &url]).expect_success();
        assert!(run.stderr.contains("has no prompts") && run.stdout.is_empty(), "{run:?}");
        let prompts = r#""prompts":[{"name":"remind","description":"Writes a reminder","arguments":[{"name":"tone"},{"name":"customer","description":"Who","required":true}]}]"#;
        prepare(&vendor, era, "prompts/list", prompts);
        let run = sandbox.finmcp(["prompts", &url]).expect_success();
        assert_eq!(run.stdout, "remind\n  Writes a reminder\n    customer=text  Who\n    tone=text      (optional)\n");
        let json = sandbox.finmcp(["prompts", &url, "--json"]).expect_success().stdout;
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap()[0]["arguments"][0], json!({"name": "tone"}));
        let message = r#"{"role":"user","content":{"type":"text","text":"Dear \u001b[31mACME"}}"#;
        prepare(&vendor, era, "prompts/get", &format!(r#""messages":[{message}]"#));
        let words = ["prompt", "remind", "customer=7", "--server", &url];
        assert_eq!(sandbox.finmcp(words).expect_success().stdout, "Dear \u{1b}[31mACME\n");
        assert_eq!(at_a_terminal(&sandbox, &words), "Dear [31mACME\n");
        let asked = vendor.calls("prompts/get")[0].json();
        assert_eq!(asked["params"]["arguments"], json!({"customer": "7"}), "a prompt's arguments are texts");
        for (words, said) in [
            (&["prompt", "remin"][..], "has no prompt \"remin\"\nhint: use one of: remind"),
            (&["prompt", "remind"], "remind is missing an argument: customer"),
            (&["prompt", "remind", "customer=1", "x=1"], "remind has no argument \"x\""),
        ] {
            let run = sandbox.finmcp([words, &["--server", &url]].concat()).expect_code(2);
            assert!(run.stderr.contains(said), "{words:?}: {}", run.stderr);
        }
        // A server that knows no prompts at all.
        vendor.prepare("prompts/list", r#"{"jsonrpc":"2.0","id":@ID@,"error":{"code":-32601,"message":"no"}}"#);
        sandbox.finmcp(["prompts", &url]).expect_success().expect_stderr(&["has no prompts"]);
        assert_eq!(vendor.complaints(), Vec::<String>::new());
    }
}

#[test]
fn resources_are_listed_and_read_in_both_eras() {
    for era in [Era::Legacy, Era::Modern] {
        let (sandbox, vendor) = (Sandbox::new(), vendor(era));
        let url = vendor.url();
        sandbox.finmcp(["resources", &url]).expect_success().expect_stderr(&["has no resources"]);
        let more = r#","ttlMs":0,"cacheScope":"private""#;
        prepare(
            &vendor,
            era,
            "resources/list",
            &format!(r#""resources":[{{"uri":"books://2025","name":"Books","mimeType":"text/csv"}}]{more}"#),
        );
        let template = r#"{"uriTemplate":"books://{year}","name":"year","description":"One year"}"#;
        prepare(&vendor, era, "resources/templates/list", &format!(r#""resourceTemplates":[{template}]{more}"#));
        let run = sandbox.finmcp(["resources", &url]).expect_success();
        assert_eq!(run.stdout, "books://2025  (text/csv)\n  Books\n\nbooks://{year}\n  year\n  One year\n");

        let read =
            |contents: &str| prepare(&vendor, era, "resources/read", &format!(r#""contents":[{contents}]{more}"#));
        let words = ["resource", "books://2025", "--server", &url];
        read(r#"{"uri":"books://2025","text":"a,b\r\n1.10,\u001b[31m2"}"#);
        assert_eq!(sandbox.finmcp(words).expect_success().stdout, "a,b\r\n1.10,\u{1b}[31m2", "byte for byte");
        assert_eq!(at_a_terminal(&sandbox, &words), "a,b\n1.10,[31m2\n");
        assert_eq!(vendor.calls("resources/read")[0].json()["params"]["uri"], "books://2025");

        // Bytes that are no text, for a pipe and a file only.
        read(r#"{"uri":"books://2025","mimeType":"image/png","blob":"iVAAGw=="}"#);
        let bytes = b"\x89P\0\x1b";
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
        assert_eq!(command.args(words).output().unwrap().stdout, bytes);
        assert_eq!(at_a_terminal(&sandbox, &words), "[image/png, 4 bytes]\n");
        let path = sandbox.home().join("picture.png");
        let run = sandbox.finmcp([&words[..], &["-o", path.to_str().unwrap()]].concat()).expect_success();
        assert_eq!((std::fs::read(&path).unwrap(), &*run.stdout), (bytes.to_vec(), ""));
        run.expect_stderr(&["Saved 4 bytes"]);

        vendor.prepare(
            "resources/read",
            r#"{"jsonrpc":"2.0","id":@ID@,"error":{"code":-32602,"message":"no such book"}}"#,
        );
        sandbox.finmcp(words).expect_code(1).expect_stderr(&["no such book"]);
        assert_eq!(vendor.complaints(), Vec::<String>::new());
    }
}
