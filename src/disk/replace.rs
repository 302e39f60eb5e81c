//! A file that changes in one step: whoever reads it sees the old content or the new, whatever happens in between.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use tempfile::{Builder, NamedTempFile};

/// A new file beside the one whose place it is to take. It is gone when this is dropped.
pub(crate) struct Replacement {
    file: NamedTempFile,
    target: PathBuf,
}

impl Replacement {
    /// One that only its owner can open, from the start.
    pub(crate) fn private(target: PathBuf) -> io::Result<Self> {
        Ok(Self { file: NamedTempFile::new_in(folder_of(&target))?, target })
    }

    /// One for whoever may open `model`.
    pub(crate) fn like(model: &Path, target: PathBuf) -> io::Result<Self> {
        let replacement = Self::private(target)?;
        replacement.file.as_file().set_permissions(fs::metadata(model)?.permissions())?;
        Ok(replacement)
    }

    /// A file that others may read if the user's umask allows it.
    pub(crate) fn ordinary(target: PathBuf) -> io::Result<Self> {
        let builder = &mut Builder::new();
        #[cfg(unix)]
        let builder = builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        Ok(Self { file: builder.tempfile_in(folder_of(&target))?, target })
    }

    /// Writes `content`, durably. The target is as it was.
    pub(crate) fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.write_all(content)?;
        self.file.as_file().sync_all()
    }

    /// The file whose place it is to take.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Takes the target's place. Whether that outlasts a power cut is up to [`flush`].
    pub(crate) fn put(self) -> io::Result<()> {
        self.file.persist(self.target)?;
        Ok(())
    }
}

/// Puts `content` in the place of the file at `path`, for its owner only, durably. A link is replaced, and what it leads
/// to is left alone.
pub(crate) fn private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut replacement = Replacement::private(path.to_owned())?;
    replacement.write(content)?;
    replacement.put()?;
    flush(path)
}

/// As [`private`] does; but a link stays, and what it leads to is replaced: a dotfiles folder keeps its files elsewhere.
pub(crate) fn private_behind_link(path: &Path, content: &[u8]) -> io::Result<()> {
    private(&fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()), content)
}

/// Makes a change of the name `path` durable: a name is so only when its folder is.
#[cfg(unix)]
pub(crate) fn flush(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// Windows writes names through.
#[cfg(not(unix))]
pub(crate) fn flush(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The folder that `path` is in: the one this runs in, where `path` is a name alone.
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

    /// t140: a secret's file is its owner's alone, whoever could read the one before, and a link is not followed.
    #[test]
    fn t140_a_private_file_takes_the_place_of_a_file_and_of_a_link() {
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
    fn a_link_stays_where_what_it_leads_to_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (dotfiles, path) = (folder.path().join("dotfiles"), folder.path().join("config.toml"));
        fs::create_dir(&dotfiles).unwrap();
        fs::write(dotfiles.join("config.toml"), "old").unwrap();
        symlink(dotfiles.join("config.toml"), &path).unwrap();
        private_behind_link(&path, b"new").unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(fs::read(dotfiles.join("config.toml")).unwrap(), b"new");
        // One that is no link, and one that is not there.
        for path in [dotfiles.join("config.toml"), dotfiles.join("new.toml")] {
            private_behind_link(&path, b"newer").unwrap();
            assert_eq!((mode(&path), fs::read(&path).unwrap()), (0o600, b"newer".to_vec()));
        }
    }

    #[test]
    fn a_file_like_another_is_for_the_same_readers() {
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

    /// What is not put in its place leaves nothing behind, be it given up or refused.
    #[test]
    fn what_does_not_take_its_place_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        drop(Replacement::ordinary(folder.path().join("a")).unwrap());
        assert!(private(&taken, b"new").is_err());
        assert_eq!(names(folder.path()), ["taken"]);
    }
}
