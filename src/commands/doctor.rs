//! `finmcp doctor`.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    app::{
        connection::Connection,
        credentials::Credentials,
        relay::{self, Relay},
    },
    bridge::Ends,
    cli::{self, Control},
    console::Console,
    credential::{
        clock::{Clock, SystemClock},
        record::Credential,
    },
    doctor::{
        self,
        client_entry::Attempt,
        conversation,
        findings::Findings,
        network, report,
        step::{Finding, Step, Trouble},
        subject::Subject,
    },
    error::{Error, ErrorKind},
    mcp::revision::Era,
    profile::{Profile, selector::Selector},
    settings::{self, Settings, error::SettingsError},
    setup::{self, plan::Target},
};

/// The name of the steps about AI clients.
const CLIENT: &str = "client";

/// Request timeout, in seconds.
const PATIENCE: u64 = 30;

/// Runs each step and prints its finding as it goes.
///
/// # Errors
/// A step failed; stdout has the details.
pub async fn run(
    settings: &Arc<Settings>,
    credentials: &Credentials,
    console: Console,
    arguments: cli::Doctor,
) -> Result<(), Error> {
    let selector = Selector::from(arguments.server);
    let mut findings = open(console, arguments.json)?;
    doctor::examine_settings(settings, &mut findings);
    let selected = match settings.profiles.select(&selector) {
        Ok(profile) => {
            examine(settings, credentials, &profile, &mut findings).await;
            Some(profile)
        }
        Err(error) => {
            doctor::note_unselected(error, &mut findings);
            None
        }
    };
    examine_clients(settings, credentials, selected.as_ref(), &mut findings).await;
    close(console, &findings, arguments.json)
}

/// Reports settings that cannot be read; no other step can run then.
///
/// # Errors
/// A step failed; stdout has the details.
pub fn without_settings(console: Console, error: SettingsError, arguments: &cli::Doctor) -> Result<(), Error> {
    let mut findings = open(console, arguments.json)?;
    findings.note("settings", Finding::Failed(error.into()));
    close(console, &findings, arguments.json)
}

async fn examine(settings: &Arc<Settings>, credentials: &Credentials, profile: &Profile, findings: &mut Findings<'_>) {
    let subject = Subject {
        settings,
        http: &credentials.http,
        clock: credentials.clock.as_ref(),
        store: credentials.store.as_ref(),
        profile,
        tokens: credentials.tokens(profile.signed_in.clone()),
    };
    let outlook = doctor::examine(&subject, findings).await;
    let answered = outlook.answered.as_ref();
    let is_rejected = match outlook.obstacle {
        None => {
            conversation::note(&subject, converse(Relay { settings, credentials, profile }).await, answered, findings)
        }
        Some(cause) => {
            findings.skip(&["handshake", "tools"], cause);
            false
        }
    };
    network::examine_clock(answered, is_rejected, findings);
}

/// Tests the entries of the AI clients on this machine: those for `meant`, or all if no server was selected.
async fn examine_clients(
    settings: &Settings,
    credentials: &Credentials,
    meant: Option<&Profile>,
    findings: &mut Findings<'_>,
) {
    let found = match settings::machine() {
        Ok(machine) => setup::found(&machine),
        Err(error) => return findings.note(CLIENT, Finding::Failed(error.into())),
    };
    let mut tried = 0;
    for found in found {
        let entries = match found.entries {
            Ok(entries) => entries,
            Err(error) => {
                let trouble = Trouble::new(format!("{}: cannot read its configuration file", found.client.title()));
                findings.note(CLIENT, Finding::Warning(trouble.because(causes(&error))));
                continue;
            }
        };
        for entry in entries.iter().filter(|entry| entry.runs_finmcp()) {
            let profile = match Target::meant(&entry.arguments, &settings.profiles, cli::served) {
                // It is embedded in finmcp.
                Some(Target { profile: None, .. }) => continue,
                server => server.and_then(|server| server.profile),
            };
            if let (Some(meant), Some(profile)) = (meant, &profile)
                && meant.name != profile.name
            {
                continue;
            }
            let profile = match profile {
                Some(profile) => Some(as_it_is(credentials, profile).await),
                None => None,
            };
            let passes = |name: &str| found.client.passes(name) || entry.passed.iter().any(|passed| passed == name);
            let attempt = Attempt {
                client: found.client,
                scope: found.scope,
                entry,
                profile: profile.as_ref(),
                variables: settings::variables(passes),
                is_proxied: profile.as_ref().is_some_and(|profile| credentials.http.proxy(&profile.server).is_some()),
            };
            findings.note(CLIENT, attempt.examine().await);
            tried += 1;
        }
    }
    if tried == 0 {
        findings.note(
            CLIENT,
            Finding::Ok("no AI client on this machine uses it; run `finmcp setup` to add it to one".to_owned()),
        );
    }
}

/// `profile`, signed out if its sign-in has ended: its entries are not to blame for that.
async fn as_it_is(credentials: &Credentials, profile: Profile) -> Profile {
    let is_live = |credential: &Credential| credential.is_alive() && credential.tokens.is_some();
    match credentials.earlier(&profile).await {
        Ok(credential) if !credential.as_ref().is_some_and(is_live) => Profile { signed_in: None, ..profile },
        _ => profile,
    }
}

/// The number of tools, the name and the era of the server, asked now instead of taken from memory.
async fn converse(server: Relay<'_>) -> Result<(usize, String, Option<Era>), Error> {
    let deadline = relay::deadline(Some(PATIENCE), server.settings);
    let era = Arc::new(Mutex::new(None));
    let learned = era.clone();
    let ends = Ends {
        remembered: None,
        remember: Arc::new(move |description| {
            *learned.lock().unwrap_or_else(PoisonError::into_inner) = Some(description.era);
        }),
        ..server.ends(server.tokens(), deadline, &Control::default())
    };
    let mut connection = Connection::through(ends, "{}").await?;
    let outcome = conversation::examine(&mut connection.client).await.map_err(|error| connection.error(error));
    let name = conversation::name(&connection.client);
    connection.close().await;
    let era = *era.lock().unwrap_or_else(PoisonError::into_inner);
    Ok((outcome?, name, era))
}

fn open<'a>(console: Console, is_json: bool) -> Result<Findings<'a>, Error> {
    if !is_json {
        console.data(&report::heading(SystemClock.now()))?;
    }
    let tell = move |step: &Step| {
        // Skipped steps follow at the end, in one line.
        if !is_json && !matches!(step.finding, Finding::Skipped(_)) {
            let verdict = console.verdict(step.finding.verdict());
            // A reader that has closed the pipe needs no error.
            let _ = console.data(&report::lines(step, &verdict));
        }
    };
    Ok(Findings::new(settings::home(), tell))
}

fn close(console: Console, findings: &Findings<'_>, is_json: bool) -> Result<(), Error> {
    let text = match is_json {
        true => report::json(findings, SystemClock.now()).map_err(std::io::Error::other)?,
        false => report::skipped(findings, &console.verdict("skipped")) + &report::summary(findings),
    };
    console.data(&text)?;
    match findings.count("failed") {
        0 => Ok(()),
        1 => Err(Error::new(ErrorKind::Failure, "1 step failed")),
        failed => Err(Error::new(ErrorKind::Failure, format!("{failed} steps failed"))),
    }
}

/// The error and its causes, in one sentence.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
