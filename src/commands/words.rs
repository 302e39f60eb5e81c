//! What a sign-in and a sign-out say to the person at this machine.

use crate::{
    app::{
        credentials::Credentials,
        sign_in::{Event, Note},
        sign_out::NotRevoked,
    },
    console::Console,
    credential::{clock::Clock, record::Credential},
    login::context::Progress,
    profile::Profile,
    span,
};

/// Says how the sign-in to `profile` goes.
pub fn of_sign_in(console: Console, profile: &Profile) -> impl Fn(Event<'_>) + Send + Sync + 'static {
    let (title, command) = (profile.title.clone(), profile.login_command());
    move |event| match event {
        Event::Progress(progress) => show(console, &title, &command, progress),
        Event::Note(note) => say(console, &note),
        Event::Failure(error) => console.report(error),
    }
}

/// Says what the person had better know about a sign-in.
pub fn say(console: Console, note: &Note) {
    match note {
        Note::Loosened { rule, title } => {
            console.say(&format!("Note: {rule} is set for {title}: a rule that protects you is loosened."));
        }
        Note::OtherAudience { title, audience } => {
            console.say(&format!("Note: the token of {title} says that it is for {audience}, not for this server."));
        }
        Note::Replaced { resource } => {
            console.note(&format!("The sign-in to {resource} that this one replaces is forgotten."));
        }
        Note::StillKept { resource, error } => {
            console.say(&format!("The sign-in to {resource} that this one replaces is still kept: {error}."));
        }
        Note::NotRevoked(left) => not_revoked(console, left),
    }
}

/// Says that a token is still valid.
pub fn not_revoked(console: Console, left: &NotRevoked) {
    console.say(&match left {
        NotRevoked::NoPlace => {
            "This server cannot revoke tokens; the last one stays valid until it expires.".to_owned()
        }
        NotRevoked::ApiKey => {
            "The API key still works: revoke it on the vendor's site if you no longer need it.".to_owned()
        }
        NotRevoked::Unsupported { token } => {
            format!("This server cannot revoke {token} tokens; the last one stays valid until it expires.")
        }
        NotRevoked::Failed { token, error } => {
            format!("warning: could not revoke the {token} token, which stays valid until it expires: {error}")
        }
    });
}

fn show(console: Console, title: &str, command: &str, progress: Progress<'_>) {
    match progress {
        Progress::Busy(pause) => {
            console.say(&format!("{title} is busy, and asks to wait {} s before finmcp registers.", pause.as_secs()));
        }
        Progress::Page(url) => {
            console.say(&format!("{title} asks you to sign in at {}.", url.host()));
            console.say(&format!("If no browser opens, open this address yourself:\n\n  {url}\n"));
        }
        Progress::Code { page, code } => {
            console.say(&format!("{title} asks you to sign in at {}.", page.host()));
            console.say(&format!("On any device, open this address and enter the code {code}:\n\n  {page}\n"));
        }
        Progress::Opened => console.note("Your browser was opened."),
        Progress::NotOpened(_) => console.say("No browser could be opened: use the address above."),
        Progress::PasteHere => console.say(
            "If the browser ends on a page that does not load, copy that page's whole address, paste it here and press \
             Enter. It is not shown.",
        ),
        Progress::WrongPaste(error) => console.say(&format!("Not taken: {error}. Still waiting.")),
        Progress::Waiting(limit) => {
            console.note(&format!("Waiting for you, {} s at most. Ctrl-C stops it.", limit.as_secs()));
        }
        Progress::KnownClient => console.note(&format!(
            "If the page says that it does not know the client, run `{command} --force`: it registers a new one."
        )),
        Progress::Answered => console.note("You are back; getting the token."),
    }
}

/// Says who is signed in to what, and how it goes on.
pub fn summarise(credentials: &Credentials, console: Console, profile: &Profile, credential: &Credential) {
    match credential.tokens.as_ref().and_then(|tokens| tokens.person.as_ref()) {
        Some(person) => console.note(&format!("Signed in to {} as {person}, profile {}.", profile.title, profile.name)),
        None => console.note(&format!("Signed in to {} as profile {}.", profile.title, profile.name)),
    }
    console.note(&format!("The credential is in {}.", credentials.store.description()));
    match credential.tokens.as_ref().and_then(|tokens| tokens.expires_at) {
        _ if credential.renews_by_itself() => console.note("It is renewed by itself."),
        Some(end) => {
            let left = span::spoken((end.as_second() - credentials.clock.now().as_second()).max(0).unsigned_abs());
            console
                .note(&format!("It ends in {left}, and the server gave nothing to renew it with: sign in again then."));
        }
        None => {}
    }
    console.note(&format!(
        "Next: `finmcp setup CLIENT {0}` gives it to an AI client, which then starts `finmcp serve {0}`.",
        profile.spoken()
    ));
}
