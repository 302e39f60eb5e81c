//! How much of the machine's memory a conversation may take, whichever side sends much.

use std::{net::TcpListener, time::Duration};

use serde_json::json;

use crate::support::{
    eventually,
    sandbox::Sandbox,
    serve::Serve,
    vendor::{Answer, Effect, Era, On, Script, Vendor},
};

/// Sends `count` lines of about a kilobyte each, made by `line` of their number and that filling.
fn flood(serve: &mut Serve, count: usize, line: fn(usize, &str) -> String) {
    let filling = "x".repeat(1000);
    for chunk in (0..count).collect::<Vec<_>>().chunks(200) {
        let lines: String = chunk.iter().map(|number| line(*number, &filling) + "\n").collect();
        serve.write(lines.as_bytes());
    }
}

/// Every kind of message that waits for no answer.
const KINDS: [fn(usize, &str) -> String; 5] = [
    |number, x| format!(r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{{"n":{number},"x":"{x}"}}}}"#),
    |number, x| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{number},"progress":1,"message":"{x}"}}}}"#
        )
    },
    |number, x| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":"gone-{number}","reason":"{x}"}}}}"#
        )
    },
    |_, x| format!(r#"{{"jsonrpc":"2.0","method":"notifications/roots/list_changed","params":{{"x":"{x}"}}}}"#),
    |number, x| format!(r#"{{"jsonrpc":"2.0","id":"asked-{number}","result":{{"x":"{x}"}}}}"#),
];

/// Whatever a client says while the server is away, and however much of it.
#[test]
fn a11_messages_for_an_unreachable_server_are_not_kept() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sandbox = Sandbox::new();
    let mut serve = sandbox.serve([format!("http://{closed}/mcp")]);
    serve.initialize().result();
    let before = serve.memory();
    for kind in KINDS {
        flood(&mut serve, 6000, kind);
        serve.request("ping", json!({})).result();
    }
    let grown = serve.memory().saturating_sub(before);
    assert!(grown < 10, "{grown} MiB more");
}

/// The same while a server that is there does not answer.
#[test]
fn a11_messages_for_a_silent_server_are_not_kept() {
    let vendor = Vendor::start(Script::default());
    let mut serve = Sandbox::new().serve([vendor.url()]);
    serve.initialize().result();
    vendor.wait_for("the stream", |record| record.method == "GET");
    for _ in 0..4000 {
        vendor.fault(On::Method("POST"), Effect::Delay(Duration::from_secs(600)));
    }
    let before = serve.memory();
    for kind in KINDS {
        flood(&mut serve, 6000, kind);
    }
    // Whatever is read by now is answered by finmcp itself: two requests of one id.
    serve.send(r#"{"jsonrpc":"2.0","id":"twice","method":"tools/list"}"#);
    serve.send(r#"{"jsonrpc":"2.0","id":"twice","method":"tools/list"}"#);
    serve.answer_to("\"twice\"").error();
    let grown = serve.memory().saturating_sub(before);
    assert!(grown < 16, "{grown} MiB more");
}

/// What was said meanwhile and still means something comes when the server does, in its order; nothing else does.
#[test]
fn a11_stale_notifications_are_not_delivered() {
    let vendor = Vendor::start(Script::default());
    vendor.fault(On::Rpc("initialize"), Effect::status(503));
    let mut serve = Sandbox::new().serve([vendor.url()]);
    serve.initialize().result();
    for kind in KINDS {
        flood(&mut serve, 1200, kind);
    }
    serve.send(KINDS[0](4711, "last"));
    let listed = serve.request("tools/list", json!({}));
    listed.result();
    vendor.wait_for("the last one", |record| record.text().contains("4711"));
    let methods: Vec<String> = vendor.records().iter().filter_map(|record| record.rpc_method()).collect();
    let count = |method: &str| methods.iter().filter(|found| *found == method).count();
    assert_eq!((count("notifications/initialized"), count("notifications/roots/list_changed")), (1, 1));
    assert_eq!((count("notifications/progress"), count("notifications/cancelled")), (0, 0));
    assert!((1..=1000).contains(&count("notifications/x")), "{}", count("notifications/x"));
    assert!(!vendor.records().iter().any(|record| record.text().contains("asked-")), "responses without a request");
    let first = methods.iter().position(|method| method == "notifications/x").unwrap();
    assert!(methods.iter().position(|method| method == "notifications/initialized").unwrap() < first);
}

/// Large enough to tell one from two, and small enough for a debug build.
const LARGE: usize = 16 << 20;

/// A large result is in memory once, whatever is changed in it on its way.
#[test]
fn a14_a_large_result_is_held_once() {
    let text = "x".repeat(LARGE);
    for (client, server, answer, shape) in [
        (Era::Modern, Era::Legacy, Answer::Json, "plain"),
        (Era::Modern, Era::Legacy, Answer::Events, "plain"),
        (Era::Legacy, Era::Modern, Answer::Json, "plain"),
        (Era::Legacy, Era::Legacy, Answer::Json, "with line breaks"),
        (Era::Modern, Era::Legacy, Answer::Json, "with line breaks"),
    ] {
        let what = format!("{client:?} to {server:?}, {answer:?}, {shape}");
        let vendor = Vendor::start(Script { era: server, answer, ..Script::default() });
        let gap = if shape == "plain" { "" } else { "\n " };
        let kind = if server == Era::Modern { r#""resultType":"complete","# } else { "" };
        let content = format!(r#"{{"type":"text",{gap}"text":"{text}"}}"#);
        vendor.prepare(
            "large",
            format!(r#"{{"jsonrpc":"2.0",{gap}"id":@ID@,"result":{{{kind}{gap}"content":[{content}]}}}}"#),
        );
        let mut serve = Sandbox::new().serve([vendor.url()]);
        serve.greet(client).result();
        let before = serve.peak_memory();
        let answered = serve.call_in(client, "raw", json!({"name": "large"}));
        assert!(answered.raw.len() > LARGE, "{what}: {}", &answered.raw[..200.min(answered.raw.len())]);
        let taken = serve.peak_memory() - before;
        assert!(taken <= (LARGE >> 20) * 13 / 10 + 6, "{what}: {taken} MiB");
        eventually("the memory to be let go", || (serve.memory() < before + 6).then_some(()));
    }
}

/// A large request is let go when it is answered, be it small ones or none that follow.
#[test]
fn a14_a_large_request_is_freed() {
    for (client, server) in Era::COMBINATIONS {
        let vendor = Vendor::start(Script { era: server, ..Script::default() });
        let mut serve = Sandbox::new().serve([vendor.url()]);
        serve.greet(client).result();
        vendor.prepare("small", r#"{"jsonrpc":"2.0","id":@ID@,"result":{"resultType":"complete","content":[]}}"#);
        let before = serve.memory();
        let arguments = json!({"name": "small", "message": "x".repeat(LARGE / 2)});
        serve.call_in(client, "raw", arguments).result();
        eventually("the memory to be let go", || (serve.memory() < before + 6).then_some(()));
    }
}

/// a15: a config file on a disk that does not answer: the conversation goes on, and its end comes when it is asked for.
#[cfg(unix)]
#[test]
fn a15_a_stalled_settings_file_delays_no_message() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let mut serve = sandbox.serve([vendor.url()]);
    serve.initialize().result();
    let file = sandbox.home().join("finmcp/config.toml");
    stall(&file);
    let stuck = serve.post("tools/call", json!({"name": "finmcp_sign_in", "arguments": {}}));
    for _ in 0..3 {
        serve.request("ping", json!({})).result();
        serve.request("tools/list", json!({})).result();
    }
    assert!(serve.rest(Duration::from_millis(300)).iter().all(|message| !message.answers(&stuck)), "nothing stalled");
    serve.signal(rustix::process::Signal::TERM);
    assert_eq!(serve.exit_within(Duration::from_secs(2)), Some(0));
}

/// Puts a pipe that no one writes to in the place of `file`: reading it takes for ever, as from a disk that is away.
#[cfg(unix)]
fn stall(file: &std::path::Path) {
    let folder = file.parent().unwrap();
    std::fs::create_dir_all(folder).unwrap();
    let _ = std::fs::remove_file(file);
    rustix::fs::mknodat(rustix::fs::CWD, file, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .unwrap();
}
