//! `finmcp profile`.

mod clients;

use serde::Serialize;

use crate::{
    app::{credentials::Credentials, profiles, sign_out},
    cli::profile::{Profile as Arguments, ProfileCommand, Remove},
    commands::{table::table, words},
    console::Console,
    error::{Error, ErrorKind},
    profile::{
        Profile,
        selector::{Selector, SelectorError},
    },
    settings::Settings,
};

/// Lists, renames or removes saved profiles, or shows or sets the default.
///
/// # Errors
/// There is no such profile, or the store or `config.toml` cannot be written.
pub async fn run(
    settings: &Settings,
    credentials: &Credentials,
    console: Console,
    arguments: Arguments,
) -> Result<(), Error> {
    match arguments.command {
        ProfileCommand::List { json: true } => list_as_json(settings, console),
        ProfileCommand::List { json: false } => list(settings, console),
        ProfileCommand::Rename { old, new } => rename(settings, credentials, console, &old, &new).await,
        ProfileCommand::Remove(arguments) => remove(settings, credentials, console, arguments).await,
        ProfileCommand::Default { unset: true, .. } => {
            settings.save_default(None).await?;
            console.note("No server is the default now");
            Ok(())
        }
        ProfileCommand::Default { name: Some(name), .. } => set_default(settings, console, &name).await,
        ProfileCommand::Default { name: None, .. } => show_default(settings, console),
    }
}

/// A saved profile, as `config.toml` has it.
#[derive(Serialize)]
struct Row {
    profile: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    environment: String,
    server: String,
    signed_in: bool,
    default: bool,
}

impl Row {
    fn all(settings: &Settings) -> Vec<Self> {
        let default = settings.profiles.default_server.clone();
        let default = default.and_then(|server| {
            settings.profiles.select(&Selector { server: Some(server), ..Selector::default() }).ok()
        });
        let row = |profile: Profile| Self {
            default: default.as_ref().is_some_and(|default| default.saved && default.name == profile.name),
            signed_in: profile.signed_in.is_some(),
            profile: profile.name,
            provider: profile.provider,
            environment: profile.environment,
            server: profile.server.to_string(),
        };
        settings.profiles.all().map(row).collect()
    }

    fn cells(&self) -> [String; 3] {
        let name = if self.default { format!("{} (default)", self.profile) } else { self.profile.clone() };
        let state = if self.signed_in { "signed in" } else { "signed out" };
        [name, state.to_owned(), self.server.clone()]
    }
}

fn list(settings: &Settings, console: Console) -> Result<(), Error> {
    let rows: Vec<[String; 3]> = Row::all(settings).iter().map(Row::cells).collect();
    if rows.is_empty() && settings.profiles.broken().next().is_none() {
        console.say("No profile is saved yet. Sign in with `finmcp login`");
        return Ok(());
    }
    if !rows.is_empty() {
        console.data(&table(["PROFILE", "SIGN-IN", "SERVER"], &rows, console.width()))?;
    }
    for (name, problem) in settings.profiles.broken() {
        console.say(&format!("warning: profile {name:?} in config.toml is invalid: {problem}"));
    }
    Ok(())
}

fn list_as_json(settings: &Settings, console: Console) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(&Row::all(settings)).map_err(std::io::Error::other)?;
    Ok(console.data(&(text + "\n"))?)
}

async fn rename(
    settings: &Settings,
    credentials: &Credentials,
    console: Console,
    old: &str,
    new: &str,
) -> Result<(), Error> {
    let entries = match settings.profiles.saved_name(old) {
        Ok(name) => clients::entries(settings, name),
        Err(_) => Vec::new(),
    };
    let renamed = profiles::rename(settings, credentials, old, new).await?;
    console.note(&format!("Renamed {old} to {new}"));
    if entries.is_empty() {
        return Ok(());
    }
    console.say("These AI clients still use the old name. To update them, run:");
    for entry in &entries {
        console.say(&format!("  {}", entry.update(&renamed)));
    }
    Ok(())
}

async fn remove(
    settings: &Settings,
    credentials: &Credentials,
    console: Console,
    arguments: Remove,
) -> Result<(), Error> {
    let name = settings.profiles.saved_name(&arguments.name)?;
    let profile = settings.profiles.named(name);
    let place = profile.as_ref().map(|profile| format!(" ({})", profile.server)).unwrap_or_default();
    if !arguments.yes {
        let command = format!("finmcp profile remove {name} --yes");
        if !console.is_attended() {
            let error = Error::new(ErrorKind::Usage, format!("not removed: cannot ask here whether to remove {name}"));
            return Err(error.hint(format!("run `{command}`")));
        }
        if !console.confirm(&format!("Sign out of {name}{place} and delete its settings? [y/N] ")).await {
            console.note("Nothing was changed");
            return Ok(());
        }
    }
    let entries = clients::entries(settings, name);
    let credential = profiles::remove(settings, credentials, name).await?;
    console.note(&format!("Removed {name}{place}"));
    if let Some(credential) = credential.filter(|_| !arguments.no_revoke) {
        sign_out::revoke(credentials, &credential, &mut |left| words::not_revoked(console, &left)).await;
    }
    if let Some(profile) = profile.filter(|_| !entries.is_empty()) {
        console.say("These AI clients still start finmcp for it. To remove their entries, run:");
        for entry in &entries {
            console.say(&format!("  {}", entry.removal(settings, &profile)));
        }
    }
    Ok(())
}

fn show_default(settings: &Settings, console: Console) -> Result<(), Error> {
    match &settings.profiles.default_server {
        Some(server) => Ok(console.data(&format!("{server}\n"))?),
        None => {
            console.say("No server is the default. Set one with finmcp profile default SERVER");
            Ok(())
        }
    }
}

async fn set_default(settings: &Settings, console: Console, typed: &str) -> Result<(), Error> {
    let server = settings.profiles.default_name(typed).map_err(|error| match error {
        SelectorError::Embedded => Error::from(SelectorError::Embedded).while_doing("the demo cannot be the default"),
        error => error.into(),
    })?;
    settings.save_default(Some(&server)).await?;
    console.note(&format!("{server} is the default now"));
    Ok(())
}
