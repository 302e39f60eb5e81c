//! The only module that writes to the terminal: data to stdout, messages to stderr.
//!
//! It removes control characters from a server's text before it reaches a terminal.
#![expect(clippy::disallowed_methods, reason = "the one module that writes for people")]

mod line;
pub mod progress;

use std::io::{self, IsTerminal, Write};

use crate::{
    console::{line::Echo, progress::Progress},
    error::Error,
    printable::printable,
    secret::Secret,
};

/// How much to print, and whether in colour.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    color: Color,
    voice: Voice,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// When the output is a terminal.
    Terminal,
    /// Never (`NO_COLOR`, see no-color.org).
    Never,
}

/// How much to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// Everything.
    Usual,
    /// Only errors, warnings and required actions.
    Quiet,
}

impl Console {
    /// A console with these settings.
    pub fn new(color: Color, voice: Voice) -> Self {
        Self { color, voice }
    }

    /// Writes data to stdout.
    ///
    /// # Errors
    /// stdout cannot be written, for example because the pipe is closed.
    pub fn data(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Prints a message that `--quiet` hides.
    pub fn note(&self, text: &str) {
        if self.voice == Voice::Usual {
            self.say(text);
        }
    }

    /// Prints a message to stderr. Ignores a closed stderr.
    pub fn say(&self, text: &str) {
        let lines: Vec<String> = text.split('\n').map(printable).collect();
        let _ = writeln!(io::stderr(), "{}", lines.join("\n"));
    }

    /// Asks the user for a secret, which the terminal does not show; none if the user cancels.
    ///
    /// # Errors
    /// There is no terminal, or it cannot be read.
    pub async fn ask_secret(&self, question: &str) -> io::Result<Option<Secret>> {
        if !io::stderr().is_terminal() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let typed = line::read(Echo::Hidden, || self.put(question)).await?;
        Ok(typed.map(|mut typed| Secret::new(std::mem::take(&mut *typed))))
    }

    /// Whether the user can answer questions in a terminal.
    pub fn is_attended(&self) -> bool {
        io::stderr().is_terminal() && io::stdin().is_terminal()
    }

    /// Whether data goes to a terminal, not to a program.
    pub fn shows_data(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Asks the user for one line; none without a terminal, or if the user cancels.
    pub async fn ask(&self, question: &str) -> Option<String> {
        if !self.is_attended() {
            return None;
        }
        let typed = line::read(Echo::Shown, || self.put(question)).await.ok().flatten();
        typed.map(|mut typed| std::mem::take(&mut *typed))
    }

    /// Prints a question and stays on its line.
    fn put(&self, question: &str) {
        let lines: Vec<String> = question.split('\n').map(printable).collect();
        let _ = write!(io::stderr(), "{}", lines.join("\n"));
    }

    /// Asks the user a yes-or-no question. Without a terminal the answer is no.
    pub async fn confirm(&self, question: &str) -> bool {
        matches!(self.ask(question).await.as_deref().map(str::trim), Some("y" | "Y" | "yes"))
    }

    /// A progress line.
    pub fn progress(&self) -> Progress {
        match self.voice {
            Voice::Usual => Progress::shown(),
            Voice::Quiet => Progress::hidden(),
        }
    }

    /// The width of a line of text.
    pub fn width(&self) -> usize {
        const WIDTHS: (usize, usize, usize) = (40, 80, 100);
        let terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        terminal.unwrap_or(WIDTHS.1).clamp(WIDTHS.0, WIDTHS.2)
    }

    /// Writes a server's text as data: unchanged to a pipe, without control characters to a terminal.
    ///
    /// # Errors
    /// stdout cannot be written, for example because the pipe is closed.
    pub fn server_data(&self, text: &str) -> io::Result<()> {
        if !io::stdout().is_terminal() {
            return self.data(text);
        }
        let lines: Vec<String> = text.split('\n').map(printable).collect();
        self.data(&lines.join("\n"))
    }

    /// Prints an error with its causes and hints.
    pub fn report(&self, error: &Error) {
        let _ = writeln!(io::stderr(), "{}", self.words(error));
    }

    /// The text of an error with its causes and hints.
    pub(crate) fn words(&self, error: &Error) -> String {
        let mut text = format!("{} {}", self.paint("error:", "1;31"), indented(&error.message()));
        for cause in error.causes() {
            text.push_str(&format!("\n  caused by: {}", indented(&cause)));
        }
        for hint in error.hints() {
            text.push_str(&format!("\n{} {}", self.paint("hint:", "1;36"), indented(hint)));
        }
        text
    }

    /// `verdict` in its colour, if stdout is a terminal.
    pub fn verdict(&self, verdict: &str) -> String {
        let style = match verdict {
            "ok" => "32",
            "warning" => "33",
            "failed" => "1;31",
            _ => "2",
        };
        self.painted(verdict, style, io::stdout().is_terminal())
    }

    fn paint(&self, text: &str, style: &str) -> String {
        self.painted(text, style, io::stderr().is_terminal())
    }

    fn painted(&self, text: &str, style: &str, is_terminal: bool) -> String {
        let colored = self.color == Color::Terminal && is_terminal;
        if colored { format!("\u{1b}[{style}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// `text` with its further lines indented, so that none of them looks like a new message.
fn indented(text: &str) -> String {
    text.trim_end().split('\n').map(printable).collect::<Vec<_>>().join("\n    ")
}

/// Starts logging to stderr, down to `level`. Logs only finmcp's own messages: a library's may contain secrets or a
/// server's text.
pub fn start_log(level: tracing::Level) {
    use tracing_subscriber::{Layer, filter::FilterFn, layer::SubscriberExt, util::SubscriberInitExt};
    let ours = FilterFn::new(move |metadata| metadata.target().starts_with("finmcp") && *metadata.level() <= level);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false).with_filter(ours);
    tracing_subscriber::registry().with(lines).init();
}
