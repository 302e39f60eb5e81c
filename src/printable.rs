//! Cleans text from servers, files and clients for display, so that it cannot control the terminal. All such text goes
//! through here.

/// `text` without characters that control a terminal or mislead a reader: control characters (including escape
/// sequences), bidirectional controls, and invisible characters.
pub fn printable(text: &str) -> String {
    text.chars().filter(|character| !is_invisible_or_control(*character)).collect()
}

/// `text`, cleaned as by [`printable`] and shortened for a message. For text from servers.
pub fn quoted(text: &str) -> String {
    const LENGTH: usize = 200;
    let clean = printable(text);
    match clean.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}

/// Control characters, line and paragraph separators, and Unicode's Default_Ignorable_Code_Point: invisible characters
/// such as bidirectional controls, joiners, fillers and tags. Emoji's sixteen variation selectors are allowed: they
/// cannot encode a message.
fn is_invisible_or_control(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One character of each forbidden kind.
    const HOSTILE: [char; 34] = [
        '\0',
        '\u{7}',
        '\t',
        '\n',
        '\r',
        '\u{1b}',
        '\u{7f}', // C0
        '\u{80}',
        '\u{90}',
        '\u{9b}',
        '\u{9d}', // C1, CSI and OSC among them
        '\u{ad}', // soft hyphen
        '\u{61c}',
        '\u{200e}',
        '\u{200f}',
        '\u{202a}',
        '\u{202e}',
        '\u{2066}',
        '\u{2069}', // bidirectional
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{2060}',
        '\u{feff}',
        '\u{180e}',
        '\u{34f}', // zero width
        '\u{2028}',
        '\u{2029}', // lines and paragraphs
        '\u{fff9}',
        '\u{fffb}', // annotations
        '\u{3164}', // invisible letter
        '\u{e0001}',
        '\u{e0041}',
        '\u{e0100}', // tags, and selectors that can spell a hidden text
    ];

    /// Whether `text` has no forbidden character.
    pub(crate) fn is_printable(text: &str) -> bool {
        !text.chars().any(is_invisible_or_control)
    }

    /// Texts with many forbidden characters.
    pub(crate) fn hostile_text() -> impl Strategy<Value = String> {
        let character = prop_oneof![
            any::<char>(),
            prop::sample::select(HOSTILE.to_vec()),
            "[ -~]".prop_map(|text| { text.chars().next().unwrap_or(' ') })
        ];
        prop::collection::vec(character, 0..300).prop_map(|characters| characters.into_iter().collect())
    }

    /// t113: escape sequences and bidirectional controls are removed.
    #[test]
    fn t113_terminal_controls_are_removed() {
        let hostile = "a\u{1b}]52;c;eA==\u{7}b\u{9b}31mc\u{202e}d\u{200f}\r\ne\u{2028}";
        assert_eq!(printable(hostile), "a]52;c;eA==b31mcde");
        assert_eq!(quoted(&"é".repeat(300)).chars().count(), 201);
        for shown in ["Zürich 日本 🙂", "♥️ é नमस्ते 한국어 עברית العربية", "“a” – b…"]
        {
            assert_eq!(printable(shown), shown);
        }
        for character in HOSTILE {
            assert_eq!(printable(&format!("a{character}b")), "ab", "{character:?}");
        }
    }

    proptest! {
        /// t113: for any text.
        #[test]
        fn t113_no_hostile_character_survives(text in hostile_text()) {
            for shown in [printable(&text), quoted(&text)] {
                prop_assert!(!shown.chars().any(|shown| shown.is_control() || HOSTILE.contains(&shown)));
                prop_assert!(is_printable(&shown));
            }
            prop_assert!(quoted(&text).chars().count() <= 201);
        }
    }
}
