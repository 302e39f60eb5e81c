//! The rules of an authorization server for browser sign-ins (OAuth 2.1, MCP authorization): requests and the time in,
//! decisions out. `endpoints` serves it over HTTP.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    demo::{
        client::Client,
        form::Form,
        grant_error::GrantError,
        jwt::{Claims, SigningKey},
        random,
    },
    server_url::ServerUrl,
};

/// How long a code can be redeemed (RFC 6749 section 4.1.2 recommends ten minutes at most).
const CODE_LIFETIME: i64 = 60;

/// The lifetimes of the tokens that an authority issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// An access token's, in whole seconds.
    pub access_token: Duration,
    /// An unused refresh token's, in whole seconds.
    pub refresh_token: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { access_token: Duration::from_secs(300), refresh_token: Duration::from_secs(8 * 3600) }
    }
}

/// The format of access tokens.
pub enum TokenFormat {
    /// Random text that only the authority can interpret.
    Opaque,
    Jwt(SigningKey),
}

/// The configuration of an authority.
pub struct Policy {
    /// The issuer identifier (RFC 8414 section 2).
    pub issuer: String,
    /// The one resource that tokens are for (RFC 8707).
    pub resource: String,
    /// The users' organisation, shown on the consent page and named in the token.
    pub organization: &'static str,
    /// All scope tokens; a request without a scope gets the first ones.
    pub scopes: &'static [&'static str],
    /// How many of `scopes` a request without a scope gets.
    pub default_scopes: usize,
    pub format: TokenFormat,
    pub lifetimes: Lifetimes,
}

/// An authorization server's rules and state. It contains tokens, so it has no `Debug`.
pub struct Authority {
    policy: Policy,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    clients: HashMap<String, Client>,
    /// Requests that wait for the user's decision, by the identifier on the consent page.
    undecided: HashMap<String, AuthorizationRequest>,
    codes: HashMap<String, Code>,
    sign_ins: HashMap<String, SignIn>,
    /// Every refresh token ever issued, with its sign-in: the authority has to recognise a used one.
    refresh_tokens: HashMap<String, String>,
    access_tokens: HashMap<String, Claims>,
}

/// A valid authorization request.
#[derive(Clone)]
pub struct AuthorizationRequest {
    client_id: String,
    /// The client's name on the consent page.
    pub client_name: String,
    pub redirect_uri: ServerUrl,
    pub scope: String,
    state: Option<String>,
    code_challenge: String,
}

/// The refusal of an authorization request.
pub enum AuthorizationError {
    /// The redirect URI may not be the client's: show the error to the user and do not redirect (RFC 6749 section
    /// 4.1.2.1).
    Page(GrantError),
    /// Tell the client with this redirect.
    Redirect(String),
}

struct Code {
    request: AuthorizationRequest,
    user: String,
    expires_at: i64,
    /// The sign-in that the code was redeemed for.
    sign_in: Option<String>,
    spent: bool,
}

/// One user's consent to one client, and the tokens issued for it.
struct SignIn {
    client_id: String,
    user: String,
    scope: String,
    /// The only valid refresh token.
    refresh_token: String,
    expires_at: i64,
    is_revoked: bool,
}

/// A successful token response (RFC 6749 section 5.1).
#[derive(Serialize)]
pub struct TokenResponse {
    pub access_token: String,
    token_type: &'static str,
    expires_in: u64,
    /// The refresh token, which can be used once.
    pub refresh_token: String,
    /// The granted scope, if this authority has scopes.
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
}

impl Authority {
    /// An authority without clients.
    pub fn new(policy: Policy) -> Self {
        Self { policy, memory: Mutex::default() }
    }

    /// Its configuration.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether a client with this ID is registered.
    pub fn knows(&self, client_id: &str) -> bool {
        self.memory().clients.contains_key(client_id)
    }

    /// Registers a client as `client_id`.
    pub fn admit(&self, client_id: &str, client: Client) {
        self.memory().clients.insert(client_id.to_owned(), client);
    }

    /// Checks an authorization request and keeps it until the user decides. Returns the identifier for the decision.
    ///
    /// # Errors
    /// An [`AuthorizationError`], which says who gets the error.
    pub fn authorize(&self, query: &Form) -> Result<(String, AuthorizationRequest), AuthorizationError> {
        let mut memory = self.memory();
        let page = AuthorizationError::Page;
        let client_id = query.require("client_id", "client_id is missing").map_err(page)?;
        let unknown = GrantError::new("invalid_client", "unknown client");
        let client = memory.clients.get(client_id).ok_or(page(unknown))?;
        let redirect_uri = query.get("redirect_uri").and_then(|requested| client.redirect_uri(requested)).ok_or(
            page(GrantError::invalid_request("redirect_uri is missing or not one that the client registered")),
        )?;
        let state = query.get("state");

        let tell_client = |refusal: GrantError| {
            let answer = [("error", refusal.error), ("error_description", refusal.error_description)];
            AuthorizationError::Redirect(self.redirect(&redirect_uri, state, &answer))
        };
        let request = AuthorizationRequest {
            client_id: client_id.to_owned(),
            client_name: client.name.clone(),
            redirect_uri: redirect_uri.clone(),
            scope: self.grantable(query).map_err(tell_client)?,
            state: state.map(str::to_owned),
            code_challenge: code_challenge(query).map_err(tell_client)?,
        };
        let id = random::token("").map_err(tell_client)?;
        memory.undecided.insert(id.clone(), request.clone());
        Ok((id, request))
    }

    /// Applies the user's decision: the form fields `request`, `name` and `decision`. Returns the redirect to the
    /// client.
    ///
    /// # Errors
    /// No request with this identifier waits for a decision, for example because it was already decided.
    pub fn decide(&self, form: &Form, now: Timestamp) -> Result<String, GrantError> {
        let mut memory = self.memory();
        let id = form.require("request", "request is missing")?;
        let request =
            memory.undecided.remove(id).ok_or(GrantError::invalid_request("this request was already decided"))?;
        let (redirect_uri, state) = (request.redirect_uri.clone(), request.state.clone());
        let answer = |answer: &[(&str, &str)]| self.redirect(&redirect_uri, state.as_deref(), answer);
        if form.get("decision") != Some("allow") {
            return Ok(answer(&[("error", "access_denied"), ("error_description", "the user denied access")]));
        }
        let code = random::token("code_")?;
        let location = answer(&[("code", &code)]);
        let user = form.get("name").unwrap_or("someone").to_owned();
        let expires_at = now.as_second() + CODE_LIFETIME;
        memory.codes.insert(code, Code { request, user, expires_at, sign_in: None, spent: false });
        Ok(location)
    }

    /// Processes a token request.
    ///
    /// # Errors
    /// The error response.
    pub fn token(&self, form: &Form, now: Timestamp) -> Result<TokenResponse, GrantError> {
        let client_id = form.require("client_id", "client_id is missing")?;
        if !self.knows(client_id) {
            return Err(GrantError::new("invalid_client", "unknown client"));
        }
        // MCP authorization, "Resource Parameter Implementation": required in authorization and token requests,
        // including refreshes.
        if form.get("resource") != Some(&self.policy.resource) {
            return Err(GrantError::new("invalid_target", "resource must name this vendor's MCP server"));
        }
        match form.get("grant_type") {
            Some("authorization_code") => self.redeem_code(client_id, form, now),
            Some("refresh_token") => self.refresh(client_id, form, now),
            _ => Err(GrantError::new(
                "unsupported_grant_type",
                "only authorization_code and refresh_token are supported",
            )),
        }
    }

    fn redeem_code(&self, client_id: &str, form: &Form, now: Timestamp) -> Result<TokenResponse, GrantError> {
        let mut memory = self.memory();
        let memory = &mut *memory;
        let wrong = GrantError::invalid_grant("the code is wrong, already used, expired, or issued to another client");
        let named = form.require("code", "code is missing")?;
        let code = memory.codes.get_mut(named).filter(|code| code.request.client_id == client_id).ok_or(wrong)?;
        if std::mem::replace(&mut code.spent, true) {
            // RFC 6749 section 4.1.2: if the code is used twice, an attacker may have obtained the tokens first.
            if let Some(sign_in) = code.sign_in.as_ref().and_then(|id| memory.sign_ins.get_mut(id)) {
                sign_in.is_revoked = true;
            }
            return Err(wrong);
        }
        if now.as_second() >= code.expires_at || form.get("redirect_uri") != Some(code.request.redirect_uri.as_str()) {
            return Err(wrong);
        }
        let verifier = form.require("code_verifier", "code_verifier is missing")?;
        if BASE64URL.encode(Sha256::digest(verifier)) != code.request.code_challenge {
            return Err(GrantError::invalid_grant("code_verifier does not match code_challenge"));
        }
        let id = random::token("")?;
        code.sign_in = Some(id.clone());
        let sign_in = SignIn {
            client_id: client_id.to_owned(),
            user: code.user.clone(),
            scope: code.request.scope.clone(),
            refresh_token: String::new(),
            expires_at: 0,
            is_revoked: false,
        };
        memory.sign_ins.insert(id.clone(), sign_in);
        self.issue(memory, &id, None, now)
    }

    fn refresh(&self, client_id: &str, form: &Form, now: Timestamp) -> Result<TokenResponse, GrantError> {
        let mut memory = self.memory();
        let memory = &mut *memory;
        let wrong = GrantError::invalid_grant("the refresh token is wrong, already used, expired or revoked");
        let token = form.require("refresh_token", "refresh_token is missing")?;
        let id = memory.refresh_tokens.get(token).cloned().ok_or(wrong)?;
        let sign_in = memory.sign_ins.get_mut(&id).filter(|sign_in| sign_in.client_id == client_id).ok_or(wrong)?;
        if sign_in.refresh_token != token {
            // RFC 9700 section 4.14.2: reuse of a refresh token means that two parties have it, and the server cannot
            // tell which one is the attacker.
            sign_in.is_revoked = true;
        }
        if sign_in.is_revoked || now.as_second() >= sign_in.expires_at {
            return Err(wrong);
        }
        let granted = |token: &str| sign_in.scope.split(' ').any(|granted| granted == token);
        if form.get("scope").is_some_and(|scope| !scope.split(' ').all(granted)) {
            return Err(GrantError::new("invalid_scope", "a refresh cannot widen the scope"));
        }
        self.issue(memory, &id, form.get("scope"), now)
    }

    /// Issues a new pair of tokens for a sign-in, which invalidates its previous refresh token.
    fn issue(
        &self,
        memory: &mut Memory,
        id: &str,
        narrowed: Option<&str>,
        now: Timestamp,
    ) -> Result<TokenResponse, GrantError> {
        let Lifetimes { access_token: lifetime, refresh_token: idle } = self.policy.lifetimes;
        let now = now.as_second();
        let sign_in = memory.sign_ins.get_mut(id).ok_or(GrantError::server_error("the sign-in no longer exists"))?;
        let claims = Claims {
            iss: self.policy.issuer.clone(),
            sub: sign_in.user.clone(),
            aud: self.policy.resource.clone(),
            client_id: sign_in.client_id.clone(),
            scope: narrowed.unwrap_or(&sign_in.scope).to_owned(),
            iat: now,
            exp: now.saturating_add_unsigned(lifetime.as_secs()),
            jti: random::token("")?,
            business_id: None,
            organization: Some(self.policy.organization.to_owned()),
            sid: Some(id.to_owned()),
        };
        let scope = claims.scope.clone();
        let access_token = match &self.policy.format {
            TokenFormat::Jwt(key) => key.sign(&claims)?,
            TokenFormat::Opaque => {
                let token = random::token("at_")?;
                memory.access_tokens.retain(|_, claims| claims.exp > now);
                memory.access_tokens.insert(token.clone(), claims);
                token
            }
        };
        let refresh_token = random::token("rt_")?;
        memory.refresh_tokens.insert(refresh_token.clone(), id.to_owned());
        sign_in.refresh_token.clone_from(&refresh_token);
        sign_in.expires_at = now.saturating_add_unsigned(idle.as_secs());
        Ok(TokenResponse { access_token, token_type: "Bearer", expires_in: lifetime.as_secs(), refresh_token, scope })
    }

    /// What an access token allows, if it is valid now.
    pub fn introspect(&self, token: &str, now: Timestamp) -> Option<Claims> {
        let memory = self.memory();
        let claims = match &self.policy.format {
            TokenFormat::Jwt(key) => key.verify(token)?,
            TokenFormat::Opaque => memory.access_tokens.get(token)?.clone(),
        };
        let sign_in = memory.sign_ins.get(claims.sid.as_ref()?)?;
        let is_good = claims.aud == self.policy.resource && now.as_second() < claims.exp && !sign_in.is_revoked;
        is_good.then_some(claims)
    }

    /// Revokes the sign-in of a token (RFC 7009): its refresh token and all access tokens. Succeeds for an unknown
    /// token.
    ///
    /// # Errors
    /// The token belongs to another client (RFC 7009 section 2.1), or the request has no token.
    pub fn revoke(&self, form: &Form) -> Result<(), GrantError> {
        let mut memory = self.memory();
        let token = form.require("token", "token is missing")?;
        let of_access_token = || match &self.policy.format {
            TokenFormat::Jwt(key) => key.verify(token)?.sid,
            TokenFormat::Opaque => memory.access_tokens.get(token)?.sid.clone(),
        };
        let id = memory.refresh_tokens.get(token).cloned().or_else(of_access_token);
        let Some(sign_in) = id.and_then(|id| memory.sign_ins.get_mut(&id)) else { return Ok(()) };
        if form.get("client_id") != Some(&sign_in.client_id) {
            return Err(GrantError::new("invalid_client", "the token was issued to another client"));
        }
        sign_in.is_revoked = true;
        Ok(())
    }

    /// The scope of a request, if the authority can grant it.
    fn grantable(&self, query: &Form) -> Result<String, GrantError> {
        if query.get("response_type") != Some("code") {
            return Err(GrantError::new("unsupported_response_type", "response_type must be code"));
        }
        if query.get("resource") != Some(&self.policy.resource) {
            return Err(GrantError::new("invalid_target", "resource must name this vendor's MCP server"));
        }
        let Some(scope) = query.get("scope") else {
            let defaults = self.policy.scopes.iter().take(self.policy.default_scopes);
            return Ok(defaults.copied().collect::<Vec<_>>().join(" "));
        };
        if scope.split(' ').all(|token| self.policy.scopes.contains(&token)) {
            Ok(scope.to_owned())
        } else {
            Err(GrantError::new("invalid_scope", "unknown scope"))
        }
    }

    /// `redirect_uri` with an authorization response (RFC 6749 section 4.1.2) and its issuer (RFC 9207).
    fn redirect(&self, redirect_uri: &ServerUrl, state: Option<&str>, answer: &[(&str, &str)]) -> String {
        let mut location = redirect_uri.as_url().clone();
        let state = state.map(|state| ("state", state));
        let issuer = ("iss", self.policy.issuer.as_str());
        location.query_pairs_mut().extend_pairs(answer.iter().copied().chain(state).chain([issuer]));
        location.into()
    }

    /// Locks the state. No change can fail halfway, so a poisoned lock is still consistent.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The PKCE challenge of a request (RFC 7636 section 4.3), which must be S256.
fn code_challenge(query: &Form) -> Result<String, GrantError> {
    if query.get("code_challenge_method") != Some("S256") {
        return Err(GrantError::invalid_request("code_challenge_method must be S256"));
    }
    let challenge = query.require("code_challenge", "code_challenge is missing")?;
    match BASE64URL.decode(challenge) {
        Ok(digest) if digest.len() == 32 => Ok(challenge.to_owned()),
        _ => Err(GrantError::invalid_request("code_challenge is not a SHA-256 digest")),
    }
}
