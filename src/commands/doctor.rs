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
    console::{Console, Tone},
    credential::clock::{Clock, SystemClock},
    doctor::{
        self, Outlook,
        client_entry::{Attempt, SignIn},
        conversation,
        findings::Findings,
        network, report,
        step::{Finding, Step, StepName, Trouble, Verdict},
        subject::Subject,
        token::Obstacle,
    },
    error::{Error, ErrorKind},
    mcp::revision::Era,
    profile::{Profile, selector::Selector},
    settings::{self, Settings, error::SettingsError, machine::Machine},
    setup::{self, Found, entry::Entry, plan::Target},
};

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
    let machine = settings::machine()?;
    let mut findings = open(console, arguments.json)?;
    doctor::examine_settings(settings, &mut findings);
    let (selected, obstacle) = match settings.profiles.select(&selector) {
        Ok(profile) => {
            let obstacle = examine(settings, credentials, &profile, &machine, &mut findings).await;
            (Some(profile), obstacle)
        }
        Err(error) => {
            doctor::note_unselected(error, &mut findings);
            (None, None)
        }
    };
    let entries = Entries { settings, credentials, machine: &machine, selected: selected.as_ref(), obstacle };
    entries.examine(&mut findings).await;
    close(console, &findings, arguments.json)
}

/// Reports settings that cannot be read; no other step can run then.
///
/// # Errors
/// A step failed; stdout has the details.
pub fn without_settings(console: Console, error: SettingsError, arguments: &cli::Doctor) -> Result<(), Error> {
    let mut findings = open(console, arguments.json)?;
    findings.note(StepName::Settings, Finding::Failed(error.into()));
    close(console, &findings, arguments.json)
}

/// Examines the server; returns the step that keeps this process from using it, if one does.
async fn examine(
    settings: &Arc<Settings>,
    credentials: &Credentials,
    profile: &Profile,
    machine: &Machine,
    findings: &mut Findings<'_>,
) -> Option<StepName> {
    let subject = Subject {
        settings,
        http: &credentials.http,
        clock: credentials.clock.as_ref(),
        store: credentials.store.as_ref(),
        profile,
        tokens: credentials.tokens(profile.signed_in.clone()),
    };
    let Outlook { answered, obstacle, signs_the_time } = doctor::examine(&subject, machine, findings).await;
    let cause = obstacle.as_ref().map(|obstacle| obstacle.step);
    let symptom = match obstacle {
        None => {
            let is_of_clock = signs_the_time && answered.as_ref().is_ok_and(|answered| answered.wrong_by().is_some());
            let outcome = converse(Relay { settings, credentials, profile }).await;
            conversation::note(&subject, outcome, is_of_clock, findings)
        }
        Some(Obstacle { step, symptom }) => {
            findings.skip(&[StepName::Handshake, StepName::Tools], step);
            symptom
        }
    };
    network::examine_clock(&subject, answered.as_ref().map_err(|cause| *cause), symptom, findings);
    cause
}

/// The entries of the AI clients on this machine.
struct Entries<'a> {
    settings: &'a Settings,
    credentials: &'a Credentials,
    machine: &'a Machine,
    /// The server that the user selected; without one, the entries for all servers count.
    selected: Option<&'a Profile>,
    /// What keeps this process from using that server.
    obstacle: Option<StepName>,
}

impl Entries<'_> {
    async fn examine(&self, findings: &mut Findings<'_>) {
        let mut tried = 0;
        for found in setup::found(self.machine) {
            let entries = match &found.entries {
                Ok(entries) => entries,
                Err(error) => {
                    let trouble = Trouble::new(format!("{}: cannot read its configuration file", found.client.title()));
                    findings.note(StepName::Client, Finding::Warning(trouble.because(causes(error))));
                    continue;
                }
            };
            for entry in entries.iter().filter(|entry| entry.runs_finmcp()) {
                tried += usize::from(self.try_entry(&found, entry, findings).await);
            }
        }
        if tried == 0 {
            let none = "no AI client on this machine uses it; run `finmcp setup` to add it to one";
            findings.note(StepName::Client, Finding::Ok(none.to_owned()));
        }
    }

    /// Tests one entry; false if it is for another server.
    async fn try_entry(&self, found: &Found, entry: &Entry, findings: &mut Findings<'_>) -> bool {
        let profile = match Target::meant(&entry.arguments, &self.settings.profiles, cli::served) {
            // It is embedded in finmcp.
            Some(Target { profile: None, .. }) => return false,
            server => server.and_then(|server| server.profile),
        };
        if let (Some(selected), Some(profile)) = (self.selected, &profile)
            && selected.name != profile.name
        {
            return false;
        }
        let sign_in = match &profile {
            Some(profile) => self.sign_in(profile, findings).await,
            None => SignIn::default(),
        };
        let passes = |name: &str| found.client.passes(name) || entry.passed.iter().any(|passed| passed == name);
        let is_proxied = |profile: &Profile| self.credentials.http.proxy(&profile.server).is_some();
        let attempt = Attempt {
            settings: self.settings,
            client: found.client,
            scope: found.scope,
            entry,
            profile: profile.as_ref(),
            sign_in,
            variables: settings::variables(passes),
            is_proxied: profile.as_ref().is_some_and(is_proxied),
        };
        findings.note(StepName::Client, attempt.examine().await);
        true
    }

    /// What this process knows of the sign-in to `profile`: an entry is not to blame for what fails here too.
    async fn sign_in(&self, profile: &Profile, findings: &mut Findings<'_>) -> SignIn {
        let obstacle = self.obstacle.filter(|_| self.selected.is_some());
        match self.credentials.earlier(profile).await {
            Ok(credential) => SignIn {
                is_live: credential.as_ref().is_some_and(|it| it.is_alive() && it.tokens.is_some()),
                is_bound: credential.is_some_and(|credential| credential.dpop_key.is_some()),
                obstacle,
            },
            Err(error) => {
                // Without a selected server, no step has read the store yet.
                if self.selected.is_none() && !findings.has_failed(StepName::Store) {
                    findings.note(StepName::Store, Finding::Failed(error.into()));
                }
                SignIn { obstacle: Some(StepName::Store), ..SignIn::default() }
            }
        }
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
            let verdict = colored(console, step.finding.verdict());
            // A reader that has closed the pipe needs no error.
            let _ = console.data(&report::lines(step, &verdict, console.width()));
        }
    };
    Ok(Findings::new(settings::home(), tell))
}

fn close(console: Console, findings: &Findings<'_>, is_json: bool) -> Result<(), Error> {
    let text = match is_json {
        true => report::json(findings, SystemClock.now()).map_err(std::io::Error::other)?,
        false => {
            report::skipped(findings, &colored(console, Verdict::Skipped), console.width()) + &report::summary(findings)
        }
    };
    console.data(&text)?;
    match findings.count(Verdict::Failed) {
        0 => Ok(()),
        1 => Err(Error::new(ErrorKind::Failure, "1 step failed")),
        failed => Err(Error::new(ErrorKind::Failure, format!("{failed} steps failed"))),
    }
}

/// The verdict in one word, in its colour if stdout has colours.
fn colored(console: Console, verdict: Verdict) -> String {
    let tone = match verdict {
        Verdict::Ok => Tone::Good,
        Verdict::Warning => Tone::Doubtful,
        Verdict::Failed => Tone::Bad,
        Verdict::Skipped => Tone::Faint,
    };
    console.toned(verdict.word(), tone)
}

/// The error and its causes, in one sentence.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
