//! The parameters of an OAuth request.

use std::collections::BTreeMap;

use crate::demo::grant_error::GrantError;

/// A query or a form body. It may hold secrets, so there is no way to print it.
pub struct Form(BTreeMap<String, String>);

impl Form {
    /// Parses `application/x-www-form-urlencoded`. Parameters without a value count as left out (RFC 6749 section 3.1).
    ///
    /// # Errors
    /// A parameter given twice (RFC 6749 sections 3.1 and 3.2).
    pub fn parse(encoded: &[u8]) -> Result<Self, GrantError> {
        let mut parameters = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(encoded).filter(|(_, value)| !value.is_empty()) {
            if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(GrantError::invalid_request("a parameter is given twice"));
            }
        }
        Ok(Self(parameters))
    }

    /// A parameter that may be left out.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter that may not.
    ///
    /// # Errors
    /// `missing`, as the description of `invalid_request`.
    pub fn require(&self, name: &str, missing: &'static str) -> Result<&str, GrantError> {
        self.get(name).ok_or(GrantError::invalid_request(missing))
    }
}
