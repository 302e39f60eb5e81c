//! Help, manual pages, and how text fits the terminal.

use std::fs;

use clap::CommandFactory as _;
use finmcp::cli::Cli;

use crate::support::sandbox::Sandbox;
#[cfg(unix)]
use crate::support::terminal::Terminal;

/// The words of every command that help shows, those of finmcp itself (none) first.
pub fn commands() -> Vec<Vec<String>> {
    fn walk(command: &clap::Command, words: &[String], found: &mut Vec<Vec<String>>) {
        found.push(words.to_vec());
        for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
            walk(below, &[words, &[below.get_name().to_owned()]].concat(), found);
        }
    }
    let mut found = Vec::new();
    walk(&Cli::command(), &[], &mut found);
    assert!(found.len() > 12 && found.contains(&vec!["audit".to_owned(), "verify".to_owned()]), "{found:?}");
    found
}

#[test]
fn every_command_has_a_page_of_the_manual() {
    let sandbox = Sandbox::new();
    let folder = sandbox.home().join("man1");
    let run = sandbox.finmcp(["man", "--directory", folder.to_str().unwrap()]).expect_success();
    assert!(run.stderr.contains("man1"), "{}", run.stderr);
    let page = |name: &str| fs::read_to_string(folder.join(format!("{name}.1"))).unwrap();
    let main = page("finmcp");
    assert_eq!(main, sandbox.finmcp(["man"]).expect_success().stdout);
    // Whatever the first page refers to is there.
    let referred: Vec<String> =
        main.lines().filter_map(|line| line.strip_suffix("(1)")).map(|name| name.replace('\\', "")).collect();
    assert!(referred.len() >= 10, "{referred:?}");
    for name in &referred {
        let command = name.strip_prefix("finmcp-").unwrap();
        assert_eq!(page(name), sandbox.finmcp(["man", command]).expect_success().stdout);
    }
    for command in commands() {
        let text = page(&[&["finmcp".to_owned()], &*command].concat().join("-"));
        assert_eq!(text, sandbox.finmcp([&["man".to_owned()], &*command].concat()).expect_success().stdout);
        assert!(text.contains("\n.SH FILES\n") && text.contains("\n.SH \"EXIT STATUS\"\n"), "{text}");
        assert!(text.contains("config.toml") && text.contains(r"sign\-in required"), "{text}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), commands().len());
    // Examples keep their lines.
    let login = page("finmcp-login");
    assert!(login.contains(".nf") && login.contains("\n  finmcp login tesorio\n"), "{login}");
    sandbox
        .finmcp(["man", "nothing"])
        .expect_code(2)
        .expect_stderr(&["unknown command \"nothing\"", "use one of: login"]);
    let blocked = sandbox.give("file", "");
    sandbox
        .finmcp(["man", "--directory", blocked.to_str().unwrap()])
        .expect_code(1)
        .expect_stderr(&["cannot write to"]);
}

/// The first screen fits a terminal of 24 lines, and names every command.
#[test]
fn c11_the_first_screen_names_every_command() {
    let sandbox = Sandbox::new();
    let bare = sandbox.finmcp::<&str>([]).expect_code(2).stderr;
    assert_eq!(bare, sandbox.finmcp(["-h"]).expect_success().stdout);
    assert!(bare.lines().count() <= 23, "{bare}");
    let whole = sandbox.finmcp(["--help"]).expect_success().stdout;
    for text in [&bare, &whole] {
        let rows = text.lines().filter_map(|line| line.strip_prefix("  ")?.split_once("  "));
        let names: Vec<&str> = rows.flat_map(|(names, _)| names.split(", ")).collect();
        for command in commands().iter().filter_map(|command| command.first()) {
            // AI clients start serve; the row of setup says so.
            assert!(command == "serve" || names.contains(&&**command), "{command}: {names:?}");
        }
    }
    assert!(whole.contains("FINMCP_STORE") && !bare.contains("FINMCP_STORE"));
}

/// `-h` is short: it fits two screens, and `--help` has the rest.
#[test]
fn c11_short_help_is_short() {
    let sandbox = Sandbox::new();
    for command in commands() {
        let [short, long] = ["-h", "--help"]
            .map(|flag| sandbox.finmcp([&*command, &[flag.to_owned()]].concat()).expect_success().stdout);
        assert!(short.lines().count() <= 48, "{command:?}: {short}");
        assert!(short.lines().count() <= long.lines().count(), "{command:?}");
    }
    let login = |flag| sandbox.finmcp(["login", flag]).expect_success().stdout;
    assert!(login("--help").contains("--assertion-file") && !login("-h").contains("--assertion-file <"));
}

/// Help fits 80 columns, examples too, which can be pasted.
#[test]
fn c11_help_and_its_examples_fit_80_columns() {
    let sandbox = Sandbox::new();
    for command in commands() {
        for flag in ["--help", "-h"] {
            let help = sandbox.finmcp([&*command, &[flag.to_owned()]].concat()).expect_success().stdout;
            let long: Vec<&str> = help.lines().filter(|line| line.chars().count() > 80).collect();
            assert!(long.is_empty(), "{command:?} {flag}: {long:?}");
            // A line of an example that goes on ends in a backslash or a pipe, or the shell would run half a command.
            let examples =
                help.split("Examples:\n").nth(1).unwrap_or_default().split("\n\n").next().unwrap_or_default();
            for pair in examples.lines().collect::<Vec<_>>().windows(2) {
                let goes_on = pair[0].ends_with(['\\', '|']);
                assert_eq!(goes_on, pair[1].starts_with("    "), "{command:?}: {pair:?}");
            }
        }
    }
}

/// At a terminal of any width, text breaks between words, and commands and URLs stay whole.
#[cfg(unix)]
#[test]
fn c11_text_breaks_between_words() {
    let sandbox = Sandbox::new();
    let cases: [&[&str]; 4] = [
        &["call", "list_customers", "-s", "nothing"],
        &["token", "tesorio"],
        &["status"],
        &["login", "https://mcp.example.com/mcp", "--client-secret", "x"],
    ];
    for arguments in cases {
        let run = sandbox.finmcp(arguments);
        let piped = run.stdout.clone() + &run.stderr;
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for columns in [40, 57, 80, 200] {
            let (_, shown) = Terminal::of_size(columns, 24).run(&sandbox, arguments);
            let shown = strip_colors(&shown);
            assert_eq!(words(&shown), words(&piped), "{columns}");
            for line in shown.lines() {
                let is_one_unit = line.trim().starts_with('`') || !line.trim().contains(' ');
                assert!(
                    line.trim_end().chars().count() <= columns.into() || is_one_unit,
                    "{columns}: {line:?} of {shown}"
                );
            }
            // No command is broken.
            for command in piped.split('`').skip(1).step_by(2) {
                assert!(shown.contains(&format!("`{command}`")), "{columns}: {command} in {shown}");
            }
        }
    }
}

/// `text` without the sequences that change colours.
#[cfg(unix)]
fn strip_colors(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or(part, |(_, rest)| rest))
}

/// At a terminal, a manual page is shown and not its source; without a `man`, the help is.
#[cfg(unix)]
#[test]
fn c11_a_manual_page_is_readable_at_a_terminal() {
    let mut sandbox = Sandbox::new();
    let folder = sandbox.home().join("bin");
    fs::create_dir(&folder).unwrap();
    sandbox.set("PATH", folder.to_str().unwrap());
    let (code, shown) = Terminal::of_size(80, 24).run(&sandbox, &["man", "login"]);
    assert_eq!(code, Some(0));
    assert!(shown.contains("Usage: finmcp login") && !shown.contains(".SH"), "{shown}");
    let reader = "#!/bin/sh\necho \"page $(/usr/bin/wc -l <\"$1\")\"\n";
    fs::write(folder.join("man"), reader).unwrap();
    fs::set_permissions(folder.join("man"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let (code, shown) = Terminal::of_size(80, 24).run(&sandbox, &["man", "login"]);
    assert_eq!(code, Some(0));
    assert!(shown.starts_with("page ") && !shown.contains("Usage"), "{shown}");
    assert!(sandbox.temporary_files().is_empty());
}

/// c14: the README shows installations that need no Rust before the one that does, says what the vendors are, and has
/// no recipe that goes on without a token.
#[test]
fn c14_the_readme_begins_with_what_a_newcomer_needs() {
    let readme = fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let place = |text: &str| readme.find(text).unwrap_or_else(|| panic!("{text:?} is not in the README"));
    let places = [
        "FINMCP_RELEASE_URL=",
        "brew install",
        "windows-msvc.zip",
        "Rust toolchain",
        "finmcp login  ",
        "\"mcpServers\"",
        "| **Asset** | an accounting platform",
        "## For security teams",
    ];
    assert!(places.map(place).is_sorted());
    // In the shell, a command in an argument may fail without consequence.
    assert!(!readme.contains("\"$(finmcp token"));
}
