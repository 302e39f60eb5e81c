//! The redirect URI of a sign-in that waits: who can reach it, what it answers, and when it is gone.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use serde_json::json;
use url::Url;

use crate::support::{
    PATIENCE,
    browser::{FakeBrowser, Person},
    eventually,
    sandbox::Sandbox,
    serve::Serve,
    vendor::{Effect, On, Reply, Script, Vendor},
    visitor::{Page, visit},
};

/// A sign-in that waits for its person, who has not even looked yet.
struct Waiting {
    sandbox: Sandbox,
    vendor: Vendor,
    browser: FakeBrowser,
    login: Serve,
    /// What the browser was started with.
    page: Url,
}

impl Waiting {
    fn start() -> Self {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
        let login = sandbox.start(["login", &vendor.url()]);
        let start = eventually("the browser", || browser.starts().first().cloned());
        let page = Url::parse(&start.arguments[0]).unwrap();
        Self { sandbox, vendor, browser, login, page }
    }

    fn redirect_uri(&self) -> Url {
        let (_, redirect_uri) = self.page.query_pairs().find(|(key, _)| key == "redirect_uri").unwrap();
        Url::parse(&redirect_uri).unwrap()
    }

    fn port(&self) -> u16 {
        self.redirect_uri().port().unwrap()
    }

    /// The person signs in, and is sent back with this.
    fn answer(&self) -> Url {
        let page = visit("GET", self.page.as_str(), &[], "").unwrap();
        Url::parse(page.header("location").unwrap()).unwrap()
    }

    /// The whole answer to `request`, byte for byte.
    fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = Vec::new();
        let _ = stream.read_to_end(&mut response);
        String::from_utf8_lossy(&response).into_owned()
    }

    fn redemptions(&self) -> usize {
        self.vendor.records_at("/token").len()
    }

    #[track_caller]
    fn ends_well(mut self) {
        assert_eq!(self.login.exit_within(PATIENCE), Some(0), "{}", self.login.stderr());
        assert_eq!((self.redemptions(), self.browser.starts().len()), (1, 1));
        self.sandbox.finmcp(["token", &self.vendor.url()]).expect_success();
    }
}

fn is_open(address: impl Into<SocketAddr>) -> bool {
    TcpStream::connect_timeout(&address.into(), Duration::from_secs(5)).is_ok()
}

/// t029: a page elsewhere whose name was made to resolve to this machine (DNS rebinding) has no say, though it knew the
/// whole answer; and no page elsewhere can read what is answered.
#[test]
fn t029_a_page_of_another_host_is_refused() {
    let mut waiting = Waiting::start();
    let (answer, port) = (waiting.answer(), waiting.port());
    let target = &answer[url::Position::BeforePath..];
    for host in [
        "evil.com".to_owned(),
        format!("evil.com:{port}"),
        format!("localhost:{port}"),
        "127.0.0.1".to_owned(),
        format!("127.0.0.1.evil.com:{port}"),
        String::new(),
    ] {
        let response = waiting.send(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert!(response.starts_with("HTTP/1.1 403 "), "{host:?}: {response}");
    }
    for (method, target) in [("GET", "/callback?code=x&state=y"), ("OPTIONS", target), ("POST", target)] {
        let origin = "Origin: https://evil.example\r\nAccess-Control-Request-Method: GET";
        let response =
            waiting.send(&format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{origin}\r\n\r\n"));
        assert!(response.starts_with("HTTP/1.1 40"), "{method}: {response}");
        assert!(!response.to_lowercase().contains("access-control-"), "{method}: {response}");
    }
    assert!(waiting.login.is_running() && waiting.redemptions() == 0);
    assert_eq!(visit("GET", answer.as_str(), &[], "").unwrap().status, 200);
    waiting.ends_well();
}

/// t023, t024, t025: a visitor who does not know the state changes nothing, however often they come, and reads nothing of
/// what they sent.
#[test]
fn t024_unrelated_requests_to_the_redirect_uri_are_ignored() {
    let mut waiting = Waiting::start();
    let (path, port) = (waiting.redirect_uri().path().to_owned(), waiting.port());
    let mut queries = vec!["code=evil&state=wrong", "code=evil", "error=access_denied&state=", "state=x&state=y", ""];
    queries.resize(1000, "error=access_denied&error_description=CANARY");
    for query in queries {
        let response = waiting
            .send(&format!("GET {path}?{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"));
        assert!(response.starts_with("HTTP/1.1 400 ") && !response.contains("CANARY"), "{query}: {response}");
    }
    assert!(waiting.login.is_running() && waiting.redemptions() == 0);
    assert_eq!(visit("GET", waiting.answer().as_str(), &[], "").unwrap().status, 200);
    waiting.ends_well();
}

/// t031: the code is in the last page's address, and nothing on that page takes it anywhere.
#[test]
fn t031_the_last_page_does_not_leak_the_code() {
    let waiting = Waiting::start();
    let answer = waiting.answer();
    let (_, code) = answer.query_pairs().find(|(key, _)| key == "code").unwrap();
    let page = visit("GET", answer.as_str(), &[], "").unwrap();
    let text = page.text().to_lowercase();
    assert!(page.status == 200 && !text.contains(code.as_ref()), "{text}");
    for never in ["src=", "href=", "action=", "url(", "@import", "<iframe", "<form", "http-equiv", "fetch(", "ping="] {
        assert!(!text.contains(never), "{never}: {text}");
    }
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'")));
    waiting.ends_well();
}

/// t032: the port is open on 127.0.0.1 and on no other address, and only while a sign-in waits.
#[test]
fn t032_other_machines_cannot_reach_the_port() {
    let waiting = Waiting::start();
    let port = waiting.port();
    assert_eq!(waiting.redirect_uri().host_str(), Some("127.0.0.1"));
    assert!(is_open(([127, 0, 0, 1], port)));
    assert!(!is_open(([0, 0, 0, 0, 0, 0, 0, 1], port)), "open on ::1");
    // All of 127.0.0.0/8 is this machine on Linux: what listens on every address listens here too.
    if cfg!(target_os = "linux") {
        assert!(!is_open(([127, 0, 0, 2], port)), "open on every address");
    }
    visit("GET", waiting.answer().as_str(), &[], "").unwrap();
    waiting.ends_well();
    assert!(!is_open(([127, 0, 0, 1], port)), "open after the sign-in");
}

/// t033: a port that another program has is never shared: that is reported, and the code goes nowhere near.
#[test]
fn t033_a_port_that_is_taken_is_not_shared() {
    for address in ["127.0.0.1:0", "0.0.0.0:0"] {
        // macOS lets a listener on one address take precedence over one on all of them.
        if address.starts_with('0') && !cfg!(target_os = "linux") {
            continue;
        }
        let squatter = TcpListener::bind(address).unwrap();
        squatter.set_nonblocking(true).unwrap();
        let port = squatter.local_addr().unwrap().port().to_string();
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        let run = sandbox.finmcp(["login", &vendor.url(), "--port", &port]).expect_code(1);
        run.expect_stderr(&[&format!("127.0.0.1:{port}"), "another program uses this port"]);
        assert!(browser.starts().is_empty() && vendor.records_at("/register").is_empty(), "{address}");
        assert!(squatter.accept().is_err(), "{address}: the squatter got a connection");
        drop(squatter);
        sandbox.finmcp(["login", &vendor.url(), "--port", &port]).expect_success();
    }
}

/// t034: an answer is taken once. While its code is redeemed another answer is turned away, though it is as good; after
/// that the port is closed.
#[test]
fn t034_a_second_response_is_ignored() {
    let waiting = Waiting::start();
    let (answer, other) = (waiting.answer(), waiting.answer());
    assert_ne!(answer, other);
    waiting.vendor.fault(On::Path("/token"), Effect::Delay(Duration::from_secs(1)));
    let first = spawn_visit(&answer);
    waiting.vendor.wait_for("the redemption", |record| record.path == "/token");
    assert_eq!(visit("GET", other.as_str(), &[], "").unwrap().status, 400);
    assert_eq!(first.join().unwrap().unwrap().status, 200);
    let port = waiting.port();
    waiting.ends_well();
    assert!(!is_open(([127, 0, 0, 1], port)));
    assert!(visit("GET", answer.as_str(), &[], "").is_err());
}

/// A browser that loads the answer again while its code is redeemed, or that had loaded it before its person looked, gets
/// the last page, as often as it asks; the code is redeemed once. That holds for a refusal, too.
#[test]
fn b13_a_callback_that_is_loaded_again_gets_the_page() {
    for refused in [false, true] {
        let mut waiting = Waiting::start();
        let answer = waiting.answer();
        let effect = match refused {
            false => Effect::Delay(Duration::from_secs(1)),
            true => Effect::Answer(Reply::new(400).json(&json!({"error": "invalid_grant"}))),
        };
        waiting.vendor.fault(On::Path("/token"), effect);
        // All of them at once: which one comes first is the system's to say.
        let visits: Vec<_> = (0..5).map(|_| spawn_visit(&answer)).collect();
        let mut pages: Vec<_> = visits.into_iter().map(|visit| visit.join().unwrap()).collect();
        if refused {
            // The refusal may be there before all of them have come.
            pages.retain(Result::is_ok);
            assert_eq!(waiting.login.exit_within(PATIENCE), Some(1));
            assert_eq!(waiting.redemptions(), 1);
        }
        let pages: Vec<_> = pages.into_iter().map(Result::unwrap).collect();
        let wanted = if refused { "Could not sign in" } else { "You are signed in" };
        assert!(!pages.is_empty());
        assert!(pages.iter().all(|page| page.status == 200 && page.text().contains(wanted)), "{pages:?}");
        if !refused {
            waiting.ends_well();
        }
    }
}

/// A browser that gives up the first request and asks again, as "reload" does.
#[test]
fn b13_a_reload_gets_the_page() {
    let waiting = Waiting::start();
    let answer = waiting.answer();
    waiting.vendor.fault(On::Path("/token"), Effect::Delay(Duration::from_secs(1)));
    let mut first = TcpStream::connect(("127.0.0.1", waiting.port())).unwrap();
    let target = &answer[url::Position::BeforePath..];
    first.write_all(format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", waiting.port()).as_bytes()).unwrap();
    waiting.vendor.wait_for("the redemption", |record| record.path == "/token");
    drop(first);
    let page = visit("GET", answer.as_str(), &[], "").unwrap();
    assert!(page.status == 200 && page.text().contains("You are signed in"), "{page:?}");
    waiting.ends_well();
}

/// A browser's visit to `url`, which may be made to wait.
fn spawn_visit(url: &Url) -> std::thread::JoinHandle<Result<Page, reqwest::Error>> {
    let url = url.clone();
    std::thread::spawn(move || visit("GET", url.as_str(), &[], ""))
}

/// t037: a host that loses its patience and kills the bridge in the middle of a sign-in leaves nothing behind that would
/// keep the next one from signing in.
#[test]
fn t037_a_killed_bridge_does_not_block_others() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let ignored = FakeBrowser::install(&mut sandbox, Person::Ignores);
    let url = vendor.url();
    let hello =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}});
    for kills in 1..=2 {
        let mut serve = sandbox.serve([url.as_str(), "--sign-in", "auto"]);
        serve.post("initialize", hello.clone());
        serve.post("tools/call", json!({"name": "echo", "arguments": {"message": "hi"}}));
        let opened = eventually("the browser", || ignored.starts().get(kills - 1).cloned());
        serve.signal(rustix::process::Signal::KILL);
        assert_eq!(serve.exit_within(PATIENCE), None);
        let (_, redirect_uri) = Url::parse(&opened.arguments[0])
            .unwrap()
            .query_pairs()
            .find(|(key, _)| key == "redirect_uri")
            .map(|(key, value)| (key.into_owned(), value.into_owned()))
            .unwrap();
        assert!(!is_open(([127, 0, 0, 1], Url::parse(&redirect_uri).unwrap().port().unwrap())));
    }
    drop(ignored);
    let watched = sandbox.watched();
    for file in std::fs::read_dir(&watched).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let mut serve = sandbox.serve([url.as_str(), "--sign-in", "auto"]);
    serve.initialize().result();
    serve.echo("hi");
    assert_eq!(browser.starts().len(), 1);
}
