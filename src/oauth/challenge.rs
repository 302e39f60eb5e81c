//! The challenge in a `WWW-Authenticate` header.

use http::{HeaderMap, header::WWW_AUTHENTICATE};

use crate::{
    oauth::{dpop::NONCE_WANTED, scope::Scope},
    printable::quoted,
};

/// The `Bearer` or `DPoP` challenge of a 401 or 403 response (RFC 6750 section 3, RFC 9449 section 7.1, RFC 9728
/// section 5.1). Empty if the server sent no readable challenge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Challenge {
    /// `resource_metadata`, the URL of the server's metadata, as the server wrote it.
    pub resource_metadata: Option<String>,
    /// `scope`, which the refused request needs. `None` if it is too long or has characters that RFC 6749 section 3.3
    /// forbids.
    pub scope: Option<Scope>,
    /// `error`, cleaned: `invalid_token`, `insufficient_scope`.
    pub error: Option<String>,
    /// `error_description`, cleaned and cut.
    pub error_description: Option<String>,
    /// Whether one of the challenges has the scheme `DPoP`: the server wants a DPoP-bound token.
    pub dpop: bool,
    /// Whether the DPoP proof lacked a nonce (RFC 9449 section 9).
    pub nonce_wanted: bool,
}

/// The limit for all `WWW-Authenticate` values together, in bytes.
const LIMIT: usize = 8 << 10;

impl Challenge {
    /// Parses a response's challenges, in one value or several (RFC 9110 section 11.6.1). Uses the first `Bearer` or
    /// `DPoP` challenge with a `resource_metadata`, else the first one. Ignores anything malformed.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let mut budget = LIMIT;
        let values = headers.get_all(WWW_AUTHENTICATE).iter().map_while(|value| {
            budget = budget.checked_sub(value.len())?;
            Some(value.as_bytes())
        });
        let mut supported: Vec<_> = values.flat_map(|value| Parser { rest: value }.challenges()).collect();
        supported.retain(|challenge| challenge.is("bearer") || challenge.is("dpop"));
        let pointing = supported.iter().position(|challenge| challenge.get("resource_metadata").is_some());
        let Some(first) = supported.get(pointing.unwrap_or(0)) else { return Self::default() };
        let mut dpop = supported.iter().filter(|challenge| challenge.is("dpop")).peekable();
        Self {
            resource_metadata: first.get("resource_metadata").map(str::to_owned),
            scope: first.get("scope").and_then(|scope| scope.parse().ok()).filter(|scope: &Scope| !scope.is_empty()),
            error: first.get("error").map(quoted),
            error_description: first.get("error_description").map(quoted),
            dpop: dpop.peek().is_some(),
            nonce_wanted: dpop.any(|challenge| challenge.get("error") == Some(NONCE_WANTED)),
        }
    }
}

impl Challenge {
    /// Whether the token is valid but lacks a scope (RFC 6750 section 3.1).
    pub fn lacks_scope(&self) -> bool {
        self.error.as_deref() == Some("insufficient_scope")
    }
}

/// One `auth-scheme` and its parameters.
struct Scheme {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Scheme {
    /// Whether the scheme is `name`, in any case (RFC 9110 section 11.1).
    fn is(&self, name: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(name)
    }

    /// The first parameter `name`, in any case (RFC 9110 section 11.2).
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Parses one header value. Each step consumes at least one byte of `rest`, so the parser terminates.
struct Parser<'a> {
    rest: &'a [u8],
}

impl Parser<'_> {
    fn challenges(mut self) -> Vec<Scheme> {
        let mut challenges: Vec<Scheme> = Vec::new();
        loop {
            self.skip(|byte| byte == b',' || is_space(byte));
            if self.rest.is_empty() {
                return challenges;
            }
            let name = self.token();
            if name.is_empty() {
                self.skip_item();
                continue;
            }
            match (self.value(), challenges.last_mut()) {
                (Some(value), Some(challenge)) => challenge.parameters.push((name, value)),
                (Some(_), None) => {}
                (None, _) => {
                    challenges.push(Scheme { scheme: name, parameters: Vec::new() });
                    self.skip_token68();
                }
            }
        }
    }

    /// Parses `BWS "=" BWS ( token / quoted-string )`; consumes nothing if there is none.
    fn value(&mut self) -> Option<String> {
        let before = self.rest;
        self.skip(is_space);
        if !self.take(b'=') {
            self.rest = before;
            return None;
        }
        self.skip(is_space);
        if self.take(b'"') {
            return Some(self.quoted());
        }
        // Some servers send metadata URLs without quotes: take everything up to the next comma or space.
        let end = self.rest.iter().position(|&byte| byte == b',' || is_space(byte)).unwrap_or(self.rest.len());
        let (value, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// Parses the rest of a quoted string (RFC 9110 section 5.6.4). An unterminated string ends with the header value.
    fn quoted(&mut self) -> String {
        let mut value = Vec::new();
        while let Some((&byte, rest)) = self.rest.split_first() {
            self.rest = rest;
            match (byte, rest.split_first()) {
                (b'"', _) => break,
                (b'\\', Some((&escaped, rest))) => {
                    value.push(escaped);
                    self.rest = rest;
                }
                _ => value.push(byte),
            }
        }
        String::from_utf8_lossy(&value).into_owned()
    }

    fn token(&mut self) -> String {
        let end = self.rest.iter().position(|&byte| !is_token(byte)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        String::from_utf8_lossy(token).into_owned()
    }

    /// Skips a `token68` after a scheme (`Negotiate YII=`), if one ends the challenge.
    fn skip_token68(&mut self) {
        let before = self.rest;
        self.skip(is_space);
        self.skip(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
        self.skip(|byte| byte == b'=');
        self.skip(is_space);
        if !matches!(self.rest.first(), None | Some(b',')) {
            self.rest = before;
        }
    }

    /// Skips anything that is neither a scheme nor a parameter, up to the next comma outside quotes.
    fn skip_item(&mut self) {
        while let Some((&byte, rest)) = self.rest.split_first() {
            if byte == b',' {
                return;
            }
            self.rest = rest;
            if byte == b'"' {
                self.quoted();
            }
        }
    }

    fn skip(&mut self, condition: impl Fn(u8) -> bool) {
        let end = self.rest.iter().position(|&byte| !condition(byte)).unwrap_or(self.rest.len());
        self.rest = &self.rest[end..];
    }

    fn take(&mut self, byte: u8) -> bool {
        let rest = self.rest.strip_prefix(&[byte]);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// `tchar` (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::printable::tests::{hostile_text, is_printable};

    fn read(values: &[&[u8]]) -> Challenge {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_bytes(value).unwrap());
        }
        Challenge::from_headers(&headers)
    }

    fn scope(text: &str) -> Option<Scope> {
        Some(text.parse().unwrap())
    }

    /// t019: every notation that RFC 9110 allows, and some that it does not.
    #[test]
    fn t019_all_spellings_mean_the_same() {
        let pointer = "https://mcp.example/.well-known/oauth-protected-resource";
        let wanted =
            Challenge { resource_metadata: Some(pointer.to_owned()), scope: scope("a b"), ..Challenge::default() };
        for value in [
            format!(r#"Bearer resource_metadata="{pointer}", scope="b a""#),
            format!(r#"bearer RESOURCE_METADATA = "{pointer}" ,Scope= "a  b""#),
            format!(r#",, Bearer   scope="a b",resource_metadata="{pointer}",,"#),
            format!(r#"Basic realm="a, Bearer scope=\"x\"", Bearer scope="a b", resource_metadata="{pointer}""#),
            format!(
                r#"Negotiate YII+/==, Bearer scope="a b", resource_metadata={pointer}, Digest qop="auth", nonce="x""#
            ),
            format!(r#"Negotiate, Bearer scope="a b" resource_metadata="{pointer}""#),
            format!(r#"Bearer scope="\a b", resource_metadata="{pointer}""#),
            format!(r#"Bearer error="x", Bearer scope="a b", resource_metadata="{pointer}""#),
            format!(
                r#"Bearer scope="a b", resource_metadata="{pointer}", scope="z", resource_metadata="https://evil/""#
            ),
            format!(r#"scope="z", @@ "Bearer scope=y", Bearer scope="a b", resource_metadata="{pointer}"#),
        ] {
            assert_eq!(read(&[value.as_bytes()]), wanted, "{value}");
        }
        let apart = format!(r#"Bearer scope="a b", resource_metadata="{pointer}""#);
        assert_eq!(read(&[br#"Basic realm="x""#, apart.as_bytes()]), wanted);
    }

    /// RFC 9449 sections 7.1, 7.2 and 9.
    #[test]
    fn a_server_can_ask_for_a_bound_token() {
        for (value, dpop, nonce_wanted) in [
            (r#"Bearer scope="a""#, false, false),
            (r#"Bearer error="use_dpop_nonce", scope="a""#, false, false),
            (r#"DPoP algs="ES256", scope="a""#, true, false),
            (r#"Bearer scope="a", dpop algs="ES256 PS256""#, true, false),
            (r#"DPoP error="use_dpop_nonce", scope="a""#, true, true),
            (r#"Bearer scope="a", DPoP error="use_dpop_nonce""#, true, true),
        ] {
            let found = read(&[value.as_bytes()]);
            assert_eq!((found.dpop, found.nonce_wanted, found.scope), (dpop, nonce_wanted, scope("a")), "{value}");
        }
        let pointer = "https://mcp.example/.well-known/oauth-protected-resource";
        let found = read(&[br#"Bearer realm="x""#, format!(r#"DPoP resource_metadata="{pointer}""#).as_bytes()]);
        assert_eq!((found.resource_metadata.as_deref(), found.dpop), (Some(pointer), true));
    }

    #[test]
    fn an_error_is_read_and_cleaned() {
        let challenge =
            read(&["Bearer error=insufficient_scope, error_description=\"no\u{202e}w\u{9b}31m\"".as_bytes()]);
        assert_eq!(challenge.error.as_deref(), Some("insufficient_scope"));
        assert_eq!(challenge.error_description.as_deref(), Some("now31m"));
    }

    /// t016, t019: malformed challenges are ignored.
    #[test]
    fn t019_malformed_challenges_are_ignored() {
        let nothing = Challenge::default();
        let long = format!(r#"Bearer scope="{}""#, "a ".repeat(LIMIT));
        for value in [
            &b""[..],
            b"Bearer",
            b"Basic realm=\"x\"",
            b"Bearerx scope=\"a\"",
            b"scope=\"a\"",
            b"\"Bearer scope=a",
            b"Bearer scope=\"a\\\" b\"",
            b"Bearer scope=\"\xff\"",
            b"Bearer scope=\"\"",
            b"=,=,=",
            long.as_bytes(),
        ] {
            assert_eq!(read(&[value]), nothing, "{value:?}");
        }
        // Values beyond the limit are ignored, even if each is short.
        assert_eq!(read(&[&b"x ".repeat(LIMIT / 2)[..], b"Bearer error=a"]), nothing);
    }

    /// A challenge: its scheme, the text of the rest, and the parameters in that text.
    fn any_challenge() -> impl Strategy<Value = (String, String, Vec<(String, String)>)> {
        let token = || "[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,8}";
        let value = (any::<bool>(), token(), r#"[ -~\t]{0,12}"#).prop_map(|(is_quoted, token, text)| match is_quoted {
            true => (format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"")), text),
            false => (token.clone(), token),
        });
        let parameter = (token(), "[ \t]?=[ \t]?", value);
        let parameters = (proptest::collection::vec(parameter, 1..4), "[ \t]?,[ \t]?").prop_map(|(all, comma)| {
            let spelled = all.iter().map(|(name, equals, (spelled, _))| format!("{name}{equals}{spelled}"));
            let spelled = format!(" {}", spelled.collect::<Vec<_>>().join(&comma));
            (spelled, all.into_iter().map(|(name, _, (_, meant))| (name, meant)).collect())
        });
        let token68 = "( [a-zA-Z0-9._~+/-]{1,9}={0,2})?".prop_map(|spelled| (spelled, Vec::new()));
        (token(), prop_oneof![parameters, token68]).prop_map(|(scheme, (spelled, meant))| (scheme, spelled, meant))
    }

    proptest! {
        /// t113: in a token or in a quoted string.
        #[test]
        fn t113_no_hostile_character_survives_in_a_challenge(text in hostile_text()) {
            let text = text.replace(['"', '\\', '\r', '\n', '\0'], "");
            let value = format!("Bearer error=\"{text}\", error_description=\"{text}\"");
            if let Ok(value) = http::HeaderValue::from_bytes(value.as_bytes()) {
                let challenge = Challenge::from_headers(&HeaderMap::from_iter([(WWW_AUTHENTICATE, value)]));
                for said in [challenge.error, challenge.error_description].into_iter().flatten() {
                    prop_assert!(is_printable(&said));
                }
            }
        }

        /// t019: any bytes at all.
        #[test]
        fn t019_never_panics(value in proptest::collection::vec(any::<u8>(), 0..600)) {
            for challenge in (Parser { rest: &value }).challenges() {
                prop_assert!(!challenge.scheme.is_empty());
            }
        }

        /// t019: the significant characters in any order.
        #[test]
        fn t019_never_panics_on_near_misses(value in r#"(Bearer|Basic|scope|=|"|\\|,| |x){0,40}"#) {
            Parser { rest: value.as_bytes() }.challenges();
        }

        /// t019: any challenges, in any notation that the grammar allows (RFC 9110 sections 5.6 and 11.6.1), are parsed
        /// back.
        #[test]
        fn t019_challenges_are_parsed_back(
            challenges in proptest::collection::vec(any_challenge(), 0..4),
            separator in "( ?,[ \t]?){1,3}",
        ) {
            let text = challenges.iter().map(|(scheme, spelled, _)| format!("{scheme}{spelled}")).collect::<Vec<_>>();
            let read: Vec<(String, Vec<(String, String)>)> = (Parser { rest: text.join(&separator).as_bytes() })
                .challenges()
                .into_iter()
                .map(|challenge| (challenge.scheme, challenge.parameters))
                .collect();
            let meant: Vec<_> = challenges.into_iter().map(|(scheme, _, parameters)| (scheme, parameters)).collect();
            prop_assert_eq!(read, meant);
        }

        #[test]
        fn a_quoted_value_comes_back_as_it_was(text in r#"[ -~]{0,80}"#) {
            let quoted = text.replace('\\', r"\\").replace('"', "\\\"");
            let challenge = read(&[format!(r#"Basic a="b", Bearer x=y, resource_metadata="{quoted}", Digest"#).as_bytes()]);
            prop_assert_eq!(challenge.resource_metadata, Some(text));
        }
    }
}
