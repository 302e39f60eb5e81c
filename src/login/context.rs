//! What a sign-in works with, and whom it tells.

use std::{sync::Arc, time::Duration};

use crate::{
    credential::{clock::Clock, registrations::Registrations},
    http::Http,
    login::{
        browser::{Browser, BrowserError},
        paste::{Paste, PasteError},
    },
    server_url::ServerUrl,
};

/// How the answer of a person's sign-in comes back.
#[derive(Debug)]
pub struct Redirection {
    /// The port of 127.0.0.1 to listen on; else the fixed redirect URI, else that of an earlier registration if its port is
    /// free, else any port.
    pub port: Option<u16>,
    /// Where the person can paste it, when the browser cannot come back here.
    pub paste: Option<Paste>,
    /// How long the person has.
    pub timeout: Duration,
}

/// What a sign-in works with.
#[derive(Clone)]
pub struct Context<'a> {
    /// The network.
    pub http: &'a Http,
    /// The time.
    pub clock: &'a dyn Clock,
    /// What shows the sign-in page; none where the person wants to do that.
    pub browser: Option<Arc<dyn Browser>>,
    /// Where clients are kept that nobody has signed in with yet; none where each sign-in registers its own.
    pub registrations: Option<Registrations>,
}

/// What happens meanwhile, for whoever watches.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The authorization server registers no client for this long, and is waited for.
    Busy(Duration),
    /// The sign-in page, before it is opened: its host is whom the person is about to trust.
    Page(&'a ServerUrl),
    /// The page that the person opens on another device, whose host is whom the person is about to trust, and the code
    /// to enter there.
    Code {
        /// The page.
        page: &'a ServerUrl,
        /// The code.
        code: &'a str,
    },
    /// A browser was started with it.
    Opened,
    /// No browser could be started: the person has to open the page.
    NotOpened(BrowserError),
    /// The person can paste the address that the browser ends on.
    PasteHere,
    /// What was pasted is not the answer; the wait goes on.
    WrongPaste(PasteError),
    /// The wait for the person begins, and lasts this long at most.
    Waiting(Duration),
    /// The client registered at an earlier sign-in. A page that says that the server does not know it leads nowhere.
    KnownClient,
    /// The answer is there, and is being exchanged for a token.
    Answered,
}
