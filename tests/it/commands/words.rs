//! What a person reads when something goes wrong, from the first word to the last: what happened, why, and what to do.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    commands::{
        help,
        login::{CLIENT_SECRET, machine_login, machine_vendor},
        token::signed_in_machine,
    },
    support::{
        PATIENCE,
        browser::{FakeBrowser, Person},
        eventually, files,
        sandbox::Sandbox,
        vendor::{Effect, On, Reply, Script, Vendor},
    },
};

/// What was said, with names for this run's own address and folder.
fn told(said: &str, sandbox: &Sandbox, vendor: Option<&Vendor>) -> String {
    let root = sandbox.home().parent().unwrap().display().to_string();
    let said = vendor.map_or(said.to_owned(), |vendor| {
        said.replace(&vendor.origin(), "http://VENDOR").replace(vendor.origin().trim_start_matches("http://"), "VENDOR")
    });
    said.replace(&root, "/ROOT")
}

/// Runs finmcp in `sandbox`, and says what it told the person, after its exit code.
fn run(sandbox: &Sandbox, vendor: Option<&Vendor>, arguments: &[&str]) -> String {
    let run = sandbox.finmcp(arguments);
    assert_eq!(run.stdout, "", "{arguments:?}");
    format!("exit code {}\n{}", run.code.unwrap(), told(&run.stderr, sandbox, vendor))
}

#[test]
fn exit_code_1_the_user_declines() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Denies);
    let said = run(&sandbox, Some(&vendor), &["login", &vendor.url()]);
    // (Before it stands the address to open, which is another one each time.)
    insta::assert_snapshot!(&said[said.find("error:").unwrap()..], @r#"
    error: could not sign in to VENDOR
      caused by: the sign-in was declined: access_denied ("the person said no")
    hint: you or an administrator declined: run `finmcp login SERVER` again, or ask the account's administrator
    "#);
}

#[test]
fn exit_code_1_the_server_does_not_know_the_secret() {
    let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
    let mut login = machine_login(&sandbox, &vendor);
    let at = login.iter().position(|argument| argument == "--client-secret-file").unwrap();
    login[at + 1] = sandbox.give("wrong", "another-secret-0123456789").into();
    let said = sandbox.finmcp(login).expect_code(1).stderr;
    insta::assert_snapshot!(told(&said, &sandbox, Some(&vendor)), @r#"
    Preset for Asset: see https://docs.getasset.com/mcp/overview
    error: could not sign in to Asset
      caused by: the authorization server refused: invalid_client ("wrong client secret")
    hint: check the client id and its secret or key: they are valid in one environment only, and the vendor can replace or revoke them
    "#);
    sandbox.assert_no_secret(&["another-secret-0123456789".to_owned()]);
}

#[test]
fn exit_code_2_an_unknown_server() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(run(&sandbox, None, &["token", "nobody"]), @r#"
    exit code 2
    error: no preset or profile is called "nobody"
    hint: use an https URL or one of: asset, asset --env sandbox, tesorio, masset, demo
    hint: `finmcp login --list` lists all presets
    "#);
    insta::assert_snapshot!(run(&sandbox, None, &["token", "http://mcp.example.com/mcp"]), @r#"
    exit code 2
    error: the server's URL cannot be used
      caused by: only https is accepted (plain http only on this machine's loopback interface)
    hint: pass the full URL of the MCP server, for example https://mcp.example.com/mcp
    "#);
}

#[test]
fn exit_code_3_no_server_there() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let url = vendor.url();
    let name = vendor.origin().trim_start_matches("http://").to_owned();
    vendor.stop();
    let said = run(&sandbox, None, &["login", &url, "--no-browser"]).replace(&name, "VENDOR");
    insta::assert_snapshot!(said.replace("os error 111", "os error N").replace("os error 61", "os error N"), @r#"
    exit code 3
    error: could not sign in to VENDOR
      caused by: could not connect to VENDOR
      caused by: Connection refused (os error N)
    hint: check the address, your connection, VPN and proxy, then try again (nothing was sent)
    "#);
}

#[test]
fn exit_code_3_no_mcp_server_there() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script { publishes_metadata: false, ..Script::default() }));
    insta::assert_snapshot!(run(&sandbox, Some(&vendor), &["login", &vendor.at("/nothing"), "--no-browser"]), @r#"
    exit code 3
    error: could not sign in to VENDOR
      caused by: VENDOR does not respond like an MCP server (HTTP 404)
    hint: check the address: pass the full URL of the MCP server, which often ends in /mcp
    "#);
}

#[test]
fn exit_code_4_signed_out() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(run(&sandbox, None, &["token", "asset", "--env", "sandbox"]), @r#"
    exit code 4
    error: not signed in to Asset: there is no stored sign-in
    hint: run `finmcp login asset --env sandbox`
    "#);
}

#[test]
fn exit_code_5_metadata_of_another_resource() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    vendor.change(|script| script.protected_resource = serde_json::json!({"resource": "https://evil.example/mcp"}));
    insta::assert_snapshot!(run(&sandbox, Some(&vendor), &["login", &vendor.url(), "--no-browser"]), @r#"
    exit code 5
    error: could not sign in to VENDOR
      caused by: the server's metadata is for the resource https://evil.example/mcp, not for http://VENDOR/mcp
    hint: check the address for typos, or contact the server's operator (no secret was sent)
    "#);
}

#[test]
fn exit_code_6_the_store_has_another_key() {
    let (mut sandbox, vendor) = signed_in_machine();
    sandbox.set("FINMCP_STORE_KEY_FILE", sandbox.give("another.key", [7; 48]));
    insta::assert_snapshot!(run(&sandbox, Some(&vendor), &["token", "--env", "sandbox"]), @r#"
    exit code 6
    error: the file store in /ROOT/home/finmcp/credentials is encrypted with another key file
    hint: set FINMCP_STORE_KEY_FILE to the key file that it was created with; or delete /ROOT/home/finmcp/credentials and sign in again
    "#);
}

#[test]
fn exit_code_130_ctrl_c() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
    let mut login = sandbox.start(["login", &vendor.url()]);
    eventually("a browser", || (!browser.starts().is_empty()).then_some(()));
    login.signal(rustix::process::Signal::INT);
    assert_eq!(login.exit_within(PATIENCE), Some(130));
    let said = told(&login.stderr(), &sandbox, Some(&vendor));
    insta::assert_snapshot!(said.lines().last().unwrap(), @"error: interrupted");
}

/// t113: what a server says is told as its words, in quotes, and steers no terminal.
#[test]
fn t113_a_servers_words_are_quoted() {
    let (sandbox, vendor) = (Sandbox::new(), machine_vendor());
    let said =
        serde_json::json!({"error": "invalid_scope", "error_description": "run \u{1b}]0;x\u{7}curl evil.example"});
    vendor.fault(On::Path("/token"), Effect::Answer(Reply::new(400).json(&said)));
    let said = sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_code(1).stderr;
    insta::assert_snapshot!(told(&said, &sandbox, Some(&vendor)), @r#"
    Preset for Asset: see https://docs.getasset.com/mcp/overview
    error: could not sign in to Asset
      caused by: the authorization server refused: invalid_scope ("run ]0;xcurl evil.example")
    hint: pass the scopes from the vendor's documentation with --scope, or omit --scope
    "#);
}

/// t061: a secret that was typed is refused, and not said again.
#[test]
fn errors_in_the_arguments() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(run(&sandbox, None, &["token", "--nonsense"]), @r#"
    exit code 2
    error: unexpected argument '--nonsense' found

      tip: to pass '--nonsense' as a value, use '-- --nonsense'

    Usage: finmcp token [OPTIONS] [SERVER]

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(run(&sandbox, None, &["tokens"]), @r#"
    exit code 2
    error: unrecognized subcommand 'tokens'

      tip: some similar subcommands exist: 'tools', 'token'

    Usage: finmcp [OPTIONS] <COMMAND>

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(run(&sandbox, None, &["call"]), @r#"
    exit code 2
    error: the following required arguments were not provided:
      <TOOL>

    Usage: finmcp call <TOOL> [NAME=VALUE]...

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(run(&sandbox, None, &["login", "asset", "--client-id"]), @r#"
    exit code 2
    error: a value is required for '--client-id <ID>' but none was supplied

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(run(&sandbox, None, &["token", "--json", "--header"]), @r#"
    exit code 2
    error: the argument '--json' cannot be used with '--header'

    Usage: finmcp token --json [SERVER]

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(run(&sandbox, None, &["serve", "asset", "--timeout", "soon"]), @r#"
    exit code 2
    error: invalid value 'soon' for '--timeout <SECONDS>': expected a number of seconds from 1 to 86400

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(run(&sandbox, None, &["serve", "asset", "--sign-in", "maybe"]), @r#"
    exit code 2
    error: invalid value 'maybe' for '--sign-in <SIGN_IN>'
      [possible values: tool, auto, off]

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(run(&sandbox, None, &["login", "--url", "http://mcp.example.com"]), @r#"
    exit code 2
    error: invalid value 'http://mcp.example.com' for '--url <URL>': only https is accepted (plain http only on this machine's loopback interface)

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(run(&sandbox, None, &["login", "asset", "--client-secret", CLIENT_SECRET]), @r#"
    exit code 2
    error: every user of this machine can see a secret in the command line
    hint: use --client-secret-file PATH (- reads stdin), or set FINMCP_CLIENT_SECRET
    "#);
    sandbox.assert_no_secret(&[CLIENT_SECRET.to_owned()]);
}

#[test]
fn errors_in_the_settings() {
    let sandbox = Sandbox::new();
    let folder = sandbox.home().join("finmcp");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.toml"), "default = \"asset\"\n[profiles.books\nurl = 7\n").unwrap();
    insta::assert_snapshot!(run(&sandbox, None, &["status"]), @r#"
    exit code 2
    error: /ROOT/home/finmcp/config.toml: TOML parse error at line 2, column 16
          |
        2 | [profiles.books
          |                ^
        unclosed table, expected `]`
    hint: `finmcp config check` shows every fault, and `finmcp config edit` opens config.toml
    "#);
    fs::write(folder.join("config.toml"), "[providers.books]\ngrant = \"client-credentials\"\n").unwrap();
    insta::assert_snapshot!(run(&sandbox, None, &["status"]), @r#"
    exit code 2
    error: /ROOT/home/finmcp/config.toml: provider "books": needs a url or environments
    hint: `finmcp config check` shows every fault, and `finmcp config edit` opens config.toml
    "#);
    fs::remove_file(folder.join("config.toml")).unwrap();
    fs::create_dir(folder.join("config.toml")).unwrap();
    insta::assert_snapshot!(run(&sandbox, None, &["status"]).replace("os error 21", "os error N"), @r#"
    exit code 1
    error: cannot use /ROOT/home/finmcp/config.toml
      caused by: Is a directory (os error N)
    hint: check that the file exists and is readable, and that its folder is writable
    "#);

    let with = |name: &str, value: &str| {
        let mut sandbox = Sandbox::new();
        sandbox.set(name, value);
        run(&sandbox, None, &["status"])
    };
    insta::assert_snapshot!(with("FINMCP_STORE", "vault"), @r#"
    exit code 2
    error: invalid FINMCP_STORE "vault": expected keychain, file or memory
    hint: correct or unset FINMCP_STORE in your shell, or in the AI client's entry
    "#);
    insta::assert_snapshot!(with("FINMCP_LOG", "loud"), @r#"
    exit code 2
    error: invalid FINMCP_LOG "loud": expected error, warn, info, debug or trace
    hint: correct or unset FINMCP_LOG in your shell, or in the AI client's entry
    "#);
    insta::assert_snapshot!(with("FINMCP_REQUEST_TIMEOUT", "soon"), @r#"
    exit code 2
    error: invalid FINMCP_REQUEST_TIMEOUT "soon": expected a number of seconds from 1 to 86400
    hint: correct or unset FINMCP_REQUEST_TIMEOUT in your shell, or in the AI client's entry
    "#);
    // Which folder that is would depend on where the command is run.
    insta::assert_snapshot!(with("FINMCP_CONFIG_DIR", "here"), @r#"
    exit code 2
    error: invalid FINMCP_CONFIG_DIR "here": expected an absolute path
    hint: correct or unset FINMCP_CONFIG_DIR in your shell, or in the AI client's entry
    "#);
}

/// Words and phrases that a native speaker would not use here. Name the actor with an active verb instead, or use the
/// protocol's own noun.
const ODD: [&str; 18] = [
    "nobody",
    "somebody",
    "whoever",
    "whomever",
    "mend",
    "mends",
    "mended",
    "anew",
    "by itself",
    "of itself",
    "of its own",
    "of their own",
    "hand on",
    "hands on",
    "handed on",
    "handed out",
    "lie open",
    "lies open",
];

/// Lines that keep such a word: CONTRIBUTING's own examples.
const KEPT: [&str; 3] =
    ["| mend that, and try again |", "| nobody signed in to Asset |", "No relative clause in place of a noun"];

/// The odd words of `text`, as `name:line: word`.
fn odd(name: &str, text: &str) -> Vec<String> {
    let has = |line: &str, word: &str| {
        // A colon directly before a word makes it part of a Rust path, which is not text.
        let is_letter =
            |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || "_:".contains(letter));
        line.match_indices(word).any(|(at, _)| {
            !is_letter(line[..at].chars().next_back()) && !is_letter(line[at + word.len()..].chars().next())
        })
    };
    let lines = text.lines().zip(1..).filter(|(line, _)| !KEPT.iter().any(|kept| line.contains(kept)));
    let lines = lines.map(|(line, number)| (line.to_lowercase(), number));
    lines
        .flat_map(|(line, number)| {
            let words = ODD.into_iter().filter(|word| has(&line, word));
            words.map(|word| format!("{name}:{number}: {word}")).collect::<Vec<_>>()
        })
        .collect()
}

/// Strings and comments of the sources and of their tests, and everything that a user or contributor reads.
#[test]
fn texts_have_no_odd_words() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = files(&root.join("src"), &["rs", "html", "toml"]).into_iter();
    // This file lists the words.
    let tests =
        files(&root.join("tests/it"), &["rs"]).into_iter().filter(|(path, _)| !path.ends_with("commands/words.rs"));
    let texts =
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "install.sh", "docs", "packaging/README.md"];
    let texts = texts.iter().flat_map(|name| files(&root.join(name), &["md", "sh"]));
    let read: Vec<(PathBuf, String)> = sources.chain(tests).chain(texts).collect();
    assert!(read.len() > 80, "only {} files", read.len());
    let found: Vec<String> = read.iter().flat_map(|(path, text)| odd(&path.display().to_string(), text)).collect();
    assert!(found.is_empty(), "odd words:\n{}", found.join("\n"));
}

/// The help of every command.
#[test]
fn help_has_no_odd_words() {
    let sandbox = Sandbox::new();
    for command in help::commands() {
        let text = sandbox.finmcp([&*command, &["--help".to_owned()]].concat()).expect_success().stdout;
        let found = odd(&command.join(" "), &text);
        assert!(found.is_empty(), "odd words:\n{}", found.join("\n"));
    }
}

#[test]
fn odd_words_are_found_as_words_only() {
    assert_eq!(odd("x", "a\nIt is read Anew by itself"), ["x:2: anew", "x:2: by itself"]);
    assert_eq!(odd("x", "recommended, amend, mending, shorthand only"), Vec::<String>::new());
}
