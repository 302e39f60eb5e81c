//! What the user types at the terminal when finmcp asks, checked while they can still correct it.

use crate::{
    console::Console,
    error::{Error, ErrorKind},
    paragraph::hanging_indent,
    secret::Secret,
};

/// Prints `text` in lines of the terminal's width.
pub(super) fn explain(console: Console, text: &str) {
    console.say(hanging_indent(text, 0, console.width()).trim_end());
}

/// Asks until `check` accepts the answer, which it gets without white space around it.
///
/// # Errors
/// The user cancels.
pub(super) async fn text<T>(
    console: Console,
    question: &str,
    check: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Error> {
    loop {
        let typed = console.ask(question).await.ok_or_else(cancelled)?;
        match check(typed.trim()) {
            Ok(answer) => return Ok(answer),
            Err(problem) => explain(console, &problem),
        }
    }
}

/// Asks for a secret, which the terminal does not show, until `check` accepts it. None without a terminal.
///
/// # Errors
/// The user cancels.
pub(super) async fn secret(
    console: Console,
    question: &str,
    check: impl Fn(&Secret) -> Result<(), String>,
) -> Result<Option<Secret>, Error> {
    loop {
        let Ok(typed) = console.ask_secret(question).await else { return Ok(None) };
        let typed = typed.ok_or_else(cancelled)?.trimmed();
        match check(&typed) {
            Ok(()) => return Ok(Some(typed)),
            Err(problem) => explain(console, &problem),
        }
    }
}

/// Checks an identifier or a secret that the user copies from the vendor's page.
pub(super) fn copied(name: &str, is_empty: bool, is_one_word: bool) -> Result<(), String> {
    if is_empty {
        return Err(format!("Type or paste the {name}, or press Esc to cancel"));
    }
    match is_one_word {
        true => Ok(()),
        false => Err(format!("That contains spaces or line breaks: copy only the {name} and try again")),
    }
}

/// The user has pressed Esc or Ctrl-D.
pub(super) fn cancelled() -> Error {
    Error::new(ErrorKind::Interrupted, "cancelled: nothing was stored")
}
