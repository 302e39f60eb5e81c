//! `finmcp login --import mcp-remote`: what another program keeps in plain text is taken over.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    browser::{FakeBrowser, Person},
    eventually,
    sandbox::{Sandbox, wait},
    terminal::Terminal,
    vendor::{Script, Vendor},
};

/// A sign-in of mcp-remote's: a client that registered itself, and a person's tokens.
struct Leftover {
    folder: PathBuf,
    refresh_token: String,
}

impl Leftover {
    /// Registers at `vendor` and signs in there as mcp-remote does, and writes what it writes, for a server that was typed
    /// as `url`.
    fn make(sandbox: &mut Sandbox, vendor: &Vendor, url: &str, change: impl Fn(&mut Value, &mut Value)) -> Self {
        // The vendor's own account of a sign-in that another program has made.
        let mut theirs = Sandbox::new();
        let _browser = FakeBrowser::install(&mut theirs, Person::Consents);
        theirs.finmcp(["login", &vendor.url()]).expect_success();
        let token = vendor.records_at("/token")[0].clone();
        let secrets = vendor.secrets();
        let refresh_token = secrets.iter().rfind(|secret| secret.starts_with("refresh-token")).unwrap().clone();
        let mut client = json!({"client_id": token.form()["client_id"], "redirect_uris": ["http://127.0.0.1:3334/oauth/callback"],
            "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token"]});
        let mut tokens = json!({"access_token": "over", "token_type": "Bearer", "refresh_token": refresh_token});
        change(&mut client, &mut tokens);
        let folder = sandbox.home().join("mcp-auth");
        sandbox.set("MCP_REMOTE_CONFIG_DIR", &folder);
        let generation = folder.join("mcp-remote-v1");
        fs::create_dir_all(&generation).unwrap();
        let hash = Self::hash(url);
        fs::write(generation.join(format!("{hash}_tokens.json")), tokens.to_string()).unwrap();
        fs::write(generation.join(format!("{hash}_client_info.json")), client.to_string()).unwrap();
        fs::write(generation.join(format!("{hash}_code_verifier.txt")), "v").unwrap();
        fs::write(generation.join("0123_tokens.json"), "another server's").unwrap();
        Self { folder: generation, refresh_token }
    }

    fn hash(url: &str) -> String {
        let output = std::process::Command::new("python3")
            .args(["-c", "import hashlib, sys; print(hashlib.md5(sys.argv[1].encode()).hexdigest())", url])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn files(&self) -> usize {
        fs::read_dir(&self.folder).unwrap().count()
    }
}

/// The sign-in goes on without a person, with new tokens; the plain text stays, and is reported.
#[test]
fn a_sign_in_of_mcp_remote_is_taken_over() {
    for ending in ["", "/"] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        let left = Leftover::make(&mut sandbox, &vendor, &format!("{}{ending}", vendor.url()), |_, _| {});
        let run = sandbox.finmcp(["login", &vendor.url(), "--import", "mcp-remote"]).expect_success();
        run.expect_stderr(&["Signed in to", "plain-text files", "_tokens.json", "mcp-remote has to sign in again"]);
        assert_eq!(left.files(), 4);
        assert!(browser.starts().is_empty() && vendor.records_at("/register").len() == 1);
        let spent = vendor.records_at("/token").last().unwrap().form()["refresh_token"].clone();
        assert_eq!(spent, left.refresh_token);
        sandbox.finmcp(["token", &vendor.url(), "--force-refresh"]).expect_success();
        let mut serve = sandbox.serve([vendor.url()]);
        serve.initialize().result();
        serve.echo("hi");
        assert_eq!((vendor.replays(), vendor.complaints()), (0, vec![]));
    }
}

/// With its owner's consent the plain text goes, that of this server only: by an option, or by a word at the terminal.
#[test]
fn imported_files_are_deleted_only_with_consent() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let left = Leftover::make(&mut sandbox, &vendor, &vendor.url(), |_, _| {});
    let import = ["login", &vendor.url(), "--import", "mcp-remote"];
    sandbox
        .finmcp([&import[..], &["--delete-imported"]].concat())
        .expect_success()
        .expect_stderr(&["Deleted mcp-remote's files"]);
    assert_eq!(left.files(), 1);
    sandbox.assert_no_secret(&vendor.secrets());

    for (answer, files) in [("n", 4), ("y", 1)] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let left = Leftover::make(&mut sandbox, &vendor, &vendor.url(), |_, _| {});
        let terminal = Terminal::open();
        let mut command = sandbox.command("setsid");
        command.args([
            "--ctty",
            "--wait",
            env!("CARGO_BIN_EXE_finmcp"),
            "login",
            &vendor.url(),
            "--import",
            "mcp-remote",
        ]);
        command.stdin(terminal.stdio()).stdout(terminal.stdio()).stderr(terminal.stdio());
        let mut child = command.spawn().unwrap();
        eventually("the question", || terminal.shown().contains("[y/N]").then_some(()));
        terminal.enter(&format!("{answer}\n"));
        assert_eq!(wait(&mut child, PATIENCE), Some(Some(0)), "{}", terminal.shown());
        assert_eq!(left.files(), files, "{answer}: {}", terminal.shown());
    }
}

/// Nothing there, nothing that lasts, another server's, and a sign-in that is over: each has its own words, and nothing
/// is sent that should not be.
#[test]
fn entries_that_cannot_be_replaced_are_named() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let import =
        |sandbox: &Sandbox, vendor: &Vendor| sandbox.finmcp(["login", &vendor.url(), "--import", "mcp-remote"]);
    sandbox.set("MCP_REMOTE_CONFIG_DIR", sandbox.home().join("nowhere"));
    import(&sandbox, &vendor).expect_code(1).expect_stderr(&[
        "no sign-in of mcp-remote to",
        "nowhere",
        "or sign in again: run `finmcp login http",
    ]);

    type Change = fn(&mut Value, &mut Value);
    let cases: [(Change, i32, &str); 5] = [
        (|_, tokens| tokens["refresh_token"] = json!(null), 1, "has no refresh token"),
        (|client, _| client["redirect_uris"] = json!([]), 1, "has no redirect URI"),
        (|client, _| *client = json!("x"), 1, "cannot read"),
        (|client, _| client["issuer"] = json!("https://another.example"), 5, "https://another.example"),
        (|_, tokens| tokens["refresh_token"] = json!("refresh-token-over"), 1, "no longer accepts this sign-in"),
    ];
    for (change, code, said) in cases {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let left = Leftover::make(&mut sandbox, &vendor, &vendor.url(), change);
        let before = vendor.records_at("/token").len();
        let run = import(&sandbox, &vendor).expect_code(code).expect_stderr(&[said]);
        assert!(!run.stderr.contains(&left.refresh_token), "{}", run.stderr);
        assert_eq!(vendor.records_at("/token").len() - before, usize::from(said.starts_with("no longer")), "{said}");
        assert_eq!(left.files(), 4);
        sandbox.finmcp(["token", &vendor.url()]).expect_code(4);
    }
}
