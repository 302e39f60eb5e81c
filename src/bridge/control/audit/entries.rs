//! The lines of a log as they are in its files, one after the other.

use std::io::{self, BufRead};

use sha2::{Digest, Sha256};

use crate::bridge::control::audit::{
    link::{Hash, Head, Link, digest},
    seal::{self, Seal, SealKey},
};

/// A line with a link.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The file's number, from 0.
    pub file: usize,
    /// The line's number in the file, from 1.
    pub line: u64,
    pub link: Link,
    pub seal: Seal,
    pub head: Option<Head>,
    /// The line's time, as it is written.
    pub time: Option<String>,
    pub digest: Hash,
    /// The digest of the line and the lines without a link below it.
    pub with_rest: Hash,
    /// How many lines without a link are below it.
    pub rest: u64,
    /// The lines above it, if it is the first of its file.
    pub above: Option<Above>,
}

/// The lines of a file before the first one with a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Above {
    pub lines: u64,
    pub digest: Hash,
}

/// Why the lines of a file end early.
#[derive(Debug)]
pub enum Unreadable {
    Io(io::Error),
    /// No line of the file has a link.
    NoChain,
}

/// The lines of one file.
pub struct Entries<'a, R> {
    file: usize,
    reader: R,
    key: Option<&'a SealKey>,
    line: u64,
    /// The hash of what has been read since the latest line with a link began.
    hash: Sha256,
    /// How many lines without a link were read since then.
    rest: u64,
    current: Option<Entry>,
    is_done: bool,
}

impl Entry {
    /// Whether this line is the one that follows `before`.
    pub fn follows(&self, before: &Self) -> bool {
        before.link.number.checked_add(1) == Some(self.link.number) && self.link.previous == before.with_rest
    }
}

impl<'a, R: BufRead> Entries<'a, R> {
    /// The lines in `reader`, which is file number `file`; `key` checks their seals.
    pub fn new(file: usize, reader: R, key: Option<&'a SealKey>) -> Self {
        Self { file, reader, key, line: 0, hash: Sha256::new(), rest: 0, current: None, is_done: false }
    }

    fn step(&mut self) -> io::Result<Option<Entry>> {
        let mut text = Vec::new();
        while self.reader.read_until(b'\n', &mut text)? > 0 {
            self.line += 1;
            let line = text.strip_suffix(b"\n").unwrap_or(&text);
            if let Some(link) = Link::parse(line) {
                let entry = self.entry(line, link);
                if let Some(before) = self.begin(entry, line) {
                    return Ok(Some(before));
                }
            } else {
                if self.current.is_some() || self.rest > 0 {
                    self.hash.update(b"\n");
                }
                self.hash.update(line);
                self.rest += 1;
            }
            text.clear();
        }
        self.is_done = true;
        Ok(self.take())
    }

    /// Starts with `entry`, and returns the one before.
    fn begin(&mut self, mut entry: Entry, line: &[u8]) -> Option<Entry> {
        let before = self.take();
        if before.is_none() {
            entry.above = Some(Above { lines: self.rest, digest: self.hash.clone().finalize().into() });
        }
        self.hash = Sha256::new_with_prefix(line);
        self.rest = 0;
        self.current = Some(entry);
        before
    }

    /// The current entry, with what was read since.
    fn take(&mut self) -> Option<Entry> {
        let mut entry = self.current.take()?;
        (entry.rest, entry.with_rest) = (self.rest, self.hash.clone().finalize().into());
        Some(entry)
    }

    fn entry(&self, line: &[u8], link: Link) -> Entry {
        let digest = digest(line);
        Entry {
            file: self.file,
            line: self.line,
            link,
            seal: seal::check(line, self.key),
            head: Head::parse(line),
            time: time(line),
            digest,
            with_rest: digest,
            rest: 0,
            above: None,
        }
    }
}

impl<R: BufRead> Iterator for Entries<'_, R> {
    type Item = Result<Entry, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        match self.step() {
            Ok(Some(entry)) => Some(Ok(entry)),
            Ok(None) if self.rest > 0 => Some(Err(Unreadable::NoChain)),
            Ok(None) => None,
            Err(error) => {
                self.is_done = true;
                Some(Err(Unreadable::Io(error)))
            }
        }
    }
}

/// The time that `line` begins with.
fn time(line: &[u8]) -> Option<String> {
    let text = line.strip_prefix(b"{\"time\":\"")?;
    let end = memchr::memchr(b'"', text)?;
    Some(std::str::from_utf8(&text[..end]).ok()?.to_owned())
}
