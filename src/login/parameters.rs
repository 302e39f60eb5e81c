//! Which additional parameters the user may add to the authorization and token requests, for example `business_id`.

/// The parameters that finmcp sets in these requests, each with its option or an empty string. A second value would be
/// dropped or break the protocol (RFC 6749 section 3.1), and a request object would replace them all (RFC 9101).
const OURS: [(&str, &str); 24] = [
    ("assertion", "--assertion-file"),
    ("client_assertion", "--private-key-file"),
    ("client_assertion_type", "--private-key-file"),
    ("client_id", "--client-id"),
    ("client_secret", "--client-secret-file"),
    ("code", ""),
    ("code_challenge", ""),
    ("code_challenge_method", ""),
    ("code_verifier", ""),
    ("device_code", ""),
    ("dpop_jkt", "--dpop"),
    ("grant_type", "--grant"),
    ("redirect_uri", "--redirect-uri"),
    ("refresh_token", ""),
    ("request", ""),
    ("request_uri", ""),
    ("requested_token_type", ""),
    ("resource", "--resource"),
    ("response_type", ""),
    ("scope", "--scope"),
    ("state", ""),
    ("subject_token", "--id-token-file"),
    ("subject_token_type", "--id-token-file"),
    ("user_code", ""),
];

/// Why the user cannot add a parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// An option sets it.
    #[error("use {option} to set {name}")]
    Option {
        /// The parameter.
        name: &'static str,
        /// The option.
        option: &'static str,
    },
    /// The protocol determines it.
    #[error("finmcp sets {0}; you cannot choose it")]
    Ours(&'static str),
}

/// Refuses a parameter that finmcp sets.
///
/// # Errors
/// [`ParameterError`], which names the option for it if there is one.
pub fn check(name: &str) -> Result<(), ParameterError> {
    match OURS.iter().find(|(ours, _)| *ours == name) {
        None => Ok(()),
        Some((name, "")) => Err(ParameterError::Ours(name)),
        Some((name, option)) => Err(ParameterError::Option { name, option }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b2_a_parameter_that_an_option_sets_names_the_option() {
        assert_eq!(check("redirect_uri").unwrap_err().to_string(), "use --redirect-uri to set redirect_uri");
        assert_eq!(check("state").unwrap_err().to_string(), "finmcp sets state; you cannot choose it");
        for name in ["business_id", "prompt", "audience", "access_type", "login_hint", "response_mode", "nonce"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }
}
