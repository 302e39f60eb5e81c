//! Appends to a log file that several processes write to, and replaces it when it is full.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::Path,
};

use crate::{
    disk::private_folder::{self, PlaceError, failed},
    serve_log::{LIMIT, current, earlier},
};

/// Appends `line` in one write, so that lines of several processes do not mix. The file is opened for each line, because
/// another process may have replaced it; lines are rare.
pub(super) fn append(folder: &Path, profile: &str, line: &str) -> Result<(), PlaceError> {
    private_folder::ensure(folder)?;
    let path = current(folder, profile);
    let open = || private_folder::open(&path, OpenOptions::new().append(true).create(true));
    let mut file = open()?;
    let size = file.metadata().map_err(failed("inspect", &path))?.len();
    if size >= LIMIT {
        replace_full(folder, profile)?;
        file = open()?;
        // Where no process can get the lock, the log ends instead of filling the disk.
        if file.metadata().map_err(failed("inspect", &path))?.len() > 2 * LIMIT {
            return Ok(());
        }
    }
    file.write_all(line.as_bytes()).map_err(failed("write to", &path))
}

/// Renames the full file, under a lock: a second process would otherwise rename the new one over it.
fn replace_full(folder: &Path, profile: &str) -> Result<(), PlaceError> {
    let lock = private_folder::open(&folder.join("lock"), OpenOptions::new().write(true).create(true).truncate(false))?;
    if lock.try_lock().is_err() {
        return Ok(());
    }
    let path = current(folder, profile);
    if fs::metadata(&path).is_ok_and(|metadata| metadata.len() >= LIMIT) {
        fs::rename(&path, earlier(folder, profile)).map_err(failed("rename", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c15_a_full_file_is_replaced_once_and_two_are_kept() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("logs");
        let line = format!("{}\n", "x".repeat(1023));
        for number in 0..3 * LIMIT / 1024 {
            append(&folder, "books", &format!("{number:07}{}", &line[7..])).unwrap();
        }
        let sizes =
            [current(&folder, "books"), earlier(&folder, "books")].map(|path| fs::metadata(path).unwrap().len());
        assert!(sizes.iter().all(|size| *size <= LIMIT + 1024), "{sizes:?}");
        assert!(fs::read_to_string(current(&folder, "books")).unwrap().starts_with("0001024"));
        let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["books.log", "books.log.1", "lock"]);
    }

    #[test]
    fn c15_a_log_that_cannot_be_replaced_ends() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("logs");
        append(&folder, "books", "first\n").unwrap();
        let lock = private_folder::open(&folder.join("lock"), OpenOptions::new().write(true).create(true)).unwrap();
        lock.lock().unwrap();
        let line = format!("{}\n", "x".repeat(1 << 16));
        for _ in 0..64 {
            append(&folder, "books", &line).unwrap();
        }
        let size = fs::metadata(current(&folder, "books")).unwrap().len();
        assert!((2 * LIMIT..3 * LIMIT).contains(&size), "{size}");
        assert!(!earlier(&folder, "books").exists());
    }

    #[cfg(unix)]
    #[test]
    fn c15_only_the_user_can_read_the_log() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("state/finmcp/logs");
        append(&folder, "books", "first\n").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&current(&folder, "books"))), (0o700, 0o600));
        // A link could lead to another file of the user's.
        let other = home.path().join("other");
        fs::write(&other, "mine").unwrap();
        symlink(&other, current(&folder, "linked")).unwrap();
        assert!(append(&folder, "linked", "first\n").is_err());
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(append(&folder, "books", "second\n").is_err());
        assert_eq!(fs::read_to_string(other).unwrap(), "mine");
        assert_eq!(fs::read_to_string(current(&folder, "books")).unwrap(), "first\n");
    }
}
