//! Completions, manual pages and help.

use std::{fs, path::Path};

use crate::support::{
    browser::{FakeBrowser, Person, signed_in},
    sandbox::{Run, Sandbox},
    vendor::{Script, Vendor},
};

const SCRIPTS: [(&str, &str); 3] = [("bash", "finmcp.bash"), ("zsh", "_finmcp"), ("fish", "finmcp.fish")];

#[test]
fn the_committed_completions_are_current() {
    for (shell, file) in SCRIPTS {
        let printed = Sandbox::new().finmcp(["completions", shell]).expect_success().stdout;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions").join(file);
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(printed == committed, "out of date: finmcp completions {shell} > completions/{file}");
    }
}

/// A sandbox with a saved profile `books`, and finmcp on its `PATH`.
#[cfg(unix)]
fn with_profile() -> (Sandbox, FakeBrowser, Vendor) {
    let vendor = Vendor::start(Script::people());
    let (mut sandbox, browser) = signed_in(&vendor, &["--profile", "books"]);
    let folder = sandbox.home().join("bin");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_finmcp"), folder.join("finmcp")).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(folder).chain(std::env::split_paths(&path));
    sandbox.set("PATH", std::env::join_paths(path).unwrap());
    (sandbox, browser, vendor)
}

#[cfg(unix)]
fn shell(sandbox: &Sandbox, shell: &str, script: &str) -> Run {
    let mut command = sandbox.command(shell);
    command.args(["-c", script]);
    sandbox.run(command, Vec::new()).expect_success()
}

/// What each real shell offers for `typed`, at its end.
#[cfg(unix)]
fn offers(sandbox: &Sandbox, typed: &str) -> Vec<(&'static str, Vec<String>)> {
    let folder = format!("{}/completions", env!("CARGO_MANIFEST_DIR"));
    let fish = format!("source {folder}/finmcp.fish; complete -C '{typed}'");
    let words = typed.split(' ').map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let (count, last) = (typed.split(' ').count() - 1, typed.rsplit(' ').next().unwrap());
    let bash = format!(
        "source {folder}/finmcp.bash; COMP_WORDS=({words}); COMP_CWORD={count}; COMP_TYPE=9; \
         _clap_complete_finmcp finmcp '{last}' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    // zsh's completion needs a terminal; what the script does is asked for in the same way.
    let zsh = format!(
        "compdef() {{ true }}; _describe() {{ print -l -- ${{(P)3}} }}; source {folder}/_finmcp; \
         words=({words}); CURRENT={}; _clap_dynamic_completer_finmcp",
        count + 1
    );
    let offered = |name, script: String| {
        let run = shell(sandbox, name, &script);
        let values = run.stdout.lines().filter_map(|line| line.split([' ', '\t', ':']).next());
        (name, values.filter(|value| !value.is_empty()).map(str::to_owned).collect())
    };
    vec![offered("fish", fish), offered("bash", bash), offered("zsh", zsh)]
}

/// Real shells complete what there is on this machine.
#[cfg(unix)]
#[test]
fn shells_complete_servers_profiles_and_environments() {
    let (sandbox, _browser, _vendor) = with_profile();
    for (typed, expected, others) in [
        ("finmcp tok", &["token"][..], "login"),
        ("finmcp login b", &["books"], "tesorio"),
        ("finmcp login ", &["asset", "books", "masset", "tesorio"], "sandbox"),
        ("finmcp token --env s", &["sandbox"], "books"),
        ("finmcp token --profile ", &["books"], "asset"),
        ("finmcp call tool --server t", &["tesorio"], "books"),
        ("finmcp serve --sign-in ", &["tool", "auto", "off"], "books"),
    ] {
        for (name, offered) in offers(&sandbox, typed) {
            for word in expected {
                assert!(offered.iter().any(|value| value == word), "{name}: {typed:?} offers {offered:?}");
            }
            assert!(!offered.iter().any(|value| value == others), "{name}: {typed:?} offers {offered:?}");
        }
    }
}

/// Exactly what can stand there: no options before a `-`, no other vendor's environments, and the profiles that there
/// are.
#[cfg(unix)]
#[test]
fn c13_shells_offer_only_what_fits() {
    let (sandbox, _browser, _vendor) = with_profile();
    for (typed, expected) in [
        ("finmcp token asset --env ", &["production", "sandbox"][..]),
        ("finmcp token Asset --env ", &["production", "sandbox"]),
        ("finmcp setup cursor ramp --env ", &["demo", "production"]),
        ("finmcp call echo --server ramp --env ", &["demo", "production"]),
        ("finmcp token tesorio --env ", &[]),
        ("finmcp token books --env ", &[]),
        ("finmcp status ", &["books"]),
        ("finmcp logout ", &["books"]),
        ("finmcp profile rename ", &["books"]),
        ("finmcp profile remove ", &["books"]),
        ("finmcp profile ", &["list", "rename", "remove", "default", "help"]),
        ("finmcp config ", &["path", "edit", "check", "help"]),
        ("finmcp token asset ", &[]),
        ("finmcp profile remove --", &["--yes", "--no-revoke", "--quiet", "--help"]),
    ] {
        let mut expected: Vec<&str> = expected.to_vec();
        expected.sort_unstable();
        for (name, mut offered) in offers(&sandbox, typed) {
            offered.sort_unstable();
            assert_eq!(offered, expected, "{name}: {typed:?}");
        }
    }
    for typed in [
        "finmcp ",
        "finmcp serve ",
        "finmcp login ",
        "finmcp doctor ",
        "finmcp setup ",
        "finmcp call ",
        "finmcp profile default ",
    ] {
        for (name, offered) in offers(&sandbox, typed) {
            assert!(!offered.iter().any(|value| value.starts_with('-')), "{name}: {typed:?} offers {offered:?}");
        }
    }
    for (name, offered) in offers(&sandbox, "finmcp serve books -") {
        assert!(offered.iter().any(|value| value == "--read-only"), "{name} offers {offered:?}");
    }
}

/// The tools of the server that the line names, as finmcp last saw them; no server is asked.
#[cfg(unix)]
#[test]
fn c13_shells_complete_tools() {
    let (sandbox, _browser, vendor) = with_profile();
    for (_, offered) in offers(&sandbox, "finmcp call ") {
        assert_eq!(offered, [""; 0], "nothing is known yet");
    }
    let mut serve = sandbox.serve(["books"]);
    serve.initialize().result();
    serve.request("tools/list", serde_json::json!({})).result();
    let description = sandbox.home().join("finmcp/servers/books.json");
    crate::support::eventually("the tools", || {
        fs::read_to_string(&description).ok()?.contains("Says it back").then_some(())
    });
    drop(serve);
    let requests = vendor.records().len();
    for (typed, expected) in [
        ("finmcp call ", &["echo", "hang", "progress", "raw", "roots"][..]),
        ("finmcp call r", &["raw", "roots"]),
        ("finmcp call --server books ", &["echo", "hang", "progress", "raw", "roots"]),
        ("finmcp call books e", &["echo"]),
        ("finmcp tools books --tool p", &["progress"]),
        ("finmcp call --server tesorio ", &[]),
        ("finmcp call --profile books ec", &["echo"]),
    ] {
        for (name, mut offered) in offers(&sandbox, typed) {
            offered.sort_unstable();
            assert_eq!(offered, expected, "{name}: {typed:?}");
        }
    }
    // The server may stand behind the tool.
    let (folder, path) =
        (format!("{}/completions", env!("CARGO_MANIFEST_DIR")), "COMP_WORDS=(finmcp call e -s tesorio)");
    let script = format!(
        "source {folder}/finmcp.bash; {path}; COMP_CWORD=2; COMP_TYPE=9; _clap_complete_finmcp finmcp e call; echo \"${{COMPREPLY[@]}}\""
    );
    assert_eq!(shell(&sandbox, "bash", &script).stdout, "\n");
    assert_eq!(shell(&sandbox, "bash", &script.replace("tesorio", "books")).stdout, "echo\n");
    assert_eq!(vendor.records().len(), requests);
}

/// `--quiet` keeps what a person has to know.
#[test]
fn quiet_prints_only_required_actions() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let run = sandbox.finmcp(["login", &vendor.url(), "--profile", "books", "--quiet"]).expect_success();
    assert!(run.stderr.contains("open this address"), "{}", run.stderr);
    assert!(!run.stderr.contains("Signed in"), "{}", run.stderr);
    assert_eq!(browser.starts().len(), 1);
    assert_eq!(sandbox.finmcp(["--quiet", "logout", "books"]).expect_success().stderr, "");
    let run = sandbox.finmcp(["token", "books", "-q"]).expect_code(4);
    assert!(run.stderr.starts_with("error: ") && run.stderr.contains("\nhint: "), "{}", run.stderr);
}

/// Words have colours in a terminal, and only there, and not where they are not wanted.
#[cfg(unix)]
#[test]
fn colours_are_for_terminals() {
    use crate::support::{PATIENCE, sandbox::wait, terminal::Terminal};
    for (no_color, colored) in [(None, true), (Some(""), true), (Some("1"), false)] {
        let mut sandbox = Sandbox::new();
        if let Some(value) = no_color {
            sandbox.set("NO_COLOR", value);
        }
        let terminal = Terminal::open();
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
        command.args(["token", "asset"]).stdin(terminal.stdio()).stdout(terminal.stdio()).stderr(terminal.stdio());
        assert_eq!(wait(&mut command.spawn().unwrap(), PATIENCE), Some(Some(4)));
        crate::support::eventually("the hint", || terminal.shown().contains("finmcp login asset").then_some(()));
        assert_eq!(terminal.shown().contains('\u{1b}'), colored, "{no_color:?}: {}", terminal.shown());
    }
    assert!(!Sandbox::new().finmcp(["token", "asset"]).expect_code(4).stderr.contains('\u{1b}'));
}

/// `finmcp man | head -1`: a reader that closes the pipe early causes no error.
#[test]
fn a_closed_pipe_is_not_an_error() {
    let sandbox = Sandbox::new();
    for arguments in [&["man"][..], &["doctor"], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
        let output = command.args(arguments).stdin(std::process::Stdio::null()).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{arguments:?}");
    }
}
