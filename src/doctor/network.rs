//! The way to the server: the proxy, the name, the connection, and what answers there.

use std::{net::IpAddr, time::Duration};

use http::{HeaderMap, StatusCode, header};
use jiff::{SignedDuration, Timestamp};

use crate::{
    doctor::{
        chart::Chart,
        patient::Patient,
        step::{Finding, Trouble},
    },
    error::Error,
    http::HttpError,
    oauth::discovery::{DiscoveryError, Inquiry, Probe},
    server_url::{ServerUrl, reach::Zone},
    span,
};

/// How long the resolver may take.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(10);

/// By how much clocks may differ: servers allow for this much.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

/// What the server answered a request without credentials.
pub struct Answered {
    /// What it asks for.
    pub probe: Probe,
    /// How far this machine's clock is ahead of the server's; none where the server does not tell the time.
    pub ahead: Option<SignedDuration>,
}

/// Goes to the server, as far as it gets; else says at which step it ended.
pub async fn examine(
    patient: &Patient<'_>,
    inquiry: &Inquiry<'_>,
    chart: &mut Chart<'_>,
) -> Result<Answered, &'static str> {
    let server = &patient.profile.server;
    let proxy = patient.http.proxy(server);
    let (way, name) = match &proxy {
        Some(proxy) => {
            let password = if proxy.has_password { ", with a password that is not shown" } else { "" };
            (format!("{}{password}", proxy.address), Finding::Ok("the proxy resolves the name".to_owned()))
        }
        None => ("none on the way to this server".to_owned(), resolve(patient, server).await),
    };
    chart.note("proxy", Finding::Ok(way));
    let is_unknown = matches!(name, Finding::Failed(_));
    chart.note("dns", name);
    if is_unknown {
        chart.skip(&["connection", "endpoint"], "dns");
        return Err("dns");
    }
    let outcome = match inquiry.probe().await {
        Err(error) if error.is_unconnected() => {
            let trouble = unreachable(patient, error);
            let trouble = match &proxy {
                Some(proxy) => trouble
                    .because(format!("the way there leads through the proxy {}", proxy.address))
                    .cured_by("check HTTPS_PROXY and NO_PROXY, or the system's proxy settings"),
                None => trouble,
            };
            chart.note("connection", Finding::Failed(trouble));
            chart.skip(&["endpoint"], "connection");
            return Err("connection");
        }
        outcome => outcome,
    };
    let connection = match server.as_url().scheme() {
        "https" => "encrypted with TLS, and the certificate is good",
        _ => "plain http, which stays on this machine",
    };
    chart.note("connection", Finding::Ok(connection.to_owned()));
    let (finding, outcome) = match outcome {
        Ok((probe, headers)) => {
            let finding = judge(server, &probe, &headers);
            let answered = Answered { probe, ahead: ahead(patient.clock.now(), &headers) };
            (finding, Ok(answered))
        }
        Err(error) => (Finding::Failed(error.into()), Err("endpoint")),
    };
    let is_bad = matches!(finding, Finding::Failed(_));
    chart.note("endpoint", finding);
    if is_bad { Err("endpoint") } else { outcome }
}

async fn resolve(patient: &Patient<'_>, server: &ServerUrl) -> Finding {
    let host = server.as_url().host_str().unwrap_or_default();
    let addresses = match tokio::time::timeout(LOOKUP_DEADLINE, patient.http.addresses(server)).await {
        Ok(Ok(addresses)) if !addresses.is_empty() => addresses,
        outcome => {
            let why = match outcome {
                Ok(Ok(_)) => "the name has no address".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("the resolver did not answer within {} s", LOOKUP_DEADLINE.as_secs()),
            };
            let trouble = Trouble::new(format!("no address of {host} is known")).because(why);
            return Finding::Failed(trouble.cured_by("check the address for typing errors, your connection and VPN"));
        }
    };
    let listed = addresses.iter().map(|address| format!("{address}{}", kind(*address))).collect::<Vec<_>>();
    let is_named = matches!(server.as_url().host(), Some(url::Host::Domain(_)));
    let name = if is_named { format!("{host} is ") } else { String::new() };
    let text = format!("{name}{}", listed.join(", "));
    let beyond = addresses.iter().map(|address| Zone::of(*address)).find(|zone| !server.reach().permits(*zone));
    match beyond {
        Some(zone) => Finding::Failed(Trouble::new(text).because(zone.to_string()).cured_by(
            "check the address; if it is right, whoever runs your network's name server has to mend this name",
        )),
        None => Finding::Ok(text),
    }
}

fn kind(address: IpAddr) -> &'static str {
    match Zone::of(address) {
        Zone::Public => "",
        Zone::Private => " (a private network)",
        Zone::Loopback => " (this machine)",
        Zone::Special => " (an address that no server has)",
    }
}

/// Why there is no connection. A certificate that is too old or too new may be neither, and this machine's clock wrong.
fn unreachable(patient: &Patient<'_>, error: HttpError) -> Trouble {
    let why = error.why_unreachable();
    let is_about_time = matches!(&error, HttpError::Certificate { problem, .. } if problem.contains("expired") || problem.contains("valid yet"));
    let mut trouble = Trouble::from(Error::from(error));
    if let Some(why) = why {
        trouble.why = vec![why];
    }
    if is_about_time {
        let now = patient.clock.now();
        trouble =
            trouble.because(format!("this machine's clock says {now}")).cured_by("if that is wrong, set the clock");
    }
    trouble
}

/// Whether what answered is an MCP server.
fn judge(server: &ServerUrl, probe: &Probe, headers: &HeaderMap) -> Finding {
    let host = server.host();
    let content = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match probe {
        Probe::Served if content.starts_with("text/html") => {
            let trouble = Trouble::new(format!("{host} answers with a web page, not as an MCP server"));
            let trouble =
                trouble.because("the address is another one, or your network shows a sign-in page of its own");
            Finding::Failed(trouble.cured_by(format!("open {server} in a browser, and check the address")))
        }
        Probe::Served => Finding::Ok("it answers, and asks for no sign-in".to_owned()),
        Probe::Challenged(_) => Finding::Ok("it answers, and asks for a sign-in".to_owned()),
        Probe::Redirected { status, target } => {
            let (status, target) = (*status, target.clone());
            Finding::Failed(Error::from(HttpError::Redirected { host, status, target }).into())
        }
        Probe::Unclear(status) if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS => {
            let trouble = Trouble::new(format!("{host} is there, and does not serve (HTTP {})", status.as_u16()));
            Finding::Failed(trouble.cured_by("try again in a while; if that lasts, tell whoever runs the server"))
        }
        Probe::Unclear(status) => {
            let error = DiscoveryError::NotMcp { host, status: status.as_u16() };
            let cure =
                format!("check the address {server}, its path above all, with what the vendor's settings page shows");
            Finding::Failed(Trouble::from(Error::from(error)).cured_by(cure))
        }
    }
}

/// How far `now` is ahead of the server's own time (RFC 9110 section 6.6.1).
fn ahead(now: Timestamp, headers: &HeaderMap) -> Option<SignedDuration> {
    let date = httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()?;
    Some(now.duration_since(Timestamp::try_from(date).ok()?))
}

impl Answered {
    /// How this machine's clock is wrong, as a sentence; none where it is right, or nobody knows.
    pub fn wrong_clock(&self) -> Option<String> {
        let ahead = self.ahead.filter(|ahead| ahead.abs() > CLOCK_TOLERANCE)?;
        let distance = span::spoken(ahead.unsigned_abs().as_secs());
        let side = if ahead.is_positive() { "ahead of" } else { "behind" };
        Some(format!("this machine's clock is {distance} {side} the server's"))
    }
}

/// Whether this machine's clock is right. Where a token was `rejected`, a wrong one is reason enough.
pub fn examine_clock(answered: Option<&Answered>, rejected: bool, chart: &mut Chart<'_>) {
    let finding = match answered.map(|answered| (answered.ahead, answered.wrong_clock())) {
        None => Finding::Skipped("endpoint"),
        Some((None, _)) => Finding::Ok("the server does not tell the time".to_owned()),
        Some((Some(_), None)) => Finding::Ok("as the server's, within a minute".to_owned()),
        Some((Some(_), Some(wrong))) => {
            let trouble = Trouble::new(wrong)
                .because("tokens, signatures and certificates are good from one time to another, and seem too old or too new")
                .cured_by(SET_CLOCK);
            if rejected { Finding::Failed(trouble) } else { Finding::Warning(trouble) }
        }
    };
    chart.note("clock", finding);
}

/// What to do about a wrong clock.
pub const SET_CLOCK: &str = "set this machine's clock, best by having it set itself from the network";
