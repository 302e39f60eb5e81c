//! Events from outside the conversation on their way into it, with a limit on their number and on their bytes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::conversation::Event;

/// How many events may wait.
const EVENTS: usize = 256;

/// A message of at least this many bytes takes capacity for its length. Smaller ones are limited by their number
/// alone.
const LARGE: usize = 64 << 10;

/// The total capacity for large messages, in units of [`UNIT`] bytes.
const CAPACITY: usize = 32 << 10;
const UNIT: usize = 1 << 10;

/// Sends events into the conversation. Clones share the same channel and capacity.
#[derive(Clone)]
pub struct Reports {
    events: mpsc::Sender<Report>,
    capacity: Arc<Semaphore>,
}

/// An event, and the capacity that it holds until it is dropped.
pub struct Report {
    /// The event.
    pub event: Event,
    _permit: Option<OwnedSemaphorePermit>,
}

/// The conversation has ended and takes no more events.
#[derive(Debug)]
pub struct Over;

impl Reports {
    /// A sender and its receiver.
    pub fn new() -> (Self, mpsc::Receiver<Report>) {
        let (events, receiver) = mpsc::channel(EVENTS);
        (Self { events, capacity: Arc::new(Semaphore::new(CAPACITY)) }, receiver)
    }

    /// Reports `event`, which holds `length` bytes, once there is capacity for it: a server that sends faster than the
    /// client reads has to wait. The largest message takes the whole capacity.
    ///
    /// # Errors
    /// [`Over`], if the conversation has ended.
    pub async fn send(&self, event: Event, length: usize) -> Result<(), Over> {
        let units = u32::try_from((length / UNIT).min(CAPACITY)).unwrap_or(u32::MAX);
        let capacity = match length {
            LARGE.. => Some(Arc::clone(&self.capacity).acquire_many_owned(units).await.map_err(|_| Over)?),
            _ => None,
        };
        self.events.send(Report { event, _permit: capacity }).await.map_err(|_| Over)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// t107: large messages wait for capacity, however few they are; dropping a report frees its capacity.
    #[tokio::test]
    async fn t107_large_messages_wait_for_capacity() {
        let (reports, mut taken) = Reports::new();
        let half = CAPACITY * UNIT / 2;
        for _ in 0..2 {
            reports.send(Event::Stopping, half).await.unwrap();
        }
        assert!(reports.send(Event::Stopping, LARGE).now_or_never().is_none());
        // Small messages pass.
        reports.send(Event::Closed, 10).await.unwrap();
        drop(taken.recv().await);
        reports.send(Event::Stopping, LARGE).await.unwrap();
        // A message larger than the whole capacity gets all of it.
        for _ in 0..3 {
            drop(taken.recv().await);
        }
        reports.send(Event::Stopping, CAPACITY * UNIT * 4).await.unwrap();
        assert!(reports.send(Event::Stopping, LARGE).now_or_never().is_none());
    }
}
