//! Text that a terminal shows and does not obey.

/// `text` without what steers a terminal or misleads a reader: C0 and C1 control characters (escape sequences among
/// them), bidirectional overrides, and invisible separators.
pub fn printable(text: &str) -> String {
    text.chars().filter(|character| !misleads(*character)).collect()
}

/// `text` as above, cut to a length that a message can hold. For what a server says.
pub fn quoted(text: &str) -> String {
    const LENGTH: usize = 200;
    let clean = printable(text);
    match clean.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}

fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// t113: neither escape sequences nor bidirectional tricks get through.
    #[test]
    fn t113_nothing_that_steers_a_terminal() {
        let hostile = "a\u{1b}]52;c;eA==\u{7}b\u{9b}31mc\u{202e}d\u{200f}\r\ne\u{2028}";
        assert_eq!(printable(hostile), "a]52;c;eA==b31mcde");
        assert_eq!(quoted(&"é".repeat(300)).chars().count(), 201);
        assert_eq!(printable("Zürich 日本 🙂"), "Zürich 日本 🙂");
    }
}
