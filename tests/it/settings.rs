//! `config.toml`: the person's own file.

use std::fs;

use crate::support::sandbox::Sandbox;

/// Writes `config.toml`, as a person does.
fn configure(sandbox: &Sandbox, text: &str) -> std::path::PathBuf {
    let folder = sandbox.home().join("finmcp");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("config.toml");
    fs::write(&path, text).unwrap();
    path
}

/// What is wrong is shown where it is, line by line.
#[test]
fn a_mistake_is_shown_in_its_place() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "default = \"asset\"\nprofile = 7\n");
    sandbox.finmcp(["token"]).expect_code(2).expect_stderr(&["config.toml", "\n    2 | profile = 7\n"]);
}
