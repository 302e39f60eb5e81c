//! An access token in use, and how long it is valid.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use zeroize::Zeroizing;

use crate::{
    credential::{
        key_header::KeyHeader,
        record::{Bearer, Credential, Renewal},
    },
    http::client_certificate::ClientCertificate,
    oauth::{
        challenge::Challenge,
        dpop::{self, DpopKey},
        error::TokenError,
        jwt,
        scope::Scope,
        token_set::{TokenSet, TokenType},
    },
    secret::Secret,
    server_url::ServerUrl,
};

/// How long before its expiry a token is renewed at most, for clock differences and slow requests.
const LONGEST_MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// finmcp ignores a lifetime shorter than this.
const SHORTEST_LIFETIME: SignedDuration = SignedDuration::from_secs(1);

/// The lifetime that finmcp assumes instead, unless the resource server rejects the token: at most six renewals a
/// minute.
const ASSUMED_LIFETIME: SignedDuration = SignedDuration::from_secs(12);

/// An access token with its metadata. Cheap to clone; equal if the tokens are equal.
#[derive(Debug, Clone)]
pub struct AccessToken(Arc<Issued>);

#[derive(Debug)]
struct Issued {
    secret: Secret,
    presentation: Presentation,
    issued_at: Timestamp,
    expires_at: Option<Timestamp>,
    scope: Option<Scope>,
    /// The sign-in that it comes from.
    sign_in: String,
    /// The client's certificate, which it may be bound to (RFC 8705 section 3).
    certificate: Option<Arc<ClientCertificate>>,
}

/// How a token is presented to the server.
#[derive(Debug)]
enum Presentation {
    /// RFC 6750 section 2.1.
    Bearer,
    /// With a proof of the key that it is bound to (RFC 9449 section 7.1).
    Dpop(Arc<DpopKey>),
    /// As an API key, in the header that the vendor reads.
    ApiKey(KeyHeader),
}

impl AccessToken {
    /// The access token of `tokens`, which belong to `credential`. If the server named no scope, it granted the
    /// requested one (RFC 6749 section 5.1).
    pub(super) fn new(tokens: &TokenSet, credential: &Credential) -> Self {
        let id_token = tokens.id_token.as_ref().filter(|_| credential.bearer == Bearer::IdToken);
        Self(Arc::new(Issued {
            secret: id_token.unwrap_or(&tokens.access_token).clone(),
            presentation: match (&credential.renewal, &credential.dpop_key) {
                (Renewal::ApiKey(header), _) => Presentation::ApiKey(header.clone()),
                // An ID token is bound to no key.
                (_, Some(key)) if credential.bearer == Bearer::AccessToken => Presentation::Dpop(key.clone()),
                _ => Presentation::Bearer,
            },
            issued_at: tokens.issued_at,
            expires_at: id_token.map_or(tokens.expires_at, |token| jwt::expiry(token.expose())),
            scope: tokens.scope.as_ref().or(credential.scope.as_ref()).cloned(),
            sign_in: credential.sign_in_name(),
            certificate: credential.registration.certificate.clone(),
        }))
    }

    /// The token string.
    pub fn secret(&self) -> &Secret {
        &self.0.secret
    }

    /// Whether it is bound to a DPoP key, and useless without a proof.
    pub fn is_bound(&self) -> bool {
        self.key().is_some()
    }

    /// Whether it may be bound to a client certificate, which only finmcp shows (RFC 8705 section 3).
    pub fn has_certificate(&self) -> bool {
        self.0.certificate.is_some()
    }

    /// The DPoP key that it is bound to, with the nonces that servers sent.
    pub(super) fn key(&self) -> Option<&Arc<DpopKey>> {
        match &self.0.presentation {
            Presentation::Dpop(key) => Some(key),
            Presentation::Bearer | Presentation::ApiKey(_) => None,
        }
    }

    /// The certificate to show the server together with it.
    pub(super) fn certificate(&self) -> Option<&Arc<ClientCertificate>> {
        self.0.certificate.as_ref()
    }

    /// The sign-in that it comes from, by [`Credential::sign_in_name`].
    pub(super) fn sign_in(&self) -> &str {
        &self.0.sign_in
    }

    /// The scheme of the `Authorization` header.
    pub fn token_type(&self) -> TokenType {
        if self.is_bound() { TokenType::Dpop } else { TokenType::Bearer }
    }

    /// Adds it to the headers of one request: `method` at `url`, sent `now` (RFC 6750 section 2.1; RFC 9449 section
    /// 7.1).
    ///
    /// # Errors
    /// [`TokenError::Unusable`], or [`PrivateKeyError::Broken`](crate::oauth::private_key::PrivateKeyError::Broken).
    pub(super) fn authorize(
        &self,
        headers: &mut HeaderMap,
        method: &Method,
        url: &ServerUrl,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        let (name, value) = self.header()?;
        headers.insert(name, value);
        if let Some(key) = self.key() {
            headers.insert(dpop::PROOF, key.proof(method, url, Some(&self.0.secret), now)?);
        }
        Ok(())
    }

    /// The header that carries it; never shown in logs. A token that is bound to a key also needs a proof.
    ///
    /// # Errors
    /// [`TokenError::Unusable`] for a stored token that is not a valid header value.
    pub fn header(&self) -> Result<(HeaderName, HeaderValue), TokenError> {
        let unusable = TokenError::Unusable("its access token is not a valid header value");
        match &self.0.presentation {
            Presentation::ApiKey(header) => Ok((header.name().clone(), header.value(&self.0.secret).ok_or(unusable)?)),
            Presentation::Bearer | Presentation::Dpop(_) => {
                let value = Zeroizing::new(format!("{} {}", self.token_type().name(), self.0.secret.expose()));
                let mut value = HeaderValue::from_str(&value).map_err(|_| unusable)?;
                value.set_sensitive(true);
                Ok((header::AUTHORIZATION, value))
            }
        }
    }

    /// Stores the nonce in a response from `url` for the next proof (RFC 9449 section 8.2). Whether the server refused
    /// the request only because the nonce was missing, before processing it (section 9).
    pub fn lacked_nonce(&self, url: &ServerUrl, status: StatusCode, headers: &HeaderMap) -> bool {
        let has_nonce = self.key().is_some_and(|key| key.store_nonce(url, headers));
        has_nonce && status == StatusCode::UNAUTHORIZED && Challenge::from_headers(headers).nonce_wanted
    }

    /// When it expires, if the server said so.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.0.expires_at
    }

    /// The granted scope; none if the server named none and finmcp requested none.
    pub fn scope(&self) -> Option<&Scope> {
        self.0.scope.as_ref()
    }

    /// The time until it expires at `now`; none if unknown, until a 401.
    pub(super) fn remaining(&self, now: Timestamp) -> Option<SignedDuration> {
        Some(self.lifetime()? - now.duration_since(self.0.issued_at))
    }

    /// Whether it has not expired at `now`.
    pub(super) fn is_usable(&self, now: Timestamp) -> bool {
        self.remaining(now).is_none_or(|remaining| remaining.is_positive())
    }

    /// Whether it is valid for another `min_ttl`, and not within the safety margin before its expiry: a tenth of its
    /// lifetime, at most a minute, plus up to a quarter for `haste` from 0 to 1. `min_ttl` counts for at most nine
    /// tenths of the lifetime, or every call would renew the token.
    pub(super) fn lasts(&self, min_ttl: Duration, haste: f64, now: Timestamp) -> bool {
        let (Some(lifetime), Some(remaining)) = (self.lifetime(), self.remaining(now)) else { return true };
        let margin = LONGEST_MARGIN.min(lifetime / 10).as_secs_f64() * (1.0 + haste / 4.0);
        let margin = SignedDuration::from_secs_f64(margin);
        let wanted = SignedDuration::try_from(min_ttl).unwrap_or(SignedDuration::MAX).min(lifetime / 10 * 9);
        remaining > margin.max(wanted)
    }

    /// The time from its issue to its expiry; none if unknown.
    pub fn lifetime(&self) -> Option<SignedDuration> {
        let lifetime = self.0.expires_at?.duration_since(self.0.issued_at);
        Some(if lifetime < SHORTEST_LIFETIME { ASSUMED_LIFETIME } else { lifetime })
    }
}

impl PartialEq for AccessToken {
    fn eq(&self, other: &Self) -> bool {
        self.0.secret.same_as(&other.0.secret)
    }
}

impl Eq for AccessToken {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::record::tests::sample;

    const ISSUED: Timestamp = Timestamp::UNIX_EPOCH;

    fn token(lifetime: Option<f64>) -> AccessToken {
        let tokens = TokenSet {
            access_token: Secret::new("t".to_owned()),
            refresh_token: None,
            issued_at: ISSUED,
            expires_at: lifetime.map(after),
            scope: None,
            person: None,
            id_token: None,
        };
        AccessToken::new(&tokens, &sample())
    }

    fn bound_token() -> AccessToken {
        let dpop_key = Some(Arc::new(DpopKey::generate().unwrap()));
        let credential = Credential { dpop_key, ..sample() };
        AccessToken::new(credential.tokens.as_ref().unwrap(), &credential)
    }

    fn after(seconds: f64) -> Timestamp {
        ISSUED + SignedDuration::from_secs_f64(seconds)
    }

    /// Lifetime, and how long finmcp uses the token: without haste, with haste, and with a `min_ttl` of 300 s.
    #[test]
    fn t053_the_margin_fits_the_lifetime() {
        for (lifetime, used, used_in_haste, used_with_wish) in [
            (86_400.0, 86_340.0, 86_325.0, 86_100.0),
            (3600.0, 3540.0, 3525.0, 3300.0),
            (300.0, 270.0, 262.5, 30.0),
            (5.0, 4.5, 4.375, 0.5),
            (1.0, 0.9, 0.875, 0.1),
        ] {
            let token = token(Some(lifetime));
            for (min_ttl, haste, used) in
                [(0, 0.0, used), (0, 1.0, used_in_haste), (300, 0.0, used_with_wish), (300, 1.0, used_with_wish)]
            {
                let min_ttl = Duration::from_secs(min_ttl);
                assert!(token.lasts(min_ttl, haste, after(used - 0.01)), "{lifetime} {min_ttl:?} {haste}");
                assert!(!token.lasts(min_ttl, haste, after(used + 0.01)), "{lifetime} {min_ttl:?} {haste}");
            }
            assert!(token.is_usable(after(lifetime - 0.01)));
            assert!(!token.is_usable(after(lifetime)));
        }
    }

    /// RFC 6750 section 2.1 and RFC 9449 section 7.1.
    #[test]
    fn the_authorization_scheme_fits_the_token() {
        let url: ServerUrl = "https://mcp.example/mcp".parse().unwrap();
        let mut headers = HeaderMap::new();
        token(None).authorize(&mut headers, &Method::POST, &url, ISSUED).unwrap();
        assert_eq!(headers[header::AUTHORIZATION], "Bearer t");
        assert!(headers[header::AUTHORIZATION].is_sensitive() && !headers.contains_key(dpop::PROOF));

        let bound = bound_token();
        bound.authorize(&mut headers, &Method::POST, &url, ISSUED).unwrap();
        assert_eq!(headers[header::AUTHORIZATION], "DPoP CANARY-access");
        assert!(headers.contains_key(dpop::PROOF));
    }

    /// A damaged store may hold a token that cannot be sent: finmcp sends no request instead of one without a token.
    #[test]
    fn a_token_that_is_not_a_header_value_is_an_error() {
        let url: ServerUrl = "https://mcp.example/mcp".parse().unwrap();
        let secret = || Secret::new("a\r\nb".to_owned());
        let tokens = TokenSet { access_token: secret(), ..sample().tokens.unwrap() };
        for renewal in [Renewal::RefreshToken, Renewal::ApiKey("x-key".parse().unwrap())] {
            let token = AccessToken::new(&tokens, &Credential { renewal, ..sample() });
            let mut headers = HeaderMap::new();
            let error = token.authorize(&mut headers, &Method::POST, &url, ISSUED).unwrap_err();
            assert!(matches!(error, TokenError::Unusable(_)) && headers.is_empty(), "{error}");
        }
    }

    /// Only for a bound token, and for a 401 that asks for a nonce and contains one.
    #[test]
    fn when_a_request_lacked_only_a_nonce() {
        let url: ServerUrl = "https://mcp.example/mcp".parse().unwrap();
        let bound = bound_token();
        let answer = |challenge: &str, nonce: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
            if let Some(nonce) = nonce {
                headers.insert("dpop-nonce", nonce.parse().unwrap());
            }
            headers
        };
        let wants = r#"DPoP error="use_dpop_nonce", error_description="x""#;
        for (token, status, headers, lacked) in [
            (&bound, 401, answer(wants, Some("n")), true),
            (&bound, 401, answer(wants, None), false),
            (&bound, 401, answer(wants, Some("a b")), false),
            (&bound, 401, answer(r#"DPoP error="invalid_token""#, Some("n")), false),
            (&bound, 400, answer(wants, Some("n")), false),
            (&bound, 200, answer(wants, Some("n")), false),
            (&token(None), 401, answer(wants, Some("n")), false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(token.lacked_nonce(&url, status, &headers), lacked, "{status} {headers:?}");
        }
    }

    /// t052: without a lifetime the token is valid until a 401.
    #[test]
    fn t052_an_unknown_lifetime_does_not_end() {
        assert!(token(None).lasts(Duration::MAX, 0.0, after(1e10)));
        assert!(token(None).is_usable(after(1e10)));
    }

    /// t054: finmcp uses a token that is issued as expired for a while.
    #[test]
    fn t054_invalid_lifetimes_cause_no_renewal_storm() {
        for lifetime in [0.0, -1.0, -1e9, 0.4] {
            assert!(token(Some(lifetime)).lasts(Duration::MAX, 0.0, after(1.0)), "{lifetime}");
            assert!(token(Some(lifetime)).lasts(Duration::ZERO, 0.0, after(10.5)), "{lifetime}");
            assert!(!token(Some(lifetime)).lasts(Duration::ZERO, 0.0, after(11.0)), "{lifetime}");
        }
    }

    /// t055: a clock jump causes no panic; a 401 corrects a wrong result.
    #[test]
    fn t055_clock_jumps_do_no_harm() {
        let token = token(Some(3600.0));
        assert!(token.lasts(Duration::from_secs(60), 0.0, after(-86_400.0)));
        assert!(!token.is_usable(after(86_400.0)));
        assert!(!token.is_usable(Timestamp::MAX));
        assert!(token.is_usable(Timestamp::MIN));
    }
}
