//! The connection between the two sides of a conversation, and its limits.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::HeaderMap;
use tokio::sync::{oneshot, watch};

use crate::{
    bridge::{
        control::{audit::Audit, label::Label},
        upstream::rate::gate::RateGate,
    },
    conversation::{
        description::Description,
        extension::Extension,
        policy::Rules,
        reply::ServerLabels,
        sign_in_tool::{Invitation, ShownBy},
    },
    credential::token_source::TokenSource,
    http::Http,
    server_url::ServerUrl,
};

/// The two ends of a conversation, and what goes between them.
pub struct Ends {
    /// The server's address.
    pub server: ServerUrl,
    /// Headers for every request to the server.
    pub headers: HeaderMap,
    /// The HTTP client.
    pub http: Arc<Http>,
    /// The source of access tokens.
    pub tokens: TokenSource,
    /// How messages to the user name the server.
    pub labels: ServerLabels,
    /// How long a request may take from one sign of life of the server to the next.
    pub deadline: Duration,
    /// Enforces the server's rate limit across processes.
    pub rate_gate: RateGate,
    /// The server's description from an earlier conversation.
    pub remembered: Option<Description>,
    /// Stores the server's current description.
    pub remember: Remember,
    /// Starts a sign-in, if the client may request one.
    pub offer: Option<Offer>,
    /// The extension that finmcp declares to the server.
    pub extension: Option<Extension>,
    /// Which tools the client may see and call.
    pub rules: Rules,
    /// Names the profile and environment to the client.
    pub label: Option<Label>,
    /// Records the tool calls.
    pub audit: Option<Audit>,
}

/// Stores a server's description for the next conversation. Called in a task that may block.
pub type Remember = Arc<dyn Fn(&Description) + Send + Sync>;

/// Starts a sign-in. The receiver says who shows the sign-in page; the sender gets the address of that page; the
/// future returns when the sign-in is over, with the reason if it failed.
pub type Offer = Arc<
    dyn Fn(watch::Receiver<ShownBy>, oneshot::Sender<Invitation>) -> BoxFuture<'static, Result<(), String>>
        + Send
        + Sync,
>;
