//! What HTTP does beside MCP: codings, cookies, redirects, statuses and connections.

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

use crate::support::{
    browser::signed_in,
    sandbox::Sandbox,
    secrets::Canary,
    vendor::{Effect, Era, On, Reply, Script, Vendor},
};

/// A server's answer on a connection that it then keeps: its status, further header lines and body.
type Answer = (u16, String, String);

/// A server that answers each request, of which `answer` gets the head in lower case and the message. With `early` it
/// answers before it has read the message, and then closes the connection under the next request.
fn server(early: bool, answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for peer in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            thread::spawn(move || converse(peer, early, &*answer));
        }
    });
    origin
}

fn converse(mut peer: TcpStream, early: bool, answer: &dyn Fn(&str, &Value) -> Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(peer.try_clone()?);
    loop {
        let (mut head, mut line) = (String::new(), String::new());
        while reader.read_line(&mut line)? > 2 {
            head.push_str(&std::mem::take(&mut line).to_ascii_lowercase());
        }
        if head.is_empty() {
            return Ok(());
        }
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body)?;
        let (status, headers, body) = answer(&head, &serde_json::from_slice(&body).unwrap_or_default());
        write!(peer, "HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())?;
        if early && status >= 400 && length.is_some() {
            // The client sees a good connection until it has sent the next request.
            reader.read_line(&mut String::new())?;
            return Ok(());
        }
    }
}

fn json_answer(message: &Value, headers: &str, result: &Value) -> Answer {
    let body = match message["id"].is_null() {
        true => return (202, headers.to_owned(), String::new()),
        false => json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string(),
    };
    (200, format!("content-type: application/json\r\n{headers}"), body)
}

fn welcome(message: &Value) -> Value {
    match message["method"].as_str() {
        Some("initialize") => json!({
            "protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}},
            "serverInfo": {"name": "x", "version": "1"},
        }),
        Some("tools/list") => json!({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}),
        _ => json!({"content": [], "tools": []}),
    }
}

/// Four backends behind one address, each with its own sessions. A request without a cookie goes to the next.
#[test]
fn a7_a_session_stays_with_its_backend() {
    let backends = Arc::new(Mutex::new((0_usize, vec![HashSet::<String>::new(); 4], Vec::<String>::new())));
    let shared = backends.clone();
    let origin = server(false, move |head, message| {
        let mut shared = shared.lock().unwrap();
        let (next, sessions, log) = &mut *shared;
        let named = head.split("node=").nth(1).and_then(|rest| rest[..1].parse::<usize>().ok());
        let backend = named.unwrap_or_else(|| {
            *next += 1;
            *next % 4
        });
        log.push(format!("{} {}", head.split(' ').next().unwrap(), message["method"].as_str().unwrap_or_default()));
        let cookie = format!("set-cookie: node={backend}; Path=/; HttpOnly\r\n");
        if head.starts_with("get ") {
            return (405, cookie, String::new());
        }
        if message["method"] == "initialize" {
            let session = format!("session-{backend}-{}", log.len());
            sessions[backend].insert(session.clone());
            return json_answer(message, &format!("{cookie}mcp-session-id: {session}\r\n"), &welcome(message));
        }
        let session = head.split("mcp-session-id: ").nth(1).and_then(|rest| rest.lines().next());
        match session.is_some_and(|session| sessions[backend].contains(session)) {
            true => json_answer(message, &cookie, &welcome(message)),
            false => (404, cookie, String::new()),
        }
    });
    let sandbox = Sandbox::new();
    let mut serve = sandbox.serve([format!("{origin}/mcp")]);
    serve.initialize().result();
    for _ in 0..20 {
        serve.request("tools/list", json!({})).result();
        serve.call("echo", json!({})).result();
    }
    drop(serve);
    let log = backends.lock().unwrap().2.clone();
    let initialized = log.iter().filter(|line| line.ends_with(" initialize")).count();
    assert_eq!(initialized, 1, "{log:?}");
}

/// Another sign-in, be it with the same client, begins without the cookies of the one before; a renewal keeps them.
#[test]
fn a7_cookies_end_with_the_sign_in_within_one_serve() {
    let vendor = Vendor::start(Script::people());
    let (sandbox, _browser) = signed_in(&vendor, &[]);
    let mut serve = sandbox.serve([vendor.url()]);
    serve.initialize().result();
    let mut cookie_of_call = |cookie: Option<&str>| {
        if let Some(cookie) = cookie {
            // The answer to one request sets it.
            let reply = Reply::new(404).header("set-cookie", cookie);
            vendor.fault(On::Rpc("tools/list"), Effect::Answer(reply));
            let _ = serve.request("tools/list", json!({}));
        }
        serve.echo("hi");
        let mut calls = vendor.records_at("/mcp").into_iter().filter(|record| record.method == "POST");
        let call = calls.rfind(|record| record.json()["method"] == "tools/call").unwrap();
        call.header("cookie").map(str::to_owned)
    };
    assert_eq!(cookie_of_call(Some("account=ann; Path=/")).as_deref(), Some("account=ann"));
    vendor.revoke_access_tokens();
    assert_eq!(cookie_of_call(None).as_deref(), Some("account=ann"), "a renewal");
    for arguments in [&[][..], &["--force"]] {
        vendor.revoke_access_tokens();
        sandbox.finmcp([&["login", &vendor.url()], arguments].concat()).expect_success();
        assert_eq!(cookie_of_call(None), None, "{arguments:?}");
        assert_eq!(cookie_of_call(Some("account=bob; Path=/")).as_deref(), Some("account=bob"));
    }
    sandbox.finmcp(["logout", &vendor.url()]).expect_success();
    sandbox.finmcp(["login", &vendor.url()]).expect_success();
    assert_eq!(cookie_of_call(None), None, "after a logout");
}

/// What a server sets is in no file and no output of finmcp, and goes to no other server.
#[test]
fn a7_cookies_are_not_kept_on_disk() {
    const COOKIE: &str = "CANARY-cookie-0123456789abcdef";
    let origin = server(false, |head, message| {
        let cookie = format!("set-cookie: node={COOKIE}; Path=/; Max-Age=99999\r\n");
        match head.starts_with("post ") {
            true => json_answer(message, &cookie, &welcome(message)),
            false => (405, cookie, String::new()),
        }
    });
    let (sandbox, other) = (Sandbox::new(), Vendor::start(Script::default()));
    for url in [format!("{origin}/mcp"), other.url()] {
        let mut serve = sandbox.serve([&url]);
        serve.initialize().result();
        serve.request("tools/list", json!({})).result();
    }
    assert!(other.records().iter().all(|record| record.header("cookie").is_none()));
    let mut folders = vec![sandbox.home().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                Canary::new(COOKIE).assert_absent(&bytes, "a file");
            }
        }
    }
}

/// A server that is found at the other spelling of its address: the first request finds out, and all others go there.
#[test]
fn a8_a_server_behind_a_slash_is_served() {
    for status in [301, 302, 307, 308] {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
        for _ in 0..20 {
            let redirect = Reply::new(status).header("location", "/mcp");
            vendor.fault(On::Path("/mcp/"), Effect::Answer(redirect));
        }
        let mut serve = sandbox.serve([vendor.at("/mcp/")]);
        serve.initialize().result();
        for message in ["a", "b", "c"] {
            let answer = serve.call("echo", json!({"message": message}));
            assert_eq!(answer.result()["content"][0]["text"], message, "{status}");
        }
        serve.close_stdin();
        // The session ends there too.
        vendor.wait_for("the end", |record| record.method == "DELETE" && record.path == "/mcp");
        assert_eq!(vendor.records_at("/mcp/").len(), 1, "{status}");
        assert_eq!(vendor.executed().len(), 3, "{status}");
    }
}

/// A redirect to any other place of the same origin, such as a web page: no token and no message goes there, and the
/// error names it.
#[test]
fn a8_a_redirect_to_a_page_is_refused_and_named() {
    for status in [307, 308] {
        for (location, named) in [("/login?next=/mcp&state=CANARY", "/login"), ("/", "/"), ("/mcp/v2", "/mcp/v2")] {
            let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
            let mut serve = sandbox.serve([vendor.url()]);
            serve.initialize().result();
            vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(status).header("location", location)));
            let error = serve.call("echo", json!({"message": "hi"})).error();
            let text = error["message"].as_str().unwrap();
            assert!(text.contains(&format!("redirects to {} (HTTP {status})", vendor.at(named))), "{text}");
            assert!(!text.contains("CANARY") && text.contains("nothing was sent to the other address"), "{text}");
            assert_eq!(error["code"], -31005);
            assert!(vendor.records().iter().all(|record| record.path == "/mcp"), "{location}");
        }
    }
}

/// A call that was refused by its status is said not to have been carried out; every other loss is open.
#[test]
fn a10_a_refused_call_has_a_known_outcome() {
    // (Where there is a session some of these say that it is lost.)
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script { sessions: false, ..Script::default() }));
    let mut serve = sandbox.serve([vendor.url()]);
    serve.initialize().result();
    let mut lose = |effect: Effect| {
        let before = vendor.calls("tools/call").len();
        vendor.fault(On::Rpc("tools/call"), effect);
        let error = serve.call("echo", json!({"message": "hi"})).error();
        assert_eq!(vendor.calls("tools/call").len(), before + 1, "{error}");
        error
    };
    for status in [400, 402, 409, 413, 414, 415, 421, 422, 431, 451] {
        let error = lose(Effect::status(status));
        assert_eq!(error["code"], -31003, "{status}: {error}");
        assert!(error["message"].as_str().unwrap().contains(&format!("HTTP {status}")), "{error}");
    }
    for status in [200, 201, 206, 408, 500, 501, 502, 503, 504, 507, 522, 524] {
        assert_eq!(lose(Effect::status(status))["code"], -31010, "{status}");
    }
    // One that has run, and whose answer has lost its status.
    let result = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}});
    for status in [400, 402, 409, 422, 451] {
        assert_eq!(lose(Effect::Answer(Reply::new(status).json(&result)))["code"], -31010, "{status}");
    }
    assert_eq!(vendor.executed(), Vec::<String>::new());
}

/// What a gateway says of an error is passed on; a page is not, nor what repeats the token.
#[test]
fn d7_the_reason_of_an_error_is_shown() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    let mut serve = sandbox.serve([vendor.url()]);
    serve.initialize().result();
    for (kind, body, said) in [
        ("text/plain", "upstream not configured\nat 7", "HTTP 503: upstream not configured."),
        ("application/json", r#"{"message":"no \u001b[2Jroute"}"#, "HTTP 503: no [2Jroute."),
        ("application/json", r#"{"detail":"down for maintenance"}"#, "HTTP 503: down for maintenance."),
        ("application/problem+json", r#"{"title":"Unavailable"}"#, "HTTP 503: Unavailable."),
        ("text/html", "<h1>nginx</h1>", "HTTP 503."),
    ] {
        vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(503).body(kind, body)));
        let error = serve.call("echo", json!({"message": "hi"})).error();
        let text = error["message"].as_str().unwrap();
        assert!(text.contains(said), "{text}");
        assert_eq!(error["code"], -31010);
    }
}

/// A server that refuses before it has read the message, and then closes the connection: no later request is lost by
/// that.
#[test]
fn d3_a_server_that_answers_early_is_served() {
    let refused = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
    let counts = refused.clone();
    let origin = server(true, move |head, message| {
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        if !head.starts_with("post ") {
            return (404, String::new(), String::new());
        }
        // Each message is refused every other time.
        let mut counts = counts.lock().unwrap();
        let count = counts.entry(method).or_default();
        *count += 1;
        match count.is_multiple_of(2) {
            true => (403, "content-type: text/plain\r\n".to_owned(), "not now".to_owned()),
            false => json_answer(message, "", &welcome(message)),
        }
    });
    let sandbox = Sandbox::new();
    let mut serve = sandbox.serve([format!("{origin}/mcp")]);
    serve.initialize().result();
    for round in 0..12 {
        let answer = serve.call("echo", json!({}));
        match round % 2 {
            0 => drop(answer.result()),
            _ => assert_eq!(answer.error()["code"], -31003, "{}", answer.raw),
        }
    }
    assert_eq!(refused.lock().unwrap()["tools/call"], 12);
}

/// What a sign-in finds, `serve` and `doctor` find too.
#[cfg(unix)]
#[test]
fn a8_login_finds_a_server_behind_a_slash() {
    use crate::support::browser::{FakeBrowser, Person};

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/mcp/", listener.local_addr().unwrap());
    let script = Script { protected_resource: json!({"resource": address}), ..Script::people() };
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start_on(listener, script));
    for _ in 0..20 {
        vendor.fault(On::Path("/mcp/"), Effect::Answer(Reply::new(301).header("location", "/mcp")));
    }
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", &address, "--resource", &vendor.url()]).expect_success();
    let mut serve = sandbox.serve([&address]);
    serve.greet(Era::Legacy).result();
    serve.call("echo", json!({"message": "hi"})).result();
    sandbox.finmcp(["doctor", &address]).expect_success();
    assert_eq!(vendor.executed().len(), 1);
}
