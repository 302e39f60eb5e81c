//! Servers that say too much: an error or their own slowness, and never all of the memory there is.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    sandbox::Sandbox,
    serve::{Serve, modern, peak_memory},
    vendor::{Era, Script, Vendor},
};

/// What a bridge may have in use that holds no large message, in MiB.
const LITTLE: usize = 64;

/// A modern server that answers a call as `flood` writes, which gets the call's head and its id. All else it answers in
/// good order.
fn server(flood: fn(&mut TcpStream, &str, &Value) -> io::Result<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    thread::spawn(move || {
        for peer in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || converse(peer, flood));
        }
    });
    url
}

fn converse(mut peer: TcpStream, flood: fn(&mut TcpStream, &str, &Value) -> io::Result<()>) -> io::Result<()> {
    let mut reader = BufReader::new(peer.try_clone()?);
    loop {
        let (mut head, mut line) = (String::new(), String::new());
        while reader.read_line(&mut line)? > 2 {
            head.push_str(&std::mem::take(&mut line).to_ascii_lowercase());
        }
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        let Some(length) = length else { return Ok(()) };
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let request: Value = serde_json::from_slice(&body)?;
        if request["params"]["name"] == "flood" {
            return flood(&mut peer, &head, &request["id"]);
        }
        let result = json!({
            "resultType": "complete", "ttlMs": 0, "cacheScope": "private", "content": [], "tools": [],
            "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
        });
        let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": result}).to_string();
        let length = answer.len();
        write!(peer, "HTTP/1.1 200 x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{answer}")?;
    }
}

/// Writes a head with these further lines, and then `piece` for as long as anybody reads.
fn pour(peer: &mut TcpStream, status: u16, headers: &str, piece: &[u8]) -> io::Result<()> {
    write!(peer, "HTTP/1.1 {status} x\r\n{headers}\r\n")?;
    loop {
        peer.write_all(piece)?;
    }
}

const PIECE: &[u8] = &[b' '; 1 << 16];

/// A call to such a server: the words of the error, and the bridge.
fn flooded(flood: fn(&mut TcpStream, &str, &Value) -> io::Result<()>) -> (String, Serve) {
    let mut serve = Sandbox::new().serve([server(flood)]);
    serve.call_modern("echo", json!({})).result();
    let error = serve.call_modern("flood", json!({})).error();
    assert_eq!(error["code"], -31010, "{error}");
    let text = error["message"].as_str().unwrap().to_owned();
    // And it goes on.
    serve.call_modern("echo", json!({})).result();
    (text, serve)
}

/// t126: what announces that it will be too large, an endless refusal, and what would become large when unpacked.
#[test]
fn t126_oversized_responses_are_not_read() {
    let (said, serve) = flooded(|peer, _, _| {
        pour(peer, 200, "content-type: application/json\r\ncontent-length: 10000000000\r\n", PIECE)
    });
    assert!(said.contains("larger than 256 MiB"), "{said}");
    assert!(serve.peak_memory() < LITTLE, "{} MiB", serve.peak_memory());

    for (status, why) in [(400, "larger than 1 MiB"), (500, "HTTP 500")] {
        let (said, serve) = match status {
            400 => flooded(|peer, _, _| pour(peer, 400, "content-type: application/json\r\n", PIECE)),
            _ => flooded(|peer, _, _| pour(peer, 500, "content-type: text/html\r\n", PIECE)),
        };
        assert!(said.contains(why), "{said}");
        assert!(serve.peak_memory() < LITTLE, "{} MiB", serve.peak_memory());
    }

    let (said, serve) = flooded(|peer, _, _| {
        let headers = "content-type: application/json\r\ncontent-encoding: zstd\r\ncontent-length: 10\r\n";
        write!(peer, "HTTP/1.1 200 x\r\n{headers}\r\n\x1f")?;
        peer.write_all(b"\x8b\x08\0\0\0\0\0\0\x03")
    });
    assert!(said.contains("(Content-Encoding: zstd)"), "{said}");
    assert!(serve.peak_memory() < LITTLE, "{} MiB", serve.peak_memory());
}

/// 300 MiB of spaces after `beginning`, in 300 KiB.
fn bomb(beginning: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(beginning.as_bytes()).unwrap();
    for _ in 0..300 * 16 {
        encoder.write_all(PIECE).unwrap();
    }
    encoder.finish().unwrap()
}

fn send_bomb(peer: &mut TcpStream, kind: &str, bomb: &[u8]) -> io::Result<()> {
    let length = bomb.len();
    assert!(length < 4 << 20, "{length}");
    let headers = format!("content-type: {kind}\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n");
    write!(peer, "HTTP/1.1 200 x\r\n{headers}\r\n")?;
    peer.write_all(bomb)
}

/// t126, a6: a small answer that unpacks to too much is given up where a message may not be larger, as JSON and as an event.
#[test]
fn t126_a6_a_compression_bomb_is_refused() {
    for flood in [
        (|peer, _, _| send_bomb(peer, "application/json", &bomb("")))
            as fn(&mut TcpStream, &str, &Value) -> io::Result<()>,
        |peer, _, _| send_bomb(peer, "text/event-stream", &bomb("data: ")),
    ] {
        let (said, serve) = flooded(flood);
        assert!(said.contains("larger than 256 MiB"), "{said}");
        assert!(serve.peak_memory() < 2 * 256 + LITTLE, "{} MiB", serve.peak_memory());
    }
}

/// t126: an answer without an end is given up where a message may not be larger, and held in memory once.
#[test]
fn t126_an_endless_response_is_refused() {
    let (said, serve) = flooded(|peer, _, _| pour(peer, 200, "content-type: application/json\r\n", PIECE));
    assert!(said.contains("larger than 256 MiB"), "{said}");
    assert!(serve.peak_memory() < 2 * 256 + LITTLE, "{} MiB", serve.peak_memory());
}

/// However many tools a list has, and whatever is left out of it, the work goes with its length and not with the square of
/// it: a list that is cut costs little more than one that passes as it is.
#[test]
#[cfg(target_os = "linux")]
fn a13_a_long_list_delays_no_other_message() {
    const TOOLS: usize = 40_000;
    let list = |shape: fn(usize) -> Value| Value::Array((0..TOOLS).map(shape).collect());
    let plain: fn(usize) -> Value = |n| {
        let hint = json!({"readOnlyHint": n % 2 == 0});
        json!({"name": format!("t{n}"), "annotations": hint, "inputSchema": {"type": "object"}})
    };
    let mirrored: fn(usize) -> Value = |n| {
        let property = json!({"a": {"type": "array", "x-mcp-header": "A"}});
        json!({"name": format!("t{n}"), "inputSchema": {"type": "object", "properties": property}})
    };
    let work = |vendor: &Vendor, flags: &[&str], left: usize| {
        let mut serve = Sandbox::new().serve([&[vendor.url().as_str()], flags].concat());
        serve.greet(Era::Modern).result();
        let before = serve.processor_time();
        let listed = serve.request_in(Era::Modern, "tools/list", json!({})).result();
        assert_eq!(listed["tools"].as_array().unwrap().len(), left, "{flags:?}");
        serve.processor_time() - before
    };
    let vendor = Vendor::start(Script { tool_pages: vec![list(plain)], ..Script::default().modern() });
    let as_it_is = work(&vendor, &[], TOOLS);
    let most = as_it_is * 3 + Duration::from_secs(1);
    for (flags, left) in [
        (&["--deny-tool", "*"][..], 0),
        (&["--deny-tool", "*[13579]"], TOOLS / 2),
        (&["--allow-tool", "t39999"], 1),
        (&["--read-only"], TOOLS / 2),
    ] {
        let taken = work(&vendor, flags, left);
        assert!(taken < most, "{flags:?}: {taken:?}, and {as_it_is:?} as it is");
    }
    let vendor = Vendor::start(Script { tool_pages: vec![list(mirrored)], ..Script::default().modern() });
    let taken = work(&vendor, &[], 0);
    assert!(taken < most * 2, "{taken:?}, and {as_it_is:?} as it is");
}

/// Says that the work goes on, over and over.
fn flood_of_progress(peer: &mut TcpStream, _: &str, _: &Value) -> io::Result<()> {
    let params = json!({"progressToken": 1, "progress": 1, "message": "x".repeat(1000)});
    let event =
        format!("data: {}\n\n", json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}));
    pour(peer, 200, "content-type: text/event-stream\r\n", event.repeat(60).as_bytes())
}

/// t127: a flood of notifications holds up no other call, and fills no memory.
#[test]
fn t127_a_flood_of_notifications_delays_no_response() {
    let mut serve = Sandbox::new().serve([server(flood_of_progress)]);
    serve.call_modern("echo", json!({})).result();
    serve.post("tools/call", modern(json!({"name": "flood", "arguments": {}, "_meta": {"progressToken": 1}})));
    serve.incoming("notifications/progress");
    let begun = Instant::now();
    let mut calls = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        let asked = Instant::now();
        serve.call_modern("echo", json!({})).result();
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        calls += 1;
    }
    assert!(calls > 1);
    assert!(serve.peak_memory() < LITTLE, "{} MiB", serve.peak_memory());
}

/// t107, t127: nor where the client does not read.
#[test]
fn t107_t127_a_flood_waits_for_its_reader() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
    command.arg("serve").arg(server(flood_of_progress)).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let call = json!({"name": "flood", "arguments": {}, "_meta": {"progressToken": 1}});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": modern(call)});
    writeln!(child.stdin.as_ref().unwrap(), "{call}").unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains("notifications/progress"), "{line}");
    thread::sleep(Duration::from_secs(2));
    let peak = peak_memory(&child);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(peak < LITTLE, "{peak} MiB");
}
