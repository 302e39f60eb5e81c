//! A value that must not be seen: tokens, client secrets, codes, verifiers, session ids.
//!
//! Leaking one takes a visible act, [`Secret::expose`]. There is no `Display`, no `Serialize`, and `Debug` shows
//! nothing.

use std::fmt;

use zeroize::Zeroize;

/// A value hidden from logs, errors and panics, and wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret<T: Zeroize = String>(T);

impl<T: Zeroize> Secret<T> {
    /// Hides `value`.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The hidden value. Each call is a place where it can leak: a header, a form, a store's payload, `finmcp token`'s
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
    /// Whether both hide the same bytes, in a time that does not depend on where they differ.
    pub fn same_as(&self, other: &Self) -> bool {
        let (left, right) = (self.0.as_ref(), other.0.as_ref());
        left.len() == right.len() && left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl Secret {
    /// Whether `text` repeats it, or its beginning where the text was cut there. What is shorter than eight characters may
    /// be part of any sentence, and is not looked for.
    pub fn is_repeated_in(&self, text: &str) -> bool {
        const TELLING: usize = 8;
        const BEGINNING: usize = 16;
        let end = self.0.char_indices().nth(BEGINNING).map_or(self.0.len(), |(end, _)| end);
        let beginning = &self.0[..end];
        beginning.len() >= TELLING && text.contains(beginning)
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Keeps what this process holds out of core dumps; on Linux also away from the debuggers of the same user. Asked once, at
/// the start: where the system refuses, a dump shows what a debugger could see anyway.
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

    /// t094: no way of printing shows the value.
    #[test]
    fn t094_debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("CANARY".to_owned())), "Secret(***)");
    }

    #[test]
    fn equality_is_of_every_byte() {
        let secret = Secret::new("abc".to_owned());
        assert!(secret.same_as(&Secret::new("abc".to_owned())));
        for other in ["abd", "bbc", "ab", "abcd", ""] {
            assert!(!secret.same_as(&Secret::new(other.to_owned())), "{other}");
        }
    }
}
