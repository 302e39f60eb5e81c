//! `finmcp serve --label`: the server's title and instructions say which one it is.

use serde_json::json;

use crate::{
    commands::login::{CLIENT_SECRET, machine_login},
    support::{
        sandbox::Sandbox,
        serve::{Message, modern},
        vendor::{Effect, Era, On, Reply, Script, Vendor},
    },
};

/// The server's title and instructions, in the client's era's words.
fn title_and_instructions(client: Era, answer: &Message) -> (String, String) {
    let result = answer.result();
    let server = match client {
        Era::Legacy => &result["serverInfo"],
        Era::Modern => &result["_meta"]["io.modelcontextprotocol/serverInfo"],
    };
    assert_eq!(server["name"], "test vendor");
    (server["title"].as_str().unwrap().to_owned(), result["instructions"].as_str().unwrap().to_owned())
}

/// The label of a server without a profile name.
fn host(vendor: &Vendor) -> String {
    vendor.origin().trim_start_matches("http://").to_owned()
}

#[test]
fn a_sandbox_is_labelled() {
    for (client, server) in Era::COMBINATIONS {
        let vendor = Vendor::start(Script { era: server, ..Script::machine("x", CLIENT_SECRET) });
        let sandbox = Sandbox::new();
        sandbox.finmcp(machine_login(&sandbox, &vendor)).expect_success();
        let mut serve = sandbox.serve(["asset", "--env", "sandbox", "--label"]);
        let (title, instructions) = title_and_instructions(client, &serve.greet(client));
        assert_eq!(title, "[asset-sandbox, sandbox] test vendor");
        assert_eq!(instructions, "This is Asset, environment \"sandbox\" (finmcp profile \"asset-sandbox\").");
        // A second handshake gets the same, and a tool call is unchanged.
        if client == Era::Modern {
            assert_eq!(title_and_instructions(client, &serve.greet(client)).0, title);
        }
        let result = serve.call_in(client, "echo", json!({"message": "hi"})).result();
        assert_eq!(result["content"], json!([{"type": "text", "text": "hi"}]));
        assert!(result.get("instructions").is_none());
    }
}

/// Also where finmcp answers for the server while signed out.
#[test]
fn an_unreachable_server_is_labelled_too() {
    for client in [Era::Legacy, Era::Modern] {
        let vendor = Vendor::start(Script::people());
        let sandbox = Sandbox::new();
        let mut serve = sandbox.serve([vendor.url().as_str(), "--profile", "books", "--label"]);
        let (result, host) = (serve.greet(client).result(), host(&vendor));
        assert!(result.to_string().contains(&format!("[books] {host}")), "{result}");
        assert_eq!(result["instructions"], format!("This is {host} (finmcp profile \"books\")."));
    }
}

/// Without it not a byte changes; with it nothing but the two.
#[test]
fn nothing_else_changes() {
    for era in [Era::Legacy, Era::Modern] {
        let (method, text) = match era {
            Era::Legacy => (
                "initialize",
                r#"{"jsonrpc":"2.0","id":1,"result":{"x":1.10,"serverInfo":{"title":"Books \u00e9","name":"b","n":1e400,"version":"1"},"capabilities":{"tools":{}},"instructions":"Be\u0020careful.\n","protocolVersion":"2025-06-18"}}"#,
            ),
            Era::Modern => (
                "server/discover",
                r#"{"jsonrpc":"2.0","id":1,"result":{"x":1.10,"resultType":"complete","_meta":{"y":12345678901234567890123,"io.modelcontextprotocol/serverInfo":{"title":"Books \u00e9","name":"b","version":"1"}},"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"instructions":"Be\u0020careful.\n","ttlMs":5,"cacheScope":"public"}}"#,
            ),
        };
        for flags in [&[][..], &["--label"]] {
            let (sandbox, vendor) = (Sandbox::new(), Vendor::start(Script { era, ..Script::default() }));
            vendor.fault(On::Rpc(method), Effect::Answer(Reply::new(200).body("application/json", text)));
            let (url, host) = (vendor.url(), host(&vendor));
            let mut serve = sandbox.serve([&[url.as_str(), "--profile", "books"], flags].concat());
            let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}});
            let hello = if era == Era::Modern { modern(json!({})) } else { hello };
            let expected = if flags.is_empty() {
                text.to_owned()
            } else {
                text.replace(r#""Books "#, r#""[books] Books "#)
                    .replace(r#""Be"#, &format!(r#""This is {host} (finmcp profile \"books\").\n\nBe"#))
            };
            assert_eq!(serve.request(method, hello).raw, expected);
        }
    }
}
