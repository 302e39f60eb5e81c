//! One of the many: a bridge that is kept calling, or a script that wants a token now and then.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Lines, Read as _, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::{Pid, Signal, kill_process};

use super::figures::times;
use crate::support::{
    PATIENCE,
    sandbox::{Sandbox, wait},
};

/// What it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// `finmcp serve`, and a tool.
    Tool,
    /// `finmcp token`.
    Token,
}

pub struct Process<'a> {
    sandbox: &'a Sandbox,
    url: &'a str,
    log: PathBuf,
    /// The processes so far, and when they were started.
    starts: Mutex<Vec<(SystemTime, u32)>>,
    pub calls: Calls,
    /// Whether it may be gone at any time.
    under_fire: bool,
    /// The process of now.
    running: Mutex<Option<Running>>,
    pipes: Mutex<Option<Pipes>>,
    signed_out: Mutex<Option<String>>,
    pub put_off: AtomicUsize,
    pub gone: AtomicUsize,
    pub waits: Mutex<Vec<Duration>>,
}

struct Running {
    child: Child,
    /// Whether a signal was sent to it, and whether one that it may be told once.
    is_hit: bool,
    is_told_to_end: bool,
}

struct Pipes {
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    last_id: u64,
}

/// How a bridge says that the server rejects what is fresh.
const PUT_OFF: [&str; 2] = ["the server rejects a token that was just issued", "the server refuses the credential"];

/// What came of a call.
enum Outcome {
    Answered,
    /// Not now. It was the one to renew the last token, too, which the server has ended early, and leaves this one to
    /// others; or the token that it had from others has ended on its way, too.
    PutOff,
    /// With what was said.
    SignedOut(String),
    Gone,
}

impl<'a> Process<'a> {
    pub fn new(sandbox: &'a Sandbox, url: &'a str, number: usize, calls: Calls, under_fire: bool) -> Self {
        Self {
            sandbox,
            url,
            log: sandbox.watched().join(format!("log-{number}")),
            starts: Mutex::default(),
            calls,
            under_fire,
            running: Mutex::default(),
            pipes: Mutex::default(),
            signed_out: Mutex::default(),
            put_off: AtomicUsize::default(),
            gone: AtomicUsize::default(),
            waits: Mutex::default(),
        }
    }

    /// Calls until there is an answer; in a new process, where the old one is gone.
    pub fn turn(&self) -> Result<(), String> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let outcome = match self.calls {
                Calls::Tool => self.call()?,
                Calls::Token => self.token()?,
            };
            match outcome {
                Outcome::Answered => {
                    self.waits.lock().unwrap().push(begun.elapsed());
                    return Ok(());
                }
                Outcome::SignedOut(words) => {
                    *self.signed_out.lock().unwrap() = Some(words);
                    return Ok(());
                }
                Outcome::PutOff => {
                    self.put_off.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(20));
                }
                Outcome::Gone => {
                    self.gone.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        Err(format!("{:?}: no answer in {PATIENCE:?}", self.calls))
    }

    /// The words in which it reported to be signed out, since this was last asked.
    pub fn was_signed_out(&self) -> Option<String> {
        self.signed_out.lock().unwrap().take()
    }

    /// Ends a bridge as a client does.
    pub fn end(&self) {
        drop(self.pipes.lock().unwrap().take());
        if let Some(mut running) = self.running.lock().unwrap().take() {
            assert!(wait(&mut running.child, PATIENCE).is_some(), "it does not end");
        }
    }

    /// Sends a signal, and after a pause the one that continues it where it is stopped; calls `note` with its id before.
    /// Does nothing where it is gone already, or has been told that before.
    pub fn signal(&self, signal: Signal, pause: Duration, note: impl FnOnce(u32)) {
        // Held all the while: a process that is not waited for keeps its id.
        let mut running = self.running.lock().unwrap();
        let Some(running) = running.as_mut() else { return };
        if running.child.try_wait().unwrap().is_some() {
            return;
        }
        if signal == Signal::TERM && std::mem::replace(&mut running.is_told_to_end, true) {
            // A second signal of that kind ends it at once, and loses what is under way.
            return;
        }
        note(running.child.id());
        let id = Pid::from_child(&running.child);
        running.is_hit |= signal != Signal::STOP;
        kill_process(id, signal).unwrap();
        if signal == Signal::STOP {
            thread::sleep(pause);
            kill_process(id, Signal::CONT).unwrap();
        }
    }

    /// The process of now.
    pub fn id(&self) -> Option<u32> {
        self.running.lock().unwrap().as_ref().map(|running| running.child.id())
    }

    /// What all of them have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// When it had the lock before `time`, and with which id.
    pub fn locks_before(&self, time: SystemTime) -> Vec<(SystemTime, u32)> {
        let (log, starts) = (self.log(), self.starts.lock().unwrap());
        let id_at = |time: SystemTime| starts.iter().rev().find(|(start, _)| *start <= time).map(|(_, id)| *id);
        let locks = times(&log, "acquired the lock").filter(|lock| *lock < time);
        locks.filter_map(|lock| Some((lock, id_at(lock)?))).collect()
    }

    fn start(&self, arguments: &[&str]) -> (ChildStdin, ChildStdout) {
        let log = File::options().append(true).create(true).open(&self.log).unwrap();
        let mut finmcp = self.sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
        finmcp.args(arguments).env("FINMCP_LOG", "debug");
        let begun = SystemTime::now();
        let mut child = finmcp.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        self.starts.lock().unwrap().push((begun, child.id()));
        let pipes = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        *self.running.lock().unwrap() = Some(Running { child, is_hit: false, is_told_to_end: false });
        pipes
    }

    /// Waits for the end of the process, and gives its exit code.
    fn reap(&self) -> Result<Option<i32>, String> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let mut running = self.running.lock().unwrap();
            if let Some(status) = running.as_mut().and_then(|running| running.child.try_wait().unwrap()) {
                let is_hit = running.take().is_some_and(|running| running.is_hit);
                return match status.code() {
                    Some(0 | 4) => Ok(status.code()),
                    _ if is_hit && self.under_fire => Ok(None),
                    code => Err(format!("{:?} ended on its own: {code:?}", self.calls)),
                };
            }
            drop(running);
            thread::sleep(Duration::from_millis(1));
        }
        Err(format!("{:?} does not end", self.calls))
    }

    fn token(&self) -> Result<Outcome, String> {
        let (stdin, mut stdout) = self.start(&["token", self.url]);
        drop(stdin);
        let mut text = String::new();
        stdout.read_to_string(&mut text).map_err(|error| error.to_string())?;
        match self.reap()? {
            Some(0) if text.starts_with("access-token-") => Ok(Outcome::Answered),
            Some(4) => Ok(Outcome::SignedOut("token: exit code 4".to_owned())),
            None => Ok(Outcome::Gone),
            code => Err(format!("token: {code:?}, {text:?}")),
        }
    }

    fn call(&self) -> Result<Outcome, String> {
        let mut pipes = self.pipes.lock().unwrap();
        if pipes.is_none() {
            let (stdin, stdout) = self.start(&["serve", self.url, "--sign-in", "off"]);
            let mut fresh = Pipes { stdin, lines: BufReader::new(stdout).lines(), last_id: 0 };
            let hello =
                r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"stress","version":"1"}}"#;
            if fresh.request("initialize", hello).is_some() {
                fresh.write(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
            }
            *pipes = Some(fresh);
        }
        let answer = pipes.as_mut().unwrap().request("tools/call", r#"{"name":"echo","arguments":{"message":"hi"}}"#);
        let Some(answer) = answer else {
            *pipes = None;
            drop(pipes);
            // A bridge that is told to end does so in good order.
            let is_under_fire = self.under_fire;
            return match self.reap()? {
                Some(_) if !is_under_fire => Err("serve ended on its own".to_owned()),
                _ => Ok(Outcome::Gone),
            };
        };
        match &answer {
            answer if answer.contains(r#""text":"hi""#) => Ok(Outcome::Answered),
            answer if PUT_OFF.iter().any(|reason| answer.contains(reason)) => Ok(Outcome::PutOff),
            answer if answer.contains("-31004") => Ok(Outcome::SignedOut(answer.clone())),
            answer if self.under_fire && answer.contains("finmcp was stopped") => Ok(Outcome::Gone),
            answer => Err(format!("serve: {answer}")),
        }
    }
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.lock().unwrap().take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

impl Pipes {
    /// The answer; none where the process is gone.
    fn request(&mut self, method: &str, params: &str) -> Option<String> {
        self.last_id += 1;
        let id = self.last_id;
        self.write(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#));
        let id = format!(r#""id":{id},"#);
        let is_answer = |line: &String| line.replace('}', ",").contains(&id) && !line.contains(r#""method""#);
        self.lines.by_ref().map_while(Result::ok).find(is_answer)
    }

    /// Writes a line. A process that is gone has not answered either.
    fn write(&mut self, line: &str) {
        let _ = writeln!(self.stdin, "{line}");
    }
}
