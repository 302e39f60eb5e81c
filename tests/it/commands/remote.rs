//! `finmcp login` where the browser is elsewhere, or there is no person: a pasted address, a device code, and exit code
//! 4.

use std::{os::unix::fs::PermissionsExt as _, process::Stdio, time::Duration};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{
    PATIENCE,
    browser::{FakeBrowser, Person},
    eventually,
    sandbox::{Sandbox, wait},
    terminal::Terminal,
    vendor::{Device, Effect, IssuerParameter, On, Reply, Script, Vendor},
    visitor::visit,
};

/// The address of the sign-in page, as `said` to the person.
fn address(vendor: &Vendor, said: impl Fn() -> String) -> String {
    let begin = vendor.at("/authorize");
    eventually("the address of the sign-in page", || {
        let said = said();
        let from = said.find(&begin)?;
        let length = said[from..].find(char::is_whitespace)?;
        Some(said[from..from + length].to_owned())
    })
}

/// Where a browser ends that the person opens `address` in: the redirect URI with the answer, not visited.
fn answer(address: &str) -> String {
    visit("GET", address, &[], "").unwrap().header("location").unwrap().to_owned()
}

fn port(address: &str) -> u16 {
    url::Url::parse(address).unwrap().port().unwrap()
}

fn is_open(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// t023, t025, t034: what is pasted is judged like a visit: the wrong ones say why and change nothing, the right one signs
/// in, by the whole address or by its query alone.
#[test]
fn a_pasted_address_signs_in() {
    for whole in [true, false] {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let mut login = sandbox.start(["login", &vendor.url(), "--no-browser"]);
        let page = address(&vendor, || login.stderr());
        let answer = answer(&page);
        let redirect = &answer[..answer.find('?').unwrap()];
        eventually("a word about pasting", || login.stderr().contains("Paste the address").then_some(()));

        let wrong = [
            (page.clone(), "not the final address"),
            ("the code".to_owned(), "not the final address"),
            (answer.replacen("127.0.0.1", "127.0.0.2", 1), "not the final address"),
            (format!("{redirect}?error=access_denied&state=x"), "another sign-in"),
            (answer.replacen("state=", "state=x", 1), "another sign-in"),
            (answer.replacen("state=", "other=", 1), "another sign-in"),
            ("x".repeat(20_000), "too long"),
        ];
        for (number, (line, reason)) in wrong.iter().enumerate() {
            login.send(line);
            eventually("a word about what was pasted", || {
                let said = login.stderr();
                let told: Vec<_> = said.lines().filter(|line| line.starts_with("That ")).collect();
                (told.len() > number).then(|| assert!(told[number].contains(reason), "{line}: {told:?}"))
            });
        }
        assert!(login.is_running() && vendor.records_at("/token").is_empty());

        login.send(if whole { &answer } else { &answer[answer.find('?').unwrap() + 1..] });
        assert_eq!(login.exit_within(PATIENCE), Some(0), "{}", login.stderr());
        assert_eq!(vendor.records_at("/token").len(), 1);
        assert!(!is_open(port(redirect)));
        sandbox.finmcp(["token", &vendor.url()]).expect_success();
        sandbox.assert_no_secret(&vendor.secrets());
    }
}

/// t026: an answer in another's name is as bad when it is pasted; and a person who says no has said it.
#[test]
fn t026_a_pasted_answer_is_not_trusted_more() {
    let script = Script { callback_issuer: IssuerParameter::Wrong, ..Script::people() };
    for (script, person, code, said) in [
        (script, "grant", 5, "does not come from the expected authorization server"),
        (Script::people(), "deny", 1, "access_denied"),
    ] {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        let mut login = sandbox.start(["login", &vendor.url(), "--no-browser"]);
        let page = address(&vendor, || login.stderr());
        let page = visit("GET", &page, &[("x-person", person)], "").unwrap();
        login.send(page.header("location").unwrap());
        assert_eq!(login.exit_within(PATIENCE), Some(code), "{}", login.stderr());
        assert!(login.stderr().contains(said), "{}", login.stderr());
        assert!(vendor.records_at("/token").is_empty());
    }
}

/// The listener goes on beside the paste, whatever becomes of stdin; and a pipe is read only where that was asked for.
#[test]
fn a_redirect_and_a_paste_are_equivalent() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let mut login = sandbox.start(["login", &vendor.url(), "--no-browser"]);
    let answer = answer(&address(&vendor, || login.stderr()));
    login.send("nothing");
    login.close_stdin();
    let page = visit("GET", &answer, &[], "").unwrap();
    assert!(page.status == 200 && page.text().contains("You are signed in to 127.0.0.1"), "{}", page.text());
    assert_eq!(login.exit_within(PATIENCE), Some(0), "{}", login.stderr());

    let mut sandbox = Sandbox::new();
    let _browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
    let url = vendor.url();
    let login = sandbox.finmcp_with_stdin(["login", &url, "--timeout", "1"], "nothing\n").expect_code(1);
    assert!(!login.stderr.contains("Paste") && !login.stderr.contains("try again"), "{}", login.stderr);
}

/// t097: a terminal shows nothing of what is pasted, takes all of it, and is what it was before when the command has
/// ended, whichever way.
#[test]
fn t097_the_terminal_shows_nothing_of_it() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    // On any system: no browser of this machine's own.
    sandbox.set("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22");
    let begin = || {
        let terminal = Terminal::open();
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
        command.args(["login", &vendor.url()]);
        let child = command.stdin(terminal.stdio()).stdout(Stdio::null()).stderr(terminal.stdio()).spawn().unwrap();
        let answer = answer(&address(&vendor, || terminal.shown()));
        eventually("a word about pasting", || terminal.shown().contains("Paste the address").then_some(()));
        assert!(!terminal.is_as_ever());
        (terminal, child, answer)
    };

    let (terminal, mut child, answer) = begin();
    // Longer than a line that the terminal itself would put together.
    let long = answer.replacen('?', &format!("?session_state={}&", "s".repeat(6000)), 1);
    terminal.enter("CANARY-wrong\n");
    eventually("a word about what was pasted", || terminal.shown().contains("try again").then_some(()));
    terminal.enter(&format!("{long}\nCANARY-too-late\n"));
    assert_eq!(wait(&mut child, PATIENCE), Some(Some(0)), "{}", terminal.shown());
    let code = vendor.secrets().into_iter().find(|secret| secret.starts_with("code-")).unwrap();
    for hidden in [&code[..], "CANARY", "ssss"] {
        assert!(!terminal.shown().contains(hidden), "{}", terminal.shown());
    }
    assert!(terminal.is_as_ever());
    sandbox.finmcp(["token", &vendor.url()]).expect_success();

    let (terminal, mut child, answer) = begin();
    terminal.enter("CANARY half a line");
    let id = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(id, Signal::INT).unwrap();
    assert_eq!(wait(&mut child, PATIENCE), Some(Some(130)), "{}", terminal.shown());
    assert!(terminal.is_as_ever());
    assert!(!is_open(port(&answer)), "Ctrl-C frees the port");
}

/// A command in the background leaves the terminal to the command in front, and is not stopped for reading from it.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_in_the_background_is_left_alone() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let terminal = Terminal::open();
    let mut command = sandbox.command("setsid");
    command.args(["--ctty", "--wait", "sh", "-c", r#"set -m; "$@" & wait $!; echo "ended: $?""#, "sh"]);
    command.args([env!("CARGO_BIN_EXE_finmcp"), "login", &vendor.url()]);
    let mut child = command.stdin(terminal.stdio()).stdout(terminal.stdio()).stderr(terminal.stdio()).spawn().unwrap();
    assert_eq!(wait(&mut child, PATIENCE), Some(Some(0)), "{}", terminal.shown());
    eventually("its end", || terminal.shown().contains("ended: 0").then_some(()));
    assert!(!terminal.shown().contains("Paste the address"), "{}", terminal.shown());
}

/// t042: where no browser opens here, a device code is offered beside the address, and whichever is answered first
/// counts.
#[test]
fn t042_a_device_code_beside_the_address() {
    for (device, code) in [(Device::Consents, 0), (Device::Denies, 1)] {
        let (sandbox, vendor) =
            (Sandbox::new(), Vendor::start(Script { device: Device::Hesitates, ..Script::people() }));
        let mut login = sandbox.start(["login", &vendor.url(), "--no-browser"]);
        let page = address(&vendor, || login.stderr());
        eventually("the code", || login.stderr().contains("WDJB-MJHT").then_some(()));
        assert!(login.stderr().contains(&vendor.at("/go")));
        vendor.wait_for("a question for the token", |record| record.path == "/token");
        assert!(login.is_running());
        vendor.change(|script| script.device = device);
        assert_eq!(login.exit_within(PATIENCE), Some(code), "{}", login.stderr());
        assert!(vendor.records_at("/authorize").is_empty());
        let redirect = url::Url::parse(&page).unwrap();
        let redirect = redirect.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
        assert!(!is_open(port(&redirect)));
        sandbox.finmcp(["token", &vendor.url()]).expect_code(if code == 0 { 0 } else { 4 });
        assert_eq!(vendor.complaints(), Vec::<String>::new());
        sandbox.assert_no_secret(&vendor.secrets());
    }

    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script { device: Device::Hesitates, ..Script::people() }));
    let mut login = sandbox.start(["login", &vendor.url(), "--no-browser"]);
    let page = address(&vendor, || login.stderr());
    eventually("the code", || login.stderr().contains("WDJB-MJHT").then_some(()));
    login.send(answer(&page));
    assert_eq!(login.exit_within(PATIENCE), Some(0), "{}", login.stderr());
    let grants =
        vendor.records_at("/token").iter().map(|record| record.form()["grant_type"].clone()).collect::<Vec<_>>();
    assert_eq!(grants.iter().filter(|grant| *grant == "authorization_code").count(), 1, "{grants:?}");
}

/// t042: a code that the server refuses is no loss, and none is asked for beside an open browser.
#[test]
fn t042_a_device_code_is_an_offer() {
    let script = Script { device: Device::Hesitates, ..Script::people() };
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script.clone()));
    let refusal = Reply::new(400).json(&json!({"error": "unauthorized_client"}));
    vendor.fault(On::Path("/device"), Effect::Answer(refusal));
    let mut login = sandbox.start(["login", &vendor.url(), "--no-browser"]);
    vendor.wait_for("a question for a code", |record| record.path == "/device");
    eventually("a word about pasting", || login.stderr().contains("Paste the address").then_some(()));
    login.send(answer(&address(&vendor, || login.stderr())));
    assert_eq!(login.exit_within(PATIENCE), Some(0), "{}", login.stderr());

    for (opens, asked) in [(true, 0), (false, 1)] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script.clone()));
        let _browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
        if !opens {
            sandbox.set("FINMCP_BROWSER", "/nonexistent/browser");
        }
        sandbox.finmcp(["login", &vendor.url(), "--timeout", "1"]).expect_code(1);
        assert_eq!(vendor.records_at("/device").len(), asked, "{opens}");
    }
}

/// A registration that is refused because of the device grant is tried without.
#[test]
fn a_server_may_refuse_device_codes() {
    let script = Script { device: Device::Hesitates, ..Script::people() };
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    let refusal = Reply::new(400).json(&json!({"error": "invalid_client_metadata"}));
    vendor.fault(On::Path("/register"), Effect::Answer(refusal));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", &vendor.url()]).expect_success();
    let grants: Vec<_> =
        vendor.records_at("/register").iter().map(|record| record.json()["grant_types"].clone()).collect();
    let device = "urn:ietf:params:oauth:grant-type:device_code";
    assert_eq!(
        grants,
        [json!(["authorization_code", "refresh_token", device]), json!(["authorization_code", "refresh_token"])]
    );
}

/// With `CI` set no sign-in starts and no server is called; nor where there is neither a terminal nor a display nor a
/// browser's command. The command to run is said.
#[test]
fn no_sign_in_starts_without_a_user_to_answer() {
    let vendor = Vendor::start(Script::people());
    let url = vendor.url();
    let command = format!("run `finmcp login {url}`");
    for value in ["true", "1", "False"] {
        let mut sandbox = Sandbox::new();
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        sandbox.set("CI", value);
        sandbox.set("DISPLAY", ":0");
        let login = sandbox.finmcp(["login", &url]);
        if value == "False" {
            login.expect_success();
            continue;
        }
        login.expect_code(4).expect_stderr(&["CI is set", &command]);
        let mut serve = sandbox.serve([&url, "--sign-in", "auto"]);
        serve.initialize();
        let answer = serve.request("tools/list", json!({}));
        assert_eq!(answer.error()["code"], -31004);
        assert!(browser.starts().is_empty() && vendor.records_at("/register").is_empty());
    }
    let asked = vendor.records().len();
    let mut sandbox = Sandbox::new();
    // On any system: no browser of this machine's own.
    sandbox.set("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22");
    sandbox.finmcp(["login", &url]).expect_code(4).expect_stderr(&["no terminal, no display", &command]);
    assert_eq!(vendor.records().len(), asked);

    // Who says how it is to go on is not refused.
    let mut sandbox = Sandbox::new();
    sandbox.set("CI", "true");
    sandbox
        .finmcp(["login", &url, "--no-browser", "--timeout", "1"])
        .expect_code(1)
        .expect_stderr(&["the sign-in timed out"]);
}

/// Each way to a browser: both variables, a desktop of Linux, and Windows from within WSL; and the screen before which
/// a person sits who comes by SSH is another one.
#[cfg(target_os = "linux")]
#[test]
fn when_a_browser_opens() {
    for (variables, opens) in [
        (&[("FINMCP_BROWSER", "PROGRAM")][..], true),
        (&[("BROWSER", "PROGRAM")], true),
        (&[("BROWSER", "/nonexistent:PROGRAM %s")], true),
        (&[("FINMCP_BROWSER", "PROGRAM"), ("BROWSER", "/nonexistent")], true),
        (&[("DISPLAY", ":0")], true),
        (&[("WAYLAND_DISPLAY", "wayland-0")], true),
        (&[("WSL_DISTRO_NAME", "Debian")], true),
        (&[("DISPLAY", ":10"), ("SSH_CONNECTION", "1")], true),
        (&[("WSL_DISTRO_NAME", "Debian"), ("SSH_CONNECTION", "1")], false),
        (&[("DISPLAY", "")], false),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        let program = sandbox.watched().join("browser");
        // The system's own.
        std::fs::rename(&program, sandbox.watched().join("xdg-open")).unwrap();
        std::fs::copy(sandbox.watched().join("xdg-open"), &program).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        sandbox.unset("FINMCP_BROWSER");
        let path = std::env::var("PATH").unwrap();
        sandbox.set("PATH", format!("{}:{path}", sandbox.watched().display()));
        for (name, value) in variables {
            sandbox.set(name, value.replace("PROGRAM", program.to_str().unwrap()));
        }
        sandbox.finmcp(["login", &vendor.url()]).expect_code(if opens { 0 } else { 4 });
        let starts = browser.starts();
        assert_eq!(starts.len(), usize::from(opens), "{variables:?}");
        assert!(starts.iter().all(|start| start.arguments.len() == 1), "{variables:?}: {starts:?}");
    }
}

/// At a terminal without a display the person opens the page elsewhere; nothing is started here.
#[test]
fn a_terminal_is_enough() {
    let (mut sandbox, vendor) =
        (Sandbox::new(), Vendor::start(Script { device: Device::Hesitates, ..Script::people() }));
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.unset("FINMCP_BROWSER");
    sandbox.set("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22");
    let terminal = Terminal::open();
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
    command.args(["login", &vendor.url()]);
    let mut child = command.stdin(terminal.stdio()).stdout(Stdio::null()).stderr(terminal.stdio()).spawn().unwrap();
    let answer = answer(&address(&vendor, || terminal.shown()));
    eventually("the code, and a word about pasting", || {
        let shown = terminal.shown();
        (shown.contains("WDJB-MJHT") && shown.contains("Paste the address")).then_some(())
    });
    terminal.enter(&format!("{answer}\r"));
    assert_eq!(wait(&mut child, PATIENCE), Some(Some(0)), "{}", terminal.shown());
    assert!(browser.starts().is_empty());
}

/// t035: Ctrl-C ends the wait, and frees the port.
#[test]
fn t035_ctrl_c_frees_the_port() {
    for signal in [Signal::INT, Signal::TERM] {
        let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let mut login = sandbox.start(["login", &vendor.url(), "--no-browser"]);
        let answer = answer(&address(&vendor, || login.stderr()));
        assert!(is_open(port(&answer)));
        login.signal(signal);
        assert_eq!(login.exit_within(Duration::from_secs(2)), Some(130));
        assert!(!is_open(port(&answer)));
    }
}

/// t040, d6: no person is sent to a page that does not know the client: another is registered before. `--force` brings
/// a new one at any time.
#[test]
fn t040_a_client_that_the_page_does_not_know() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let url = vendor.url();
    let hurried = ["login", &url, "--timeout", "1"];
    let ignoring = FakeBrowser::install(&mut sandbox, Person::Ignores);
    let run = sandbox.finmcp(hurried).expect_code(1);
    assert!(!run.stderr.contains("--force"), "it had registered just then: {}", run.stderr);
    drop(ignoring);
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", &url]).expect_success();
    sandbox.finmcp(["login", &url]).expect_success();
    let registered = vendor.records_at("/register").len();
    vendor.fault(On::Path("/authorize"), Effect::Answer(Reply::new(400).body("text/html", "<h1>unknown client</h1>")));
    sandbox.finmcp(["login", &url]).expect_success();
    assert_eq!(vendor.records_at("/register").len(), registered + 1);
    sandbox.finmcp(["login", &url, "--force"]).expect_success();
    assert_eq!(vendor.records_at("/register").len(), registered + 2);
    drop(browser);
}

/// t030: the last page says who signed in to what, whatever else the answer's address held; and that it did not work,
/// where it did not.
#[test]
fn t030_the_last_page_shows_the_real_outcome() {
    let claims = json!({"email": "<b>m@a.example</b>"});
    let vendor = Vendor::start(Script { id_token: claims, ..Script::people() });
    let pages = ["", "&x=<script>alert(1)</script>&error_description=CANARY"].map(|more| {
        let sandbox = Sandbox::new();
        let mut login = sandbox.start(["login", &vendor.url(), "--profile", "books", "--no-browser"]);
        let answer = answer(&address(&vendor, || login.stderr()));
        let page = visit("GET", &format!("{answer}{more}"), &[], "").unwrap();
        assert_eq!(login.exit_within(PATIENCE), Some(0), "{}", login.stderr());
        assert!(login.stderr().contains(" as <b>m@a.example</b> (profile books)"), "{}", login.stderr());
        let status = sandbox.finmcp(["status", "--json"]).expect_success().stdout;
        assert!(status.contains(r#""person": "<b>m@a.example</b>""#), "{status}");
        page.text()
    });
    assert_eq!(pages[0], pages[1]);
    for fact in ["<dd>&lt;b&gt;m@a.example&lt;/b&gt;</dd>", "<dt>Profile</dt><dd>books</dd>"] {
        assert!(pages[0].contains(fact), "{fact}: {}", pages[0]);
    }
    assert!(pages[0].contains("You are signed in to 127.0.0.1:") && !pages[0].contains("CANARY"), "{}", pages[0]);

    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let refusal = Reply::new(400).json(&json!({"error": "invalid_grant", "error_description": "CANARY"}));
    vendor.fault(On::Path("/token"), Effect::Answer(refusal));
    let mut login = sandbox.start(["login", &vendor.url(), "--no-browser"]);
    let answer = answer(&address(&vendor, || login.stderr()));
    let page = visit("GET", &answer, &[], "").unwrap().text();
    assert!(page.contains("Could not sign in to 127.0.0.1") && !page.contains("CANARY"), "{page}");
    assert_eq!(login.exit_within(PATIENCE), Some(1), "{}", login.stderr());
}
