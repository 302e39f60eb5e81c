//! Secret values: tokens, client secrets, codes, verifiers, session ids.
//!
//! The only access is [`Secret::expose`], which is easy to find in a review. There is no `Display` and no `Serialize`,
//! and `Debug` does not show the value.

use std::fmt;

use zeroize::Zeroize;

/// A value hidden from logs, errors and panics, and wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret<T: Zeroize = String>(T);

impl<T: Zeroize> Secret<T> {
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The secret value. Every call is a place where it can leak: a header, a form, a store's payload, `finmcp token`'s
    /// output.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: Zeroize + AsRef<[u8]>> Secret<T> {
    /// Compares in constant time.
    pub fn same_as(&self, other: &Self) -> bool {
        let (left, right) = (self.0.as_ref(), other.0.as_ref());
        left.len() == right.len() && left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl Secret {
    /// The same without white space around it, which is easily copied along.
    pub fn trimmed(&self) -> Self {
        Self(self.0.trim().to_owned())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it contains neither white space nor control characters.
    pub fn is_one_word(&self) -> bool {
        !self.0.contains(|letter: char| letter.is_whitespace() || letter.is_control())
    }

    /// The number of its characters.
    pub fn length(&self) -> usize {
        self.0.chars().count()
    }

    /// Whether `text` contains the secret, or its beginning if the text was cut off. Secrets of fewer than eight
    /// characters are not searched for, because they may occur by chance.
    pub fn is_repeated_in(&self, text: &str) -> bool {
        const SEARCHABLE: usize = 8;
        const BEGINNING: usize = 16;
        let end = self.0.char_indices().nth(BEGINNING).map_or(self.0.len(), |(end, _)| end);
        let beginning = &self.0[..end];
        beginning.len() >= SEARCHABLE && text.contains(beginning)
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Disables core dumps, and on Linux also debuggers of the same user. Called once at the start. Errors are ignored:
/// without it, a dump shows what a debugger could read anyway.
pub fn guard_memory() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    #[cfg(all(unix, not(target_os = "linux")))]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let maximum = getrlimit(Resource::Core).maximum;
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum });
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// t094: `Debug` does not show the value.
    #[test]
    fn t094_debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("CANARY".to_owned())), "Secret(***)");
    }

    #[test]
    fn equality_compares_every_byte() {
        let secret = Secret::new("abc".to_owned());
        assert!(secret.same_as(&Secret::new("abc".to_owned())));
        for other in ["abd", "bbc", "ab", "abcd", ""] {
            assert!(!secret.same_as(&Secret::new(other.to_owned())), "{other}");
        }
    }
}
