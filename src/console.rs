//! The only writer: data to stdout, words for people to stderr.
//!
//! Whatever a server said is cleaned before a terminal sees it.
#![expect(clippy::disallowed_methods, reason = "the one room that writes for people")]

pub mod progress;

use std::io::{self, IsTerminal, Write};

use crate::{console::progress::Progress, error::Error, printable::printable, secret::Secret};

/// Where output goes, and how it may look.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    color: Color,
    voice: Voice,
}

/// Whether words may have colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// Where they go to a terminal.
    Terminal,
    /// Nowhere (`NO_COLOR`, see no-color.org).
    Never,
}

/// How much is said to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// What was done, too.
    Usual,
    /// What went wrong, and what a person has to do or to know.
    Quiet,
}

impl Console {
    /// A console of that kind.
    pub fn new(color: Color, voice: Voice) -> Self {
        Self { color, voice }
    }

    /// Data, which can be piped on.
    ///
    /// # Errors
    /// What the system says, a closed pipe included.
    pub fn data(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// What a person may like to know, and can do without.
    pub fn note(&self, text: &str) {
        if self.voice == Voice::Usual {
            self.say(text);
        }
    }

    /// A sentence for a person. Where stderr is gone, nobody is there to read it.
    pub fn say(&self, text: &str) {
        let lines: Vec<String> = text.split('\n').map(printable).collect();
        let _ = writeln!(io::stderr(), "{}", lines.join("\n"));
    }

    /// Asks the person at the terminal for something that the terminal does not show.
    ///
    /// # Errors
    /// What the system says, also where nobody sees what this writes.
    pub fn ask_secret(&self, question: &str) -> io::Result<Secret> {
        if !io::stderr().is_terminal() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        rpassword::prompt_password(question).map(Secret::new)
    }

    /// Whether a person is at the terminal, who can be asked.
    pub fn is_attended(&self) -> bool {
        io::stderr().is_terminal() && io::stdin().is_terminal()
    }

    /// What the person at the terminal says, in one line; none where nobody is there, or nothing more is said.
    pub async fn ask(&self, question: &str) -> Option<String> {
        if !self.is_attended() {
            return None;
        }
        let lines: Vec<String> = question.split('\n').map(printable).collect();
        let _ = write!(io::stderr(), "{}", lines.join("\n"));
        // On a thread of its own, so that Ctrl-C is heard.
        let answer = tokio::task::spawn_blocking(|| {
            let mut answer = String::new();
            io::stdin().read_line(&mut answer).map(|read| (read > 0).then_some(answer))
        });
        let answer = answer.await.map_err(io::Error::other).flatten().ok().flatten()?;
        Some(answer.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Whether the person at the terminal says yes. Nobody there means no.
    pub async fn confirm(&self, question: &str) -> bool {
        matches!(self.ask(question).await.as_deref().map(str::trim), Some("y" | "Y" | "yes"))
    }

    /// A line that shows how far something has come.
    pub fn progress(&self) -> Progress {
        match self.voice {
            Voice::Usual => Progress::shown(),
            Voice::Quiet => Progress::hidden(),
        }
    }

    /// How many characters a line for people may have.
    pub fn width(&self) -> usize {
        const WIDTHS: (usize, usize, usize) = (40, 80, 100);
        let terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        terminal.unwrap_or(WIDTHS.1).clamp(WIDTHS.0, WIDTHS.2)
    }

    /// What a server said, as data: whole where it is piped on, and without what steers it in a terminal.
    ///
    /// # Errors
    /// What the system says, a closed pipe included.
    pub fn server_data(&self, text: &str) -> io::Result<()> {
        if !io::stdout().is_terminal() {
            return self.data(text);
        }
        let lines: Vec<String> = text.split('\n').map(printable).collect();
        self.data(&lines.join("\n"))
    }

    /// Says what went wrong, why, and what to do next.
    pub fn report(&self, error: &Error) {
        let _ = writeln!(io::stderr(), "{}", self.words(error));
    }

    /// What went wrong, why, and what to do next, as a person reads it.
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

    /// `verdict` in the colour that says the same, for data.
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

/// `text` with its further lines set off, so that none of them passes for the start of something else.
fn indented(text: &str) -> String {
    text.trim_end().split('\n').map(printable).collect::<Vec<_>>().join("\n    ")
}

/// Writes what finmcp does to stderr, down to `level`. Only its own words: what libraries log may hold what a server or a
/// token says.
pub fn start_log(level: tracing::Level) {
    use tracing_subscriber::{Layer, filter::FilterFn, layer::SubscriberExt, util::SubscriberInitExt};
    let ours = FilterFn::new(move |metadata| metadata.target().starts_with("finmcp") && *metadata.level() <= level);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false).with_filter(ours);
    tracing_subscriber::registry().with(lines).init();
}
