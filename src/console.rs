//! The only module that writes to the terminal: data to stdout, messages to stderr.
//!
//! It removes control characters from a server's text before it reaches a terminal.
#![expect(clippy::disallowed_methods, reason = "the one module that writes for people")]

pub mod choice;
pub mod progress;

use std::io::{self, IsTerminal, Write};

use crate::{console::progress::Progress, error::Error, paragraph::wrapped, printable::printable, secret::Secret};

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
        let _ = writeln!(io::stderr(), "{}", self.fitted(&lines.join("\n"), 0));
    }

    /// `text`, wrapped if stderr is a terminal. Other programs get whole lines.
    fn fitted(&self, text: &str, hang: usize) -> String {
        if io::stderr().is_terminal() { wrapped(text, hang, self.width()) } else { text.to_owned() }
    }

    /// Asks the user for a secret, which the terminal does not show.
    ///
    /// # Errors
    /// The terminal cannot be read, or stderr is not a terminal.
    pub fn ask_secret(&self, question: &str) -> io::Result<Secret> {
        if !io::stderr().is_terminal() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        rpassword::prompt_password(question).map(Secret::new)
    }

    /// Whether the user can answer questions in a terminal.
    pub fn is_attended(&self) -> bool {
        io::stderr().is_terminal() && io::stdin().is_terminal()
    }

    /// Asks the user for one line; none without a terminal or at the end of input.
    pub async fn ask(&self, question: &str) -> Option<String> {
        if !self.is_attended() {
            return None;
        }
        let lines: Vec<String> = question.split('\n').map(printable).collect();
        let _ = write!(io::stderr(), "{}", lines.join("\n"));
        // In a separate thread, so that Ctrl-C works.
        let answer = tokio::task::spawn_blocking(|| {
            let mut answer = String::new();
            io::stdin().read_line(&mut answer).map(|read| (read > 0).then_some(answer))
        });
        let answer = answer.await.map_err(io::Error::other).flatten().ok().flatten()?;
        Some(answer.trim_end_matches(['\r', '\n']).to_owned())
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
        let _ = writeln!(io::stderr(), "{}", self.fitted(&self.words(error), 4));
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

/// Starts logging to stderr, down to `level`. Logs only finmcp's own messages: a library's may contain secrets or a
/// server's text.
pub fn start_log(level: tracing::Level) {
    use tracing_subscriber::{Layer, filter::FilterFn, layer::SubscriberExt, util::SubscriberInitExt};
    let ours = FilterFn::new(move |metadata| metadata.target().starts_with("finmcp") && *metadata.level() <= level);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false).with_filter(ours);
    tracing_subscriber::registry().with(lines).init();
}
