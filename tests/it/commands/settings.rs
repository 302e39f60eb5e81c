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
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_code(6).expect_stderr(&["another key"]);
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
