//! Folders and files that only this user can access. Lock files, encrypted credentials and audit logs are only as safe
//! as the folder that holds them.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

/// Why a folder or file cannot be used.
#[derive(Debug)]
pub(crate) enum PlaceError {
    /// Another user could read, replace or redirect it.
    Unsafe(UnsafePlace),
    Failed {
        /// The failed operation, with the path.
        what: String,
        source: io::Error,
    },
}

/// Why a folder or file is not safe to use, and how the user can fix that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct UnsafePlace {
    /// The problem, with the path.
    pub problem: String,
    /// One instruction.
    pub fix: String,
}

fn unsafe_place(problem: String, fix: impl Into<String>) -> PlaceError {
    PlaceError::Unsafe(UnsafePlace { problem, fix: fix.into() })
}

/// Creates `folder` if missing, for its owner only, and checks that it is a folder that belongs to this user and
/// that no other user can enter.
pub(crate) fn ensure(folder: &Path) -> Result<(), PlaceError> {
    create(folder).map_err(failed("create", folder))?;
    // Never through a link: its owner decides where it points.
    let metadata = fs::symlink_metadata(folder).map_err(failed("inspect", folder))?;
    if metadata.is_symlink() {
        return Err(unsafe_place(format!("{} is a symbolic link", folder.display()), "replace the link with a folder"));
    }
    if !metadata.is_dir() {
        return Err(unsafe_place(format!("{} is not a folder", folder.display()), "replace it with a folder"));
    }
    check_owner_and_mode(folder, &metadata, "700")
}

/// Opens the file at `path` with `options`, never through a symbolic link, and checks that it is a regular file that
/// belongs to this user and that no other user can access. A new file is created that way.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> Result<File, PlaceError> {
    let file = open_no_follow(path, options).map_err(|error| {
        if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
            unsafe_place(format!("{} is a symbolic link", path.display()), "remove the link")
        } else {
            failed("open", path)(error)
        }
    })?;
    let metadata = file.metadata().map_err(failed("inspect", path))?;
    if !metadata.is_file() {
        return Err(unsafe_place(format!("{} is not a regular file", path.display()), "move it to another place"));
    }
    check_owner_and_mode(path, &metadata, "600")?;
    Ok(file)
}

/// For `map_err`: "could not VERB PATH".
pub(crate) fn failed(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> PlaceError {
    let what = format!("could not {verb} {}", path.display());
    move |source| PlaceError::Failed { what, source }
}

/// Whether another user can write to the file or folder that `metadata` describes.
#[cfg(unix)]
pub(crate) fn writable_by_others(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::mode(metadata) & 0o022 != 0
}

/// On Windows, only its user has access to a profile folder.
#[cfg(not(unix))]
pub(crate) fn writable_by_others(_: &fs::Metadata) -> bool {
    false
}

/// Whether another user can read the file that `metadata` describes.
#[cfg(unix)]
pub(crate) fn readable_by_others(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::mode(metadata) & 0o044 != 0
}

/// On Windows, only its user has access to a profile folder.
#[cfg(not(unix))]
pub(crate) fn readable_by_others(_: &fs::Metadata) -> bool {
    false
}

/// Creates `folder` if missing, for its owner only. An existing folder keeps its permissions.
#[cfg(unix)]
pub(crate) fn create(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Creates `folder` if missing.
#[cfg(not(unix))]
pub(crate) fn create(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(unix)]
fn open_no_follow(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    // NONBLOCK, because opening a FIFO in the file's place would block.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    options.mode(0o600).custom_flags(flags.cast_signed()).open(path)
}

#[cfg(not(unix))]
fn open_no_follow(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    options.open(path)
}

#[cfg(unix)]
fn check_owner_and_mode(path: &Path, metadata: &fs::Metadata, mode: &str) -> Result<(), PlaceError> {
    use std::os::unix::fs::MetadataExt;
    let path = path.display();
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(unsafe_place(format!("{path} belongs to another user"), "move it, or use another path"));
    }
    if metadata.mode() & 0o077 != 0 {
        let problem = format!("other users can access {path}");
        return Err(unsafe_place(problem, format!("run `chmod {mode} '{path}'`")));
    }
    Ok(())
}

/// On Windows, a user's folders inherit permissions that keep other users out.
#[cfg(not(unix))]
fn check_owner_and_mode(_: &Path, _: &fs::Metadata, _: &str) -> Result<(), PlaceError> {
    Ok(())
}
