//! What a server's response says about the request's token, and with which token the request may be sent again.
//!
//! A server that refuses a token refuses the request before processing it (RFC 6750 section 3.1), and so does one that
//! requires a nonce in the DPoP proof (RFC 9449 section 9). The retry limits (`mcp::attempts`) decide whether the
//! request may be sent again.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::{
    credential::{
        access_token::AccessToken,
        error::{LoginReason, TokenSourceError},
        token_source::TokenSource,
    },
    mcp::attempts::{Attempts, Reason},
    oauth::challenge::Challenge,
    server_url::ServerUrl,
};

/// What to do with a request, as far as its token is concerned.
#[derive(Debug)]
pub enum Judgement {
    /// The response is final: the server accepted the token, or refused for a reason that no other token would change.
    Accepted,
    /// The server processed nothing and may accept this token. The retry limits allow another try.
    Retry(AccessToken),
    /// The server processed nothing, and there is no other token to try.
    Refused(RefusalReason),
}

/// Why a server refuses all available tokens.
#[derive(Debug)]
pub enum RefusalReason {
    /// A 401 for a new token (`invalid_token`, RFC 6750 section 3.1).
    InvalidToken,
    /// The token is valid but lacks scope (`insufficient_scope`, RFC 6750 section 3.1).
    InsufficientScope {
        /// The missing scope, if the server names it.
        missing: Option<String>,
        /// The scope that a new sign-in needs: the granted and the missing scope (MCP authorization, "Step-Up
        /// Authorization Flow"). Empty if the server does not name the missing scope.
        wanted: Vec<String>,
    },
    /// The server requires another token, and there is none.
    NoToken(TokenSourceError),
}

impl RefusalReason {
    fn insufficient_scope(narrow: Option<&AccessToken>, challenge: &Challenge) -> Self {
        let Some(missing) = &challenge.scope else {
            return Self::InsufficientScope { missing: None, wanted: Vec::new() };
        };
        let granted = narrow.and_then(AccessToken::scope);
        let wanted = granted.map_or_else(|| missing.clone(), |granted| granted.union(missing));
        let wanted = wanted.iter().map(str::to_owned).collect();
        Self::InsufficientScope { missing: Some(missing.to_string()), wanted }
    }
}

impl TokenSource {
    /// Judges the response of the server at `url` to a request with `token`. Gets another token if that may help and
    /// `attempts` admits another try.
    pub async fn judge(
        &self,
        token: Option<&AccessToken>,
        url: &ServerUrl,
        status: StatusCode,
        headers: &HeaderMap,
        attempts: &Attempts,
    ) -> Judgement {
        if let Some(token) = token
            && token.lacked_nonce(url, status, headers)
            && attempts.admit(Reason::Nonce)
        {
            return Judgement::Retry(token.clone());
        }
        let challenge = Challenge::from_headers(headers);
        match (status, token) {
            // Another token would not help.
            (_, Some(token)) if challenge.nonce_wanted && token.is_bound() => Judgement::Accepted,
            (StatusCode::UNAUTHORIZED, token) => self.judge_unauthorized(token, challenge, attempts).await,
            (StatusCode::FORBIDDEN, token) if challenge.lacks_scope() => {
                self.judge_insufficient_scope(token, challenge, attempts).await
            }
            (status, Some(token)) if status.is_success() => {
                self.note_accepted(token);
                Judgement::Accepted
            }
            _ => Judgement::Accepted,
        }
    }

    async fn judge_unauthorized(
        &self,
        token: Option<&AccessToken>,
        challenge: Challenge,
        attempts: &Attempts,
    ) -> Judgement {
        if !attempts.admit(Reason::Token) {
            if let (Some(token), Ok(account)) = (token, self.account()) {
                account.refused(token);
            }
            return match challenge.nonce_wanted {
                // A sign-in does not help if the server rejects every nonce.
                true => Judgement::Accepted,
                false => Judgement::Refused(RefusalReason::InvalidToken),
            };
        }
        let another = match token {
            Some(rejected) => self.renew(rejected, challenge).await,
            None => self.demanded(challenge).await,
        };
        match another {
            Ok(another) => Judgement::Retry(another),
            Err(error) => Judgement::Refused(RefusalReason::NoToken(error)),
        }
    }

    async fn judge_insufficient_scope(
        &self,
        narrow: Option<&AccessToken>,
        challenge: Challenge,
        attempts: &Attempts,
    ) -> Judgement {
        let reason = RefusalReason::insufficient_scope(narrow, &challenge);
        let (true, Some(narrow)) = (attempts.admit(Reason::Scope), narrow) else { return Judgement::Refused(reason) };
        match self.widen(narrow, challenge).await {
            Ok(wider) => Judgement::Retry(wider),
            Err(error @ TokenSourceError::SignIn(_)) => Judgement::Refused(RefusalReason::NoToken(error)),
            // The server's challenge names best what is missing.
            Err(_) => Judgement::Refused(reason),
        }
    }

    /// Records that the server accepted `token`.
    fn note_accepted(&self, token: &AccessToken) {
        self.asking.accepted();
        if let Ok(account) = self.account() {
            account.accepted(token);
        }
    }

    /// A token for a server that requires one of an anonymous source: from a sign-in that completed meanwhile, or from
    /// a new one.
    async fn demanded(&self, challenge: Challenge) -> Result<AccessToken, TokenSourceError> {
        self.look_again().await;
        let found = match self.account() {
            Ok(account) => account.access_token(Duration::ZERO).await,
            Err(error) => Err(error),
        };
        match found {
            Err(error @ TokenSourceError::LoginRequired(_)) => self.ask_user(None, challenge, error).await,
            outcome => outcome,
        }
    }

    /// Another token than `rejected`, for which the resource server responded 401: another process's newer one, or a
    /// new one.
    async fn renew(&self, rejected: &AccessToken, challenge: Challenge) -> Result<AccessToken, TokenSourceError> {
        match self.account()?.replace(rejected).await {
            Err(TokenSourceError::LoginRequired(_)) if self.look_again().await => {
                self.account()?.access_token(Duration::ZERO).await
            }
            Err(error @ (TokenSourceError::LoginRequired(_) | TokenSourceError::Rejected))
                if self.asking.may_help(&error) =>
            {
                self.ask_user(Some(rejected), challenge, error).await
            }
            outcome => outcome,
        }
    }

    /// A token with the scope that `narrow` lacks (403 with `insufficient_scope`). Only the user can grant it,
    /// possibly in another process.
    async fn widen(&self, narrow: &AccessToken, challenge: Challenge) -> Result<AccessToken, TokenSourceError> {
        self.look_again().await;
        if let Ok(account) = self.account()
            && let Some(wider) = account.wider(narrow, challenge.scope.as_ref()).await
        {
            return Ok(wider);
        }
        let error = TokenSourceError::LoginRequired(LoginReason::Scope);
        let wish = challenge.scope.clone().unwrap_or_default();
        let is_had = !wish.is_empty() && narrow.scope().is_some_and(|had| had.union(&wish) == *had);
        // If the server still asks for a scope that the token has, another sign-in does not help (MCP authorization,
        // "Step-Up Authorization Flow").
        if is_had || self.asking.is_asked(&wish) {
            return Err(error);
        }
        let token = self.ask_user(Some(narrow), challenge, error).await?;
        self.asking.note(wish);
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::header::WWW_AUTHENTICATE;

    use super::*;
    use crate::{
        credential::{
            clock::SystemClock,
            memory::MemoryStore,
            record::{Credential, Renewal, tests::sample},
        },
        http::Http,
        oauth::dpop::DpopKey,
        secret::Secret,
    };

    const WANTS_NONCE: &str = r#"DPoP error="use_dpop_nonce""#;
    const LACKS_SCOPE: &str = r#"Bearer error="insufficient_scope", scope="b c""#;

    /// A sign-in for `scope` that cannot be renewed.
    fn credential(access_token: &str, scope: &str, key: Option<DpopKey>) -> Credential {
        let mut credential = Credential {
            renewal: Renewal::RefreshToken,
            scope: Some(scope.parse().unwrap()),
            dpop_key: key.map(Arc::new),
            ..sample()
        };
        let tokens = credential.tokens.as_mut().unwrap();
        tokens.access_token = Secret::new(access_token.to_owned());
        (tokens.refresh_token, tokens.expires_at, tokens.scope) = (None, None, None);
        credential
    }

    /// A source with a sign-in for `a b`, its token, and the folder of its locks.
    async fn signed_in(key: Option<DpopKey>) -> (TokenSource, AccessToken, tempfile::TempDir) {
        let locks = tempfile::tempdir().unwrap();
        let source = TokenSource::new(
            None,
            Arc::<MemoryStore>::default(),
            locks.path().join("locks"),
            Arc::new(Http::default()),
            Arc::new(SystemClock),
        );
        source.sign_in(credential("narrow", "a b", key)).await.unwrap();
        let token = source.access_token(Duration::ZERO).await.unwrap().unwrap();
        (source, token, locks)
    }

    /// The record of a message that must not be sent again.
    fn spent() -> Attempts {
        let attempts = Attempts::default();
        attempts.may_have_run();
        attempts
    }

    /// The judgement of a response with this status and challenge, as text.
    async fn judged(
        source: &TokenSource,
        token: Option<&AccessToken>,
        (status, challenge): (u16, &str),
        nonce: Option<&str>,
        attempts: &Attempts,
    ) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, challenge.parse().unwrap());
        nonce.into_iter().for_each(|nonce| drop(headers.insert("dpop-nonce", nonce.parse().unwrap())));
        let url = "https://mcp.example/mcp".parse().unwrap();
        match source.judge(token, &url, StatusCode::from_u16(status).unwrap(), &headers, attempts).await {
            Judgement::Accepted => "accepted".to_owned(),
            Judgement::Retry(another) if Some(&another) == token => "same".to_owned(),
            Judgement::Retry(_) => "another".to_owned(),
            Judgement::Refused(RefusalReason::InvalidToken) => "invalid".to_owned(),
            Judgement::Refused(RefusalReason::InsufficientScope { missing, wanted }) => {
                format!("lacks {} of {}", missing.unwrap_or_default(), wanted.join(" "))
            }
            Judgement::Refused(RefusalReason::NoToken(error)) => error.to_string(),
        }
    }

    /// a1: the judgement of every response; finmcp sends nothing again that the retry limits do not allow.
    #[tokio::test]
    async fn a1_a_response_is_judged_by_status_challenge_and_attempts() {
        let (source, token, _locks) = signed_in(None).await;
        let (bound_source, bound, _bound_locks) = signed_in(Some(DpopKey::generate().unwrap())).await;
        let unrenewable = "not signed in: the access token cannot be renewed: the server issued no refresh token";
        let lacking = "lacks b c of a b c";
        for (answer, nonce, by_token, by_bound, without, by_law) in [
            ((200, "Basic"), None, "accepted", "accepted", "accepted", "accepted"),
            ((401, "Bearer"), None, unrenewable, unrenewable, "another", "invalid"),
            ((401, WANTS_NONCE), Some("n"), unrenewable, "same", "another", "accepted"),
            ((401, WANTS_NONCE), None, unrenewable, "accepted", "another", "accepted"),
            ((403, LACKS_SCOPE), None, lacking, lacking, "lacks b c of b c", lacking),
            (
                (403, r#"Bearer error="insufficient_scope""#),
                None,
                "lacks  of ",
                "lacks  of ",
                "lacks  of ",
                "lacks  of ",
            ),
            ((403, "Bearer"), None, "accepted", "accepted", "accepted", "accepted"),
            ((500, LACKS_SCOPE), None, "accepted", "accepted", "accepted", "accepted"),
        ] {
            let holds = |expected: &str, judged: String| assert_eq!(judged, expected, "{answer:?} {nonce:?}");
            holds(by_bound, judged(&bound_source, Some(&bound), answer, nonce, &Attempts::default()).await);
            holds(without, judged(&source, None, answer, nonce, &Attempts::default()).await);
            holds(by_token, judged(&source, Some(&token), answer, nonce, &Attempts::default()).await);
            holds(by_law, judged(&source, Some(&token), answer, nonce, &spent()).await);
            holds(by_law, judged(&bound_source, Some(&bound), answer, nonce, &spent()).await);
        }
        // A wider sign-in helps, unless the retry limits forbid another try.
        source.sign_in(credential("wide", "a b c", None)).await.unwrap();
        for (law, expected) in [(spent(), lacking), (Attempts::default(), "another")] {
            assert_eq!(judged(&source, Some(&token), (403, LACKS_SCOPE), None, &law).await, expected);
        }
    }
}
