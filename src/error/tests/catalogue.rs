//! The texts of errors, for the snapshots.

use std::collections::BTreeSet;

use crate::{
    console::{Color, Console, Voice},
    error::Error,
};

/// The texts of examples of one error type, each with its kind. Panics if a kind has no example.
pub(super) fn catalogue<E>(
    examples: Vec<E>,
    kinds: &[&str],
    kind: impl Fn(&E) -> &'static str,
    words: impl Fn(E) -> String,
) -> String {
    let named: Vec<(&str, String)> = examples.into_iter().map(|example| (kind(&example), words(example))).collect();
    let shown: BTreeSet<&str> = named.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(shown, kinds.iter().copied().collect(), "a kind has no example");
    named.iter().map(|(kind, words)| format!("{kind}: {words}\n")).collect()
}

/// An error as the console writes it, after its exit code.
pub(super) fn written(error: impl Into<Error>) -> String {
    let error = error.into();
    let words = Console::new(Color::Never, Voice::Usual).words(&error);
    format!("exit code {}\n{words}\n", error.kind.exit_code())
}
