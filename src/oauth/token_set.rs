//! Token responses.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use oauth2::{AccessToken, RefreshToken, basic::BasicTokenType};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    oauth::{error::TokenError, holder, jwt, protected_resource, scope::Scope},
    printable::quoted,
    secret::Secret,
    server_url::ServerUrl,
};

/// The type of an access token (RFC 6749 section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// Sent as it is (RFC 6750).
    Bearer,
    /// Sent with a proof of possession of the key that it is bound to (RFC 9449).
    Dpop,
}

impl TokenType {
    /// The name in responses, challenges and the `Authorization` header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        }
    }
}

/// A successful token response (RFC 6749 section 5.1), with times made absolute.
#[derive(Debug, Clone)]
pub struct TokenSet {
    /// The access token, checked to be a valid header value.
    pub access_token: Secret,
    /// The refresh token. A server that rotates refresh tokens invalidates it with each use.
    pub refresh_token: Option<Secret>,
    /// When the access token was issued, by this machine's clock.
    pub issued_at: Timestamp,
    /// When the access token expires; `None` if the server does not say. Between `issued_at` and a year later.
    pub expires_at: Option<Timestamp>,
    /// The granted scope; `None` if the server does not say, which means the requested one.
    pub scope: Option<Scope>,
    /// The user and the organisation that the tokens name ([`holder::in_tokens`]). For display only.
    pub person: Option<String>,
    /// The ID token (OpenID Connect Core 1.0 section 3.1.3.3), if it is a valid header value.
    pub id_token: Option<Secret>,
}

/// A lenient token response for the `oauth2` crate, whose own type rejects harmless deviations that are common.
#[derive(Debug, Deserialize)]
pub struct TokenResponse {
    access_token: AccessToken,
    token_type: Option<String>,
    /// Raw, because a number that overflows must not invalidate the response.
    expires_in: Option<Box<RawValue>>,
    refresh_token: Option<RefreshToken>,
    scope: Option<ScopeText>,
    #[serde(default, deserialize_with = "id_token")]
    id_token: Option<Secret>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ScopeText {
    Text(String),
    List(Vec<String>),
    Other(IgnoredAny),
}

/// The longest accepted lifetime of a token.
const LONGEST_LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);

/// An `expires_in` of more than ten years is a Unix time, not a lifetime.
const LARGEST_LIFETIME: f64 = 10.0 * 365.0 * 86400.0;

/// The longest accepted access token, in bytes. Servers and proxies refuse far shorter headers.
const LONGEST_TOKEN: usize = 64 << 10;

impl TokenResponse {
    /// Validates the response to a request for a token of type `wanted`, and makes its times absolute.
    ///
    /// # Errors
    /// [`TokenError::Unusable`] for a token of another type (RFC 6749 section 7.1), including an unbound token where a
    /// DPoP-bound one was requested (RFC 9449 section 5), and for a token that is not a valid header value, which could
    /// inject headers.
    pub fn into_token_set(self, wanted: TokenType, now: Timestamp) -> Result<TokenSet, TokenError> {
        match (wanted, self.token_type) {
            (TokenType::Bearer, None) => {}
            (wanted, Some(name)) if name.eq_ignore_ascii_case(wanted.name()) => {}
            (TokenType::Bearer, _) => return Err(TokenError::Unusable("its `token_type` is not Bearer")),
            (TokenType::Dpop, _) => return Err(TokenError::Unusable("its `token_type` is not DPoP")),
        }
        let access_token = Secret::new(self.access_token.into_secret());
        let token = access_token.expose();
        if token.is_empty() || token.len() > LONGEST_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Unusable("its access token is not a valid header value"));
        }
        let stated = self.expires_in.and_then(|text| lifetime(text.get(), now)).map(|lifetime| now + lifetime);
        // The resource server enforces the token's own `exp` claim. If it is in the past, this machine's clock is
        // wrong, because no server issues an expired token.
        let claimed = jwt::expiry(token).filter(|end| *end > now).map(|end| end.min(now + LONGEST_LIFE));
        let refresh_token = self.refresh_token.map(RefreshToken::into_secret).filter(|token| !token.is_empty());
        Ok(TokenSet {
            refresh_token: refresh_token.map(Secret::new),
            issued_at: now,
            expires_at: claimed.or(stated),
            scope: self.scope.and_then(ScopeText::into_scope).filter(|scope| !scope.is_empty()),
            person: holder::in_tokens(self.id_token.iter().map(Secret::expose).chain([token]).map(String::as_str)),
            id_token: self.id_token.filter(|token| jwt::is_jwt(token.expose())),
            access_token,
        })
    }
}

impl ScopeText {
    fn into_scope(self) -> Option<Scope> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::List(tokens) => tokens.iter().try_fold(Scope::default(), |scope, token| scope.with(token)).ok(),
            Self::Other(_) => None,
        }
    }
}

/// The lifetime in `expires_in`: seconds as a number or a string, or a Unix time; `None` for any other value. (RFC 6749
/// section 5.1 allows whole seconds only.)
fn lifetime(json: &str, now: Timestamp) -> Option<SignedDuration> {
    let seconds: f64 = json.trim_matches('"').trim().parse().ok().filter(|seconds: &f64| !seconds.is_nan())?;
    let seconds = if seconds > LARGEST_LIFETIME { seconds - now.as_duration().as_secs_f64() } else { seconds };
    // Clamped, so the conversion loses at most a fraction.
    Some(SignedDuration::from_secs(seconds.clamp(0.0, LONGEST_LIFE.as_secs_f64()) as i64))
}

impl TokenSet {
    /// The access token's audience if it is not `resource` (RFC 8707 section 2, RFC 7519 section 4.1.3), cleaned.
    /// `None` if the audience is `resource` or a parent path at its origin, or is missing.
    pub fn other_audience(&self, resource: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Claims {
            aud: jwt::Audience,
        }
        let Claims { aud } = jwt::claims(self.access_token.expose())?;
        let audience = aud.into_texts();
        let url = resource.parse::<ServerUrl>().ok();
        let is_own = |audience: &String| {
            audience == resource || url.as_ref().is_some_and(|url| protected_resource::covers(audience, url))
        };
        (!audience.iter().any(is_own)).then(|| quoted(&audience.join(", ")))
    }
}

/// An ID token; a member of another type is ignored. It comes directly from the token endpoint, so TLS replaces the
/// check of its signature (OpenID Connect Core 1.0 section 3.1.3.7).
fn id_token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Text {
        Text(String),
        Other(IgnoredAny),
    }
    Ok(match Text::deserialize(deserializer)? {
        Text::Text(token) => Some(Secret::new(token)),
        Text::Other(_) => None,
    })
}

/// The `oauth2` crate requires `Serialize`. Tokens are never serialised.
impl Serialize for TokenResponse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl oauth2::TokenResponse for TokenResponse {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &BasicTokenType::Bearer
    }

    fn expires_in(&self) -> Option<Duration> {
        None
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<oauth2::Scope>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_763_600_000;

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }

    fn read(body: &str) -> Result<TokenSet, TokenError> {
        let response: TokenResponse =
            serde_json::from_str(body).map_err(|_| TokenError::Unusable("it cannot be parsed"))?;
        response.into_token_set(TokenType::Bearer, now())
    }

    fn with(member: &str, value: Value) -> Result<TokenSet, TokenError> {
        let mut document = json!({"access_token": "a.b-c_d~e+f/g==", "token_type": "Bearer"});
        document[member] = value;
        read(&document.to_string())
    }

    fn jwt(claims: &Value) -> String {
        format!("eyJ0.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    /// Seconds until the token expires.
    fn life(set: &TokenSet) -> Option<i64> {
        set.expires_at.map(|end| end.as_second() - NOW)
    }

    /// t052, t053, t054: every format of `expires_in` is understood; an invalid one gives no lifetime, or a year at
    /// most.
    #[test]
    fn t054_every_format_of_expires_in() {
        const YEAR: i64 = 365 * 86400;
        for (expires_in, seconds) in [
            ("3600", Some(3600)),
            ("\"3600\"", Some(3600)),
            ("\" 3600 \"", Some(3600)),
            ("3600.7", Some(3600)),
            ("\"3600.0\"", Some(3600)),
            ("3.6e3", Some(3600)),
            ("1763603600", Some(3600)),
            ("\"1763603600\"", Some(3600)),
            ("1", Some(1)),
            ("0", Some(0)),
            ("-1", Some(0)),
            ("-1e400", Some(0)),
            ("1000000000", Some(0)),
            ("315360000", Some(YEAR)),
            ("1e400", Some(YEAR)),
            ("18446744073709551616", Some(YEAR)),
            ("1763603600000", Some(YEAR)),
            ("null", None),
            ("true", None),
            ("\"soon\"", None),
            ("\"NaN\"", None),
            ("[3600]", None),
            ("{}", None),
        ] {
            let set =
                read(&format!(r#"{{"access_token":"t","token_type":"Bearer","expires_in":{expires_in}}}"#)).unwrap();
            assert_eq!(life(&set), seconds, "{expires_in}");
        }
        assert_eq!(life(&read(r#"{"access_token":"t","token_type":"Bearer"}"#).unwrap()), None);
    }

    /// The token's `exp` claim takes precedence if it is plausible.
    #[test]
    fn the_exp_claim_takes_precedence() {
        for (exp, expires_in, seconds) in [
            (json!(NOW + 600), json!(3600), Some(600)),
            (json!(NOW + 600), json!(NOW + 3600), Some(600)),
            (json!(NOW + 600), json!(null), Some(600)),
            (json!(NOW as f64 + 600.5), json!("x"), Some(600)),
            (json!(NOW + 600), json!(0), Some(600)),
            (json!(NOW - 600), json!(3600), Some(3600)),
            (json!(NOW - 600), json!(null), None),
            (json!(NOW + NOW), json!(3600), Some(365 * 86400)),
            (json!(1e300), json!(3600), Some(3600)),
            (json!("600"), json!(3600), Some(3600)),
            (json!(null), json!(3600), Some(3600)),
        ] {
            let document = json!({"access_token": jwt(&json!({"exp": exp})), "expires_in": expires_in});
            assert_eq!(life(&read(&document.to_string()).unwrap()), seconds, "{exp} {expires_in}");
        }
        for token in ["a.b", "a.b.c", "a.b.c.d", "..", "a.e30.c"] {
            assert_eq!(jwt::expiry(token), None, "{token}");
        }
    }

    /// The user's name is cleaned, and an invalid ID token does not invalidate the response.
    #[test]
    fn the_user_in_the_tokens() {
        for (id_token, person) in [
            (json!(jwt(&json!({"email": "m@a.example", "preferred_username": "m"}))), Some("m@a.example")),
            (json!(jwt(&json!({"email": "", "preferred_username": "m"}))), Some("m")),
            (json!(jwt(&json!({"email": 7, "preferred_username": " \u{1b}[2Jm\u{202e} "}))), Some("[2Jm")),
            (json!(jwt(&json!({"sub": "8f2"}))), None),
            (json!(jwt(&json!({"email": "m@a.example", "org_name": "A Inc."}))), Some("m@a.example of A Inc.")),
            (json!(jwt(&json!({"name": "M", "hd": "a.example"}))), Some("M of a.example")),
            (json!(jwt(&json!({"organization_name": "A Inc.", "org_name": "B", "company_name": 7}))), Some("B")),
            (json!(jwt(&json!({"email": "", "name": 7, "organization": {"id": "x"}}))), None),
            (json!(jwt(&json!({"name": "M", "organization": "A \u{1b}[31mInc"}))), Some("M of A [31mInc")),
            (json!(jwt(&json!("email"))), None),
            (json!("a.b.c"), None),
            (json!(null), None),
            (json!({"email": "m@a.example"}), None),
        ] {
            assert_eq!(with("id_token", id_token.clone()).unwrap().person.as_deref(), person, "{id_token}");
            // An access token that is a JWT can name them, too.
            if id_token.is_string() {
                assert_eq!(with("access_token", id_token.clone()).unwrap().person.as_deref(), person, "{id_token}");
            }
        }
    }

    /// t045: an audience must be the resource or a parent path; a token without an audience is accepted.
    #[test]
    fn t045_the_audience_of_a_token() {
        const RESOURCE: &str = "https://mcp.example/v1/mcp";
        let other = |claims: &Value, resource: &str| {
            let body = json!({"access_token": jwt(claims)}).to_string();
            read(&body).unwrap().other_audience(resource)
        };
        for audience in [
            json!(RESOURCE),
            json!("https://mcp.example/v1/mcp/"),
            json!("https://mcp.example"),
            json!(["https://bank.example", RESOURCE]),
            json!(null),
            json!(7),
        ] {
            assert_eq!(other(&json!({"aud": audience}), RESOURCE), None, "{audience}");
        }
        assert_eq!(other(&json!({"sub": "x"}), RESOURCE), None);
        assert_eq!(with("x", json!(1)).unwrap().other_audience(RESOURCE), None);
        for (audience, shown) in [
            (json!("https://bank.example/mcp"), "https://bank.example/mcp"),
            (json!("https://mcp.example/v1/mcp/x"), "https://mcp.example/v1/mcp/x"),
            (json!("https://mcp.example.evil/v1/mcp"), "https://mcp.example.evil/v1/mcp"),
            (json!(["api", "\u{1b}[2Jb"]), "api, [2Jb"),
            (json!([]), ""),
        ] {
            assert_eq!(other(&json!({"aud": audience}), RESOURCE).as_deref(), Some(shown));
        }
        assert_eq!(other(&json!({"aud": "urn:x"}), "urn:x"), None);
        assert_eq!(other(&json!({"aud": RESOURCE}), "urn:x").as_deref(), Some(RESOURCE));
    }

    /// t050: bearer tokens only; a missing `token_type` means bearer.
    #[test]
    fn t050_token_types() {
        for good in [json!("Bearer"), json!("bearer"), json!("bEaReR"), json!(null)] {
            assert!(with("token_type", good.clone()).is_ok(), "{good}");
        }
        for bad in [json!("mac"), json!("DPoP"), json!("N_A"), json!(""), json!("Bearer "), json!(1), json!(["Bearer"])]
        {
            assert!(with("token_type", bad.clone()).is_err(), "{bad}");
        }
    }

    /// t050: an unbound token is refused if a bound one was requested.
    #[test]
    fn t050_a_bound_token() {
        let bound = |kind: Value| {
            let response = json!({"access_token": "t", "token_type": kind}).to_string();
            let response: TokenResponse = serde_json::from_str(&response).unwrap();
            response.into_token_set(TokenType::Dpop, now())
        };
        assert!(bound(json!("DPoP")).is_ok() && bound(json!("dpop")).is_ok());
        for bad in [json!("Bearer"), json!(null), json!("mac"), json!("")] {
            assert!(bound(bad.clone()).is_err(), "{bad}");
        }
    }

    /// t051: a token must be a valid header value.
    #[test]
    fn t051_tokens_that_are_not_a_header_value() {
        for bad in ["", " ", "a b", "a\r\nX: y", "a\u{0}", "é", "a\t", "a\u{7f}", &"x".repeat(LONGEST_TOKEN + 1)] {
            assert!(with("access_token", json!(bad)).is_err(), "{bad:?}");
        }
        assert!(with("access_token", json!("1|laravel:x")).is_ok());
        for bad in [json!(null), json!(1), json!({}), json!(["t"])] {
            assert!(with("access_token", bad).is_err());
        }
    }

    /// t059: two parsers could pick different ones.
    #[test]
    fn t059_no_duplicate_members() {
        for member in ["access_token", "refresh_token", "token_type", "expires_in", "scope"] {
            let body = format!(
                r#"{{"access_token":"t","refresh_token":"r","token_type":"Bearer","expires_in":1,"scope":"s","{member}":"x"}}"#
            );
            assert!(read(&body).is_err(), "{member}");
        }
        for body in ["", "<html>", "[]", r#"{"access_token":"t""#, "\u{feff}{\"access_token\":\"t\"}"] {
            assert!(read(body).is_err(), "{body}");
        }
    }

    /// t057, t058: an empty value counts as missing.
    #[test]
    fn t058_scope_and_refresh_token() {
        for (scope, wanted) in [
            (json!("b a"), Some("a b")),
            (json!(["b", "a"]), Some("a b")),
            (json!(""), None),
            (json!([]), None),
            (json!(null), None),
            (json!(1), None),
            (json!("a\nb"), None),
        ] {
            let found = with("scope", scope.clone()).unwrap().scope.map(|scope| scope.to_string());
            assert_eq!(found.as_deref(), wanted, "{scope}");
        }
        for (token, wanted) in [(json!("r"), Some("r")), (json!(""), None), (json!(null), None)] {
            let found = with("refresh_token", token).unwrap().refresh_token;
            assert_eq!(found.as_ref().map(|token| &token.expose()[..]), wanted);
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in r#"\{"access_token":"[ -~]{0,9}"(,"expires_in":[-0-9.eE"]{0,12}){0,2}\}?"#) {
            if let Ok(set) = read(&body) {
                prop_assert!(set.expires_at.is_none_or(|end| end >= now() && end <= now() + LONGEST_LIFE));
            }
        }

        #[test]
        fn expiry_is_at_most_one_year_ahead(expires_in in any::<f64>(), exp in any::<f64>()) {
            let claims = json!({"exp": exp});
            let document = json!({"access_token": jwt(&claims), "expires_in": expires_in});
            let end = read(&document.to_string()).unwrap().expires_at;
            prop_assert!(end.is_none_or(|end| end >= now() && end <= now() + LONGEST_LIFE));
        }

        #[test]
        fn a_token_comes_back_as_it_was(token in "[!-~]{1,200}") {
            let set = with("access_token", json!(token)).unwrap();
            prop_assert_eq!(set.access_token.expose(), &token);
        }
    }
}
