//! The real keychain: a Secret Service that the test starts, on its own message bus. `tests/run.sh` installs both.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Stdio},
};

use crate::{
    commands::{
        doctor_cures::{diagnose, expect_green},
        login::{machine_login, machine_vendor},
    },
    security::stress::{self, Size},
    support::{eventually, sandbox::Sandbox},
};

pub(crate) const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=@PATH@</listen>
  <policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>"#;

/// A message bus with a GNOME keyring on it. Dropping it ends both.
pub(crate) struct Keyring {
    bus: Child,
    daemon: Child,
    address: String,
}

impl Keyring {
    /// Starts an unlocked keyring.
    fn start(sandbox: &mut Sandbox) -> Self {
        let keyring = Self::start_with(sandbox, &["--unlock"]);
        eventually("the keyring to keep a secret", || {
            let mut command = sandbox.command("secret-tool");
            command.args(["store", "--label=probe", "probe", "x"]);
            (sandbox.run(command, b"x".into()).code == Some(0)).then_some(())
        });
        keyring
    }

    /// Starts one for a person who has never had a keyring: its home is empty.
    pub(crate) fn fresh(sandbox: &mut Sandbox) -> Self {
        let keyring = Self::start_with(sandbox, &[]);
        wait_for_service(sandbox);
        keyring
    }

    /// Starts one that holds entries and is locked.
    pub(crate) fn locked_after(sandbox: &mut Sandbox, prepare: impl FnOnce(&Sandbox)) -> Self {
        let mut keyring = Self::start(sandbox);
        prepare(sandbox);
        keyring.lock(sandbox);
        keyring
    }

    fn start_with(sandbox: &mut Sandbox, arguments: &[&str]) -> Self {
        sandbox.unset("FINMCP_STORE");
        sandbox.unset("FINMCP_STORE_KEY_FILE");
        let mut command = sandbox.command("dbus-daemon");
        command.args(["--nofork", "--nopidfile", "--print-address=1"]);
        // The session bus's own configuration would start a second, locked keyring for a program that asks before the
        // first is there.
        let configuration = BUS.replace("@PATH@", &sandbox.watched().join("bus").display().to_string());
        command.arg(format!("--config-file={}", sandbox.give("bus.conf", configuration).display()));
        let mut bus = command
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("dbus-daemon: {error}; run this test by tests/run.sh"));
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim_end().to_owned();
        sandbox.set("DBUS_SESSION_BUS_ADDRESS", &address);
        Self { bus, daemon: daemon(sandbox, arguments), address }
    }

    /// Where its bus is.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Ends the daemon.
    pub(crate) fn end(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }

    /// Starts the daemon again, as after a login without the password.
    fn lock(&mut self, sandbox: &Sandbox) {
        self.start_again(sandbox, &[]);
    }

    /// Starts the daemon again, as after a login with the password.
    fn unlock(&mut self, sandbox: &Sandbox) {
        self.start_again(sandbox, &["--unlock"]);
    }

    fn start_again(&mut self, sandbox: &Sandbox, arguments: &[&str]) {
        self.end();
        self.daemon = daemon(sandbox, arguments);
        wait_for_service(sandbox);
    }
}

fn wait_for_service(sandbox: &Sandbox) {
    eventually("the keyring's service", || {
        let mut command = sandbox.command("dbus-send");
        command.args(["--session", "--print-reply", "--dest=org.freedesktop.DBus", "/"]);
        command.args(["org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.secrets"]);
        sandbox.run(command, Vec::new()).stdout.contains("boolean true").then_some(())
    });
}

fn daemon(sandbox: &Sandbox, arguments: &[&str]) -> Child {
    let mut command = sandbox.command("gnome-keyring-daemon");
    command.args(arguments).args(["--components=secrets", "--foreground"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut daemon =
        command.spawn().unwrap_or_else(|error| panic!("gnome-keyring-daemon: {error}; run this test by tests/run.sh"));
    daemon.stdin.take().unwrap().write_all(b"a password").unwrap();
    daemon
}

impl Drop for Keyring {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.bus] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_sign_in_is_kept_in_the_keychain_and_nowhere_else() {
    let (mut sandbox, vendor) = (Sandbox::new(), machine_vendor());
    let _keyring = Keyring::start(&mut sandbox);
    sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success();
    let token = sandbox.finmcp(["token", "--env", "sandbox"]).expect_success().stdout;
    assert!(vendor.secrets().contains(&token.trim_end().to_owned()));
    assert_eq!(vendor.records_at("/token").len(), 1, "the token came from the keychain");
    let renewed = sandbox.finmcp(["token", "--env", "sandbox", "--force-refresh"]).expect_success().stdout;
    assert_ne!(token, renewed, "the client secret came from the keychain");
    let mut serve = sandbox.serve(["asset", "--env", "sandbox"]);
    serve.initialize().result();
    serve.call("echo", serde_json::json!({"message": "hi"})).result();
    sandbox.assert_no_secret(&vendor.secrets());
}

/// a2: an idle process wakes for nothing, also once it has spoken to the keychain, whose libraries have threads.
#[test]
fn a2_an_idle_process_does_not_poll_the_keychain() {
    let (mut sandbox, vendor) = (Sandbox::new(), machine_vendor());
    let _keyring = Keyring::start(&mut sandbox);
    sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success();
    let mut serve = sandbox.serve(["asset", "--env", "sandbox"]);
    serve.initialize().result();
    serve.call("echo", serde_json::json!({"message": "hi"})).result();
    eventually("two seconds in which no thread wakes", || {
        let before = serve.sleeps();
        std::thread::sleep(std::time::Duration::from_secs(2));
        (serve.sleeps() == before).then_some(())
    });
}

/// t065: a keychain is slower than a file, and has no part in the lock.
#[test]
fn t065_many_processes_renew_each_token_once() {
    let mut sandbox = Sandbox::new();
    let _keyring = Keyring::start(&mut sandbox);
    stress::renew_each_token_once(sandbox, Size::or(8, 12));
}

/// t082, t083: without a keychain the sign-in fails before anything is asked of anybody; nothing is ever written
/// elsewhere instead.
#[test]
fn t082_without_a_keychain_nothing_is_stored() {
    let (mut sandbox, vendor) = (Sandbox::new(), machine_vendor());
    sandbox.unset("FINMCP_STORE");
    sandbox.unset("FINMCP_STORE_KEY_FILE");
    sandbox.set("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_code(6).expect_stderr(&["FINMCP_STORE"]);
    assert!(vendor.records_at("/token").is_empty(), "a token that cannot be kept is not asked for");
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_code(4);
    sandbox.assert_no_secret(&vendor.secrets());
}

/// t083: a keychain that is gone after the sign-in is its own error, and the sign-in is not forgotten.
#[test]
fn t083_an_absent_keychain_is_named() {
    let (mut sandbox, _vendor) = crate::commands::token::signed_in_machine();
    sandbox.unset("FINMCP_STORE");
    sandbox.set("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_code(6).expect_stderr(&["keychain"]);
    sandbox.set("FINMCP_STORE", "file");
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_success();
}

/// t083: doctor names a locked keychain, and what to do; without the keychain's leave nothing else is judged, and no
/// entry of an AI client is to blame. Once it is unlocked, nothing is wrong.
#[test]
fn t083_doctor_names_a_locked_keychain() {
    let (mut sandbox, vendor) = (Sandbox::new(), machine_vendor());
    sandbox.unset("FINMCP_STORE");
    sandbox.unset("FINMCP_STORE_KEY_FILE");
    sandbox.set("FINMCP_LOG", "trace");
    let mut keyring = Keyring::start(&mut sandbox);
    sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success();
    sandbox.finmcp(["setup", "cursor", "asset", "--env", "sandbox"]).expect_success();
    let server = ["--env", "sandbox"];
    expect_green(&sandbox, &server);
    keyring.lock(&sandbox);
    let said = diagnose(&sandbox, &server, "store", &["the credential store is locked"]);
    said.advises("unlock your keychain, for example by logging in to the desktop, and try again");
    let text = sandbox.finmcp(["doctor", "--env", "sandbox"]).expect_code(1).stdout;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let skipped = "skipped sign-in, lock, registration, token, scope, handshake, tools, client: depends on store";
    assert!(words.contains(skipped) && text.ends_with("1 failed\n"), "{text}");
    keyring.unlock(&sandbox);
    expect_green(&sandbox, &server);
    sandbox.assert_no_secret(&vendor.secrets());
}
