//! OAuth scopes.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// A set of scope tokens (RFC 6749 section 3.3). Its text form is sorted and separated by single spaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope(BTreeSet<String>);

/// A scope with a character that RFC 6749 section 3.3 does not allow, or one that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid scope (RFC 6749 section 3.3)")]
pub struct ScopeError;

/// The size limit of a scope in bytes, because it must fit into a URL.
const LIMIT: usize = 4096;

impl Scope {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, token: &str) -> bool {
        self.0.contains(token)
    }

    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }

    /// These tokens but `token`.
    pub fn without_token(mut self, token: &str) -> Self {
        self.0.remove(token);
        self
    }

    /// The scope to request (MCP authorization, "Scope Selection Strategy"): the one that the user or the provider
    /// configures, else the challenge's, else all that the protected resource supports, else none.
    pub fn select(chosen: Option<Self>, challenged: Option<Self>, supported: Option<Self>) -> Option<Self> {
        [chosen, challenged, supported].into_iter().flatten().find(|scope| !scope.is_empty())
    }

    /// The scope tokens, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        text.split(' ').filter(|token| !token.is_empty()).try_fold(Self::default(), Self::with)
    }
}

impl Scope {
    /// Adds `token`.
    ///
    /// # Errors
    /// [`ScopeError`] if `token` is invalid (RFC 6749 section 3.3) or the scope gets too long.
    pub fn with(mut self, token: &str) -> Result<Self, ScopeError> {
        let valid = !token.is_empty() && token.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        let length: usize = self.0.iter().map(|token| token.len() + 1).sum();
        if !valid || length + token.len() > LIMIT {
            return Err(ScopeError);
        }
        self.0.insert(token.to_owned());
        Ok(self)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for token in &self.0 {
            write!(formatter, "{separator}{token}")?;
            separator = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// t016: hostile scopes are refused before they reach a URL or a terminal.
    #[test]
    fn t016_only_the_characters_of_the_rfc() {
        assert_eq!("b  a b".parse::<Scope>().map(|scope| scope.to_string()), Ok("a b".to_owned()));
        for bad in ["a\nb", "a\"", "a\\b", "\u{1b}]52", "é", "a\tb"] {
            assert_eq!(bad.parse::<Scope>(), Err(ScopeError), "{bad:?}");
        }
        assert_eq!("x".repeat(LIMIT + 1).parse::<Scope>(), Err(ScopeError));
    }

    /// The configured scope first, then the challenge's, then all supported, then none.
    #[test]
    fn the_order_of_selection() {
        let scope = |text: &str| Some(text.parse::<Scope>().unwrap());
        assert_eq!(Scope::select(scope("a"), scope("b"), scope("c")), scope("a"));
        assert_eq!(Scope::select(None, scope("b"), scope("c")), scope("b"));
        assert_eq!(Scope::select(None, None, scope("c")), scope("c"));
        assert_eq!(Scope::select(None, scope(""), scope("c")), scope("c"));
        assert_eq!(Scope::select(None, None, scope("")), None);
    }
}
