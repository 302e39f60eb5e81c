//! `finmcp status`, and what is left of a sign-in that another one replaces.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    browser::{FakeBrowser, Person, signed_in},
    eventually,
    sandbox::Sandbox,
    vendor::{Effect, On, Reply, Script, Vendor},
};

/// How many credentials the store holds.
fn stored(sandbox: &Sandbox) -> usize {
    let is_credential = |path: &&std::path::PathBuf| {
        path.parent().is_some_and(|folder| folder.ends_with("credentials")) && !path.ends_with("key-proof")
    };
    sandbox.files().iter().filter(is_credential).count()
}

#[test]
fn verbose_status_shows_every_detail_of_a_sign_in() {
    let vendor = Vendor::start(Script::people());
    let (sandbox, _browser) = signed_in(&vendor, &["--profile", "books"]);
    let mut serve = sandbox.serve(["books"]);
    serve.initialize().result();
    // The server's description is stored in the background.
    let said = eventually("the era", || {
        let run = sandbox.finmcp(["status", "-v"]).expect_success();
        run.stdout.contains("protocol      MCP 2024-11-05 to 2025-11-25\n").then_some(run.stdout)
    });
    for row in [
        "books\n",
        &format!("  server        {}\n", vendor.url()),
        "  signed in     yes\n",
        "  client        client-1\n",
        " s ago)\n",
        "  renewal       automatic\n",
        "  stored in     ",
    ] {
        assert!(said.contains(row), "{row:?} is not in {said}");
    }
    let json = sandbox.finmcp(["status", "--json"]).expect_success().stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json[0]["profile"], &json[0]["era"], &json[0]["renewal"]),
        (&"books".into(), &"legacy".into(), &"automatic".into())
    );
    let instant = |name: &str| json[0][name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(instant("renewed_at") < instant("expires_at"));
    sandbox.assert_no_secret(&vendor.secrets());
}

/// Who is signed in: the person and the organisation that the server names, cleaned, so that two accounts are told
/// apart.
#[test]
fn c6_status_tells_accounts_apart() {
    for (claims, who) in [
        (json!({"email": "ada@a.example", "org_name": "Acme, Inc."}), " as ada@a.example of Acme, Inc."),
        (json!({"email": "ada@b.example"}), " as ada@b.example"),
        (json!({"preferred_username": "ada\u{1b}[2J\u{202e}"}), " as ada[2J"),
        (json!({"sub": "7"}), ""),
    ] {
        let vendor = Vendor::start(Script { id_token: claims, ..Script::people() });
        let (sandbox, _browser) = signed_in(&vendor, &["--profile", "books"]);
        let said = sandbox.finmcp(["status"]).expect_success().stdout;
        assert_eq!(said, format!("books  signed in{who}\n"));
        assert_eq!(sandbox.finmcp(["status", "books"]).expect_success().stdout, said);
        // Doctor names the same.
        let report = sandbox.finmcp(["doctor", "books"]).expect_success().stdout;
        let report = report.split_whitespace().collect::<Vec<_>>().join(" ");
        let named = if who.is_empty() { String::new() } else { format!("{} (the server says), ", who.trim()) };
        assert!(report.contains(&format!("sign-in {named}profile books")), "{report}");
    }
    Sandbox::new().finmcp(["status", "nothing"]).expect_code(2).expect_stderr(&["nothing"]);
}

/// c6: a name that no token has comes from the userinfo endpoint, if the sign-in has the scope for it. Whatever that
/// endpoint does, the sign-in succeeds; the token goes there once and nowhere else.
#[test]
fn c6_a_name_comes_from_the_userinfo_endpoint() {
    let named = Reply::new(200).json(&json!({"sub": "7", "email": "ada@a.example", "org_name": "Acme"}));
    let elsewhere = Vendor::start(Script::default());
    let redirect = Reply::new(302).header("location", format!("{}/userinfo", elsewhere.origin()));
    for (scope, reply, who, asked) in [
        ("openid", named.clone(), " as ada@a.example of Acme", 1),
        ("mcp", named, "", 0),
        ("openid", Reply::new(200).json(&json!({"sub": "7"})), "", 1),
        ("openid", Reply::new(500), "", 1),
        ("openid", redirect, "", 1),
    ] {
        let userinfo = Vendor::start(Script::default());
        let metadata = json!({"userinfo_endpoint": format!("{}/userinfo", userinfo.origin())});
        let vendor = Vendor::start(Script { authorization_server: metadata, ..Script::people() });
        userinfo.fault(On::Path("/userinfo"), Effect::Answer(reply));
        let (sandbox, _browser) = signed_in(&vendor, &["--profile", "books", "--scope", scope]);
        let said = sandbox.finmcp(["status"]).expect_success().stdout;
        assert_eq!(said, format!("books  signed in{who}\n"), "{scope}");
        let requests = userinfo.records_at("/userinfo");
        assert_eq!(requests.len(), asked, "{scope} {who}");
        assert!(requests.iter().all(|request| request.header("authorization").is_some()));
        // A renewal keeps the name and asks for none.
        sandbox.finmcp(["token", "books", "--force-refresh"]).expect_success();
        assert_eq!(sandbox.finmcp(["status"]).expect_success().stdout, said);
        assert_eq!(userinfo.records_at("/userinfo").len(), asked);
    }
    assert!(elsewhere.records().is_empty());
}

/// Why a sign-in does not work any more, and the command that signs in again, which works.
#[test]
fn c6_status_says_why_and_what_to_run() {
    let refusal = |code: &str| Effect::Answer(Reply::new(400).json(&json!({"error": code})));
    for (effect, reason) in [
        (Some(refusal("invalid_grant")), "the server ended the sign-in"),
        (Some(refusal("invalid_client")), "the server no longer knows finmcp's registration"),
        (None, "there is no stored sign-in"),
    ] {
        let vendor = Vendor::start(Script::people());
        let (sandbox, _browser) = signed_in(&vendor, &["--profile", "books"]);
        match effect {
            Some(effect) => {
                vendor.fault(On::Path("/token"), effect);
                sandbox.finmcp(["token", "books", "--force-refresh"]).expect_code(4);
            }
            None => drop(sandbox.finmcp(["logout", "books"]).expect_success()),
        }
        let json = sandbox.finmcp(["status", "--json"]).expect_success().stdout;
        let json: Value = serde_json::from_str(&json).unwrap();
        let said = sandbox.finmcp(["status"]).expect_success().stdout;
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let Some(shown) = said.strip_prefix(&format!("books signed out: {reason}. Sign in with: ")) else {
            panic!("{said}");
        };
        assert_eq!((&json[0]["command"], &json[0]["reason"]), (&shown.into(), &reason.into()));
        let command: Vec<&str> = shown.split(' ').collect();
        sandbox.finmcp(&command[1..]).expect_success();
        assert!(sandbox.finmcp(["status"]).expect_success().stdout.starts_with("books  signed in"));
    }
}

/// A sign-in that replaces another one leaves nothing of it, neither here nor at the other server.
#[test]
fn a_sign_in_that_is_replaced_is_forgotten() {
    let (mut sandbox, first, second) =
        (Sandbox::new(), Vendor::start(Script::people()), Vendor::start(Script::people()));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", &first.url(), "--profile", "books"]).expect_success();
    assert_eq!(stored(&sandbox), 1);
    let run = sandbox.finmcp(["login", &second.url(), "--profile", "books"]).expect_code(2);
    run.expect_stderr(&["is already signed in to", "--force"]);
    let run = sandbox.finmcp(["login", &second.url(), "--profile", "books", "--force"]).expect_success();
    run.expect_stderr(&[&format!("Removed the earlier sign-in to {}", first.url())]);
    assert_eq!(stored(&sandbox), 1);
    assert_eq!((first.records_at("/revoke").len(), second.records_at("/revoke").len()), (2, 0));
    sandbox.finmcp(["token", "books"]).expect_success();

    // The same client again, which may go on with what it was granted.
    sandbox.finmcp(["login", "books"]).expect_success();
    assert_eq!((stored(&sandbox), second.records_at("/revoke").len()), (1, 0));
}

/// A profile that was pointed elsewhere by hand: what was signed in to before is forgotten on request all the same.
#[test]
fn logout_works_after_the_server_was_removed_from_the_settings() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    for arguments in [["logout", "books"], ["logout", "--all"]] {
        sandbox.finmcp(["login", &vendor.url(), "--profile", "books"]).expect_success();
        let config = sandbox.home().join("finmcp/config.toml");
        let text = fs::read_to_string(&config).unwrap();
        let url = format!("url = \"{}\"\n", vendor.url());
        assert!(text.contains(&url), "{text}");
        fs::write(&config, text.replacen(&url, "url = \"https://elsewhere.example/mcp\"\n", 1)).unwrap();
        sandbox.finmcp(["token", "books"]).expect_code(4);
        assert_eq!(stored(&sandbox), 1);
        sandbox.finmcp(arguments).expect_success();
        assert_eq!(stored(&sandbox), 0, "{arguments:?}");
        fs::remove_file(&config).unwrap();
    }
    assert_eq!(vendor.records_at("/revoke").len(), 4);
}

/// t093: the memory that tokens are in is in no core dump, and no debugger of the same user reads it. The kernel shows
/// that by giving the process's files to root.
#[cfg(target_os = "linux")]
#[test]
fn t093_no_debugger_reads_a_process_that_has_tokens() {
    use std::{os::unix::fs::MetadataExt as _, process::Stdio};
    let sandbox = Sandbox::new();
    let other_user = 65534;
    let mut command = match rustix::process::getuid().is_root() {
        // The tests' own user must not be root, whose files these would be anyway.
        true => {
            let mut command = sandbox.command("setpriv");
            command.args([&format!("--reuid={other_user}"), "--clear-groups", "--", env!("CARGO_BIN_EXE_finmcp")]);
            command
        }
        false => sandbox.command(env!("CARGO_BIN_EXE_finmcp")),
    };
    command
        .args(["serve", "https://mcp.example/mcp"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let folder = format!("/proc/{}", child.id());
    let owner = |name: &str| fs::metadata(format!("{folder}/{name}")).unwrap().uid();
    eventually("finmcp", || fs::read(format!("{folder}/comm")).unwrap().starts_with(b"finmcp").then_some(()));
    eventually("the files of root", || (owner("environ") == 0).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
}
