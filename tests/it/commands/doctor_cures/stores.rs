//! The credential store, and what is beside it.

use super::*;

#[test]
fn cure_another_key_file() {
    let (mut sandbox, _vendor, _browser) = books(Script::people());
    let (original, other) = (key_file(&sandbox), sandbox.give("other.key", [7; 32]));
    sandbox.set("FINMCP_STORE_KEY_FILE", &other);
    let said = diagnose(&sandbox, &["books"], "store", &["is encrypted with another key file"]);
    said.advises("set FINMCP_STORE_KEY_FILE to the key file that it was created with");
    sandbox.set("FINMCP_STORE_KEY_FILE", original);
    expect_green(&sandbox, &["books"]);

    // The original one is lost.
    sandbox.set("FINMCP_STORE_KEY_FILE", other);
    said.advises("delete the folder ~/finmcp/credentials");
    delete_store(&sandbox);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &["books"]);
}

#[test]
fn cure_a_missing_key_file() {
    let (sandbox, _vendor, _browser) = books(Script::people());
    let key = fs::read(key_file(&sandbox)).unwrap();
    fs::remove_file(key_file(&sandbox)).unwrap();
    let said = diagnose(&sandbox, &["books"], "store", &["store.key does not exist"]);
    said.advises("or restore it from a backup");
    sandbox.give("store.key", &key);
    expect_green(&sandbox, &["books"]);

    said.advises("put a new key file of at least 32 secret bytes there, delete the folder ~/finmcp/credentials");
    sandbox.give("store.key", [9; 32]);
    delete_store(&sandbox);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &["books"]);
}

/// Before the first sign-in too: `finmcp login` could not keep anything.
#[test]
fn cure_a_missing_key_file_before_the_first_sign_in() {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::default()));
    fs::remove_file(key_file(&sandbox)).unwrap();
    let said = diagnose(&sandbox, &[&vendor.url()], "store", &["store.key does not exist"]);
    said.advises("put a new key file of at least 32 secret bytes there");
    sandbox.give("store.key", [9; 32]);
    expect_green(&sandbox, &[&vendor.url()]);
}

/// A person with a store that opens with a passphrase.
pub(super) fn with_passphrase() -> (Sandbox, Vendor, FakeBrowser) {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    sandbox.unset("FINMCP_STORE_KEY_FILE");
    sandbox.set("FINMCP_STORE_PASSPHRASE", "correct horse battery");
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", &vendor.url(), "--profile", "books"]).expect_success();
    expect_green(&sandbox, &["books"]);
    (sandbox, vendor, browser)
}

#[test]
fn cure_a_passphrase_that_is_missing_or_wrong() {
    let (mut sandbox, _vendor, _browser) = with_passphrase();
    sandbox.unset("FINMCP_STORE_PASSPHRASE");
    let said = diagnose(&sandbox, &["books"], "store", &["needs its key file or its passphrase"]);
    said.advises("set FINMCP_STORE_PASSPHRASE to the passphrase").advises("`finmcp doctor` ask for the passphrase");
    let answers = [("Passphrase for your credentials", "correct horse battery")];
    let (code, shown) = Terminal::answering(&sandbox, &["doctor".into(), "books".into()], &answers);
    assert_eq!(code, Some(0), "{shown}");
    sandbox.set("FINMCP_STORE_PASSPHRASE", "correct horse batteri");
    let said = diagnose(&sandbox, &["books"], "store", &["is encrypted with another passphrase"]);
    said.advises("or set FINMCP_STORE_PASSPHRASE to it");
    sandbox.set("FINMCP_STORE_PASSPHRASE", "correct horse battery");
    expect_green(&sandbox, &["books"]);
}

#[test]
fn cure_a_sign_in_that_is_in_another_store() {
    let (mut sandbox, _vendor, _browser) = books(Script::people());
    sandbox.set("FINMCP_STORE", "memory");
    let said = diagnose(&sandbox, &["books"], "sign-in", &["its credential is missing from"]);
    said.advises("check that FINMCP_STORE and FINMCP_CONFIG_DIR are the same as when you signed in");
    sandbox.set("FINMCP_STORE", "file");
    expect_green(&sandbox, &["books"]);
    delete_store(&sandbox);
    let said = diagnose(&sandbox, &["books"], "sign-in", &["its credential is missing from"]);
    carry_out(&sandbox, &said.command("finmcp login"));
    expect_green(&sandbox, &["books"]);
}

#[test]
fn cure_a_lock_that_is_held() {
    let (sandbox, _vendor) = signed_in_machine();
    let names = fs::read_dir(sandbox.home().join("finmcp/locks")).unwrap().map(|entry| entry.unwrap().path());
    let held: Vec<fs::File> = names.map(|path| fs::File::options().write(true).open(path).unwrap()).collect();
    assert!(held.iter().all(|file| file.lock().is_ok()) && !held.is_empty());
    let said = diagnose(&sandbox, &["--env", "sandbox"], "lock", &["has held the lock for 3 s"]);
    said.advises("wait for the other finmcp process or end it");
    drop(held);
    expect_green(&sandbox, &["--env", "sandbox"]);
}
