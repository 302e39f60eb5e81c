//! A certified OpenID provider that somebody else wrote, and an MCP server that accepts its tokens. `tests/run.sh` installs both.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    clients::installed,
    support::{
        browser::{FakeBrowser, Person},
        eventually,
        sandbox::{Run, Sandbox},
        serve::Serve,
    },
};

/// The provider and the MCP server, in a process of their own. Dropping it ends it.
struct Provider {
    child: Child,
    issuer: String,
    mcp: String,
    events: Arc<Mutex<Vec<Value>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Provider {
    fn start(options: &[&str]) -> Self {
        let script = [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "openid", "provider.cjs"];
        let mut command = Sandbox::new().command(installed("FINMCP_TEST_NODE"));
        command.env("NODE_PATH", installed("FINMCP_TEST_NODE_MODULES"));
        command.arg(script.iter().collect::<std::path::PathBuf>()).args(options).current_dir(env!("CARGO_MANIFEST_DIR"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.next().expect("the provider starts").unwrap();
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&events);
        let reader = thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        let place = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self { child, issuer: place("issuer"), mcp: place("mcp"), events, reader: Some(reader) }
    }

    /// Signs in with a browser in front of which sits `person`.
    fn sign_in(&self, sandbox: &mut Sandbox, person: Person) -> Run {
        let _browser = FakeBrowser::install(sandbox, person);
        sandbox.finmcp(["login", &self.mcp, "--timeout", "10"])
    }

    /// Ends it and gives all that happened.
    fn end(mut self) -> Events {
        drop(self.child.stdin.take());
        self.reader.take().unwrap().join().unwrap();
        Events(std::mem::take(&mut *self.events.lock().unwrap()))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What happened at the provider and at the MCP server.
struct Events(Vec<Value>);

impl Events {
    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |event| event["event"] == kind)
    }

    fn grants(&self, grant: &str) -> usize {
        self.of("token").filter(|event| event["grant"] == grant).count()
    }

    fn secrets(&self) -> Vec<String> {
        self.of("token").flat_map(|event| serde_json::from_value::<Vec<String>>(event["secrets"].clone()).unwrap()).collect()
    }

    /// How often the MCP server refused a token.
    fn refused(&self) -> usize {
        self.of("mcp").filter(|event| event["status"] == 401 && event["bare"] == false).count()
    }

    /// Panics unless one person signed in once, and nothing went wrong since.
    #[track_caller]
    fn expect_one_sign_in(&self) {
        let counts = [self.of("registration").count(), self.of("authorization").count(), self.grants("authorization_code")];
        assert_eq!(counts, [1, 1, 1], "registrations, authorizations, codes");
        assert_eq!(self.of("error").collect::<Vec<_>>(), Vec::<&Value>::new());
        assert_eq!(self.of("revoked").count(), 0, "a refresh token was used twice");
    }
}

/// Calls the one tool there is, and panics unless it answers.
#[track_caller]
fn echo(serve: &mut Serve, message: &str) {
    let result = serve.call("echo", json!({"message": message})).result();
    assert_eq!(result["content"][0]["text"], message);
}

/// t057, t058, t063: one sign-in, then bridges and scripts at once on one rotating refresh token, each use of which but the first ends the sign-in.
#[test]
fn many_processes_live_on_one_sign_in_through_many_lifetimes() {
    const LIFE: Duration = Duration::from_secs(12);
    let (mut sandbox, provider) = (Sandbox::new(), Provider::start(&[]));
    provider.sign_in(&mut sandbox, Person::Consents).expect_success();
    let begun = Instant::now();
    thread::scope(|scope| {
        for number in 0..8 {
            let (sandbox, mcp) = (&sandbox, &provider.mcp);
            scope.spawn(move || {
                let mut serve = (number % 2 == 0).then(|| sandbox.serve([mcp]));
                if let Some(serve) = &mut serve {
                    serve.initialize().result();
                }
                while begun.elapsed() < LIFE {
                    match &mut serve {
                        Some(serve) => echo(serve, "hello"),
                        None => drop(sandbox.finmcp(["token", mcp]).expect_success()),
                    }
                    thread::sleep(Duration::from_millis(500));
                }
            });
        }
    });
    let lived = begun.elapsed();
    let events = provider.end();
    events.expect_one_sign_in();
    let refreshes = events.grants("refresh_token");
    // The provider counts in whole seconds, so that a token of 5 s lives for 4 s at the least; it is replaced a tenth before its end.
    let most = lived.as_secs_f64() / 3.6 + 1.0;
    assert!(refreshes >= 2 && refreshes as f64 <= most, "{refreshes} refreshes in {lived:?}");
    assert!(events.of("mcp").filter(|event| event["method"] == "tools/call").count() >= 40);
    assert_eq!(events.refused(), 0, "no call was sent with a token that had ended");
    sandbox.assert_no_secret(&events.secrets());
}
