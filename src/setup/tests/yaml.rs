//! Hand-written YAML: only the entry's lines change.

use saphyr_parser::{Event, Parser};

use super::*;

const CLIENT: Client = Client::Goose;

/// Files that already have another server.
const EXISTING: [&str; 16] = [
    "extensions:\n  b:\n    cmd: x\n    description: |\n      a\tb\n\n      \tc: [\n    type: stdio\nlast: 1\n",
    "flow: {\n  a: 1\n}\nlist: [\n  1\n]\nextensions:\n  b:\n    cmd: x\nlast: 1\n",
    "--- # remark\nextensions: # here\n  b:\n    cmd: x # \"}\n",
    "%YAML 1.2\n---\nextensions:\n  b:\n    cmd: x\n...\n# after the end: {\n",
    "base: &base\n  cmd: x\n  R&D: 'a & b'\nextensions:\n  b: *base\n  c: &c {cmd: y}\n  d: *c\nlast: *base\n",
    "extensions:\n  b: {cmd: x, args: [-y, \"}\", {a: ']'}],\n    envs: {A: b}} # ], }\n  c: {cmd: y}\nlast: [a, {b: c}]\n",
    "\"ext\\u0065nsions\":\n  'it''s: b':\n    cmd: x\n  \"c: # d\":\n    cmd: \"\\x41\\e\" # \"no\" 'end'\n\"last\": 1\n",
    "extensions:\n  b:\n    cmd: x\n    description: \"one\n      two: \\\n      three\"\n  c:\n    cmd: 'y\n\n      z: 1'\nlast: plain\n  text # end\n",
    "extensions:\n  b:\n    cmd: x\n    description: >-\n      folded\n       more\n\n      # no remark\n    # remark\n# remark\nlast: 1\n",
    "# ☕ Größe\nschlüssel: 日本語 # 🙂\nextensions:\n  größe 🙂:\n    cmd: \"ü🙂\" # ü\n    args: ['é', 日本]\nlast: ü\n",
    "? extra\n: - 1\n? [a, b]\n: c\nextensions:\n    b:\n        cmd: x\n        args:\n        -\n        # remark\n    c:\n        cmd: y\nlast:\n",
    "extensions:\n  b:\n    cmd: x\n    envs:\n    # nothing yet\n\n# remark\nlast: ~\n",
    "list:\n- a: 1\n  b: |\n    text\n-\n  - - deep\nextensions:\n  b:\n    - odd\nlast: !!str 5\n",
    "extensions:\n  b: !tag\n    cmd: x\n  c:\n    cmd: y\n    text: |2\n        two\nlast: \"#\" # '\n",
    "extensions:\n  b   :   {}\n  c:   # remark\n\n      cmd: y\nurl: http://a:b@c/#d\n",
    "  extensions:\n    b:\n      cmd: x\n  last: 'x' # y\n",
];

/// The parser's events for `text`, without positions.
fn events(text: &str) -> Vec<String> {
    Parser::new_from_str(text.trim_start_matches('\u{feff}')).map(|event| format!("{:?}", event.unwrap().0)).collect()
}

fn variants(text: &str) -> [String; 3] {
    [text.to_owned(), text.replace('\n', "\r\n"), format!("\u{feff}{text}")]
}

/// The text inserted into `before` to get `after`.
fn inserted<'a>(before: &str, after: &'a str) -> &'a str {
    let prefix = before.bytes().zip(after.bytes()).take_while(|(left, right)| left == right).count();
    let rest = before.len() - prefix;
    assert!(after.ends_with(&before[prefix..]), "{before:?}: {after}");
    &after[prefix..after.len() - rest]
}

#[test]
fn yaml_of_any_kind_keeps_every_byte_around_the_entry() {
    for before in EXISTING.iter().flat_map(|text| variants(text)) {
        let after = with(CLIENT, &before, &entry());
        assert!(inserted(&before, &after).contains("asset-sandbox"), "{after}");
        assert_eq!(inserted(&before, &after).matches('\r').count() > 0, before.contains('\r'), "{after:?}");
        let document = Document::read(CLIENT, &after).unwrap();
        assert_eq!(document.entries().last(), Some(&entry()), "{before:?}: {after}");
        assert_eq!(with(CLIENT, &after, &entry()), after, "idempotent");
        assert_eq!(without(CLIENT, &after), before);
        // The parser's events: the earlier ones and one more mapping.
        let (old, new) = (events(&before), events(&after));
        let start = old.iter().zip(&new).take_while(|(left, right)| left == right).count();
        assert_eq!(old[start..], new[new.len() - (old.len() - start)..], "{after}");
    }
}

#[test]
fn yaml_without_servers_gets_them_before_the_end_of_the_document() {
    for before in
        ["a: 1\n...\n# after\n", "--- # remark\n...\n", "a: |\n  x\n...\n", "# ü\n---\nb: [\n  é\n]\n", "a: 1"]
    {
        for before in variants(before) {
            let after = with(CLIENT, &before, &entry());
            assert!(inserted(&before, &after).contains("extensions:"), "{after}");
            assert_eq!(Document::read(CLIENT, &after).unwrap().entries(), [entry()], "{after}");
            let documents = events(&after).iter().filter(|event| event.starts_with("DocumentStart")).count();
            assert_eq!(documents, 1, "{after}");
        }
    }
}

#[test]
fn yaml_that_the_parser_refuses_is_refused_with_its_place() {
    for (text, line, column) in [
        ("extensions:\n  a: {\n    x: CANARY\n}\n", 4, 1),
        ("a:\n\tb: CANARY\n", 2, 2),
        ("ü: é\nb: *CANARY\n", 2, 4),
        ("a: \"ü\" CANARY\n", 1, 8),
        ("a: @CANARY\n", 1, 4),
        ("a: CANARY: 2\r\n", 1, 10),
        ("a: 1\r\nb: \"CANARY", 2, 4),
        ("a: 1\n  b: CANARY\n", 2, 4),
    ] {
        let outcome = change::applied(CLIENT, text, &[Change::Put(entry())]);
        assert_eq!(outcome, Err(DocumentError::Malformed { line, column, format: "YAML" }), "{text:?}");
        // The parser refuses it too.
        assert!(Parser::new_from_str(text).any(|event| event.is_err()));
    }
    let deep = format!("a: {}{}", "[".repeat(200), "]".repeat(200));
    let outcome = change::applied(CLIENT, &deep, &[Change::Put(entry())]);
    assert_eq!(outcome, Err(DocumentError::Unsupported { line: 1, what: "deeply nested collections" }));
}

#[test]
fn yaml_that_is_shared_or_in_brackets_is_left_as_it_is() {
    let refused = |text: &str| change::applied(CLIENT, text, &[Change::Put(entry())]).unwrap_err().to_string();
    for (text, said) in [
        (
            "extensions: &all\n  b:\n    cmd: x\nmore: *all\n",
            "line 1: finmcp cannot safely change YAML with an anchor, an alias or a tag",
        ),
        (
            "base: &b\n  cmd: x\nextensions: *b\n",
            "line 3: finmcp cannot safely change YAML with an anchor, an alias or a tag",
        ),
        (
            "extensions: !!map\n  b:\n    cmd: x\n",
            "line 1: finmcp cannot safely change YAML with an anchor, an alias or a tag",
        ),
        ("extensions: {b: {cmd: x}}\n", "line 1: finmcp cannot safely change servers on one line"),
        ("extensions: 'two\n  lines'\n", "line 1: extensions is not a mapping"),
        ("extensions:\n  asset-sandbox: x\n", "line 2: \"asset-sandbox\" is not a mapping"),
        ("extensions:\n  asset-sandbox:\n  - x\n", "line 3: \"asset-sandbox\" is not a mapping"),
        ("extensions:\n  asset-sandbox: {}\n  \"asset-sandbox\": {}\n", "line 3: duplicate \"asset-sandbox\""),
        ("extensions:\n  b: {}\nextensions:\n  c: {}\n", "line 3: duplicate \"extensions\""),
        ("...\n---\na: 1\n---\nb: 1\n", "line 4: finmcp cannot safely change several documents in one file"),
    ] {
        assert_eq!(refused(text), said, "{text:?}");
    }
}

/// Refuses a change after which an alias would refer to another anchor.
#[test]
fn yaml_keeps_the_target_of_each_alias() {
    let what = "an entry with a YAML anchor that other entries use";
    for (text, is_refused) in [
        ("x: &e 1\nextensions:\n  asset-sandbox:\n    description: &e 2\ny: *e\n", true),
        ("extensions:\n  asset-sandbox:\n    envs: &e {A: b}\n    shared: *e\n", true),
        ("x: &e 1\nextensions:\n  asset-sandbox:\n    description: *e\ny: *e\n", false),
        ("extensions:\n  asset-sandbox:\n    own: {a: &e 1, b: *e}\n", false),
        ("extensions:\n  asset-sandbox:\n    description: a *e &e b\ny: 'a *e'\n", false),
    ] {
        let outcome = change::applied(CLIENT, text, &[Change::Put(entry())]);
        let line = text.lines().position(|line| line.contains("asset-sandbox")).unwrap() + 1;
        assert_eq!(outcome.clone().err(), is_refused.then_some(DocumentError::Unsupported { line, what }), "{text}");
    }
}

#[test]
fn yaml_keeps_the_comment_after_a_kept_member() {
    let text = "extensions:\n  asset-sandbox:\n    enabled: false # \"mine\"\n    available_tools: # those\n    - a # one\n    cmd: x # gone\n  z: {}\n";
    let after = with(CLIENT, text, &entry());
    for stays in ["    enabled: false # \"mine\"\n", "    available_tools: # those\n    - a # one\n"] {
        assert!(after.contains(stays), "{after}");
    }
    assert!(!after.contains("gone"), "{after}");
}

/// Values that the parser does not interpret are hidden.
#[test]
fn t142_a_secret_in_yaml_of_any_kind_does_not_show() {
    let text = "extensions:\n  x:\n    uri: https://x/\n    headers: &h {A: CANARY}\n    envs: !t\n      A: CANARY\n    args: [--token, \"CANARY\" , {Authorization: 'CANARY'}] # token CANARY\n    more: 'token\n      CANARY'\n    text: >\n      CANARY\n\n      CANARY\n    list:\n    - api_key: CANARY\n      ü: {env: {B: CANARY}}\n";
    for text in variants(text) {
        let document = Document::read(CLIENT, &text).unwrap();
        let masked = mask::masked(&document, CLIENT.format());
        assert!(!masked.contains("CANARY") && masked.contains("https://x/"), "{masked}");
    }
}

/// The parser's span includes the comment after it.
#[test]
fn a_quoted_text_ends_at_its_quote() {
    for (text, end) in [("'a''b' # 'c'", 6), (r#""a\"b\\" # "c""#, 8), ("'' # '", 2), (r#""ü" # ü"#, 4)] {
        let document = Document::read(CLIENT, &format!("a: {text}\n")).unwrap();
        assert_eq!(document.root().get("a").unwrap().span, 3..3 + end, "{text}");
        assert!(Parser::new_from_str(text).any(|event| matches!(event, Ok((Event::Scalar(..), _)))));
    }
}
