//! What `finmcp doctor` advises is true: for each broken set-up it names one cause, and after the advised command, or the
//! advised step where no command can help, it finds nothing wrong.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    commands::{
        login::CLIENT_SECRET,
        token::{pass, signed_in_machine},
    },
    support::{
        browser::{FakeBrowser, Person, signed_in},
        internet::{Identity, Internet},
        sandbox::{Run, Sandbox},
        vendor::{Dpop, Effect, On, Reply, Script, Vendor},
    },
};

const FINMCP: &str = env!("CARGO_BIN_EXE_finmcp");

/// What doctor says of the one step that failed.
pub(crate) struct Diagnosis {
    report: Value,
    hints: Vec<String>,
}

impl Diagnosis {
    /// The advised command that begins with `start`, as it stands in the report.
    #[track_caller]
    fn command(&self, start: &str) -> String {
        let commands = self.hints.iter().flat_map(|hint| hint.split('`').skip(1).step_by(2));
        let mut meant = commands.filter(|command| command.starts_with(start));
        meant.next().unwrap_or_else(|| panic!("no command {start:?}: {:#}", self.report)).to_owned()
    }

    /// Panics unless doctor advises this step.
    #[track_caller]
    pub(crate) fn advises(&self, step: &str) -> &Self {
        assert!(self.hints.iter().any(|hint| hint.contains(step)), "no hint {step:?}: {:#}", self.report);
        self
    }
}

/// Panics unless doctor exits with 1, exactly this step failed, and it says all of `texts`.
#[track_caller]
pub(crate) fn diagnose(sandbox: &Sandbox, arguments: &[&str], step: &str, texts: &[&str]) -> Diagnosis {
    let report = report(&sandbox.finmcp([&["doctor", "--json"], arguments].concat()), 1);
    let failed: Vec<&Value> = steps(&report).filter(|step| step["result"] == "failed").collect();
    assert_eq!(failed.iter().map(|step| &step["step"]).collect::<Vec<_>>(), [step], "{report:#}");
    let said = failed[0].to_string();
    for text in texts {
        assert!(said.contains(text), "{step} does not say {text:?}: {report:#}");
    }
    // What could not be tested names what it depends on: this step.
    for skipped in steps(&report).filter(|step| step["result"] == "skipped") {
        assert_eq!(skipped["what"], format!("depends on {step}"), "{report:#}");
    }
    let hints = failed[0]["do"].as_array().unwrap_or_else(|| panic!("nothing to do: {report:#}"));
    let hints = hints.iter().map(|hint| hint.as_str().unwrap().to_owned()).collect();
    Diagnosis { report, hints }
}

/// Panics unless nothing is wrong.
#[track_caller]
pub(crate) fn expect_green(sandbox: &Sandbox, arguments: &[&str]) {
    let report = report(&sandbox.finmcp([&["doctor", "--json"], arguments].concat()), 0);
    assert!(steps(&report).all(|step| step["result"] == "ok"), "{report:#}");
}

#[track_caller]
fn report(run: &Run, code: i32) -> Value {
    let report = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    assert_eq!(run.code, Some(code), "{report:#}");
    report
}

fn steps(report: &Value) -> impl Iterator<Item = &Value> {
    report["steps"].as_array().unwrap().iter()
}

/// Runs an advised command in a shell, as a person who pastes it.
#[track_caller]
fn carry_out(sandbox: &Sandbox, command: &str) {
    let mut shell = sandbox.command("sh");
    let folder = Path::new(FINMCP).parent().unwrap();
    shell.env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()));
    shell.args(["-c", command]);
    let run = sandbox.run(shell, Vec::new());
    assert_eq!(run.code, Some(0), "{command}: {run:?}");
}

/// A person who is signed in, as the profile `books`.
fn books(script: Script) -> (Sandbox, Vendor, FakeBrowser) {
    let vendor = Vendor::start(script);
    let (sandbox, browser) = signed_in(&vendor, &["--profile", "books"]);
    expect_green(&sandbox, &["books"]);
    (sandbox, vendor, browser)
}

/// A server that needs no sign-in and says nothing of itself, so that it can have any address.
fn open_server() -> Vendor {
    Vendor::start(Script { publishes_metadata: false, ..Script::default() })
}

fn config(sandbox: &Sandbox) -> PathBuf {
    sandbox.home().join("finmcp/config.toml")
}

/// Changes config.toml.
fn edit(sandbox: &Sandbox, old: &str, new: &str) {
    let text = fs::read_to_string(config(sandbox)).unwrap();
    assert!(text.contains(old), "{old} is not in {text}");
    fs::write(config(sandbox), text.replace(old, new)).unwrap();
}

fn key_file(sandbox: &Sandbox) -> PathBuf {
    let found = sandbox.environment().find(|(name, _)| *name == "FINMCP_STORE_KEY_FILE");
    found.unwrap().1.into()
}

fn delete_store(sandbox: &Sandbox) {
    fs::remove_dir_all(sandbox.home().join("finmcp/credentials")).unwrap();
}

#[test]
fn c4_cure_another_key_file() {
    let (mut sandbox, _vendor, _browser) = books(Script::people());
    let (original, other) = (key_file(&sandbox), sandbox.give("other.key", [7; 32]));
    sandbox.set("FINMCP_STORE_KEY_FILE", &other);
    let said = diagnose(&sandbox, &["books"], "store", &["encrypted with another key or passphrase"]);
    said.advises("set FINMCP_STORE_KEY_FILE (or FINMCP_STORE_PASSPHRASE) to the one that you signed in with");
    sandbox.set("FINMCP_STORE_KEY_FILE", original);
    expect_green(&sandbox, &["books"]);

    // The original one is lost.
    sandbox.set("FINMCP_STORE_KEY_FILE", other);
    said.advises("delete the folder ~/finmcp/credentials");
    delete_store(&sandbox);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &["books"]);
}

#[test]
fn c4_cure_a_missing_key_file() {
    let (sandbox, _vendor, _browser) = books(Script::people());
    let key = fs::read(key_file(&sandbox)).unwrap();
    fs::remove_file(key_file(&sandbox)).unwrap();
    let said = diagnose(&sandbox, &["books"], "store", &["store.key does not exist"]);
    said.advises("or restore it from a backup");
    sandbox.give("store.key", &key);
    expect_green(&sandbox, &["books"]);

    said.advises("put a new key file of at least 32 secret bytes there, delete the folder ~/finmcp/credentials");
    sandbox.give("store.key", [9; 32]);
    delete_store(&sandbox);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &["books"]);
}

/// Before the first sign-in too: `finmcp login` could not keep anything.
#[test]
fn c4_cure_a_missing_key_file_before_the_first_sign_in() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    fs::remove_file(key_file(&sandbox)).unwrap();
    let said = diagnose(&sandbox, &[&vendor.url()], "store", &["store.key does not exist"]);
    said.advises("put a new key file of at least 32 secret bytes there");
    sandbox.give("store.key", [9; 32]);
    expect_green(&sandbox, &[&vendor.url()]);
}

/// A person with a store that opens with a passphrase.
fn with_passphrase() -> (Sandbox, Vendor, FakeBrowser) {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    sandbox.unset("FINMCP_STORE_KEY_FILE");
    sandbox.set("FINMCP_STORE_PASSPHRASE", "correct horse battery");
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", &vendor.url(), "--profile", "books"]).expect_success();
    expect_green(&sandbox, &["books"]);
    (sandbox, vendor, browser)
}

#[test]
fn c4_cure_a_passphrase_that_is_missing_or_wrong() {
    let (mut sandbox, _vendor, _browser) = with_passphrase();
    sandbox.unset("FINMCP_STORE_PASSPHRASE");
    let said = diagnose(&sandbox, &["books"], "store", &["needs its key file or its passphrase"]);
    said.advises("set FINMCP_STORE_PASSPHRASE to the passphrase");
    sandbox.set("FINMCP_STORE_PASSPHRASE", "correct horse batteri");
    let said = diagnose(&sandbox, &["books"], "store", &["encrypted with another key or passphrase"]);
    said.advises("(or FINMCP_STORE_PASSPHRASE) to the one that you signed in with");
    sandbox.set("FINMCP_STORE_PASSPHRASE", "correct horse battery");
    expect_green(&sandbox, &["books"]);
}

/// The variables that an entry of Cursor needs in these tests.
fn needed(sandbox: &Sandbox, names: &[&str]) -> Value {
    let found = sandbox.environment().filter(|(name, _)| names.iter().any(|needed| *name == needed));
    found.map(|(name, value)| (name.to_str().unwrap().to_owned(), json!(value.to_str().unwrap()))).collect()
}

fn cursor(sandbox: &Sandbox, command: &str, environment: &Value) {
    fs::create_dir_all(sandbox.home().join(".cursor")).unwrap();
    let entry = json!({"command": command, "args": ["serve", "books"], "env": environment});
    let document = json!({"mcpServers": {"books": entry}});
    fs::write(sandbox.home().join(".cursor/mcp.json"), document.to_string()).unwrap();
}

/// An AI client cannot enter a passphrase, and rewriting its entry would change nothing.
#[test]
fn c4_cure_an_entry_that_would_need_a_passphrase() {
    let (mut sandbox, _vendor, _browser) = with_passphrase();
    cursor(&sandbox, FINMCP, &needed(&sandbox, &["FINMCP_CONFIG_DIR", "FINMCP_STORE"]));
    let said = diagnose(&sandbox, &["books"], "client", &["cannot open the credential store", "the passphrase"]);
    said.advises("set FINMCP_STORE_KEY_FILE to a file of at least 32 secret bytes, delete the folder ~/finmcp/cred");
    sandbox.unset("FINMCP_STORE_PASSPHRASE");
    let key = sandbox.give("new.key", [5; 32]);
    sandbox.set("FINMCP_STORE_KEY_FILE", key);
    delete_store(&sandbox);
    carry_out(&sandbox, &said.command("finmcp login"));
    carry_out(&sandbox, &said.command("finmcp setup cursor"));
    expect_green(&sandbox, &["books"]);
}

/// A store that this process cannot read either is no fault of an entry: `setup --force` would be a circle.
#[test]
fn c4_an_entry_is_not_to_blame_for_the_store() {
    let (mut sandbox, _vendor, _browser) = books(Script::people());
    let original = key_file(&sandbox);
    cursor(&sandbox, FINMCP, &needed(&sandbox, &["FINMCP_CONFIG_DIR", "FINMCP_STORE", "FINMCP_STORE_KEY_FILE"]));
    for arguments in [&["books"][..], &[]] {
        sandbox.set("FINMCP_STORE_KEY_FILE", sandbox.home().join("nothing"));
        diagnose(&sandbox, arguments, "store", &["nothing does not exist"]);
        sandbox.set("FINMCP_STORE_KEY_FILE", &original);
        expect_green(&sandbox, arguments);
    }
}

#[test]
fn c4_cure_a_sign_in_that_the_server_has_ended() {
    let (sandbox, vendor, _browser) = books(Script { access_lifetime: Duration::from_secs(1), ..Script::people() });
    pass(Duration::from_secs(1));
    vendor.revoke_sign_ins();
    // The first time, the server says `invalid_grant`; later it is known here.
    for step in ["token", "sign-in"] {
        diagnose(&sandbox, &["books"], step, &["the server ended the sign-in"]);
    }
    vendor.change(|script| script.access_lifetime = Duration::from_secs(3600));
    let said = diagnose(&sandbox, &["books"], "sign-in", &[]);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &["books"]);
}

#[test]
fn c4_cure_a_client_that_the_server_has_forgotten() {
    let (sandbox, vendor, _browser) = books(Script { access_lifetime: Duration::from_secs(1), ..Script::people() });
    pass(Duration::from_secs(1));
    vendor.forget_clients();
    vendor.change(|script| script.access_lifetime = Duration::from_secs(3600));
    let said = diagnose(&sandbox, &["books"], "token", &["the server has forgotten this client"]);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &["books"]);
    assert_eq!(vendor.records_at("/register").len(), 2);
}

#[test]
fn c4_cure_a_client_secret_that_the_vendor_has_replaced() {
    let (sandbox, vendor) = signed_in_machine();
    vendor.know("x", "another-secret-0123456789");
    let said = diagnose(&sandbox, &["--env", "sandbox"], "token", &["the client secret changed"]);
    assert_eq!(said.hints.len(), 1, "signing in with the old secret would not help: {:#}", said.report);
    let secret = sandbox.give("new-secret", "another-secret-0123456789").display().to_string();
    carry_out(&sandbox, &said.command("finmcp login asset").replace("ID", "x").replace("PATH", &secret));
    expect_green(&sandbox, &["--env", "sandbox"]);
}

/// What the server refuses is signed with this machine's time: the clock alone is to blame.
#[test]
fn c4_cure_a_clock_that_is_a_day_off() {
    let Some(library) = faketime() else { panic!("libfaketime is missing; run this test by tests/run.sh") };
    // A token that only this machine takes for expired, and proofs that the server takes for old.
    for script in [
        Script { refresh_tokens: false, ..Script::people() },
        Script { dpop: Some(Dpop::Challenged), refresh_tokens: false, ..Script::people() },
    ] {
        let is_bound = script.dpop.is_some();
        let (mut sandbox, _vendor, _browser) = books(script);
        sandbox.set("LD_PRELOAD", &library);
        sandbox.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        sandbox.set("FAKETIME", if is_bound { "-1d" } else { "+1d" });
        let side = if is_bound { "behind" } else { "ahead of" };
        let wrong = format!("this machine's clock is 24 h {side} the server's");
        let said = diagnose(&sandbox, &["books"], "clock", &[&wrong]);
        said.advises("set this machine's clock");
        for name in ["LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC"] {
            sandbox.unset(name);
        }
        if is_bound {
            // The refused proof has ended the sign-in, as the report says.
            carry_out(&sandbox, &said.command("finmcp login"));
        }
        expect_green(&sandbox, &["books"]);
    }
}

/// Where `tests/run.sh` installs it.
fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    folders.map(|folder| folder.join("faketime/libfaketime.so.1")).find(|path| path.exists())
}

#[test]
fn c4_cure_a_network_with_a_sign_in_page() {
    let (sandbox, vendor, _browser) = books(Script::people());
    let page = Reply::new(200).body("text/html", "<html>Welcome to the hotel");
    let redirect = Reply::new(302).header("location", "http://portal.example/login");
    for (answer, what) in [(page, "returned a web page"), (redirect, "redirects to http://portal.example/login")] {
        // It answers whatever is asked.
        for _ in 0..20 {
            vendor.fault(On::Path("/mcp"), Effect::Answer(answer.clone()));
        }
        let said = diagnose(&sandbox, &["books"], "endpoint", &[what]);
        said.advises("open any page in a browser, sign in to the network and try again");
        vendor.heal();
        expect_green(&sandbox, &["books"]);
    }
}

#[test]
fn c4_cure_a_proxy_that_wants_a_password() {
    let (mut sandbox, vendor) = (Sandbox::new(), open_server());
    let internet = Internet::join(&mut sandbox);
    internet.host("mcp.example", &vendor, Identity::Good);
    internet.require_password("ada:s3cret-0123456789");
    let server = ["https://mcp.example/mcp"];
    let said = diagnose(&sandbox, &server, "proxy", &["asks for a user name and a password (HTTP 407)"]);
    let hint = said.hints.iter().find_map(|hint| hint.strip_prefix("set HTTPS_PROXY=")).unwrap();
    sandbox.set("HTTPS_PROXY", hint.replace("USER:PASSWORD", "ada:wrong"));
    diagnose(&sandbox, &server, "proxy", &["refuses your user name or password (HTTP 407)"]);
    sandbox.set("HTTPS_PROXY", hint.replace("USER:PASSWORD", "ada:s3cret-0123456789"));
    expect_green(&sandbox, &server);
    sandbox.assert_no_secret(&["s3cret-0123456789".to_owned()]);
}

#[test]
fn c4_cure_a_proxy_that_is_not_there() {
    let (mut sandbox, vendor) = (Sandbox::new(), open_server());
    let internet = Internet::join(&mut sandbox);
    internet.host("mcp.example", &vendor, Identity::Good);
    let right = sandbox.environment().find(|(name, _)| *name == "HTTPS_PROXY").unwrap().1.clone();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    sandbox.set("HTTPS_PROXY", format!("http://{closed}"));
    let said = diagnose(&sandbox, &["https://mcp.example/mcp"], "proxy", &["could not connect to the proxy"]);
    said.advises("check HTTPS_PROXY");
    sandbox.set("HTTPS_PROXY", right);
    expect_green(&sandbox, &["https://mcp.example/mcp"]);
}

/// The authority of a company: `ca_file` works everywhere, and `SSL_CERT_FILE` on Linux.
#[test]
fn c4_cure_a_private_certificate_authority() {
    let (mut sandbox, vendor) = (Sandbox::new(), open_server());
    let internet = Internet::join(&mut sandbox);
    internet.host("mcp.example", &vendor, Identity::Good);
    let settings = fs::read_to_string(config(&sandbox)).unwrap();
    let certificate = settings.trim_end().trim_start_matches("ca_file = ").trim_matches('"').to_owned();
    fs::write(config(&sandbox), "").unwrap();
    let server = ["https://mcp.example/mcp"];
    let what = "an authority that this machine does not trust";
    diagnose(&sandbox, &server, "connection", &[what]).advises("set `ca_file` in config.toml");
    fs::write(config(&sandbox), settings).unwrap();
    expect_green(&sandbox, &server);

    fs::write(config(&sandbox), "").unwrap();
    if cfg!(target_os = "linux") {
        sandbox.set("SSL_CERT_FILE", certificate);
        expect_green(&sandbox, &server);
    }
}

/// A certificate of another name is no question of trust: the address is wrong.
#[test]
fn c4_cure_a_certificate_for_another_name() {
    let (mut sandbox, vendor) = (Sandbox::new(), open_server());
    let internet = Internet::join(&mut sandbox);
    internet.host("mcp.example", &vendor, Identity::OtherName);
    internet.host("other.example", &vendor, Identity::Good);
    let said = diagnose(&sandbox, &["https://mcp.example/mcp"], "connection", &["is for another name"]);
    assert!(!said.hints.iter().any(|hint| hint.contains("ca_file")), "{:#}", said.report);
    carry_out(&sandbox, &said.command("finmcp doctor").replace("URL", "https://other.example/mcp"));
}

/// An address of IPv6 that drops everything beside one of IPv4 that works: nothing is wrong, and nothing waits long.
#[cfg(target_os = "linux")]
#[test]
fn c4_a_black_hole_of_ipv6_is_passed_by() {
    use std::{net::TcpStream, time::Instant};

    let Some(library) = nss_wrapper() else { panic!("libnss-wrapper is missing; run this test by tests/run.sh") };
    let vendor = open_server();
    // The queue of a listener that accepts nothing fills up, and what comes then is dropped.
    let address: std::net::SocketAddr = format!("[::1]:{}", vendor.port()).parse().unwrap();
    let hole = listen_briefly(address);
    let fillers: Vec<_> =
        (0..8).map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok()).collect();
    assert!(fillers.iter().any(Option::is_none), "connections are dropped");
    let mut sandbox = Sandbox::new();
    sandbox.set("NSS_WRAPPER_HOSTS", sandbox.give("hosts", "::1 localhost\n127.0.0.1 localhost\n"));
    sandbox.set("LD_PRELOAD", library);
    let url = format!("http://localhost:{}/mcp", vendor.port());
    let begun = Instant::now();
    let run = sandbox.finmcp(["doctor", "--json", &url]);
    let report = report(&run, 0);
    let dns = steps(&report).find(|step| step["step"] == "dns").unwrap();
    assert!(dns["what"].as_str().unwrap().contains("::1"), "{report:#}");
    // Each connection waits 300 ms for the first address; without the second, it would be 10 s.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    drop((hole, fillers));
}

/// Listens with the shortest queue.
#[cfg(target_os = "linux")]
fn listen_briefly(address: std::net::SocketAddr) -> TcpListener {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _context = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v6().unwrap();
    socket.bind(address).unwrap();
    socket.listen(1).unwrap().into_std().unwrap()
}

#[cfg(target_os = "linux")]
fn nss_wrapper() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    folders.map(|folder| folder.join("libnss_wrapper.so")).find(|path| path.exists())
}

#[test]
fn c4_cure_settings_that_cannot_be_read() {
    let (sandbox, _vendor, _browser) = books(Script::people());
    let good = fs::read_to_string(config(&sandbox)).unwrap();
    fs::write(config(&sandbox), format!("default = [\n{good}")).unwrap();
    let said = diagnose(&sandbox, &["books"], "settings", &["~/finmcp/config.toml", "line"]);
    said.advises("correct the file in an editor");
    fs::write(config(&sandbox), good).unwrap();
    expect_green(&sandbox, &["books"]);
}

#[test]
fn c4_cure_an_unknown_profile() {
    let (sandbox, _vendor, _browser) = books(Script::people());
    let said = diagnose(&sandbox, &["bokos"], "server", &["no preset or profile is called"]);
    let command = said.command("finmcp doctor");
    assert_eq!(command, "finmcp doctor books");
    carry_out(&sandbox, &command);
}

#[test]
fn c4_cure_a_server_that_is_down() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let vendor = Vendor::start_on(listener, Script::default());
    let (sandbox, url) = (Sandbox::new(), vendor.url());
    expect_green(&sandbox, &[&url]);
    vendor.stop();
    diagnose(&sandbox, &[&url], "connection", &["could not connect", "refused"]).advises("then try again");
    let vendor = Vendor::start_on(TcpListener::bind(address).unwrap(), Script::default());
    vendor.fault(On::Path("/mcp"), Effect::status(503));
    diagnose(&sandbox, &[&url], "endpoint", &["is unavailable (HTTP 503)"]).advises("try again later");
    expect_green(&sandbox, &[&url]);
}

/// Of a profile that is signed in: another path, another port, and a name that does not resolve.
#[test]
fn c4_cure_a_wrong_address() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // No part of a name is longer than 63 letters (RFC 1035 section 2.3.4): no server of names is asked.
    let name = format!("https://{}.example/mcp", "x".repeat(64));
    for step in ["endpoint", "connection", "dns"] {
        let (sandbox, vendor, _browser) = books(Script::people());
        let wrong = match step {
            "endpoint" => vendor.at("/nothing"),
            "connection" => format!("http://{closed}/mcp"),
            _ => name.clone(),
        };
        edit(&sandbox, &format!("url = \"{}\"", vendor.url()), &format!("url = \"{wrong}\""));
        let said = diagnose(&sandbox, &["books"], step, &[]);
        carry_out(&sandbox, &said.command("finmcp login").replace("URL", &vendor.url()));
        expect_green(&sandbox, &["books"]);
    }
}

/// A token that has not expired and cannot be renewed, and that the server refuses again and again.
#[test]
fn c4_cure_a_token_that_the_server_refuses() {
    let (sandbox, vendor, _browser) = books(Script { refresh_tokens: false, ..Script::people() });
    vendor.revoke_access_tokens();
    let said = diagnose(&sandbox, &["books"], "handshake", &["but the server rejects it"]);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &["books"]);
}

#[test]
fn c4_cure_a_missing_scope() {
    let (mut sandbox, vendor) =
        (Sandbox::new(), Vendor::start(Script { granted_scope: Some("mcp"), ..Script::people() }));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", "masset", "--url", &vendor.url()]).expect_success();
    // The server refuses what needs more (RFC 6750 section 3.1): the same cause.
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"mcp:asset_read\"";
    let refused = Reply::new(403).header("www-authenticate", challenge);
    vendor.fault(On::Rpc("tools/list"), Effect::Answer(refused));
    let said = diagnose(&sandbox, &["masset"], "scope", &["it was requested but not granted"]);
    vendor.heal();
    // The user, or the administrator, now allows everything.
    vendor.change(|script| script.granted_scope = None);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &["masset"]);
}

#[test]
fn c4_cure_a_browser_that_does_not_exist() {
    let (mut sandbox, _vendor, _browser) = books(Script::people());
    sandbox.set("FINMCP_BROWSER", "/nowhere/firefox");
    let said = diagnose(&sandbox, &["books"], "browser", &["cannot find the browser /nowhere/firefox"]);
    said.advises("or unset FINMCP_BROWSER");
    sandbox.unset("FINMCP_BROWSER");
    expect_green(&sandbox, &["books"]);
    sandbox.set("BROWSER", "no-such-browser -x %s:/nowhere/w3m");
    diagnose(&sandbox, &["books"], "browser", &["no-such-browser"]).advises("set BROWSER to a program that exists");
    sandbox.set("BROWSER", "no-such-browser -x %s:sh");
    expect_green(&sandbox, &["books"]);
}

/// The entry starts a program that is gone, or lacks the variables that it needs.
#[test]
fn c4_cure_an_entry_that_does_not_work() {
    let (sandbox, _vendor, _browser) = books(Script::people());
    let needed = needed(&sandbox, &["FINMCP_CONFIG_DIR", "FINMCP_STORE", "FINMCP_STORE_KEY_FILE"]);
    for (command, environment, what) in [
        ("/nowhere/bin/finmcp", &needed, "cannot start /nowhere/bin/finmcp: file not found"),
        (FINMCP, &json!({}), "cannot find your sign-in"),
    ] {
        cursor(&sandbox, command, environment);
        let said = diagnose(&sandbox, &["books"], "client", &[what]);
        carry_out(&sandbox, &said.command("finmcp setup cursor"));
        expect_green(&sandbox, &["books"]);
    }
}

#[test]
fn c4_cure_no_sign_in_yet() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let said = diagnose(&sandbox, &[&vendor.url()], "sign-in", &["not signed in"]);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &[&vendor.url()]);
    sandbox.finmcp(["logout", &vendor.url()]).expect_success();
    let said = diagnose(&sandbox, &[&vendor.url()], "sign-in", &["not signed in"]);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &[&vendor.url()]);
}

/// The one cause is that nobody has signed in: what the sign-in will need is said there, not as another failure.
#[test]
fn c4_cure_no_sign_in_yet_of_a_program() {
    let (sandbox, vendor) = signed_in_machine();
    sandbox.finmcp(["logout", "asset", "--env", "sandbox"]).expect_success();
    let said = diagnose(&sandbox, &["--env", "sandbox"], "sign-in", &["not signed in"]);
    said.advises("--client-secret-file PATH");
    let secret = sandbox.give("secret", CLIENT_SECRET).display().to_string();
    let command = said.command("finmcp login");
    carry_out(&sandbox, &format!("{command} --client-id x --client-secret-file {secret}"));
    expect_green(&sandbox, &["--env", "sandbox"]);
    drop(vendor);
}

#[test]
fn c4_cure_a_sign_in_that_is_in_another_store() {
    let (mut sandbox, _vendor, _browser) = books(Script::people());
    sandbox.set("FINMCP_STORE", "memory");
    let said = diagnose(&sandbox, &["books"], "sign-in", &["its credential is missing from"]);
    said.advises("check that FINMCP_STORE and FINMCP_CONFIG_DIR are the same as when you signed in");
    sandbox.set("FINMCP_STORE", "file");
    expect_green(&sandbox, &["books"]);
    delete_store(&sandbox);
    let said = diagnose(&sandbox, &["books"], "sign-in", &["its credential is missing from"]);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &["books"]);
}

#[test]
fn c4_cure_a_lock_that_is_held() {
    let (sandbox, _vendor) = signed_in_machine();
    let names = fs::read_dir(sandbox.home().join("finmcp/locks")).unwrap().map(|entry| entry.unwrap().path());
    let held: Vec<fs::File> = names.map(|path| fs::File::options().write(true).open(path).unwrap()).collect();
    assert!(held.iter().all(|file| file.lock().is_ok()) && !held.is_empty());
    let said = diagnose(&sandbox, &["--env", "sandbox"], "lock", &["has held the lock for 3 s"]);
    said.advises("wait for the other finmcp process or end it");
    drop(held);
    expect_green(&sandbox, &["--env", "sandbox"]);
}

/// The report says whom the server's tokens name, and which profile it is.
#[test]
fn c6_doctor_names_the_person_and_the_profile() {
    for (claims, named) in [
        (json!({"email": "ada@example.com", "exp": "fresh"}), "as ada@example.com (the server says), profile books"),
        (Value::Null, "profile books, client client-1"),
    ] {
        let (sandbox, _vendor, _browser) = books(Script { id_token: claims, ..Script::people() });
        let report = report(&sandbox.finmcp(["doctor", "--json", "books"]), 0);
        let step = steps(&report).find(|step| step["step"] == "sign-in").unwrap();
        assert!(step["what"].as_str().unwrap().starts_with(named), "{step}");
    }
}
