//! Writes log lines in a thread, so that a slow, full or read-only disk never holds up the relay.

use std::{
    path::PathBuf,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::{
    credential::clock::{Clock, SystemClock},
    printable::printable,
    serve_log::{event, file},
};

/// How many lines may wait for the disk. Further ones are lost.
const QUEUE: usize = 256;

/// The longest line, in characters.
const LONGEST: usize = 2000;

/// How long the process waits for its last lines.
const LAST_LINES_LIMIT: Duration = Duration::from_millis(200);

/// The log of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Writer(SyncSender<Entry>);

#[derive(Debug)]
enum Entry {
    Line {
        time: Timestamp,
        level: Level,
        text: String,
    },
    /// Answer once everything before this is written.
    Finish(SyncSender<()>),
}

impl Writer {
    /// A log of `profile` in `folder`. If it cannot be written, the process goes on without.
    pub fn start(folder: PathBuf, profile: String) -> Self {
        let (sender, entries) = sync_channel(QUEUE);
        // Without a thread the lines are lost.
        let log = Log { folder, profile, last: String::new(), repeated: 0 };
        let _ = thread::Builder::new().name("log".to_owned()).spawn(move || log.write(&entries));
        Self(sender)
    }

    /// Waits until the lines so far are written, but not for long.
    pub fn finish(&self) {
        let (done, written) = sync_channel(1);
        if self.0.try_send(Entry::Finish(done)).is_ok() {
            let _ = written.recv_timeout(LAST_LINES_LIMIT);
        }
    }
}

/// Passes each event of this process on to the log, unless too many lines wait.
impl<S: Subscriber> Layer<S> for Writer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (time, level) = (SystemClock.now(), *event.metadata().level());
        let _ = self.0.try_send(Entry::Line { time, level, text: event::text(event) });
    }
}

/// What the thread knows.
struct Log {
    folder: PathBuf,
    profile: String,
    /// The last line, and how often it came again: during an outage every call fails for the same reason.
    last: String,
    repeated: u32,
}

impl Log {
    fn write(mut self, entries: &Receiver<Entry>) {
        let mut latest = Timestamp::UNIX_EPOCH;
        while let Ok(entry) = entries.recv() {
            match entry {
                Entry::Line { time, level, text } => {
                    latest = time;
                    self.add(time, level, printable(&text.replace('\n', " ")));
                }
                Entry::Finish(done) => {
                    self.end_repetition(latest);
                    let _ = done.send(());
                }
            }
        }
    }

    fn add(&mut self, time: Timestamp, level: Level, text: String) {
        if text == self.last {
            self.repeated += 1;
            return;
        }
        self.end_repetition(time);
        self.append(time, level, &text);
        self.last = text;
    }

    fn end_repetition(&mut self, time: Timestamp) {
        if self.repeated > 0 {
            self.append(time, Level::INFO, &format!("the line before came {} more times", self.repeated));
            self.repeated = 0;
        }
    }

    fn append(&self, time: Timestamp, level: Level, text: &str) {
        let time = time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
        let text: String = text.chars().take(LONGEST).collect();
        let line = format!("{time} {} {level:<5} {text}\n", std::process::id());
        if let Err(error) = file::append(&self.folder, &self.profile, &line) {
            // Only for those who look for it: the AI client's user can do nothing about it.
            tracing::debug!(?error, "could not write to the log");
        }
    }
}
