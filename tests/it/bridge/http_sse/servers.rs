//! Servers by other authors, on the two SDKs. `tests/run.sh` installs both.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use super::*;
use crate::bridge::clients::installed;

/// A server process. Dropping it ends it.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { child, url: url.trim().to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "servers", name].iter().collect()
}

/// Both eras' clients, at a server that is met for the first time and at one that is known.
fn talk(server: &Server, said: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    for _ in 0..2 {
        let mut serve = sandbox.serve([&server.url]);
        serve.initialize().result();
        let tools = serve.request("tools/list", json!({})).result();
        assert!(tools["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "echo"), "{tools}");
        assert_eq!(serve.call("echo", json!({"message": "hi"})).result()["content"][0]["text"], said);
        serve.close_stdin();
        serve.exit_within(SOON);

        let mut serve = sandbox.serve([&server.url]);
        serve.request("server/discover", modern(json!({}))).result();
        let tools = serve.request("tools/list", modern(json!({}))).result();
        assert!(tools["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "echo"), "{tools}");
        assert_eq!(serve.call_modern("echo", json!({"message": "hi"})).result()["content"][0]["text"], said);
    }
    sandbox
}

#[test]
fn typescript_sdk() {
    let modules = installed("FINMCP_TEST_NODE_MODULES");
    let mut command = Command::new(installed("FINMCP_TEST_NODE"));
    command.arg(script("http_sse.mjs")).arg(modules);
    let server = Server::start(command);
    let sandbox = talk(&server, "Echo: hi");
    // It asks for the client's roots unprompted, and tells that it has them.
    let mut serve = sandbox.serve([&server.url]);
    serve.initialize().result();
    let question = serve.incoming("roots/list");
    let id = question.id().unwrap();
    serve.send(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"roots":[{{"uri":"file:///a"}}]}}}}"#));
    let told = serve.incoming("notifications/message").json();
    assert!(told["params"]["data"].as_str().unwrap().contains("1 root(s)"), "{told}");
}

#[test]
fn python_sdk() {
    let mut command = Command::new(installed("FINMCP_TEST_PYTHON"));
    command.arg(script("http_sse.py"));
    talk(&Server::start(command), "hi");
}
