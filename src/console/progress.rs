//! How far a server has come, in one line of a terminal that goes when it is over. Nowhere else.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::printable::quoted;

/// In how many steps a bar fills: servers count in fractions, too.
const STEPS: u64 = 1000;

/// A line that moves on.
pub struct Progress(ProgressBar);

impl Progress {
    /// A line on the terminal. Nothing is drawn where stderr is none, nor before the first report.
    pub(super) fn shown() -> Self {
        Self(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()))
    }

    /// None.
    pub(super) fn hidden() -> Self {
        Self(ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()))
    }

    /// Shows that the server has come as far as `done`, of `total` where it knows, and what it says of that (MCP
    /// 2025-11-25 progress).
    pub fn show(&self, done: f64, total: Option<f64>, message: &str) {
        let template = match total {
            Some(total) if total > 0.0 => {
                self.0.set_length(STEPS);
                // A share of a thousand fits any integer.
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

    /// Takes the line away; the next report brings it back.
    pub fn hide(&self) {
        self.0.finish_and_clear();
        self.0.reset();
    }
}
