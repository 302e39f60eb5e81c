//! The sign-ins that a conversation begins, and those elsewhere that it waits for.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    bridge::{
        conversation::{Event, Need, sign_in_tool::ShownBy},
        ends::Offer,
        reports::Reports,
    },
    credential::token_source::TokenSource,
};

/// The sign-ins of one conversation.
pub struct SignIns {
    tokens: TokenSource,
    offer: Option<Offer>,
    reports: Reports,
    /// Who shows the page of the last sign-in that was begun here.
    shown_by: Option<watch::Sender<ShownBy>>,
    /// Waits for a sign-in that happens elsewhere.
    polling: Option<JoinHandle<()>>,
    /// Told whenever the client says something.
    heard: Arc<Notify>,
}

impl SignIns {
    /// None to begin with: they go by `offer`, where a client may have one begun.
    pub fn new(tokens: TokenSource, offer: Option<Offer>, reports: Reports) -> Self {
        Self { tokens, offer, reports, shown_by: None, polling: None, heard: Arc::default() }
    }

    /// The client says something: somebody is there.
    pub fn client_spoke(&self) {
        self.heard.notify_one();
    }

    /// Begins a sign-in, and reports what comes of it.
    pub fn begin(&mut self, need: Need, shown_by: ShownBy) {
        if let Some(offer) = self.offer.clone() {
            let shown_by = self.shown_by.insert(watch::Sender::new(shown_by)).subscribe();
            tokio::spawn(sign_in(offer, need, shown_by, self.tokens.clone(), self.reports.clone()));
        }
    }

    /// Shows the page of the sign-in under way in a browser, where there is one.
    pub fn show(&self) {
        if let Some(shown_by) = &self.shown_by {
            shown_by.send_replace(ShownBy::Browser);
        }
    }

    /// Reports when somebody is signed in, wherever that happens.
    pub fn watch(&mut self) {
        if self.polling.as_ref().is_none_or(JoinHandle::is_finished) {
            let polling = poll_sign_in(self.tokens.clone(), self.heard.clone(), self.reports.clone());
            self.polling = Some(tokio::spawn(polling));
        }
    }
}

/// Has a person sign in, unless somebody has done so meanwhile.
async fn sign_in(offer: Offer, need: Need, shown_by: watch::Receiver<ShownBy>, tokens: TokenSource, reports: Reports) {
    if need == Need::Any && tokens.is_signed_in().await {
        let _ = reports.send(Event::SignedIn, 0).await;
        return;
    }
    let (tell, told) = oneshot::channel();
    let invited = async {
        if let Ok(invitation) = told.await {
            let _ = reports.send(Event::SignInOffered(invitation), 0).await;
        }
    };
    let (outcome, ()) = tokio::join!(offer(shown_by, tell), invited);
    let event = outcome.map_or_else(Event::SignInFailed, |()| Event::SignedIn);
    let _ = reports.send(event, 0).await;
}

/// Reports when somebody is signed in, by whatever process. Until then it looks at the times of two files, as soon as the
/// client is heard of, and more and more rarely while it is not: the store is asked only when these have changed.
async fn poll_sign_in(tokens: TokenSource, heard: Arc<Notify>, reports: Reports) {
    const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
    let mut pause = PAUSES.0;
    let mut trace = tokens.trace().await;
    while !tokens.is_signed_in().await {
        loop {
            sleep(PAUSES.0).await;
            let is_heard = timeout(pause - PAUSES.0, heard.notified()).await.is_ok();
            pause = if is_heard { PAUSES.0 } else { (pause * 3 / 2).min(PAUSES.1) };
            let now = tokens.trace().await;
            if now != trace {
                trace = now;
                break;
            }
        }
    }
    let _ = reports.send(Event::SignedIn, 0).await;
}
