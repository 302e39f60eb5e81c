//! Finds the first line of a log that was changed, removed or inserted.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

use crate::bridge::control::audit::{
    entries::{Entries, Entry, Unreadable},
    fault::{Explained, Fault, FaultKind, count, explain, explain_first},
    link::{Link, VERSION},
    seal::{Seal, SealKey},
    state::{self, LockedState, State},
};

/// What an intact log contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many lines are linked.
    pub lines: u64,
    /// How many lines are above the first one with a link: an older finmcp wrote them.
    pub lines_before_chain: u64,
    /// The earliest and the latest time.
    pub times: Option<(String, String)>,
    /// The numbers of the first and the last line in the chain.
    pub numbers: Option<(u64, u64)>,
    /// The digest of the last line, in hexadecimal.
    pub last_digest: Option<String>,
    pub seal: SealReport,
    /// Whether the end was compared with the last line that finmcp wrote on this machine.
    pub is_end_checked: bool,
}

/// Whether the lines of a log are sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealReport {
    /// No line is sealed.
    None,
    /// All lines are sealed, starting with this file and line.
    From(usize, u64),
    /// Some lines are sealed, but there is no key to check them with.
    Unchecked,
}

/// Why a log cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file cannot be read.
    #[error("could not read {file}")]
    Read { file: String, source: io::Error },
    /// No line of the file has a link.
    #[error("{0} has no chain: an older finmcp wrote it, or it is not an audit log")]
    NoChain(String),
    /// A newer finmcp wrote the file.
    #[error("{file} has version {version} of the format; this finmcp knows version {VERSION}")]
    Newer { file: String, version: u32 },
    /// The log is not intact.
    #[error(transparent)]
    Fault(Fault),
}

/// The files of a log, oldest first.
pub struct Files<'a>(pub &'a [PathBuf]);

impl Files<'_> {
    /// Whether any line has a seal.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn are_sealed(&self) -> Result<bool, VerifyError> {
        for path in self.0 {
            let is_sealed = |line: io::Result<Vec<u8>>| match line {
                Ok(line) => Link::parse(&line).is_some_and(|link| link.is_sealed).then_some(Ok(())),
                Err(error) => Some(Err(error)),
            };
            let file = File::open(path).map_err(|source| unreadable(path, source))?;
            let found = BufReader::new(file).split(b'\n').find_map(is_sealed).transpose();
            if found.map_err(|source| unreadable(path, source))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Verifies them, and compares the end with the last line that finmcp wrote.
    ///
    /// # Errors
    /// Any [`VerifyError`].
    pub fn verify(&self, key: Option<&SealKey>) -> Result<Report, VerifyError> {
        let Some((last, older)) = self.0.split_last() else { return verify(&[], Vec::<&[u8]>::new(), key, None) };
        let names: Vec<String> = self.0.iter().map(|path| path.display().to_string()).collect();
        let open = |path: &PathBuf| Ok((File::open(path)?, u64::MAX));
        let open = |path: &PathBuf| open(path).map_err(|source| unreadable(path, source));
        let mut files = older.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        // The lock is held only while the end is looked up: a process that writes must not wait for the rest.
        let locked = LockedState::shared(&state::folder(last)).unwrap_or_default();
        let state = locked.as_ref().and_then(|locked| locked.read(key));
        let (file, _) = open(last)?;
        let length = file.metadata().map_err(|source| unreadable(last, source))?.len();
        drop(locked);
        files.push((file, length));
        let readers = files.into_iter().map(|(file, length)| BufReader::new(file.take(length)));
        verify(&names, readers.collect(), key, state.as_ref())
    }
}

/// Verifies the log in `files`, oldest first.
///
/// # Errors
/// Any [`VerifyError`].
pub fn verify<R: BufRead>(
    names: &[String],
    files: Vec<R>,
    key: Option<&SealKey>,
    state: Option<&State>,
) -> Result<Report, VerifyError> {
    let name = |file: usize| names.get(file).cloned().unwrap_or_default();
    let fault =
        |Explained { file, line, kind, reason }| VerifyError::Fault(Fault { file: name(file), line, kind, reason });
    let numbered = files.into_iter().enumerate();
    let mut entries = numbered
        .flat_map(|(file, reader)| Entries::new(file, reader, key).map(move |entry| (file, entry)))
        .map(|(file, entry)| {
            entry.map_err(|error| match error {
                Unreadable::Io(source) => VerifyError::Read { file: name(file), source },
                Unreadable::NoChain => VerifyError::NoChain(name(file)),
            })
        })
        .peekable();
    let mut report = Report::default();
    let (mut before, mut chain, mut newest): (Option<Entry>, Option<String>, _) = (None, None, (VERSION, 0));
    while let Some(entry) = entries.next().transpose()? {
        let next = entries.peek().and_then(|next| next.as_ref().ok());
        report.check_seal(&entry, key).map_err(fault)?;
        match &before {
            None => {
                explain_first(&entry).map_err(fault)?;
                report.lines_before_chain = entry.above.as_ref().map_or(0, |above| above.lines);
                chain = entry.head.as_ref().map(|head| head.chain.clone());
            }
            Some(before) if entry.follows(before) && entry.above.as_ref().is_none_or(|above| above.lines == 0) => {}
            Some(before) => {
                let confirmed = next.map_or_else(
                    || state.is_some_and(|state| state.digest == entry.digest),
                    |next| next.follows(&entry),
                );
                return Err(fault(explain(before, &entry, next.cloned().as_ref(), confirmed, &mut entries)));
            }
        }
        if let Some(head) = &entry.head {
            newest = newest.max((head.audit_log, entry.file));
        }
        report.count(&entry);
        before = Some(entry);
    }
    if let Some(last) = before.as_ref().filter(|last| last.rest > 0) {
        let reason = "it is incomplete: it was cut off while finmcp wrote it, or another program wrote it".to_owned();
        return Err(fault(Explained { file: last.file, line: last.line + 1, kind: FaultKind::Inserted, reason }));
    }
    if let Some(state) = state {
        report.is_end_checked = true;
        check_end(before.as_ref(), chain.as_deref(), state).map_err(|(line, kind, reason)| {
            let file = before.as_ref().map_or(names.len().saturating_sub(1), |last| last.file);
            fault(Explained { file, line, kind, reason })
        })?;
    }
    // Only now: a version that was changed is a fault of its line.
    match newest {
        (..=VERSION, _) => Ok(report),
        (version, file) => Err(VerifyError::Newer { file: name(file), version }),
    }
}

/// Compares the end of the log with the last line that finmcp wrote. More lines may follow it: a process can be killed
/// between a line and the note of it.
fn check_end(last: Option<&Entry>, chain: Option<&str>, state: &State) -> Result<(), (u64, FaultKind, String)> {
    let written = state.number.saturating_add(1);
    let Some(last) = last else {
        let reason = format!(
            "the log is empty, but finmcp wrote {} (if it was rotated, pass the older files first)",
            count(written)
        );
        return Err((1, FaultKind::Removed, reason));
    };
    if chain != Some(&state.chain) {
        let reason = format!("finmcp wrote the chain {} to this file, but this is another chain", state.chain);
        return Err((1, FaultKind::Changed, reason));
    }
    if state.is_sealed && !last.link.is_sealed {
        return Err((last.line, FaultKind::Changed, "it has no seal, but finmcp sealed this log".to_owned()));
    }
    match state.number.checked_sub(last.link.number) {
        None => Ok(()),
        Some(0) if state.digest == last.digest => Ok(()),
        Some(0) => {
            Err((last.line, FaultKind::Changed, "its digest does not match the one that finmcp recorded".to_owned()))
        }
        Some(missing) => {
            let reason = match missing {
                1 => "the last line is missing".to_owned(),
                missing => format!("the last {missing} lines are missing"),
            };
            Err((last.line.saturating_add(1), FaultKind::Removed, reason))
        }
    }
}

impl Default for Report {
    fn default() -> Self {
        Self {
            lines: 0,
            lines_before_chain: 0,
            times: None,
            numbers: None,
            last_digest: None,
            seal: SealReport::None,
            is_end_checked: false,
        }
    }
}

impl Report {
    fn count(&mut self, entry: &Entry) {
        self.lines += 1;
        let number = entry.link.number;
        self.numbers = Some((self.numbers.map_or(number, |(first, _)| first), number));
        self.last_digest = Some(hex::encode(entry.digest));
        if let Some(time) = &entry.time {
            let (first, last) = self.times.get_or_insert_with(|| (time.clone(), time.clone()));
            if time < first {
                first.clone_from(time);
            }
            if time > last {
                last.clone_from(time);
            }
        }
    }

    fn check_seal(&mut self, entry: &Entry, key: Option<&SealKey>) -> Result<(), Explained> {
        let at = |kind, reason| Err(Explained { file: entry.file, line: entry.line, kind, reason });
        match (&entry.seal, key) {
            (Seal::Bad, _) => return at(FaultKind::Changed, "its seal is invalid".to_owned()),
            (Seal::None, _) if self.seal != SealReport::None => {
                return at(FaultKind::Changed, "it has no seal, unlike earlier lines".to_owned());
            }
            (Seal::None, _) => {}
            (Seal::Unchecked(id), Some(key)) => {
                let reason = format!("it is sealed with key {id}, but this machine has key {}", key.id());
                return at(FaultKind::Unsealed, reason);
            }
            (Seal::Unchecked(_), None) => self.seal = SealReport::Unchecked,
            (Seal::Good, _) if self.seal == SealReport::None => self.seal = SealReport::From(entry.file, entry.line),
            (Seal::Good, _) => {}
        }
        Ok(())
    }
}

fn unreadable(path: &Path, source: io::Error) -> VerifyError {
    VerifyError::Read { file: path.display().to_string(), source }
}
