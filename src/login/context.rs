//! The environment of a sign-in, and the progress that it reports.

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

/// How the authorization response comes back.
#[derive(Debug)]
pub struct Redirection {
    /// The port of 127.0.0.1 to listen on; else the redirect URI that the user chose, else that of an earlier
    /// registration if its port is free, else any port.
    pub port: Option<u16>,
    /// Where the user can paste it if the browser cannot reach this machine.
    pub paste: Option<Paste>,
    /// The time limit for the user.
    pub timeout: Duration,
}

/// The environment of a sign-in.
#[derive(Clone)]
pub struct Context<'a> {
    /// Sends the requests.
    pub http: &'a Http,
    /// Tells when tokens expire.
    pub clock: &'a dyn Clock,
    /// Opens the sign-in page; none if the user opens it.
    pub browser: Option<Arc<dyn Browser>>,
    /// The registered clients that have no sign-in yet; none if every sign-in registers its own.
    pub registrations: Option<Registrations>,
}

/// The progress of a sign-in.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The authorization server is busy; finmcp waits this long before it registers a client.
    Busy(Duration),
    /// The sign-in page, before it opens: the user is about to trust its host.
    Page(&'a ServerUrl),
    /// A link on this machine to the same page, if the page's URL expires: the link works until the sign-in ends.
    Link(&'a ServerUrl),
    /// The page's URL expired before the response arrived; this is its new one.
    PageAgain(&'a ServerUrl),
    /// For a sign-in on another device.
    Code {
        /// The page to open there: the user is about to trust its host.
        page: &'a ServerUrl,
        /// The code to enter on that page.
        code: &'a str,
    },
    /// A browser opened the page.
    Opened,
    /// No browser opened: the user has to open the page.
    NotOpened(BrowserError),
    /// The user can paste the browser's final address.
    PasteHere,
    /// The pasted line is not the authorization response; finmcp still waits.
    WrongPaste(PasteError),
    /// finmcp starts to wait for the user, up to this long.
    Waiting(Duration),
    /// An earlier sign-in registered the client. If the server has forgotten it, its page ends there.
    KnownClient,
    /// The authorization response arrived; finmcp requests the token.
    Answered,
}
