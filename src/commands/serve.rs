//! `finmcp serve`.

use std::{sync::Arc, time::Duration};

use crate::{
    bridge::{Bridge, Ends, reply::Words},
    cli,
    commands::App,
    credential::token_source::Lookup,
    error::Error,
    profile::{Profile, Selector},
    settings::Settings,
};

/// How long a request may take when nobody says otherwise. Longer than any client waits by itself.
const DEADLINE: Duration = Duration::from_secs(300);

/// Relays between the client on stdin and stdout and the server. Needs nobody to be signed in, and nothing to answer: whatever is missing
/// is said in the answers.
///
/// # Errors
/// What is wrong with the command line, the settings, or stdin and stdout.
pub async fn run(app: &App, arguments: cli::Serve) -> Result<(), Error> {
    let selector = Selector::from(arguments.server);
    let deadline = arguments.timeout.map(Duration::from_secs).or(app.settings.request_timeout).unwrap_or(DEADLINE);
    #[cfg(feature = "demo")]
    if app.settings.is_embedded(selector.server.as_deref()) {
        return super::demo::serve(app, &selector, deadline).await;
    }
    let profile = Profile::select(&selector, &app.settings)?;
    relay(app, &profile, deadline).await
}

/// Relays for `profile` until the client is done.
///
/// # Errors
/// What is wrong with stdin and stdout.
pub async fn relay(app: &App, profile: &Profile, deadline: Duration) -> Result<(), Error> {
    let ends = Ends {
        server: profile.server.clone(),
        http: app.http.clone(),
        tokens: app.tokens(profile.signed_in.clone()).with_lookup(lookup(profile)),
        words: Words { title: profile.title.clone(), login_command: profile.login_command() },
        deadline,
    };
    Bridge::open(ends)?.run().await?;
    Ok(())
}

/// Who is signed in to `profile` by now: somebody may run `finmcp login` while a client is running.
fn lookup(profile: &Profile) -> Lookup {
    let (name, server) = (profile.name.clone(), profile.server.clone());
    Arc::new(move || {
        let now = Settings::load().ok()?.profile(&name)?;
        now.signed_in.filter(|_| now.server == server)
    })
}
