//! The only module that writes to the terminal: data to stdout, messages to stderr.
//!
//! It removes control characters from a server's text before it reaches a terminal.
#![expect(clippy::disallowed_methods, reason = "the one module that writes for people")]

pub mod choice;
mod line;
pub mod progress;

use std::io::{self, IsTerminal, Write};

use tracing::{Level, Metadata};

use crate::{
    console::{line::Echo, progress::Waiting},
    error::{Error, ErrorKind},
    paragraph::wrapped,
    printable::printable,
    secret::Secret,
    serve_log::writer::Writer,
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

/// How a word of a report is coloured.
#[derive(Debug, Clone, Copy)]
pub enum Tone {
    Good,
    Doubtful,
    Bad,
    Faint,
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
        self.bytes(text.as_bytes())
    }

    /// Writes bytes to stdout.
    ///
    /// # Errors
    /// stdout cannot be written, for example because the pipe is closed.
    pub fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        progress::around(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        })
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
        write_line(&self.fitted(&lines.join("\n"), 0));
    }

    /// `text`, wrapped if stderr is a terminal. Other programs get whole lines.
    fn fitted(&self, text: &str, hang: usize) -> String {
        if io::stderr().is_terminal() { wrapped(text, hang, self.width()) } else { text.to_owned() }
    }

    /// Asks the user for a secret, which the terminal does not show; none if the user cancels.
    ///
    /// # Errors
    /// There is no terminal, or it cannot be read.
    pub async fn ask_secret(&self, question: &str) -> io::Result<Option<Secret>> {
        if !io::stderr().is_terminal() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let typed = at_rest(line::read(Echo::Hidden, || self.put(question))).await?;
        Ok(typed.map(|mut typed| Secret::new(std::mem::take(&mut *typed))))
    }

    /// Whether the user can answer questions in a terminal.
    pub fn is_attended(&self) -> bool {
        io::stderr().is_terminal() && io::stdin().is_terminal()
    }

    /// Asks the user for one line; none without a terminal, or if the user cancels.
    pub async fn ask(&self, question: &str) -> Option<String> {
        if !self.is_attended() {
            return None;
        }
        let typed = at_rest(line::read(Echo::Shown, || self.put(question))).await.ok().flatten();
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

    /// Says after a second what finmcp waits for, as one line that is removed when the result is dropped. Nothing
    /// without a terminal or with `--quiet`.
    pub fn waiting(&self, text: &str) -> Option<Waiting> {
        if self.voice == Voice::Usual { progress::start(text) } else { None }
    }

    /// Changes what that line says.
    pub fn now_waiting(&self, text: &str) {
        progress::wait(text);
    }

    /// Removes that line until [`Console::now_waiting`]: it is the user's turn.
    pub fn rest(&self) {
        progress::rest();
    }

    /// Shows a server's progress in that line: `done` of `total`, and its message.
    pub fn progress(&self, done: f64, total: Option<f64>, message: &str) {
        progress::report(done, total, message);
    }

    /// Whether stdout is a terminal.
    pub fn shows_data(&self) -> bool {
        io::stdout().is_terminal()
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
        if !self.shows_data() {
            return self.data(text);
        }
        let lines: Vec<String> = text.split('\n').map(printable).collect();
        self.data(&lines.join("\n"))
    }

    /// Prints an error with its causes and hints.
    pub fn report(&self, error: &Error) {
        if error.kind == ErrorKind::Interrupted && io::stderr().is_terminal() {
            // The terminal has written ^C where the cursor is.
            let start = if self.color == Color::Terminal { "\r\u{1b}[K" } else { "\n" };
            let _ = write!(io::stderr(), "{start}");
        }
        write_line(&self.fitted(&self.words(error), 4));
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

    /// `word` in its colour, if stdout is a terminal.
    pub fn toned(&self, word: &str, tone: Tone) -> String {
        let style = match tone {
            Tone::Good => "32",
            Tone::Doubtful => "33",
            Tone::Bad => "1;31",
            Tone::Faint => "2",
        };
        self.painted(word, style, io::stdout().is_terminal())
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

/// Writes a line to stderr. Ignores a closed stderr.
fn write_line(line: &str) {
    progress::around(|| {
        let _ = writeln!(io::stderr(), "{line}");
    });
}

/// Lets the user answer without a line that moves.
async fn at_rest<T>(ask: impl Future<Output = T>) -> T {
    let was_waiting = progress::is_waiting();
    progress::rest();
    let answer = ask.await;
    if was_waiting {
        progress::resume();
    }
    answer
}

/// stderr, for log lines.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        progress::around(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Starts logging to stderr, down to `level`, and to the file of `serve`. Logs only finmcp's own messages: a library's may
/// contain secrets or a server's text.
pub fn start_log(level: Level, file: Option<Writer>) {
    use tracing_subscriber::{Layer, filter::FilterFn, layer::SubscriberExt, util::SubscriberInitExt};
    let ours = |level| {
        FilterFn::new(move |metadata: &Metadata<'_>| {
            metadata.target().starts_with("finmcp") && *metadata.level() <= level
        })
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(|| Stderr).with_ansi(false).with_filter(ours(level));
    let file = file.map(|file| file.with_filter(ours(Level::INFO)));
    tracing_subscriber::registry().with(lines).with(file).init();
}
