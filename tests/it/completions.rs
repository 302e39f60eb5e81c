//! The completions that the repository holds are the ones that the binary prints.

use std::{fs, path::Path};

use crate::support::sandbox::Sandbox;

#[test]
fn the_committed_completions_are_current() {
    for (shell, file) in [("bash", "finmcp.bash"), ("zsh", "_finmcp"), ("fish", "finmcp.fish")] {
        let printed = Sandbox::new().finmcp(["completions", shell]).expect_success().stdout;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions").join(file);
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(printed == committed, "out of date: finmcp completions {shell} > completions/{file}");
    }
}
