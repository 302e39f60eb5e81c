//! An independent implementation at the other end of the pipe: rmcp's own client, in both eras.

pub mod client;
pub mod server;

use rmcp::{
    model::{CallToolRequestParams, ProtocolVersion},
    service::{ClientLifecycleMode, ClientServiceExt as _},
    transport::TokioChildProcess,
};
use serde_json::json;

use crate::support::{
    sandbox::Sandbox,
    vendor::{Answer, Script, Vendor},
};

async fn talk(script: Script, lifecycle: ClientLifecycleMode) {
    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
    command.arg("serve").arg(vendor.url());
    let bridge = TokioChildProcess::new(tokio::process::Command::from(command)).unwrap();
    let client =
        ().serve_with_lifecycle(bridge, lifecycle.clone())
            .await
            .unwrap_or_else(|error| panic!("{lifecycle:?}: {error:?}"));
    let tools = client.list_all_tools().await.unwrap();
    assert!(tools.iter().any(|tool| tool.name == "echo"), "{lifecycle:?}");
    let arguments = json!({"message": "hello from a peer"}).as_object().unwrap().clone();
    let result = client.call_tool(CallToolRequestParams::new("echo").with_arguments(arguments)).await.unwrap();
    assert_eq!(result.content[0].as_text().unwrap().text, "hello from a peer", "{lifecycle:?}");
    client.cancel().await.unwrap();
    assert_eq!(vendor.complaints(), Vec::<String>::new(), "{lifecycle:?}");
}

fn modern() -> Vec<ProtocolVersion> {
    vec![ProtocolVersion::V_2026_07_28]
}

#[tokio::test]
async fn a_legacy_client_at_a_legacy_server() {
    for answer in [Answer::Json, Answer::Events] {
        talk(Script { answer, ..Script::default() }, ClientLifecycleMode::Initialize).await;
    }
}

#[tokio::test]
async fn a_modern_client_at_a_modern_server() {
    for answer in [Answer::Json, Answer::Events] {
        let lifecycle = ClientLifecycleMode::Discover { preferred_versions: modern() };
        talk(Script { answer, ..Script::default().modern() }, lifecycle).await;
    }
}

#[tokio::test]
async fn a_client_that_finds_out_for_itself() {
    for script in [Script::default(), Script::default().modern()] {
        let lifecycle = ClientLifecycleMode::Auto { preferred_versions: modern(), legacy_version: None };
        talk(script, lifecycle).await;
    }
}

/// rmcp at both ends, and everything that the two can offer each other.
mod at_both_ends {
    crate::bridge::eras::combinations! {
        rmcp_legacy: RmcpLegacy, rmcp_modern: RmcpModern
        with { rmcp_legacy: RmcpLegacy, rmcp_modern: RmcpModern, rmcp_both: RmcpBoth, }
    }
}
