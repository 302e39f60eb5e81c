//! The keychain against a real keyring daemon: each test has its own session bus and gnome-keyring, in its
//! own home.
//!
//! A process finds its session bus through its environment, which it cannot change for itself. So this binary runs
//! itself once more, with the environment that a test is about, to do one thing only: [`worker`], which takes calls
//! from its standard input and writes their outcomes to its standard output.

#![cfg(all(unix, not(target_os = "macos")))]
#![allow(clippy::disallowed_methods, clippy::panic, clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader, IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use finmcp::credential::{
    keychain::Keychain,
    store::{CredentialStore, StoreError},
};
use rustix::process::{Pid, Signal, kill_process};
use zeroize::Zeroizing;

const SOON: Duration = Duration::from_secs(10);

/// Not a test: the process that the tests drive. One call a line: `save NAME SIZE`, `load NAME`, `delete NAME`.
#[test]
#[ignore = "runs inside of the other tests"]
fn worker() {
    if std::io::stdin().is_terminal() {
        return;
    }
    let keychain = Keychain::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<_> = line.split(' ').collect();
        let outcome = runtime.block_on(async {
            match words[..] {
                ["save", name, size] => {
                    keychain.save(name, payload(size.parse().unwrap())).await.map(|()| "done".to_owned())
                }
                ["load", name] => keychain.load(name).await.map(|found| match found {
                    Some(found) if *found == *payload(found.len()) => found.len().to_string(),
                    Some(_) => "other bytes".to_owned(),
                    None => "none".to_owned(),
                }),
                ["delete", name] => keychain.delete(name).await.map(|()| "done".to_owned()),
                _ => panic!("{line}"),
            }
        });
        let text = match outcome {
            Ok(text) => text,
            Err(StoreError::Absent(cause)) => format!("Absent: {cause}"),
            Err(StoreError::Failed(cause)) => format!("Failed: {cause}"),
            Err(error) => format!("{error:?}"),
        };
        // The test harness may have left a line unfinished.
        write!(std::io::stdout(), "\n= {text}\n").unwrap();
        std::io::stdout().flush().unwrap();
    }
}

fn payload(size: usize) -> Zeroizing<Vec<u8>> {
    Zeroizing::new((0..size).map(|index| (index % 251) as u8).collect())
}

/// A process that ends with its test.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        match command.spawn() {
            Ok(child) => Self(child),
            Err(error) => panic!("could not start {:?} ({error}); tests/run.sh installs it", command.get_program()),
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn wait(&mut self, deadline: Duration) {
        let until = Instant::now() + deadline;
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "it has not ended after {deadline:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A home with a session bus.
struct Session {
    home: tempfile::TempDir,
    address: String,
    _bus: Process,
}

impl Session {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let socket = home.path().join("socket");
        Self::listening_on(home, &socket)
    }

    fn listening_on(home: tempfile::TempDir, socket: &Path) -> Self {
        // Unlike the usual configuration, this one starts no services.
        let configuration = home.path().join("bus.conf");
        fs::write(
            &configuration,
            format!(
                r#"<busconfig><type>session</type><listen>unix:path={}</listen><policy context="default">
                <allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>"#,
                socket.display()
            ),
        )
        .unwrap();
        let mut bus = Process::start(
            clean("dbus-daemon", home.path())
                .args(["--nofork", "--print-address", "--config-file"])
                .arg(configuration)
                .stdout(Stdio::piped()),
        );
        let mut address = String::new();
        BufReader::new(bus.0.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { home, address: address.trim().to_owned(), _bus: bus }
    }

    /// The environment of a process in this session.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = clean(program, self.home.path());
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.address);
        command
    }

    fn keyring(&self) -> Keyring {
        self.start_keyring(&["--unlock"])
    }

    fn locked_keyring(&self) -> Keyring {
        self.start_keyring(&[])
    }

    /// Starts a daemon and waits until it has its name on the bus.
    fn start_keyring(&self, arguments: &[&str]) -> Keyring {
        let mut daemon = Process::start(
            self.command("gnome-keyring-daemon")
                .args(["--foreground", "--components=secrets"])
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        daemon.0.stdin.take().unwrap().write_all(b"password").unwrap();
        self.wait_for_owner(true);
        Keyring { daemon }
    }

    fn wait_for_owner(&self, wanted: bool) {
        let until = Instant::now() + SOON;
        loop {
            let reply = self
                .command("dbus-send")
                .args(["--session", "--print-reply", "--dest=org.freedesktop.DBus", "/"])
                .args(["org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.secrets"])
                .output()
                .unwrap();
            if String::from_utf8_lossy(&reply.stdout).contains(if wanted { "boolean true" } else { "boolean false" }) {
                return;
            }
            assert!(Instant::now() < until, "the keyring daemon: {reply:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&self, mut keyring: Keyring) {
        keyring.daemon.signal(Signal::KILL);
        keyring.daemon.wait(SOON);
        self.wait_for_owner(false);
    }

    fn worker(&self) -> Worker {
        Worker::start(&mut self.command(std::env::current_exe().unwrap()))
    }
}

/// Nothing of the environment that the tests run in.
fn clean(program: impl AsRef<Path>, home: &Path) -> Command {
    let mut command = Command::new(program.as_ref());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home);
    command
}

struct Keyring {
    daemon: Process,
}

/// This binary as [`worker`].
struct Worker {
    process: Process,
    calls: Option<ChildStdin>,
    outcomes: BufReader<ChildStdout>,
}

impl Worker {
    fn start(command: &mut Command) -> Self {
        let mut process = Process::start(
            command
                .args(["--exact", "platforms::keyring_daemon::worker", "--ignored", "--nocapture"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        );
        let calls = process.0.stdin.take();
        let outcomes = BufReader::new(process.0.stdout.take().unwrap());
        Self { process, calls, outcomes }
    }

    fn call(&mut self, call: &str) -> String {
        writeln!(self.calls.as_mut().unwrap(), "{call}").unwrap();
        loop {
            let mut line = String::new();
            assert_ne!(self.outcomes.read_line(&mut line).unwrap(), 0, "the worker ended");
            if let Some(outcome) = line.strip_prefix("= ") {
                return outcome.trim_end().to_owned();
            }
        }
    }
}

#[test]
fn t083_unlocked_entries_come_back() {
    let session = Session::new();
    let _keyring = session.keyring();
    let mut worker = session.worker();
    assert_eq!(worker.call("load a"), "none");
    assert_eq!(worker.call("delete a"), "done");
    for size in [100, 8 << 10, 100 << 10, 0, 5] {
        assert_eq!(worker.call(&format!("save a {size}")), "done");
        assert_eq!(worker.call("load a"), size.to_string());
    }
    assert_eq!(worker.call("save b 7"), "done");
    let mut other = session.worker();
    assert_eq!(other.call("load a"), "5");
    assert_eq!(other.call("delete a"), "done");
    assert_eq!(worker.call("load a"), "none");
    assert_eq!(worker.call("load b"), "7");
    // Nothing of it can be read in the home.
    let text = payload(200);
    for file in files(session.home.path()) {
        assert!(!fs::read(&file).unwrap().windows(5).any(|window| *window == text[100..105]), "{}", file.display());
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match fs::symlink_metadata(&path).unwrap().file_type() {
            kind if kind.is_dir() => found.extend(files(&path)),
            kind if kind.is_file() => found.push(path),
            _ => {}
        }
    }
    found
}

#[test]
fn t083_a_locked_keyring_is_named() {
    let session = Session::new();
    let keyring = session.keyring();
    assert_eq!(session.worker().call("save a 100"), "done");
    session.stop(keyring);
    let _keyring = session.locked_keyring();
    let mut worker = session.worker();
    for call in ["load a", "save a 100", "delete a", "save new 100"] {
        assert_eq!(worker.call(call), "Locked", "{call}");
    }
}

/// The service runs and has no keyring to keep anything in.
#[test]
fn t083_a_missing_keyring_is_named() {
    let session = Session::new();
    let _keyring = session.locked_keyring();
    let mut worker = session.worker();
    assert_eq!(worker.call("load a"), "none");
    assert_eq!(worker.call("save a 100"), "NoKeyring");
}

#[test]
fn t083_no_bus_or_no_service_is_absent() {
    let session = Session::new();
    let outcome = session.worker().call("load a");
    assert!(outcome.starts_with("Absent: "), "{outcome}");
    let nowhere = format!("unix:path={}/nothing", session.home.path().display());
    let mut worker =
        Worker::start(session.command(std::env::current_exe().unwrap()).env("DBUS_SESSION_BUS_ADDRESS", nowhere));
    let outcome = worker.call("save a 1");
    assert!(outcome.starts_with("Absent: "), "{outcome}");
}

/// t079: a daemon that does not answer is waited for 3 s, holds nothing up afterwards, and is used again when it
/// answers.
#[test]
fn t079_a_stopped_daemon_times_out() {
    let session = Session::new();
    let keyring = session.keyring();
    let mut worker = session.worker();
    assert_eq!(worker.call("save a 100"), "done");
    keyring.daemon.signal(Signal::STOP);
    for call in ["load a", "save a 200"] {
        let start = Instant::now();
        assert_eq!(worker.call(call), "TimedOut(3s)");
        assert!((3..4).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    }
    keyring.daemon.signal(Signal::CONT);
    assert_eq!(worker.call("save a 300"), "done");
    assert_eq!(worker.call("load a"), "300");
    // A process ends though a call of its hangs, and so does one that never had an answer.
    keyring.daemon.signal(Signal::STOP);
    let mut fresh = session.worker();
    for worker in [&mut worker, &mut fresh] {
        assert_eq!(worker.call("load a"), "TimedOut(3s)");
        worker.calls = None;
        worker.process.wait(Duration::from_secs(1));
    }
}

/// The daemon was restarted: its old sessions are gone, which only a new one shows.
#[test]
fn a_restarted_daemon_is_opened_again() {
    let session = Session::new();
    let keyring = session.keyring();
    let mut worker = session.worker();
    assert_eq!(worker.call("save a 100"), "done");
    session.stop(keyring);
    let outcome = worker.call("load a");
    assert!(outcome.starts_with("Absent: "), "{outcome}");
    let keyring = session.keyring();
    assert_eq!(worker.call("load a"), "100");
    session.stop(keyring);
    let _keyring = session.keyring();
    assert_eq!(worker.call("save a 200"), "done");
    assert_eq!(worker.call("load a"), "200");
}

/// AI clients start servers without `DBUS_SESSION_BUS_ADDRESS`; the bus is where it always is.
#[test]
fn a_bus_without_an_address_is_found() {
    let home = tempfile::tempdir().unwrap();
    let runtime = home.path().to_owned();
    let session = Session::listening_on(home, &runtime.join("bus"));
    let _keyring = session.keyring();
    let mut worker = Worker::start(clean(std::env::current_exe().unwrap(), &runtime).env("XDG_RUNTIME_DIR", &runtime));
    assert_eq!(worker.call("save a 100"), "done");
    assert_eq!(worker.call("load a"), "100");
}

/// The same without `XDG_RUNTIME_DIR`, as the Python SDK and Codex start servers. Where this user has a session
/// already, or may not make a place for one, there is nothing to try it with.
#[test]
fn a_bus_is_found_by_the_user_alone() {
    let runtime = PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw()));
    if runtime.exists() || fs::create_dir_all(&runtime).is_err() {
        return;
    }
    let runtime = RuntimeFolder(runtime);
    let session = Session::listening_on(tempfile::tempdir().unwrap(), &runtime.0.join("bus"));
    let _keyring = session.keyring();
    let mut worker = Worker::start(&mut clean(std::env::current_exe().unwrap(), session.home.path()));
    assert_eq!(worker.call("save a 100"), "done");
}

/// A folder for this test alone, removed at its end.
struct RuntimeFolder(PathBuf);

impl Drop for RuntimeFolder {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0.join("bus"));
        let _ = fs::remove_dir(&self.0);
    }
}
