//! Messages of sign-in and sign-out for the user at this machine.

use crate::{
    app::{
        credentials::Credentials,
        sign_in::{Event, Note},
        sign_out::NotRevoked,
    },
    console::Console,
    credential::{clock::Clock, keychain::Window, record::Credential},
    login::context::Progress,
    profile::Profile,
    span,
};

/// Prints the events of a sign-in to `profile`.
pub fn of_sign_in(console: Console, profile: &Profile) -> impl Fn(Event<'_>) + Send + Sync + 'static {
    let (title, command) = (profile.title.clone(), profile.login_command());
    move |event| match event {
        Event::Progress(progress) => show(console, &title, &command, progress),
        Event::Note(note) => say(console, &note),
        Event::Failure(error) => console.report(error),
    }
}

/// What the keychain's window wants, for a user who may not see it.
pub fn of_window(window: Window) -> &'static str {
    match window {
        Window::Unlock => "Waiting: unlock your keychain in the window that asks for its password (Ctrl-C cancels)",
        Window::Create => {
            "Waiting: you have no keyring yet; choose a password for one in the window that asks for it (Ctrl-C cancels)"
        }
    }
}

/// Prints what the user should know about a sign-in.
pub fn say(console: Console, note: &Note) {
    match note {
        Note::Loosened { rule, title } => {
            console.say(&format!("note: {rule} is set for {title}: a security check is off"));
        }
        Note::OtherAudience { title, audience } => {
            console.say(&format!("note: {title} issued a token for {audience}, not for this server"));
        }
        Note::Replaced { resource } => {
            console.note(&format!("Removed the earlier sign-in to {resource}"));
        }
        Note::StillKept { resource, error } => {
            console.say(&format!("warning: could not remove the earlier sign-in to {resource}: {error}"));
        }
        Note::NotRevoked(left) => not_revoked(console, left),
    }
}

/// Prints that a token is still valid.
pub fn not_revoked(console: Console, left: &NotRevoked) {
    console.say(&match left {
        NotRevoked::NoEndpoint => {
            "This server cannot revoke tokens; the last one stays valid until it expires".to_owned()
        }
        NotRevoked::ApiKey => {
            "The API key still works; if you no longer need it, revoke it on the vendor's site".to_owned()
        }
        NotRevoked::Unsupported { token } => {
            format!("This server cannot revoke {token} tokens; the last one stays valid until it expires")
        }
        NotRevoked::Failed { token, error } => {
            format!("warning: could not revoke the {token} token, which stays valid until it expires: {error}")
        }
    });
}

fn show(console: Console, title: &str, command: &str, progress: Progress<'_>) {
    // The line would overwrite what the user pastes.
    match progress {
        Progress::Answered => console.now_waiting("Getting the token"),
        Progress::Waiting(_) | Progress::PasteHere => console.rest(),
        _ => {}
    }
    match progress {
        Progress::Busy(pause) => {
            let wait = span::format_duration(pause.as_secs());
            console.say(&format!("{title} is busy; waiting {wait} to register this client"));
        }
        Progress::Page(url) => {
            console.say(&format!("Sign in to {title} at {}", url.host()));
            console.say(&format!("If no browser opens, open this address:\n\n  {url}\n"));
        }
        // The user at a terminal may be at another computer, and is told the new address.
        Progress::Link(_) => {}
        Progress::PageAgain(url) => {
            console.say(&format!(
                "The address above has expired. Unless you are signing in already, open this one:\n\n  {url}\n"
            ));
        }
        Progress::Code { page, code } => {
            console.say(&format!("Sign in to {title} at {}", page.host()));
            console.say(&format!("On any device, open this address and enter the code {code}:\n\n  {page}\n"));
        }
        Progress::Opened => console.note("Opened your browser"),
        Progress::NotOpened(_) => console.say("Could not open a browser; open the address above yourself"),
        Progress::PasteHere => console.say(
            "Browser on another computer? Paste the address of the page it ends on (it may not load) and press Enter",
        ),
        Progress::WrongPaste(error) => console.say(&format!("{error}")),
        Progress::Waiting(limit) => {
            let limit = span::format_duration(limit.as_secs());
            console.note(&format!("Waiting for you to sign in (up to {limit}; Ctrl-C cancels)"));
        }
        Progress::KnownClient => console
            .note(&format!("If the page does not recognize the client, run `{command} --force` to register a new one")),
        Progress::Answered => console.note("Signed in. Getting the token…"),
    }
}

/// Prints the new sign-in and the next step.
pub fn summarise(credentials: &Credentials, console: Console, profile: &Profile, credential: &Credential) {
    match credential.tokens.as_ref().and_then(|tokens| tokens.person.as_ref()) {
        Some(person) => console.note(&format!("Signed in to {} as {person} (profile {})", profile.title, profile.name)),
        None => console.note(&format!("Signed in to {} (profile {})", profile.title, profile.name)),
    }
    console.note(&format!("Stored in {}", credentials.store.description()));
    match credential.tokens.as_ref().and_then(|tokens| tokens.expires_at) {
        _ if credential.renews_automatically() => console.note("finmcp renews it automatically"),
        Some(end) => {
            let left =
                span::format_duration((end.as_second() - credentials.clock.now().as_second()).max(0).unsigned_abs());
            console.note(&format!("Valid for {left}; sign in again then (the server issued no refresh token)"));
        }
        None => {}
    }
    console.note(&format!("Next, add it to an AI client: finmcp setup CLIENT {}", profile.selector_text()));
}
