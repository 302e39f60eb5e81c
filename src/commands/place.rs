//! The files that a result is saved to.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    console::Console,
    disk::replace::Replacement,
    error::{Error, ErrorKind},
};

/// Where to write the files of a result: a path, and numbered paths next to it.
pub struct Place<'a> {
    path: &'a Path,
    first: Replacement,
}

impl<'a> Place<'a> {
    /// Checks that a file can be written to `path`.
    ///
    /// # Errors
    /// It cannot.
    pub fn prepare(path: &'a Path) -> Result<Self, Error> {
        if path == Path::new("-") {
            return Err(Error::new(ErrorKind::Usage, "--output cannot write to stdout")
                .hint("give a file name, or use --json to print everything, with files in Base64"));
        }
        let first = match path.is_dir() {
            true => Err(io::ErrorKind::IsADirectory.into()),
            false => Replacement::ordinary(path.to_owned()),
        };
        first.map(|first| Self { path, first }).map_err(|error| {
            let error = Error::from(error).while_doing(format!("cannot write {}", path.display()));
            error.hint("the server was not asked; give a file in an existing folder")
        })
    }

    /// Writes each of `files` to its own path; only the first may overwrite an existing file.
    ///
    /// # Errors
    /// There is none, or a file cannot be written.
    pub fn keep<'b>(self, console: Console, mut files: impl Iterator<Item = &'b [u8]>) -> Result<(), Error> {
        let Some(bytes) = files.next() else {
            return Err(Error::new(ErrorKind::Failure, "the result contains no file to save")
                .hint("the call succeeded; do not repeat it"));
        };
        let (path, mut first) = (self.path, self.first);
        let written = first.write(bytes).and_then(|()| first.put());
        written.map_err(|error| Error::from(error).while_doing(format!("cannot write {}", path.display())))?;
        console.note(&format!("Saved {} bytes to {}", bytes.len(), path.display()));
        let mut number = 2;
        for bytes in files {
            let (mut file, path) = loop {
                let path = numbered(path, number);
                number += 1;
                match File::create_new(&path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    file => break (file?, path),
                }
            };
            file.write_all(bytes)?;
            console.note(&format!("Saved {} bytes to {}", bytes.len(), path.display()));
        }
        Ok(())
    }
}

/// `path` with a number before its extension: `name-2.png` and so on.
fn numbered(path: &Path, number: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{number}{extension}"))
}
