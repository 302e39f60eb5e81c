//! What the server says of itself, kept for the next conversation.

use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
};

use crate::bridge::{conversation::description::Description, ends::Remember};

/// The task that keeps it, the latest last: it may block.
pub struct Memory {
    latest: watch::Sender<Option<Description>>,
    task: JoinHandle<()>,
}

impl Memory {
    /// Kept by `remember`.
    pub fn new(remember: Remember) -> Self {
        let (latest, described) = watch::channel(None);
        Self { latest, task: tokio::spawn(keep(described, remember)) }
    }

    /// The server says this of itself now.
    pub fn learn(&self, description: Description) {
        self.latest.send_replace(Some(description));
    }

    /// Nothing more comes: what is left to be done.
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
