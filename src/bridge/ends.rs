//! What a conversation is between, and its limits.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::HeaderMap;
use tokio::sync::{oneshot, watch};

use crate::{
    bridge::{
        control::{audit::Audit, label::Label, policy::Rules},
        conversation::{
            description::Description,
            reply::Words,
            sign_in_tool::{Invitation, ShownBy},
        },
        upstream::rate::gate::Turnstile,
    },
    credential::token_source::TokenSource,
    http::Http,
    server_url::ServerUrl,
};

/// The two ends, and what goes between them.
pub struct Ends {
    /// The server.
    pub server: ServerUrl,
    /// Headers for every request to it.
    pub headers: HeaderMap,
    /// The way to it.
    pub http: Arc<Http>,
    /// What it is shown.
    pub tokens: TokenSource,
    /// How errors speak of it.
    pub words: Words,
    /// How long a request may take from one sign of life of the server to the next.
    pub deadline: Duration,
    /// What keeps to the server's limit of requests.
    pub turnstile: Turnstile,
    /// What the server said of itself some time before.
    pub remembered: Option<Description>,
    /// Keeps what it says now.
    pub remember: Remember,
    /// Begins a sign-in, where a client may have that done.
    pub offer: Option<Offer>,
    /// Which tools the client may see and call.
    pub rules: Rules,
    /// What shows the client which server it is.
    pub label: Option<Label>,
    /// What keeps account of the calls.
    pub audit: Option<Audit>,
}

/// Keeps what a server says of itself for the next conversation. Called in a task that may block.
pub type Remember = Arc<dyn Fn(&Description) + Send + Sync>;

/// Begins a sign-in, whose page is shown as the receiver says by now: the sender takes where a person does it; the outcome
/// is known when that is over, with the reason where it came to nothing.
pub type Offer = Arc<
    dyn Fn(watch::Receiver<ShownBy>, oneshot::Sender<Invitation>) -> BoxFuture<'static, Result<(), String>>
        + Send
        + Sync,
>;
