//! The client's side: lines on stdin and stdout, or on another pair of streams. While serving, the only owner of stdout.
//!
//! A client starts us with pipes (Python, Rust, Go) or with sockets (Node); both are read and written without a thread
//! in between. Files and terminals go through tokio's blocking handles.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
};

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::mcp::{delivery, malformed::Malformed, message::Message};

/// The longest line that is taken from a client, in bytes.
const LINE_LIMIT: usize = 64 << 20;

/// How much is read at once.
const READ_SIZE: usize = 64 << 10;

/// A queue of more parts than this does not keep its memory when it gets shorter.
const LONG_QUEUE: usize = 1 << 10;

/// What stands in one line.
#[derive(Debug, Clone)]
pub enum Line {
    /// One message.
    Message(Message),
    /// A JSON array, or what begins like one.
    Batch(Bytes),
    /// None of these.
    Malformed(Malformed),
}

/// The messages of the other side.
pub struct Reader {
    input: Pin<Box<dyn AsyncRead + Send>>,
    unread: BytesMut,
    /// How much of `unread` is known to hold no line end.
    scanned: usize,
    /// Within a line that is too long: to be dropped up to its end.
    dropping: bool,
}

/// Messages on their way to the other side.
pub struct Writer {
    output: Pin<Box<dyn AsyncWrite + Send>>,
    lines: VecDeque<Bytes>,
    waiting: usize,
}

/// stdin and stdout, for this process's one conversation.
///
/// # Errors
/// What the system says of the two descriptors.
pub fn stdio() -> io::Result<(Reader, Writer)> {
    descriptors::open().map(|(stdin, stdout)| over(stdin, stdout))
}

/// A conversation that is not on stdin and stdout: with whoever writes to `input` and reads `output`.
pub fn over(input: Pin<Box<dyn AsyncRead + Send>>, output: Pin<Box<dyn AsyncWrite + Send>>) -> (Reader, Writer) {
    let reader = Reader { input, unread: BytesMut::new(), scanned: 0, dropping: false };
    (reader, Writer { output, lines: VecDeque::new(), waiting: 0 })
}

impl Reader {
    /// The next line that is not empty; none at the end. Can be dropped and called again: nothing is
    /// lost.
    ///
    /// # Errors
    /// What the system says.
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

    /// The next such line that has been read already.
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
            // No hold is kept on the memory of a large line, of which only what follows it is wanted here.
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

    /// What stands behind the last line end: a client that closed its side too soon, and meant it all the same.
    fn last_line(&mut self) -> Option<Line> {
        let rest = std::mem::take(&mut self.unread).freeze();
        self.scanned = 0;
        if self.dropping { None } else { parse(rest) }
    }
}

/// What stands in `line`; none in an empty one. A byte order mark is nothing: some shells write one first.
fn parse(line: Bytes) -> Option<Line> {
    let line = delivery::without_mark(line);
    let line = line.strip_suffix(b"\r").map_or_else(|| line.clone(), |bare| line.slice_ref(bare));
    match line.trim_ascii_start().first()? {
        b'[' => Some(Line::Batch(line)),
        _ => Some(Message::parse(line).map_or_else(Line::Malformed, Line::Message)),
    }
}

impl Writer {
    /// Takes a line, to be written soon.
    pub fn push(&mut self, line: Bytes) {
        self.waiting += line.len() + 1;
        self.lines.push_back(line);
        self.lines.push_back(Bytes::from_static(b"\n"));
    }

    /// How many bytes wait to be written.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Writes as much as the client takes at once. Can be dropped and called again: nothing is lost and nothing is
    /// written twice.
    ///
    /// # Errors
    /// What the system says; a client that is gone among that.
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

    /// Writes everything.
    ///
    /// # Errors
    /// What the system says.
    pub async fn flush(&mut self) -> io::Result<()> {
        while self.waiting > 0 {
            self.write().await?;
        }
        self.output.flush().await
    }
}

#[cfg(unix)]
#[expect(clippy::disallowed_methods, reason = "the one room that owns stdout while serving")]
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

    /// What a descriptor is.
    enum Kind {
        Pipe(File),
        Socket(OwnedFd),
        Other,
    }

    /// Takes stdin and stdout. Where stdout is ours alone, descriptor 1 is stderr's from then on: whatever else writes
    /// there cannot get between two messages.
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

    /// The same pipe with an open file description of its own, so that making it non-blocking is nobody else's affair.
    /// Linux has a way.
    fn reopen(pipe: &File, how: &std::fs::OpenOptions) -> Option<File> {
        use std::os::{fd::AsRawFd, unix::fs::OpenOptionsExt};
        let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
        how.clone().custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).open(path).ok()
    }

    /// A socket's description is shared with nobody but our own descriptors: the client keeps the other end.
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

    /// t100: lines end at LF alone; blank ones are nothing; a bad one does not stop the next.
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

    /// t101: a line without end is dropped to its end, once said, and the next one is read.
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
    async fn what_is_pushed_is_written_in_order() {
        let (ours, mut theirs) = tokio::io::duplex(7);
        let mut writer = Writer { output: Box::pin(ours), lines: VecDeque::new(), waiting: 0 };
        for line in ["first", "", "a longer third line"] {
            writer.push(Bytes::from(line));
        }
        let written = tokio::spawn(async move {
            writer.flush().await.unwrap();
            assert_eq!(writer.waiting(), 0);
        });
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        written.await.unwrap();
        assert_eq!(text, "first\n\na longer third line\n");
    }
}
