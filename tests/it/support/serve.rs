//! A running `finmcp serve`, seen from the AI client's end of its pipes.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{PATIENCE, sandbox::Transcript, sandbox::wait, vendor::Era};

/// The bridge as a child process. Dropping it ends it.
pub struct Serve {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Message>,
    /// What came while something else was waited for, oldest first.
    waiting: VecDeque<Message>,
    stderr: Arc<Mutex<Vec<u8>>>,
    /// Reads stderr to its end.
    reader: thread::JoinHandle<()>,
    next_id: u64,
}

/// One line of stdout: a JSON-RPC message, byte for byte.
#[derive(Debug, Clone)]
pub struct Message {
    pub raw: String,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    jsonrpc: &'a str,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
}

impl Message {
    /// Panics unless the line is one whole JSON-RPC 2.0 message (row O1).
    #[track_caller]
    fn envelope(&self) -> Envelope<'_> {
        let envelope: Envelope<'_> = serde_json::from_str(&self.raw)
            .unwrap_or_else(|error| panic!("stdout holds something else than JSON-RPC ({error}): {}", self.raw));
        assert_eq!(envelope.jsonrpc, "2.0", "{}", self.raw);
        envelope
    }

    /// The id as it is spelled.
    pub fn id(&self) -> Option<&str> {
        self.envelope().id.map(RawValue::get)
    }

    /// The method, of a request or a notification.
    pub fn method(&self) -> Option<String> {
        self.envelope().method.map(|method| serde_json::from_str(method.get()).unwrap())
    }

    /// Whether it answers the request whose id is spelled `id`.
    pub fn answers(&self, id: &str) -> bool {
        let envelope = self.envelope();
        envelope.method.is_none() && envelope.id.is_some_and(|own| own.get() == id)
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.raw).unwrap()
    }

    /// The result; panics for an error.
    #[track_caller]
    pub fn result(&self) -> Value {
        let value = self.json();
        value.get("result").unwrap_or_else(|| panic!("not a result: {}", self.raw)).clone()
    }

    /// The error; panics for a result.
    #[track_caller]
    pub fn error(&self) -> Value {
        let value = self.json();
        value.get("error").unwrap_or_else(|| panic!("not an error: {}", self.raw)).clone()
    }
}

impl Serve {
    pub fn start(mut command: Command, transcript: Transcript) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = channel();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let kept = transcript.clone();
        thread::spawn(move || {
            let mut line = Vec::new();
            while stdout.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
                kept.keep("stdout", &line);
                let whole = line.pop() == Some(b'\n');
                let raw = String::from_utf8(std::mem::take(&mut line)).expect("stdout is not UTF-8");
                assert!(whole, "stdout ends in the middle of a line: {raw}");
                if sender.send(Message { raw }).is_err() {
                    break;
                }
            }
        });
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let (collected, mut pipe) = (Arc::clone(&stderr), child.stderr.take().unwrap());
        let reader = thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut chunk) {
                collected.lock().unwrap().extend_from_slice(&chunk[..length]);
            }
            transcript.keep("stderr", &collected.lock().unwrap());
        });
        let stdin = child.stdin.take();
        Self { child, stdin, lines, waiting: VecDeque::new(), stderr, reader, next_id: 1 }
    }

    /// Everything on stderr up to now.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    /// Writes one line.
    pub fn send(&mut self, line: impl AsRef<[u8]>) {
        self.write(&[line.as_ref(), b"\n"].concat());
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("stdin is closed already");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).unwrap_or_else(|error| {
            panic!(
                "could not write to serve ({error}).\nstderr: {}",
                String::from_utf8_lossy(&self.stderr.lock().unwrap())
            )
        });
    }

    /// The next message, whatever it is.
    #[track_caller]
    pub fn next(&mut self) -> Message {
        self.first("any message", |_| true)
    }

    /// The first message, of those not taken yet, that `wanted` picks; the others stay.
    #[track_caller]
    pub fn first(&mut self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        if let Some(at) = self.waiting.iter().position(&wanted) {
            return self.waiting.remove(at).unwrap();
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(message) if wanted(&message) => return message,
                Ok(message) => self.waiting.push_back(message),
                Err(why) => panic!(
                    "no {what} ({why}); there is: {:?}\nstderr: {}",
                    self.waiting.iter().map(|message| &message.raw).collect::<Vec<_>>(),
                    self.stderr()
                ),
            }
        }
    }

    /// The answer to the request whose id is spelled `id`.
    #[track_caller]
    pub fn answer_to(&mut self, id: &str) -> Message {
        self.first(&format!("answer to {id}"), |message| message.answers(id))
    }

    /// The server's next request or notification of that method.
    #[track_caller]
    pub fn incoming(&mut self, method: &str) -> Message {
        self.first(method, |message| message.method().as_deref() == Some(method))
    }

    /// Everything that came and was not taken, once nothing more has come for `quiet`.
    pub fn rest(&mut self, quiet: Duration) -> Vec<Message> {
        while let Ok(message) = self.lines.recv_timeout(quiet) {
            self.waiting.push_back(message);
        }
        self.waiting.drain(..).collect()
    }

    /// Calls the tool `echo`, and panics unless it answers.
    #[track_caller]
    pub fn echo(&mut self, text: &str) {
        let result = self.call("echo", json!({"message": text})).result();
        assert_eq!(result["content"][0]["text"], text, "{result}");
    }

    /// Sends a request with a new id and waits for its answer.
    #[track_caller]
    pub fn request(&mut self, method: &str, params: Value) -> Message {
        let id = self.post(method, params);
        self.answer_to(&id)
    }

    /// Sends a request and gives its id, without waiting.
    pub fn post(&mut self, method: &str, params: Value) -> String {
        let id = self.next_id;
        self.next_id += 1;
        self.send(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
        id.to_string()
    }

    /// Calls a tool, in the legacy era.
    #[track_caller]
    pub fn call(&mut self, tool: &str, arguments: Value) -> Message {
        self.request("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// The legacy handshake, with a client that has roots; gives the answer to `initialize`.
    #[track_caller]
    pub fn initialize(&mut self) -> Message {
        let answer = self.request(
            "initialize",
            json!({
                "protocolVersion": "2025-11-25",
                "capabilities": {"roots": {}},
                "clientInfo": {"name": "test", "version": "1"},
            }),
        );
        self.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        answer
    }

    /// Calls a tool, in the modern era.
    #[track_caller]
    pub fn call_modern(&mut self, tool: &str, arguments: Value) -> Message {
        self.request("tools/call", modern(json!({"name": tool, "arguments": arguments})))
    }

    /// Opens the conversation as a client of `era` does; gives the answer.
    #[track_caller]
    pub fn greet(&mut self, era: Era) -> Message {
        match era {
            Era::Legacy => self.initialize(),
            Era::Modern => self.request_in(era, "server/discover", json!({})),
        }
    }

    /// Sends a request as a client of `era` does, and gives its id, without waiting.
    pub fn post_in(&mut self, era: Era, method: &str, params: Value) -> String {
        match era {
            Era::Legacy => self.post(method, params),
            Era::Modern => self.post(method, modern(params)),
        }
    }

    /// Sends a request as a client of `era` does, and waits for its answer.
    #[track_caller]
    pub fn request_in(&mut self, era: Era, method: &str, params: Value) -> Message {
        let id = self.post_in(era, method, params);
        self.answer_to(&id)
    }

    /// Calls a tool as a client of `era` does.
    #[track_caller]
    pub fn call_in(&mut self, era: Era, tool: &str, arguments: Value) -> Message {
        self.request_in(era, "tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// Says that the client will send nothing more.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal.
    #[cfg(unix)]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// The most memory that it has had in use at once, in MiB.
    #[cfg(target_os = "linux")]
    pub fn peak_memory(&self) -> usize {
        peak_memory(&self.child)
    }

    /// How long it has kept a processor busy.
    #[cfg(target_os = "linux")]
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10) // a tick of user space is a hundredth of a second on every Linux
    }

    /// Its threads, each with how often it has gone to sleep: an idle one wakes for nothing, and so the number stays.
    #[cfg(target_os = "linux")]
    pub fn sleeps(&self) -> Vec<(std::ffi::OsString, String)> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        threads
            .filter_map(|thread| {
                let thread = thread.unwrap();
                // One that has just ended has no status any more.
                let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
                let sleeps = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"))?;
                Some((thread.file_name(), sleeps.to_owned()))
            })
            .collect()
    }

    /// How much memory it has in use, in MiB.
    #[cfg(target_os = "linux")]
    pub fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        resident.trim().trim_end_matches(" kB").parse::<usize>().unwrap() >> 10
    }

    /// The path of one of its descriptors.
    #[cfg(target_os = "linux")]
    pub fn descriptor(&self, number: u32) -> std::path::PathBuf {
        format!("/proc/{}/fd/{number}", self.child.id()).into()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until no process holds the other end of stdout any more: for a bridge that is not this process's own
    /// child.
    #[cfg(unix)]
    #[track_caller]
    pub fn wait_for_closed_stdout(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(message) => self.waiting.push_back(message),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => panic!("stdout is still open after {limit:?}"),
            }
        }
    }

    /// Waits for the exit and gives the exit code (none after a signal); panics when it takes longer than `limit`.
    #[track_caller]
    pub fn exit_within(&mut self, limit: Duration) -> Option<i32> {
        let code = wait(&mut self.child, limit);
        // A process that it started may hold stderr open, so the end of stderr is not waited for without limit.
        let begun = Instant::now();
        while !self.reader.is_finished() && begun.elapsed() < Duration::from_secs(1) {
            thread::sleep(Duration::from_millis(2));
        }
        code.unwrap_or_else(|| panic!("serve still runs after {limit:?}.\nstderr: {}", self.stderr()))
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The most memory that a process has had in use at once, in MiB.
#[cfg(target_os = "linux")]
pub fn peak_memory(process: &Child) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<usize>().unwrap() >> 10
}

/// `params` with the metadata that every request of the modern era carries.
pub fn modern(mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": "test", "version": "1"});
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    params
}
