//! The sign-ins that a conversation starts, and those elsewhere that it waits for.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    bridge::{ends::Offer, reports::Reports},
    conversation::{Event, Need, sign_in_tool::ShownBy},
    credential::token_source::TokenSource,
};

/// The sign-ins of one conversation.
pub struct SignIns {
    tokens: TokenSource,
    offer: Option<Offer>,
    reports: Reports,
    /// Tells the last sign-in started here who shows its page.
    shown_by: Option<watch::Sender<ShownBy>>,
    /// Polls for a sign-in made by another process.
    polling: Option<JoinHandle<()>>,
    /// Notified of every message from the client.
    activity: Arc<Notify>,
}

impl SignIns {
    /// No sign-in yet. `offer` starts one; without it this conversation cannot.
    pub fn new(tokens: TokenSource, offer: Option<Offer>, reports: Reports) -> Self {
        Self { tokens, offer, reports, shown_by: None, polling: None, activity: Arc::default() }
    }

    /// The client sent a message, so it is active.
    pub fn client_active(&self) {
        self.activity.notify_one();
    }

    /// Starts a sign-in and reports its outcome.
    pub fn begin(&mut self, need: Need, shown_by: ShownBy) {
        if let Some(offer) = self.offer.clone() {
            tracing::info!("starting a sign-in");
            let shown_by = self.shown_by.insert(watch::Sender::new(shown_by)).subscribe();
            tokio::spawn(sign_in(offer, need, shown_by, self.tokens.clone(), self.reports.clone()));
        }
    }

    /// Opens the page of the current sign-in in a browser, if there is a sign-in.
    pub fn show(&self) {
        if let Some(shown_by) = &self.shown_by {
            shown_by.send_replace(ShownBy::Browser);
        }
    }

    /// Reports when the user is signed in, through any process.
    pub fn watch(&mut self) {
        if self.polling.as_ref().is_none_or(JoinHandle::is_finished) {
            tracing::info!("not signed in: waiting for a sign-in");
            let polling = poll_sign_in(self.tokens.clone(), self.activity.clone(), self.reports.clone());
            self.polling = Some(tokio::spawn(polling));
        }
    }
}

/// Has the user sign in, unless that has already happened.
async fn sign_in(offer: Offer, need: Need, shown_by: watch::Receiver<ShownBy>, tokens: TokenSource, reports: Reports) {
    if need == Need::Any && tokens.is_signed_in().await {
        let _ = reports.send(Event::SignedIn, 0).await;
        return;
    }
    let (sender, page) = oneshot::channel();
    let page_ready = async {
        if let Ok(invitation) = page.await {
            let _ = reports.send(Event::SignInOffered(invitation), 0).await;
        }
    };
    let (outcome, ()) = tokio::join!(offer(shown_by, sender), page_ready);
    let event = outcome.map_or_else(Event::SignInFailed, |()| Event::SignedIn);
    let _ = reports.send(event, 0).await;
}

/// Reports when the user is signed in, through any process. It compares the modification times of two files, soon
/// after each message from the client and less and less often while the client is silent; only a change makes it ask
/// the credential store.
async fn poll_sign_in(tokens: TokenSource, activity: Arc<Notify>, reports: Reports) {
    const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
    let mut pause = PAUSES.0;
    let mut trace = tokens.trace().await;
    while !tokens.is_signed_in().await {
        loop {
            sleep(PAUSES.0).await;
            let is_active = timeout(pause - PAUSES.0, activity.notified()).await.is_ok();
            pause = if is_active { PAUSES.0 } else { (pause * 3 / 2).min(PAUSES.1) };
            let now = tokens.trace().await;
            if now != trace {
                trace = now;
                break;
            }
        }
    }
    let _ = reports.send(Event::SignedIn, 0).await;
}
