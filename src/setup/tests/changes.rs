//! Which changes follow from a wish.

use super::*;

#[test]
fn another_entry_is_not_replaced_unasked() {
    let client = Client::Cursor;
    let wish = |force| Wish { entry: entry(), named: false, force, has_options: false };
    let text = with(client, "", &Entry { arguments: vec!["serve".to_owned(), "tesorio".to_owned()], ..entry() });
    let document = Document::read(client, &text).unwrap();
    assert!(change::wanted(client, &document, &wish(false), &[], |_| false).is_err());
    assert_eq!(change::wanted(client, &document, &wish(true), &[], |_| false), Ok(vec![Change::Put(entry())]));
    let same = Document::read(client, &with(client, "", &entry())).unwrap();
    assert_eq!(change::wanted(client, &same, &wish(false), &[], |_| false), Ok(vec![]));
    let added = with(client, "", &entry()).replace("\"args\"", "\"disabled\": true, \"args\"");
    let added = Document::read(client, &added).unwrap();
    assert_eq!(change::wanted(client, &added, &wish(false), &[], |_| false), Ok(vec![]), "the user's additions stay");
    let other = Document::read(client, r#"{"mcpServers":{"asset-sandbox":{"command":"x"}}}"#).unwrap();
    assert!(change::unwanted(client, &other, &wish(false), |_| true).is_err(), "not finmcp's entry");
    let updated = change::wanted(client, &document, &wish(false), &[], |_| true).unwrap();
    let tesorio = vec!["serve".to_owned(), "tesorio".to_owned()];
    assert_eq!(updated, [], "finmcp's own, for the same server: its arguments stay");
    let moved = Document::read(client, &text.replace("/usr/local", "/old")).unwrap();
    let updated = change::wanted(client, &moved, &wish(false), &[], |_| true).unwrap();
    assert_eq!(updated, [Change::Put(Entry { arguments: tesorio, ..entry() })]);
    let renamed = Document::read(client, &with(client, "", &Entry { name: "books".to_owned(), ..entry() })).unwrap();
    let unwanted = |is_meant: bool| change::unwanted(client, &renamed, &wish(false), |_| is_meant);
    assert_eq!(unwanted(true), Ok(vec![Change::Take("books".to_owned())]));
    assert_eq!(unwanted(false), Ok(vec![]));
    let taken = change::unwanted(client, &same, &wish(false), |_| false).unwrap_err();
    assert_eq!(taken.holder, Holder::Finmcp, "finmcp's entry for another server");
    assert_eq!(change::wanted(client, &document, &wish(false), &[], |_| false).unwrap_err().holder, Holder::Finmcp);
    assert_eq!(change::wanted(client, &other, &wish(false), &[], |_| false).unwrap_err().holder, Holder::Other);
}

/// Two entries of the same name would overwrite each other.
#[test]
fn two_changes_of_one_name_are_refused() {
    let client = Client::Cursor;
    let text = r#"{"mcpServers":{"asset-sandbox":{"url":"https://mcp.tesorio.com/v1/mcp"}}}"#;
    let document = Document::read(client, text).unwrap();
    let exposed = Exposed { name: entry().name, url: String::new(), place: Place::Here };
    let tesorio = Entry { arguments: vec!["serve".to_owned(), "tesorio".to_owned()], ..entry() };
    let wish = |name: &str| Wish {
        entry: Entry { name: name.to_owned(), ..entry() },
        named: true,
        force: true,
        has_options: false,
    };
    let replaced = [(exposed, Some(tesorio.clone()))];
    let taken = change::wanted(client, &document, &wish("asset-sandbox"), &replaced, |_| false).unwrap_err();
    assert_eq!((taken.name.as_str(), taken.holder), ("asset-sandbox", Holder::Replaced));
    let changes = change::wanted(client, &document, &wish("mine"), &replaced, |_| false).unwrap();
    assert_eq!(changes, [Change::Put(tesorio), Change::Put(wish("mine").entry)]);
}

/// The way that an entry works may change, but the rules that the user set do not go without a word.
#[test]
fn c9_native_does_not_drop_options_unasked() {
    let client = Client::ClaudeCode;
    let native = Entry {
        arguments: ["token", "--headers", "asset", "--env", "sandbox"].map(str::to_owned).into(),
        url: Some("https://api.sandbox.getasset.com/mcp".to_owned()),
        ..entry()
    };
    let wish = |force| Wish { entry: native.clone(), named: false, force, has_options: false };
    let plain = Document::read(client, &with(client, "", &entry())).unwrap();
    assert_eq!(change::wanted(client, &plain, &wish(false), &[], |_| true), Ok(vec![Change::Put(native.clone())]));
    let strict = Entry { arguments: [&entry().arguments[..], &["--read-only".to_owned()]].concat(), ..entry() };
    let strict = Document::read(client, &with(client, "", &strict)).unwrap();
    let taken = change::wanted(client, &strict, &wish(false), &[], |_| true).unwrap_err();
    assert_eq!(taken.holder, Holder::Options);
    assert_eq!(change::wanted(client, &strict, &wish(true), &[], |_| true), Ok(vec![Change::Put(native.clone())]));
    let back = Document::read(client, &with(client, "", &native)).unwrap();
    let serve = Wish { entry: entry(), ..wish(false) };
    assert_eq!(change::wanted(client, &back, &serve, &[], |_| true), Ok(vec![Change::Put(entry())]));
}
