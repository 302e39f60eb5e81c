//! The parameters of an OAuth request.

use std::collections::BTreeMap;

use crate::demo::grant_error::GrantError;

/// A query or form body. It may contain secrets, so it has no `Debug`.
pub struct Form(BTreeMap<String, String>);

impl Form {
    /// Parses `application/x-www-form-urlencoded`. Parameters without a value count as missing (RFC 6749 section 3.1).
    ///
    /// # Errors
    /// A duplicate parameter (RFC 6749 sections 3.1 and 3.2).
    pub fn parse(encoded: &[u8]) -> Result<Self, GrantError> {
        let mut parameters = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(encoded).filter(|(_, value)| !value.is_empty()) {
            if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(GrantError::invalid_request("duplicate parameter"));
            }
        }
        Ok(Self(parameters))
    }

    /// An optional parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A required parameter.
    ///
    /// # Errors
    /// `invalid_request` with the description `missing`.
    pub fn require(&self, name: &str, missing: &'static str) -> Result<&str, GrantError> {
        self.get(name).ok_or(GrantError::invalid_request(missing))
    }
}
