//! `install.sh`, from a release that is a folder on this machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest as _, Sha256};

use crate::support::sandbox::{Run, Sandbox};

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("install.sh")
}

/// Packs the file `finmcp` of `folder`.
fn pack(archive: &Path, folder: &Path) {
    let packed = Command::new("tar").arg("-czf").arg(archive).arg("-C").arg(folder).arg("finmcp").status();
    assert!(packed.unwrap().success());
}

/// A sandbox with a release for this platform.
struct Release {
    sandbox: Sandbox,
    folder: PathBuf,
    archive: PathBuf,
}

impl Release {
    /// A release of a script that runs the binary under test: a debug build would take seconds to pack.
    fn new() -> Self {
        Self::of(|folder| {
            let script = format!("#!/bin/sh\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_finmcp"));
            fs::write(folder.join("finmcp"), script).unwrap();
        })
    }

    /// A release of the file `finmcp` that `make` makes in a folder.
    fn of(make: impl FnOnce(&Path)) -> Self {
        let mut sandbox = Sandbox::new();
        let folder = sandbox.watched().join("release");
        fs::create_dir(&folder).unwrap();
        let target = match (std::env::consts::OS, std::env::consts::ARCH) {
            ("linux", arch) => format!("{arch}-unknown-linux-musl"),
            ("macos", arch) => format!("{arch}-apple-darwin"),
            other => panic!("no release is made for {other:?}"),
        };
        let archive = folder.join(format!("finmcp-{target}.tar.gz"));
        let content = sandbox.watched().join("content");
        fs::create_dir(&content).unwrap();
        make(&content);
        pack(&archive, &content);
        sandbox.set("FINMCP_RELEASE_URL", format!("file://{}", folder.display()));
        let release = Self { sandbox, folder, archive };
        release.sign(&release.checksum());
        release
    }

    fn checksum(&self) -> String {
        Sha256::digest(fs::read(&self.archive).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn sign(&self, checksum: &str) {
        let name = self.archive.file_name().unwrap().to_string_lossy().into_owned();
        fs::write(self.folder.join(format!("{name}.sha256")), format!("{checksum}  {name}\n")).unwrap();
    }

    fn install(&self, arguments: &[&str]) -> Run {
        let mut command = self.sandbox.command("sh");
        command.arg(script()).args(arguments);
        self.sandbox.run(command, Vec::new())
    }

    fn installed(&self) -> PathBuf {
        self.sandbox.home().join(".local/bin/finmcp")
    }
}

#[test]
fn a_release_is_installed_with_completions_twice_and_removed() {
    let release = Release::new();
    for _ in 0..2 {
        release.install(&[]).expect_success().expect_stderr(&["is not on your PATH"]);
        let mut command = release.sandbox.command(release.installed());
        command.arg("--version");
        let version = release.sandbox.run(command, Vec::new()).expect_success().stdout;
        assert_eq!(version.trim_end(), concat!("finmcp ", env!("CARGO_PKG_VERSION")));
        let completion = release.sandbox.home().join(".local/share/bash-completion/completions/finmcp");
        assert!(fs::read_to_string(completion).unwrap().contains("finmcp"));
    }
    release.install(&["--uninstall"]).expect_success();
    assert_eq!(release.sandbox.files(), Vec::<PathBuf>::new());
    release.install(&["--uninstall"]).expect_success();
}

#[test]
fn a_finmcp_that_runs_can_be_replaced() {
    // The binary itself: a script that runs would not be busy.
    let release = Release::of(|folder| {
        fs::copy(env!("CARGO_BIN_EXE_finmcp"), folder.join("finmcp")).unwrap();
    });
    release.install(&[]).expect_success();
    let mut command = release.sandbox.command(release.installed());
    command.args(["serve", "http://127.0.0.1:9/mcp"]);
    let mut running = crate::support::serve::Serve::start(command, release.sandbox.transcript());
    running.request("ping", serde_json::json!({}));
    release.install(&[]).expect_success();
    assert!(running.is_running());
}

#[test]
fn the_folder_is_the_one_that_was_asked_for() {
    let mut release = Release::new();
    release.sandbox.set("XDG_BIN_HOME", release.sandbox.home().join("xdg"));
    release.install(&[]).expect_success();
    assert!(release.sandbox.home().join("xdg/finmcp").exists());
    release.sandbox.set("FINMCP_INSTALL_DIR", release.sandbox.home().join("mine"));
    release.install(&[]).expect_success();
    assert!(release.sandbox.home().join("mine/finmcp").exists());
    assert!(!release.installed().exists());
}

/// t144: one flipped bit, a wrong checksum, none at all: refused, and what was there stays.
#[test]
fn t144_an_archive_that_is_not_what_was_released_is_refused() {
    let release = Release::new();
    fs::create_dir_all(release.installed().parent().unwrap()).unwrap();
    fs::write(release.installed(), "what was there").unwrap();
    let good = release.checksum();
    let name = release.archive.file_name().unwrap().to_string_lossy().into_owned();
    let checksum = release.folder.join(format!("{name}.sha256"));

    let mut bytes = fs::read(&release.archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&release.archive, &bytes).unwrap();
    release.install(&[]).expect_code(1).expect_stderr(&["checksum"]);
    for wrong in ["", "0", &good[..63]] {
        release.sign(wrong);
        release.install(&[]).expect_code(1).expect_stderr(&["checksum"]);
    }
    fs::remove_file(&checksum).unwrap();
    release.install(&[]).expect_code(1).expect_stderr(&["checksum"]);
    assert_eq!(fs::read_to_string(release.installed()).unwrap(), "what was there");
}

#[test]
fn an_archive_that_does_not_run_here_changes_nothing() {
    let release = Release::new();
    let folder = release.sandbox.watched().join("other");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("finmcp"), "not a program").unwrap();
    pack(&release.archive, &folder);
    release.sign(&release.checksum());
    release.install(&[]).expect_code(1).expect_stderr(&["nothing was changed"]);
    assert_eq!(release.sandbox.files(), Vec::<PathBuf>::new());
}

/// t144: a download that was cut anywhere does nothing.
#[test]
fn t144_a_cut_script_does_nothing() {
    let release = Release::new();
    let whole = fs::read(script()).unwrap();
    let last = whole.len() - "main \"$@\"\n".len();
    for length in (0..last).step_by(256).chain([last]) {
        let cut = release.sandbox.give("cut.sh", &whole[..length]);
        let mut command = release.sandbox.command("sh");
        command.arg(cut);
        release.sandbox.run(command, Vec::new());
        assert_eq!(release.sandbox.files(), Vec::<PathBuf>::new(), "cut at {length}");
    }
}

#[test]
fn other_addresses_than_https_are_refused_and_help_says_how_it_is_used() {
    let mut release = Release::new();
    for address in ["http://example.com/r", "ftp://example.com/r", "example.com", "file:relative"] {
        release.sandbox.set("FINMCP_RELEASE_URL", address);
        release.install(&[]).expect_code(1).expect_stderr(&["https://"]);
    }
    assert!(release.install(&["--help"]).expect_success().stdout.contains("--demo"));
    release.install(&["--nonsense"]).expect_code(2);
}
