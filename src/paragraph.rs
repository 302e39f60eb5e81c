//! Wraps text for the terminal. No word is broken, not even at a hyphen, and no text between backticks: commands, URLs
//! and names can be copied.

use textwrap::{Options, WordSeparator, WordSplitter, core::Word};

/// Wraps `text` at `width` characters with a hanging indent of `column`; the caller has already printed the first
/// `column` characters. Ends with a line break.
pub fn hanging_indent(text: &str, column: usize, width: usize) -> String {
    let lines = textwrap::wrap(text, options(width.saturating_sub(column)));
    lines.join(&format!("\n{}", " ".repeat(column))).trim_end().to_owned() + "\n"
}

/// Wraps each line of `text` at `width` characters. What is wrapped gets the line's own indent and `hang` more columns.
pub fn wrapped(text: &str, hang: usize, width: usize) -> String {
    let lines = text.split('\n').map(|line| {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let (first, below) = (" ".repeat(indent), " ".repeat(indent + hang));
        textwrap::wrap(&line[indent..], options(width).initial_indent(&first).subsequent_indent(&below)).join("\n")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn options<'a>(width: usize) -> Options<'a> {
    let options = Options::new(width).break_words(false).word_separator(WordSeparator::Custom(words));
    options.word_splitter(WordSplitter::NoHyphenation)
}

/// The words of `line`, each with the spaces after it; text between backticks is one word.
fn words<'a>(line: &'a str) -> Box<dyn Iterator<Item = Word<'a>> + 'a> {
    let mut rest = line;
    Box::new(std::iter::from_fn(move || {
        let (mut is_quoted, mut is_space) = (false, false);
        let end = rest.char_indices().find_map(|(place, character)| {
            let ends = is_space && character != ' ';
            if character == '`' {
                is_quoted = !is_quoted && rest[place + 1..].contains('`');
            }
            is_space = character == ' ' && !is_quoted;
            ends.then_some(place)
        });
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        (!word.is_empty()).then(|| Word::from(word))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hang_below_the_first() {
        let text = "one-two https://a.long.example/address three-four five";
        assert_eq!(
            hanging_indent(text, 4, 16),
            "one-two\n    https://a.long.example/address\n    three-four\n    five\n"
        );
        assert_eq!(hanging_indent("", 4, 16), "\n");
        assert_eq!(hanging_indent("a b", 20, 10), "a\n                    b\n");
    }

    #[test]
    fn each_line_keeps_its_indent() {
        let text = "note: one two three four\n  https://a.long.example/address?a=1 now\n\nfive";
        let expected = "note: one two\n  three four\n  https://a.long.example/address?a=1\n    now\n\nfive";
        assert_eq!(wrapped(text, 2, 15), expected);
    }

    #[test]
    fn a_command_stays_on_one_line() {
        let text = "to end it, run `finmcp logout asset --env sandbox` and wait";
        assert_eq!(wrapped(text, 0, 20), "to end it, run\n`finmcp logout asset --env sandbox`\nand wait");
        assert_eq!(wrapped("`a b`, `c d` e", 0, 5), "`a b`,\n`c d`\ne");
        // A backtick alone quotes nothing.
        assert_eq!(wrapped("a ` b c d e f", 0, 5), "a ` b\nc d e\nf");
    }
}
