//! Clients' files before and after changes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    change::{self, Change, Holder, Wish},
    client::{Client, Scope},
    deeplink::deeplink,
    document::Document,
    entry::Entry,
    error::DocumentError,
    mask,
    plaintext::{self, Exposed, Place},
    surroundings::Surroundings,
};
use crate::settings::machine::{Machine, System};

mod changes;
mod json;
mod page;
mod yaml;

fn entry() -> Entry {
    Entry {
        url: None,
        name: "asset-sandbox".to_owned(),
        command: "/usr/local/bin/finmcp".to_owned(),
        arguments: ["serve", "asset", "--env", "sandbox"].map(str::to_owned).into(),
        environment: BTreeMap::new(),
        passed: Vec::new(),
    }
}

fn full_entry(client: Client) -> Entry {
    let environment = [("FINMCP_STORE", "file"), ("FINMCP_STORE_KEY_FILE", "/home/me/finmcp key")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let passed = client.passed_by_name().iter().map(|name| (*name).to_owned()).collect();
    Entry { environment, passed, ..entry() }
}

fn with(client: Client, text: &str, entry: &Entry) -> String {
    change::applied(client, text, &[Change::Put(entry.clone())]).unwrap()
}

fn without(client: Client, text: &str) -> String {
    change::applied(client, text, &[Change::Take("asset-sandbox".to_owned())]).unwrap()
}

fn machine(system: System, variables: &[(&str, &str)]) -> Machine {
    let (home, project) = match system {
        System::Windows => (r"C:\Users\me", r"C:\books"),
        System::Macos => ("/Users/me", "/books"),
        System::Linux => ("/home/me", "/books"),
    };
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Machine { system, home: home.to_owned(), project: project.to_owned(), variables, path: Vec::new() }
}

#[test]
fn files_of_every_client_on_every_system() {
    let mut table = String::new();
    for system in [System::Linux, System::Macos, System::Windows] {
        for (scope, client) in [Scope::User, Scope::Project].into_iter().flat_map(|s| Client::ALL.map(|c| (s, c))) {
            for file in client.files(scope, &machine(system, &[])) {
                table.push_str(&format!("{system:?} {scope:?} {}: {}\n", client.id(), file.display()));
            }
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn variables_move_files() {
    let moved = |client: Client, system, name, value| {
        client.files(Scope::User, &machine(system, &[(name, value)]))[0].display().to_string()
    };
    use System::{Linux, Macos, Windows};
    for (client, system, name, value, expected) in [
        (Client::ClaudeDesktop, Linux, "XDG_CONFIG_HOME", "/x", "/x/Claude/claude_desktop_config.json"),
        (Client::Zed, Linux, "XDG_CONFIG_HOME", "/x", "/x/zed/settings.json"),
        (Client::Zed, Macos, "XDG_CONFIG_HOME", "/x", "/Users/me/.config/zed/settings.json"),
        (Client::Codex, Linux, "CODEX_HOME", "/c", "/c/config.toml"),
        (Client::ClaudeCode, Macos, "CLAUDE_CONFIG_DIR", "/c", "/c/.claude.json"),
        (Client::Gemini, Linux, "GEMINI_CLI_HOME", "/g", "/g/.gemini/settings.json"),
        (Client::Vscode, Windows, "APPDATA", r"D:\R", r"D:\R\Code\User\mcp.json"),
        (Client::Vscode, Windows, "XDG_CONFIG_HOME", r"D:\R", r"C:\Users\me\AppData\Roaming\Code\User\mcp.json"),
    ] {
        assert_eq!(moved(client, system, name, value), expected);
    }
}

#[test]
fn entries_of_every_client() {
    let mut text = String::new();
    for client in Client::ALL {
        text.push_str(&format!("=== {}\n{}", client.id(), with(client, "", &full_entry(client))));
    }
    insta::assert_snapshot!(text);
}

/// A file in each format with another server, comments and a particular layout.
fn existing(client: Client) -> String {
    match client {
        Client::Codex => "# mine\nmodel = \"o9\" # best\n\n[mcp_servers.other]\ncommand = \"x\"\n\n[tui]\nnotify = true\n".to_owned(),
        Client::Goose => "# mine\nGOOSE_MODEL: best   # yes\nextensions:\n  other:\n    cmd: x\n    args: []\n    type: stdio\n\n# after\nlast: 1\n".to_owned(),
        _ => format!(
            "// mine\n{{\n  \"theme\": \"dark\", // nice\n  \"{}\": {{\n    \"other\": {{ \"command\": \"x\" }} // the other\n  }},\n  \"last\": [1.10, 1e2]\n}}\n",
            client.container()
        ),
    }
}

#[test]
fn existing_content_stays_and_is_restored_byte_for_byte() {
    for client in Client::ALL {
        for newline in ["\n", "\r\n"] {
            for mark in ["", "\u{feff}"] {
                let before = mark.to_owned() + &existing(client).replace('\n', newline);
                let after = with(client, &before, &full_entry(client));
                let document = Document::read(client, &after).unwrap();
                assert_eq!(document.entries().last(), Some(&full_entry(client)), "{after}");
                assert_eq!(document.members().len(), 2, "{after}");
                assert_eq!(with(client, &after, &full_entry(client)), after, "idempotent");
                assert_eq!(without(client, &after), before, "{}", client.id());
                let lines = |text: &str| text.split('\n').filter(|line| line.ends_with('\r')).count();
                assert_eq!(lines(&after), if newline == "\n" { 0 } else { after.matches('\n').count() }, "{after:?}");
            }
        }
    }
    let text = [Client::Zed, Client::Codex, Client::Goose]
        .map(|client| with(client, &existing(client), &full_entry(client)))
        .join("======\n");
    insta::assert_snapshot!(text);
}

#[test]
fn json_of_every_layout() {
    let client = Client::Cursor;
    let layouts = [
        "",
        "  \n",
        "null",
        "null\n",
        "{}",
        "{ }",
        "{\n}\n",
        "// only a remark",
        "/* a */ {} // b",
        "{\"mcpServers\":{}}",
        "{\"mcpServers\": null}",
        "{\"mcpServers\": {\n  }}",
        "{\"mcpServers\": {/* none */}}",
        "{\"mcpServers\": {// none\n}}",
        "{\"a\":1}",
        "{\"a\":1,}",
        "{\"a\":1 // x\n}",
        "{\"a\":1, // x\n}",
        "{\"mcpServers\":{\"b\":{\"command\":\"x\"}}}",
        "{\"mcpServers\":{\"b\":{\"command\":\"x\"},}}",
        "{\"mcpServers\":{\"b\":{\"command\":\"x\"} /* , */}}",
        "{\"mcpServers\":{\"b\":{\"command\":\"x\"} // ,\n}}",
        "{\n\t\"mcpServers\": {\n\t\t\"b\": {},\n\t},\n}\n",
        "\u{feff}{\r\n    \"x\": \"//\"\r\n}\r\n",
    ];
    for before in layouts {
        let after = with(client, before, &entry());
        let document = Document::read(client, &after).unwrap();
        assert_eq!(document.entries().last(), Some(&entry()), "{before:?}: {after}");
        let gone = without(client, &after);
        assert_eq!(Document::read(client, &gone).unwrap().server("asset-sandbox"), None, "{before:?}: {gone}");
        if Document::read(client, before).unwrap().members().len() == 1 {
            assert_eq!(gone, before);
        }
        let back = change::taken_back(client, &after, &[Change::Take(entry().name)], Some(before)).unwrap();
        assert_eq!(back, before, "restored from the backup");
    }
    let held = r#"{"mcpServers":{"asset-sandbox":{"url":"u","headers":{"Authorization":"Bearer x"}}}}"#;
    let replaced = with(client, held, &entry());
    let back = change::taken_back(client, &replaced, &[Change::Take(entry().name)], Some(held)).unwrap();
    assert!(!back.contains("Bearer"), "a replaced token is not restored: {back}");
    let two = r#"{"mcpServers":{"asset-sandbox":{"command":"y"}, "b":{"command":"x"}}}"#;
    assert_eq!(without(client, two), r#"{"mcpServers":{ "b":{"command":"x"}}}"#);
    let remark = "{\"mcpServers\":{ // x\n\"asset-sandbox\":{}, \"b\":{}}}";
    assert_eq!(Document::read(client, &without(client, remark)).unwrap().members().len(), 1);
    assert_eq!(with(client, two, &entry()).matches("asset-sandbox").count(), 1, "replaces the existing entry");
}

#[test]
fn yaml_of_every_layout() {
    let client = Client::Goose;
    for before in [
        "",
        "\n",
        "null\n",
        "# only a remark",
        "a: 1",
        "extensions:",
        "extensions:\n",
        "extensions: {}\n",
        "extensions: {} # none\nb: 2\n",
        "extensions: ~\nb: 2\n",
        "---\nextensions:\n    b:\n        cmd: x\n",
        "extensions:\n  b: {cmd: x, type: stdio}\n",
        "extensions:\n  b:\n    cmd: x\n    description: |\n      two: lines\n      # no remark\n  # after b\nc:\n- 1\n- 2\n",
        "extensions:\n  'b':\n    cmd: \"x: y\"\n    args:\n    - --a\n    - 'it''s'\n    list:\n    - name: z\n      deep: 1\n",
        "\"extensions\":\n  b:\n    cmd: x\n",
        "a: &anchor\n  x: 1\nb: *anchor\nextensions:\n  b:\n    cmd: x",
    ] {
        let after = with(client, before, &full_entry(client));
        let document = Document::read(client, &after).unwrap();
        let expected = Entry { passed: Vec::new(), ..full_entry(client) };
        assert_eq!(document.entries().last(), Some(&expected), "{before:?}: {after}");
        let gone = without(client, &after);
        assert_eq!(Document::read(client, &gone).unwrap().server("asset-sandbox"), None, "{before:?}: {gone}");
        if Document::read(client, before).unwrap().members().len() == 1 && before.ends_with('\n') {
            assert_eq!(gone, before);
        }
    }
}

#[test]
fn toml_of_every_layout() {
    let client = Client::Codex;
    for before in [
        "",
        "\n",
        "# only a remark",
        "a = 1",
        "[mcp_servers]\n",
        "mcp_servers = {}\n",
        "mcp_servers = { b = { command = \"x\" } }\n",
        "[mcp_servers.b]\ncommand = \"x\"\n[mcp_servers.b.env]\nA = \"1\"\n\n# end\n",
        "[mcp_servers]\nb = { command = \"x\" }\n",
        "[a]\nx = 1\n[mcp_servers.b]\ncommand = \"x\"\n[[c]]\ny = 1\n",
    ] {
        let after = with(client, before, &full_entry(client));
        let document = Document::read(client, &after).unwrap();
        assert_eq!(document.entries().last(), Some(&full_entry(client)), "{before:?}: {after}");
        let gone = without(client, &after);
        assert_eq!(Document::read(client, &gone).unwrap().server("asset-sandbox"), None, "{before:?}: {gone}");
    }
}

#[test]
fn errors_name_the_line() {
    let refused = |client, text: &str| {
        let outcome = change::applied(client, text, &[Change::Put(entry())]);
        outcome.unwrap_err().to_string()
    };
    for (client, text, said) in [
        (Client::Cursor, "{\n  \"a\": SECRET,\n  \"b\": 1\n}", "line 2, column 8: not valid JSON"),
        (Client::Cursor, "{\n \"mcpServers\": {", "line 2, column 16: not valid JSON"),
        (Client::Cursor, "[]", "line 1: the file is not an object"),
        (Client::Cursor, "\n\"text\"", "line 2: the file is not an object"),
        (Client::Cursor, "{\n\"mcpServers\": []}", "line 2: mcpServers is not an object"),
        (Client::Cursor, "{} {}", "line 1, column 4: not valid JSON"),
        (Client::Codex, "a = 1\nb = SECRET", "line 2, column 5: not valid TOML"),
        (Client::Codex, "mcp_servers = 1", "line 1: mcp_servers is not a table"),
        (Client::Goose, "a: 1\n b\n\tc: SECRET", "line 1, column 4: not valid YAML"),
        (Client::Goose, "a: 1\nSECRET", "line 2, column 7: not valid YAML"),
        (Client::Goose, "a: [SECRET", "line 1, column 11: not valid YAML"),
        (Client::Goose, "a: 1\nextensions:\n  x: {SECRET: '}'", "line 3, column 18: not valid YAML"),
        (Client::Goose, "a: \"SECRET", "line 1, column 4: not valid YAML"),
        (Client::Goose, "a: 1\n---\nb: 2", "line 2: finmcp cannot safely change several documents in one file"),
        (Client::Goose, "a: 1\nextensions: {b: {cmd: x}}", "line 2: finmcp cannot safely change servers on one line"),
        (Client::Goose, "extensions: {b: x}", "line 1: finmcp cannot safely change servers on one line"),
        (Client::Goose, "extensions: *all", "line 1, column 13: not valid YAML"),
        (Client::Goose, "extensions:\n- a", "line 2: extensions is not a mapping"),
        (Client::Goose, "- a", "line 1: the file is not a mapping"),
    ] {
        assert_eq!(refused(client, text), said, "{text:?}");
    }
}

#[test]
fn t142_secrets_are_found_and_do_not_show() {
    let text = r#"{
  // "Authorization": "Bearer CANARY-1",
  /* api_key: CANARY-2
     CANARY-3 */
  "apiToken": "CANARY-4", "maxTokens": 5,
  "mcpServers": {
    "asset": {"url": "https://api.getasset.com/mcp", "headers": {"Authorization": "Bearer CANARY-5"}},
    "tesorio": {"command": "npx", "args": ["-y", "mcp-remote@1", "https://mcp.tesorio.com/v1/mcp"]},
    "a": {"command": "npx", "args": ["mcp-remote", "https://a/", "--header", "X-Mine: CANARY-6"], "env": {"ANY": "CANARY-7"}},
    "b": {"command": "c", "args": ["--api-key=CANARY-8", "--token", "CANARY-9", "https://u:CANARY-10@h/"]},
    "c": {"url": "https://c/", "headers": {"Authorization": "Bearer ${env:TOKEN}"}},
    "d": {"url": "https://d/?token=CANARY-11"},
    "e": {"url": "https://e/"},
    "f": {"command": "finmcp", "env": {"FINMCP_STORE": "file", "HTTPS_PROXY": "http://u:CANARY-12@p/"}},
    "g": {"command": "/opt/finmcp", "args": ["serve", "asset", "--url", "https://asset.example/a"],
          "env": {"HTTPS_PROXY": "ada:CANARY-13@proxy:8080", "FINMCP_STORE_KEY_FILE": "/k@y"}},
    "h": {"command": "c", "args": ["-k", "CANARY-14", "--k=CANARY-15", "sk-CANARY-16", "plain", "a:CANARY_0123456789abc"]},
    "i": {"url": "https://hooks.example/s/CANARY-17/mcp"}
  }
}"#;
    let document = Document::read(Client::Cursor, text).unwrap();
    let masked = mask::masked(&document, Client::Cursor.format());
    assert!(!masked.contains("CANARY"), "{masked}");
    for kept in [
        "\"maxTokens\": 5",
        "\"https://mcp.tesorio.com/v1/mcp\"",
        "\"FINMCP_STORE\": \"file\"",
        "https://e/",
        "https://asset.example/a",
        "/k@y",
        "\"plain\"",
        "\"https://hooks.example/s/•••/mcp\"",
        "\"--k=•••\"",
        "http://•••@p/",
    ] {
        assert!(masked.contains(kept), "{masked}");
    }
    let found: Vec<_> = plaintext::exposed(&document).into_iter().map(|found| (found.name, found.place)).collect();
    let expected = [
        ("asset", Place::Here),
        ("tesorio", Place::McpRemote),
        ("a", Place::McpRemote),
        ("b", Place::Here),
        ("d", Place::Here),
        ("g", Place::Here),
    ];
    assert_eq!(found, expected.map(|(name, place)| (name.to_owned(), place)));

    let text = "# token: CANARY-1\n[mcp_servers.x]\nurl = \"https://x/\"\nhttp_headers = { Authorization = 'Bearer CANARY-2' } # bearer CANARY-3\n[mcp_servers.x.env]\nA = \"CANARY-4\"\n";
    let document = Document::read(Client::Codex, text).unwrap();
    let masked = mask::masked(&document, Client::Codex.format());
    assert!(!masked.contains("CANARY") && masked.contains("https://x/"), "{masked}");
    assert_eq!(plaintext::exposed(&document).len(), 1);

    let text = "a: |\n  CANARY-1\nextensions:\n  x:\n    uri: https://x/\n    headers:\n      Authorization: Bearer CANARY-2\n    envs:\n      A: 'CANARY-3' # secret CANARY-4\n";
    let document = Document::read(Client::Goose, text).unwrap();
    let masked = mask::masked(&document, Client::Goose.format());
    assert!(!masked.contains("CANARY") && masked.contains("https://x/"), "{masked}");
    assert_eq!(plaintext::exposed(&document).len(), 1);
}

#[test]
fn the_environment_is_written_where_the_client_drops_it() {
    let set = [
        ("FINMCP_CONFIG_DIR", "conf"),
        ("FINMCP_STORE_KEY_FILE", "/k@y"),
        ("HTTPS_PROXY", "http://me:secret@proxy:1"),
        ("http_proxy", "http://proxy:1"),
        ("SSL_CERT_FILE", "/ca.pem"),
    ];
    let mut table = String::new();
    for client in Client::ALL {
        let needed = Surroundings::needed(client, &machine(System::Linux, &set));
        table.push_str(&format!(
            "{}: {:?} {:?} {:?}\n",
            client.id(),
            needed.environment,
            needed.passed,
            needed.withheld
        ));
    }
    assert!(!table.contains("secret"));
    insta::assert_snapshot!(table);
}

#[test]
fn links_hold_the_entry() {
    let windows = Entry { command: r"C:\Program Files\finmcp.exe".to_owned(), ..entry() };
    insta::assert_snapshot!(deeplink(Client::Cursor, &windows).unwrap());
    insta::assert_snapshot!(deeplink(Client::Vscode, &windows).unwrap());
    assert_eq!(deeplink(Client::Zed, &windows), None);
}

#[test]
fn entries_of_finmcp_are_recognised() {
    for (command, first, is_finmcp) in [
        ("/opt/finmcp", "serve", true),
        (r"C:\bin\finmcp.exe", "serve", true),
        ("finmcp", "token", false),
        ("/opt/notfinmcp", "serve", false),
    ] {
        let entry = Entry { command: command.to_owned(), arguments: vec![first.to_owned()], ..entry() };
        assert_eq!(entry.runs_finmcp(), is_finmcp, "{command}");
    }
    let zed = r#"{"context_servers":{"a":{"command":{"path":"finmcp","args":["serve"],"env":{"A":"b"}}}}}"#;
    assert!(Document::read(Client::Zed, zed).unwrap().entries()[0].runs_finmcp());
}

/// White space and comments that can occur between JSON tokens.
fn gap() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "", " ", "\n", "\n\t", "\r\n  ", "/* , } */", "// \"x\": {\n", "\n  // note\n  "])
}

fn any_value(depth: u32) -> impl Strategy<Value = String> {
    let leaf =
        prop::sample::select(vec!["1", "1.10", "true", "null", "\"a\"", "\"}, //\"", "\"\\u00e9\\\"\"", "[]", "{}"]);
    let leaf = leaf.prop_map(str::to_owned);
    leaf.prop_recursive(depth, 24, 4, |inner| {
        prop_oneof![
            (prop::collection::vec((gap(), inner.clone(), gap()), 1..4), any::<bool>()).prop_map(|(items, comma)| {
                let items: Vec<String> = items.into_iter().map(|(a, value, b)| format!("{a}{value}{b}")).collect();
                format!("[{}{}]", items.join(","), if comma { "," } else { "" })
            }),
            object(inner, "k"),
        ]
    })
}

fn object(value: impl Strategy<Value = String>, prefix: &'static str) -> impl Strategy<Value = String> {
    let member = (gap(), gap(), gap(), value, gap());
    (prop::collection::vec(member, 0..4), any::<bool>(), gap()).prop_map(move |(members, comma, end)| {
        let comma = if comma && !members.is_empty() { "," } else { "" };
        let members = members.into_iter().enumerate();
        let members: Vec<String> =
            members.map(|(at, (a, b, c, value, d))| format!("{a}\"{prefix}{at}\"{b}:{c}{value}{d}")).collect();
        format!("{{{}{comma}{end}}}", members.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// For any JSON with comments: finmcp adds and removes the entry without changing anything else.
    #[test]
    fn any_json_keeps_all_but_the_entry(
        servers in prop::option::of(object(any_value(2), "s")),
        others in prop::collection::vec((gap(), any_value(2), gap()), 0..3),
        (first, last) in (gap(), gap()),
    ) {
        let mut members: Vec<String> =
            others.into_iter().enumerate().map(|(at, (a, value, b))| format!("{a}\"o{at}\":{value}{b}")).collect();
        let has_servers = servers.as_ref().is_some_and(|servers| servers.contains("\"s0\""));
        members.extend(servers.map(|servers| format!("\"mcpServers\": {servers}")));
        let before = format!("{first}{{{}{last}}}", members.join(","));
        let client = Client::Cursor;
        prop_assert!(Document::read(client, &before).is_ok(), "{}", before);
        let after = with(client, &before, &full_entry(client));
        // All existing characters are still there, in order.
        let mut rest = after.chars();
        let strip = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).collect::<Vec<_>>();
        prop_assert!(strip(&before).iter().all(|letter| rest.any(|other| other == *letter)), "{}", after);
        prop_assert_eq!(with(client, &after, &full_entry(client)), after.clone());
        let gone = without(client, &after);
        if has_servers {
            prop_assert_eq!(gone, before);
        }
    }
}

#[test]
fn a_layout_that_breaks_something_else_is_refused() {
    // The last of two servers with the same name counts, and removing it would make the first one count.
    let text = r#"{"mcpServers":{"asset-sandbox":{"command":"a"},"asset-sandbox":{"command":"b"}}}"#;
    let outcome = change::applied(Client::Cursor, text, &[Change::Take("asset-sandbox".to_owned())]);
    assert_eq!(outcome, Err(DocumentError::Duplicate { line: 1, name: "asset-sandbox".to_owned() }));
}

/// In the home folder, the project's file is the user's.
#[test]
fn one_file_is_found_once() {
    let folder = tempfile::tempdir().unwrap();
    let [home, project] = ["home", "project"].map(|name| folder.path().join(name));
    for folder in [&home, &project] {
        std::fs::create_dir_all(folder.join(".cursor")).unwrap();
        std::fs::write(folder.join(".cursor/mcp.json"), "{}").unwrap();
    }
    let [home, project] = [home, project].map(|folder| folder.to_str().unwrap().to_owned());
    let at = |project: &String| {
        let machine = Machine { home: home.clone(), project: project.clone(), ..machine(System::Linux, &[]) };
        crate::setup::found(&machine).len()
    };
    assert_eq!((at(&home), at(&project)), (1, 2));
}

/// The user's restrictions on a server's tools stay when finmcp replaces the entry; connection details do not.
#[test]
fn restrictions_stay_when_an_entry_is_replaced() {
    let json = |container: &str, members: &str| format!("{{\"{container}\": {{\"asset-sandbox\": {{{members}}}}}}}");
    let cases = [
        (
            Client::Windsurf,
            json("mcpServers", r#""serverUrl": "CANARY", "disabledTools": ["pay"], "headers": {"A": "CANARY"}, "disabled": true"#),
            vec!["disabledTools", "disabled"],
        ),
        (
            Client::Gemini,
            json("mcpServers", r#""httpUrl": "CANARY", "includeTools": ["a"], "excludeTools": ["b"], "trust": false"#),
            vec!["includeTools", "excludeTools", "trust"],
        ),
        (
            Client::ClaudeCode,
            json("mcpServers", r#""command": "/old/finmcp", "args": ["CANARY"], "env": {"A": "CANARY"}, "timeout": 5"#),
            vec!["timeout"],
        ),
        (
            Client::Opencode,
            json("mcp", r#""type": "remote", "url": "CANARY", "enabled": false, "oauth": {"x": "CANARY"}"#),
            vec!["enabled"],
        ),
        (
            Client::Codex,
            "[mcp_servers.asset-sandbox]\nurl = \"CANARY\"\nenabled = false\ndisabled_tools = [\"pay\"]\n[mcp_servers.asset-sandbox.env]\nA = \"CANARY\"\n".to_owned(),
            vec!["enabled", "disabled_tools"],
        ),
        (
            Client::Codex,
            "[mcp_servers]\nasset-sandbox = { url = \"CANARY\", enabled = false }\n".to_owned(),
            vec!["enabled"],
        ),
        (
            Client::Codex,
            "mcp_servers = { asset-sandbox = { url = \"CANARY\", enabled = false } }\n".to_owned(),
            vec!["enabled"],
        ),
        (
            Client::Goose,
            "extensions:\n  asset-sandbox:\n      uri: CANARY\n      enabled: false\n      headers:\n        A: CANARY\n      available_tools:\n      - list\n      - get\n  z:\n    cmd: x\n".to_owned(),
            vec!["enabled", "available_tools"],
        ),
        (
            Client::Goose,
            "extensions:\n  asset-sandbox: {uri: CANARY, enabled: false , description: 'it''s', available_tools: [a, {b: c}]}\n  z:\n    cmd: x\n".to_owned(),
            vec!["enabled", "description", "available_tools"],
        ),
    ];
    for (client, before, stay) in cases {
        let after = with(client, &before, &full_entry(client));
        assert!(!after.contains("CANARY"), "{after}");
        let documents = [&before, &after].map(|text| Document::read(client, text).unwrap());
        let [old, new] = documents.each_ref().map(|document| document.server("asset-sandbox").unwrap());
        for key in stay {
            assert!(old.get(key).unwrap().kind.is_same(&new.get(key).unwrap().kind), "{key}: {after}");
        }
        assert!(full_entry(client).is_that_of(client, new), "{after}");
        assert_eq!(with(client, &after, &full_entry(client)), after, "idempotent");
    }
}

#[test]
fn an_entry_with_references_to_it_stays() {
    let text =
        "extensions:\n  asset-sandbox:\n    cmd: x\n    envs: &e\n      A: b\n  other:\n    cmd: y\n    envs: *e\n";
    let what = "an entry with a YAML anchor that other entries use";
    for change in [Change::Put(entry()), Change::Take(entry().name)] {
        let outcome = change::applied(Client::Goose, text, std::slice::from_ref(&change));
        assert_eq!(outcome, Err(DocumentError::Unsupported { line: 2, what }));
        assert!(change::applied(Client::Goose, &text.replace("*e", "{}"), &[change]).is_ok());
    }
    let within = text.replace("*e", "{}").replace("      A: b\n", "      A: b\n    more: *e\n");
    let outcome = change::applied(Client::Goose, &within, &[Change::Put(entry())]);
    assert_eq!(outcome, Err(DocumentError::Unsupported { line: 2, what }));
}

/// t142: also in YAML flow collections.
#[test]
fn t142_a_secret_in_brackets_does_not_show() {
    let text = "extensions:\n  x:\n    uri: https://x/\n    headers: {Authorization: Bearer CANARY-1}\n    envs: {A: 'CANARY-2'}\n";
    let document = Document::read(Client::Goose, text).unwrap();
    let masked = mask::masked(&document, Client::Goose.format());
    assert!(!masked.contains("CANARY") && masked.contains("headers: {Authorization: •••}"), "{masked}");
}
