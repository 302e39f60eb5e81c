//! A server's HTTP response, before its body is read.

use http::{HeaderMap, StatusCode, header};
use reqwest::Response;

pub(super) struct JudgedResponse {
    pub(super) response: Response,
    /// Whether the server rejects every token that finmcp has: a sign-in may help.
    pub(super) refuses_token: bool,
}

impl JudgedResponse {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    pub(super) fn is_success(&self) -> bool {
        self.status().is_success()
    }

    /// The media type of the body, without parameters.
    pub(super) fn content_type(&self) -> Option<String> {
        let value = self.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
        Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
    }

    /// Whether the body is an event stream, whatever the status.
    pub(super) fn is_event_stream(&self) -> bool {
        self.content_type().as_deref() == Some("text/event-stream")
    }
}
