//! A folder that is this person's alone: lock files and encrypted credentials are only as safe as the place that they
//! are in. And a file that is: an audit log among them.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

/// Why a place is not used.
#[derive(Debug)]
pub(crate) enum PlaceError {
    /// Somebody else could read, replace or redirect it. Names the path, what is wrong and what to do.
    Unsafe(String),
    /// The file system said no.
    Failed {
        /// What was tried, with the path.
        what: String,
        /// Its answer.
        source: io::Error,
    },
}

/// Makes `folder` where it is missing, for its owner only, and checks that it is a real folder of this user that nobody
/// else can enter.
pub(crate) fn ensure(folder: &Path) -> Result<(), PlaceError> {
    create(folder).map_err(failed("make", folder))?;
    // Not through a link: whoever owns the link chooses where it leads.
    let metadata = fs::symlink_metadata(folder).map_err(failed("look at", folder))?;
    if metadata.is_symlink() {
        return Err(PlaceError::Unsafe(format!("{} is a symbolic link; put a real folder there", folder.display())));
    }
    if !metadata.is_dir() {
        return Err(PlaceError::Unsafe(format!("{} is not a folder; move it away", folder.display())));
    }
    check_owner_and_mode(folder, &metadata, "700")
}

/// Opens the file at `path` with `options`, never through a symbolic link, and checks that it is a plain file of this
/// user that nobody else can touch. A new one is made so.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> Result<File, PlaceError> {
    let file = open_itself(path, options).map_err(|error| {
        if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
            PlaceError::Unsafe(format!("{} is a symbolic link; move it away", path.display()))
        } else {
            failed("open", path)(error)
        }
    })?;
    let metadata = file.metadata().map_err(failed("look at", path))?;
    if !metadata.is_file() {
        return Err(PlaceError::Unsafe(format!("{} is not a plain file; move it away", path.display())));
    }
    check_owner_and_mode(path, &metadata, "600")?;
    Ok(file)
}

/// For `map_err`: what could not be done, and to what.
pub(crate) fn failed(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> PlaceError {
    let what = format!("could not {verb} {}", path.display());
    move |source| PlaceError::Failed { what, source }
}

/// Whether another user can change the file or folder that `metadata` is of.
#[cfg(unix)]
pub(crate) fn writable_by_others(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::mode(metadata) & 0o022 != 0
}

/// A Windows profile folder belongs to its user alone.
#[cfg(not(unix))]
pub(crate) fn writable_by_others(_: &fs::Metadata) -> bool {
    false
}

/// Makes `folder` where it is missing, for its owner only. One that is there stays as it is.
#[cfg(unix)]
pub(crate) fn create(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes `folder` where it is missing.
#[cfg(not(unix))]
pub(crate) fn create(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(unix)]
fn open_itself(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    // A FIFO in the file's place must not hold us up either.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    options.mode(0o600).custom_flags(flags.cast_signed()).open(path)
}

#[cfg(not(unix))]
fn open_itself(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
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
        return Err(PlaceError::Unsafe(format!(
            "{path} belongs to another user; move it away or choose another place"
        )));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(PlaceError::Unsafe(format!("other users have access to {path}; run `chmod {mode} '{path}'`")));
    }
    Ok(())
}

/// On Windows a person's own folders are closed to others by inheritance.
#[cfg(not(unix))]
fn check_owner_and_mode(_: &Path, _: &fs::Metadata, _: &str) -> Result<(), PlaceError> {
    Ok(())
}
