//! One line that the user types at a terminal. Esc, Ctrl-D and the end of input cancel it.

use std::io;

use zeroize::Zeroizing;

/// Whether the terminal shows what the user types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Echo {
    Shown,
    Hidden,
}

/// What the user typed; none if they cancelled.
pub(super) type Typed = Option<Zeroizing<String>>;

/// Reads the answer to a question, which `put` prints when nothing that is typed appears any more. Dropping the future
/// restores the terminal.
///
/// # Errors
/// There is no terminal to read from.
pub(super) async fn read(echo: Echo, put: impl FnOnce()) -> io::Result<Typed> {
    platform::read(echo, put).await
}

#[cfg(unix)]
mod platform {
    use std::io::{self, BufRead, BufReader, Write};

    use zeroize::Zeroizing;

    use crate::{
        console::line::{Echo, Typed},
        terminal::Silence,
    };

    /// The longest line, in bytes.
    const LIMIT: usize = 16 << 10;

    pub(super) async fn read(echo: Echo, put: impl FnOnce()) -> io::Result<Typed> {
        let (silence, other_terminal) = match Silence::begin() {
            Some(silence) => (silence, None),
            None => {
                let (silence, terminal) = Silence::begin_on_tty()?;
                (silence, Some(terminal))
            }
        };
        put();
        // Also when the user presses Ctrl-C: what is printed next begins a line.
        let _end = LineEnd;
        // In a separate thread, so that Ctrl-C works. finmcp does not wait for it: it may block forever.
        let typed = tokio::task::spawn_blocking(move || match other_terminal {
            None => edit(io::stdin().lock(), io::stderr(), echo),
            Some(terminal) => edit(BufReader::new(terminal), io::stderr(), echo),
        });
        let typed = typed.await.map_err(io::Error::other)?;
        if typed.is_some() {
            silence.end();
        }
        Ok(typed)
    }

    struct LineEnd;

    impl Drop for LineEnd {
        fn drop(&mut self) {
            let _ = writeln!(io::stderr());
        }
    }

    /// Reads a line from a terminal that is not in line mode, with the keys that edit it.
    pub(super) fn edit(mut input: impl BufRead, mut screen: impl Write, echo: Echo) -> Typed {
        const ESCAPE: u8 = 0x1b;
        const END: u8 = 0x04;
        const KILL: u8 = 0x15;
        const ERASE: [u8; 2] = [0x08, 0x7f];
        // Never grows: a growing buffer would leave copies of a secret in memory.
        let mut line = Zeroizing::new(Vec::with_capacity(LIMIT));
        let mut show = |bytes: &[u8]| {
            if echo == Echo::Shown {
                let _ = screen.write_all(bytes).and_then(|()| screen.flush());
            }
        };
        loop {
            let chunk = match input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return None,
            };
            let byte = *chunk.first()?;
            let length = if byte == ESCAPE { sequence_length(chunk) } else { 1 };
            input.consume(length);
            match byte {
                b'\r' | b'\n' => return Some(Zeroizing::new(String::from_utf8_lossy(&line).into_owned())),
                END if line.is_empty() => return None,
                ESCAPE if length == 1 => return None,
                _ if ERASE.contains(&byte) => show(erase(&mut line)),
                KILL => {
                    while !line.is_empty() {
                        show(erase(&mut line));
                    }
                }
                byte if byte >= b' ' && line.len() < LIMIT => {
                    line.push(byte);
                    show(&[byte]);
                }
                _ => {}
            }
        }
    }

    /// Removes the last character, if there is one. Returns what removes it from the screen.
    fn erase(line: &mut Vec<u8>) -> &'static [u8] {
        const CONTINUATION: std::ops::Range<u8> = 0x80..0xc0;
        while line.pop_if(|byte| CONTINUATION.contains(byte)).is_some() {}
        if line.pop().is_some() { b"\x08 \x08" } else { b"" }
    }

    /// The length of the escape sequence at the beginning of `bytes`, which a key such as an arrow sends; 1 for the Esc
    /// key alone.
    fn sequence_length(bytes: &[u8]) -> usize {
        match bytes {
            [_, b'[', rest @ ..] => {
                let parameters = rest.iter().take_while(|byte| !(0x40..0x7f).contains(*byte)).count();
                (2 + parameters + 1).min(bytes.len())
            }
            [_, b'O', _, ..] => 3,
            _ => 1,
        }
    }
}

#[cfg(not(unix))]
mod platform {
    use std::io;

    use zeroize::Zeroizing;

    use crate::console::line::{Echo, Typed};

    pub(super) async fn read(echo: Echo, put: impl FnOnce()) -> io::Result<Typed> {
        put();
        let typed = tokio::task::spawn_blocking(move || match echo {
            Echo::Hidden => rpassword::read_password().map(|typed| Some(Zeroizing::new(typed))),
            Echo::Shown => {
                let mut typed = String::new();
                let read = io::stdin().read_line(&mut typed)?;
                Ok((read > 0).then(|| Zeroizing::new(typed.trim_end_matches(['\r', '\n']).to_owned())))
            }
        });
        typed.await.map_err(io::Error::other).flatten()
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// What is typed, with the screen after it.
    fn typed(input: &[u8], echo: Echo) -> (Option<String>, String) {
        let mut screen = Vec::new();
        // Each key comes in one piece.
        let line = platform::edit(BufReader::new(input), &mut screen, echo);
        (line.map(|line| line.to_string()), String::from_utf8(screen).unwrap())
    }

    #[test]
    fn a_line_can_be_edited() {
        for (input, line) in [
            (&b"asset\n"[..], Some("asset")),
            (b"asset\r", Some("asset")),
            (b"\n", Some("")),
            (b"assrt\x7f\x7fet\n", Some("asset")),
            (b"wrong\x15right\n", Some("right")),
            ("g\u{e9}\u{e9}\x7f\n".as_bytes(), Some("g\u{e9}")),
            (b"\x7fa\n", Some("a")),
            (b"a\x1b[Db\x1b[1;5C\x1bOAc\n", Some("abc")),
            (b"a\tb\n", Some("ab")),
            (b"a\x04b\n", Some("ab")),
        ] {
            assert_eq!(typed(input, Echo::Shown).0.as_deref(), line, "{input:?}");
        }
    }

    #[test]
    fn a_line_can_be_cancelled() {
        for input in [&b"\x1b"[..], b"\x04", b"", b"half", b"half\x1b"] {
            assert_eq!(typed(input, Echo::Shown).0, None, "{input:?}");
        }
    }

    #[test]
    fn only_what_may_be_shown_is_shown() {
        assert_eq!(typed(b"ab\x7fc\n", Echo::Shown).1, "ab\x08 \x08c");
        assert_eq!(typed(b"ab\x7fc\x15d\n", Echo::Hidden), (Some("d".to_owned()), String::new()));
    }
}
