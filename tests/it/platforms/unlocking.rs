//! A keyring that asks the person for its password in a window: a real gnome-keyring, and a stand-in for the desktop's
//! window. A person at a terminal is waited for; a script and an AI client are not.

use std::time::{Duration, Instant};

use crate::{
    commands::login::{machine_login, machine_vendor},
    platforms::{keychain::Keyring, prompter::Prompter},
    support::{
        eventually,
        sandbox::Sandbox,
        terminal::{Sitting, Terminal},
        vendor::Vendor,
    },
};

/// What unlocks the keyring of these tests.
const PASSWORD: &str = "a password";

/// Longer than a call may take without a window.
const LONG: Duration = Duration::from_secs(4);

/// Lets the person take their time.
fn take(time: Duration) {
    let begun = Instant::now();
    eventually("time to pass", || (begun.elapsed() > time).then_some(()));
}

/// Someone who has signed in, and whose keyring is locked since.
fn locked() -> (Sandbox, Vendor, Keyring, Prompter) {
    let (mut sandbox, vendor) = (Sandbox::new(), machine_vendor());
    let keyring = Keyring::locked_after(&mut sandbox, |sandbox| {
        sandbox.finmcp(machine_login(sandbox, &vendor)).expect_success();
    });
    let prompter = Prompter::start(keyring.address());
    (sandbox, vendor, keyring, prompter)
}

/// Waits, as the person reads that they have to unlock it, for longer than any call may take.
fn waits(person: &mut Sitting, prompter: &Prompter) {
    let title = prompter.title(1);
    assert!(title.contains("Unlock"), "{title}");
    person.reads("unlock your keychain");
    take(LONG);
    assert!(person.goes_on(), "it gave up: {}", person.terminal.shown());
}

/// Each command that a person runs waits for them, says so once, and then does its work.
#[test]
fn c1_a_command_waits_while_the_keychains_window_is_open() {
    for (arguments, done) in [
        (&["status"][..], "signed in as client x"),
        (&["doctor", "--env", "sandbox"], "All checks passed"),
        (&["call", "echo", "message=hello", "-s", "asset", "--env", "sandbox"], "hello"),
        (&["tools", "asset", "--env", "sandbox"], "echo"),
        (&["logout", "--env", "sandbox"], "Signed out"),
        (&["token", "--env", "sandbox"], "eyJ"),
    ] {
        let (sandbox, _vendor, _keyring, prompter) = locked();
        let mut person = Terminal::sitting(&sandbox, arguments);
        waits(&mut person, &prompter);
        prompter.enter(1, PASSWORD);
        let (code, shown) = person.ends();
        assert_eq!(code, Some(0), "{arguments:?}: {shown}");
        assert!(shown.contains(done), "{arguments:?}: {shown}");
        assert_eq!(shown.matches("unlock your keychain").count(), 1, "{shown}");
        assert_eq!(prompter.count(), 1, "{arguments:?}");
    }
}

/// A sign-in waits before it sends anything, also where it is the first one to need the keyring.
#[test]
fn c1_a_sign_in_waits_before_anything_is_sent() {
    let (sandbox, vendor, _keyring, prompter) = locked();
    let before = vendor.records().len();
    let mut person = Terminal::sitting(&sandbox, &machine_login(&sandbox, &vendor));
    waits(&mut person, &prompter);
    assert_eq!(vendor.records().len(), before);
    prompter.enter(1, PASSWORD);
    let (code, shown) = person.ends();
    assert_eq!((code, prompter.count()), (Some(0), 1), "{shown}");
}

/// A window that the person closes is not opened again; one that they leave with Ctrl-C serves the next command; a wrong
/// password is the window's own matter.
#[test]
fn c1_a_window_can_be_closed() {
    let (sandbox, vendor, _keyring, prompter) = locked();
    let before = vendor.records().len();
    let mut person = Terminal::sitting(&sandbox, &machine_login(&sandbox, &vendor));
    waits(&mut person, &prompter);
    prompter.close(1);
    let (code, shown) = person.ends();
    assert_eq!(code, Some(6), "{shown}");
    assert!(shown.contains("the credential store is locked") && shown.contains("hint:"), "{shown}");
    assert_eq!((prompter.count(), vendor.records().len()), (1, before));

    let mut person = Terminal::sitting(&sandbox, &["doctor", "--env", "sandbox"]);
    prompter.close(2);
    let (code, shown) = person.ends();
    assert_eq!((code, prompter.count()), (Some(1), 2), "{shown}");

    let call = ["call", "echo", "message=hello", "-s", "asset", "--env", "sandbox"];
    for arguments in [&["status"][..], &call] {
        let mut person = Terminal::sitting(&sandbox, arguments);
        prompter.title(3);
        person.reads("unlock your keychain").types("\x03");
        let (code, shown) = person.ends();
        assert_eq!(code, Some(130), "{arguments:?}: {shown}");
    }

    let mut person = Terminal::sitting(&sandbox, &["status"]);
    person.reads("unlock your keychain");
    prompter.enter(3, "a wrong password");
    prompter.enter(4, PASSWORD);
    let (code, shown) = person.ends();
    assert_eq!((code, prompter.count()), (Some(0), 4), "{shown}");
}

/// A keyring whose service ends while its window is open is not waited for.
#[test]
fn c1_a_service_that_ends_is_not_waited_for() {
    let (sandbox, _vendor, mut keyring, prompter) = locked();
    let mut person = Terminal::sitting(&sandbox, &["token", "--env", "sandbox"]);
    prompter.title(1);
    keyring.end();
    let (code, shown) = person.ends();
    assert_eq!(code, Some(6), "{shown}");
}

/// A script and an AI client are bounded: the window may be on a screen that no person sees. Also where a person typed the
/// script's name at a terminal.
#[test]
fn c1_a_script_does_not_wait() {
    let (sandbox, _vendor, _keyring, prompter) = locked();
    let bounded = |begun: Instant| assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let run = sandbox.finmcp(["token", "--env", "sandbox"]).expect_code(6);
    assert!(!run.stderr.contains("Waiting") && run.stderr.contains("unlock it"), "{}", run.stderr);
    sandbox.finmcp(["status"]).expect_success();
    bounded(begun);

    let begun = Instant::now();
    let terminal = Terminal::open();
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
    command.args(["token", "--env", "sandbox"]).stdin(terminal.stdio()).stderr(terminal.stdio());
    let output = command.output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(6), 0), "{}", terminal.shown());
    let shown = terminal.last_shown();
    assert!(!shown.contains("Waiting"), "{shown}");
    bounded(begun);

    let begun = Instant::now();
    let mut serve = sandbox.serve(["asset", "--env", "sandbox"]);
    serve.initialize();
    let error = serve.call("echo", serde_json::json!({"message": "hi"})).error();
    assert_eq!(error["code"], -31006, "{error}");
    bounded(begun);
    assert!(prompter.count() > 0, "the window was open");
}

/// A person who has never had a keyring gets one, with the password that they choose in the desktop's window.
#[test]
fn c2_a_first_keyring_is_created() {
    let (mut sandbox, vendor) = (Sandbox::new(), machine_vendor());
    let keyring = Keyring::fresh(&mut sandbox);
    let prompter = Prompter::start(keyring.address());
    let login = machine_login(&sandbox, &vendor);
    // A window that is closed creates nothing, and nothing is sent.
    let mut person = Terminal::sitting(&sandbox, &login);
    assert!(prompter.title(1).to_lowercase().contains("new"), "{}", prompter.title(1));
    person.reads("choose a password");
    prompter.close(1);
    let (code, shown) = person.ends();
    assert_eq!((code, vendor.records().len()), (Some(6), 0), "{shown}");
    assert!(shown.contains("no keyring yet") && shown.contains("finmcp login"), "{shown}");

    let mut person = Terminal::sitting(&sandbox, &login);
    prompter.title(2);
    person.reads("choose a password");
    prompter.enter(2, PASSWORD);
    let (code, shown) = person.ends();
    assert_eq!((code, prompter.count()), (Some(0), 2), "{shown}");
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_success();
    sandbox.assert_no_secret(&vendor.secrets());
    // It is the default one for other programs as well.
    let mut command = sandbox.command("secret-tool");
    command.args(["store", "--label=probe", "probe", "x"]);
    assert_eq!(sandbox.run(command, b"x".into()).code, Some(0));
}

/// Without a person at a terminal no window opens; reading finds nothing, and storing names the steps, each of which
/// works.
#[test]
fn c2_without_a_terminal_the_steps_are_named() {
    let (mut sandbox, vendor) = (Sandbox::new(), machine_vendor());
    // Its end ends the daemon of the last step, too.
    let keyring = Keyring::fresh(&mut sandbox);
    let prompter = Prompter::start(keyring.address());
    let login = machine_login(&sandbox, &vendor);
    let step = "gnome-keyring-daemon --replace --unlock";
    let run = sandbox.finmcp(&login).expect_code(6).expect_stderr(&["no keyring yet", "FINMCP_STORE=file", step]);
    assert!(run.stderr.contains("`finmcp login`"), "{}", run.stderr);
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_code(4);
    assert_eq!((prompter.count(), vendor.records().len()), (0, 0));

    let mut command = sandbox.command("sh");
    command.args(["-c", &format!("printf password | {step} --components=secrets")]);
    assert_eq!(sandbox.run(command, Vec::new()).code, Some(0));
    sandbox.finmcp(&login).expect_success();
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_success();
}
