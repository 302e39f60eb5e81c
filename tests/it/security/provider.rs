//! The certified OpenID provider (oidc-provider) and its MCP server, in a separate process, and what happened there.
//! `tests/run.sh` installs it.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

use crate::bridge::clients::installed;

/// The process of a script of `tests/fixtures/openid`. Dropping it ends the process.
pub struct Provider {
    child: Child,
    pub issuer: String,
    pub mcp: String,
    events: Arc<Mutex<Vec<Value>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Provider {
    pub fn start(script: &str, options: &[impl AsRef<OsStr>]) -> Self {
        let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "openid", script].iter().collect();
        let mut command = Command::new(installed("FINMCP_TEST_NODE"));
        command.env_clear().env("NODE_PATH", installed("FINMCP_TEST_NODE_MODULES")).arg(script).args(options);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready: Value = serde_json::from_str(&lines.next().expect("the provider starts").unwrap()).unwrap();
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

    /// What has happened. Something that comes after the provider's last answer may be missing.
    pub fn so_far(&self) -> Events {
        Events(self.events.lock().unwrap().clone())
    }

    /// Ends it and gives all that happened.
    pub fn end(mut self) -> Events {
        drop(self.child.stdin.take());
        self.reader.take().unwrap().join().unwrap();
        self.so_far()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What happened at the provider and at the MCP server.
pub struct Events(Vec<Value>);

impl Events {
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |event| event["event"] == kind)
    }

    pub fn grants(&self, grant: &str) -> usize {
        self.of("token").filter(|event| event["grant"] == grant).count()
    }

    /// What went wrong, and where.
    pub fn errors(&self) -> Vec<(&str, &str)> {
        self.of("error").map(|event| (event["at"].as_str().unwrap(), event["error"].as_str().unwrap())).collect()
    }

    pub fn secrets(&self) -> Vec<String> {
        let secrets = |event: &Value| serde_json::from_value::<Vec<String>>(event["secrets"].clone()).unwrap();
        self.of("token").flat_map(secrets).collect()
    }
}
