//! Atomic replacement of a file: a reader sees either the old content or the new, even after a crash.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use tempfile::{Builder, NamedTempFile};

/// A temporary file next to the target that it will replace. It is deleted when this value is dropped.
pub(crate) struct Replacement {
    file: NamedTempFile,
    target: PathBuf,
}

impl Replacement {
    /// A replacement that only its owner can ever open.
    pub(crate) fn private(target: PathBuf) -> io::Result<Self> {
        Ok(Self { file: NamedTempFile::new_in(folder_of(&target))?, target })
    }

    /// A replacement with the permissions of `model`.
    pub(crate) fn like(model: &Path, target: PathBuf) -> io::Result<Self> {
        let replacement = Self::private(target)?;
        replacement.file.as_file().set_permissions(fs::metadata(model)?.permissions())?;
        Ok(replacement)
    }

    /// A replacement that others may read if the user's umask allows it.
    pub(crate) fn ordinary(target: PathBuf) -> io::Result<Self> {
        let builder = &mut Builder::new();
        #[cfg(unix)]
        let builder = builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        Ok(Self { file: builder.tempfile_in(folder_of(&target))?, target })
    }

    /// Writes `content` to disk. The target is unchanged.
    pub(crate) fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.write_all(content)?;
        self.file.as_file().sync_all()
    }

    /// The file to be replaced.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Replaces the target. Call [`flush`] to make the replacement survive a power cut.
    pub(crate) fn put(self) -> io::Result<()> {
        self.file.persist(self.target)?;
        Ok(())
    }
}

/// Durably replaces the file at `path` with `content`, readable by its owner only. A symbolic link is itself replaced;
/// its target is left alone.
pub(crate) fn private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut replacement = Replacement::private(path.to_owned())?;
    replacement.write(content)?;
    replacement.put()?;
    flush(path)
}

/// Like [`private`], but follows a symbolic link and replaces its target, because dotfiles folders link to files
/// elsewhere.
pub(crate) fn private_behind_link(path: &Path, content: &[u8]) -> io::Result<()> {
    private(&fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()), content)
}

/// Makes the renaming of `path` durable, by syncing its folder.
#[cfg(unix)]
pub(crate) fn flush(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// Windows needs no sync of the folder.
#[cfg(not(unix))]
pub(crate) fn flush(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The folder that holds `path`; the current one for a bare file name.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// t140: only its owner can read a file with a secret, even if others could read the old file. A link is not
    /// followed.
    #[test]
    fn t140_a_private_file_replaces_a_file_or_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("a"), folder.path().join("elsewhere"));
        private(&path, b"new").unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        private(&path, b"newer").unwrap();
        assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o600, b"newer".to_vec()));

        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        private(&path, b"newest").unwrap();
        assert_eq!(fs::read(&elsewhere).unwrap(), b"newer");
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(names(folder.path()), ["a", "elsewhere"], "nothing is left over");
    }

    #[test]
    fn a_link_stays_and_its_target_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (dotfiles, path) = (folder.path().join("dotfiles"), folder.path().join("config.toml"));
        fs::create_dir(&dotfiles).unwrap();
        fs::write(dotfiles.join("config.toml"), "old").unwrap();
        symlink(dotfiles.join("config.toml"), &path).unwrap();
        private_behind_link(&path, b"new").unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(fs::read(dotfiles.join("config.toml")).unwrap(), b"new");
        // A regular file, and a missing one.
        for path in [dotfiles.join("config.toml"), dotfiles.join("new.toml")] {
            private_behind_link(&path, b"newer").unwrap();
            assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o600, b"newer".to_vec()));
        }
    }

    #[test]
    fn a_file_like_another_has_the_same_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for wanted in [0o600, 0o640, 0o644, 0o444] {
            fs::write(&path, "old").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(wanted)).unwrap();
            let mut replacement = Replacement::like(&path, path.clone()).unwrap();
            replacement.write(b"new").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"old");
            replacement.put().unwrap();
            assert_eq!((mode(&path), fs::read(&path).unwrap()), (wanted, b"new".to_vec()));
            fs::remove_file(&path).unwrap();
        }
        assert!(Replacement::like(&path, path.clone()).is_err());
    }

    /// A replacement that is abandoned, or that the system refuses, leaves no file behind.
    #[test]
    fn an_unused_replacement_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        drop(Replacement::ordinary(folder.path().join("a")).unwrap());
        assert!(private(&taken, b"new").is_err());
        assert_eq!(names(folder.path()), ["taken"]);
    }
}
