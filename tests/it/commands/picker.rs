//! `finmcp setup` without arguments: the lists that a newcomer chooses from, at a real terminal.

use std::{fs, process::Child};

use serde_json::json;

use crate::{
    commands::setup::{json_in, read, write},
    support::{
        PATIENCE, eventually,
        sandbox::{Sandbox, wait},
        terminal::Terminal,
    },
};

const DOWN: &str = "\u{1b}[B";

/// A home with two clients.
fn home(term: Option<&str>) -> Sandbox {
    let mut sandbox = Sandbox::new();
    for folder in [".cursor", ".codeium/windsurf"] {
        fs::create_dir_all(sandbox.home().join(folder)).unwrap();
    }
    sandbox.set("PATH", "/usr/bin:/bin");
    if let Some(term) = term {
        sandbox.set("TERM", term);
    }
    sandbox
}

fn start(sandbox: &Sandbox, terminal: &Terminal, arguments: &[&str]) -> Child {
    let mut command = sandbox.command("setsid");
    command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_finmcp"), "setup"]).args(arguments);
    command.stdin(terminal.stdio()).stdout(terminal.stdio()).stderr(terminal.stdio());
    command.spawn().unwrap()
}

/// What is on the screen, without colours and movements of the cursor.
fn screen(terminal: &Terminal) -> String {
    let mut plain = String::new();
    let shown = terminal.shown();
    let mut letters = shown.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => {
                let _ = letters.by_ref().skip(1).find(|end| end.is_ascii_alphabetic());
            }
            '\r' => {}
            letter => plain.push(letter),
        }
    }
    plain
}

#[track_caller]
fn see(terminal: &Terminal, text: &str) {
    eventually(text, || screen(terminal).contains(text).then_some(()));
}

/// Types once the last list is there and waits for a key.
#[track_caller]
fn press(terminal: &Terminal, after: &str, keys: &[&str]) {
    see(terminal, after);
    for key in keys {
        // The keys are read one by one: the terminal waits for one when it is not in its usual mode.
        eventually("the list waits for a key", || (!terminal.is_as_ever()).then_some(()));
        let before = terminal.shown().len();
        terminal.enter(key);
        eventually("the key is drawn", || (terminal.shown().len() > before).then_some(()));
    }
}

fn cursor(sandbox: &Sandbox) -> std::path::PathBuf {
    sandbox.home().join(".cursor/mcp.json")
}

fn windsurf(sandbox: &Sandbox) -> std::path::PathBuf {
    sandbox.home().join(".codeium/windsurf/mcp_config.json")
}

/// With the keys, at every size: several clients and several servers in one run, and the screen as it was.
#[test]
fn c9_clients_and_servers_are_chosen_with_keys() {
    for (columns, rows) in [(80, 24), (40, 24), (40, 12), (200, 60)] {
        let (sandbox, terminal) = (home(Some("xterm-256color")), Terminal::of_size(columns, rows));
        let mut child = start(&sandbox, &terminal, &[]);
        press(&terminal, "[ ] Windsurf", &[" ", DOWN, " ", "\r"]);
        see(&terminal, "AI clients: Cursor, Windsurf");
        press(&terminal, "[ ] asset", &[DOWN, DOWN, " ", DOWN, " ", "\r"]);
        assert_eq!(wait(&mut child, PATIENCE), Some(Some(0)), "{}", screen(&terminal));
        for path in [cursor(&sandbox), windsurf(&sandbox)] {
            let servers = json_in(&path)["mcpServers"].clone();
            assert_eq!(servers["tesorio"]["args"], json!(["serve", "tesorio"]), "{servers}");
            assert_eq!(servers["demo"]["args"], json!(["serve", "demo"]), "{servers}");
        }
        let shown = screen(&terminal);
        assert!(shown.contains("Added tesorio to Cursor. Restart Cursor."), "{shown}");
        assert!(terminal.is_as_ever() && terminal.shown().rfind("\u{1b}[?25h") > terminal.shown().rfind("\u{1b}[?25l"));
        let list = shown.lines().filter(|line| line.contains("[ ] ") || line.contains("[x] "));
        assert!(list.into_iter().all(|line| line.chars().count() <= usize::from(columns)), "{shown}");
    }
}

/// Enter alone sets nothing up: the list says how to choose.
#[test]
fn c9_an_empty_choice_is_asked_again() {
    let (sandbox, terminal) = (home(Some("xterm")), Terminal::of_size(80, 24));
    let mut child = start(&sandbox, &terminal, &["--dry-run"]);
    press(&terminal, "[ ] Windsurf", &["\r"]);
    see(&terminal, "Nothing is chosen");
    press(&terminal, "press Space.", &[" ", "\r"]);
    press(&terminal, "[ ] asset", &[" ", "\r"]);
    assert_eq!(wait(&mut child, PATIENCE), Some(Some(0)), "{}", screen(&terminal));
    assert!(screen(&terminal).contains("+    \"asset\": {") && !cursor(&sandbox).exists());
}

/// Esc and Ctrl-C, in the first list and in the second: nothing is written, and the terminal is as it was.
#[test]
fn c9_cancelling_leaves_no_trace() {
    for (in_second, key, said) in [
        (false, "\u{1b}", "cancelled: nothing was changed"),
        (true, "\u{1b}", "cancelled: nothing was changed"),
        (false, "\u{3}", "interrupted"),
        (true, "\u{3}", "interrupted"),
    ] {
        let (sandbox, terminal) = (home(Some("xterm")), Terminal::of_size(80, 24));
        let mut child = start(&sandbox, &terminal, &[]);
        see(&terminal, "[ ] Windsurf");
        if in_second {
            press(&terminal, "[ ] Windsurf", &[" ", "\r"]);
            see(&terminal, "[ ] asset");
        }
        press(&terminal, "[ ]", &[key]);
        assert_eq!(wait(&mut child, PATIENCE), Some(Some(130)), "{}", screen(&terminal));
        see(&terminal, said);
        assert!(terminal.is_as_ever(), "echo and lines are back");
        assert!(terminal.shown().rfind("\u{1b}[?25h") > terminal.shown().rfind("\u{1b}[?25l"), "the cursor is back");
        assert!(!cursor(&sandbox).exists() && !windsurf(&sandbox).exists());
    }
}

/// A signal from elsewhere in the middle of the list, while the terminal is without echo.
#[test]
fn c9_a_signal_restores_the_terminal() {
    let (sandbox, terminal) = (home(Some("xterm")), Terminal::of_size(80, 24));
    let mut child = start(&sandbox, &terminal, &[]);
    press(&terminal, "[ ] Windsurf", &[" "]);
    eventually("the list waits for a key", || (!terminal.is_as_ever()).then_some(()));
    let setsid = child.id().to_string();
    let finmcp = fs::read_to_string(format!("/proc/{setsid}/task/{setsid}/children")).unwrap();
    let finmcp = finmcp.split_whitespace().next().unwrap_or(&setsid).to_owned();
    assert!(std::process::Command::new("kill").args(["-TERM", &finmcp]).status().unwrap().success());
    assert_eq!(wait(&mut child, PATIENCE), Some(Some(130)), "{}", screen(&terminal));
    assert!(terminal.is_as_ever());
}

/// A terminal that only prints lines, or one that is too small for a list: numbers and names are typed.
#[test]
fn c9_plain_terminals_take_numbers() {
    for (term, columns, rows, clients) in [
        (None, 80, 24, "1,2\n"),
        (Some("dumb"), 80, 24, "windsurf, cursor\n"),
        (Some("xterm"), 80, 5, "2 1\n"),
        (Some("dumb"), 40, 24, "1 2\n"),
    ] {
        let (sandbox, terminal) = (home(term), Terminal::of_size(columns, rows));
        let mut child = start(&sandbox, &terminal, &[]);
        see(&terminal, "2. Windsurf");
        see(&terminal, "Numbers, for example 1,2: ");
        terminal.enter("7\n");
        see(&terminal, "There is no \"7\" in the list.");
        terminal.enter(clients);
        see(&terminal, "Servers:");
        see(&terminal, "tesorio (Tesorio)");
        terminal.enter("tesorio\n");
        assert_eq!(wait(&mut child, PATIENCE), Some(Some(0)), "{}", screen(&terminal));
        assert!(read(&cursor(&sandbox)).contains("tesorio") && read(&windsurf(&sandbox)).contains("tesorio"));
        assert!(!terminal.shown().contains('\u{1b}'), "no movements: {:?}", terminal.shown());
    }
}

/// The only client that was found and the default server are chosen already.
#[test]
fn c9_the_usual_choice_takes_two_keys() {
    let (sandbox, terminal) = (home(Some("xterm")), Terminal::of_size(80, 24));
    fs::remove_dir_all(sandbox.home().join(".codeium")).unwrap();
    write(&sandbox.home().join("finmcp/config.toml"), "default = \"tesorio\"\n");
    let mut child = start(&sandbox, &terminal, &[]);
    press(&terminal, "[x] Cursor", &["\r"]);
    press(&terminal, "[x] tesorio", &["\r"]);
    assert_eq!(wait(&mut child, PATIENCE), Some(Some(0)), "{}", screen(&terminal));
    assert_eq!(json_in(&cursor(&sandbox))["mcpServers"].as_object().unwrap().len(), 1);
    assert!(!windsurf(&sandbox).exists());
}

/// Without a terminal, the commands are printed, and the exit code says that nothing was set up.
#[test]
fn c9_without_a_terminal_the_commands_are_listed() {
    let sandbox = home(Some("xterm"));
    let run = sandbox.finmcp(["setup"]).expect_code(2).expect_stderr(&["which AI client?"]);
    assert!(run.stdout.contains("Cursor    finmcp setup cursor SERVER\n"), "{}", run.stdout);
    assert!(run.stdout.contains("SERVER is one of: asset, "), "{}", run.stdout);
    write(&sandbox.home().join("finmcp/config.toml"), "default = \"tesorio\"\n");
    let run = sandbox.finmcp(["setup"]).expect_code(2);
    let command = run.stdout.lines().find_map(|line| line.split_once("finmcp setup windsurf ")).unwrap().1;
    sandbox.finmcp(["setup", "windsurf", command]).expect_success();
    assert!(read(&windsurf(&sandbox)).contains("tesorio") && !cursor(&sandbox).exists());
}
