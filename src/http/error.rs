//! Why an HTTP request failed.

use std::{error::Error, time::Duration};

use http::{HeaderMap, StatusCode};
use rustls::{AlertDescription, CertificateError};

use crate::{
    http::coding::Damaged,
    http::{redirect, resolver::OutOfReach},
    printable::quoted,
    server_url::{ServerUrl, reach::Zone},
};

/// A failed request, by how far it got.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection: no byte of the request was sent, so a retry repeats nothing.
    #[error("could not connect to {host}")]
    Unreachable {
        host: String,
        /// The failure of name resolution, TCP, TLS or the proxy.
        #[source]
        source: reqwest::Error,
    },
    /// The connection broke after the server may have received the request.
    #[error("lost the connection to {host}")]
    Broken {
        host: String,
        #[source]
        source: reqwest::Error,
    },
    /// The server says that it did not process the request (RFC 9113 section 8.7), or the connection closed before the
    /// request was written: a retry repeats nothing.
    #[error("{host} closed the connection without processing the request")]
    Unprocessed {
        host: String,
        #[source]
        source: reqwest::Error,
    },
    /// No complete response within the limit.
    #[error("{host} did not respond within {} s", .after.as_secs())]
    TimedOut { host: String, after: Duration },
    #[error("{host} sent more than {limit} bytes")]
    TooLarge { host: String, limit: usize },
    /// The host resolves to an address in a zone that the URL's reach excludes. Nothing was sent.
    #[error("{host} is blocked: {zone}")]
    OutOfReach { host: String, zone: Zone },
    /// The server's certificate is not valid (OAuth 2.1 section 1.5; RFC 6750 section 5.3). Nothing was sent.
    #[error("the certificate of {host} {problem}")]
    Certificate { host: String, problem: CertificateProblem },
    /// The server offers no safe TLS version or cipher suite (OAuth 2.1 section 1.5; RFC 9325 section 3.1). Nothing was
    /// sent.
    #[error("{host} offers no safe TLS version (1.2 or later) or cipher suite")]
    OldTls { host: String },
    /// The server requires a client certificate: finmcp sent none, or the server rejected it (RFC 8446 section 4.4.2.4).
    /// The rejection may arrive after finmcp has started to send the request.
    #[error("{host} requires a client certificate (mutual TLS): none was sent, or it was rejected")]
    CertificateRequired { host: String },
    /// A redirect to another origin, too many redirects, or a redirect of a request that must not be redirected.
    #[error(
        "{host} redirects to {} (HTTP {}); finmcp did not follow it",
        .target.as_deref().unwrap_or("another address"), .status.as_u16()
    )]
    Redirected {
        host: String,
        status: StatusCode,
        /// The redirect's target, cleaned and without its query.
        target: Option<String>,
    },
    /// A response in a content coding that was not requested (RFC 9110 section 8.4), or that could not be decoded.
    #[error("could not decode the response from {host} ({problem})")]
    Undecodable {
        host: String,
        /// The unexpected content coding, cleaned, or a note about damaged data.
        problem: String,
    },
    /// This machine's certificates or TLS configuration cannot be used.
    #[error("could not set up TLS")]
    Setup(#[source] reqwest::Error),
}

/// Why a server's certificate is not accepted.
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
    #[error("is self-signed, or from an authority that this machine does not trust")]
    UnknownIssuer,
    /// Its authority revoked it.
    #[error("was revoked")]
    Revoked,
    /// Mostly an authority's own certificate, which is what many programs create when asked for a self-signed one.
    #[error("is not a server certificate; it may be self-signed")]
    NotForServer,
    /// Any other problem.
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
    /// Classifies an error of the HTTP client by how far the request got.
    pub fn sending(url: &ServerUrl, source: reqwest::Error) -> Self {
        // The URL in the client's error text may contain secrets.
        let (host, source) = (url.host(), source.without_url());
        if let Some(OutOfReach(zone)) = cause(&source) {
            return Self::OutOfReach { host, zone: *zone };
        }
        match cause(&source) {
            Some(rustls::Error::InvalidCertificate(error)) => {
                return Self::Certificate { host, problem: CertificateProblem::of(error) };
            }
            Some(error) if is_old_tls(error) => return Self::OldTls { host },
            Some(error) if wants_certificate(error) => return Self::CertificateRequired { host },
            _ => {}
        }
        if source.is_connect() {
            return Self::Unreachable { host, source };
        }
        if is_unprocessed(&source) {
            return Self::Unprocessed { host, source };
        }
        if cause::<Damaged>(&source).is_some() {
            return Self::Undecodable { host, problem: "the compressed data is damaged".to_owned() };
        }
        Self::Broken { host, source }
    }

    /// The error for a redirect from `url` that finmcp does not follow.
    pub(super) fn redirected(url: &ServerUrl, status: StatusCode, headers: &HeaderMap) -> Self {
        Self::Redirected { host: url.host(), status, target: redirect::target(url, headers) }
    }

    /// Whether the server certainly did not process the request: no byte was sent, or the server says so.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Unprocessed { .. }) || self.is_unconnected()
    }

    /// Whether no connection was made, so that no byte reached the server.
    pub fn is_unconnected(&self) -> bool {
        use HttpError::{Certificate, OldTls, OutOfReach, Setup, Unreachable};
        matches!(self, Unreachable { .. } | Setup(_) | OutOfReach { .. } | Certificate { .. } | OldTls { .. })
    }

    /// The root cause of [`Self::Unreachable`], from the resolver or the system; `None` for any other error.
    pub fn why_unreachable(&self) -> Option<String> {
        let Self::Unreachable { source, .. } = self else { return None };
        let mut cause: &(dyn Error + 'static) = source;
        while let Some(next) = cause.source() {
            cause = next;
        }
        Some(quoted(&cause.to_string()))
    }

    /// Whether the server's behaviour is to blame, not the network: finmcp refuses to trust it.
    pub fn is_refusal(&self) -> bool {
        use HttpError::{Broken, Setup, TimedOut, Unprocessed, Unreachable};
        !matches!(self, Unreachable { .. } | Unprocessed { .. } | Broken { .. } | TimedOut { .. } | Setup(_))
    }
}

/// Whether the server certainly did not process the request: it refused the stream, it sent a GOAWAY that names an
/// earlier stream as its last, or the connection closed before the request was written.
fn is_unprocessed(error: &reqwest::Error) -> bool {
    let is_disowned = |error: &h2::Error| match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => error.is_reset() && error.is_remote(),
        // With any other reason, streams that the server did process end the same way.
        Some(h2::Reason::NO_ERROR) => error.is_go_away() && error.is_remote(),
        _ => false,
    };
    cause(error).is_some_and(is_disowned) || cause(error).is_some_and(hyper::Error::is_canceled)
}

/// The first error of type `T` in the chain of sources. An I/O error may wrap one.
fn cause<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
    let wrapped = wrapped.and_then(|error| cause(error as &(dyn Error + 'static)));
    error.downcast_ref().or(wrapped).or_else(|| cause(error.source()?))
}

/// Whether the server ended the handshake because it requires a client certificate that it accepts.
fn wants_certificate(error: &rustls::Error) -> bool {
    use AlertDescription::{
        BadCertificate, CertificateRequired, CertificateUnknown, UnknownCA, UnsupportedCertificate,
    };
    use rustls::Error::AlertReceived;
    matches!(
        error,
        AlertReceived(BadCertificate | CertificateRequired | CertificateUnknown | UnknownCA | UnsupportedCertificate)
    )
}

fn is_old_tls(error: &rustls::Error) -> bool {
    use AlertDescription::{HandshakeFailure, InsufficientSecurity, ProtocolVersion};
    use rustls::Error::{AlertReceived, PeerIncompatible};
    matches!(error, PeerIncompatible(_) | AlertReceived(ProtocolVersion | HandshakeFailure | InsufficientSecurity))
}
