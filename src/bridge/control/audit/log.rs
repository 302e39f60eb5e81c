//! The file: each line is appended under the lock and linked to the line before, whichever process wrote that.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::bridge::control::audit::{
    error::AuditError,
    link::{self, Hash, Head, Link, VERSION, digest},
    open_calls::{KilledCalls, OpenCalls},
    order::{Line, Order},
    seal::SealKey,
    state::{self, LockedState, State},
};
use crate::{
    disk::private_folder,
    mcp::object::{self, Object},
};

/// How much of the end of a file is read first to find its last line.
const TAIL: u64 = 16 << 10;

/// How far from the end of a file to look for its last line. A file without one there counts as one without a chain.
const TAIL_LIMIT: u64 = 64 << 20;

/// A log that this process writes to.
pub struct Log {
    path: PathBuf,
    folder: PathBuf,
    seal: Option<SealKey>,
    calls: OpenCalls,
}

/// The end of a file.
struct End {
    /// Its last line with a link, if there is one.
    last: Option<LastLine>,
    /// The end of its text.
    tail: Vec<u8>,
    length: u64,
}

struct LastLine {
    link: Link,
    digest: Hash,
    /// The digest of the line and all that follows it.
    with_rest: Hash,
}

/// The place in the chain that the next line gets.
struct Next {
    chain: String,
    /// Whether it is the first line of its file.
    is_first: bool,
    number: u64,
    previous: Hash,
}

impl Log {
    /// The log at `path`. Writes nothing to it.
    ///
    /// # Errors
    /// It cannot be written, locked or sealed.
    pub fn open(path: PathBuf, seal: Option<SealKey>) -> Result<Self, AuditError> {
        let mut file = open(&path)?;
        let folder = state::folder(&path);
        LockedState::probe(&folder)?;
        let calls = OpenCalls::create(&folder)?;
        let log = Self { path, folder, seal, calls };
        log.check_seal(log.end(&mut file)?.last.is_some_and(|last| last.link.is_sealed))?;
        Ok(log)
    }

    /// Carries out `order`.
    ///
    /// # Errors
    /// The line cannot be written. The file is then unchanged.
    pub fn carry_out(&mut self, order: &Order) -> Result<(), AuditError> {
        let noted = match order {
            Order::Begin(number, text) => self.calls.begin(*number, text.clone()),
            Order::Forget(number) => self.calls.end(*number),
            Order::Write(line) => {
                self.append(line)?;
                line.call.map_or(Ok(()), |number| self.calls.end(number))
            }
            Order::TryAgain => Ok(()),
        };
        if let Err(error) = noted {
            tracing::warn!(%error, "could not note a call beside the audit log");
        }
        Ok(())
    }

    /// Appends `line`, and before it the calls of processes that were killed.
    fn append(&self, line: &Line) -> Result<(), AuditError> {
        let state = LockedState::acquire(&self.folder)?;
        // Opened each time, so that no line is lost in a file that has been moved or deleted.
        let mut file = open(&self.path)?;
        let end = self.end(&mut file)?;
        let before = state.read(self.seal.as_ref());
        self.check_seal(
            before.as_ref().is_some_and(|state| state.is_sealed)
                || end.last.as_ref().is_some_and(|last| last.link.is_sealed),
        )?;
        let killed = self.calls.of_killed();
        let mut next = self.next(&mut file, &end, before)?;
        let mut text = String::new();
        if end.tail.last().is_some_and(|byte| *byte != b'\n') {
            text.push('\n');
        }
        for object in unknown(&killed, &end.tail) {
            self.add(&mut text, &mut next, &object);
        }
        let call = line
            .call
            .map(|number| link::with_members(&line.object, &format!("\"call\":\"{}\"", self.calls.id(number))));
        self.add(&mut text, &mut next, call.as_ref().unwrap_or(&line.object));
        if let Err(error) = file.write_all(text.as_bytes()) {
            // No other process writes now, so the part that was written can be removed.
            let _ = file.set_len(end.length);
            return Err(match error.kind() {
                ErrorKind::WriteZero => AuditError(format!("{} is full", self.path.display())),
                _ => self.failed("write to", &error),
            });
        }
        let after = State {
            chain: next.chain,
            number: next.number.saturating_sub(1),
            digest: next.previous,
            is_sealed: self.seal.is_some(),
        };
        if let Err(error) = state.write(&after, self.seal.as_ref()) {
            tracing::warn!(%error, "could not note the last line beside the audit log");
        }
        killed.into_iter().for_each(KilledCalls::remove);
        Ok(())
    }

    /// Adds `object` with its link to `text`.
    fn add(&self, text: &mut String, next: &mut Next, object: &str) {
        let link = Link { number: next.number, previous: next.previous, is_sealed: self.seal.is_some() };
        let headed = next.is_first.then(|| Head { audit_log: VERSION, chain: next.chain.clone() }.complete(object));
        let line = link.complete(headed.as_deref().unwrap_or(object), self.seal.as_ref());
        next.is_first = false;
        next.number += 1;
        next.previous = digest(line.as_bytes());
        text.push_str(&line);
        text.push('\n');
    }

    /// Where the chain continues. If lines are missing at the end of the file, it continues after them, so that
    /// it shows that they are missing.
    fn next(&self, file: &mut File, end: &End, state: Option<State>) -> Result<Next, AuditError> {
        let is_first = end.last.is_none();
        let after = |chain, number: u64, previous| Next { chain, is_first, number: number.saturating_add(1), previous };
        Ok(match (state, &end.last) {
            (Some(state), Some(last)) if last.link.number > state.number => {
                after(state.chain, last.link.number, last.with_rest)
            }
            (Some(state), Some(last)) if last.link.number == state.number && last.digest == state.digest => {
                after(state.chain, state.number, last.with_rest)
            }
            (Some(state), _) => after(state.chain, state.number, state.digest),
            (None, Some(last)) => after(self.chain_in(file)?.unwrap_or_default(), last.link.number, last.with_rest),
            (None, None) => {
                Next { chain: self.new_chain()?, is_first, number: 0, previous: self.digest_of(file, end)? }
            }
        })
    }

    fn new_chain(&self) -> Result<String, AuditError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| AuditError(format!("could not create a random name: {error}")))?;
        Ok(hex::encode(id))
    }

    /// The name of the chain in `file`, from the first head.
    fn chain_in(&self, file: &mut File) -> Result<Option<String>, AuditError> {
        file.rewind().map_err(|error| self.failed("read", &error))?;
        let mut lines = BufReader::new(file).split(b'\n');
        let head = lines.find_map(|line| line.map(|line| Head::parse(&line)).transpose()).transpose();
        Ok(head.map_err(|error| self.failed("read", &error))?.map(|head| head.chain))
    }

    /// The digest of all of `file`, without the line break at its end.
    fn digest_of(&self, file: &mut File, end: &End) -> Result<Hash, AuditError> {
        let mut read = || {
            file.rewind()?;
            let length = end.length - u64::from(end.tail.last() == Some(&b'\n'));
            let (mut hash, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
            let mut text = file.take(length);
            loop {
                match text.read(&mut buffer)? {
                    0 => return Ok(hash.finalize().into()),
                    length => hash.update(&buffer[..length]),
                }
            }
        };
        read().map_err(|error: io::Error| self.failed("read", &error))
    }

    fn end(&self, file: &mut File) -> Result<End, AuditError> {
        End::read(file).map_err(|error| self.failed("read", &error))
    }

    /// A process without the key must not write to a sealed log: its lines would look forged.
    fn check_seal(&self, is_sealed: bool) -> Result<(), AuditError> {
        if is_sealed && self.seal.is_none() {
            return Err(AuditError(format!("{} is sealed: use --audit-seal", self.path.display())));
        }
        Ok(())
    }

    fn failed(&self, verb: &str, error: &io::Error) -> AuditError {
        AuditError(format!("could not {verb} {}: {error}", self.path.display()))
    }
}

impl End {
    fn read(file: &mut File) -> io::Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        let mut size = TAIL;
        loop {
            size = size.min(length);
            let mut tail = Vec::new();
            file.seek(SeekFrom::Start(length - size))?;
            file.take(size).read_to_end(&mut tail)?;
            let last = LastLine::find(&tail, size == length);
            if last.is_some() || size == length || size >= TAIL_LIMIT {
                return Ok(Self { last, tail, length });
            }
            size *= 8;
        }
    }
}

impl LastLine {
    /// The last line in `tail` that has a link and begins there.
    fn find(tail: &[u8], is_whole: bool) -> Option<Self> {
        let text = tail.strip_suffix(b"\n").unwrap_or(tail);
        let mut end = text.len();
        loop {
            let start = memchr::memrchr(b'\n', &text[..end]);
            if start.is_none() && !is_whole {
                return None;
            }
            let line = &text[start.map_or(0, |start| start + 1)..end];
            if let Some(link) = Link::parse(line) {
                let with_rest = &text[end - line.len()..];
                return Some(Self { link, digest: digest(line), with_rest: digest(with_rest) });
            }
            end = start?;
        }
    }
}

/// The lines of the calls of killed processes, without those that the process wrote before it was killed.
fn unknown(killed: &[KilledCalls], tail: &[u8]) -> Vec<String> {
    let calls = killed.iter().flat_map(|killed| &killed.calls);
    calls
        .filter(|(id, _)| memchr::memmem::find(tail, format!(",\"call\":\"{id}\"").as_bytes()).is_none())
        .filter_map(|(id, begun)| {
            let mut line = Object::parse(begun)?;
            line.set("outcome", "\"unknown\"");
            line.set("duration_ms", "null");
            line.set("call", object::text(id));
            Some(line.to_string())
        })
        .collect()
}

fn open(path: &Path) -> Result<File, AuditError> {
    Ok(private_folder::open(path, OpenOptions::new().read(true).append(true).create(true))?)
}
