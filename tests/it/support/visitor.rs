//! A plain HTTP client for the tests' own use: it follows nothing and checks nothing.

use std::{sync::Once, time::Duration};

static PROVIDER: Once = Once::new();

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Page {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Page {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// Sends one request and reads the whole answer; an error is the connection's.
pub fn visit(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Result<Page, reqwest::Error> {
    let client = client();
    let mut request = client.request(method.parse().unwrap(), url).body(body.into());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    runtime().block_on(async {
        let response = request.send().await?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let body = response.bytes().await?.to_vec();
        Ok(Page { status, headers, body })
    })
}

/// Sends a GET.
pub fn get(url: &str) -> Page {
    visit("GET", url, &[], "").unwrap_or_else(|error| panic!("GET {url}: {error:?}"))
}

/// Sends a form.
pub fn post_form(url: &str, fields: &[(&str, &str)]) -> Page {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    visit("POST", url, &[("content-type", "application/x-www-form-urlencoded")], body)
        .unwrap_or_else(|error| panic!("POST {url}: {error:?}"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn client() -> reqwest::Client {
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tls_certs_only([])
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}
