//! `finmcp config`: where the file is, what is wrong in it, and how it is edited.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use crate::{
    commands::{login::machine_login, settings::configure},
    support::{
        PATIENCE, eventually,
        sandbox::{Sandbox, wait},
        terminal::Terminal,
    },
};

const VALID: &str = "# mine\ndefault = \"asset\"\n";

/// Sets an editor that runs `script` on the file `$1`.
fn edit_with(sandbox: &mut Sandbox, script: &str) {
    let path = sandbox.give("editor", format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    // As people do: a command with an option.
    sandbox.set("EDITOR", format!("sh '{}'", path.display()));
}

/// Everything in finmcp's folder but the locks.
fn folder(sandbox: &Sandbox) -> Vec<String> {
    let entries = fs::read_dir(sandbox.home().join("finmcp")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "locks");
    names.sort();
    names
}

fn path(sandbox: &Sandbox) -> PathBuf {
    sandbox.home().join("finmcp/config.toml")
}

/// Also where the file is invalid or missing.
#[test]
fn c7_the_path_is_printed() {
    let sandbox = Sandbox::new();
    for text in [None, Some("no toml"), Some(VALID)] {
        if let Some(text) = text {
            configure(&sandbox, text);
        }
        let shown = sandbox.finmcp(["config", "path"]).expect_success().stdout;
        assert_eq!(shown, format!("{}\n", path(&sandbox).display()));
    }
}

#[test]
fn c7_config_check_names_every_fault_with_its_line() {
    let sandbox = Sandbox::new();
    sandbox.finmcp(["config", "check"]).expect_success();
    configure(&sandbox, VALID);
    sandbox.finmcp(["config", "check"]).expect_success().expect_stderr(&["is valid"]);
    configure(
        &sandbox,
        "defalt = 1\n[profiles.x]\nurl = \"no\"\nscope = 7\n\n[profiles.y]\nprovider = \"nope\"\na b\n",
    );
    let run = sandbox.finmcp(["config", "check"]).expect_code(2);
    let lines: Vec<&str> =
        run.stderr.lines().filter_map(|line| line.strip_prefix("line ")?.split(':').next()).collect();
    assert_eq!(lines, ["1", "3", "4", "6", "8"], "{}", run.stderr);
    assert!(
        run.stderr.lines().filter(|line| !line.starts_with("error")).all(|line| line.chars().count() <= 80),
        "{}",
        run.stderr
    );
    run.expect_stderr(&["has 5 faults", "`finmcp config edit`"]);
    // Other commands lead there.
    sandbox.finmcp(["status"]).expect_code(2).expect_stderr(&["`finmcp config check`"]);
    fs::set_permissions(path(&sandbox), fs::Permissions::from_mode(0o666)).unwrap();
    sandbox.finmcp(["config", "check"]).expect_code(5).expect_stderr(&["other users can change"]);
}

#[test]
fn c7_an_edit_is_saved_once_it_is_valid() {
    let mut sandbox = Sandbox::new();
    sandbox.finmcp(["config", "edit"]).expect_code(2).expect_stderr(&["EDITOR=nano finmcp config edit"]);
    // From nothing; the editor replaces the file, as many do.
    edit_with(&mut sandbox, "printf 'default = \"asset\"\\n' > \"$1.new\" && mv \"$1.new\" \"$1\"");
    sandbox.finmcp(["config", "edit"]).expect_success().expect_stderr(&["Saved"]);
    assert_eq!(fs::read_to_string(path(&sandbox)).unwrap(), "default = \"asset\"\n");
    assert_eq!(fs::metadata(path(&sandbox)).unwrap().permissions().mode() & 0o777, 0o600);
    // VISUAL comes first.
    let visual = sandbox.give("visual", "echo '# more' >> \"$1\"");
    sandbox.set("VISUAL", format!("sh '{}'", visual.display()));
    sandbox.finmcp(["config", "edit"]).expect_success();
    assert_eq!(fs::read_to_string(path(&sandbox)).unwrap(), "default = \"asset\"\n# more\n");
    sandbox.unset("VISUAL");
    edit_with(&mut sandbox, "true");
    sandbox.finmcp(["config", "edit"]).expect_success().expect_stderr(&["No changes"]);
    edit_with(&mut sandbox, "echo 'x = 1' >> \"$1\"; exit 3");
    sandbox.finmcp(["config", "edit"]).expect_code(1).expect_stderr(&["the editor", "exit status: 3"]);
    sandbox.set("EDITOR", "/nonexistent/editor");
    sandbox.finmcp(["config", "edit"]).expect_code(1).expect_stderr(&["the editor"]);
    assert_eq!(fs::read_to_string(path(&sandbox)).unwrap(), "default = \"asset\"\n# more\n");
    assert_eq!(folder(&sandbox), ["config.toml"], "no copy is left");
}

/// A file that is invalid can be edited: that is what the command is for. A script is not asked, and its work is kept.
#[test]
fn c7_an_invalid_edit_changes_nothing_and_is_kept() {
    let mut sandbox = Sandbox::new();
    configure(&sandbox, "defalt = \"asset\"\n");
    edit_with(&mut sandbox, "echo 'scope = 7' >> \"$1\"");
    let run = sandbox.finmcp(["config", "edit"]).expect_code(2);
    let kept = run.stderr.split("your changes are in ").nth(1).unwrap().trim().to_owned();
    run.expect_stderr(&["line 1: ", "line 2: ", "was not changed"]);
    assert_eq!(fs::read_to_string(&kept).unwrap(), "defalt = \"asset\"\nscope = 7\n");
    assert_eq!(fs::read_to_string(path(&sandbox)).unwrap(), "defalt = \"asset\"\n");
    edit_with(&mut sandbox, "sed -i s/defalt/default/ \"$1\"");
    sandbox.finmcp(["config", "edit"]).expect_success();
    assert_eq!(fs::read_to_string(path(&sandbox)).unwrap(), "default = \"asset\"\n");
}

#[test]
fn c7_a_person_is_asked_to_edit_again() {
    let mut sandbox = Sandbox::new();
    configure(&sandbox, VALID);
    // Each time it corrects or breaks the file.
    edit_with(
        &mut sandbox,
        "if grep -q defalt \"$1\"; then sed -i s/defalt/default/ \"$1\"; echo '# again' >> \"$1\"; else sed -i s/default/defalt/ \"$1\"; fi",
    );
    let terminal = Terminal::open();
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
    command.args(["config", "edit"]).stdin(terminal.stdio()).stdout(terminal.stdio()).stderr(terminal.stdio());
    let mut child = command.spawn().unwrap();
    eventually("the question", || terminal.shown().contains("Edit it again? [y/N]").then_some(()));
    assert_eq!(fs::read_to_string(path(&sandbox)).unwrap(), VALID);
    terminal.enter("y\n");
    assert_eq!(wait(&mut child, PATIENCE), Some(Some(0)), "{}", terminal.shown());
    assert_eq!(fs::read_to_string(path(&sandbox)).unwrap(), format!("{VALID}# again\n"));
}

/// A sign-in that ends while the person edits is not undone by the edit.
#[test]
fn c7_an_edit_undoes_no_sign_in() {
    let (mut sandbox, vendor) = (Sandbox::new(), crate::commands::login::machine_vendor());
    configure(&sandbox, VALID);
    edit_with(
        &mut sandbox,
        "touch \"$HOME/begun\"; until [ -e \"$HOME/go\" ]; do sleep 0.05; done; echo '# more' >> \"$1\"",
    );
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
    let child = command.args(["config", "edit"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    eventually("the editor", || sandbox.home().join("begun").exists().then_some(()));
    sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success();
    fs::write(sandbox.home().join("go"), "").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let kept = said.split("your changes are in ").nth(1).unwrap().trim();
    assert_eq!(fs::read_to_string(kept).unwrap(), format!("{VALID}# more\n"));
    sandbox.finmcp(["token", "--env", "sandbox"]).expect_success();
}

/// There is no stable address of the schema yet, so a file that finmcp creates names none.
#[test]
fn c7_a_new_file_names_no_schema() {
    let (sandbox, vendor) = (Sandbox::new(), crate::commands::login::machine_vendor());
    sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success();
    let text = fs::read_to_string(path(&sandbox)).unwrap();
    let is_placeholder = include_str!("../../../Cargo.toml").contains("github.com/OWNER/");
    assert!(is_placeholder && text.contains("[profiles.asset-sandbox]") && !text.contains("schema"), "{text}");
}

/// With a real validator: tests/run.sh installs it.
mod schema {
    use std::process::Command;

    use super::*;

    const VALIDATE: &str = "
import json, sys, tomllib, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
for path in sys.argv[2:]:
    print(jsonschema.Draft202012Validator(schema).is_valid(tomllib.load(open(path, 'rb'))))
";

    /// Each file and whether it is valid. (What no schema can know is left out: other members' names, and files.)
    const FILES: [(&str, bool); 40] = [
        ("", true),
        ("default = \"asset\"", true),
        ("default = 7", false),
        ("defalt = \"asset\"", false),
        ("client_metadata_url = \"https://a.example/client.json\"", true),
        ("client_metadata_url = \"http://a.example/client.json\"", false),
        ("client_metadata_url = \"https://a.example\"", false),
        ("[profiles.x]\nurl = \"https://a.example/mcp\"", true),
        ("[profiles.x]\nurl = \"http://127.0.0.1:3000/mcp\"", true),
        ("[profiles.x]\nurl = \"http://a.example/mcp\"", false),
        ("[profiles.x]\nurl = \"a.example/mcp\"", false),
        ("[profiles.x]\nprovider = \"asset\"", true),
        ("[profiles.x]\nscope = \"a b\"", false),
        ("[profiles.x]\nprovider = \"asset\"\nscope = 7", false),
        ("[profiles.x]\nprovider = \"asset\"\ngrant = \"device-code\"", true),
        ("[profiles.x]\nprovider = \"asset\"\ngrant = \"device_code\"", false),
        ("[profiles.x]\nprovider = \"asset\"\nbearer = \"id-token\"", true),
        ("[profiles.x]\nprovider = \"asset\"\nheaders = { a = 1 }", false),
        ("[profiles.x]\nprovider = \"asset\"\nredirect_uri = \"http://localhost:3118/callback\"", true),
        ("[profiles.x]\nprovider = \"asset\"\nredirect_uri = \"https://a.example/callback\"", false),
        (
            "[profiles.x]\nprovider = \"asset\"\nidentity_provider = { issuer = \"https://i.example\", client_id = \"c\" }",
            true,
        ),
        ("[profiles.x]\nprovider = \"asset\"\nidentity_provider = { issuer = \"https://i.example\" }", false),
        (
            "[profiles.x]\nprovider = \"asset\"\nassertion_file = \"/a\"\nidentity_provider = { issuer = \"https://i.example\", client_id = \"c\" }",
            false,
        ),
        ("[profiles.x]\nprovider = \"asset\"\noverrides = { token_endpoint_auth_method = \"none\" }", true),
        ("[profiles.x]\nprovider = \"asset\"\noverrides = { nope = true }", false),
        (
            "[profiles.x]\nprovider = \"asset\"\nsigned_in = { issuer = \"i\", resource = \"r\", client_id = \"c\", account = \"a\" }",
            true,
        ),
        ("[profiles.x]\nprovider = \"asset\"\nsigned_in = { issuer = \"i\" }", false),
        ("[providers.x]\nurl = \"https://a.example/mcp\"", true),
        ("[providers.x]\ntitle = \"X\"", false),
        ("[providers.x]\ntitle = \"\"\nurl = \"https://a.example/mcp\"", false),
        ("[providers.x]\nurl_from_person = true", true),
        ("[providers.x]\nurl = \"https://a.example/mcp\"\nurl_example = \"u\"", false),
        ("[providers.x]\nurl = \"https://a.example/mcp\"\ngrants = [\"none\"]", true),
        ("[providers.x]\nurl = \"https://a.example/mcp\"\ngrants = [\"none\", \"api-key\"]", false),
        ("[providers.x]\nurl = \"https://a.example/mcp\"\ngrants = [\"api-key\", \"api-key\"]", false),
        ("[providers.x]\nurl = \"https://a.example/mcp\"\ngrant = \"api-key\"\ngrants = [\"api-key\"]", false),
        ("[providers.x]\nurl = \"https://a.example/mcp\"\nrequests_per_minute = 0", false),
        ("[providers.x]\nurl = \"https://a.example/mcp\"\nfacts_from = \"yesterday\"", false),
        ("[providers.x]\ndefault_environment = \"live\"\nenvironments.live.url = \"https://a.example/mcp\"", true),
        ("[providers.x]\nurl = \"https://a.example/mcp\"\nenvironments.live.url = \"https://a.example/mcp\"", false),
    ];

    #[test]
    fn c7_the_schema_and_config_check_agree() {
        let sandbox = Sandbox::new();
        let mut paths = Vec::new();
        for (number, (text, valid)) in FILES.into_iter().enumerate() {
            configure(&sandbox, text);
            let code = if valid { 0 } else { 2 };
            assert_eq!(sandbox.finmcp(["config", "check"]).code, Some(code), "{text}");
            paths.push(sandbox.give(&format!("{number}.toml"), text));
        }
        let python = std::env::var("FINMCP_TEST_PYTHON").expect("tests/run.sh sets FINMCP_TEST_PYTHON");
        let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config.schema.json");
        let run = Command::new(python).args(["-c", VALIDATE, schema]).args(paths).output().unwrap();
        let said = String::from_utf8(run.stdout).unwrap();
        let judged: Vec<bool> = said.lines().map(|line| line == "True").collect();
        assert_eq!(judged.len(), FILES.len(), "{}", String::from_utf8_lossy(&run.stderr));
        for ((text, valid), judged) in FILES.into_iter().zip(judged) {
            assert_eq!(judged, valid, "by the schema: {text}");
        }
    }
}
