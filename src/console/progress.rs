//! A server's progress, as one line in a terminal that disappears at the end.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::printable::quoted;

/// The number of steps of a bar: servers also report fractions.
const STEPS: u64 = 1000;

/// A progress line.
pub struct Progress(ProgressBar);

impl Progress {
    /// A line on the terminal. Draws nothing before the first report, and nothing if stderr is not a terminal.
    pub(super) fn shown() -> Self {
        Self(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()))
    }

    /// A line that is never drawn.
    pub(super) fn hidden() -> Self {
        Self(ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()))
    }

    /// Shows the server's progress, `done` of `total` if it knows that, and its message (MCP 2025-11-25 progress).
    pub fn show(&self, done: f64, total: Option<f64>, message: &str) {
        let template = match total {
            Some(total) if total > 0.0 => {
                self.0.set_length(STEPS);
                // A number up to 1000 fits any integer.
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                self.0.set_position((done / total * STEPS as f64).clamp(0.0, STEPS as f64) as u64);
                "{bar:24} {percent:>3} %  {wide_msg}"
            }
            _ => "{spinner} {wide_msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
        self.0.set_message(quoted(message));
        self.0.tick();
    }

    /// Removes the line until the next report.
    pub fn hide(&self) {
        self.0.finish_and_clear();
        self.0.reset();
    }
}
