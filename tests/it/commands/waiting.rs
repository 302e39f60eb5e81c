//! What a person at a terminal sees while finmcp waits.

use std::{process::Child, time::Duration};

use crate::support::{
    PATIENCE,
    browser::signed_in,
    eventually,
    sandbox::{Sandbox, wait},
    terminal::Terminal,
    vendor::{Effect, Gate, On, Script, Vendor},
};

/// Runs finmcp in the foreground of a terminal of 80 columns.
fn start(sandbox: &Sandbox, arguments: &[&str]) -> (Terminal, Child) {
    let terminal = Terminal::open();
    terminal.resize(80, 24);
    let mut command = sandbox.command("setsid");
    command.env("TERM", "xterm").args(["--ctty", "--wait", env!("CARGO_BIN_EXE_finmcp")]).args(arguments);
    command.stdin(terminal.stdio()).stdout(terminal.stdio()).stderr(terminal.stdio());
    let child = command.spawn().unwrap();
    (terminal, child)
}

/// What is left on the screen after all that was `shown`: carriage returns, line feeds and erased lines are carried out.
fn screen(shown: &str) -> Vec<String> {
    let (mut lines, mut row, mut column) = (vec![Vec::new()], 0, 0);
    let mut characters = shown.chars();
    while let Some(character) = characters.next() {
        match character {
            '\r' => column = 0,
            '\n' => {
                row += 1;
                if row == lines.len() {
                    lines.push(Vec::new());
                }
            }
            '\u{1b}' => {
                let mut sequence = String::new();
                for next in characters.by_ref() {
                    sequence.push(next);
                    if next.is_ascii_alphabetic() {
                        break;
                    }
                }
                match &*sequence {
                    "[2K" => lines[row].clear(),
                    "[K" => lines[row].truncate(column),
                    "[1A" => row -= 1,
                    _ => {}
                }
            }
            character => {
                let line: &mut Vec<char> = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = character;
                column += 1;
            }
        }
    }
    lines.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_owned()).collect()
}

/// Each command that waits for a server: what it waits for, and what it says meanwhile.
fn commands() -> Vec<(Vec<&'static str>, On, &'static str)> {
    vec![
        (vec!["tools", "books"], On::Rpc("tools/list"), "Connecting to the server"),
        (vec!["tools", "books"], On::Rpc("initialize"), "Connecting to the server"),
        (vec!["call", "echo", "message=hi", "-s", "books"], On::Rpc("tools/call"), "Waiting for "),
        (vec!["prompts", "books"], On::Rpc("prompts/list"), "Connecting to the server"),
        (vec!["resource", "file:///x", "-s", "books"], On::Rpc("resources/read"), "Waiting for "),
        (vec!["token", "books", "--force-refresh"], On::Path("/token"), "Getting the token"),
        (vec!["logout", "books"], On::Path("/revoke"), "Signing out"),
        (vec!["doctor", "books"], On::Rpc("initialize"), "Checking"),
        (
            vec!["login", "books", "--no-browser"],
            On::Path("/.well-known/oauth-protected-resource/mcp"),
            "Contacting the server",
        ),
    ]
}

#[test]
fn c10_what_waits_says_so_after_a_second_and_ctrl_c_leaves_a_clean_line() {
    for (arguments, on, text) in commands() {
        let vendor = Vendor::start(Script::people());
        let (sandbox, _browser) = signed_in(&vendor, &["--profile", "books"]);
        vendor.fault(on, Effect::Hold(Gate::default()));
        let (terminal, mut child) = start(&sandbox, &arguments);
        eventually(&format!("{arguments:?}: {text}"), || terminal.shown().contains(text).then_some(()));
        // A second one ends the wait for a renewal in progress, too.
        let code = eventually("the end", || {
            terminal.enter("\u{3}");
            child.try_wait().unwrap()
        });
        let code = code.code();
        eventually("the last words", || terminal.shown().contains("error:").then_some(()));
        let shown = terminal.shown();
        assert_eq!(code, Some(130), "{arguments:?}: {shown:?}");
        let screen = screen(&shown);
        assert!(!screen.iter().any(|line| line.contains(text)), "{arguments:?}: {screen:#?}");
        assert!(screen.iter().any(|line| line.starts_with("error:")), "{arguments:?}: {screen:#?}");
        assert_eq!(shown.contains("\u{1b}[?25l"), shown.contains("\u{1b}[?25h"), "the cursor is visible: {shown:?}");
        assert!(terminal.is_as_ever());
    }
}

#[test]
fn c10_a_wait_that_ends_leaves_nothing_behind() {
    let vendor = Vendor::start(Script::people());
    let (sandbox, _browser) = signed_in(&vendor, &["--profile", "books"]);
    vendor.fault(On::Rpc("tools/call"), Effect::Delay(Duration::from_millis(1500)));
    let (terminal, mut child) = start(&sandbox, &["call", "echo", "message=hi", "-s", "books"]);
    assert_eq!(wait(&mut child, PATIENCE), Some(Some(0)));
    let shown = terminal.shown();
    assert!(shown.contains("Waiting for "), "{shown:?}");
    assert_eq!(screen(&shown), ["hi", ""], "{shown:?}");
}

#[test]
fn c10_scripts_and_quiet_users_see_nothing_of_it() {
    let vendor = Vendor::start(Script::people());
    let (sandbox, _browser) = signed_in(&vendor, &["--profile", "books"]);
    let call = ["call", "echo", "message=hi", "-s", "books"];
    let slow = || vendor.fault(On::Rpc("tools/call"), Effect::Delay(Duration::from_millis(1500)));
    slow();
    let run = sandbox.finmcp(call).expect_success();
    assert_eq!((&*run.stdout, &*run.stderr), ("hi\n", ""));
    slow();
    let (terminal, mut child) = start(&sandbox, &[&["--quiet"], &call[..]].concat());
    assert_eq!(wait(&mut child, PATIENCE), Some(Some(0)));
    assert_eq!(terminal.shown(), "hi\r\n");
    // A stream that is piped gets nothing of what the terminal shows.
    slow();
    let terminal = Terminal::open();
    terminal.resize(80, 24);
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
    let run = command.env("TERM", "xterm").args(call).stderr(terminal.stdio()).output().unwrap();
    assert_eq!(String::from_utf8(run.stdout).unwrap(), "hi\n");
    assert!(terminal.shown().contains("Waiting for "), "{:?}", terminal.shown());
}

/// The line would overwrite what the user types.
#[test]
fn c10_a_question_is_asked_on_a_line_of_its_own() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let url = vendor.url();
    let (terminal, mut child) = start(&sandbox, &["login", &url, "--no-browser"]);
    eventually("the question", || terminal.shown().contains("and press Enter").then_some(()));
    let before = terminal.shown().len();
    terminal.enter("http://127.0.0.1/callback?code=no\n");
    eventually("the answer", || terminal.shown()[before..].contains("and try again").then_some(()));
    let between = terminal.shown()[before..].to_owned();
    assert!(!between.contains("Contacting"), "{between:?}");
    child.kill().unwrap();
    child.wait().unwrap();
}
