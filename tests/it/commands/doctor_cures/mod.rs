//! What `finmcp doctor` advises is true: for each broken set-up it names one cause, and after the advised command, or the
//! advised step where no command can help, it finds nothing wrong.

mod entries;
mod machine;
mod network;
mod sign_ins;
mod stores;

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
        terminal::Terminal,
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
    let hints = failed[0]["hints"].as_array().unwrap_or_else(|| panic!("nothing to do: {report:#}"));
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

/// A server that needs no sign-in and publishes no metadata, so that it can have any address.
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
