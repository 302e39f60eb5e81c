//! An HTTP client without a relay: the baseline of all measurements.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::runtime::Runtime;

use super::{
    check::{Damage, check},
    client::{Client, ensure_whole},
    script,
    server::Era,
};

/// An MCP connection over HTTP.
pub struct Direct {
    runtime: Runtime,
    http: Http,
    era: Era,
    last_id: Rc<Cell<u64>>,
}

#[derive(Clone)]
struct Http {
    client: reqwest::Client,
    url: String,
    headers: HeaderMap,
}

impl Direct {
    /// Connects and initializes.
    pub fn open(url: String, era: Era) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = http_client()?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        let mut http = Http { client, url, headers };
        let answer = runtime.block_on(http.post(script::greeting(era, 1)))?;
        if let Some(session) = answer.headers().get("mcp-session-id") {
            http.headers.insert("mcp-session-id", session.clone());
        }
        runtime.block_on(read(answer))?;
        Ok(Self { runtime, http, era, last_id: Rc::new(Cell::new(1)) })
    }

    /// Does everything that follows initialization, up to the first tool call.
    pub fn reach_first_result(&mut self) -> Result<()> {
        if let Some(acknowledgement) = script::acknowledgement(self.era) {
            self.ask(acknowledgement.to_owned())?;
        }
        let id = next(&self.last_id);
        self.ask(script::list(self.era, id))?;
        self.call().map(drop)
    }

    fn ask(&self, message: String) -> Result<Bytes> {
        self.runtime.block_on(async { read(self.http.post(message).await?).await })
    }
}

/// The HTTP client of this bench: no proxy and no certificates.
pub fn http_client() -> Result<reqwest::Client> {
    // Fails if a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?)
}

fn next(last_id: &Cell<u64>) -> u64 {
    last_id.set(last_id.get() + 1);
    last_id.get()
}

impl Http {
    async fn post(&self, message: String) -> Result<reqwest::Response> {
        let response = self.client.post(&self.url).headers(self.headers.clone()).body(message).send().await?;
        Ok(response.error_for_status()?)
    }
}

/// The whole body, with only one copy in memory.
pub async fn read(mut response: reqwest::Response) -> Result<Bytes> {
    let length = response.content_length().unwrap_or(0);
    let mut body = BytesMut::with_capacity(length.try_into()?);
    while let Some(chunk) = response.chunk().await? {
        if body.is_empty() && chunk.len() as u64 == length {
            return Ok(chunk);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

impl Client for Direct {
    fn call(&mut self) -> Result<Duration> {
        let message = script::small(self.era, next(&self.last_id));
        let begun = Instant::now();
        let answer = self.ask(message)?;
        let took = begun.elapsed();
        ensure!(memchr::memmem::find(&answer, br#""result""#).is_some(), "not a result: {answer:?}");
        Ok(took)
    }

    fn saturate(&mut self, in_flight: usize, time: Duration) -> Result<f64> {
        let begun = Instant::now();
        let calls = (0..in_flight).map(|_| {
            let (http, era, last_id) = (self.http.clone(), self.era, self.last_id.clone());
            async move {
                let mut done = 0;
                while begun.elapsed() < time {
                    let answer = read(http.post(script::small(era, next(&last_id))).await?).await?;
                    ensure!(!answer.is_empty());
                    done += 1;
                }
                Ok(done)
            }
        });
        let done: usize = self.runtime.block_on(try_join_all(calls))?.into_iter().sum();
        Ok(done as f64 / begun.elapsed().as_secs_f64())
    }

    fn large(&mut self, bytes: usize) -> Result<Duration> {
        let message = script::large(next(&self.last_id), bytes);
        let begun = Instant::now();
        let answer = self.ask(message)?;
        let took = begun.elapsed();
        ensure_whole(&answer, bytes)?;
        Ok(took)
    }

    fn notifications(&mut self, count: usize) -> Result<(Duration, Damage)> {
        let message = script::progress(next(&self.last_id), count);
        let begun = Instant::now();
        let answer = self.ask(message).context("the stream of notifications")?;
        let took = begun.elapsed();
        let lines = answer.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data: "));
        Ok((took, check(lines, script::TOKEN, count)))
    }
}
