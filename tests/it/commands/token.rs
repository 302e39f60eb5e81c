//! `finmcp token`: for scripts, so nothing but the token on stdout, and never a question.

use std::time::{Duration, Instant};

use crate::{
    commands::login::{machine_login, machine_vendor},
    support::{
        eventually,
        sandbox::Sandbox,
        vendor::{Effect, On, Reply, Vendor},
    },
};

/// Less than this no server means.
const A_MOMENT: Duration = Duration::from_secs(2);
const AN_HOUR: Duration = Duration::from_secs(3600);

/// Lets a token come to its end.
pub fn pass(lifetime: Duration) {
    let begun = Instant::now();
    eventually("time to pass", || (begun.elapsed() > lifetime).then_some(()));
}

/// A machine that is signed in to Asset's sandbox.
pub fn signed_in_machine() -> (Sandbox, Vendor) {
    let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
    sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success();
    (sandbox, vendor)
}

#[test]
fn signed_out_is_exit_code_4_with_the_command_to_run() {
    let run = Sandbox::new().finmcp(["token", "asset", "--env", "sandbox"]).expect_code(4);
    assert_eq!(run.stdout, "");
    run.expect_stderr(&["finmcp login asset --env sandbox"]);
}

#[test]
fn an_unknown_server_is_exit_code_2_with_the_candidates() {
    for arguments in [&["token", "unknown"][..], &["token", "--env", "moon"]] {
        let run = Sandbox::new().finmcp(arguments).expect_code(2).expect_stderr(&["asset", "tesorio"]);
        assert_eq!(run.stdout, "");
    }
}

/// t044: one environment's sign-in is not the other's.
#[test]
fn t044_production_and_sandbox_share_no_credential() {
    let (sandbox, _vendor) = signed_in_machine();
    sandbox.finmcp(["token", "asset", "--env", "production"]).expect_code(4);
    sandbox.finmcp(["token", "asset", "--env", "sandbox"]).expect_success();
}

/// t044: a name that production's sign-in is kept under does not make it the sandbox's.
#[test]
fn t044_a_profile_name_does_not_turn_production_into_a_sandbox() {
    let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
    let mut login = machine_login(&sandbox, &vendor);
    login.splice(2..4, ["--profile", "asset-sandbox"].map(Into::into));
    sandbox.finmcp(&login).expect_success();
    sandbox.finmcp(["token", "asset-sandbox"]).expect_success();
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_code(4);
    sandbox.finmcp(["token", "asset", "--env", "sandbox"]).expect_code(4);
}

/// An environment that is named is never passed over, however the server is named.
#[test]
fn an_environment_that_the_server_does_not_have_is_refused() {
    let (sandbox, vendor) = signed_in_machine();
    let url = vendor.url();
    sandbox.finmcp(["token", &url, "--env", "sandbox"]).expect_success();
    sandbox.finmcp(["token", "--url", &url, "--env", "sandbox"]).expect_success();
    let run = sandbox.finmcp(["token", &url, "--env", "production"]).expect_code(2);
    run.expect_stderr(&["production", "use one of: sandbox"]);
    let run = sandbox.finmcp(["token", "https://mcp.example.com/", "--env", "sandbox"]).expect_code(2);
    run.expect_stderr(&["omit --env"]);
}

/// The hint signs in to what was asked for, under the name that was asked for.
#[test]
fn the_command_to_run_names_what_is_not_saved_yet() {
    for (arguments, command) in [
        (&["token", "tesorio", "--profile", "work"][..], "finmcp login tesorio --profile work`"),
        (&["token", "--env", "sandbox", "--profile", "mine"], "finmcp login asset --env sandbox --profile mine`"),
        (&["token", "https://a.example/", "--profile", "work"], "finmcp login https://a.example/ --profile work`"),
        (&["token", "https://a.example/"], "finmcp login https://a.example/`"),
    ] {
        Sandbox::new().finmcp(arguments).expect_code(4).expect_stderr(&[command]);
    }
}

#[test]
fn the_token_comes_as_a_line_as_a_header_and_as_json() {
    let (sandbox, _vendor) = signed_in_machine();
    let token = sandbox.finmcp(["token", "--env", "sandbox"]).expect_success().stdout;
    let token = token.strip_suffix('\n').unwrap();
    let header = sandbox.finmcp(["token", "--env", "sandbox", "--header"]).expect_success().stdout;
    assert_eq!(header, format!("Authorization: Bearer {token}\n"));
    let json = sandbox.finmcp(["token", "--env", "sandbox", "--json"]).expect_success().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["access_token"], token);
}

/// What is noted of a token's lifetime is about this token and these options: `--min-ttl` is named to those who gave
/// it.
#[test]
fn a17_notes_name_only_options_that_were_given() {
    let run = |seconds: u64, arguments: &[&str]| {
        let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
        vendor.change(|script| script.access_lifetime = Duration::from_secs(seconds));
        sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success();
        sandbox.finmcp([&["token", "--env", "sandbox"], arguments].concat())
    };
    for (seconds, arguments) in [(0, &[][..]), (0, &["--min-ttl", "0"]), (0, &["--json"])] {
        let said = run(seconds, arguments).expect_success().stderr;
        assert!(said.contains("has already expired") && !said.contains("min-ttl"), "{arguments:?}: {said}");
    }
    for (seconds, arguments) in [(3600, &[][..]), (3600, &["--min-ttl", "60"])] {
        assert!(!run(seconds, arguments).expect_success().stderr.contains("note:"), "{arguments:?}");
    }
}

/// Exit code 4 wherever a person has to sign in first, whatever names the server, or nothing does.
#[test]
fn c12_a_fresh_machine_needs_a_sign_in() {
    for arguments in [
        &["token"][..],
        &["token", "--json"],
        &["token", "--headers"],
        &["token", "asset"],
        &["token", "tesorio"],
        &["token", "masset"],
        &["token", "netsuite"],
        &["token", "https://mcp.example.com/mcp"],
        &["token", "--env", "sandbox"],
        &["token", "--profile", "work"],
    ] {
        let run = Sandbox::new().finmcp(arguments).expect_code(4).expect_stderr(&["finmcp login"]);
        assert_eq!(run.stdout, "", "{arguments:?}");
        assert!(!run.stderr.contains("demo"), "{arguments:?}: {}", run.stderr);
    }
    // A signed-out profile is no choice either.
    let (sandbox, _vendor) = signed_in_machine();
    sandbox.finmcp(["logout", "--env", "sandbox"]).expect_success();
    sandbox.finmcp(["token"]).expect_code(4);
    // A server that is not named among several is no matter of signing in.
    let (sandbox, vendor) = signed_in_machine();
    let again: Vec<_> =
        machine_login(&sandbox, &vendor).into_iter().chain(["--profile", "second"].map(Into::into)).collect();
    sandbox.finmcp(again).expect_success();
    sandbox.finmcp(["token"]).expect_code(2).expect_stderr(&["which server"]);
}

/// A script that needs a token for a time gets one, or none and exit code 1.
#[test]
fn c12_min_ttl_is_met_or_there_is_no_token() {
    let token = |seconds: u64, arguments: &[&str]| {
        let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
        vendor.change(|script| script.access_lifetime = Duration::from_secs(seconds));
        sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success();
        sandbox.finmcp([&["token", "--env", "sandbox"], arguments].concat())
    };
    for arguments in [
        &["--min-ttl", "3600"][..],
        &["--min-ttl", "301", "--json"],
        &["--min-ttl", "301", "--header"],
        &["--min-ttl", "301", "--force-refresh"],
        &["--min-ttl", "18446744073709551615"],
    ] {
        let run = token(300, arguments).expect_code(1).expect_stderr(&["--min-ttl", "5 min"]);
        assert_eq!(run.stdout, "", "{arguments:?}");
    }
    for (seconds, wanted) in [(300, "200"), (300, "299"), (3600, "3000")] {
        let run = token(seconds, &["--min-ttl", wanted]).expect_success();
        assert_ne!(run.stdout, "", "{wanted}");
    }
}

/// A token that does not last, and cannot be renewed now: the exit code says why.
#[test]
fn c12_min_ttl_says_why_there_is_no_token() {
    let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
    vendor.change(|script| script.access_lifetime = Duration::from_secs(600));
    sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success();
    vendor.fault(On::Path("/token"), Effect::status(503));
    // The stored token has been valid for a moment: only a new one is valid for the whole time.
    pass(Duration::from_millis(1100));
    let run = sandbox.finmcp(["token", "--env", "sandbox", "--min-ttl", "600"]).expect_code(3);
    assert_eq!(run.stdout, "");
    run.expect_stderr(&["--min-ttl 600"]);
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_success();
}

#[test]
fn force_refresh_asks_the_server_again() {
    let (sandbox, vendor) = signed_in_machine();
    let first = sandbox.finmcp(["token", "--env", "sandbox"]).expect_success().stdout;
    let second = sandbox.finmcp(["token", "--env", "sandbox", "--force-refresh"]).expect_success().stdout;
    assert_ne!(first, second);
    assert_eq!(vendor.records_at("/token").len(), 2);
    let third = sandbox.finmcp(["token", "--env", "sandbox"]).expect_success().stdout;
    assert_eq!(second, third, "what was asked for is kept");
}

/// t060, t067: a server that is down or in trouble takes no credential away; exit code 3.
#[test]
fn t060_an_outage_of_the_token_endpoint_ends_no_sign_in() {
    let (sandbox, vendor) = signed_in_machine();
    let refresh = ["token", "--env", "sandbox", "--force-refresh"];
    for effect in [
        Effect::status(503),
        Effect::status(429),
        Effect::Answer(Reply::new(502).body("text/html", "<h1>Bad gateway</h1>")),
        Effect::CutBefore,
    ] {
        let what = format!("{effect:?}");
        vendor.fault(On::Path("/token"), effect);
        let run = sandbox.finmcp(refresh);
        assert_eq!((run.code, run.stdout.as_str()), (Some(3), ""), "{what}: {}", run.stderr);
        sandbox.finmcp(["token", "--env", "sandbox"]).expect_success();
    }
    sandbox.finmcp(refresh).expect_success();
    vendor.stop();
    sandbox.finmcp(refresh).expect_code(3);
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_success();
}

/// t062, t068: many processes, one request.
#[test]
fn t068_processes_that_find_the_same_expired_token_ask_once_between_them() {
    let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
    vendor.change(|script| script.access_lifetime = A_MOMENT);
    sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success();
    pass(A_MOMENT);
    vendor.change(|script| script.access_lifetime = AN_HOUR);
    let before = vendor.records_at("/token").len();
    let tokens = in_parallel(&sandbox, &["token", "--env", "sandbox"]);
    assert_eq!(vendor.records_at("/token").len(), before + 1);
    assert!(tokens.windows(2).all(|pair| pair[0] == pair[1]), "{tokens:?}");
}

/// What eight processes at once print.
fn in_parallel(sandbox: &Sandbox, arguments: &[&str]) -> Vec<String> {
    std::thread::scope(|scope| {
        let running: Vec<_> =
            (0..8).map(|_| scope.spawn(|| sandbox.finmcp(arguments).expect_success().stdout)).collect();
        running.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

#[cfg(unix)]
mod person {
    use super::*;
    use crate::support::{browser::signed_in, vendor::Script};

    /// t070: a command that is told to end while it spends a refresh token sees the next one saved first.
    #[test]
    fn t070_stopping_a_command_loses_no_sign_in() {
        use rustix::process::Signal;
        let vendor = Vendor::start(Script::people());
        let (sandbox, _browser) = signed_in(&vendor, &[]);
        for signal in [Signal::TERM, Signal::INT] {
            let before = vendor.records_at("/token").len();
            vendor.fault(On::Path("/token"), Effect::Delay(Duration::from_secs(1)));
            let mut token = sandbox.start(["token", &vendor.url(), "--force-refresh"]);
            eventually("the refresh", || (vendor.records_at("/token").len() > before).then_some(()));
            token.signal(signal);
            assert_eq!(token.exit_within(Duration::from_secs(5)), Some(130), "{signal:?}");
            sandbox.finmcp(["token", &vendor.url(), "--force-refresh"]).expect_success();
        }
        assert_eq!(vendor.replays(), 0);
    }

    /// t065, t069: a rotating refresh token is spent once, by whichever process.
    #[test]
    fn t065_processes_that_share_a_rotating_refresh_token_never_spend_it_twice() {
        let vendor = Vendor::start(Script { access_lifetime: A_MOMENT, ..Script::people() });
        let (sandbox, browser) = signed_in(&vendor, &[]);
        for _ in 0..3 {
            pass(A_MOMENT);
            vendor.change(|script| script.access_lifetime = AN_HOUR);
            let before = vendor.records_at("/token").len();
            in_parallel(&sandbox, &["token", &vendor.url()]);
            assert_eq!(vendor.records_at("/token").len(), before + 1);
            // What follows finds an expired token again.
            vendor.change(|script| script.access_lifetime = A_MOMENT);
            sandbox.finmcp(["token", &vendor.url(), "--force-refresh"]).expect_success();
        }
        assert_eq!(vendor.replays(), 0);
        assert_eq!(browser.starts().len(), 1);
        sandbox.assert_no_secret(&vendor.secrets());
    }

    /// t065, t069: tokens that live for moments, several bridges and scripts, one sign-in: everybody is served, and
    /// the person is not asked again.
    #[test]
    fn t065_short_tokens_are_renewed_for_all_processes() {
        let vendor = Vendor::start(Script { access_lifetime: A_MOMENT, ..Script::people() });
        let (sandbox, browser) = signed_in(&vendor, &[]);
        let mut bridges = [sandbox.serve([vendor.url()]), sandbox.serve([vendor.url()])];
        for bridge in &mut bridges {
            bridge.initialize().result();
        }
        let begun = Instant::now();
        let mut calls = 0;
        while begun.elapsed() < A_MOMENT * 4 {
            for bridge in &mut bridges {
                let answer = bridge.call("echo", serde_json::json!({"message": "hi"}));
                assert_eq!(answer.result()["content"][0]["text"], "hi");
                calls += 1;
            }
            sandbox.finmcp(["token", &vendor.url()]).expect_success();
        }
        assert_eq!(vendor.executed().len(), calls, "each call ran once");
        assert_eq!(vendor.replays(), 0, "a spent refresh token was sent");
        assert_eq!(browser.starts().len(), 1);
        // Renewing is due every nine tenths of a lifetime, by the process that comes first.
        let renewals = vendor.records_at("/token").len() - 1;
        assert!((3..=6).contains(&renewals), "{renewals} renewals");
    }

    /// t060: only `invalid_grant` ends a sign-in, and then the server is not asked again.
    #[test]
    fn a_sign_in_that_the_server_ended_is_exit_code_4() {
        let vendor = Vendor::start(Script::people());
        let (sandbox, browser) = signed_in(&vendor, &[]);
        vendor.revoke_sign_ins();
        let refresh = ["token", &vendor.url(), "--force-refresh"];
        let run = sandbox.finmcp(refresh).expect_code(4).expect_stderr(&["finmcp login"]);
        assert_eq!(run.stdout, "");
        let asked = vendor.records_at("/token").len();
        sandbox.finmcp(refresh).expect_code(4);
        assert_eq!(vendor.records_at("/token").len(), asked, "a dead refresh token is not sent again");
        assert_eq!(browser.starts().len(), 1, "token never opens a browser");
    }
}
