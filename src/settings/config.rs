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
    let path = folder.join("config.toml");
    let text = read_if_there(&path).map_err(|source| SettingsError::File { path: path.clone(), source })?;
    if !text.is_empty() && (writable_by_others(&path) || writable_by_others(folder)) {
        return Err(SettingsError::Exposed { path });
    }
    toml_edit::de::from_str(&text).map_err(|error| SettingsError::Config { path, problem: error.to_string() })
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

/// Edits only `[profiles]` in `config.toml`, one process at a time, and replaces the file atomically.
///
/// # Errors
/// [`SettingsError`]. `config.toml` is then unchanged.
async fn edit(
    folder: &Path,
    locks: &Path,
    change: impl FnOnce(&mut toml_edit::Table) -> Result<(), String>,
) -> Result<(), SettingsError> {
    let path = folder.join("config.toml");
    let file_error = |source| SettingsError::File { path: path.clone(), source };
    let config_error = |problem: String| SettingsError::Config { path: path.clone(), problem };
    private_folder::create(folder).map_err(file_error)?;
    let _turn = Lock::acquire(locks, "config", EDIT_DEADLINE).await.map_err(SettingsError::Unchanged)?;
    let text = read_if_there(&path).map_err(file_error)?;
    let mut document: toml_edit::DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| config_error(error.to_string()))?;
    let profiles = document.entry("profiles").or_insert_with(|| {
        let mut table = toml_edit::Table::new();
        table.set_implicit(true);
        toml_edit::Item::Table(table)
    });
    if let toml_edit::Item::Value(toml_edit::Value::InlineTable(inline)) = profiles {
        *profiles = toml_edit::Item::Table(std::mem::take(inline).into_table());
    }
    let profiles = profiles.as_table_mut().ok_or_else(|| config_error("[profiles] is not a table".to_owned()))?;
    change(profiles).map_err(config_error)?;
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
