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
    bridge::clients::installed,
    support::{
        browser::{FakeBrowser, Person, sign_in_at},
        eventually,
        sandbox::Sandbox,
        serve::Serve,
        visitor::visit,
        wire::{Fault, Way, Wire},
    },
};

/// How long a client may wait for the answer to a call when the server has lost everything.
const SOON: Duration = Duration::from_secs(10);

/// A program of a stack: the variable that names its interpreter, its file in `tests/fixtures/stacks`, and its first
/// arguments.
struct Program(&'static str, &'static str, &'static [&'static str]);

/// The second generation of the Python SDK, and FastMCP 4 on it.
const PYTHON: &str = "FINMCP_TEST_PYTHON";
/// The first generation of the Python SDK, and FastMCP 3 on it.
const PYTHON_LEGACY: &str = "FINMCP_TEST_PYTHON_LEGACY";
const DJANGO: &str = "FINMCP_TEST_STACKS_DJANGO";
const NODE: &str = "FINMCP_TEST_NODE";
const NODE_MODULES: &str = "FINMCP_TEST_STACKS_NODE_MODULES";

/// The programs that a server consists of, of which the last is the MCP server. Each is told where those before it are.
struct Stack {
    programs: &'static [Program],
    /// Whether people sign in at an OpenID provider in front of which this stack stands, and which stays up.
    has_provider: bool,
    /// Whether the server looks tokens up, so that one that is revoked ends at once.
    looks_tokens_up: bool,
}

const fn stack(programs: &'static [Program]) -> Stack {
    Stack { programs, has_provider: false, looks_tokens_up: true }
}

const fn stack_before_provider(programs: &'static [Program]) -> Stack {
    Stack { has_provider: true, looks_tokens_up: false, ..stack(programs) }
}

/// A stack's running programs and the folder where they keep what they have issued. Dropping it ends them.
struct Server {
    stack: &'static Stack,
    folder: TempDir,
    provider: Option<Process>,
    processes: Vec<Process>,
}

struct Process {
    child: Child,
    url: String,
}

impl Process {
    /// Starts `program` on `port`, or on a free one where that is 0.
    fn start(program: &Program, folder: &Path, port: u16, before: &[&str]) -> Self {
        let Program(interpreter, script, arguments) = *program;
        let mut command = Command::new(installed(interpreter));
        command.env_clear().env("HOME", folder);
        if interpreter == NODE {
            command.env(NODE_MODULES, installed(NODE_MODULES));
        } else {
            command.args(["-B", "-W", "ignore"]).env("FASTMCP_LOG_LEVEL", "ERROR");
        }
        command.arg(fixture("stacks", script)).args(arguments).arg(folder).arg(port.to_string()).args(before);
        Self::launch(command, "url")
    }

    /// The certified provider of [`crate::security::openid`].
    fn provider() -> Self {
        let mut command = Command::new(installed(NODE));
        command.env_clear().env("NODE_PATH", installed("FINMCP_TEST_NODE_MODULES"));
        command.arg(fixture("openid", "provider.cjs")).arg("--lifetime=3600");
        Self::launch(command, "issuer")
    }

    /// Starts `command` and waits for the line of JSON that says where it is, under `name`.
    fn launch(mut command: Command, name: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let ready = lines.find_map(|line| serde_json::from_str::<Value>(&line).ok()).expect("the server starts");
        thread::spawn(move || lines.for_each(drop));
        Self { child, url: ready[name].as_str().unwrap().to_owned() }
    }

    fn port(&self) -> u16 {
        url::Url::parse(&self.url).unwrap().port().unwrap()
    }
}

fn fixture(folder: &str, name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", folder, name].iter().collect()
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
        let provider = self.has_provider.then(Process::provider);
        let mut server = Server { stack: self, folder: tempfile::tempdir().unwrap(), provider, processes: Vec::new() };
        server.start(&vec![0; self.programs.len()]);
        server
    }
}

impl Server {
    fn start(&mut self, ports: &[u16]) {
        for (program, port) in self.stack.programs.iter().zip(ports) {
            let before: Vec<_> = self.provider.iter().chain(&self.processes).map(|other| other.url.as_str()).collect();
            self.processes.push(Process::start(program, self.folder.path(), *port, &before));
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
    serve.echo("signed in");
    let first = token(&sandbox, &url, &[]);
    assert!(server.accepts(&first));

    let second = token(&sandbox, &url, &["--force-refresh"]);
    assert_ne!(first, second);
    serve.echo("refreshed");

    server.restart();
    serve.echo("restarted");
    let third = token(&sandbox, &url, &["--force-refresh"]);
    assert!(server.accepts(&third));

    drop(serve);
    let logout = sandbox.finmcp(["logout", &url]).expect_success();
    sandbox.finmcp(["token", &url]).expect_code(4);
    assert!(!stack.looks_tokens_up || !server.accepts(&third), "still good after: {}", logout.stderr);
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
    serve.echo("signed in");

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

/// workerd answers 401 as soon as it has the head of a request, and closes the connection when it does not have the
/// body by then.
#[test]
fn d3_an_answer_that_comes_before_the_request_is_read_breaks_nothing() {
    static STACK: Stack = stack(&[Program(NODE, "workers.mjs", &["workers-oauth-provider-before"])]);
    let server = STACK.start();
    let wire = Wire::to(server.processes[0].port());
    for _ in 0..5 {
        wire.plan(Way::Request, 0, Fault::Drip(Duration::from_millis(1)));
        login(&mut Sandbox::new(), &wire.url());
        assert!(wire.is_done());
    }
}

/// A module for each stack.
macro_rules! stacks {
    ($($module:ident: $stack:expr;)+) => {
        $(mod $module {
            use super::*;

            static STACK: Stack = $stack;

            #[test]
            fn signs_in_refreshes_restarts_and_signs_out() {
                live_with(&STACK);
            }

            #[test]
            fn d9_a_server_that_lost_everything_leads_to_a_new_sign_in() {
                live_through_the_loss_of_everything(&STACK);
            }
        })+
    };
}

stacks! {
    python_sdk: stack(&[Program(PYTHON, "simple_auth.py", &[])]);
    python_sdk_legacy: stack(&[Program(PYTHON_LEGACY, "simple_auth.py", &[])]);
    fastmcp: stack(&[Program(PYTHON, "fastmcp_memory.py", &[])]);
    fastmcp_legacy: stack(&[Program(PYTHON_LEGACY, "fastmcp_memory.py", &[])]);
    django: stack(&[Program(DJANGO, "django_provider.py", &[]), Program(PYTHON, "resource_server.py", &[])]);
    workers: stack(&[Program(NODE, "workers.mjs", &["@cloudflare/workers-oauth-provider"])]);
    workers_before: stack(&[Program(NODE, "workers.mjs", &["workers-oauth-provider-before"])]);
    // FastMCP's proxy in front of an OpenID provider issues its own tokens, and goes on taking them after it has
    // revoked them.
    fastmcp_proxy: stack_before_provider(&[Program(PYTHON, "fastmcp_proxy.py", &[])]);
    fastmcp_proxy_legacy: stack_before_provider(&[Program(PYTHON_LEGACY, "fastmcp_proxy.py", &[])]);
    // Its access tokens are JWTs.
    better_auth: Stack { looks_tokens_up: false, ..stack(&[Program(NODE, "better_auth.mjs", &[])]) };
}
