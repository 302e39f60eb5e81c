//! The line at the bottom of a terminal that says what finmcp waits for. It appears after a second, makes room for other
//! output, and disappears at the end.
//!
//! There is one terminal, so there is one line, and everything that the console writes goes through [`around`].

use std::{
    io::{self, IsTerminal as _},
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::printable::quoted;

/// How long finmcp may wait without a word.
const PATIENCE: Duration = Duration::from_secs(1);

/// The pause between two pictures of the spinner.
const TICK: Duration = Duration::from_millis(100);

/// The number of steps of a bar: servers also report fractions.
const STEPS: u64 = 1000;

static LINE: Mutex<Option<Line>> = Mutex::new(None);

/// Shows the line while it lives.
pub struct Waiting {
    _ticker: SyncSender<()>,
}

struct Line {
    bar: ProgressBar,
    /// What finmcp waits for. The bar draws itself when it is told.
    text: String,
    /// When finmcp began to wait; none while the user's answer is waited for.
    since: Option<Instant>,
    is_drawn: bool,
}

impl Line {
    fn new(bar: ProgressBar) -> Self {
        Self { bar, text: String::new(), since: None, is_drawn: false }
    }

    fn tick(&mut self) {
        if self.is_drawn {
            self.bar.tick();
        } else if self.since.is_some_and(|since| since.elapsed() >= PATIENCE) {
            self.draw();
        }
    }

    fn draw(&mut self) {
        self.is_drawn = true;
        self.style("{spinner} {elapsed} {wide_msg}");
        self.bar.set_message(self.text.clone());
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }

    fn wait(&mut self, text: &str) {
        self.text = quoted(text);
        self.since.get_or_insert_with(Instant::now);
        if self.is_drawn {
            self.draw();
        }
    }

    fn remove(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            self.bar.finish_and_clear();
            self.bar.reset();
        }
    }
}

fn line() -> MutexGuard<'static, Option<Line>> {
    LINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts to wait for `text`; none without a terminal.
pub(super) fn start(text: &str) -> Option<Waiting> {
    if !terminal() {
        return None;
    }
    let mut new = Line::new(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()));
    new.wait(text);
    *line() = Some(new);
    let (ticker, end) = sync_channel(0);
    let tick = move || {
        while end.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            line().iter_mut().for_each(Line::tick);
        }
    };
    // Without a thread there is no line.
    let _ = thread::Builder::new().name("progress".to_owned()).spawn(tick);
    Some(Waiting { _ticker: ticker })
}

#[expect(clippy::disallowed_methods, reason = "the console's own line")]
fn terminal() -> bool {
    io::stderr().is_terminal()
}

/// finmcp now waits for `text`.
pub(super) fn wait(text: &str) {
    line().iter_mut().for_each(|line| line.wait(text));
}

/// Shows the server's progress, `done` of `total` if it knows that, and its message (MCP 2025-11-25 progress).
pub(super) fn report(done: f64, total: Option<f64>, message: &str) {
    for line in line().iter_mut() {
        line.is_drawn = true;
        match total {
            Some(total) if total > 0.0 => {
                line.bar.set_length(STEPS);
                // A number up to 1000 fits any integer.
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                line.bar.set_position((done / total * STEPS as f64).clamp(0.0, STEPS as f64) as u64);
                line.style("{bar:24} {percent:>3} %  {wide_msg}");
            }
            _ => line.style("{spinner} {elapsed} {wide_msg}"),
        }
        line.bar.set_message(quoted(message));
    }
}

/// Removes the line until finmcp waits for something again: it is the user's turn.
pub(super) fn rest() {
    for line in line().iter_mut() {
        line.remove();
        line.since = None;
    }
}

/// Shows the line again that [`rest`] has removed.
pub(super) fn resume() {
    for line in line().iter_mut() {
        line.since.get_or_insert_with(Instant::now);
    }
}

/// Whether there is a line, which [`rest`] has not removed.
pub(super) fn is_waiting() -> bool {
    line().as_ref().is_some_and(|line| line.since.is_some())
}

/// Writes something while the line makes room.
pub(super) fn around<T>(write: impl FnOnce() -> T) -> T {
    match &*line() {
        Some(line) if line.is_drawn => line.bar.suspend(write),
        _ => write(),
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(mut line) = line().take() {
            line.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c10_the_line_appears_after_a_second() {
        let mut line = Line::new(ProgressBar::hidden());
        line.wait("Waiting for Asset");
        line.tick();
        assert_eq!((line.is_drawn, line.bar.message()), (false, String::new()));
        line.since = Instant::now().checked_sub(PATIENCE);
        line.tick();
        assert_eq!((line.is_drawn, line.bar.message()), (true, "Waiting for Asset".to_owned()));
        line.wait("Signing out");
        assert_eq!(line.bar.message(), "Signing out");
        line.remove();
        assert!(!line.is_drawn);
    }
}
