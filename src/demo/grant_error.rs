//! OAuth error responses.

use http::StatusCode;
use serde::Serialize;

use crate::demo::listener::{Reply, json};

/// An OAuth error document. The codes are those of RFC 6749 sections 4.1.2.1 and 5.2, RFC 7591 section 3.2.2 and RFC
/// 8707 section 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GrantError {
    pub error: &'static str,
    pub error_description: &'static str,
}

impl GrantError {
    pub const fn new(error: &'static str, error_description: &'static str) -> Self {
        Self { error, error_description }
    }

    /// `invalid_request`: a parameter is missing, repeated or malformed.
    pub const fn invalid_request(error_description: &'static str) -> Self {
        Self::new("invalid_request", error_description)
    }

    /// `invalid_grant`: a code or a refresh token is wrong, already used, expired or revoked.
    pub const fn invalid_grant(error_description: &'static str) -> Self {
        Self::new("invalid_grant", error_description)
    }

    /// `server_error`: not the client's fault.
    pub const fn server_error(error_description: &'static str) -> Self {
        Self::new("server_error", error_description)
    }

    /// The response of a token, registration or revocation endpoint.
    pub fn reply(self) -> Reply {
        let status = match self.error {
            "invalid_client" => StatusCode::UNAUTHORIZED,
            "server_error" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        json(status, &self)
    }
}
