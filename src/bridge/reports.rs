//! What happens outside of the conversation, on its way into it: so many events at most, and so many bytes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::bridge::conversation::Event;

/// How many events may wait.
const EVENTS: usize = 256;

/// A message of this length or more takes room by its length, in bytes. The others are few enough to be small together.
const LARGE: usize = 64 << 10;

/// How much room there is for large messages, in units of [`UNIT`] bytes.
const ROOM: usize = 32 << 10;
const UNIT: usize = 1 << 10;

/// The way in. Clones lead to the same place.
#[derive(Clone)]
pub struct Reports {
    events: mpsc::Sender<Report>,
    room: Arc<Semaphore>,
}

/// An event, and the room that it takes until it is dropped.
pub struct Report {
    /// What happened.
    pub event: Event,
    _room: Option<OwnedSemaphorePermit>,
}

/// Nobody takes events any more.
#[derive(Debug)]
pub struct Over;

impl Reports {
    /// A way in, and where it ends.
    pub fn new() -> (Self, mpsc::Receiver<Report>) {
        let (events, receiver) = mpsc::channel(EVENTS);
        (Self { events, room: Arc::new(Semaphore::new(ROOM)) }, receiver)
    }

    /// Reports `event`, which holds `length` bytes, as soon as there is room: a server that says more than the client
    /// takes has to wait. The largest message needs all the room there is, and gets it when it is its turn.
    ///
    /// # Errors
    /// [`Over`].
    pub async fn send(&self, event: Event, length: usize) -> Result<(), Over> {
        let units = u32::try_from((length / UNIT).min(ROOM)).unwrap_or(u32::MAX);
        let room = match length {
            LARGE.. => Some(Arc::clone(&self.room).acquire_many_owned(units).await.map_err(|_| Over)?),
            _ => None,
        };
        self.events.send(Report { event, _room: room }).await.map_err(|_| Over)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// t107: large messages wait for room, however few they are; what has been taken leaves room again.
    #[tokio::test]
    async fn t107_large_messages_wait_for_room() {
        let (reports, mut taken) = Reports::new();
        let half = ROOM * UNIT / 2;
        for _ in 0..2 {
            reports.send(Event::Stopping, half).await.unwrap();
        }
        assert!(reports.send(Event::Stopping, LARGE).now_or_never().is_none());
        // What is small passes.
        reports.send(Event::Closed, 10).await.unwrap();
        drop(taken.recv().await);
        reports.send(Event::Stopping, LARGE).await.unwrap();
        // One that is larger than all the room has it for itself.
        for _ in 0..3 {
            drop(taken.recv().await);
        }
        reports.send(Event::Stopping, ROOM * UNIT * 4).await.unwrap();
        assert!(reports.send(Event::Stopping, LARGE).now_or_never().is_none());
    }
}
