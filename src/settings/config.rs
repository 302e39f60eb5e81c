//! Reads and edits `config.toml`.
//!
//! finmcp updates `[profiles]` when the user signs in or out, and keeps comments and order. It never writes a secret
//! there. It reads only the user's file, never one in a project's folder.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::{
    disk::{lock::Lock, private_folder, replace},
    profile::{Profile, document::ProfileDocument, provider_document::ProviderDocument},
    settings::error::SettingsError,
};

/// How long to wait for another finmcp process that edits `config.toml`.
const EDIT_DEADLINE: Duration = Duration::from_secs(5);

/// The content of `config.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigDocument {
    pub(crate) default: Option<String>,
    pub(crate) client_metadata_url: Option<String>,
    pub(crate) ca_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) providers: BTreeMap<String, ProviderDocument>,
    #[serde(default)]
    pub(crate) profiles: BTreeMap<String, ProfileDocument>,
}

/// Reads the file in `folder`. A missing file counts as empty.
///
/// # Errors
/// [`SettingsError`], with the position of the problem.
pub(crate) fn read(folder: &Path) -> Result<ConfigDocument, SettingsError> {
    let text = text(folder)?;
    let path = folder.join("config.toml");
    toml_edit::de::from_str(&text).map_err(|error| SettingsError::Config { path, problem: error.to_string() })
}

/// The text of the file in `folder`; empty if it is missing.
///
/// # Errors
/// [`SettingsError::File`] and [`SettingsError::Exposed`].
pub(super) fn text(folder: &Path) -> Result<String, SettingsError> {
    let path = folder.join("config.toml");
    let text = read_if_there(&path).map_err(|source| SettingsError::File { path: path.clone(), source })?;
    if !text.is_empty() && (writable_by_others(&path) || writable_by_others(folder)) {
        return Err(SettingsError::Exposed { path });
    }
    Ok(text)
}

/// Saves `profile` and its sign-in.
///
/// # Errors
/// [`SettingsError`]. `config.toml` is then unchanged.
pub(super) async fn save_profile(folder: &Path, locks: &Path, profile: &Profile) -> Result<(), SettingsError> {
    let document = ProfileDocument::from(profile);
    edit(folder, locks, |profiles| {
        let table = toml_edit::ser::to_document(&document).map_err(|error| error.to_string())?;
        let mut table = table.as_table().clone();
        for name in ["overrides", "signed_in"] {
            if let Some(member) = table.get_mut(name) {
                member.make_value();
            }
        }
        if let Some(before) = profiles.get(&profile.name).and_then(toml_edit::Item::as_table) {
            table.decor_mut().clone_from(before.decor());
            table.set_position(before.position());
        }
        profiles.insert(&profile.name, toml_edit::Item::Table(table));
        Ok(())
    })
    .await
}

/// Removes the sign-in of the profile `name`. Keeps its server and options.
///
/// # Errors
/// [`SettingsError`]. `config.toml` is then unchanged.
pub(super) async fn sign_out(folder: &Path, locks: &Path, name: &str) -> Result<(), SettingsError> {
    edit(folder, locks, |profiles| {
        if let Some(profile) = profiles.get_mut(name).and_then(toml_edit::Item::as_table_like_mut) {
            profile.remove("signed_in");
        }
        Ok(())
    })
    .await
}

/// Removes the profile `name`, and the default if it names that profile.
///
/// # Errors
/// [`SettingsError`]. `config.toml` is then unchanged.
pub(super) async fn remove_profile(folder: &Path, locks: &Path, name: &str) -> Result<(), SettingsError> {
    edit_document(folder, locks, |document| {
        profiles_of(document)?.remove(name);
        if is_default(document, name) {
            document.remove("default");
        }
        Ok(())
    })
    .await
}

/// Renames the profile `old` to `new`, which becomes the default if `old` is, and sets the account of its sign-in. Its
/// place, comments and options stay.
///
/// # Errors
/// [`SettingsError`]. `config.toml` is then unchanged.
pub(super) async fn rename_profile(
    folder: &Path,
    locks: &Path,
    old: &str,
    new: &str,
    account: Option<&str>,
) -> Result<(), SettingsError> {
    edit_document(folder, locks, |document| {
        let profiles = profiles_of(document)?;
        let names: Vec<String> = profiles.iter().map(|(name, _)| name.to_owned()).collect();
        if names.iter().any(|name| name == new) || !names.iter().any(|name| name == old) {
            return Err(format!("another program has changed [profiles.{old}] or [profiles.{new}]"));
        }
        // All are inserted again, since the order of a table's values is that of their insertion.
        for (key, mut item) in names.iter().filter_map(|name| profiles.remove_entry(name)).collect::<Vec<_>>() {
            if key.get() != old {
                profiles.insert_formatted(&key, item);
                continue;
            }
            if let Some(account) = account {
                set_account(&mut item, account);
            }
            let renamed = toml_edit::Key::new(new).with_leaf_decor(key.leaf_decor().clone());
            profiles.insert_formatted(&renamed.with_dotted_decor(key.dotted_decor().clone()), item);
        }
        if is_default(document, old) {
            set_default(document, new);
        }
        Ok(())
    })
    .await
}

/// Sets `default`, or removes it.
///
/// # Errors
/// [`SettingsError`]. `config.toml` is then unchanged.
pub(super) async fn save_default(folder: &Path, locks: &Path, server: Option<&str>) -> Result<(), SettingsError> {
    edit_document(folder, locks, |document| {
        match server {
            Some(server) => set_default(document, server),
            None => drop(document.remove("default")),
        }
        Ok(())
    })
    .await
}

/// Replaces the whole file by `text` unless it no longer is `before`.
///
/// # Errors
/// [`SettingsError`]. `config.toml` is then unchanged.
pub(super) async fn replace_text(folder: &Path, locks: &Path, before: &str, text: &str) -> Result<(), SettingsError> {
    let path = folder.join("config.toml");
    let file_error = |source| SettingsError::File { path: path.clone(), source };
    private_folder::create(folder).map_err(file_error)?;
    let _turn = Lock::acquire(locks, "config", EDIT_DEADLINE).await.map_err(SettingsError::Unchanged)?;
    if read_if_there(&path).map_err(file_error)? != before {
        return Err(SettingsError::Overtaken { path });
    }
    replace::private_behind_link(&path, text.as_bytes()).map_err(file_error)
}

fn is_default(document: &toml_edit::DocumentMut, name: &str) -> bool {
    let default = document.get("default").and_then(toml_edit::Item::as_str);
    default.is_some_and(|default| default.eq_ignore_ascii_case(name))
}

fn set_default(document: &mut toml_edit::DocumentMut, server: &str) {
    set_text(document.entry("default").or_insert(toml_edit::Item::None), server);
}

fn set_account(profile: &mut toml_edit::Item, account: &str) {
    let signed_in = profile.get_mut("signed_in").and_then(toml_edit::Item::as_table_like_mut);
    if let Some(before) = signed_in.and_then(|signed_in| signed_in.get_mut("account")) {
        set_text(before, account);
    }
}

/// Sets the text and keeps the spaces and comments around it.
fn set_text(item: &mut toml_edit::Item, text: &str) {
    let mut value = toml_edit::Value::from(text);
    if let Some(before) = item.as_value() {
        value.decor_mut().clone_from(before.decor());
    }
    *item = value.into();
}

/// Edits only `[profiles]` in `config.toml`.
///
/// # Errors
/// [`SettingsError`]. `config.toml` is then unchanged.
async fn edit(
    folder: &Path,
    locks: &Path,
    change: impl FnOnce(&mut toml_edit::Table) -> Result<(), String>,
) -> Result<(), SettingsError> {
    edit_document(folder, locks, |document| change(profiles_of(document)?)).await
}

/// The table `[profiles]`, which is added if it is missing.
fn profiles_of(document: &mut toml_edit::DocumentMut) -> Result<&mut toml_edit::Table, String> {
    let profiles = document.entry("profiles").or_insert_with(|| {
        let mut table = toml_edit::Table::new();
        table.set_implicit(true);
        toml_edit::Item::Table(table)
    });
    if let toml_edit::Item::Value(toml_edit::Value::InlineTable(inline)) = profiles {
        *profiles = toml_edit::Item::Table(std::mem::take(inline).into_table());
    }
    profiles.as_table_mut().ok_or_else(|| "[profiles] is not a table".to_owned())
}

/// Edits `config.toml`, one process at a time, and replaces the file atomically.
///
/// # Errors
/// [`SettingsError`]. `config.toml` is then unchanged.
async fn edit_document(
    folder: &Path,
    locks: &Path,
    change: impl FnOnce(&mut toml_edit::DocumentMut) -> Result<(), String>,
) -> Result<(), SettingsError> {
    let path = folder.join("config.toml");
    let file_error = |source| SettingsError::File { path: path.clone(), source };
    let config_error = |problem: String| SettingsError::Config { path: path.clone(), problem };
    private_folder::create(folder).map_err(file_error)?;
    let _turn = Lock::acquire(locks, "config", EDIT_DEADLINE).await.map_err(SettingsError::Unchanged)?;
    let text = read_if_there(&path).map_err(file_error)?;
    let mut document: toml_edit::DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| config_error(error.to_string()))?;
    change(&mut document).map_err(config_error)?;
    replace::private_behind_link(&path, document.to_string().as_bytes()).map_err(file_error)
}

fn read_if_there(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        outcome => outcome,
    }
}

fn writable_by_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| private_folder::writable_by_others(&metadata))
}

/// Replaces the file at `path` with `content`, and creates its folder, accessible to this user only, if missing.
///
/// # Errors
/// The I/O error. The file is then unchanged.
pub(crate) fn store(path: &Path, content: &[u8]) -> io::Result<()> {
    private_folder::create(path.parent().unwrap_or(Path::new(".")))?;
    replace::private_behind_link(path, content)
}

#[cfg(test)]
mod tests;
