//! `finmcp doctor`.

use crate::{
    bridge::era::Era,
    cli,
    commands::{App, connection::Connection, serve},
    console::Console,
    credential::clock::{Clock, SystemClock},
    doctor::{
        self, Patient,
        chart::Chart,
        conversation, network, report,
        step::{Finding, Step},
    },
    error::{Error, ErrorKind},
    profile::{Profile, Selector},
    settings::{Settings, SettingsError},
};

/// How long the server may take for an answer, in seconds.
const PATIENCE: u64 = 30;

/// Looks at each step, and says what it found as it goes.
///
/// # Errors
/// That a step failed; what stdout says.
pub async fn run(app: &App, arguments: cli::Doctor) -> Result<(), Error> {
    let selector = Selector::from(arguments.server);
    let mut chart = open(app.console, arguments.json)?;
    doctor::examine_settings(&app.settings, &mut chart);
    match Profile::select(&selector, &app.settings) {
        Ok(profile) => examine(app, &profile, &mut chart).await,
        Err(error) => doctor::note_unselected(error, &mut chart),
    }
    close(app.console, &chart, arguments.json)
}

/// The same where the settings cannot be read, and nothing else can be looked at.
///
/// # Errors
/// That a step failed; what stdout says.
pub fn without_settings(error: SettingsError, arguments: &cli::Doctor) -> Result<(), Error> {
    let console = Console::new(true);
    let mut chart = open(console, arguments.json)?;
    chart.note("settings", Finding::Failed(error.into()));
    close(console, &chart, arguments.json)
}

async fn examine(app: &App, profile: &Profile, chart: &mut Chart<'_>) {
    let patient = Patient {
        settings: &app.settings,
        http: &app.http,
        clock: app.clock.as_ref(),
        store: app.store.as_ref(),
        profile,
        tokens: app.tokens(profile.signed_in.clone()),
    };
    let outlook = doctor::examine(&patient, chart).await;
    let answered = outlook.answered.as_ref();
    let is_rejected = match outlook.obstacle {
        None => conversation::note(&patient, converse(app, profile).await, answered, chart),
        Some(cause) => {
            chart.skip(&["handshake", "tools"], cause);
            false
        }
    };
    network::examine_clock(answered, is_rejected, chart);
}

/// How many tools the server lists, its name, and the era that it speaks in.
async fn converse(app: &App, profile: &Profile) -> Result<(usize, String, Option<Era>), Error> {
    let mut connection = Connection::with(app, profile, serve::deadline(app, Some(PATIENCE)), "{}").await?;
    let outcome = conversation::examine(&mut connection.client).await.map_err(|error| connection.error(error));
    let name = conversation::name(&connection.client);
    connection.close().await;
    Ok((outcome?, name, serve::remembered(app, profile).map(|description| description.era)))
}

fn open<'a>(console: Console, is_json: bool) -> Result<Chart<'a>, Error> {
    if !is_json {
        console.data(&report::heading(SystemClock.now()))?;
    }
    let tell = move |step: &Step| {
        if !is_json {
            let verdict = console.verdict(step.finding.verdict());
            // Whoever reads no longer misses nothing.
            let _ = console.data(&report::lines(step, &verdict));
        }
    };
    Ok(Chart::new(Settings::home(), tell))
}

fn close(console: Console, chart: &Chart<'_>, is_json: bool) -> Result<(), Error> {
    let text = match is_json {
        true => report::json(chart, SystemClock.now()).map_err(std::io::Error::other)?,
        false => report::summary(chart),
    };
    console.data(&text)?;
    match chart.count("failed") {
        0 => Ok(()),
        1 => Err(Error::new(ErrorKind::Failure, "1 step failed")),
        failed => Err(Error::new(ErrorKind::Failure, format!("{failed} steps failed"))),
    }
}
