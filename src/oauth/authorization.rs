//! The authorization request that the user's browser opens, and validation of the response.

use std::borrow::Cow;

use http::StatusCode;
use oauth2::{AuthUrl, CsrfToken, PkceCodeChallenge, RedirectUrl, basic::BasicClient};
use url::{Url, form_urlencoded};

use crate::{
    oauth::{
        authorization_server::AuthorizationServer,
        error::{OAuthError, Untrusted},
        registration::ClientRegistration,
        scope::Scope,
        unknown_client,
    },
    secret::Secret,
    server_url::{ServerUrl, ServerUrlError},
};

/// An authorization request (RFC 6749 section 4.1.1) with PKCE (RFC 7636 section 4.3), and everything needed to
/// validate its response. Each is valid for one response.
#[derive(Debug)]
pub struct AuthorizationRequest {
    /// The URL for the user's browser, with all parameters.
    pub url: ServerUrl,
    /// The authorization endpoint.
    endpoint: ServerUrl,
    /// The PKCE verifier, for the token request.
    pub verifier: Secret,
    state: Secret,
    issuer: String,
    names_itself: bool,
}

/// The parameters of an [`AuthorizationRequest`].
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The `resource` parameter (RFC 8707 section 2.1).
    pub resource: Option<&'a str>,
    pub scope: Option<&'a Scope>,
    /// The thumbprint of the key that the authorization code is bound to (RFC 9449 section 10).
    pub dpop_jkt: Option<&'a str>,
    /// Further parameters for this server. A parameter that the request already has is left out: none may occur twice
    /// (RFC 6749 section 3.1).
    pub parameters: &'a [(String, String)],
}

/// A validated authorization response (RFC 6749 section 4.1.2).
#[derive(Debug)]
pub enum AuthorizationResponse {
    /// The code to exchange for tokens.
    Code(Secret),
    /// An error: `access_denied` if the user declined.
    Error(OAuthError),
}

/// Why a request to the redirect URI is not an acceptable authorization response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// Not a response to this request: a wrong or missing `state`, a repeated parameter, or neither code nor error. The
    /// real response may still arrive.
    #[error("this is not the response to the sign-in")]
    Unrelated,
    /// A response to this request from another issuer. Its content must not be used or shown (MCP authorization,
    /// "Authorization Response Validation").
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
}

impl AuthorizationRequest {
    /// Creates a request to `server`, with a verifier and a state of 256 random bits each.
    ///
    /// # Errors
    /// [`Untrusted`] if the server has no authorization endpoint or does not support S256.
    pub fn new(
        server: &AuthorizationServer,
        registration: &ClientRegistration,
        redirect_uri: &str,
        wanted: Wanted<'_>,
    ) -> Result<Self, Untrusted> {
        let endpoint = server.authorization_endpoint()?;
        let unusable = |reason| Untrusted::Url { member: "authorization_endpoint", reason };
        let redirect = RedirectUrl::new(redirect_uri.to_owned()).map_err(|_| unusable(ServerUrlError::Malformed))?;
        let client = BasicClient::new(oauth2::ClientId::new(registration.client_id.clone()))
            .set_auth_uri(AuthUrl::from_url(endpoint.as_url().clone()))
            .set_redirect_uri(redirect);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request =
            client.authorize_url(|| CsrfToken::new_random_len(32)).set_pkce_challenge(challenge).add_scopes(
                wanted.scope.into_iter().flat_map(Scope::iter).map(|token| oauth2::Scope::new(token.to_owned())),
            );
        if let Some(resource) = wanted.resource {
            request = request.add_extra_param("resource", resource);
        }
        if let Some(thumbprint) = wanted.dpop_jkt {
            request = request.add_extra_param("dpop_jkt", thumbprint);
        }
        let (mut url, state) = request.url();
        add_missing(&mut url, wanted.parameters);
        // OpenID Connect Core 1.0 section 11: servers ignore a request for offline access without a prompt for consent.
        if wanted.scope.is_some_and(|scope| scope.contains("offline_access")) {
            add_missing(&mut url, &[("prompt".to_owned(), "consent".to_owned())]);
        }
        Ok(Self {
            url: url.try_into().map_err(unusable)?,
            endpoint: endpoint.clone(),
            verifier: Secret::new(verifier.into_secret()),
            state: Secret::new(state.into_secret()),
            issuer: server.issuer.clone(),
            names_itself: server.names_itself,
        })
    }

    /// The request's parameters, without those in the endpoint's own query.
    pub fn parameters(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let of_endpoint = self.endpoint.as_url().query_pairs().count();
        self.url.as_url().query_pairs().skip(of_endpoint)
    }

    /// The URL for the user's browser if the server knows the request as `request_uri`: it has no other parameter than
    /// that and the client id (RFC 9126 section 4).
    ///
    /// # Errors
    /// [`Untrusted`] if that is not a URL.
    pub fn by_reference(&self, request_uri: &str) -> Result<ServerUrl, Untrusted> {
        let mut url = self.endpoint.as_url().clone();
        let client_id = self.parameters().find(|(name, _)| name == "client_id");
        url.query_pairs_mut().extend_pairs(client_id).append_pair("request_uri", request_uri);
        url.try_into().map_err(|reason| Untrusted::Url { member: "authorization_endpoint", reason })
    }

    /// Validates the query of a request to the redirect URI: first `state`, then `iss`, and only then the error or
    /// code.
    ///
    /// # Errors
    /// Any [`CallbackError`].
    pub fn judge(&self, query: &str) -> Result<AuthorizationResponse, CallbackError> {
        let state = only(query, "state")?.ok_or(CallbackError::Unrelated)?;
        if !Secret::new(state.into_owned()).same_as(&self.state) {
            return Err(CallbackError::Unrelated);
        }
        // RFC 9207 section 2.4, and the table of MCP authorization, "Authorization Response Validation": compared as
        // decoded, with no normalisation.
        match only(query, "iss")? {
            Some(issuer) if issuer != self.issuer => return Err(Untrusted::MixUp.into()),
            None if self.names_itself => return Err(Untrusted::MixUp.into()),
            _ => {}
        }
        let (code, error) = (only(query, "code")?, only(query, "error")?);
        let description = only(query, "error_description")?;
        match (code, error) {
            (_, Some(error)) => Ok(AuthorizationResponse::Error(OAuthError::new(&error, description.as_deref()))),
            (Some(code), None) if !code.is_empty() => Ok(AuthorizationResponse::Code(Secret::new(code.into_owned()))),
            _ => Err(CallbackError::Unrelated),
        }
    }

    /// Whether a redirect to `location` says that the server does not know the client: it leads not to the redirect
    /// URI, because an unknown client has none, but to the server's own page about this error.
    pub fn leads_to_unknown_client(&self, location: &str) -> bool {
        let Ok(target) = self.url.as_url().join(location) else { return false };
        let is_answer = self.url.as_url().query_pairs().any(|(name, value)| {
            name == "redirect_uri" && Url::parse(&value).is_ok_and(|uri| is_same_place(&uri, &target))
        });
        let says = |(name, value): (Cow<'_, str>, Cow<'_, str>)| {
            name == "error" && matches!(&*value, "invalid_client" | "unauthorized_client")
        };
        !is_answer && target.query_pairs().any(says)
    }
}

fn is_same_place(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin() && a.path() == b.path()
}

/// Whether a response to an authorization request, without a redirect, says that the server does not know the client or
/// its redirect URI. There is no standard format (RFC 6749 section 4.1.2.1: "inform the resource owner"): servers send
/// JSON with various codes, plain text or web pages, some with status 200.
pub fn says_unknown_client(status: StatusCode, body: &[u8]) -> bool {
    const WORDS: [&str; 12] = [
        "invalid client",
        "invalidclient",
        "unauthorized client",
        "unknown client",
        "unrecognized client",
        "unregistered client",
        "client id",
        "clientid",
        "client not",
        "client does not exist",
        "application not found",
        "redirect uri",
    ];
    let body = &body[..body.len().min(ANSWER_LIMIT)];
    if status.is_success() {
        return unknown_client::is_said_by(body);
    }
    let is_refusal = status.is_client_error() || status == StatusCode::INTERNAL_SERVER_ERROR;
    if !is_refusal || status == StatusCode::TOO_MANY_REQUESTS {
        return false;
    }
    let text = String::from_utf8_lossy(body).to_lowercase().replace(['_', '-'], " ");
    WORDS.iter().any(|words| text.contains(words))
}

/// How many bytes of a response to search.
const ANSWER_LIMIT: usize = 64 << 10;

/// Appends each parameter that the URL does not have.
fn add_missing(url: &mut Url, parameters: &[(String, String)]) {
    for (key, value) in parameters {
        if url.query_pairs().all(|(present, _)| present != key.as_str()) {
            url.query_pairs_mut().append_pair(key, value);
        }
    }
}

/// The value of a parameter, which must not occur twice (RFC 6749 section 3.1).
fn only<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, str>>, CallbackError> {
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(CallbackError::Unrelated),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use proptest::prelude::*;
    use serde_json::json;
    use sha2::{Digest, Sha256};

    use super::*;

    const ISSUER: &str = "https://as.example/t";

    /// b5, d6: responses with which servers reject an unknown client, and others that mean something else.
    #[test]
    fn b5_responses_that_reject_an_unknown_client() {
        let says =
            |status: u16, body: &str| says_unknown_client(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        for (status, body) in [
            (400, r#"{"error":"invalid_request","error_description":"Client ID 'x' not found"}"#),
            (400, r#"{"error":"invalid_client"}"#),
            (401, r#"{"error":"unauthorized_client"}"#),
            (422, r#"{"message":"Unrecognized client_id"}"#),
            (404, r#"{"message":"Application not found"}"#),
            (400, "<html><h1>Client Not Registered</h1>"),
            (403, "Unknown client"),
            (400, "unknown client or redirect URI"),
            (400, r#"{"error":"invalid_redirect_uri"}"#),
            (200, "<html>Client ID not found</html>"),
            (200, r#"{"error":"invalid_client"}"#),
            (500, "Error: Invalid client. The clientId provided does not match to this client."),
        ] {
            assert!(says(status, body), "{status} {body}");
        }
        for (status, body) in [
            (200, "<html>Sign in to client id"),
            (200, "<form>Client ID not found"),
            (204, ""),
            (302, "invalid_client"),
            (429, "too many requests of this client_id"),
            (503, "client_id"),
            (403, "<html><title>Just a moment...</title>"),
            (401, r#"{"error":"login_required"}"#),
            (400, r#"{"error":"invalid_scope"}"#),
            (404, ""),
            (405, "Method Not Allowed"),
        ] {
            assert!(!says(status, body), "{status} {body}");
        }
        let far = format!("{}invalid_client", " ".repeat(ANSWER_LIMIT));
        assert!(!says(400, &far) && !says(200, &far));
    }

    fn request_to(
        endpoint: &str,
        names_itself: bool,
        scope: Option<&str>,
        parameters: &[(&str, &str)],
    ) -> AuthorizationRequest {
        let document = json!({
            "issuer": ISSUER,
            "authorization_endpoint": endpoint,
            "token_endpoint": "https://as.example/token",
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": names_itself,
        });
        let server =
            AuthorizationServer::parse(document.to_string().as_bytes(), ISSUER, &ISSUER.parse().unwrap()).unwrap();
        let registration = ClientRegistration::public("c 1".to_owned());
        let scope = scope.map(|scope| scope.parse().unwrap());
        let parameters: Vec<_> =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let wanted = Wanted {
            resource: Some("https://mcp.example/mcp"),
            scope: scope.as_ref(),
            dpop_jkt: None,
            parameters: &parameters,
        };
        AuthorizationRequest::new(&server, &registration, "http://127.0.0.1:5000/callback", wanted).unwrap()
    }

    fn request(names_itself: bool) -> AuthorizationRequest {
        request_to("https://as.example/authorize", names_itself, None, &[])
    }

    /// b5: a redirect to the server's own error page can reject an unknown client; a redirect to the redirect URI does
    /// not.
    #[test]
    fn b5_a_redirect_can_reject_an_unknown_client() {
        let request = request(true);
        for (location, says) in [
            ("/api/auth/error?error=invalid_client&error_description=client_id+is+required", true),
            ("https://as.example/oops?error=unauthorized_client", true),
            ("https://login.example/error?x=1&error=invalid_client", true),
            ("http://127.0.0.1:5000/callback?error=invalid_client&state=x", false),
            ("http://127.0.0.1:5000/callback?error=unauthorized_client", false),
            ("/login?error=login_required", false),
            ("/login?next=%2Fauthorize%3Ferror%3Dinvalid_client", false),
            ("/login", false),
            ("http://[", false),
        ] {
            assert_eq!(request.leads_to_unknown_client(location), says, "{location}");
        }
    }

    fn pairs(request: &AuthorizationRequest) -> Vec<(String, String)> {
        request.url.as_url().query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
    }

    fn query(pairs: &[(&str, &str)]) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }

    /// t021, t043: the URL has the S256 challenge of a fresh verifier, the resource, and each parameter once.
    #[test]
    fn t043_the_url() {
        let request = request_to(
            "https://as.example/authorize?tenant=7",
            false,
            Some("b a"),
            &[("audience", "x y"), ("state", "evil"), ("client_id", "evil"), ("resource", "evil"), ("tenant", "evil")],
        );
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(request.verifier.expose()));
        let mut found = pairs(&request);
        found.sort();
        let mut wanted = [
            ("tenant", "7"),
            ("response_type", "code"),
            ("client_id", "c 1"),
            ("state", request.state.expose()),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("redirect_uri", "http://127.0.0.1:5000/callback"),
            ("scope", "a b"),
            ("resource", "https://mcp.example/mcp"),
            ("audience", "x y"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        wanted.sort();
        assert_eq!(found, wanted);
        assert!(request.url.as_str().starts_with("https://as.example/authorize?tenant=7&"));
    }

    #[test]
    fn offline_access_asks_for_consent() {
        let prompt = |parameters: &[(&str, &str)]| {
            let request = request_to("https://as.example/authorize", false, Some("a offline_access"), parameters);
            pairs(&request).into_iter().filter(|(key, _)| key == "prompt").collect::<Vec<_>>()
        };
        assert_eq!(prompt(&[]), [("prompt".to_owned(), "consent".to_owned())]);
        assert_eq!(prompt(&[("prompt", "login")]), [("prompt".to_owned(), "login".to_owned())]);
        assert!(!pairs(&request(false)).iter().any(|(key, _)| key == "prompt" || key == "scope"));
    }

    /// t021, t023: no verifier and no state repeats.
    #[test]
    fn t021_verifier_and_state_are_fresh() {
        let mut seen = HashSet::new();
        for _ in 0..10_000 {
            let request = request(false);
            assert!((43..=128).contains(&request.verifier.expose().len()) && request.state.expose().len() >= 43);
            assert!(seen.insert(request.verifier.expose().clone()) && seen.insert(request.state.expose().clone()));
        }
    }

    /// t023, t024, t025: without exactly one matching `state`, nothing else in the query is read.
    #[test]
    fn t023_another_state_is_unrelated() {
        let request = request(true);
        let state = request.state.expose().clone();
        for pairs in [
            &[("code", "c"), ("iss", ISSUER)][..],
            &[("code", "c"), ("iss", ISSUER), ("state", "")],
            &[("code", "c"), ("iss", ISSUER), ("state", "x")],
            &[("code", "c"), ("iss", ISSUER), ("state", &state[1..])],
            &[("code", "c"), ("iss", ISSUER), ("state", &format!("{state}x"))],
            &[("code", "c"), ("iss", ISSUER), ("state[]", &state)],
            &[("code", "c"), ("iss", ISSUER), ("State", &state)],
            &[("code", "c"), ("iss", ISSUER), ("state", &state), ("state", &state)],
            &[("code", "c"), ("iss", ISSUER), ("state", &state), ("state", "x")],
            &[("error", "access_denied"), ("iss", ISSUER)],
            &[("error", "access_denied"), ("iss", "https://evil.example"), ("state", "x")],
            // The right state but otherwise invalid: the real response may still arrive.
            &[("iss", ISSUER), ("state", &state)],
            &[("code", ""), ("iss", ISSUER), ("state", &state)],
            &[("code", "c"), ("code", "d"), ("iss", ISSUER), ("state", &state)],
            &[("error", "a"), ("error", "b"), ("iss", ISSUER), ("state", &state)],
            &[("code", "c"), ("iss", ISSUER), ("iss", ISSUER), ("state", &state)],
        ] {
            assert_eq!(request.judge(&query(pairs)).unwrap_err(), CallbackError::Unrelated, "{pairs:?}");
        }
        assert_eq!(request.judge("").unwrap_err(), CallbackError::Unrelated);
    }

    /// t026: the four rows of the specification's table, and near misses.
    #[test]
    fn t026_the_issuer_of_the_response() {
        for (promised, issuer, accepted) in [
            (true, Some(ISSUER), true),
            (true, None, false),
            (false, Some(ISSUER), true),
            (false, None, true),
            (true, Some(""), false),
            (false, Some(""), false),
            (true, Some("https://as.example/t/"), false),
            (true, Some("https://as.example"), false),
            (true, Some("https://AS.example/t"), false),
            (true, Some("HTTPS://as.example/t"), false),
            (true, Some("https://as.example:443/t"), false),
            (true, Some("https://as.example/%74"), false),
            (true, Some("https://as.example%2Ft"), false),
            (true, Some(" https://as.example/t"), false),
            (false, Some("https://evil.example"), false),
        ] {
            let request = request(promised);
            for answer in [("code", "c"), ("error", "access_denied")] {
                let mut pairs = vec![answer, ("state", request.state.expose())];
                pairs.extend(issuer.map(|issuer| ("iss", issuer)));
                let judged = request.judge(&query(&pairs));
                let refused = matches!(judged, Err(CallbackError::Untrusted(Untrusted::MixUp)));
                assert_eq!((judged.is_ok(), refused), (accepted, !accepted), "{promised} {issuer:?} {answer:?}");
            }
        }
    }

    /// t027: text from another issuer is not shown.
    #[test]
    fn t027_a_mix_up_shows_no_server_text() {
        let request = request(false);
        let answer = query(&[
            ("state", request.state.expose()),
            ("iss", "https://CANARY.example"),
            ("error", "CANARY"),
            ("error_description", "CANARY"),
            ("error_uri", "https://CANARY"),
        ]);
        let error = request.judge(&answer).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("CANARY"));
    }

    /// t025: an error beside a code is still an error, and its text is cleaned.
    #[test]
    fn t025_code_and_error() {
        let request = request(false);
        let state = request.state.expose();
        let judge = |pairs: &[(&str, &str)]| request.judge(&query(pairs)).unwrap();
        let AuthorizationResponse::Code(code) = judge(&[("code", "a+b/ c"), ("state", state), ("x", "y"), ("x", "z")])
        else {
            panic!("no code")
        };
        assert_eq!(code.expose(), "a+b/ c");
        for pairs in [
            &[("error", "access_denied"), ("error_description", "no\u{1b}[2J"), ("state", &state[..])][..],
            &[("code", "c"), ("error", "access_denied"), ("error_description", "no[2J"), ("state", state)],
        ] {
            let AuthorizationResponse::Error(error) = judge(pairs) else { panic!("a code") };
            assert_eq!(error.to_string(), "access_denied (\"no[2J\")");
        }
    }

    proptest! {
        #[test]
        fn no_query_makes_it_panic_or_passes(query in r"((code|state|iss|error)=?[%&+=a-f0-9]{0,9}&?){0,8}") {
            prop_assert!(matches!(request(false).judge(&query), Err(CallbackError::Unrelated)));
        }

        /// t023, t024, t025, t026: every response is validated by the rules in order.
        #[test]
        fn t023_t026_responses_are_validated_by_the_rules(
            promised in any::<bool>(),
            picks in proptest::collection::vec((0..5_usize, 0..3_usize), 0..7),
        ) {
            let request = request(promised);
            let state = request.state.expose();
            let values = [
                ("state", [state.as_str(), "x", ""]),
                ("iss", [ISSUER, "https://evil.example", "https://as.example/t/"]),
                ("code", ["c", "d", ""]),
                ("error", ["access_denied", "CANARY", ""]),
                ("x", ["y", state.as_str(), ISSUER]),
            ];
            let pairs: Vec<(&str, &str)> = picks.iter().map(|(name, value)| (values[*name].0, values[*name].1[*value])).collect();
            let all = |name: &str| pairs.iter().filter(|(key, _)| *key == name).map(|(_, value)| *value).collect::<Vec<_>>();
            let judged = request.judge(&query(&pairs));
            let wanted = match (&all("state")[..], &all("iss")[..], &all("code")[..], &all("error")[..]) {
                ([ours], ..) if ours != state => "unrelated",
                ([_], [_, _, ..], ..) => "unrelated",
                ([_], [issuer], ..) if *issuer != ISSUER => "untrusted",
                ([_], [], ..) if promised => "untrusted",
                ([_], _, [] | [_], [_]) => "error",
                ([_], _, [code], []) if !code.is_empty() => "code",
                _ => "unrelated",
            };
            let found = match judged {
                Ok(AuthorizationResponse::Code(_)) => "code",
                Ok(AuthorizationResponse::Error(_)) => "error",
                Err(CallbackError::Untrusted(_)) => "untrusted",
                Err(CallbackError::Unrelated) => "unrelated",
            };
            prop_assert_eq!(found, wanted, "{:?}", pairs);
        }

        #[test]
        fn a_code_comes_back_as_it_was(code in any::<String>()) {
            prop_assume!(!code.is_empty());
            let request = request(true);
            let answer = query(&[("code", &code), ("state", request.state.expose()), ("iss", ISSUER)]);
            let judged = request.judge(&answer);
            prop_assert!(matches!(judged, Ok(AuthorizationResponse::Code(found)) if *found.expose() == code));
        }
    }
}
