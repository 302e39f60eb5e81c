//! What a server answers to a request, before its body is read.

use http::{HeaderMap, StatusCode, header};
use reqwest::Response;

/// An answer.
pub(super) struct Answer {
    pub(super) response: Response,
    /// Whether it refuses every token that there is: a sign-in may help.
    pub(super) refuses_token: bool,
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    pub(super) fn is_success(&self) -> bool {
        self.status().is_success()
    }

    /// What it says that its body is, without parameters.
    pub(super) fn content_type(&self) -> Option<String> {
        let value = self.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
        Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
    }

    /// Whether it is a stream of events, whatever its status.
    pub(super) fn is_event_stream(&self) -> bool {
        self.content_type().as_deref() == Some("text/event-stream")
    }
}
