//! The final address of the browser, which the user pastes if the browser cannot reach this machine. finmcp treats it
//! like a request to the listener.

use std::{
    io::{self, BufRead},
    thread,
};

use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// The longest line, in bytes.
const LINE_LIMIT: usize = 16 << 10;

/// Reads pasted lines from stdin, from the first [`Paste::next`] on. Dropping it restores the terminal, and leaves what
/// is typed next to other readers.
#[derive(Debug, Default)]
pub struct Paste {
    /// None before the first call: until the page is shown, what is typed may answer a question.
    lines: Option<mpsc::Receiver<Line>>,
    #[cfg(unix)]
    _silence: Option<crate::terminal::Silence>,
}

/// One line. It may contain a code.
type Line = Result<Zeroizing<String>, PasteError>;

/// Why a pasted line is not the authorization response. The user can try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasteError {
    /// Another address, or no address.
    #[error("That is not the final address; copy it from the address bar and try again")]
    Elsewhere,
    /// The right address, with another sign-in's response or without one.
    #[error("That address is incomplete or belongs to another sign-in; copy all of it and try again")]
    Unrelated,
    /// Longer than any such address.
    #[error("That is too long; copy only the address from the address bar and try again")]
    TooLong,
}

impl Paste {
    /// Reads from the terminal on stdin without echo: the address contains a code, and terminals keep their contents.
    /// None if stdin is not a terminal, or if finmcp runs in the background.
    #[cfg(unix)]
    pub fn from_terminal() -> Option<Self> {
        let silence = crate::terminal::Silence::begin()?;
        Some(Self { _silence: Some(silence), ..Self::default() })
    }

    /// None: finmcp cannot turn off the echo of this system's terminals.
    #[cfg(not(unix))]
    pub fn from_terminal() -> Option<Self> {
        None
    }

    /// Reads from stdin of any kind.
    pub fn from_pipe() -> Self {
        Self::default()
    }

    /// The next line that is not empty; none at the end of the input.
    pub async fn next(&mut self) -> Option<Line> {
        self.lines.get_or_insert_with(lines_of_stdin).recv().await
    }
}

/// Reads stdin in a separate thread until the receiver is dropped. finmcp does not wait for that thread: it may block
/// forever.
fn lines_of_stdin() -> mpsc::Receiver<Line> {
    let (sender, lines) = mpsc::channel(1);
    let read = move || {
        let input = Awaited { input: io::stdin().lock(), left: 0, is_wanted: || !sender.is_closed() };
        read_lines(input, |line| sender.blocking_send(line).is_ok());
    };
    // If it cannot start, the user cannot paste; everything else works.
    let _ = thread::Builder::new().name("paste".to_owned()).spawn(read);
    lines
}

/// The query in a pasted line: either a full address, with or without scheme, that begins with the redirect URI's
/// `address`; or only the query.
///
/// # Errors
/// [`PasteError::Elsewhere`].
pub fn query<'t>(text: &'t str, address: &str) -> Result<&'t str, PasteError> {
    const SCHEME: &str = "http://";
    let text = text.trim();
    let bare = text.strip_prefix(SCHEME).unwrap_or(text);
    let query = match bare.strip_prefix(address.strip_prefix(SCHEME).unwrap_or(address)) {
        Some(rest) => rest.strip_prefix('?').ok_or(PasteError::Elsewhere)?,
        None if text.contains("://") || !text.contains('=') => return Err(PasteError::Elsewhere),
        None => text.strip_prefix('?').unwrap_or(text),
    };
    // Browsers do not send fragments (RFC 9110 section 7.1).
    Ok(query.split_once('#').map_or(query, |(query, _)| query))
}

/// An input that ends when its reader is no longer wanted: what is typed then is the answer to another question.
struct Awaited<I, W> {
    input: I,
    /// The number of bytes that were read and not consumed.
    left: usize,
    is_wanted: W,
}

impl<I, W: Fn() -> bool> Awaited<I, W> {
    /// Waits until there is input, or until it is no longer wanted. Returns whether it is wanted.
    fn comes(&self) -> bool {
        while !is_ready() && (self.is_wanted)() {}
        // The line that ended the wait may be the answer to another question.
        (self.is_wanted)()
    }
}

impl<I: BufRead, W: Fn() -> bool> io::Read for Awaited<I, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.fill_buf()?[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl<I: BufRead, W: Fn() -> bool> BufRead for Awaited<I, W> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 && !self.comes() {
            return Ok(&[]);
        }
        let chunk = self.input.fill_buf()?;
        self.left = chunk.len();
        Ok(chunk)
    }

    fn consume(&mut self, amount: usize) {
        self.left -= amount.min(self.left);
        self.input.consume(amount);
    }
}

/// Waits for input on stdin for a moment.
#[cfg(unix)]
fn is_ready() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let stdin = rustix::stdio::stdin();
    // A failure shows again when the input is read.
    !matches!(poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&MOMENT)), Ok(0) | Err(rustix::io::Errno::INTR))
}

#[cfg(not(unix))]
fn is_ready() -> bool {
    true
}

/// Reads lines until the end of `input`, or until `take` returns false. Skips blank lines. Handles the editing keys,
/// because a terminal without echo is not in line mode.
fn read_lines(mut input: impl BufRead, mut take: impl FnMut(Line) -> bool) {
    const ERASE: [u8; 2] = [0x08, 0x7f];
    const KILL: u8 = 0x15;
    const END: u8 = 0x04;
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_LIMIT));
    let mut too_long = false;
    loop {
        let byte = match input.fill_buf() {
            Ok(chunk) => chunk.first().copied(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => None,
        };
        input.consume(usize::from(byte.is_some()));
        match byte.unwrap_or(END) {
            end @ (b'\r' | b'\n' | END) => {
                let text = Zeroizing::new(String::from_utf8_lossy(&line).trim().to_owned());
                line.clear();
                let is_wanted = match std::mem::take(&mut too_long) {
                    true => take(Err(PasteError::TooLong)),
                    false if text.is_empty() => true,
                    false => take(Ok(text)),
                };
                if end == END || !is_wanted {
                    return;
                }
            }
            byte if ERASE.contains(&byte) => drop(line.pop()),
            KILL => {
                line.clear();
                too_long = false;
            }
            _ if line.len() == LINE_LIMIT => too_long = true,
            byte => line.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDIRECT: &str = "http://127.0.0.1:5000/callback";

    fn lines(input: &[u8]) -> Vec<Result<String, PasteError>> {
        let mut lines = Vec::new();
        read_lines(input, |line| {
            lines.push(line.map(|line| line.to_string()));
            true
        });
        lines
    }

    /// t097: only this sign-in's address or its query is accepted.
    #[test]
    fn t097_only_the_redirect_uri_is_accepted() {
        for (text, wanted) in [
            ("http://127.0.0.1:5000/callback?code=a&state=b", Ok("code=a&state=b")),
            (" 127.0.0.1:5000/callback?code=a&state=b#x?y \t", Ok("code=a&state=b")),
            ("http://127.0.0.1:5000/callback?code=http://x", Ok("code=http://x")),
            ("?code=a&state=b", Ok("code=a&state=b")),
            ("code=a&state=b", Ok("code=a&state=b")),
            ("http://127.0.0.1:5000/callback?", Ok("")),
            ("http://127.0.0.1:5000/callback", Err(PasteError::Elsewhere)),
            ("http://127.0.0.1:5000/callback/?code=a", Err(PasteError::Elsewhere)),
            ("http://127.0.0.1:5001/callback?code=a", Err(PasteError::Elsewhere)),
            ("https://127.0.0.1:5000/callback?code=a", Err(PasteError::Elsewhere)),
            ("http://127.0.0.1:5000.evil.example/callback?code=a", Err(PasteError::Elsewhere)),
            ("https://as.example/authorize?state=b", Err(PasteError::Elsewhere)),
            ("the code", Err(PasteError::Elsewhere)),
        ] {
            assert_eq!(query(text, REDIRECT), wanted, "{text}");
        }
    }

    #[test]
    fn lines_can_be_edited_and_have_a_limit() {
        let long = [&b"x".repeat(LINE_LIMIT + 1)[..], b"\nok\n"].concat();
        let just = b"x".repeat(LINE_LIMIT);
        for (input, wanted) in [
            (&b"a\n\n \r\nb\r\n"[..], vec![Ok("a"), Ok("b")]),
            (b"a", vec![Ok("a")]),
            (b"", vec![]),
            (b"wrong\x15rigth\x7f\x7fht\x08\x08\x08\x08\x08\x08\x08a\n", vec![Ok("a")]),
            (b"a\x04b\n", vec![Ok("a")]),
            (&long, vec![Err(PasteError::TooLong), Ok("ok")]),
            (&just, vec![Ok(std::str::from_utf8(&just).unwrap())]),
        ] {
            assert_eq!(lines(input), wanted.into_iter().map(|line| line.map(str::to_owned)).collect::<Vec<_>>());
        }
        let mut count = 0;
        read_lines(&b"a\nb\n"[..], |_| {
            count += 1;
            false
        });
        assert_eq!(count, 1);
    }
}
