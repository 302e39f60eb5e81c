//! Servers on the OAuth stacks that most MCP servers are built on: a sign-in, a call, a refresh, a restart and a logout
//! at each. `tests/run.sh` installs them; the servers are in `tests/fixtures/stacks`.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    clients::installed,
    support::{
        browser::{FakeBrowser, Person, sign_in_at},
        eventually,
        sandbox::Sandbox,
        serve::Serve,
        visitor::visit,
    },
};

/// How long a client may wait for the answer to a call when the server has lost everything.
const SOON: Duration = Duration::from_secs(10);

/// A program of a stack: its file in `tests/fixtures/stacks`, and the variable that names its interpreter.
struct Program {
    script: &'static str,
    interpreter: &'static str,
}

const fn program(script: &'static str, interpreter: &'static str) -> Program {
    Program { script, interpreter }
}

/// The second generation of the Python SDK, and FastMCP 4 on it.
const PYTHON: &str = "FINMCP_TEST_PYTHON";
/// The first generation of the Python SDK, and FastMCP 3 on it.
const PYTHON_LEGACY: &str = "FINMCP_TEST_PYTHON_LEGACY";

/// What a stack consists of; the MCP server is the last program, and is told where the first one is.
struct Stack(&'static [Program]);

/// A stack's running programs and the folder where they keep what they have issued. Dropping it ends them.
struct Server {
    stack: &'static Stack,
    folder: TempDir,
    processes: Vec<Process>,
}

struct Process {
    child: Child,
    url: String,
}

impl Process {
    /// Starts `program`, on `port` (or a free one), with the URLs of the programs before it.
    fn start(program: &Program, folder: &Path, port: u16, before: &[Self]) -> Self {
        let script: PathBuf =
            [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "stacks", program.script].iter().collect();
        let mut command = Command::new(installed(program.interpreter));
        command.env_clear().env("HOME", folder);
        if program.interpreter.contains("PYTHON") {
            command.args(["-B", "-W", "ignore"]);
        } else {
            command.env("FINMCP_TEST_STACKS_NODE_MODULES", installed("FINMCP_TEST_STACKS_NODE_MODULES"));
        }
        command.arg(script).arg(folder).arg(port.to_string()).args(before.iter().map(|process| &process.url));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let ready = lines.find_map(|line| serde_json::from_str::<Value>(&line).ok()).expect("the server starts");
        thread::spawn(move || lines.for_each(drop));
        Self { child, url: ready["url"].as_str().unwrap().to_owned() }
    }

    fn port(&self) -> u16 {
        url::Url::parse(&self.url).unwrap().port().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends when its stdin does, and so do the programs that it has started.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Stack {
    fn start(&'static self) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server { stack: self, folder, processes: Vec::new() };
        server.start(&vec![0; self.0.len()]);
        server
    }
}

impl Server {
    fn start(&mut self, ports: &[u16]) {
        for (program, port) in self.stack.0.iter().zip(ports) {
            self.processes.push(Process::start(program, self.folder.path(), *port, &self.processes));
        }
    }

    /// The MCP endpoint.
    fn url(&self) -> &str {
        &self.processes.last().unwrap().url
    }

    /// Ends the programs and starts them again at the same places, with what they keep. Sessions are lost.
    fn restart(&mut self) {
        let ports: Vec<_> = self.processes.iter().map(Process::port).collect();
        self.processes.clear();
        self.start(&ports);
    }

    /// Like [`Self::restart`], without what they keep: sessions, clients and tokens are lost together.
    fn restart_empty(&mut self) {
        let ports: Vec<_> = self.processes.iter().map(Process::port).collect();
        self.processes.clear();
        let folder = self.folder.path();
        fs::remove_dir_all(folder).unwrap();
        fs::create_dir(folder).unwrap();
        self.start(&ports);
    }

    /// Whether the MCP server accepts this access token.
    fn accepts(&self, token: &str) -> bool {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
        ];
        let client = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
        let page = visit("POST", self.url(), &headers, hello.to_string()).unwrap();
        assert!([200, 401].contains(&page.status), "{}: {}", page.status, page.text());
        page.status == 200
    }
}

/// Calls the one tool there is, and panics unless it answers.
#[track_caller]
fn echo(serve: &mut Serve, message: &str) {
    let result = serve.call("echo", json!({"message": message})).result();
    assert_eq!(result["content"][0]["text"], message, "{result}");
}

#[track_caller]
fn login(sandbox: &mut Sandbox, url: &str) {
    let _browser = FakeBrowser::install(sandbox, Person::Consents);
    sandbox.finmcp(["login", url, "--timeout", "15"]).expect_success();
}

#[track_caller]
fn token(sandbox: &Sandbox, url: &str, options: &[&str]) -> String {
    sandbox.finmcp([&["token", url], options].concat()).expect_success().stdout.trim().to_owned()
}

/// A sign-in, a call, a refresh, a restart and a logout.
fn live_with(stack: &'static Stack) {
    let (mut sandbox, mut server) = (Sandbox::new(), stack.start());
    let url = server.url().to_owned();
    login(&mut sandbox, &url);
    let mut serve = sandbox.serve([&url]);
    serve.initialize().result();
    echo(&mut serve, "signed in");
    let first = token(&sandbox, &url, &[]);
    assert!(server.accepts(&first));

    let second = token(&sandbox, &url, &["--force-refresh"]);
    assert_ne!(first, second);
    echo(&mut serve, "refreshed");

    server.restart();
    echo(&mut serve, "restarted");
    let third = token(&sandbox, &url, &["--force-refresh"]);
    assert!(server.accepts(&third));

    drop(serve);
    sandbox.finmcp(["logout", &url]).expect_success();
    sandbox.finmcp(["token", &url]).expect_code(4);
    assert!(!server.accepts(&third), "the access token still works after the logout");
    sandbox.assert_no_secret(&[first, second, third]);
}

/// Sessions, clients and tokens are lost together. The next call is answered soon, with the address of a new sign-in,
/// and so does a sign-in in a terminal help.
fn live_through_the_loss_of_everything(stack: &'static Stack) {
    let (mut sandbox, mut server) = (Sandbox::new(), stack.start());
    let url = server.url().to_owned();
    login(&mut sandbox, &url);
    let mut serve = sandbox.serve([&url]);
    serve.initialize().result();
    echo(&mut serve, "signed in");

    server.restart_empty();
    let address = way_in(&mut serve);
    sign_in_at(&address);
    eventually("the sign-in at the offered address", || {
        let result = serve.call("echo", json!({"message": "again"})).result();
        (result["content"][0]["text"] == "again").then_some(())
    });

    server.restart_empty();
    way_in(&mut serve);
    login(&mut sandbox, &url);
    eventually("the sign-in in a terminal", || {
        let result = serve.call("echo", json!({"message": "once more"})).result();
        (result["content"][0]["text"] == "once more").then_some(())
    });
}

/// Makes a call, and gives the address at which its answer says to sign in.
#[track_caller]
fn way_in(serve: &mut Serve) -> String {
    let asked = Instant::now();
    let result = serve.call("echo", json!({"message": "hello"})).result();
    let waited = asked.elapsed();
    assert!(waited < SOON, "answered after {waited:?}: {result}");
    assert_eq!(result["isError"], true, "{result}");
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    text.lines().find(|line| line.starts_with("http")).unwrap_or_else(|| panic!("no address in {result}")).to_owned()
}

/// A module for each stack.
macro_rules! stacks {
    ($($module:ident: $programs:expr;)+) => {
        $(mod $module {
            use super::*;

            static STACK: Stack = Stack(&$programs);

            #[test]
            fn signs_in_refreshes_restarts_and_signs_out() {
                live_with(&STACK);
            }

            #[test]
            fn d9_a_server_that_lost_everything_leads_back_in() {
                live_through_the_loss_of_everything(&STACK);
            }
        })+
    };
}

stacks! {
    python_sdk: [program("simple_auth.py", PYTHON)];
    python_sdk_legacy: [program("simple_auth.py", PYTHON_LEGACY)];
    fastmcp: [program("fastmcp_memory.py", PYTHON)];
    fastmcp_legacy: [program("fastmcp_memory.py", PYTHON_LEGACY)];
}
