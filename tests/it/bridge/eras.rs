//! Every pair of a real client and a real server, of either era, with the bridge in between: the tools are listed, one is
//! called, and whatever else the two offer each other is used.
//!
//! `tests/run.sh` installs the clients and servers; each is a program in `tests/fixtures` on an SDK that others wrote.

use std::{
    any::Any,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
};

use rmcp::{model::ProtocolVersion, service::ClientLifecycleMode};
use serde_json::{Value, json};

use crate::{
    bridge::clients::installed,
    support::{
        peer::{
            client,
            server::{Eras, RESOURCE, RmcpServer},
        },
        sandbox::Sandbox,
    },
};

/// A client's library, and how it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// The TypeScript SDK's first generation, which knows the legacy era only.
    TypescriptFirst,
    TypescriptModern,
    PythonLegacy,
    PythonModern,
    RmcpLegacy,
    RmcpModern,
}

/// A server's library, and the eras it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// npm's `@modelcontextprotocol/server-everything`: the TypeScript SDK's first generation, with sessions.
    Everything,
    /// The same on HTTP+SSE, as of 2024-11-05.
    EverythingSse,
    /// `legacy: 'reject'`.
    TypescriptModern,
    TypescriptBoth,
    /// The Python SDK's first generation.
    PythonLegacy,
    PythonModern,
    PythonBoth,
    /// fastmcp's third generation.
    FastmcpLegacy,
    FastmcpModern,
    FastmcpBoth,
    RmcpLegacy,
    RmcpModern,
    RmcpBoth,
}

impl Client {
    fn is_modern(self) -> bool {
        matches!(self, Self::TypescriptModern | Self::PythonModern | Self::RmcpModern)
    }

    /// Has the client start `serve` and go through `plan`, and gives its report.
    fn drive(self, sandbox: &Sandbox, serve: Command, plan: &Value) -> Value {
        let fixture = |name: &str| -> PathBuf {
            [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "clients", name].iter().collect()
        };
        let mode = if self.is_modern() { "auto" } else { "legacy" };
        let mut command = match self {
            Self::TypescriptFirst | Self::TypescriptModern => {
                let mut command = sandbox.command("node");
                command.env("NODE_PATH", installed("FINMCP_TEST_NODE_MODULES")).arg(fixture("typescript.cjs"));
                command.arg(if self == Self::TypescriptFirst { "v1" } else { "v2" });
                command
            }
            Self::PythonLegacy | Self::PythonModern => {
                let mut command = sandbox.command(installed("FINMCP_TEST_PYTHON"));
                command.args(["-B", "-W", "ignore"]).arg(fixture("python.py"));
                command
            }
            Self::RmcpLegacy | Self::RmcpModern => {
                let lifecycle = if self.is_modern() {
                    ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
                } else {
                    ClientLifecycleMode::Initialize
                };
                // On several threads the client hears of things in any order.
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                return runtime.block_on(client::drive(serve, lifecycle, plan));
            }
        };
        command.arg(mode).arg(plan.to_string()).arg(serve.get_program()).args(serve.get_args());
        let printed = sandbox.run(command, Vec::new()).expect_success().stdout;
        serde_json::from_str(printed.lines().last().unwrap_or_default()).expect("a line of JSON")
    }
}

impl Server {
    fn start(self) -> Running {
        match self {
            Self::Everything => Running::node("everything.mjs", "mcp"),
            Self::EverythingSse => Running::node("everything.mjs", "sse"),
            Self::TypescriptModern => Running::node("typescript.cjs", "modern"),
            Self::TypescriptBoth => Running::node("typescript.cjs", "both"),
            Self::PythonLegacy => Running::python("FINMCP_TEST_PYTHON_LEGACY", "mcp_v1.py", ""),
            Self::PythonModern => Running::python("FINMCP_TEST_PYTHON", "mcp_v2.py", "modern"),
            Self::PythonBoth => Running::python("FINMCP_TEST_PYTHON", "mcp_v2.py", "both"),
            Self::FastmcpLegacy => Running::python("FINMCP_TEST_PYTHON_LEGACY", "fastmcp_server.py", "legacy"),
            Self::FastmcpModern => Running::python("FINMCP_TEST_PYTHON", "fastmcp_server.py", "modern"),
            Self::FastmcpBoth => Running::python("FINMCP_TEST_PYTHON", "fastmcp_server.py", "both"),
            Self::RmcpLegacy => Running::rmcp(Eras::Legacy),
            Self::RmcpModern => Running::rmcp(Eras::Modern),
            Self::RmcpBoth => Running::rmcp(Eras::Both),
        }
    }

    fn is_everything(self) -> bool {
        matches!(self, Self::Everything | Self::EverythingSse)
    }

    /// Whether a client of that era can be told of a resource's updates.
    fn has_updates(self, to_modern_client: bool) -> bool {
        match self {
            Self::PythonLegacy | Self::FastmcpLegacy => false,
            // The Python SDK's MCPServer and fastmcp have no `resources/subscribe`.
            Self::PythonBoth | Self::FastmcpBoth => to_modern_client,
            _ => true,
        }
    }

    /// Whether a client of that era can ask for log messages. The Python SDK's MCPServer does not declare that it has any,
    /// but sends some to modern clients that ask all the same.
    fn has_logs(self, to_modern_client: bool) -> bool {
        self != Self::PythonModern || to_modern_client
    }

    /// What a client does here: the tools that it calls, in the order of tests/fixtures/clients.
    fn plan(self, client: Client) -> Value {
        let mut plan = self.whole_plan(client.is_modern());
        if client == Client::RmcpModern {
            // It insists on the `elicitationId` that the modern era has given up.
            plan.as_object_mut().unwrap().remove("open");
        } else if client.is_modern() && self.is_everything() {
            // A legacy client is left with the refusal that comes first here.
            plan["insist"] = json!(["trigger-url-elicitation", {"url": "https://example.com/2", "errorPath": true}]);
        }
        plan
    }

    fn whole_plan(self, for_modern_client: bool) -> Value {
        if self.is_everything() {
            let gzip = json!({"name": "a.gz", "data": "data:text/plain,a"});
            return json!({
                "echo": ["echo", {"message": "hello"}],
                "ask": ["trigger-elicitation-request", {}],
                "sample": ["trigger-sampling-request", {"prompt": "this"}],
                "roots": ["get-roots-list", {}],
                "progress": ["trigger-long-running-operation", {"duration": 0.5, "steps": 20}],
                "log": ["toggle-simulated-logging", {}],
                "level": "debug",
                "logged": 1,
                "touch": ["toggle-subscriber-updates", {}],
                "resource": "demo://resource/static/document/architecture.md",
                "change": ["gzip-file-as-resource", gzip],
                "hang": ["trigger-long-running-operation", {"duration": 60, "steps": 1}],
                "open": ["trigger-url-elicitation", {"url": "https://example.com/"}],
            });
        }
        let mut plan = json!({
            "echo": ["echo", {"message": "hello"}],
            "ask": ["ask", {"who": "one"}],
            "pair": ["ask", [{"who": "two"}, {"who": "three"}]],
            "all": ["all", {}],
            "progress": ["progress", {"count": 20}],
            "level": "warning",
            "change": ["change", {}],
            "hang": ["hang", {}],
            "hanging": ["hanging", {}],
        });
        if matches!(self, Self::TypescriptModern | Self::TypescriptBoth) {
            plan["open"] = json!(["open", {}]);
        }
        if self.has_logs(for_modern_client) {
            plan["log"] = json!(["log", {}]);
            plan["logged"] = json!(2);
        }
        if self.has_updates(for_modern_client) {
            plan["touch"] = json!(["touch", {}]);
            plan["resource"] = json!(RESOURCE);
        }
        plan
    }
}

/// A server that runs. Dropping it ends it.
struct Running {
    url: String,
    _server: Box<dyn Any>,
}

struct Process(Child);

impl Running {
    fn node(script: &str, eras: &str) -> Self {
        let mut command = Command::new(installed("FINMCP_TEST_NODE"));
        command.env_clear().env("NODE_PATH", installed("FINMCP_TEST_NODE_MODULES"));
        Self::program(command, script, eras)
    }

    fn python(interpreter: &str, script: &str, eras: &str) -> Self {
        let mut command = Command::new(installed(interpreter));
        command.env_clear().arg("-B");
        Self::program(command, script, eras)
    }

    fn program(mut command: Command, script: &str, eras: &str) -> Self {
        let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "servers", script].iter().collect();
        command.arg(script).arg(eras).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let ready = lines.find_map(|line| serde_json::from_str::<Value>(&line).ok()).expect("the server starts");
        // It may write more, and must not block on that.
        thread::spawn(move || lines.for_each(drop));
        Self { url: ready["url"].as_str().unwrap().to_owned(), _server: Box::new(Process(child)) }
    }

    fn rmcp(eras: Eras) -> Self {
        let server = RmcpServer::start(eras);
        Self { url: server.url.clone(), _server: Box::new(server) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has `client` work with `server` through the bridge, and checks what it reports.
pub fn combine(client: Client, server: Server) {
    let sandbox = Sandbox::new();
    let running = server.start();
    let mut serve = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
    serve.arg("serve").arg(&running.url);
    let report = client.drive(&sandbox, serve, &server.plan(client));
    check(client, server, &report);
}

fn check(client: Client, server: Server, report: &Value) {
    let names = |list: &str| -> Vec<String> { serde_json::from_value(report[list].clone()).unwrap() };
    let text = |step: &str| report[step].as_str().unwrap_or_default();
    let version = text("version");
    assert_eq!(version >= "2026-07-28", client.is_modern(), "{report}");
    assert!(names("tools").contains(&"echo".to_owned()), "{report}");
    assert!(text("echo").ends_with("hello"), "{report}");
    let steps: Vec<f64> = serde_json::from_value(report["progress"].clone()).unwrap();
    let expected: Vec<f64> = (1..=20).map(f64::from).collect();
    // The TypeScript SDK's clients drop what comes together with the result, which this server sends at once.
    let enough = if server.is_everything() { 10 } else { 20 };
    assert!(steps.len() >= enough && expected.starts_with(&steps), "{report}");
    assert_eq!(report["hang"], "given up", "{report}");
    assert!(report["changed"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["ping"], if client.is_modern() { Value::Null } else { json!(true) }, "{report}");
    if server.is_everything() {
        assert!(text("ask").contains("- Name: Please provide inputs"), "{report}");
        assert!(text("sample").contains("sampled Resource trigger-sampling-request context: this"), "{report}");
        assert!(text("roots").contains("file:///a-root"), "{report}");
        assert!(!report["logged"].as_array().unwrap().is_empty(), "{report}");
    } else {
        assert_eq!(text("ask"), "hello What is one called?", "{report}");
        assert_eq!(report["pair"], json!(["hello What is two called?", "hello What is three called?"]), "{report}");
        assert_eq!(text("all"), "What is everybody called? sampled this file:///a-root", "{report}");
        assert!(names("toolsAfter").contains(&"added".to_owned()), "{report}");
    }
    if !server.is_everything() && server.has_logs(client.is_modern()) {
        // Some legacy servers send everything, whatever they are asked for.
        let logged = names("logged");
        assert!(logged == ["warning", "error"] || logged == ["debug", "info", "warning", "error"], "{report}");
        assert!(!client.is_modern() || logged.len() == 2, "{report}");
    }
    let plan = server.plan(client);
    for step in ["open", "insist"].into_iter().filter(|step| plan.get(step).is_some()) {
        let is_done = text(step) == "opened: accept" || text(step).contains("User completed the URL elicitation flow");
        assert!(is_done, "{report}");
    }
    if let Some(resource) = plan.get("resource") {
        let updated = report["updated"].as_array().unwrap();
        assert!(!updated.is_empty() && updated.iter().all(|uri| uri == resource), "{report}");
    }
}

/// A test for each pair: named after the server, in a module named after the client.
macro_rules! combinations {
    ($($module:ident: $client:ident),+ with $servers:tt) => {
        $($crate::bridge::eras::combinations!(@ $module $client $servers);)+
    };
    (@ $module:ident $client:ident { $($test:ident: $server:ident,)+ }) => {
        mod $module {
            use $crate::bridge::eras::{Client, Server, combine};
            $(#[test]
            fn $test() {
                combine(Client::$client, Server::$server);
            })+
        }
    };
}

pub(crate) use combinations;

combinations! {
    typescript_first: TypescriptFirst, typescript_modern: TypescriptModern,
    python_legacy: PythonLegacy, python_modern: PythonModern,
    rmcp_legacy: RmcpLegacy, rmcp_modern: RmcpModern
    with {
        everything: Everything, everything_sse: EverythingSse,
        typescript_modern: TypescriptModern, typescript_both: TypescriptBoth,
        python_legacy: PythonLegacy, python_modern: PythonModern, python_both: PythonBoth,
        fastmcp_legacy: FastmcpLegacy, fastmcp_modern: FastmcpModern, fastmcp_both: FastmcpBoth,
    }
}

/// These with rmcp's clients are in [`crate::support::peer`]: they need nothing installed.
mod at_rmcp {
    super::combinations! {
        typescript_first: TypescriptFirst, typescript_modern: TypescriptModern,
        python_legacy: PythonLegacy, python_modern: PythonModern
        with { rmcp_legacy: RmcpLegacy, rmcp_modern: RmcpModern, rmcp_both: RmcpBoth, }
    }
}
