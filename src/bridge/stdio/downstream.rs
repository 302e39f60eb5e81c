//! The client's side: lines on stdin and stdout, or on another pair of streams. While serving, the only owner of
//! stdout.
//!
//! AI clients start finmcp with pipes (Python, Rust, Go) or sockets (Node); it reads and writes both without a thread
//! in between. Files and terminals go through tokio's blocking handles.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
};

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::mcp::{
    delivery,
    malformed::{LINE_LIMIT, Malformed},
    message::Message,
};

const READ_SIZE: usize = 64 << 10;

/// A queue that had more entries than this gives back its memory when it shrinks.
const LONG_QUEUE: usize = 1 << 10;

/// The content of a line.
#[derive(Debug, Clone)]
pub enum Line {
    /// One message.
    Message(Message),
    /// A JSON array, or what starts like one.
    Batch(Bytes),
    /// Anything else.
    Malformed(Malformed),
}

/// Reads the client's messages.
pub struct Reader {
    input: Pin<Box<dyn AsyncRead + Send>>,
    unread: BytesMut,
    /// How much of `unread` is known to contain no line end.
    scanned: usize,
    /// Whether the rest of the current line is dropped, because it is too long.
    dropping: bool,
}

/// Writes messages to the client.
pub struct Writer {
    output: Pin<Box<dyn AsyncWrite + Send>>,
    lines: VecDeque<Bytes>,
    waiting: usize,
}

/// This process's stdin and stdout.
///
/// # Errors
/// An error of the operating system on one of the two descriptors.
pub fn stdio() -> io::Result<(Reader, Writer)> {
    descriptors::open().map(|(stdin, stdout)| over(stdin, stdout))
}

/// A conversation on other streams: finmcp reads `input` and writes `output`.
pub fn over(input: Pin<Box<dyn AsyncRead + Send>>, output: Pin<Box<dyn AsyncWrite + Send>>) -> (Reader, Writer) {
    let reader = Reader { input, unread: BytesMut::new(), scanned: 0, dropping: false };
    (reader, Writer { output, lines: VecDeque::new(), waiting: 0 })
}

impl Reader {
    /// The next line that is not empty; none at the end. Cancel-safe.
    ///
    /// # Errors
    /// An error of the operating system.
    pub async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(message) = self.next_line() {
                return Ok(Some(message));
            }
            self.unread.reserve(READ_SIZE);
            if self.input.read_buf(&mut (&mut self.unread).limit(READ_SIZE)).await? == 0 {
                return Ok(self.last_line());
            }
        }
    }

    /// The next such line that is already buffered.
    pub fn next_line(&mut self) -> Option<Line> {
        loop {
            let Some(offset) = memchr::memchr(b'\n', &self.unread[self.scanned..]) else {
                self.scanned = self.unread.len();
                if self.scanned > LINE_LIMIT {
                    self.unread = BytesMut::new();
                    self.scanned = 0;
                    if !std::mem::replace(&mut self.dropping, true) {
                        return Some(Line::Malformed(Malformed::TooLong));
                    }
                }
                return None;
            };
            let line = self.unread.split_to(self.scanned + offset).freeze();
            self.unread.advance(1);
            self.scanned = 0;
            // Copy the rest, so that it does not keep the memory of a large line alive.
            if line.len() > READ_SIZE && self.unread.len() <= line.len() {
                self.unread = BytesMut::from(&self.unread[..]);
            }
            if std::mem::replace(&mut self.dropping, false) {
                continue;
            }
            if let Some(message) = parse(line) {
                return Some(message);
            }
        }
    }

    /// The last line, if the client closed its side without a line end.
    fn last_line(&mut self) -> Option<Line> {
        let rest = std::mem::take(&mut self.unread).freeze();
        self.scanned = 0;
        if self.dropping { None } else { parse(rest) }
    }
}

/// Reads `line`; returns none if it is empty. Ignores a byte order mark, which some shells write first.
fn parse(line: Bytes) -> Option<Line> {
    let line = delivery::without_mark(line);
    let line = line.strip_suffix(b"\r").map_or_else(|| line.clone(), |bare| line.slice_ref(bare));
    match line.trim_ascii_start().first()? {
        b'[' => Some(Line::Batch(line)),
        _ => Some(Message::parse(line).map_or_else(Line::Malformed, Line::Message)),
    }
}

impl Writer {
    /// Queues a line.
    pub fn push(&mut self, line: Bytes) {
        self.waiting += line.len() + 1;
        self.lines.push_back(line);
        self.lines.push_back(Bytes::from_static(b"\n"));
    }

    /// How many bytes are queued.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Writes as much as the client takes at once. Cancel-safe: no byte is lost or written twice.
    ///
    /// # Errors
    /// An error of the operating system, including that the client is gone.
    pub async fn write(&mut self) -> io::Result<()> {
        const AT_ONCE: usize = 64;
        let mut slices = [IoSlice::new(&[]); AT_ONCE];
        let mut count = 0;
        for (slice, line) in slices.iter_mut().zip(&self.lines) {
            *slice = IoSlice::new(line);
            count += 1;
        }
        let mut written = self.output.write_vectored(&slices[..count]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.waiting -= written;
        let is_long = self.lines.len() > LONG_QUEUE;
        while let Some(line) = self.lines.front_mut().filter(|_| written > 0) {
            let part = written.min(line.len());
            line.advance(part);
            written -= part;
            if line.is_empty() {
                self.lines.pop_front();
            }
        }
        if is_long && self.lines.len() <= LONG_QUEUE {
            self.lines.shrink_to_fit();
        }
        Ok(())
    }

    /// Writes the whole queue.
    ///
    /// # Errors
    /// An error of the operating system.
    pub async fn flush(&mut self) -> io::Result<()> {
        while self.waiting > 0 {
            self.write().await?;
        }
        self.output.flush().await
    }
}

#[cfg(unix)]
#[expect(clippy::disallowed_methods, reason = "the one module that owns stdout while serving")]
mod descriptors {
    use std::{
        fs::File,
        io,
        os::{
            fd::{AsFd, OwnedFd},
            unix::fs::FileTypeExt,
        },
        pin::Pin,
    };

    use tokio::{
        io::{AsyncRead, AsyncWrite},
        net::{UnixStream, unix::pipe},
    };

    type Ends = (Pin<Box<dyn AsyncRead + Send>>, Pin<Box<dyn AsyncWrite + Send>>);

    enum Kind {
        Pipe(File),
        Socket(OwnedFd),
        Other,
    }

    /// Takes stdin and stdout. If finmcp does not share stdout, descriptor 1 then becomes stderr: no stray output can
    /// get between two messages.
    pub fn open() -> io::Result<Ends> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        let reader: Pin<Box<dyn AsyncRead + Send>> = match kind(stdin)? {
            Kind::Pipe(file) => match reopen(&file, File::options().read(true)) {
                Some(own) => Box::pin(pipe::Receiver::from_file(own)?),
                None => Box::pin(tokio::io::stdin()),
            },
            Kind::Socket(socket) => Box::pin(stream(socket)?),
            Kind::Other => Box::pin(tokio::io::stdin()),
        };
        let writer: Pin<Box<dyn AsyncWrite + Send>> = match kind(stdout)? {
            Kind::Pipe(file) => match reopen(&file, File::options().write(true)) {
                Some(own) => Box::pin(pipe::Sender::from_file(own)?),
                None => return Ok((reader, Box::pin(tokio::io::stdout()))),
            },
            Kind::Socket(socket) => Box::pin(stream(socket)?),
            Kind::Other => return Ok((reader, Box::pin(tokio::io::stdout()))),
        };
        rustix::stdio::dup2_stdout(io::stderr().as_fd())?;
        Ok((reader, writer))
    }

    fn kind(descriptor: OwnedFd) -> io::Result<Kind> {
        let file = File::from(descriptor);
        let kind = file.metadata()?.file_type();
        Ok(match (kind.is_fifo(), kind.is_socket()) {
            (true, _) => Kind::Pipe(file),
            (_, true) => Kind::Socket(file.into()),
            _ => Kind::Other,
        })
    }

    /// Opens the same pipe again with a separate file description, so that making it non-blocking does not affect
    /// other processes. Works on Linux.
    fn reopen(pipe: &File, how: &std::fs::OpenOptions) -> Option<File> {
        use std::os::{fd::AsRawFd, unix::fs::OpenOptionsExt};
        let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
        how.clone().custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).open(path).ok()
    }

    /// A socket's file description is shared only among this process's descriptors; the client holds the other end.
    fn stream(socket: OwnedFd) -> io::Result<UnixStream> {
        let stream = std::os::unix::net::UnixStream::from(socket);
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream)
    }
}

#[cfg(not(unix))]
mod descriptors {
    use std::{io, pin::Pin};

    use tokio::io::{AsyncRead, AsyncWrite};

    type Ends = (Pin<Box<dyn AsyncRead + Send>>, Pin<Box<dyn AsyncWrite + Send>>);

    pub fn open() -> io::Result<Ends> {
        Ok((Box::pin(tokio::io::stdin()), Box::pin(tokio::io::stdout())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(input: &'static [u8]) -> Reader {
        Reader { input: Box::pin(input), unread: BytesMut::new(), scanned: 0, dropping: false }
    }

    /// t100: only LF ends a line; blank lines are skipped; a bad line does not stop the next one.
    #[tokio::test]
    async fn t100_lines_are_read_one_by_one() {
        let mut reader = reader(
            b"\xef\xbb\xbf{\"id\":1,\"method\":\"a\"}\r\n\n \t\nnonsense\n[]\r\n\xef\xbb\xbf\n{\"method\":\"\xff\"}\n1\n{\"method\":\"b\"}",
        );
        let mut seen = Vec::new();
        while let Some(next) = reader.next().await.unwrap() {
            seen.push(match next {
                Line::Message(message) => Ok(message.raw().clone()),
                Line::Batch(line) => Ok(line),
                Line::Malformed(malformed) => Err(malformed),
            });
        }
        assert_eq!(
            seen,
            [
                Ok(Bytes::from_static(b"{\"id\":1,\"method\":\"a\"}")),
                Err(Malformed::Json),
                Ok(Bytes::from_static(b"[]")),
                Err(Malformed::Json),
                Err(Malformed::Message),
                Ok(Bytes::from_static(b"{\"method\":\"b\"}")),
            ]
        );
    }

    /// t101: a line without an end is dropped up to its end and reported once; the next line is read.
    #[test]
    fn t101_an_endless_line_is_dropped() {
        let mut reader = reader(b"");
        let mut refusals = 0;
        for _ in 0..3 {
            reader.unread.extend_from_slice(&vec![b'x'; LINE_LIMIT + 1]);
            refusals += usize::from(matches!(reader.next_line(), Some(Line::Malformed(Malformed::TooLong))));
        }
        assert_eq!(refusals, 1);
        reader.unread.extend_from_slice(b"x\n{\"method\":\"b\"}\n");
        assert!(matches!(reader.next_line(), Some(Line::Message(_))));
    }

    #[tokio::test]
    async fn lines_are_written_in_order() {
        let (finmcp_end, mut client_end) = tokio::io::duplex(7);
        let mut writer = Writer { output: Box::pin(finmcp_end), lines: VecDeque::new(), waiting: 0 };
        for line in ["first", "", "a longer third line"] {
            writer.push(Bytes::from(line));
        }
        let written = tokio::spawn(async move {
            writer.flush().await.unwrap();
            assert_eq!(writer.waiting(), 0);
        });
        let mut text = String::new();
        client_end.read_to_string(&mut text).await.unwrap();
        written.await.unwrap();
        assert_eq!(text, "first\n\na longer third line\n");
    }
}
