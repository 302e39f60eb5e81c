//! A decoder of Server-Sent Events (WHATWG HTML, section 9.2.6 "Interpreting an event stream").

use bytes::{Buf, Bytes, BytesMut};

/// A complete event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent {
    /// The event type; `message` if the stream gives none.
    pub name: Bytes,
    /// The lines of `data`, joined by line feeds. A single line is a slice of the input, not a copy.
    pub data: Bytes,
}

/// An event exceeded the size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

/// Splits a stream into events, however the stream is chunked.
#[derive(Debug)]
pub struct Decoder {
    unread: BytesMut,
    /// The length of the prefix of `unread` that contains no line end.
    scanned: usize,
    at_start: bool,
    /// The last line ended with CR, so a following LF belongs to it.
    after_carriage_return: bool,
    limit: usize,
    name: Bytes,
    data: Option<Data>,
    last_event_id: Option<Bytes>,
    retry: Option<u64>,
    /// The current event has a field.
    has_field: bool,
    sign_of_life: bool,
}

#[derive(Debug)]
enum Data {
    Line(Bytes),
    Lines(BytesMut),
}

impl Decoder {
    /// Creates a decoder for events of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            unread: BytesMut::new(),
            scanned: 0,
            at_start: true,
            after_carriage_return: false,
            limit,
            name: Bytes::new(),
            data: None,
            last_event_id: None,
            retry: None,
            has_field: false,
            sign_of_life: false,
        }
    }

    /// Creates a decoder for the stream that resumes this one.
    pub fn resumed(&self) -> Self {
        Self { last_event_id: self.last_event_id.clone(), retry: self.retry, ..Self::new(self.limit) }
    }

    /// Adds the next chunk of the stream.
    pub fn push(&mut self, chunk: &[u8]) {
        self.unread.extend_from_slice(chunk);
    }

    /// The last `id` received, for resuming (MCP 2025-11-25, "Resumability and Redelivery").
    pub fn last_event_id(&self) -> Option<&Bytes> {
        self.last_event_id.as_ref()
    }

    /// The last `retry` received: the wait before reconnecting, in milliseconds.
    pub fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// Whether a comment or an event without data has arrived since the last call.
    pub fn take_sign_of_life(&mut self) -> bool {
        std::mem::take(&mut self.sign_of_life)
    }

    /// The next complete event.
    ///
    /// # Errors
    /// [`TooLarge`] if an event exceeds the limit. The stream cannot be read further.
    pub fn next_event(&mut self) -> Result<Option<SseEvent>, TooLarge> {
        while let Some(line) = self.next_line() {
            if line.is_empty() {
                self.sign_of_life |= std::mem::take(&mut self.has_field) && self.data.is_none();
                let name = std::mem::take(&mut self.name);
                if let Some(data) = self.data.take() {
                    self.release_memory_of(data.len());
                    let name = if name.is_empty() { Bytes::from_static(b"message") } else { name };
                    return Ok(Some(SseEvent { name, data: data.join() }));
                }
            } else {
                self.field(line);
            }
            self.check_size()?;
        }
        self.check_size()?;
        Ok(None)
    }

    /// Copies the bytes after a large event, so that they do not keep its memory alive.
    fn release_memory_of(&mut self, event: usize) {
        const LARGE: usize = 64 << 10;
        if event > LARGE && self.unread.len() <= event {
            self.unread = BytesMut::from(&self.unread[..]);
        }
    }

    fn check_size(&self) -> Result<(), TooLarge> {
        let held = self.data.as_ref().map_or(0, Data::len);
        if held + self.scanned > self.limit { Err(TooLarge) } else { Ok(()) }
    }

    fn next_line(&mut self) -> Option<Bytes> {
        if self.at_start {
            let mark = b"\xef\xbb\xbf";
            if self.unread.len() < mark.len() && mark.starts_with(&self.unread) {
                return None;
            }
            if self.unread.starts_with(mark) {
                self.unread.advance(mark.len());
            }
            self.at_start = false;
        }
        if self.after_carriage_return && !self.unread.is_empty() {
            if self.unread[0] == b'\n' {
                self.unread.advance(1);
            }
            self.after_carriage_return = false;
        }
        match memchr::memchr2(b'\n', b'\r', &self.unread[self.scanned..]) {
            None => {
                self.scanned = self.unread.len();
                None
            }
            Some(offset) => {
                let line = self.unread.split_to(self.scanned + offset).freeze();
                self.after_carriage_return = self.unread[0] == b'\r';
                self.unread.advance(1);
                self.scanned = 0;
                Some(line)
            }
        }
    }

    fn field(&mut self, line: Bytes) {
        let (name, value) = match memchr::memchr(b':', &line) {
            Some(0) => return self.sign_of_life = true, // a comment
            Some(colon) => {
                let value = line.slice(colon + 1..);
                let padded = value.first() == Some(&b' ');
                (line.slice(..colon), if padded { value.slice(1..) } else { value })
            }
            None => (line, Bytes::new()),
        };
        self.has_field = true;
        match &name[..] {
            b"data" => self.data = Some(self.data.take().map_or(Data::Line(value.clone()), |data| data.and(&value))),
            b"event" => self.name = value,
            // The id outlives the event, so it must not keep its memory alive.
            b"id" if !value.contains(&0) => self.last_event_id = Some(Bytes::copy_from_slice(&value)),
            b"retry" => self.retry = digits(&value).or(self.retry),
            _ => {}
        }
    }
}

impl Data {
    fn len(&self) -> usize {
        match self {
            Self::Line(line) => line.len(),
            Self::Lines(lines) => lines.len(),
        }
    }

    fn and(self, line: &[u8]) -> Self {
        let mut lines = match self {
            Self::Line(first) => BytesMut::from(&first[..]),
            Self::Lines(lines) => lines,
        };
        lines.extend_from_slice(b"\n");
        lines.extend_from_slice(line);
        Self::Lines(lines)
    }

    fn join(self) -> Bytes {
        match self {
            Self::Line(line) => line,
            Self::Lines(lines) => lines.freeze(),
        }
    }
}

fn digits(value: &[u8]) -> Option<u64> {
    let all = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| all)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let mut decoder = Decoder::new(1000);
        let mut events = Vec::new();
        for chunk in chunks {
            decoder.push(chunk);
            while let Some(event) = decoder.next_event().unwrap() {
                let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
                events.push((text(event.name), text(event.data)));
            }
        }
        events
    }

    /// t125: the specification's examples and edge cases.
    #[test]
    fn t125_streams_are_read_as_the_specification_says() {
        for (stream, events) in [
            ("data: YHOO\ndata: +2\ndata: 10\n\n", vec![("message", "YHOO\n+2\n10")]),
            (
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
                vec![("message", "first event"), ("message", "second event"), ("message", " third event")],
            ),
            ("data\n\ndata\ndata\n\ndata:", vec![("message", ""), ("message", "\n")]),
            ("data:test\n\ndata: test\n\n", vec![("message", "test"), ("message", "test")]),
            ("event: endpoint\rdata: /x\r\rdata: y\r\n\r\n", vec![("endpoint", "/x"), ("message", "y")]),
            ("\u{feff}data: 1\n\nevent: lost\n\ndata: 2\n\n", vec![("message", "1"), ("message", "2")]),
            ("data: cut off", vec![]),
            ("nonsense: 1\nDATA: 2\n\n", vec![]),
        ] {
            let expected: Vec<_> = events.iter().map(|(name, data)| (name.to_string(), data.to_string())).collect();
            assert_eq!(decode(&[stream.as_bytes()]), expected, "{stream:?}");
        }
    }

    #[test]
    fn ids_and_retry_times_are_remembered() {
        let mut decoder = Decoder::new(1000);
        decoder.push(b"id: 7\nretry: 250\n\nid: a\0b\nretry: soon\ndata: x\n\n");
        assert!(decoder.next_event().unwrap().is_some());
        assert_eq!((decoder.last_event_id(), decoder.retry()), (Some(&Bytes::from_static(b"7")), Some(250)));
    }

    /// t125: an endless event is refused, with or without line ends.
    #[test]
    fn t125_an_endless_event_is_refused() {
        for part in ["x", "data: x\n"] {
            let mut decoder = Decoder::new(1000);
            let outcome = (0..2000).try_for_each(|_| {
                decoder.push(part.as_bytes());
                decoder.next_event().map(|event| assert_eq!(event, None))
            });
            assert_eq!(outcome, Err(TooLarge), "{part:?}");
        }
    }

    #[test]
    fn comments_do_not_count_towards_the_limit() {
        let mut decoder = Decoder::new(10);
        for _ in 0..1000 {
            decoder.push(b": keep-alive\n\n");
            assert_eq!(decoder.next_event(), Ok(None));
        }
    }

    proptest! {
        /// t125: the events are the same however the network splits the stream.
        #[test]
        fn t125_chunks_make_no_difference(stream in "((data|event|id|:x|foo)(: ?[a-zé]{0,3})?(\r\n|\n|\r)|(\r\n|\n|\r)){0,20}", cuts in prop::collection::vec(0usize..100, 0..10)) {
            let bytes = stream.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<_> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(decode(&chunks), decode(&[bytes]));
        }
    }
}
