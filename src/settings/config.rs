//! `config.toml`: the person's own file, as it is spelled.
//!
//! finmcp adds and updates its `[profiles]` when somebody signs in or out, and keeps the comments and the order of the
//! rest. No secret is ever in it. A project's folder has no say: only the user's own file is read.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::{
    disk::{lock::Lock, private_folder, replace},
    profile::{Profile, document::ProfileDocument, provider::ProviderDocument},
    settings::error::SettingsError,
};

/// How long another finmcp may take to change `config.toml`.
const EDIT_DEADLINE: Duration = Duration::from_secs(5);

/// `config.toml`, as it is spelled.
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

/// Reads the file in `folder`; none is an empty one.
///
/// # Errors
/// [`SettingsError`] that says where what is wrong.
pub(crate) fn read(folder: &Path) -> Result<ConfigDocument, SettingsError> {
    let path = folder.join("config.toml");
    let text = read_if_there(&path).map_err(|source| SettingsError::File { path: path.clone(), source })?;
    if !text.is_empty() && (writable_by_others(&path) || writable_by_others(folder)) {
        return Err(SettingsError::Exposed { path });
    }
    toml_edit::de::from_str(&text).map_err(|error| SettingsError::Config { path, problem: error.to_string() })
}

/// Saves `profile`, so that later commands find it by name, and what it is signed in as.
///
/// # Errors
/// [`SettingsError`]; then `config.toml` is as it was.
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

/// Notes that nobody is signed in to the profile `name` any more. Its server and options stay.
///
/// # Errors
/// [`SettingsError`]; then `config.toml` is as it was.
pub(super) async fn sign_out(folder: &Path, locks: &Path, name: &str) -> Result<(), SettingsError> {
    edit(folder, locks, |profiles| {
        if let Some(profile) = profiles.get_mut(name).and_then(toml_edit::Item::as_table_like_mut) {
            profile.remove("signed_in");
        }
        Ok(())
    })
    .await
}

/// Changes the `[profiles]` of `config.toml` and nothing else, one finmcp at a time, in one step that a crash
/// cannot halve.
///
/// # Errors
/// [`SettingsError`]; then `config.toml` is as it was.
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

/// Puts `content` into the file at `path`, in a folder of this person's alone that is made where it is missing.
///
/// # Errors
/// What the file system says; then the file is as it was.
pub(crate) fn keep(path: &Path, content: &[u8]) -> io::Result<()> {
    private_folder::create(path.parent().unwrap_or(Path::new(".")))?;
    replace::private_behind_link(path, content)
}
