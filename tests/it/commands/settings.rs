//! `config.toml`: the person's own file.

use std::fs;

use crate::{
    commands::login::{machine_login, machine_vendor},
    support::{
        sandbox::Sandbox,
        vendor::{Script, Vendor},
    },
};

/// Writes `config.toml`, as a person does.
pub fn configure(sandbox: &Sandbox, text: &str) -> std::path::PathBuf {
    let folder = sandbox.home().join("finmcp");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("config.toml");
    fs::write(&path, text).unwrap();
    path
}

/// What is wrong is shown where it is, line by line.
#[test]
fn a_mistake_is_shown_in_its_place() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "default = \"asset\"\nprofile = 7\n");
    sandbox.finmcp(["token"]).expect_code(2).expect_stderr(&["config.toml", "\n    2 | profile = 7\n"]);
}

/// Signing in changes the one profile, and no word that the person wrote around it.
#[test]
fn signing_in_keeps_comments_and_order() {
    let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
    let before = "# mine\ndefault = \"asset\" # why\n\n# the sandbox\n[profiles.asset-sandbox] # ours\nprovider = \"asset\"\n\
                  environment = \"sandbox\"\n\n# another\n[profiles.other] # o\nurl = \"https://other.example/\"\n# end\n";
    let path = configure(&sandbox, before);
    for _ in 0..2 {
        sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success();
        let after = fs::read_to_string(&path).unwrap();
        assert!(after.contains("signed_in"), "{after}");
        let kept = after.lines().filter(|line| before.lines().any(|known| known == *line));
        assert_eq!(kept.collect::<Vec<_>>(), before.lines().collect::<Vec<_>>(), "{after}");
    }
}

/// t128: no wait is longer than a day, wherever it is set.
#[test]
fn t128_a_wait_has_a_limit() {
    let url = "http://127.0.0.1:1/mcp";
    for seconds in ["0", "86401", "18446744073709551615", "18446744073709551616", "-1"] {
        let timeout = format!("--timeout={seconds}");
        for command in ["serve", "login"] {
            Sandbox::new().finmcp([command, url, &timeout]).expect_code(2).expect_stderr(&["--timeout"]);
        }
        let mut sandbox = Sandbox::new();
        sandbox.set("FINMCP_REQUEST_TIMEOUT", seconds);
        sandbox.finmcp(["serve", url]).expect_code(2).expect_stderr(&["FINMCP_REQUEST_TIMEOUT", "1 to 86400"]);
    }
    Sandbox::new().finmcp(["serve", url, "--timeout=86400"]).expect_success();
}

/// However a person spells the profiles, signing in adds to them.
#[test]
fn profiles_on_one_line_are_added_to() {
    let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
    let path = configure(&sandbox, "profiles = { other = { url = \"https://other.example/\" } }\n");
    sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success();
    let after = fs::read_to_string(path).unwrap();
    assert!(after.contains("https://other.example/") && after.contains("signed_in"), "{after}");
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_success();
}

/// The file store with a passphrase in place of a key file: right, wrong, and none.
#[test]
fn t082_a_passphrase_opens_the_file_store() {
    let (mut sandbox, vendor) = (Sandbox::new(), machine_vendor());
    sandbox.unset("FINMCP_STORE_KEY_FILE");
    let login = machine_login(&sandbox, &vendor);
    sandbox.finmcp(&login).expect_code(6).expect_stderr(&["FINMCP_STORE_KEY_FILE", "FINMCP_STORE_PASSPHRASE"]);
    assert!(vendor.records().is_empty(), "the store is proven first");
    sandbox.set("FINMCP_STORE_PASSPHRASE", "correct horse");
    sandbox.finmcp(&login).expect_success();
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_success();
    sandbox.set("FINMCP_STORE_PASSPHRASE", "battery staple");
    sandbox
        .finmcp(["token", "--env", "sandbox"])
        .expect_code(6)
        .expect_stderr(&["encrypted with another passphrase", "FINMCP_STORE_PASSPHRASE"]);
    sandbox.unset("FINMCP_STORE_PASSPHRASE");
    sandbox
        .finmcp(["token", "--env", "sandbox"])
        .expect_code(6)
        .expect_stderr(&["needs its key file or its passphrase"]);
    sandbox.set("FINMCP_STORE_PASSPHRASE", "correct horse");
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_success();
    sandbox.assert_no_secret(&["correct horse".to_owned()]);
}

/// A person is asked for it, twice where it is chosen, and it is not shown.
#[cfg(unix)]
#[test]
fn t082_finmcp_prompts_for_the_passphrase() {
    use crate::support::terminal::Terminal;
    let (mut sandbox, vendor) = (Sandbox::new(), machine_vendor());
    sandbox.unset("FINMCP_STORE_KEY_FILE");
    let login = machine_login(&sandbox, &vendor);
    let sit_down = |answers: &[(&str, &str)]| Terminal::answering(&sandbox, &login, answers);
    let (code, said) = sit_down(&[("Choose a passphrase", "correct horse"), ("Repeat the passphrase", "correct hose")]);
    assert_eq!((code, vendor.records().len()), (Some(2), 0), "{said}");
    let (code, said) =
        sit_down(&[("Choose a passphrase", "correct horse"), ("Repeat the passphrase", "correct horse")]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = sit_down(&[("Passphrase for your credentials", "wrong")]);
    assert_eq!(code, Some(6), "{said}");
    let (code, said) = sit_down(&[("Passphrase for your credentials", "correct horse")]);
    assert_eq!(code, Some(0), "{said}");
    sandbox.set("FINMCP_STORE_PASSPHRASE", "correct horse");
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_success();
}

/// A new passphrase has at least twelve characters, however it is given.
#[cfg(unix)]
#[test]
fn c12_a_new_passphrase_is_long() {
    use crate::support::terminal::Terminal;
    let (mut sandbox, vendor) = (Sandbox::new(), machine_vendor());
    sandbox.unset("FINMCP_STORE_KEY_FILE");
    let login = machine_login(&sandbox, &vendor);
    for short in ["x", "elevenchars", "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"] {
        sandbox.set("FINMCP_STORE_PASSPHRASE", short);
        sandbox.finmcp(&login).expect_code(6).expect_stderr(&["too short", "12 characters"]);
        sandbox.unset("FINMCP_STORE_PASSPHRASE");
        let mut person = Terminal::sitting(&sandbox, &login);
        person.reads("Choose a passphrase").types(&format!("{short}\n")).reads("too short");
        person.reads("Choose a passphrase").types("\x1b");
        assert_eq!(person.ends().0, Some(130));
        assert!(vendor.records().is_empty() && sandbox.files().iter().all(|file| !file.ends_with("key-proof")));
    }
    let mut person = Terminal::sitting(&sandbox, &login);
    person
        .reads("12 characters or more")
        .types("twelve chars\n")
        .reads("Repeat the passphrase")
        .types("twelve chars\n");
    assert_eq!(person.ends().0, Some(0));
}

/// What is said about a key is true: which kind the store has, which kind was given, and that none was.
#[test]
fn c12_the_words_about_a_key_are_true() {
    let file = |sandbox: &Sandbox, byte: u8| sandbox.give(&format!("{byte}.key"), [byte; 48]);
    let given = |sandbox: &mut Sandbox, key: Option<u8>, passphrase: Option<&str>| {
        for name in ["FINMCP_STORE_KEY_FILE", "FINMCP_STORE_PASSPHRASE"] {
            sandbox.unset(name);
        }
        if let Some(byte) = key {
            sandbox.set("FINMCP_STORE_KEY_FILE", file(sandbox, byte));
        }
        if let Some(passphrase) = passphrase {
            sandbox.set("FINMCP_STORE_PASSPHRASE", passphrase);
        }
    };
    let long = Some("a long passphrase");
    for (created, used, words, cure) in [
        ((Some(1), None), (Some(2), None), "encrypted with another key file", (Some(1), None)),
        ((Some(1), None), (None, long), "encrypted with a key file, not with a passphrase", (Some(1), None)),
        ((Some(1), None), (None, None), "needs its key file\n", (Some(1), None)),
        ((None, long), (None, Some("another passphrase")), "encrypted with another passphrase", (None, long)),
        ((None, long), (Some(1), None), "encrypted with a passphrase, not with a key file", (None, long)),
        ((None, long), (None, None), "needs its key file or its passphrase", (None, long)),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), machine_vendor());
        given(&mut sandbox, created.0, created.1);
        let login = machine_login(&sandbox, &vendor);
        sandbox.finmcp(&login).expect_success();
        given(&mut sandbox, used.0, used.1);
        let run = sandbox.finmcp(["token", "--env", "sandbox"]).expect_code(6).expect_stderr(&[words]);
        assert!(used != (None, None) || !run.stderr.contains("another"), "{}", run.stderr);
        sandbox.finmcp(&login).expect_code(6).expect_stderr(&[words]);
        given(&mut sandbox, cure.0, cure.1);
        sandbox.finmcp(["token", "--env", "sandbox"]).expect_success();
    }
}

/// A key file that others can read, as container platforms mount secrets, works and is warned of; one that they can
/// write is refused.
#[cfg(unix)]
#[test]
fn c12_a_readable_key_file_is_warned_of() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let (mut sandbox, vendor) = (Sandbox::new(), machine_vendor());
    let key = sandbox.give("shared.key", [3; 48]);
    // As Kubernetes mounts a secret.
    let mounted = sandbox.watched().join("mounted");
    symlink(&key, &mounted).unwrap();
    let set_mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    for path in [&key, &mounted] {
        sandbox.set("FINMCP_STORE_KEY_FILE", path);
        for mode in [0o644, 0o444, 0o640, 0o604] {
            set_mode(mode);
            let warned = &["warning: other users can read the key file", path.to_str().unwrap()];
            sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success().expect_stderr(warned);
            sandbox.finmcp(["status"]).expect_success().expect_stderr(warned);
            // A script is not told each time.
            assert_eq!(sandbox.finmcp(["token", "--env", "sandbox"]).expect_success().stderr, "");
        }
        for mode in [0o600, 0o400] {
            set_mode(mode);
            let run = sandbox.finmcp(["status"]).expect_success();
            assert!(!run.stderr.contains("warning"), "{mode:o}: {}", run.stderr);
        }
        for mode in [0o622, 0o666] {
            set_mode(mode);
            sandbox
                .finmcp(["token", "--env", "sandbox"])
                .expect_code(6)
                .expect_stderr(&["is writable by other users", "chmod go-w"]);
        }
    }
    // The command in the warning ends it.
    set_mode(0o644);
    let said = sandbox.finmcp(["status"]).expect_success().stderr;
    let command = said.split('`').nth(1).unwrap();
    let mut shell = sandbox.command("sh");
    shell.args(["-c", command]);
    assert_eq!(sandbox.run(shell, Vec::new()).code, Some(0));
    assert!(!sandbox.finmcp(["status"]).expect_success().stderr.contains("warning"));
}

/// t139: the folder that a client happens to start finmcp in has no say: a repository's author cannot name servers.
#[test]
fn t139_the_working_directory_is_ignored() {
    let (sandbox, evil) = (Sandbox::new(), Vendor::start(Script::default()));
    let text = format!("default = \"books\"\nca_file = \"ca.pem\"\n[profiles.books]\nurl = \"{}\"\n", evil.url());
    let folder = sandbox.watched();
    for name in ["config.toml", "finmcp.toml", ".finmcp.toml", "finmcp/config.toml", ".config/finmcp/config.toml"] {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &text).unwrap();
    }
    fs::write(folder.join(".env"), format!("FINMCP_CONFIG_DIR={}\n", folder.display())).unwrap();
    for arguments in [&["tools"][..], &["tools", "books"]] {
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
        command.args(arguments).current_dir(&folder);
        sandbox.run(command, Vec::new()).expect_code(2);
    }
    assert!(evil.records().is_empty());
}

/// t141: every variable of finmcp or of an AI client that finmcp reads is documented, and every documented one is read.
#[test]
fn t141_every_variable_is_documented() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    const PREFIXES: [&str; 2] = ["FINMCP_", "CLAUDE_CODE_"];
    let mut read: Vec<String> = Vec::new();
    for file in ["src/settings/environment.rs", "src/oauth/client_metadata.rs", "src/commands/completions.rs"] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let names = text.split('"').filter(|part| {
            let is_ours = PREFIXES.iter().any(|prefix| part.starts_with(prefix));
            is_ours && part.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
        });
        read.extend(names.map(str::to_owned));
    }
    read.sort();
    read.dedup();
    let documented = fs::read_to_string(root.join("docs/administration.md")).unwrap();
    // How completion scripts ask, and what a release build sets.
    let inner = ["FINMCP_COMPLETE", "FINMCP_CLIENT_METADATA_URL"];
    assert!(read.len() > inner.len());
    for name in read.iter().filter(|name| !inner.contains(&name.as_str())) {
        assert!(documented.contains(&format!("| `{name}` |")), "{name} is not documented");
    }
    let rows = documented.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    for name in rows.filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix))) {
        assert!(read.iter().any(|read| read == name), "{name} is documented, but finmcp does not read it");
    }
}
