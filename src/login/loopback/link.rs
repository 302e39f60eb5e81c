//! A link to the sign-in page that works as long as finmcp waits for the user. The page's own URL does not if it refers to
//! a pushed request: that can expire within a minute (RFC 9126 section 2.2), while an AI client may show it much later.
//!
//! A browser that opens the link is redirected to the page of a new pushed request. The link is no open redirector:
//! nothing in the request decides where it leads. Its path is a secret of 256 bits, and it ends with the sign-in. All its
//! pages belong to one sign-in, of which the first response counts, so that an AI client's preview does not use it up.

use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use oauth2::CsrfToken;
use tokio::sync::{mpsc, oneshot};

use crate::{
    login::{page::Page, redirect_uri::RedirectUri},
    secret::Secret,
    server_url::ServerUrl,
};

/// How long the browser waits for the server to accept the new pushed request.
const PATIENCE: Duration = Duration::from_secs(15);

/// The link.
#[derive(Debug)]
pub struct Link {
    /// What to show to the user.
    pub url: ServerUrl,
    /// The browsers that open it.
    pub openings: mpsc::Receiver<Opening>,
}

/// A browser that opened the link, and waits for the page to go to.
pub type Opening = oneshot::Sender<ServerUrl>;

/// The listener's side of the link.
#[derive(Debug)]
pub(super) struct Target {
    path: Secret,
    openings: mpsc::Sender<Opening>,
}

/// A link at the listener for `redirect_uri`. `None` if that has no valid URL, which does not happen.
pub(super) fn link(redirect_uri: &RedirectUri) -> Option<(Target, Link)> {
    let path = format!("/sign-in/{}", CsrfToken::new_random_len(32).secret());
    let url = format!("http://{}{path}", redirect_uri.authority()).parse().ok()?;
    let (sender, openings) = mpsc::channel(1);
    Some((Target { path: Secret::new(path), openings: sender }, Link { url, openings }))
}

impl Target {
    /// Whether `path` is the link's.
    pub fn is_at(&self, path: &str) -> bool {
        self.path.same_as(&Secret::new(path.to_owned()))
    }

    /// The redirect to a new page.
    pub async fn open(&self) -> Response<Full<Bytes>> {
        let page = tokio::time::timeout(PATIENCE, self.page()).await.ok().flatten();
        let Some(location) = page.and_then(|url| HeaderValue::from_str(url.as_str()).ok()) else {
            return Page::unreachable().response(StatusCode::SERVICE_UNAVAILABLE);
        };
        let mut response = Page::elsewhere().response(StatusCode::SEE_OTHER);
        response.headers_mut().insert(header::LOCATION, location);
        response
    }

    async fn page(&self) -> Option<ServerUrl> {
        let (opening, page) = oneshot::channel();
        self.openings.send(opening).await.ok()?;
        page.await.ok()
    }
}
