//! Looks for secrets in every form in which one could be left behind.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// A secret and the forms in which it is looked for: as it is, its end alone, base64 at each of the three alignments,
/// hexadecimal, and percent-encoded.
pub struct Canary {
    secret: String,
    forms: Vec<Vec<u8>>,
}

impl Canary {
    /// Panics for a secret too short to be told from chance.
    pub fn new(secret: &str) -> Self {
        assert!(secret.len() >= 12, "{secret:?} is too short to look for");
        let bytes = secret.as_bytes();
        let mut forms = vec![bytes.to_vec(), bytes[bytes.len() - 12..].to_vec()];
        for alignment in 0..3 {
            // What stands before and after a secret changes the first and last characters of its base64: only whole
            // groups of three bytes are looked for.
            let aligned = &bytes[alignment..alignment + (bytes.len() - alignment) / 3 * 3];
            forms.push(STANDARD_NO_PAD.encode(aligned).into_bytes());
            forms.push(URL_SAFE_NO_PAD.encode(aligned).into_bytes());
        }
        forms.push(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes());
        forms.push(bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>().into_bytes());
        forms.push(url::form_urlencoded::byte_serialize(bytes).collect::<String>().into_bytes());
        forms.sort();
        forms.dedup();
        Self { secret: secret.to_owned(), forms }
    }

    /// Panics where `haystack` holds any form of it.
    pub fn assert_absent(&self, haystack: &[u8], place: &str) {
        for form in &self.forms {
            if let Some(at) = find(haystack, form) {
                let around = &haystack[at.saturating_sub(80)..(at + form.len() + 20).min(haystack.len())];
                panic!("the secret {} leaked to {place}: …{}…", self.secret, String::from_utf8_lossy(around));
            }
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(offset) = haystack.get(from..)?.iter().position(|byte| *byte == first) {
        let at = from + offset;
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

mod tests {
    use super::*;

    const SECRET: &str = "rt-5f1c9e77a0b24d-ÜN/=";

    #[test]
    fn every_form_is_found() {
        let in_basic = STANDARD_NO_PAD.encode(format!("client:{SECRET}"));
        let hexadecimal: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
        let encoded: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        let end = SECRET.as_bytes()[SECRET.len() - 12..].to_vec();
        for place in [SECRET.as_bytes().to_vec(), in_basic.into(), hexadecimal.into(), encoded.into(), end] {
            let mut haystack = b"some text before, rt-5f1c9 and ".to_vec();
            haystack.extend(place);
            let found = std::panic::catch_unwind(|| Canary::new(SECRET).assert_absent(&haystack, "a test"));
            assert!(found.is_err(), "{}", String::from_utf8_lossy(&haystack));
        }
        Canary::new(SECRET).assert_absent(b"some text, rt-5f1c9e77a0b2, and more", "a test");
    }
}
