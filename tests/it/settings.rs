//! `config.toml`: the person's own file.

use std::fs;

use crate::{
    login::{machine_login, machine_vendor},
    support::sandbox::Sandbox,
};

/// Writes `config.toml`, as a person does.
fn configure(sandbox: &Sandbox, text: &str) -> std::path::PathBuf {
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

/// t128: nobody is waited for longer than a day, whoever says so.
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
