//! The AI client's side of a contestant, on one thread: writes lines to its stdin and reads lines from its stdout.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    check::{Damage, check, is_result},
    client::{Client, ensure_whole},
    script,
    server::Era,
};

/// How long to wait for missing notifications after their result.
const AFTERMATH: Duration = Duration::from_millis(300);

/// A contestant as a child process. Dropping it kills the process.
pub struct Piped {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    /// The unprocessed output, and how much of it has been processed.
    unread: Vec<u8>,
    taken: usize,
    chunk: Box<[u8]>,
    era: Era,
    last_id: u64,
    begun: Instant,
    /// How long any response may take.
    patience: Duration,
    complaints: PathBuf,
}

/// How to end a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    EndOfInput,
    Terminate,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl Piped {
    /// Starts `command`, with its stderr in a file in `folder`.
    pub fn start(mut command: Command, folder: &Path, era: Era, patience: Duration) -> Result<Self> {
        let complaints = folder.join("stderr");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&complaints)?);
        let begun = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let stdout = child.stdout.take().context("no stdout")?;
        let stdin = child.stdin.take();
        let chunk = vec![0; 256 << 10].into();
        Ok(Self {
            child,
            stdin,
            stdout,
            unread: Vec::new(),
            taken: 0,
            chunk,
            era,
            last_id: 0,
            begun,
            patience,
            complaints,
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Sends the first request and waits for the response.
    pub fn greet(&mut self) -> Result<()> {
        let id = self.next_id();
        let greeting = script::greeting(self.era, id);
        self.ask(&greeting, id)
    }

    /// Continues to the first tool result.
    pub fn reach_first_result(&mut self) -> Result<()> {
        if let Some(acknowledgement) = script::acknowledgement(self.era) {
            self.send(&[acknowledgement.as_bytes(), b"\n"].concat())?;
        }
        let id = self.next_id();
        let list = script::list(self.era, id);
        self.ask(&list, id)?;
        self.call().map(drop)
    }

    /// Ends the process and returns how long that took.
    pub fn end(mut self, farewell: Farewell) -> Result<Duration> {
        let told = Instant::now();
        match farewell {
            Farewell::EndOfInput => self.stdin = None,
            Farewell::Terminate => {
                let id = Pid::from_raw(self.child.id().cast_signed()).context("no process")?;
                kill_process(id, Signal::TERM)?;
            }
        }
        while self.child.try_wait()?.is_none() {
            ensure!(told.elapsed() < self.patience, "still running {:?} after it was told to end", self.patience);
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(told.elapsed())
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn ask(&mut self, message: &str, id: u64) -> Result<()> {
        self.send(&[message.as_bytes(), b"\n"].concat())?;
        while answered(self.line()?)? != Some(id) {}
        Ok(())
    }

    fn send(&mut self, lines: &[u8]) -> Result<()> {
        let stdin = self.stdin.as_mut().context("stdin is closed")?;
        let sent = stdin.write_all(lines);
        sent.map_err(|error| self.failure(&format!("it accepts no more input ({error})")))
    }

    /// The next line, without its line end.
    fn line(&mut self) -> Result<&[u8]> {
        self.discard_processed();
        let mut scanned = 0;
        let end = loop {
            if let Some(offset) = memchr::memchr(b'\n', &self.unread[scanned..]) {
                break scanned + offset;
            }
            scanned = self.unread.len();
            self.read()?;
        };
        self.taken = end + 1;
        Ok(&self.unread[..end])
    }

    fn discard_processed(&mut self) {
        self.unread.drain(..std::mem::take(&mut self.taken));
    }

    /// Waits for output and reads it.
    fn read(&mut self) -> Result<()> {
        if !self.is_ready(self.patience)? {
            return Err(self.failure(&format!("no answer within {:?}", self.patience)));
        }
        let length = self.stdout.read(&mut self.chunk)?;
        if length == 0 {
            return Err(self.failure("it ended before it answered"));
        }
        self.unread.extend_from_slice(&self.chunk[..length]);
        Ok(())
    }

    fn is_ready(&self, patience: Duration) -> Result<bool> {
        let stdout = self.stdout.as_fd();
        let limit = Timespec::try_from(patience)?;
        Ok(poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&limit))? > 0)
    }

    /// The error `what`, with the last line of the contestant's stderr.
    fn failure(&self, what: &str) -> anyhow::Error {
        let complaints = fs::read_to_string(&self.complaints).unwrap_or_default();
        match complaints.lines().rev().find(|line| !line.trim().is_empty()) {
            Some(last) => anyhow!("{what}; the last line on its stderr: {last}"),
            None => anyhow!("{what}"),
        }
    }
}

/// The id of the request that a line answers, if any.
fn answered(line: &[u8]) -> Result<Option<u64>> {
    let envelope: Envelope<'_> =
        serde_json::from_slice(line).with_context(|| format!("not a message: {}", String::from_utf8_lossy(line)))?;
    if let Some(error) = envelope.error {
        bail!("an error: {}", error.get());
    }
    Ok(envelope.id.filter(|_| envelope.method.is_none()).and_then(|id| id.get().parse().ok()))
}

impl Client for Piped {
    fn call(&mut self) -> Result<Duration> {
        let id = self.next_id();
        let message = script::small(self.era, id);
        let begun = Instant::now();
        self.ask(&message, id)?;
        Ok(begun.elapsed())
    }

    fn saturate(&mut self, in_flight: usize, time: Duration) -> Result<f64> {
        let before = self.last_id;
        let (mut answers, mut lines) = (Vec::new(), Vec::new());
        let (mut wanted, mut missing) = (in_flight, 0);
        let begun = Instant::now();
        loop {
            for _ in 0..wanted {
                let id = self.next_id();
                answers.push(false);
                lines.extend_from_slice(script::small(self.era, id).as_bytes());
                lines.push(b'\n');
            }
            missing += wanted;
            if missing == 0 {
                return Ok(answers.len() as f64 / begun.elapsed().as_secs_f64());
            }
            self.send(&lines)?;
            lines.clear();
            let came = self.take_answers(before, &mut answers)?;
            missing -= came;
            wanted = if begun.elapsed() < time { came } else { 0 };
        }
    }

    fn large(&mut self, bytes: usize) -> Result<Duration> {
        let id = self.next_id();
        let message = script::large(id, bytes);
        let begun = Instant::now();
        self.send(&[message.as_bytes(), b"\n"].concat())?;
        loop {
            let line = self.line()?;
            if !is_result(&line[..line.len().min(1000)]) && !is_result(&line[line.len().saturating_sub(1000)..]) {
                continue;
            }
            let took = begun.elapsed();
            ensure!(answered(line)? == Some(id), "a response to another request");
            ensure_whole(line, bytes)?;
            return Ok(took);
        }
    }

    fn notifications(&mut self, count: usize) -> Result<(Duration, Damage)> {
        let id = self.next_id();
        let message = script::progress(id, count);
        self.discard_processed();
        let begun = Instant::now();
        self.send(&[message.as_bytes(), b"\n"].concat())?;
        // Only search for the end: more work would be measured too.
        let (mut scanned, mut is_over) = (0, false);
        while !(is_over && self.unread.ends_with(b"\n")) {
            self.read()?;
            is_over |= is_result(&self.unread[scanned..]);
            // The searched text may be split across two reads.
            scanned = self.unread.len().saturating_sub(10);
        }
        let took = begun.elapsed();
        let mut damage = self.damage(count);
        while damage.lost > 0 && self.is_ready(AFTERMATH)? {
            self.read()?;
            damage = self.damage(count);
        }
        self.taken = self.unread.len();
        Ok((took, damage))
    }
}

impl Piped {
    /// Waits for responses, marks them in `answers`, and returns how many arrived.
    fn take_answers(&mut self, before: u64, answers: &mut [bool]) -> Result<usize> {
        let mut came = 0;
        self.discard_processed();
        self.read()?;
        while let Some(length) = memchr::memchr(b'\n', &self.unread[self.taken..]) {
            let line = &self.unread[self.taken..self.taken + length];
            self.taken += length + 1;
            let Some(id) = answered(line)? else { continue };
            let answer = answers.get_mut((id - before - 1) as usize).context("a response to no request")?;
            ensure!(!std::mem::replace(answer, true), "request {id} was answered twice");
            came += 1;
        }
        Ok(came)
    }

    fn damage(&self, count: usize) -> Damage {
        check(self.unread.split(|byte| *byte == b'\n'), script::TOKEN, count)
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
