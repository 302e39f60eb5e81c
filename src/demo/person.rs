//! A simulated user who signs in at a simulated vendor and allows access, so that the demo runs unattended.

use http::{Method, Request, StatusCode, header};

use crate::{
    http::{Http, HttpError, Reply},
    server_url::{ServerUrl, ServerUrlError},
};

/// Why a sign-in failed.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalError {
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A form or a redirect has an invalid URL.
    #[error("the sign-in has an invalid URL")]
    Url(#[from] ServerUrlError),
    /// There is no consent page, or it does not redirect.
    #[error("the sign-in failed at the {0} (HTTP {1})")]
    Unexpected(&'static str, StatusCode),
}

/// Opens `authorization_url` as a browser does, allows access on the consent page, and follows the redirect to the
/// client's loopback listener.
///
/// # Errors
/// Any [`ApprovalError`].
pub async fn approve(http: &Http, authorization_url: &ServerUrl) -> Result<(), ApprovalError> {
    let page = get(http, authorization_url).await?;
    let html = String::from_utf8_lossy(&page.body);
    let found = attribute(&html, "<form ", "action").zip(attribute(&html, "name=\"request\"", "value"));
    let (action, request) = found
        .filter(|_| page.status == StatusCode::OK)
        .ok_or(ApprovalError::Unexpected("consent page", page.status))?;

    let action = authorization_url.join(action)?;
    let fields = [("request", request), ("name", "ada@example.com"), ("decision", "allow")];
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let answered = send(http, &action, Method::POST, form.into_bytes()).await?;

    let location = answered.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
    let callback: ServerUrl = location.ok_or(ApprovalError::Unexpected("decision", answered.status))?.parse()?;
    let done = get(http, &callback).await?;
    if done.status.is_success() { Ok(()) } else { Err(ApprovalError::Unexpected("callback", done.status)) }
}

async fn get(http: &Http, url: &ServerUrl) -> Result<Reply, HttpError> {
    send(http, url, Method::GET, Vec::new()).await
}

async fn send(http: &Http, url: &ServerUrl, method: Method, form: Vec<u8>) -> Result<Reply, HttpError> {
    let mut request = Request::new(form);
    if method == Method::POST {
        let form_type = header::HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(header::CONTENT_TYPE, form_type);
    }
    *request.method_mut() = method;
    http.exchange(url, request).await
}

/// The value of the first attribute `name` after `mark`. This is enough for the vendors' consent page, whose values
/// contain no entities.
fn attribute<'a>(html: &'a str, mark: &str, name: &str) -> Option<&'a str> {
    let (_, behind) = html.split_once(mark)?;
    let (_, value) = behind.split_once(&format!("{name}=\""))?;
    value.split_once('"').map(|(value, _)| value)
}
