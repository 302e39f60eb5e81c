//! The server's description, stored for the next conversation.

use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
};

use crate::{bridge::ends::Remember, conversation::description::Description};

/// Stores descriptions in a task that may block. Of several, only the latest has to be stored.
pub struct Memory {
    latest: watch::Sender<Option<Description>>,
    task: JoinHandle<()>,
}

impl Memory {
    /// Stores with `remember`.
    pub fn new(remember: Remember) -> Self {
        let (latest, described) = watch::channel(None);
        Self { latest, task: tokio::spawn(keep(described, remember)) }
    }

    /// The server's current description.
    pub fn learn(&self, description: Description) {
        self.latest.send_replace(Some(description));
    }

    /// Accepts no more descriptions; returns the task that stores the last one.
    pub fn close(self) -> JoinHandle<()> {
        self.task
    }
}

async fn keep(mut described: watch::Receiver<Option<Description>>, remember: Remember) {
    while described.changed().await.is_ok() {
        let latest = described.borrow_and_update().clone();
        let remember = remember.clone();
        let _ = spawn_blocking(move || latest.iter().for_each(|description| remember(description))).await;
    }
}
