//! Encrypted files, for machines without a keychain. Only if the user chose them, never as a fallback.
//!
//! One file for each entry: a header (`finmcp1` and the kind of key, a salt, a nonce), then the XChaCha20-Poly1305
//! ciphertext. The header and the entry's name are authenticated, so that no file can replace another. An additional
//! file distinguishes a wrong key from a damaged entry: a mistyped passphrase must not lead to overwritten entries.

use std::{
    fs::{self, File, OpenOptions},
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use argon2::Argon2;
use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305, XNonce};
use futures_util::{FutureExt, future::BoxFuture};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    credential::store::{CredentialStore, KeyKind, Mismatch, NEW_PASSPHRASE, StoreError},
    disk::{
        private_folder::{self, PlaceError, UnsafePlace, failed, readable_by_others, writable_by_others},
        replace,
    },
    secret::Secret,
};

/// The largest file of an entry, in bytes.
const LIMIT: u64 = 1 << 20;

/// The largest key file, in bytes.
const KEY_LIMIT: u64 = 1 << 20;

/// The smallest key file, in bytes.
const KEY_MINIMUM: usize = 32;

const MAGIC_LENGTH: usize = 8;
const KEY_FILE_MAGIC: &[u8; MAGIC_LENGTH] = b"finmcp1k";
const PASSPHRASE_MAGIC: &[u8; MAGIC_LENGTH] = b"finmcp1p";
const SALT_LENGTH: usize = 16;
const NONCE_LENGTH: usize = 24;
const TAG_LENGTH: usize = 16;
const HEADER_LENGTH: usize = MAGIC_LENGTH + SALT_LENGTH + NONCE_LENGTH;

/// The entry that a key must decrypt before finmcp writes with it.
const KEY_PROOF: &str = "key-proof";

/// The contents of that entry.
const PROVEN: &[u8] = b"finmcp";

type Salt = [u8; SALT_LENGTH];
type Key = Zeroizing<[u8; 32]>;

/// The source of the file store's key.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// A file of at least 32 bytes that other users cannot write, for example a Docker secret or a systemd credential.
    KeyFile(PathBuf),
    /// The user's passphrase.
    Passphrase(Secret),
    /// A passphrase that the user has not entered yet.
    Unknown,
}

impl KeySource {
    /// The key file, if other users can read it, as container platforms mount secrets.
    pub fn readable_key_file(&self) -> Option<&Path> {
        match self {
            Self::KeyFile(path) => fs::metadata(path).is_ok_and(|file| readable_by_others(&file)).then_some(path),
            Self::Passphrase(_) | Self::Unknown => None,
        }
    }
}

/// A store of encrypted files in one folder.
pub struct FileStore(Arc<Folder>);

struct Folder {
    path: PathBuf,
    source: KeySource,
    /// The keys derived so far: deriving one from a passphrase is slow.
    keys: Mutex<Vec<(Salt, Key)>>,
}

impl FileStore {
    /// The store in `folder`, which is created on first use.
    pub fn new(folder: PathBuf, key: KeySource) -> Self {
        Self(Arc::new(Folder { path: folder, source: key, keys: Mutex::default() }))
    }

    /// Runs `work` on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let folder = self.0.clone();
        tokio::task::spawn_blocking(move || work(&folder))
            .await
            .unwrap_or_else(|_| Err(StoreError::Failed("interrupted".to_owned())))
    }
}

impl CredentialStore for FileStore {
    fn load<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<Option<Zeroizing<Vec<u8>>>, StoreError>> {
        let entry = entry.to_owned();
        self.run(move |folder| folder.load(&entry)).boxed()
    }

    fn save<'a>(&'a self, entry: &'a str, payload: Zeroizing<Vec<u8>>) -> BoxFuture<'a, Result<(), StoreError>> {
        let entry = entry.to_owned();
        self.run(move |folder| folder.save(&entry, payload)).boxed()
    }

    fn delete<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let entry = entry.to_owned();
        self.run(move |folder| folder.delete(&entry)).boxed()
    }

    fn examine(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(Folder::examine).boxed()
    }

    fn description(&self) -> String {
        format!("encrypted files in {}", self.0.path.display())
    }
}

impl Folder {
    fn load(&self, entry: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        match self.read(entry) {
            Err(StoreError::Corrupt(text)) => {
                self.prove_key()?;
                Err(StoreError::Corrupt(text))
            }
            outcome => outcome,
        }
    }

    /// Checks the key, without creating the entry for that.
    fn examine(&self) -> Result<(), StoreError> {
        match self.read(KEY_PROOF) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => match &self.source {
                KeySource::KeyFile(path) => read_key_file(path).map(drop),
                KeySource::Passphrase(_) | KeySource::Unknown => Ok(()),
            },
            Err(StoreError::Corrupt(text)) => Err(self.unopened(text)),
            Err(error) => Err(error),
        }
    }

    /// Why this key does not open the entry that shows the key, which is damaged if the kind of its key is not known.
    fn unopened(&self, text: String) -> StoreError {
        match self.stored_kind() {
            Some(stored) => self.mismatch(stored),
            None => StoreError::Corrupt(text),
        }
    }

    /// Checks that the store was created with this key. Creates the entry for that if it is missing.
    fn prove_key(&self) -> Result<(), StoreError> {
        match self.read(KEY_PROOF) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                self.check_new_passphrase()?;
                self.write(KEY_PROOF, PROVEN.to_vec().into())
            }
            Err(StoreError::Corrupt(text)) => Err(self.unopened(text)),
            Err(error) => Err(error),
        }
    }

    /// Refuses a short passphrase for a store without entries.
    fn check_new_passphrase(&self) -> Result<(), StoreError> {
        let KeySource::Passphrase(passphrase) = &self.source else { return Ok(()) };
        let is_short = (1..NEW_PASSPHRASE).contains(&passphrase.expose().chars().count());
        let is_empty = fs::read_dir(&self.path).is_ok_and(|mut entries| entries.next().is_none());
        if is_short && is_empty { Err(StoreError::ShortPassphrase) } else { Ok(()) }
    }

    /// What the store was created with; none if it is damaged.
    fn stored_kind(&self) -> Option<KeyKind> {
        let mut magic = [0; MAGIC_LENGTH];
        File::open(self.file(KEY_PROOF)).and_then(|mut file| file.read_exact(&mut magic)).ok()?;
        match &magic {
            KEY_FILE_MAGIC => Some(KeyKind::KeyFile),
            PASSPHRASE_MAGIC => Some(KeyKind::Passphrase),
            _ => None,
        }
    }

    /// Why this key does not open the store, which was created with a key of the kind `stored`.
    fn mismatch(&self, stored: KeyKind) -> StoreError {
        let folder = self.path.display().to_string();
        let given = match self.source {
            KeySource::KeyFile(_) => KeyKind::KeyFile,
            KeySource::Passphrase(_) => KeyKind::Passphrase,
            KeySource::Unknown if stored == KeyKind::KeyFile => return StoreError::NeedsKeyFile(folder),
            KeySource::Unknown => return StoreError::NeedsPassphrase,
        };
        StoreError::AnotherKey(Mismatch { folder, given, stored })
    }

    fn save(&self, entry: &str, payload: Zeroizing<Vec<u8>>) -> Result<(), StoreError> {
        private_folder::ensure(&self.path)?;
        self.prove_key()?;
        self.write(entry, payload)
    }

    fn read(&self, entry: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        if !self.path.exists() {
            return Ok(None);
        }
        private_folder::ensure(&self.path)?;
        let path = self.file(entry);
        let file = match private_folder::open(&path, OpenOptions::new().read(true)) {
            Err(PlaceError::Failed { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut sealed = Vec::new();
        file.take(LIMIT).read_to_end(&mut sealed).map_err(failed("read", &path))?;
        self.unseal(entry, &sealed).map(Some)
    }

    /// Replaces the file atomically: after a crash, either the old or the new one is complete.
    fn write(&self, entry: &str, payload: Zeroizing<Vec<u8>>) -> Result<(), StoreError> {
        let path = self.file(entry);
        let sealed = self.seal(entry, payload)?;
        Ok(replace::private(&path, &sealed).map_err(failed("write", &path))?)
    }

    fn delete(&self, entry: &str) -> Result<(), StoreError> {
        let path = self.file(entry);
        match fs::remove_file(&path) {
            Ok(()) => Ok(replace::flush(&path).map_err(failed("flush the folder of", &path))?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("delete", &path)(error).into()),
        }
    }

    fn file(&self, entry: &str) -> PathBuf {
        self.path.join(entry)
    }

    fn seal(&self, entry: &str, mut payload: Zeroizing<Vec<u8>>) -> Result<Vec<u8>, StoreError> {
        let (salt, key) = self.any_key()?;
        let mut nonce = [0; NONCE_LENGTH];
        fill(&mut nonce)?;
        let mut sealed = [self.magic().as_slice(), &salt, &nonce].concat();
        let tag = XChaCha20Poly1305::new((&*key).into())
            .encrypt_inout_detached(&XNonce::from(nonce), &associated(&sealed, entry), payload.as_mut_slice().into())
            .map_err(|_| StoreError::Failed("the credential is too large to encrypt".to_owned()))?;
        sealed.extend_from_slice(&payload);
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    fn unseal(&self, entry: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let corrupt = |text: &str| StoreError::Corrupt(format!("{}: {text}", self.file(entry).display()));
        let Some((header, body)) = sealed.split_first_chunk::<HEADER_LENGTH>() else {
            return Err(corrupt("too short"));
        };
        let Some((body, tag)) = body.split_last_chunk::<TAG_LENGTH>() else { return Err(corrupt("too short")) };
        if !header.starts_with(self.magic()) {
            return Err(corrupt("not encrypted by finmcp with this kind of key"));
        }
        let (Some(salt), Some(nonce)) = (header[MAGIC_LENGTH..].first_chunk(), header.last_chunk::<NONCE_LENGTH>())
        else {
            return Err(corrupt("too short"));
        };
        let key = self.key(salt)?;
        let mut payload = Zeroizing::new(body.to_vec());
        XChaCha20Poly1305::new((&*key).into())
            .decrypt_inout_detached(
                &XNonce::from(*nonce),
                &associated(header, entry),
                payload.as_mut_slice().into(),
                tag.into(),
            )
            .map_err(|_| corrupt("damaged"))?;
        Ok(payload)
    }

    fn magic(&self) -> &'static [u8; MAGIC_LENGTH] {
        match self.source {
            KeySource::KeyFile(_) => KEY_FILE_MAGIC,
            KeySource::Passphrase(_) | KeySource::Unknown => PASSPHRASE_MAGIC,
        }
    }

    /// A known key with its salt, or a new one.
    fn any_key(&self) -> Result<(Salt, Key), StoreError> {
        if let Some(known) = self.keys.lock().unwrap_or_else(PoisonError::into_inner).first() {
            return Ok(known.clone());
        }
        let mut salt = Salt::default();
        fill(&mut salt)?;
        Ok((salt, self.key(&salt)?))
    }

    fn key(&self, salt: &Salt) -> Result<Key, StoreError> {
        // Locked while deriving, so that concurrent callers derive the key only once.
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = keys.iter().find(|(known, _)| known == salt) {
            return Ok(key.clone());
        }
        let mut key = Key::default();
        match &self.source {
            KeySource::KeyFile(path) => {
                let mut hash = Sha256::new_with_prefix(b"finmcp file store 1");
                hash.update(salt);
                hash.update(read_key_file(path)?);
                key.copy_from_slice(&hash.finalize());
            }
            KeySource::Unknown => return Err(StoreError::NeedsPassphrase),
            KeySource::Passphrase(passphrase) if passphrase.expose().is_empty() => {
                let fix = "set FINMCP_STORE_PASSPHRASE to a passphrase, or unset it".to_owned();
                return Err(StoreError::Unsafe(UnsafePlace { problem: "the passphrase is empty".to_owned(), fix }));
            }
            KeySource::Passphrase(passphrase) => {
                // The crate's parameters, 19 MiB and two passes, follow OWASP; `finmcp1p` identifies them.
                Argon2::default()
                    .hash_password_into(passphrase.expose().as_bytes(), salt, key.as_mut_slice())
                    .map_err(|error| {
                        StoreError::Failed(format!("could not derive a key from the passphrase: {error}"))
                    })?;
            }
        }
        keys.push((*salt, key.clone()));
        Ok(key)
    }
}

/// A key file may be a symbolic link and readable by others, like Docker's and systemd's secrets. Others must not be
/// able to write it, since they could choose the key.
fn read_key_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let unusable = |problem: String, fix: String| {
        StoreError::Unsafe(UnsafePlace { problem: format!("the key file {} {problem}", path.display()), fix })
    };
    let other = || "set FINMCP_STORE_KEY_FILE to the file with the key".to_owned();
    let file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => StoreError::NoKeyFile(path.display().to_string()),
        _ => unusable(format!("cannot be read: {error}"), other()),
    })?;
    let metadata = file.metadata().map_err(failed("look at", path))?;
    if !metadata.is_file() {
        return Err(unusable("is not a regular file".to_owned(), other()));
    }
    if writable_by_others(&metadata) {
        let fix = format!("run `chmod go-w '{}'`", path.display());
        return Err(unusable("is writable by other users".to_owned(), fix));
    }
    let mut contents = Zeroizing::new(Vec::with_capacity(metadata.len().min(KEY_LIMIT) as usize + 1));
    file.take(KEY_LIMIT).read_to_end(&mut contents).map_err(failed("read", path))?;
    if contents.len() < KEY_MINIMUM {
        let fix = format!("set FINMCP_STORE_KEY_FILE to a file of at least {KEY_MINIMUM} secret bytes");
        return Err(unusable(format!("has only {} bytes", contents.len()), fix));
    }
    Ok(contents)
}

fn associated(header: &[u8], entry: &str) -> Vec<u8> {
    [header, entry.as_bytes()].concat()
}

fn fill(bytes: &mut [u8]) -> Result<(), StoreError> {
    getrandom::fill(bytes).map_err(|error| StoreError::Failed(format!("no random numbers: {error}")))
}

impl From<PlaceError> for StoreError {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::Unsafe(place) => Self::Unsafe(place),
            PlaceError::Failed { what, source } => Self::Failed(format!("{what}: {source}")),
        }
    }
}

#[cfg(test)]
mod tests;
