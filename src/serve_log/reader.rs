//! Reads the logs, newest line last, and follows them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use crate::{
    disk::private_folder::{self, PlaceError},
    serve_log::{LIMIT, current, earlier},
};

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub profile: String,
    /// The process that wrote it; empty if the line is not as finmcp writes it.
    pub process: String,
    /// When, in UTC; empty if the line is not as finmcp writes it.
    pub time: String,
    pub text: String,
}

impl Line {
    fn parse(profile: &str, line: &str) -> Self {
        let parts: Vec<&str> = line.splitn(3, ' ').collect();
        let (time, process, text) = match parts[..] {
            [time, process, text] if time.ends_with('Z') && process.bytes().all(|byte| byte.is_ascii_digit()) => {
                (time, process, text)
            }
            _ => ("", "", line),
        };
        Self { profile: profile.to_owned(), process: process.to_owned(), time: time.to_owned(), text: text.to_owned() }
    }
}

/// The profiles that have a log in `folder`.
///
/// # Errors
/// The folder cannot be read. One that does not exist has no logs.
pub(crate) fn profiles(folder: &Path) -> Result<BTreeSet<String>, PlaceError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(private_folder::failed("read", folder)(error)),
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let profile = |name: String| {
        let name = name.strip_suffix(".1").unwrap_or(&name);
        name.strip_suffix(".log").map(str::to_owned)
    };
    Ok(names.filter_map(profile).collect())
}

/// Logs that are read from beginning to end, and then for what is added.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    /// The open files and the beginning of a line that is not complete yet, by profile.
    files: BTreeMap<String, (File, Vec<u8>)>,
}

impl Reader {
    /// For the logs in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, files: BTreeMap::new() }
    }

    /// The lines of these profiles that were not read yet, in the order of their times.
    ///
    /// # Errors
    /// A log cannot be read.
    pub(crate) fn read(&mut self, profiles: &BTreeSet<String>) -> Result<Vec<Line>, PlaceError> {
        let mut lines = Vec::new();
        for profile in profiles {
            self.read_profile(profile, &mut lines)?;
        }
        // A line without a time stays behind the one before it.
        let mut time = String::new();
        let mut timed: Vec<(String, Line)> = Vec::with_capacity(lines.len());
        for line in lines {
            if !line.time.is_empty() {
                time.clone_from(&line.time);
            }
            timed.push((time.clone(), line));
        }
        timed.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(timed.into_iter().map(|(_, line)| line).collect())
    }

    fn read_profile(&mut self, profile: &str, lines: &mut Vec<Line>) -> Result<(), PlaceError> {
        let path = current(&self.folder, profile);
        match self.files.remove(profile) {
            // The rest of a file that became full meanwhile, and the new one.
            Some((file, rest)) => {
                let is_current = is_at(&file, &path);
                let rest = read_rest(profile, &file, rest, lines).map_err(private_folder::failed("read", &path))?;
                if is_current {
                    self.files.insert(profile.to_owned(), (file, rest));
                    return Ok(());
                }
            }
            None => {
                if let Some(file) = open(&earlier(&self.folder, profile))? {
                    read_rest(profile, &file, Vec::new(), lines).map_err(private_folder::failed("read", &path))?;
                }
            }
        }
        if let Some(file) = open(&path)? {
            let rest = read_rest(profile, &file, Vec::new(), lines).map_err(private_folder::failed("read", &path))?;
            self.files.insert(profile.to_owned(), (file, rest));
        }
        Ok(())
    }
}

/// The file at `path`; none if there is none.
fn open(path: &Path) -> Result<Option<File>, PlaceError> {
    match private_folder::open(path, OpenOptions::new().read(true)) {
        Err(PlaceError::Failed { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}

/// Reads what was added to `file`, after the incomplete line `rest`. Returns the last line if it is incomplete.
fn read_rest(profile: &str, file: &File, mut rest: Vec<u8>, lines: &mut Vec<Line>) -> io::Result<Vec<u8>> {
    file.take(4 * LIMIT).read_to_end(&mut rest)?;
    let end = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
    let incomplete = rest.split_off(end);
    let text = String::from_utf8_lossy(&rest);
    lines.extend(text.lines().map(|line| Line::parse(profile, line)));
    Ok(incomplete)
}

/// Whether `file` is still the one at `path`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(there)) => identity(open) == identity(there),
        _ => false,
    }
}

/// Whether `file` is still the one at `path`: a new one is shorter.
#[cfg(not(unix))]
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => there.len() >= open.len(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve_log::file::append;

    fn line(second: u32, text: &str) -> String {
        format!("2026-11-28T10:00:{second:02}.000Z 7 INFO  {text}\n")
    }

    fn texts(lines: Vec<Line>) -> Vec<String> {
        lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn c15_lines_of_several_profiles_are_merged_by_time() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("logs");
        assert!(profiles(&folder).unwrap().is_empty());
        for (profile, second, text) in [("a", 1, "one"), ("a", 3, "three"), ("b", 2, "two")] {
            append(&folder, profile, &line(second, text)).unwrap();
        }
        append(&folder, "b", "not as finmcp writes it\n").unwrap();
        let found = profiles(&folder).unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), ["a", "b"]);
        let lines = Reader::new(folder).read(&found).unwrap();
        assert_eq!((&*lines[0].process, &*lines[0].time), ("7", "2026-11-28T10:00:01.000Z"));
        assert_eq!(texts(lines), ["INFO  one", "INFO  two", "not as finmcp writes it", "INFO  three"]);
    }

    #[test]
    fn c15_a_follower_misses_no_line_when_the_file_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("logs");
        let (mut reader, books) = (Reader::new(folder.clone()), BTreeSet::from(["books".to_owned()]));
        assert_eq!(reader.read(&books).unwrap(), []);
        let mut seen = Vec::new();
        let filler = "x".repeat(9_000);
        for number in 0..200 {
            append(&folder, "books", &line(number % 60, &format!("{number} {filler}"))).unwrap();
            if number % 7 == 0 {
                seen.extend(reader.read(&books).unwrap());
            }
        }
        seen.extend(reader.read(&books).unwrap());
        let numbers: BTreeSet<usize> =
            seen.iter().map(|line| line.text.split_whitespace().nth(1).unwrap().parse().unwrap()).collect();
        assert_eq!((seen.len(), numbers.len()), (200, 200));
        assert!(earlier(&folder, "books").exists(), "the file was replaced");
    }

    #[test]
    fn c15_a_line_is_shown_when_it_is_complete() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("logs");
        let (mut reader, books) = (Reader::new(folder.clone()), BTreeSet::from(["books".to_owned()]));
        append(&folder, "books", "2026-11-28T10:00:01.000Z 7 INFO  ha").unwrap();
        assert_eq!(reader.read(&books).unwrap(), []);
        append(&folder, "books", "lf\n").unwrap();
        assert_eq!(texts(reader.read(&books).unwrap()), ["INFO  half"]);
    }
}
