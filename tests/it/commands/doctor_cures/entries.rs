//! AI clients' entries.

use super::{stores::with_passphrase, *};

/// The variables that an entry of Cursor needs in these tests.
fn needed(sandbox: &Sandbox, names: &[&str]) -> Value {
    let found = sandbox.environment().filter(|(name, _)| names.iter().any(|needed| *name == needed));
    found.map(|(name, value)| (name.to_str().unwrap().to_owned(), json!(value.to_str().unwrap()))).collect()
}

fn cursor(sandbox: &Sandbox, command: &str, environment: &Value) {
    fs::create_dir_all(sandbox.home().join(".cursor")).unwrap();
    let entry = json!({"command": command, "args": ["serve", "books"], "env": environment});
    let document = json!({"mcpServers": {"books": entry}});
    fs::write(sandbox.home().join(".cursor/mcp.json"), document.to_string()).unwrap();
}

/// An AI client cannot enter a passphrase, and rewriting its entry would change nothing.
#[test]
fn cure_an_entry_that_would_need_a_passphrase() {
    let (mut sandbox, _vendor, _browser) = with_passphrase();
    cursor(&sandbox, FINMCP, &needed(&sandbox, &["FINMCP_CONFIG_DIR", "FINMCP_STORE"]));
    let said = diagnose(&sandbox, &["books"], "client", &["cannot open the credential store", "the passphrase"]);
    said.advises("set FINMCP_STORE_KEY_FILE to a file of at least 32 secret bytes, delete the folder ~/finmcp/cred");
    sandbox.unset("FINMCP_STORE_PASSPHRASE");
    let key = sandbox.give("new.key", [5; 32]);
    sandbox.set("FINMCP_STORE_KEY_FILE", key);
    delete_store(&sandbox);
    carry_out(&sandbox, &said.command("finmcp login"));
    carry_out(&sandbox, &said.command("finmcp setup cursor"));
    expect_green(&sandbox, &["books"]);
}

/// A store that this process cannot read either is no fault of an entry: `setup --force` would be a circle.
#[test]
fn c4_an_entry_is_not_to_blame_for_the_store() {
    let (mut sandbox, _vendor, _browser) = books(Script::people());
    let original = key_file(&sandbox);
    cursor(&sandbox, FINMCP, &needed(&sandbox, &["FINMCP_CONFIG_DIR", "FINMCP_STORE", "FINMCP_STORE_KEY_FILE"]));
    for arguments in [&["books"][..], &[]] {
        sandbox.set("FINMCP_STORE_KEY_FILE", sandbox.home().join("nothing"));
        let said = diagnose(&sandbox, arguments, "store", &["nothing does not exist"]);
        let client = steps(&said.report).find(|step| step["step"] == "client").unwrap();
        assert_eq!(client["result"], "skipped", "{:#}", said.report);
        sandbox.set("FINMCP_STORE_KEY_FILE", &original);
        expect_green(&sandbox, arguments);
    }
}

/// The entry starts a program that is gone, or lacks the variables that it needs.
#[test]
fn cure_an_entry_that_does_not_work() {
    let (sandbox, _vendor, _browser) = books(Script::people());
    let needed = needed(&sandbox, &["FINMCP_CONFIG_DIR", "FINMCP_STORE", "FINMCP_STORE_KEY_FILE"]);
    for (command, environment, what) in [
        ("/nowhere/bin/finmcp", &needed, "cannot start /nowhere/bin/finmcp: file not found"),
        (FINMCP, &json!({}), "cannot find your sign-in"),
    ] {
        cursor(&sandbox, command, environment);
        let said = diagnose(&sandbox, &["books"], "client", &[what]);
        carry_out(&sandbox, &said.command("finmcp setup cursor"));
        expect_green(&sandbox, &["books"]);
    }
}
