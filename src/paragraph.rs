//! Wraps text for the terminal.

use textwrap::{Options, WordSplitter};

/// Wraps `text` at `width` characters with a hanging indent of `column`; the caller has already printed the first
/// `column` characters. Breaks no word, not even at a hyphen, so that URLs and names can be copied. Ends with a line
/// break.
pub fn hung(text: &str, column: usize, width: usize) -> String {
    let options = Options::new(width.saturating_sub(column)).break_words(false);
    let lines = textwrap::wrap(text, options.word_splitter(WordSplitter::NoHyphenation));
    lines.join(&format!("\n{}", " ".repeat(column))).trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hang_below_the_first() {
        let text = "one-two https://a.long.example/address three-four five";
        assert_eq!(hung(text, 4, 16), "one-two\n    https://a.long.example/address\n    three-four\n    five\n");
        assert_eq!(hung("", 4, 16), "\n");
        assert_eq!(hung("a b", 20, 10), "a\n                    b\n");
    }
}
