//! Real AI clients' own libraries start the bridge, list tools and call one. `tests/run.sh` installs them and says
//! where they are.

use std::{env, ffi::OsString, path::PathBuf};

use serde_json::Value;

use crate::{
    commands::token::signed_in_machine,
    support::{
        sandbox::Sandbox,
        vendor::{Script, Vendor},
    },
};

/// The path in the variable `name`; these tests cannot be run without what it leads to, and do not pretend to.
pub fn installed(name: &str) -> PathBuf {
    env::var_os(name).map(PathBuf::from).unwrap_or_else(|| panic!("{name} is not set: run this test by tests/run.sh"))
}

fn driver(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "clients", name].iter().collect()
}

/// The bridge's command line, to a vendor that needs a sign-in and to one that speaks the modern protocol.
fn bridges() -> Vec<(Sandbox, Vendor, Vec<OsString>)> {
    let (sandbox, vendor) = signed_in_machine();
    let finmcp = OsString::from(env!("CARGO_BIN_EXE_finmcp"));
    let machine = [finmcp.clone(), "serve".into(), "asset".into(), "--env".into(), "sandbox".into()].into();
    let modern = Vendor::start(Script::default().modern());
    let open = [finmcp, "serve".into(), modern.url().into()].into();
    vec![(sandbox, vendor, machine), (Sandbox::new(), modern, open)]
}

/// What the drivers do: call one tool.
const PLAN: &str = r#"{"echo":["echo",{"message":"hello from a client"}]}"#;

/// Checks what a driver printed on its last line.
fn check(printed: &str) {
    let printed: Value = serde_json::from_str(printed.lines().last().unwrap_or_default()).expect("a line of JSON");
    assert_eq!(printed["echo"], "hello from a client");
    assert!(printed["tools"].as_array().is_some_and(|tools| tools.contains(&"echo".into())), "{printed}");
}

fn typescript(generation: &str, mode: &str, bridge: &(Sandbox, Vendor, Vec<OsString>)) {
    let (sandbox, vendor, serve) = bridge;
    let mut command = sandbox.command("node");
    command.env("NODE_PATH", installed("FINMCP_TEST_NODE_MODULES"));
    command.arg(driver("typescript.cjs")).args([generation, mode, PLAN]).args(serve);
    check(&sandbox.run(command, Vec::new()).expect_success().stdout);
    assert_eq!(vendor.complaints(), Vec::<String>::new());
}

#[test]
fn typescript_sdk_first_generation() {
    let bridges = bridges();
    typescript("v1", "legacy", &bridges[0]);
}

#[test]
fn typescript_sdk_second_generation() {
    let bridges = bridges();
    typescript("v2", "legacy", &bridges[0]);
    typescript("v2", "auto", &bridges[0]);
    typescript("v2", "auto", &bridges[1]);
}

#[test]
fn python_sdk() {
    for (mode, (sandbox, vendor, serve)) in ["legacy", "auto"].into_iter().zip(bridges()) {
        let mut command = sandbox.command(installed("FINMCP_TEST_PYTHON"));
        command.arg(driver("python.py")).args([mode, PLAN]).args(serve);
        check(&sandbox.run(command, Vec::new()).expect_success().stdout);
        assert_eq!(vendor.complaints(), Vec::<String>::new());
    }
}

#[test]
fn mcp_inspector() {
    for (era, (sandbox, vendor, serve)) in ["legacy", "auto"].into_iter().zip(bridges()) {
        let inspect = |method: &[&str]| {
            let mut command = sandbox.command("node");
            command.arg(installed("FINMCP_TEST_NODE_MODULES").join(".bin").join("mcp-inspector"));
            command.args(["--cli", "--format", "json", "--protocol-era", era]).args(method);
            // The Inspector passes on a few fixed variables only.
            for (name, value) in sandbox.environment().filter(|(name, _)| name.to_string_lossy().starts_with("FINMCP_"))
            {
                command.arg("-e").arg([name.as_os_str(), "=".as_ref(), value].into_iter().collect::<OsString>());
            }
            command.arg("--").args(&serve);
            let printed = sandbox.run(command, Vec::new()).expect_success().stdout;
            serde_json::from_str::<Value>(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
        };
        let tools = inspect(&["--method", "tools/list"]);
        assert_eq!(tools["result"]["tools"][0]["name"], "echo", "{tools}");
        let call = ["--method", "tools/call", "--tool-name", "echo", "--tool-arg", "message=hello"];
        let answer = inspect(&call);
        assert_eq!(answer["result"]["content"][0]["text"], "hello", "{answer}");
        assert_eq!(vendor.complaints(), Vec::<String>::new());
    }
}
