//! The network path to the server: proxy, DNS, connection, and the endpoint's response.

use std::{net::IpAddr, time::Duration};

use http::{HeaderMap, StatusCode, header};
use jiff::{SignedDuration, Timestamp};

use crate::{
    doctor::{
        findings::Findings,
        step::{Finding, Trouble},
        subject::Subject,
    },
    error::Error,
    http::HttpError,
    oauth::discovery::{DiscoveryError, Inquiry, Probe},
    server_url::{ServerUrl, reach::Zone},
    span,
};

/// How long a DNS lookup may take.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(10);

/// How far clocks may differ: servers tolerate this much.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

/// The server's response to a request without credentials.
pub struct Answered {
    /// What the server requires.
    pub probe: Probe,
    /// How far this machine's clock is ahead of the server's, if the server sends a `Date` header.
    pub ahead: Option<SignedDuration>,
}

/// Connects to the server; on failure returns the step that failed.
pub async fn examine(
    subject: &Subject<'_>,
    inquiry: &Inquiry<'_>,
    findings: &mut Findings<'_>,
) -> Result<Answered, &'static str> {
    let server = &subject.profile.server;
    let proxy = subject.http.proxy(server);
    let (way, name) = match &proxy {
        Some(proxy) => {
            let password = if proxy.has_password { " (password hidden)" } else { "" };
            (format!("{}{password}", proxy.address), Finding::Ok("resolved by the proxy".to_owned()))
        }
        None => ("none for this server".to_owned(), resolve(subject, server).await),
    };
    findings.note("proxy", Finding::Ok(way));
    let is_unknown = matches!(name, Finding::Failed(_));
    findings.note("dns", name);
    if is_unknown {
        findings.skip(&["connection", "endpoint"], "dns");
        return Err("dns");
    }
    let outcome = match inquiry.probe().await {
        Err(error) if error.is_unconnected() => {
            let trouble = unreachable(subject, error);
            let trouble = match &proxy {
                Some(proxy) => trouble
                    .because(format!("the connection goes through the proxy {}", proxy.address))
                    .with_hint("check HTTPS_PROXY and NO_PROXY, or the system's proxy settings"),
                None => trouble,
            };
            findings.note("connection", Finding::Failed(trouble));
            findings.skip(&["endpoint"], "connection");
            return Err("connection");
        }
        outcome => outcome,
    };
    let connection = match server.as_url().scheme() {
        "https" => "TLS with a valid certificate",
        _ => "plain http on the loopback interface",
    };
    findings.note("connection", Finding::Ok(connection.to_owned()));
    let (finding, outcome) = match outcome {
        Ok((probe, headers)) => {
            let finding = judge(server, &probe, &headers);
            let answered = Answered { probe, ahead: ahead(subject.clock.now(), &headers) };
            (finding, Ok(answered))
        }
        Err(error) => (Finding::Failed(error.into()), Err("endpoint")),
    };
    let is_bad = matches!(finding, Finding::Failed(_));
    findings.note("endpoint", finding);
    if is_bad { Err("endpoint") } else { outcome }
}

async fn resolve(subject: &Subject<'_>, server: &ServerUrl) -> Finding {
    let host = server.as_url().host_str().unwrap_or_default();
    let addresses = match tokio::time::timeout(LOOKUP_DEADLINE, subject.http.addresses(server)).await {
        Ok(Ok(addresses)) if !addresses.is_empty() => addresses,
        outcome => {
            let why = match outcome {
                Ok(Ok(_)) => "the lookup returned no addresses".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("the DNS server did not respond within {} s", LOOKUP_DEADLINE.as_secs()),
            };
            let trouble = Trouble::new(format!("cannot resolve {host}")).because(why);
            return Finding::Failed(trouble.with_hint("check the URL for typos, then your connection and VPN"));
        }
    };
    let listed = addresses.iter().map(|address| format!("{address}{}", kind(*address))).collect::<Vec<_>>();
    let is_named = matches!(server.as_url().host(), Some(url::Host::Domain(_)));
    let name = if is_named { format!("{host} resolves to ") } else { String::new() };
    let text = format!("{name}{}", listed.join(", "));
    let beyond = addresses.iter().map(|address| Zone::of(*address)).find(|zone| !server.reach().permits(*zone));
    match beyond {
        Some(zone) => Finding::Failed(
            Trouble::new(text)
                .because(zone.to_string())
                .with_hint("check the URL; if it is correct, ask your network administrator to fix the DNS entry"),
        ),
        None => Finding::Ok(text),
    }
}

fn kind(address: IpAddr) -> &'static str {
    match Zone::of(address) {
        Zone::Public => "",
        Zone::Private => " (a private network)",
        Zone::Loopback => " (this machine)",
        Zone::Special => " (a reserved address)",
    }
}

/// Why there is no connection. A certificate may only seem to be expired or not yet valid because this machine's clock
/// is wrong.
fn unreachable(subject: &Subject<'_>, error: HttpError) -> Trouble {
    let why = error.why_unreachable();
    let is_about_time = matches!(&error, HttpError::Certificate { problem, .. } if problem.depends_on_clock());
    let mut trouble = Trouble::from(Error::from(error));
    if let Some(why) = why {
        trouble.why = vec![why];
    }
    if is_about_time {
        let now = subject.clock.now();
        trouble =
            trouble.because(format!("this machine's clock says {now}")).with_hint("if that is wrong, set the clock");
    }
    trouble
}

/// Whether the endpoint is an MCP server.
fn judge(server: &ServerUrl, probe: &Probe, headers: &HeaderMap) -> Finding {
    let host = server.host();
    let content = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match probe {
        Probe::Served if content.starts_with("text/html") => {
            let trouble = Trouble::new(format!("{host} returned a web page instead of an MCP response"));
            let trouble = trouble.because("the URL is wrong, or your network redirects you to its own sign-in page");
            Finding::Failed(trouble.with_hint(format!("open {server} in a browser and check the URL")))
        }
        Probe::Served => Finding::Ok("responds; no sign-in required".to_owned()),
        Probe::Challenged(_) => Finding::Ok("responds; sign-in required".to_owned()),
        Probe::Redirected { status, target } => {
            let (status, target) = (*status, target.clone());
            Finding::Failed(Error::from(HttpError::Redirected { host, status, target }).into())
        }
        Probe::Unclear(status) if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS => {
            let trouble = Trouble::new(format!("{host} is unavailable (HTTP {})", status.as_u16()));
            Finding::Failed(trouble.with_hint("try again later; if it keeps failing, contact the server's operator"))
        }
        Probe::Unclear(status) => {
            let error = DiscoveryError::NotMcp { host, status: status.as_u16() };
            let hints = format!("compare {server}, especially its path, with the URL in the vendor's settings");
            Finding::Failed(Trouble::from(Error::from(error)).with_hint(hints))
        }
    }
}

/// How far `now` is ahead of the server's own time (RFC 9110 section 6.6.1).
fn ahead(now: Timestamp, headers: &HeaderMap) -> Option<SignedDuration> {
    let date = httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()?;
    Some(now.duration_since(Timestamp::try_from(date).ok()?))
}

impl Answered {
    /// How this machine's clock is wrong, as a sentence; none if it is right or the server sends no time.
    pub fn wrong_clock(&self) -> Option<String> {
        let ahead = self.ahead.filter(|ahead| ahead.abs() > CLOCK_TOLERANCE)?;
        let distance = span::format_duration(ahead.unsigned_abs().as_secs());
        let side = if ahead.is_positive() { "ahead of" } else { "behind" };
        Some(format!("this machine's clock is {distance} {side} the server's"))
    }
}

/// Whether this machine's clock is right. A wrong one is a failure if the server `rejected` a token, else a warning.
pub fn examine_clock(answered: Option<&Answered>, rejected: bool, findings: &mut Findings<'_>) {
    let finding = match answered.map(|answered| (answered.ahead, answered.wrong_clock())) {
        None => Finding::Skipped("endpoint"),
        Some((None, _)) => Finding::Ok("unknown: the server sends no Date header".to_owned()),
        Some((Some(_), None)) => Finding::Ok("within a minute of the server's".to_owned()),
        Some((Some(_), Some(wrong))) => {
            let trouble = Trouble::new(wrong)
                .because("tokens, signatures and certificates can seem expired or not yet valid")
                .with_hint(SET_CLOCK);
            if rejected { Finding::Failed(trouble) } else { Finding::Warning(trouble) }
        }
    };
    findings.note("clock", finding);
}

/// The hint for a wrong clock.
pub const SET_CLOCK: &str = "set this machine's clock, or turn on automatic time";
