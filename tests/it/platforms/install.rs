//! `install.sh`, from a release that is a folder on this machine, made and signed by the scripts that make releases.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::sandbox::{Run, Sandbox};

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("install.sh")
}

/// Runs a program that has to succeed, and gives its stdout.
pub fn run(program: impl AsRef<std::ffi::OsStr>, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> String {
    let mut command = Command::new(program);
    command.args(arguments.iter().map(AsRef::as_ref));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn packaging(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(script)
}

/// Writes a program that a shell runs.
pub fn write_program(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// A sandbox with a release for this platform, and the key that it is signed with.
struct Release {
    sandbox: Sandbox,
    folder: PathBuf,
    archive: PathBuf,
    key: PathBuf,
}

impl Release {
    /// A release of a program that runs the binary under test: a debug build would take seconds to pack.
    fn new() -> Self {
        Self::of(|path| write_program(path, &format!("exec '{}' \"$@\"", env!("CARGO_BIN_EXE_finmcp"))))
    }

    /// A release of the file that `make` makes.
    fn of(make: impl FnOnce(&Path)) -> Self {
        let mut sandbox = Sandbox::new();
        let folder = sandbox.watched().join("release");
        let target = match (std::env::consts::OS, std::env::consts::ARCH) {
            ("linux", arch) => format!("{arch}-unknown-linux-musl"),
            ("macos", _) => "universal-apple-darwin".to_owned(),
            other => panic!("no release is made for {other:?}"),
        };
        let binary = sandbox.watched().join("binary");
        make(&binary);
        run(packaging("archive.sh"), &[&target, &binary, &folder]);
        let archive = folder.join(format!("finmcp-{target}.tar.gz"));
        sandbox.set("FINMCP_RELEASE_URL", format!("file://{}", folder.display()));
        let (key, public_key) = make_key(&sandbox, "release");
        sandbox.set("FINMCP_RELEASE_KEY", public_key);
        let release = Self { sandbox, folder, archive, key };
        release.sign();
        release
    }

    /// Writes the checksums of what is there, and signs them.
    fn sign(&self) {
        run(packaging("sign.sh"), &[&self.folder, &self.key]);
    }

    fn sums(&self) -> PathBuf {
        self.folder.join("SHA256SUMS")
    }

    fn signature(&self) -> PathBuf {
        self.folder.join("SHA256SUMS.sig")
    }

    /// Signs the given list.
    fn sign_list(&self, sums: &str, key: &Path) {
        fs::write(self.sums(), sums).unwrap();
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 7] =
            [&"dgst", &"-sha256", &"-sign", &key, &"-out", &self.signature(), &self.sums()];
        run("openssl", &arguments);
    }

    /// Puts an archive of the files in `content` there, called `members` in it, and signs that.
    fn repack(&self, content: &Path, members: &[&str]) {
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"-czf", &self.archive, &"-C", &content];
        arguments.extend(members.iter().map(|member| member as &dyn AsRef<std::ffi::OsStr>));
        run("tar", &arguments);
        self.sign();
    }

    fn install(&self, arguments: &[&str]) -> Run {
        self.install_with(&script(), arguments)
    }

    fn install_with(&self, script: &Path, arguments: &[&str]) -> Run {
        let mut command = self.sandbox.command("sh");
        command.arg(script).args(arguments);
        self.sandbox.run(command, Vec::new())
    }

    fn installed(&self) -> PathBuf {
        self.sandbox.home().join(".local/bin/finmcp")
    }
}

/// A new pair of keys, made as packaging/README.md says: the private one and the public one.
fn make_key(sandbox: &Sandbox, name: &str) -> (PathBuf, PathBuf) {
    let (private, public) = (sandbox.give(&format!("{name}-key"), ""), sandbox.give(&format!("{name}-key.pub"), ""));
    run("openssl", &[&"ecparam", &"-name", &"prime256v1", &"-genkey", &"-noout", &"-out", &private]);
    run("openssl", &[&"ec", &"-in", &private, &"-pubout", &"-out", &public]);
    (private, public)
}

/// Twice, since an installed finmcp is replaced; and what is removed is what was installed, and nothing beside it.
#[test]
fn a_release_is_installed_with_completions_twice_and_removed_twice() {
    let mut release = Release::new();
    let home = release.sandbox.home();
    let shells = release.sandbox.watched().join("shells");
    fs::create_dir(&shells).unwrap();
    for shell in ["bash", "zsh", "fish"] {
        write_program(&shells.join(shell), "exit 1");
    }
    release.sandbox.set("PATH", format!("{}:{}", std::env::var("PATH").unwrap(), shells.display()));
    let others = [
        "finmcp/config.toml",
        ".local/bin/other",
        ".local/share/bash-completion/completions/other",
        ".local/share/zsh/site-functions/_other",
        ".config/fish/completions/other.fish",
        ".local/share/man/man1/other.1",
    ];
    for other in others {
        fs::create_dir_all(home.join(other).parent().unwrap()).unwrap();
        fs::write(home.join(other), "").unwrap();
    }
    for _ in 0..2 {
        release.install(&[]).expect_success().expect_stderr(&["is not on your PATH"]);
        let mut command = release.sandbox.command(release.installed());
        command.arg("--version");
        let version = release.sandbox.run(command, Vec::new()).expect_success().stdout;
        assert_eq!(version.trim_end(), concat!("finmcp ", env!("CARGO_PKG_VERSION")));
        for part in [
            ".local/share/man/man1/finmcp.1",
            ".local/share/man/man1/finmcp-login.1",
            ".local/share/bash-completion/completions/finmcp",
            ".local/share/zsh/site-functions/_finmcp",
            ".config/fish/completions/finmcp.fish",
        ] {
            assert!(fs::read_to_string(home.join(part)).unwrap().contains("finmcp"), "{part}");
        }
    }
    release.install(&["--uninstall"]).expect_success().expect_stderr(&["finmcp logout --all"]);
    release.install(&["--uninstall"]).expect_success().expect_stderr(&["finmcp is not installed in"]);
    let mut left: Vec<PathBuf> = others.iter().map(|other| home.join(other)).collect();
    let mut files = release.sandbox.files();
    left.sort();
    files.sort();
    assert_eq!(files, left);
    assert_eq!(release.sandbox.temporary_files(), Vec::<PathBuf>::new());
}

#[test]
fn a_running_finmcp_can_be_replaced() {
    let release = Release::new();
    // The binary itself: a script that runs would not be busy.
    fs::create_dir_all(release.installed().parent().unwrap()).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_finmcp"), release.installed()).unwrap();
    let mut command = release.sandbox.command(release.installed());
    command.args(["serve", "http://127.0.0.1:9/mcp"]);
    let mut running = crate::support::serve::Serve::start(command, release.sandbox.transcript());
    running.request("ping", serde_json::json!({}));
    release.install(&[]).expect_success();
    assert!(running.is_running());
    assert!(fs::read(release.installed()).unwrap().starts_with(b"#!/bin/sh"));
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

/// t144: a release that is not what the holder of the key signed, to the byte, is refused, and what was there stays.
#[test]
fn t144_a_release_that_differs_from_the_signed_one_is_refused() {
    type Spoil = fn(&mut Release);
    let cases: [(&str, Spoil, &str); 14] = [
        ("a flipped bit", |release| flip(&release.archive), "wrong checksum for"),
        (
            "an archive and a list from another signer",
            |release| {
                let signature = fs::read(release.signature()).unwrap();
                flip(&release.archive);
                release.sign();
                fs::write(release.signature(), signature).unwrap();
            },
            "wrong signature",
        ),
        (
            "another key",
            |release| {
                let (other, _) = make_key(&release.sandbox, "other");
                let sums = fs::read_to_string(release.sums()).unwrap();
                release.sign_list(&sums, &other);
            },
            "wrong signature",
        ),
        ("an empty signature", |release| fs::write(release.signature(), "").unwrap(), "wrong signature"),
        ("no signature", |release| fs::remove_file(release.signature()).unwrap(), "not signed"),
        ("no list", |release| fs::remove_file(release.sums()).unwrap(), "no checksums"),
        ("no archive", |release| fs::remove_file(&release.archive).unwrap(), "the release has no"),
        (
            "a list without it",
            |release| {
                fs::rename(&release.archive, release.folder.join("finmcp-other.tar.gz")).unwrap();
                release.sign();
                fs::rename(release.folder.join("finmcp-other.tar.gz"), &release.archive).unwrap();
            },
            "has no checksum for",
        ),
        (
            "a list with a short checksum",
            |release| {
                let sums = fs::read_to_string(release.sums()).unwrap();
                release.sign_list(&sums[1..], &release.key);
            },
            "wrong checksum for",
        ),
        (
            "a list with two",
            |release| {
                let sums = fs::read_to_string(release.sums()).unwrap();
                release.sign_list(&sums.repeat(2), &release.key);
            },
            "wrong checksum for",
        ),
        (
            "no archive at all, but signed",
            |release| {
                fs::write(&release.archive, "not an archive").unwrap();
                release.sign();
            },
            "cannot read the archive",
        ),
        (
            "a link",
            |release| {
                let content = content(release);
                symlink(env!("CARGO_BIN_EXE_finmcp"), content.join("finmcp")).unwrap();
                release.repack(&content, &["LICENSE", "finmcp"]);
            },
            "unexpected files in the archive",
        ),
        (
            "one member more",
            |release| {
                let content = content(release);
                write_program(&content.join("finmcp"), "echo finmcp 0");
                fs::write(content.join("more"), "").unwrap();
                release.repack(&content, &["LICENSE", "finmcp", "more"]);
            },
            "unexpected files in the archive",
        ),
        (
            "a key that is not there",
            |release| release.sandbox.set("FINMCP_RELEASE_KEY", release.folder.join("key")),
            "FINMCP_RELEASE_KEY",
        ),
    ];
    for (what, spoil, says) in cases {
        let mut release = Release::new();
        fs::create_dir_all(release.installed().parent().unwrap()).unwrap();
        fs::write(release.installed(), "what was there").unwrap();
        spoil(&mut release);
        let run = release.install(&[]);
        assert_eq!(run.code, Some(1), "{what}: {}", run.stderr);
        assert!(run.stderr.contains(says), "{what}: {}", run.stderr);
        assert_eq!(fs::read_to_string(release.installed()).unwrap(), "what was there", "{what}");
        assert_eq!(release.sandbox.files(), [release.installed()], "{what}");
        assert_eq!(release.sandbox.temporary_files(), Vec::<PathBuf>::new(), "{what}");
    }
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A folder for an archive's members, with the licence in it.
fn content(release: &Release) -> PathBuf {
    let content = release.sandbox.watched().join("content");
    fs::create_dir(&content).unwrap();
    fs::write(content.join("LICENSE"), "").unwrap();
    content
}

#[test]
fn the_script_has_the_default_key() {
    let mut release = Release::new();
    let key = fs::read_to_string(release.sandbox.watched().join("../given/release-key.pub")).unwrap();
    release.sandbox.unset("FINMCP_RELEASE_KEY");
    let text = fs::read_to_string(script()).unwrap();
    let (before, rest) = text.split_once("<<'RELEASE_KEY'\n").unwrap();
    let (_, after) = rest.split_once("RELEASE_KEY\n").unwrap();
    let with = |key: &str| {
        let text = format!("{before}<<'RELEASE_KEY'\n{key}RELEASE_KEY\n{after}");
        release.sandbox.give("install.sh", text)
    };
    release.install_with(&with(""), &[]).expect_code(1).expect_stderr(&["no release key", "build from a checkout"]);
    assert_eq!(release.sandbox.files(), Vec::<PathBuf>::new());
    release.install_with(&with(&key), &[]).expect_success();
    assert!(release.installed().exists());
}

#[test]
fn a_machine_without_openssl_cannot_tell_who_signed_a_release() {
    let mut release = Release::new();
    let programs = release.sandbox.watched().join("programs");
    fs::create_dir(&programs).unwrap();
    for program in ["sh", "mktemp", "rm", "uname"] {
        let folder = ["/bin", "/usr/bin"].into_iter().find(|folder| Path::new(folder).join(program).exists());
        symlink(Path::new(folder.unwrap()).join(program), programs.join(program)).unwrap();
    }
    release.sandbox.set("PATH", &programs);
    let run = release.install(&[]).expect_code(1).expect_stderr(&["openssl is needed"]);
    assert_eq!(run.stderr.lines().count(), 1, "it went on: {}", run.stderr);
    assert_eq!(release.sandbox.files(), Vec::<PathBuf>::new());
}

#[test]
fn a_binary_that_does_not_run_here_changes_nothing() {
    let release = Release::of(|path| fs::write(path, "not a program").unwrap());
    release.install(&[]).expect_code(1).expect_stderr(&["nothing was changed"]);
    assert_eq!(release.sandbox.files(), Vec::<PathBuf>::new());
}

/// t144: a download that was cut anywhere runs nothing, whichever shell reads it.
#[test]
fn t144_a_cut_script_does_nothing() {
    let mut release = Release::new();
    let programs = release.sandbox.watched().join("programs");
    let log = release.sandbox.watched().join("log");
    fs::create_dir(&programs).unwrap();
    for program in [
        "awk",
        "cargo",
        "cat",
        "chmod",
        "cp",
        "curl",
        "cut",
        "dirname",
        "grep",
        "mkdir",
        "mktemp",
        "mv",
        "openssl",
        "rm",
        "sha256sum",
        "shasum",
        "tar",
        "uname",
    ] {
        write_program(&programs.join(program), &format!("echo {program} >>'{}'", log.display()));
    }
    release.sandbox.set("PATH", &programs);
    let whole = fs::read(script()).unwrap();
    // The last line is complete with its brace, and does nothing before.
    let last = whole.strip_suffix(b"}\n").unwrap().len();
    let shells: Vec<&str> = ["/bin/sh", "/bin/bash"].into_iter().filter(|shell| Path::new(shell).exists()).collect();
    let runs_something = |shell: &str, length: usize| {
        let cut = release.sandbox.give("cut.sh", &whole[..length]);
        let mut command = release.sandbox.command(shell);
        command.arg(cut);
        release.sandbox.run(command, Vec::new());
        log.exists() || !release.sandbox.files().is_empty() || !release.sandbox.temporary_files().is_empty()
    };
    for shell in shells {
        for length in (0..last).step_by(128).chain(last - 40..=last) {
            assert!(!runs_something(shell, length), "{shell}, cut at {length}");
        }
        assert!(runs_something(shell, whole.len()), "{shell}: the whole script runs nothing");
        fs::remove_file(&log).unwrap();
    }
}

/// What the last job of a release does before it publishes.
#[test]
fn a_release_is_tested_by_installing_it() {
    let release = Release::new();
    fs::copy(script(), release.folder.join("install.sh")).unwrap();
    release.sign();
    let try_it = || {
        let mut command = release.sandbox.command("sh");
        command.arg(packaging("try.sh")).arg(&release.folder);
        release.sandbox.run(command, Vec::new())
    };
    try_it().expect_success();
    assert_eq!(release.sandbox.files(), Vec::<PathBuf>::new());
    flip(&release.signature());
    try_it().expect_code(1);

    let other = Release::of(|path| write_program(path, "echo finmcp 0.0.0"));
    fs::copy(script(), other.folder.join("install.sh")).unwrap();
    other.sign();
    let mut command = other.sandbox.command("sh");
    command.arg(packaging("try.sh")).arg(&other.folder);
    other.sandbox.run(command, Vec::new()).expect_code(1).expect_stderr(&["another version"]);
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
