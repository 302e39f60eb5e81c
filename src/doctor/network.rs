//! The network path to the server: proxy, DNS, connection, and the endpoint's response.

use std::{net::IpAddr, time::Duration};

use http::{HeaderMap, StatusCode, header};
use jiff::{SignedDuration, Timestamp};

use crate::{
    doctor::{
        findings::Findings,
        step::{Finding, StepName, Trouble},
        subject::Subject,
    },
    error::Error,
    http::{CertificateProblem, HttpError, Proxy},
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
) -> Result<Answered, StepName> {
    let server = &subject.profile.server;
    let proxy = subject.http.proxy(server);
    let (way, name) = match &proxy {
        Some(proxy) => (tunnel(server, proxy).await, Finding::Ok("resolved by the proxy".to_owned())),
        None => (Finding::Ok("none for this server".to_owned()), resolve(subject, server).await),
    };
    for (step, finding) in [(StepName::Proxy, way), (StepName::Dns, name)] {
        let is_bad = matches!(finding, Finding::Failed(_));
        findings.note(step, finding);
        if is_bad {
            let rest = [StepName::Dns, StepName::Connection, StepName::Endpoint];
            let rest = rest.iter().position(|next| *next == step).map_or(&rest[..], |at| &rest[at + 1..]);
            findings.skip(rest, step);
            return Err(step);
        }
    }
    let outcome = match inquiry.probe().await {
        Err(error) if error.is_unconnected() => {
            let trouble = unreachable(subject, error);
            let trouble = match &proxy {
                Some(proxy) => trouble
                    .because(format!("the connection goes through the proxy {}", proxy.address))
                    .with_hint(CHECK_PROXY),
                None => trouble,
            };
            findings.note(StepName::Connection, Finding::Failed(trouble));
            findings.skip(&[StepName::Endpoint], StepName::Connection);
            return Err(StepName::Connection);
        }
        outcome => outcome,
    };
    let connection = match server.as_url().scheme() {
        "https" => "TLS with a valid certificate",
        _ => "plain http on the loopback interface",
    };
    findings.note(StepName::Connection, Finding::Ok(connection.to_owned()));
    let (finding, outcome) = match outcome {
        Ok((probe, headers)) => {
            let finding = judge(subject, &probe, &headers);
            let answered = Answered { probe, ahead: ahead(subject.clock.now(), &headers) };
            (finding, Ok(answered))
        }
        Err(error) => (Finding::Failed(error.into()), Err(StepName::Endpoint)),
    };
    let is_bad = matches!(finding, Finding::Failed(_));
    findings.note(StepName::Endpoint, finding);
    if is_bad { Err(StepName::Endpoint) } else { outcome }
}

/// Whether the proxy can be reached and lets this user through. Whether it reaches the server, the connection shows.
async fn tunnel(server: &ServerUrl, proxy: &Proxy) -> Finding {
    let Proxy { address, has_password, .. } = proxy;
    match proxy.try_tunnel(server).await {
        Err(error) => {
            let trouble = Trouble::new(format!("could not connect to the proxy {address}")).because(error.to_string());
            Finding::Failed(trouble.with_hint(CHECK_PROXY))
        }
        Ok(Some(StatusCode::PROXY_AUTHENTICATION_REQUIRED)) => {
            let what = match has_password {
                true => format!("the proxy {address} refuses your user name or password (HTTP 407)"),
                false => format!("the proxy {address} asks for a user name and a password (HTTP 407)"),
            };
            let named = address.replacen("://", "://USER:PASSWORD@", 1);
            Finding::Failed(Trouble::new(what).with_hint(format!("set HTTPS_PROXY={named}")))
        }
        Ok(_) if *has_password => Finding::Ok(format!("{address} (password hidden)")),
        Ok(_) => Finding::Ok(address.clone()),
    }
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
            let trouble = trouble.with_hint("check the URL for typos, then your connection and VPN");
            return Finding::Failed(trouble.with_hint(subject.move_hint()));
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

/// Why there is no connection, and what to do. A certificate may only seem to be expired or not yet valid because this machine's clock
/// is wrong.
fn unreachable(subject: &Subject<'_>, error: HttpError) -> Trouble {
    let why = error.why_unreachable();
    let problem = match &error {
        HttpError::Certificate { problem, .. } => Some(*problem),
        _ => None,
    };
    let is_about_address = matches!(&error, HttpError::Unreachable { .. });
    let mut trouble = Trouble::from(Error::from(error));
    if let Some(why) = why {
        trouble.why = vec![why];
    }
    match problem {
        Some(problem) if problem.depends_on_clock() => {
            trouble.because(format!("this machine's clock says {}", subject.clock.now()))
        }
        Some(CertificateProblem::OtherName) => trouble.with_hint(subject.move_hint()).with_hint(PORTAL),
        None if is_about_address => trouble.with_hint(subject.move_hint()),
        _ => trouble,
    }
}

/// Whether the endpoint is an MCP server.
fn judge(subject: &Subject<'_>, probe: &Probe, headers: &HeaderMap) -> Finding {
    let server = &subject.profile.server;
    let host = server.host();
    let content = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match probe {
        Probe::Served if content.starts_with("text/html") => {
            let trouble = Trouble::new(format!("{host} returned a web page instead of an MCP response"));
            let trouble = trouble.because("the URL is wrong, or your network redirects you to its own sign-in page");
            let trouble = trouble.with_hint(format!("open {server} in a browser and check the URL"));
            Finding::Failed(trouble.with_hint(PORTAL).with_hint(subject.move_hint()))
        }
        Probe::Served => Finding::Ok("responds; no sign-in required".to_owned()),
        Probe::Challenged(_) => Finding::Ok("responds; sign-in required".to_owned()),
        Probe::Redirected { status, target } => {
            let (status, target) = (*status, target.clone());
            let trouble = Trouble::from(Error::from(HttpError::Redirected { host, status, target }));
            Finding::Failed(trouble.with_hint(PORTAL).with_hint(subject.move_hint()))
        }
        Probe::Unclear(StatusCode::PROXY_AUTHENTICATION_REQUIRED | StatusCode::NETWORK_AUTHENTICATION_REQUIRED) => {
            let trouble = Trouble::new("your network asks you to sign in before it lets you through");
            Finding::Failed(trouble.with_hint(PORTAL))
        }
        Probe::Unclear(status) if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS => {
            let trouble = Trouble::new(format!("{host} is unavailable (HTTP {})", status.as_u16()));
            Finding::Failed(trouble.with_hint("try again later; if it keeps failing, contact the server's operator"))
        }
        Probe::Unclear(status) => {
            let error = DiscoveryError::NotMcp { host, status: status.as_u16() };
            let hint = format!("compare {server}, especially its path, with the URL in the vendor's settings");
            Finding::Failed(Trouble::from(Error::from(error)).with_only_hint(hint).with_hint(subject.move_hint()))
        }
    }
}

/// How far `now` is ahead of the server's own time (RFC 9110 section 6.6.1).
fn ahead(now: Timestamp, headers: &HeaderMap) -> Option<SignedDuration> {
    let date = httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()?;
    Some(now.duration_since(Timestamp::try_from(date).ok()?))
}

impl Answered {
    /// How far this machine's clock is ahead of the server's, if it is wrong.
    pub fn wrong_by(&self) -> Option<SignedDuration> {
        self.ahead.filter(|ahead| ahead.abs() > CLOCK_TOLERANCE)
    }

    /// How this machine's clock is wrong, as a sentence; none if it is right or the server sends no time.
    fn wrong_clock(&self) -> Option<String> {
        let ahead = self.wrong_by()?;
        let distance = span::format_duration(ahead.unsigned_abs().as_secs());
        let side = if ahead.is_positive() { "ahead of" } else { "behind" };
        Some(format!("this machine's clock is {distance} {side} the server's"))
    }
}

/// Whether this machine's clock is right. A wrong one is a failure if it has a `symptom`, else a warning.
pub fn examine_clock(
    subject: &Subject<'_>,
    answered: Result<&Answered, StepName>,
    symptom: Option<String>,
    findings: &mut Findings<'_>,
) {
    let finding = match answered.map(|answered| (answered.ahead, answered.wrong_clock())) {
        Err(cause) => Finding::Skipped(cause),
        Ok((None, _)) => Finding::Ok("unknown: the server sends no Date header".to_owned()),
        Ok((Some(_), None)) => Finding::Ok("within a minute of the server's".to_owned()),
        Ok((Some(_), Some(wrong))) => {
            let trouble = Trouble::new(wrong)
                .because("tokens, signatures and certificates can seem expired or not yet valid")
                .with_hint(SET_CLOCK);
            match symptom {
                Some(symptom) => {
                    let again = format!("if requests still fail then, run `{}`", subject.profile.login_command());
                    Finding::Failed(trouble.because(symptom).with_hint(again))
                }
                None => Finding::Warning(trouble),
            }
        }
    };
    findings.note(StepName::Clock, finding);
}

/// The hint for a wrong clock.
const SET_CLOCK: &str = "set this machine's clock, or turn on automatic time";

/// The hint for a proxy that does not work.
const CHECK_PROXY: &str = "check HTTPS_PROXY and NO_PROXY, or the system's proxy settings";

/// The hint for a network that has a sign-in page.
const PORTAL: &str = "in a hotel, train or airport: open any page in a browser, sign in to the network and try again";
