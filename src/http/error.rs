//! What comes of requests that come to nothing.

use std::{error::Error, time::Duration};

use http::{HeaderMap, StatusCode};
use rustls::{AlertDescription, CertificateError};

use crate::{
    http::coding::Damaged,
    http::{redirect, resolver::OutOfReach},
    printable::quoted,
    server_url::{ServerUrl, reach::Zone},
};

/// A request that came to nothing, by how far it got.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection: no byte of the request has left, so sending it again repeats nothing.
    #[error("could not connect to {host}")]
    Unreachable {
        /// Where to.
        host: String,
        /// Name resolution, TCP, TLS or the proxy.
        #[source]
        source: reqwest::Error,
    },
    /// The connection broke after the request may have been taken.
    #[error("the connection to {host} broke")]
    Broken {
        /// Where to.
        host: String,
        /// What the connection said.
        #[source]
        source: reqwest::Error,
    },
    /// The server says that it has not processed the request (RFC 9113 section 8.7), or the connection ended before it
    /// was written: sending it again repeats nothing.
    #[error("{host} closed the connection without processing the request")]
    Unprocessed {
        /// Where to.
        host: String,
        /// What the connection said.
        #[source]
        source: reqwest::Error,
    },
    /// No complete answer in time.
    #[error("{host} did not answer within {} s", .after.as_secs())]
    TimedOut {
        /// Where to.
        host: String,
        /// The limit.
        after: Duration,
    },
    /// The answer is larger than its kind may be.
    #[error("{host} sent more than {limit} bytes")]
    TooLarge {
        /// Where from.
        host: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A name that resolves to where whoever named it must not send us. Nothing was sent.
    #[error("{host} must not be called: {zone}")]
    OutOfReach {
        /// The host.
        host: String,
        /// Where it leads.
        zone: Zone,
    },
    /// The server's certificate is not good (OAuth 2.1 section 1.5; RFC 6750 section 5.3). Nothing was sent.
    #[error("the certificate of {host} {problem}")]
    Certificate {
        /// The host.
        host: String,
        /// What is wrong with it.
        problem: CertificateProblem,
    },
    /// No version or cipher of TLS that is safe (OAuth 2.1 section 1.5; RFC 9325 section 3.1). Nothing was sent.
    #[error("{host} offers no safe version or cipher of TLS (1.2 or later)")]
    OldTls {
        /// The host.
        host: String,
    },
    /// A redirect to another origin, too many of them, or one of a request that must go where it was sent.
    #[error("{host} redirects elsewhere (HTTP {}{}), which is not followed", .status.as_u16(), led_to(.target.as_deref()))]
    Redirected {
        /// Who redirects.
        host: String,
        /// How.
        status: StatusCode,
        /// Where to, cleaned and without its query.
        target: Option<String>,
    },
    /// An answer in a content coding that was not asked for (RFC 9110 section 8.4), or that cannot be decoded.
    #[error("{host} sent an answer that cannot be decoded ({problem})")]
    Undecodable {
        /// Where from.
        host: String,
        /// Its content coding, cleaned, or that its data are damaged.
        problem: String,
    },
    /// The TLS set-up of this machine is unusable.
    #[error("could not set up TLS")]
    Setup(#[source] reqwest::Error),
}

/// What is wrong with a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateProblem {
    /// Its validity has ended, or this machine's clock is wrong.
    #[error("has expired")]
    Expired,
    /// Its validity has not begun, or this machine's clock is wrong.
    #[error("is not valid yet")]
    NotValidYet,
    /// It names another server.
    #[error("is for another name")]
    OtherName,
    /// No trusted authority signed it.
    #[error("is self-signed, or from an authority that this machine does not know")]
    UnknownIssuer,
    /// Its authority revoked it.
    #[error("was revoked")]
    Revoked,
    /// An authority's own, above all: what most programs make when they are asked for a self-signed one.
    #[error("is not one for a server; it may be self-signed")]
    NotForServer,
    /// Anything else.
    #[error("is not valid")]
    Invalid,
}

impl CertificateProblem {
    fn of(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotValidYet,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::OtherName,
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Revoked => Self::Revoked,
            CertificateError::Other(_) => Self::NotForServer,
            _ => Self::Invalid,
        }
    }

    /// Whether it depends on the time, so that a wrong clock may be the cause.
    pub fn depends_on_clock(self) -> bool {
        matches!(self, Self::Expired | Self::NotValidYet)
    }
}

impl HttpError {
    /// Sorts what the client reports into how far the request got.
    pub fn sending(url: &ServerUrl, source: reqwest::Error) -> Self {
        // The URL in the client's own text may hold what must not be shown.
        let (host, source) = (url.host(), source.without_url());
        if let Some(OutOfReach(zone)) = cause(&source) {
            return Self::OutOfReach { host, zone: *zone };
        }
        match cause(&source) {
            Some(rustls::Error::InvalidCertificate(error)) => {
                return Self::Certificate { host, problem: CertificateProblem::of(error) };
            }
            Some(error) if is_old_tls(error) => return Self::OldTls { host },
            _ => {}
        }
        if source.is_connect() {
            return Self::Unreachable { host, source };
        }
        if is_unprocessed(&source) {
            return Self::Unprocessed { host, source };
        }
        if cause::<Damaged>(&source).is_some() {
            return Self::Undecodable { host, problem: "its compressed data are damaged".to_owned() };
        }
        Self::Broken { host, source }
    }

    /// That `headers`, of an answer from `url`, redirect a request that goes nowhere else.
    pub(super) fn redirected(url: &ServerUrl, status: StatusCode, headers: &HeaderMap) -> Self {
        Self::Redirected { host: url.host(), status, target: redirect::target(url, headers) }
    }

    /// Whether the server has certainly not processed the request: no byte of it has left, or the server says so.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Unprocessed { .. }) || self.is_unconnected()
    }

    /// Whether there is no connection, so that no byte has reached the server.
    pub fn is_unconnected(&self) -> bool {
        use HttpError::{Certificate, OldTls, OutOfReach, Setup, Unreachable};
        matches!(self, Unreachable { .. } | Setup(_) | OutOfReach { .. } | Certificate { .. } | OldTls { .. })
    }

    /// Why there is no connection, in the words of who found out; none of anything else.
    pub fn why_unreachable(&self) -> Option<String> {
        let Self::Unreachable { source, .. } = self else { return None };
        let mut cause: &(dyn Error + 'static) = source;
        while let Some(next) = cause.source() {
            cause = next;
        }
        Some(quoted(&cause.to_string()))
    }

    /// Whether it is no trouble of the network, but a server that must not be believed.
    pub fn is_refusal(&self) -> bool {
        use HttpError::{Broken, Setup, TimedOut, Unprocessed, Unreachable};
        !matches!(self, Unreachable { .. } | Unprocessed { .. } | Broken { .. } | TimedOut { .. } | Setup(_))
    }
}

/// Where a redirect leads, as part of a sentence.
fn led_to(target: Option<&str>) -> String {
    target.map(|target| format!(" to {target}")).unwrap_or_default()
}

/// Whether the server has certainly not processed a request that ended so: it says so of its stream, it leaves and names
/// an earlier stream as its last, or the connection ended before the request was written.
fn is_unprocessed(error: &reqwest::Error) -> bool {
    let is_disowned = |error: &h2::Error| match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => error.is_reset() && error.is_remote(),
        // With any other reason the streams that it did process end so too.
        Some(h2::Reason::NO_ERROR) => error.is_go_away() && error.is_remote(),
        _ => false,
    };
    cause(error).is_some_and(is_disowned) || cause(error).is_some_and(hyper::Error::is_canceled)
}

/// The first error of that type behind `error`. An I/O error may wrap one.
fn cause<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
    let wrapped = wrapped.and_then(|error| cause(error as &(dyn Error + 'static)));
    error.downcast_ref().or(wrapped).or_else(|| cause(error.source()?))
}

fn is_old_tls(error: &rustls::Error) -> bool {
    use AlertDescription::{HandshakeFailure, InsufficientSecurity, ProtocolVersion};
    use rustls::Error::{AlertReceived, PeerIncompatible};
    matches!(error, PeerIncompatible(_) | AlertReceived(ProtocolVersion | HandshakeFailure | InsufficientSecurity))
}
