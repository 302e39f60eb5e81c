//! The log that `serve` leaves when an AI client starts it, and `finmcp logs`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{
    browser::{FakeBrowser, Person, signed_in},
    eventually,
    sandbox::{Sandbox, wait},
    serve::Serve,
    terminal::Terminal,
    vendor::{Effect, Era, On, Reply, Script, Vendor},
};

const SOON: Duration = Duration::from_secs(10);

fn folder(sandbox: &Sandbox) -> PathBuf {
    sandbox.home().join("finmcp").join("logs")
}

fn log(sandbox: &Sandbox, profile: &str) -> String {
    fs::read_to_string(folder(sandbox).join(format!("{profile}.log"))).unwrap_or_default()
}

#[track_caller]
fn end(mut serve: Serve) {
    serve.close_stdin();
    assert_eq!(serve.exit_within(SOON), Some(0), "{}", serve.stderr());
}

/// A vendor that asks for no authorization, and the name of its profile.
fn open_vendor(era: Era) -> (Vendor, String) {
    let vendor = Vendor::start(Script { era, ..Script::default() });
    let profile = format!("127-0-0-1-{}", vendor.port());
    (vendor, profile)
}

#[test]
fn c15_the_log_says_who_when_and_why_and_never_what() {
    let vendor = Vendor::start(Script::people());
    let (sandbox, _browser) = signed_in(&vendor, &["--profile", "books"]);
    let canary = "canary-5f0e7a".to_owned();
    let mut serve = sandbox.serve(["books"]);
    serve.initialize().result();
    serve.echo(&canary);
    vendor.revoke_access_tokens();
    serve.echo(&canary);
    let reply = Reply::new(500).json(&json!({"error": "server_error", "message": canary}));
    for _ in 0..3 {
        vendor.fault(On::Rpc("tools/call"), Effect::Answer(reply.clone()));
        serve.call("echo", json!({"message": canary})).error();
    }
    end(serve);
    let said = sandbox.finmcp(["logs", "books"]).expect_success().stdout;
    let said: Vec<&str> = said.lines().collect();
    let parts = [
        "INFO  finmcp 0.1.0 starts",
        "INFO  profile books for 127.0.0.1",
        "INFO  client: test 1, MCP 2024-11-05 to 2025-11-25",
        "INFO  server: test vendor 1, MCP 2024-11-05 to 2025-11-25, over Streamable HTTP",
        "INFO  saved a renewed sign-in",
        "INFO  tools/call failed: the server responded with HTTP 500",
        "INFO  the line before came 2 more times",
        "INFO  the client has closed its side",
        "INFO  finmcp ends",
    ];
    let places: Vec<Option<usize>> =
        parts.iter().map(|part| said.iter().position(|line| line.contains(part))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}: {said:#?}");
    for line in &said {
        let [time, process, _] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert!(time.parse::<jiff::Timestamp>().is_ok() && process.parse::<u32>().is_ok(), "{line}");
    }
    let log = log(&sandbox, "books");
    assert!(!log.contains(&canary) && !log.contains("server_error"), "{log}");
    sandbox.assert_no_secret(&vendor.secrets());
}

#[test]
fn c15_the_log_names_client_and_server_in_every_era() {
    for (client, server) in Era::COMBINATIONS {
        let (vendor, profile) = open_vendor(server);
        let sandbox = Sandbox::new();
        let mut serve = sandbox.serve([vendor.url()]);
        serve.greet(client).result();
        end(serve);
        let log = log(&sandbox, &profile);
        let revisions = |era| match era {
            Era::Legacy => "MCP 2024-11-05 to 2025-11-25",
            Era::Modern => "MCP 2026-07-28",
        };
        for line in [
            format!("client: test 1, {}\n", revisions(client)),
            format!("server: test vendor 1, {}, over Streamable HTTP\n", revisions(server)),
        ] {
            assert!(log.contains(&line), "{client:?} {server:?}: {line} is not in {log}");
        }
    }
}

#[test]
fn c15_the_log_says_why_a_client_has_no_tools() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    // Signed out, and then back without a restart.
    let mut serve = sandbox.serve([vendor.url()]);
    serve.initialize();
    serve.request("tools/list", json!({}));
    let profile = format!("127-0-0-1-{}", vendor.port());
    let said = log(&sandbox, &profile);
    assert!(said.contains("connecting failed: not signed in"), "{said}");
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    serve.call("finmcp_sign_in", json!({}));
    end(serve);
    // A server that is away.
    let port = vendor.port();
    vendor.stop();
    let sandbox = Sandbox::new();
    let mut serve = sandbox.serve([format!("http://127.0.0.1:{port}/mcp")]);
    serve.initialize();
    for part in ["trying initialize again: could not connect to 127.0.0.1", "answering in its place"] {
        eventually(part, || log(&sandbox, &profile).contains(part).then_some(()));
    }
    end(serve);
    // A process that finds no profile.
    let mut serve = sandbox.serve(["removed"]);
    assert_eq!(serve.exit_within(SOON), Some(2));
    let said = sandbox.finmcp(["logs"]).expect_success().stdout;
    assert!(said.contains("finmcp ends with an error: no preset or profile is called \"removed\""), "{said}");
    assert!(said.contains(&format!("Z {profile} ")), "several logs are told apart: {said}");
}

/// The log must not slow down calls.
#[test]
fn c15_a_call_writes_no_line() {
    let (vendor, profile) = open_vendor(Era::Legacy);
    let sandbox = Sandbox::new();
    let lines = |calls: usize| {
        let mut serve = sandbox.serve([vendor.url()]);
        serve.initialize();
        (0..calls).for_each(|_| serve.echo("hi"));
        end(serve);
        log(&sandbox, &profile).lines().count()
    };
    let first = lines(1);
    assert_eq!(lines(20) - first, first);
}

#[test]
fn c15_a_log_that_cannot_be_written_disturbs_nothing() {
    type Spoil = fn(&Path, &str);
    let spoils: [(&str, Spoil); 5] = [
        ("a file where the folder should be", |folder, _| fs::write(folder, "").unwrap()),
        ("a folder that others can write to", |folder, _| {
            fs::create_dir(folder).unwrap();
            fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        }),
        ("a link where the folder should be", |folder, _| std::os::unix::fs::symlink("/nowhere", folder).unwrap()),
        ("a folder where the log should be", |folder, log| fs::create_dir_all(folder.join(log)).unwrap()),
        ("a link to a full disk", |folder, log| {
            fs::create_dir(folder).unwrap();
            std::os::unix::fs::symlink("/dev/full", folder.join(log)).unwrap();
        }),
    ];
    for (what, spoil) in spoils {
        let (vendor, profile) = open_vendor(Era::Legacy);
        let sandbox = Sandbox::new();
        fs::create_dir_all(folder(&sandbox).parent().unwrap()).unwrap();
        spoil(&folder(&sandbox), &format!("{profile}.log"));
        let mut serve = sandbox.serve([vendor.url()]);
        serve.initialize();
        serve.echo("hi");
        serve.close_stdin();
        assert_eq!(serve.exit_within(SOON), Some(0), "{what}");
        assert_eq!(serve.stderr(), "", "{what}");
        sandbox.finmcp(["logs", &vendor.url()]).expect_code(1);
    }
}

#[test]
fn c15_processes_share_a_log_that_stays_small() {
    let (vendor, profile) = open_vendor(Era::Legacy);
    let sandbox = Sandbox::new();
    let mut first = sandbox.serve([vendor.url()]);
    first.initialize();
    let path = folder(&sandbox).join(format!("{profile}.log"));
    // What months of use leave behind.
    eventually("the first lines", || log(&sandbox, &profile).contains("server: ").then_some(()));
    let old = fs::read_to_string(&path).unwrap() + &"2026-01-01T00:00:00.000Z 7 INFO  old\n".repeat(15_000);
    fs::write(&path, &old).unwrap();
    let mut second = sandbox.serve([vendor.url()]);
    second.initialize();
    end(second);
    end(first);
    let log = log(&sandbox, &profile);
    let processes: std::collections::BTreeSet<_> = log.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(processes.len(), 2, "{log}");
    assert_eq!(fs::read_to_string(path.with_extension("log.1")).unwrap(), old);
    let said = sandbox.finmcp(["logs", "--lines", "3"]).expect_success().stdout;
    assert_eq!(said.lines().count(), 3);
    assert!(said.lines().last().unwrap().ends_with("finmcp ends"), "newest last: {said}");
    #[cfg(target_os = "linux")]
    for (path, mode) in [(folder(&sandbox), 0o700), (path, 0o600)] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }
}

#[test]
fn c15_follow_shows_new_lines_over_a_rotation_until_ctrl_c() {
    let (vendor, profile) = open_vendor(Era::Legacy);
    let sandbox = Sandbox::new();
    let mut logs = sandbox.start(["logs", "--follow"]);
    eventually("the note", || logs.stderr().contains("No log yet").then_some(()));
    for _ in 0..2 {
        end(sandbox.serve([vendor.url()]));
        logs.first("the end", |line| line.raw.ends_with("finmcp ends"));
        // The next line finds the file full.
        let path = folder(&sandbox).join(format!("{profile}.log"));
        let full = fs::read_to_string(&path).unwrap() + &"2026-01-01T00:00:00.000Z 7 INFO  old\n".repeat(15_000);
        fs::write(&path, full).unwrap();
    }
    assert!(folder(&sandbox).join(format!("{profile}.log.1")).exists());
    logs.signal(Signal::INT);
    assert_eq!(logs.exit_within(SOON), Some(130));
}

#[test]
fn c15_without_a_log_it_says_what_to_do() {
    let sandbox = Sandbox::new();
    for (arguments, server) in [(&["logs"][..], "SERVER"), (&["logs", "tesorio"], "tesorio")] {
        let run = sandbox.finmcp(arguments).expect_code(1);
        assert_eq!(run.stdout, "");
        run.expect_stderr(&["no log", "restart the client", &format!("finmcp setup CLIENT {server}")]);
    }
    sandbox.finmcp(["logs", "removed"]).expect_code(2);
    // A profile that was removed may have a log that is still wanted.
    fs::create_dir_all(folder(&sandbox)).unwrap();
    let path = folder(&sandbox).join("removed.log");
    fs::write(&path, "2026-01-01T00:00:00.000Z 7 INFO  old\n").unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(sandbox.finmcp(["logs", "removed"]).expect_success().stdout, "2026-01-01T00:00:00.000Z 7 INFO  old\n");
}

/// t113: a client and a server choose their names, and a disk can hold anything.
#[test]
fn t113_a_log_cannot_control_the_terminal() {
    let (vendor, profile) = open_vendor(Era::Legacy);
    let sandbox = Sandbox::new();
    let mut serve = sandbox.serve([vendor.url()]);
    let client = json!({"name": "evil\u{1b}]52;c;eA==\u{7}\nfake", "version": "\u{202e}1"});
    serve.request("initialize", json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}));
    end(serve);
    let log = log(&sandbox, &profile);
    assert!(log.contains("client: evil]52;c;eA==fake 1, MCP"), "{log}");
    let path = folder(&sandbox).join(format!("{profile}.log"));
    fs::write(&path, "2026-01-01T00:00:00.000Z 7 INFO  a\u{1b}[31mb\r\n").unwrap();
    let terminal = Terminal::open();
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
    let mut child = command.args(["logs"]).stdout(terminal.stdio()).spawn().unwrap();
    assert_eq!(wait(&mut child, SOON), Some(Some(0)));
    eventually("the line", || terminal.shown().contains("INFO  a[31mb").then_some(()));
    assert!(!terminal.shown().contains('\u{1b}'), "{:?}", terminal.shown());
}

/// AI clients drop XDG variables, so a log there would not be found.
#[cfg(target_os = "linux")]
#[test]
fn c15_the_log_is_where_client_and_user_both_find_it() {
    let (vendor, profile) = open_vendor(Era::Legacy);
    let mut sandbox = Sandbox::new();
    sandbox.unset("FINMCP_CONFIG_DIR");
    sandbox.set("XDG_STATE_HOME", sandbox.home().join("elsewhere"));
    end(sandbox.serve([vendor.url()]));
    let place = sandbox.home().join(".local/state/finmcp/logs").join(format!("{profile}.log"));
    assert!(place.exists(), "{:?}", sandbox.files());
    sandbox.unset("XDG_STATE_HOME");
    sandbox.finmcp(["logs", &vendor.url()]).expect_success();
}

/// c15: without a log of finmcp's own, the log of the AI client that cannot start it is named.
#[test]
fn c15_the_clients_own_log_is_named() {
    let sandbox = Sandbox::new();
    sandbox.finmcp(["logs"]).expect_code(1).expect_stderr(&["`finmcp setup CLIENT SERVER`"]);
    sandbox.finmcp(["setup", "claude-desktop", "tesorio"]).expect_success();
    let run = sandbox.finmcp(["logs", "tesorio"]).expect_code(1);
    run.expect_stderr(&["if Claude Desktop cannot start finmcp", "mcp*.log", "`finmcp setup CLIENT tesorio`"]);
}

/// c7: the log of a profile goes where the profile goes.
#[test]
fn c7_a_log_follows_its_profile() {
    let vendor = Vendor::start(Script::people());
    let (sandbox, _browser) = signed_in(&vendor, &["--profile", "books"]);
    let mut serve = sandbox.serve(["books"]);
    serve.initialize().result();
    end(serve);
    let before = log(&sandbox, "books");
    sandbox.finmcp(["profile", "rename", "books", "ledger"]).expect_success();
    assert_eq!((log(&sandbox, "ledger"), log(&sandbox, "books")), (before, String::new()));
    sandbox.finmcp(["profile", "remove", "ledger", "--yes"]).expect_success();
    assert_eq!(fs::read_dir(folder(&sandbox)).unwrap().count(), 0);
}
