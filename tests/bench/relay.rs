//! A minimal relay between stdio and a server: a line in, a POST, a line out. One thread, non-blocking pipes, vectored
//! writes; no tokens, error handling or retries.

use std::{collections::VecDeque, io, io::IoSlice, os::fd::AsFd as _, rc::Rc, sync::OnceLock};

use anyhow::Result;
use bytes::{Buf as _, Bytes, BytesMut};
use clap::ValueEnum;
use futures_util::FutureExt as _;
use reqwest::{
    Response,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::pipe,
    sync::mpsc,
};

use super::direct::{http_client, read};

/// The most pieces of output that may wait.
const WAITING_LIMIT: usize = 256;

const LINE_END: Bytes = Bytes::from_static(b"\n");

/// Ways to sabotage the relay, to test the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// Drops a notification.
    Drop,
    /// Sends a notification twice.
    Repeat,
    /// Sends a notification after the next one.
    Swap,
    /// Changes the progress token.
    Relabel,
    /// Sends a notification after the result.
    Delay,
    /// Drops a response.
    Swallow,
    /// Cuts a piece out of a result.
    Shorten,
}

/// The number of the affected message.
const VICTIM: usize = 7;

struct Relay {
    client: reqwest::Client,
    url: String,
    session: OnceLock<HeaderValue>,
    sabotage: Option<Sabotage>,
    output: mpsc::Sender<Bytes>,
}

/// Relays until stdin ends.
pub fn run(url: String, sabotage: Option<Sabotage>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = tokio::task::LocalSet::new().block_on(&runtime, relay(url, sabotage));
    runtime.shutdown_background();
    outcome
}

async fn relay(url: String, sabotage: Option<Sabotage>) -> Result<()> {
    let mut stdin = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut stdout = pipe::Sender::from_owned_fd(io::stdout().as_fd().try_clone_to_owned()?)?;
    let (output, mut answers) = mpsc::channel(WAITING_LIMIT);
    let relay = Rc::new(Relay { client: http_client()?, url, session: OnceLock::new(), sabotage, output });
    let (mut unread, mut waiting) = (BytesMut::new(), VecDeque::new());
    let mut number = 0;
    loop {
        unread.reserve(64 << 10);
        tokio::select! {
            biased;
            written = write(&mut stdout, &mut waiting), if !waiting.is_empty() => written?,
            Some(answer) = answers.recv(), if waiting.len() < WAITING_LIMIT => {
                waiting.extend([answer, LINE_END]);
                while let Ok(answer) = answers.try_recv() {
                    waiting.extend([answer, LINE_END]);
                }
                if let Some(written) = write(&mut stdout, &mut waiting).now_or_never() {
                    written?;
                }
            }
            length = stdin.read_buf(&mut unread) => {
                if length? == 0 {
                    return Ok(());
                }
                while let Some(end) = memchr::memchr(b'\n', &unread) {
                    let line = unread.split_to(end).freeze();
                    unread.advance(1);
                    number += 1;
                    tokio::task::spawn_local(relay.clone().post(line, number));
                }
            }
        }
    }
}

async fn write(stdout: &mut pipe::Sender, waiting: &mut VecDeque<Bytes>) -> io::Result<()> {
    let mut slices = [IoSlice::new(&[]); 64];
    let mut count = 0;
    for (slice, piece) in slices.iter_mut().zip(waiting.iter()) {
        *slice = IoSlice::new(piece);
        count += 1;
    }
    let mut written = stdout.write_vectored(&slices[..count]).await?;
    while let Some(piece) = waiting.front_mut().filter(|_| written > 0) {
        let part = written.min(piece.len());
        piece.advance(part);
        written -= part;
        if piece.is_empty() {
            waiting.pop_front();
        }
    }
    Ok(())
}

impl Relay {
    /// On a failure the line gets no response, so the measurement fails.
    async fn post(self: Rc<Self>, line: Bytes, number: usize) {
        if let Err(error) = self.exchange(line, number).await {
            eprintln!("relay: {error:#}");
        }
    }

    async fn exchange(&self, line: Bytes, number: usize) -> Result<()> {
        let mut request = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(session) = self.session.get() {
            request = request.header("mcp-session-id", session.clone());
        }
        let response = request.body(line).send().await?.error_for_status()?;
        if let Some(session) = response.headers().get("mcp-session-id") {
            let _ = self.session.set(session.clone());
        }
        if response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream") {
            return self.pass_events(response).await;
        }
        let mut body = read(response).await?;
        match self.sabotage {
            Some(Sabotage::Swallow) if number == VICTIM => return Ok(()),
            Some(Sabotage::Shorten) if body.len() > 1000 => {
                let cut = [&body[..200], &body[300..]].concat();
                body = cut.into();
            }
            _ => {}
        }
        if !body.is_empty() {
            self.output.send(body).await?;
        }
        Ok(())
    }

    /// Sends the data lines of a stream, all lines of a chunk in one piece.
    async fn pass_events(&self, mut response: Response) -> Result<()> {
        let (mut unread, mut number) = (BytesMut::new(), 0);
        let mut held_back = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            unread.extend_from_slice(&chunk);
            let mut lines = Vec::with_capacity(unread.len());
            while let Some(end) = memchr::memchr(b'\n', &unread) {
                let line = unread.split_to(end + 1);
                let Some(data) = line.strip_prefix(b"data: ") else { continue };
                number += 1;
                match self.sabotage {
                    Some(sabotage) => mishandle(sabotage, number, data, &mut held_back, &mut lines),
                    None => lines.extend_from_slice(data),
                }
            }
            self.send_lines(lines).await?;
        }
        self.send_lines(held_back).await
    }

    async fn send_lines(&self, mut lines: Vec<u8>) -> Result<()> {
        if lines.pop().is_some() {
            self.output.send(lines.into()).await?;
        }
        Ok(())
    }
}

/// Sabotages a notification.
fn mishandle(sabotage: Sabotage, number: usize, data: &[u8], held_back: &mut Vec<u8>, lines: &mut Vec<u8>) {
    match (sabotage, number) {
        (Sabotage::Drop, VICTIM) => {}
        (Sabotage::Repeat, VICTIM) => lines.extend_from_slice(&data.repeat(2)),
        (Sabotage::Swap | Sabotage::Delay, VICTIM) => held_back.extend_from_slice(data),
        (Sabotage::Relabel, VICTIM) => {
            lines.extend_from_slice(String::from_utf8_lossy(data).replace("client's own", "relay's").as_bytes());
        }
        (Sabotage::Swap, _) => {
            lines.extend_from_slice(data);
            lines.append(held_back);
        }
        _ => lines.extend_from_slice(data),
    }
}
