//! The rate limit among real processes, against a real server that counts for itself.
//!
//! This binary runs itself again, once for each process: [`worker`], which sends as many requests as it is told.

#![allow(clippy::disallowed_methods, clippy::panic, clippy::unwrap_used)]

use std::{
    collections::VecDeque,
    env,
    io::{BufRead as _, BufReader, Lines, Write as _},
    num::NonZeroU32,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, extract::State, routing::get};
use finmcp::{
    bridge::upstream::rate::{gate::RateGate, governor::Rate},
    credential::clock::SystemClock,
    http::Http,
    server_url::ServerUrl,
};
use http::StatusCode;

const PROCESSES: usize = 8;

/// What the server allows: this many requests in any such period, both ends included.
const LIMIT: usize = 60;
const PERIOD: Duration = Duration::from_secs(4);

/// Not a test: one of the processes. Waits for a line on stdin, with a connection that is open already.
#[test]
#[ignore = "runs inside of the other test"]
fn worker() {
    let Ok(server) = env::var("WORKER_SERVER") else { return };
    let server: ServerUrl = server.parse().unwrap();
    let requests: usize = env::var("WORKER_REQUESTS").unwrap().parse().unwrap();
    let rate = Rate::per(PERIOD, NonZeroU32::new(LIMIT.try_into().unwrap()).unwrap());
    let locks = env::var_os("WORKER_LOCKS").unwrap().into();
    let gate = Arc::new(RateGate::shared(rate, locks, "masset", &server, Arc::new(SystemClock)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Http::default().client_for(&server).unwrap().clone();
        client.get(server.join("/warm").unwrap().as_str()).send().await.unwrap();
        writeln!(std::io::stdout(), "\nready").unwrap();
        std::io::stdin().read_line(&mut String::new()).unwrap();
        let sending = (0..requests).map(|_| {
            let (gate, client, server) = (gate.clone(), client.clone(), server.clone());
            tokio::spawn(async move {
                gate.pass(Duration::MAX).await.unwrap();
                client.get(server.as_str()).send().await.unwrap();
            })
        });
        for sent in sending.collect::<Vec<_>>() {
            sent.await.unwrap();
        }
    });
}

/// A server that counts the requests of the last period, refused ones too.
#[derive(Default)]
struct Server {
    last: Mutex<VecDeque<Instant>>,
    arrived: Mutex<Vec<Instant>>,
    refused: Mutex<usize>,
}

impl Server {
    async fn start() -> (Arc<Self>, String) {
        let server = Arc::new(Self::default());
        let router = Router::new()
            .route("/mcp", get(Self::answer))
            .route("/warm", get(async || StatusCode::OK))
            .with_state(server.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (server, url)
    }

    async fn answer(State(server): State<Arc<Self>>) -> StatusCode {
        let now = Instant::now();
        server.arrived.lock().unwrap().push(now);
        let mut last = server.last.lock().unwrap();
        while last.front().is_some_and(|first| now - *first > PERIOD) {
            last.pop_front();
        }
        last.push_back(now);
        if last.len() <= LIMIT {
            return StatusCode::OK;
        }
        *server.refused.lock().unwrap() += 1;
        StatusCode::TOO_MANY_REQUESTS
    }
}

/// A process that ends with its test, and its output: the harness in it has more to say.
struct Process {
    child: Child,
    _output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(server: &str, locks: &Path, requests: usize) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "bridge::rate_limit::worker", "--ignored", "--nocapture"])
            .env("WORKER_SERVER", server)
            .env("WORKER_LOCKS", locks)
            .env("WORKER_REQUESTS", requests.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap() == "ready"));
        Self { child, _output: lines }
    }

    fn go(&mut self) {
        writeln!(self.child.stdin.as_mut().unwrap()).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has each of the processes send `requests`, with its locks in the folder that it is given; gives what the server saw.
async fn send(requests: usize, locks: impl Fn(usize) -> std::path::PathBuf) -> Arc<Server> {
    let (server, url) = Server::start().await;
    let locks: Vec<_> = (0..PROCESSES).map(locks).collect();
    tokio::task::spawn_blocking(move || {
        let mut processes: Vec<_> = locks.iter().map(|locks| Process::start(&url, locks, requests)).collect();
        processes.iter_mut().for_each(Process::go);
        assert!(processes.iter_mut().all(|process| process.child.wait().unwrap().success()));
    })
    .await
    .unwrap();
    server
}

/// t121: eight processes with more to ask than they may: not one refusal, and a burst goes at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t121_eight_processes_keep_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let locks = folder.path().join("locks");
    let server = send(15, |_| locks.clone()).await;
    let arrived = server.arrived.lock().unwrap();
    assert_eq!((arrived.len(), *server.refused.lock().unwrap()), (PROCESSES * 15, 0));
    let in_the_first_second = arrived.iter().filter(|time| **time - arrived[0] < Duration::from_secs(1)).count();
    assert!(in_the_first_second >= LIMIT / 3, "{in_the_first_second}");
}

/// The server does refuse, and it is the common place that keeps it from doing so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_do_not_meet_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = send(10, |number| folder.path().join(format!("locks-{number}"))).await;
    assert!(*server.refused.lock().unwrap() > 0);
}
