use std::fs;

use super::*;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("key"), [7; 32]).unwrap();
        Self { folder }
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    fn entries(&self) -> PathBuf {
        self.folder.path().join("state/credentials")
    }

    fn store(&self) -> FileStore {
        self.store_with(KeySource::KeyFile(self.key_file()))
    }

    /// The names of the files in the folder.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.entries()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn store_with(&self, key: KeySource) -> FileStore {
        FileStore::new(self.entries(), key)
    }
}

fn payload(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.as_bytes().to_vec())
}

fn passphrase(text: &str) -> KeySource {
    KeySource::Passphrase(Secret::new(text.to_owned()))
}

async fn refusal(store: &FileStore) -> String {
    match store.load("a").await {
        Err(StoreError::Unsafe(place)) => format!("{place}; {}", place.fix),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn entries_are_restored_with_either_key() {
    for key in [None, Some(passphrase("correct horse"))] {
        let place = Place::new();
        let key = key.unwrap_or(KeySource::KeyFile(place.key_file()));
        let store = place.store_with(key.clone());
        assert!(store.load("a").await.unwrap().is_none());
        store.delete("a").await.unwrap();
        assert!(!place.entries().exists(), "reading creates nothing");
        store.save("a", payload("one")).await.unwrap();
        store.save("a", payload("two")).await.unwrap();
        store.save("b", payload(&"x".repeat(100_000))).await.unwrap();
        // As another process.
        let store = place.store_with(key);
        assert_eq!(*store.load("a").await.unwrap().unwrap(), b"two");
        assert_eq!(store.load("b").await.unwrap().unwrap().len(), 100_000);
        store.delete("a").await.unwrap();
        assert!(store.load("a").await.unwrap().is_none());
        assert_eq!(place.files(), ["b", KEY_PROOF], "no temporary file is left");
    }
}

/// t082: the disk contains no plain text, and never the same bytes twice.
#[tokio::test]
async fn t082_files_are_encrypted() {
    let place = Place::new();
    let store = place.store();
    store.save("a", payload("CANARY")).await.unwrap();
    let first = fs::read(place.entries().join("a")).unwrap();
    store.save("a", payload("CANARY")).await.unwrap();
    let second = fs::read(place.entries().join("a")).unwrap();
    assert!(!first.windows(6).any(|window| window == b"CANARY"));
    assert_ne!(first[HEADER_LENGTH..], second[HEADER_LENGTH..]);
    assert_ne!(first[MAGIC_LENGTH + SALT_LENGTH..HEADER_LENGTH], second[MAGIC_LENGTH + SALT_LENGTH..HEADER_LENGTH]);
}

/// t086, t088: the store refuses a changed byte, a truncated file, another entry's file, and another key.
#[tokio::test]
async fn t086_a_changed_file_is_refused() {
    let place = Place::new();
    let store = place.store();
    store.save("a", payload("payload")).await.unwrap();
    let file = place.entries().join("a");
    let whole = fs::read(&file).unwrap();
    for position in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[position] ^= 1;
        fs::write(&file, damaged).unwrap();
        assert!(matches!(store.load("a").await, Err(StoreError::Corrupt(_))), "{position}");
        fs::write(&file, &whole[..position]).unwrap();
        assert!(matches!(store.load("a").await, Err(StoreError::Corrupt(_))), "{position}");
    }
    fs::write(&file, &whole).unwrap();
    assert!(store.load("a").await.is_ok());
    fs::copy(&file, place.entries().join("b")).unwrap();
    assert!(matches!(store.load("b").await, Err(StoreError::Corrupt(_))));
    fs::write(place.key_file(), [8; 32]).unwrap();
    for key in [KeySource::KeyFile(place.key_file()), passphrase("x")] {
        let store = place.store_with(key);
        assert!(matches!(store.load("a").await, Err(StoreError::AnotherKey(_))));
        // It neither replaces what it cannot decrypt nor adds entries.
        for entry in ["a", "c"] {
            assert!(matches!(store.save(entry, payload("x")).await, Err(StoreError::AnotherKey(_))));
        }
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
}

#[tokio::test]
async fn a_wrong_passphrase_decrypts_nothing() {
    let place = Place::new();
    place.store_with(passphrase("the right one")).save("a", payload("x")).await.unwrap();
    let wrong = place.store_with(passphrase("wrong")).load("a").await;
    assert!(matches!(wrong, Err(StoreError::AnotherKey(_))));
    let empty = place.store_with(passphrase(""));
    assert!(refusal(&empty).await.contains("empty"));
}

/// Only a new store needs a long passphrase: a shorter one still opens what it encrypted.
#[tokio::test]
async fn c12_a_short_passphrase_opens_existing_entries_only() {
    let place = Place::new();
    let store = || place.store_with(passphrase("short"));
    assert!(matches!(store().save("a", payload("x")).await, Err(StoreError::ShortPassphrase)));
    assert!(place.files().is_empty());
    // As finmcp did before that rule.
    store().0.write(KEY_PROOF, payload("finmcp")).unwrap();
    store().save("a", payload("x")).await.unwrap();
    assert_eq!(*store().load("a").await.unwrap().unwrap(), b"x");
    fs::remove_file(place.entries().join(KEY_PROOF)).unwrap();
    store().save("b", payload("y")).await.unwrap();
    for (length, is_taken) in [(11, false), (12, true)] {
        let place = Place::new();
        let saved = place.store_with(passphrase(&"\u{e9}".repeat(length))).save("a", payload("x")).await;
        assert_eq!(saved.is_ok(), is_taken, "{length}");
    }
}

#[tokio::test]
async fn an_unsuitable_key_file_is_refused() {
    let place = Place::new();
    fs::create_dir_all(place.entries()).unwrap();
    let saved = |path: PathBuf| {
        let store = place.store_with(KeySource::KeyFile(path));
        async move { store.save("a", payload("x")).await }
    };
    let place_of = |name: &str| place.folder.path().join(name);
    #[cfg(unix)]
    fs::set_permissions(place.entries(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(place_of("short"), [1; 31]).unwrap();
    for poor in ["short", "state"] {
        assert!(matches!(saved(place_of(poor)).await, Err(StoreError::Unsafe(_))), "{poor}");
    }
    assert!(matches!(saved(place_of("missing")).await, Err(StoreError::NoKeyFile(_))));
    #[cfg(unix)]
    {
        use std::os::unix::fs::{PermissionsExt, symlink};
        symlink(place.key_file(), place_of("link")).unwrap();
        saved(place_of("link")).await.unwrap();
        fs::set_permissions(place.key_file(), fs::Permissions::from_mode(0o444)).unwrap();
        saved(place.key_file()).await.unwrap();
        fs::set_permissions(place.key_file(), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(saved(place.key_file()).await, Err(StoreError::Unsafe(_))));
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// t140: files are 0600 in a 0700 folder, and the store refuses other modes.
    #[tokio::test]
    async fn t140_other_modes_and_links_are_refused() {
        let place = Place::new();
        let (store, entries) = (place.store(), place.entries());
        store.save("a", payload("x")).await.unwrap();
        let file = entries.join("a");
        assert_eq!(fs::metadata(&entries).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);

        set_mode(&file, 0o644);
        assert!(refusal(&store).await.contains("chmod 600"));
        set_mode(&file, 0o600);
        set_mode(&entries, 0o750);
        assert!(refusal(&store).await.contains("chmod 700"));
        assert!(matches!(store.save("a", payload("y")).await, Err(StoreError::Unsafe(_))));
        set_mode(&entries, 0o700);

        fs::rename(&file, entries.join("elsewhere")).unwrap();
        symlink(entries.join("elsewhere"), &file).unwrap();
        assert!(refusal(&store).await.contains("symbolic link"));
        // Writing replaces the link and does not change its target.
        let before = fs::read(entries.join("elsewhere")).unwrap();
        store.save("a", payload("z")).await.unwrap();
        assert_eq!(fs::read(entries.join("elsewhere")).unwrap(), before);
        assert_eq!(*store.load("a").await.unwrap().unwrap(), b"z");

        let linked = place.folder.path().join("linked");
        symlink(&entries, &linked).unwrap();
        let store = FileStore::new(linked, KeySource::KeyFile(place.key_file()));
        assert!(refusal(&store).await.contains("symbolic link"));
    }

    /// t140: a write that cannot be finished leaves nothing behind.
    #[tokio::test]
    async fn t140_a_failed_write_leaves_nothing() {
        let place = Place::new();
        // A folder in the file's place cannot be replaced by a file.
        fs::create_dir_all(place.entries().join("a")).unwrap();
        set_mode(&place.entries(), 0o700);
        assert!(matches!(place.store().save("a", payload("new")).await, Err(StoreError::Failed(_))));
        assert_eq!(place.files(), ["a", KEY_PROOF]);
    }
}
