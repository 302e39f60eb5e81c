//! The vendor as an authorization server.

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    Device, Dpop, ExpiresIn, Guard, IssuerParameter, OtherRedirectUris, OtherScopes, Pushing, Recorded, Registration,
    Reply, SecretPlace, Shared, State, StateParameter, TokenShape, assertion, dpop, merge, pushed,
};

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

#[derive(Debug, Clone)]
pub struct Client {
    pub secret: Option<String>,
    /// None where the client was known in advance: any loopback redirect is fine then.
    pub redirect_uris: Option<Vec<String>>,
    /// Whether it may use device codes.
    pub devices: bool,
}

impl Client {
    /// A client known in advance.
    pub fn known(secret: Option<String>) -> Self {
        Self { secret, redirect_uris: None, devices: true }
    }
}

#[derive(Debug, Clone)]
pub struct Code {
    client_id: String,
    redirect_uri: String,
    challenge: String,
    scope: String,
    /// The thumbprint of the key that it is bound to.
    key: Option<String>,
}

#[derive(Debug, Clone)]
pub struct DeviceCode {
    client_id: String,
    scope: String,
}

#[derive(Debug, Clone)]
pub struct AccessToken {
    pub ends: Instant,
    pub revoked: bool,
    /// The thumbprint of the key that it is bound to.
    pub key: Option<String>,
    /// From when on a careful client has another one.
    stale: Instant,
    family: u64,
}

#[derive(Debug, Clone)]
pub struct RefreshToken {
    pub family: u64,
    client_id: String,
    scope: String,
    /// The thumbprint of the key that it is bound to.
    key: Option<String>,
    /// The access token that came with it.
    access: String,
    /// What it was spent for: the number of the rotation.
    spent: Option<usize>,
}

/// A refresh token that was spent for its successor.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// When the successor became the one that counts.
    pub committed: SystemTime,
    /// Whether the access token had ended, or was so near its end that a client renews ahead.
    pub due: bool,
    /// Whether the spent token came once more.
    pub replayed: bool,
}

/// The metadata documents, at the places where RFC 9728 section 3 and RFC 8414 section 3 put them for `/mcp` and for an
/// issuer without a path.
pub fn document(path: &str, shared: &Arc<Shared>) -> Reply {
    let origin = &shared.origin;
    let state = shared.state.lock().unwrap();
    if !state.script.publishes_metadata {
        return Reply::new(404);
    }
    let document = match path {
        "/.well-known/oauth-protected-resource/mcp" => {
            let mut document = json!({
                "resource": format!("{origin}/mcp"),
                "authorization_servers": [origin],
                "bearer_methods_supported": ["header"],
            });
            if state.script.dpop == Some(Dpop::Required) {
                document["dpop_bound_access_tokens_required"] = json!(true);
            }
            merge(&mut document, &state.script.protected_resource);
            document
        }
        "/.well-known/oauth-authorization-server" => {
            let mut document = json!({
                "issuer": origin,
                "authorization_endpoint": format!("{origin}/authorize"),
                "token_endpoint": format!("{origin}/token"),
                "revocation_endpoint": format!("{origin}/revoke"),
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["none", "client_secret_post", "client_secret_basic"],
                "authorization_response_iss_parameter_supported": true,
            });
            if state.script.registration != Registration::Closed {
                document["registration_endpoint"] = json!(format!("{origin}/register"));
            }
            if state.script.device != Device::Unsupported {
                document["device_authorization_endpoint"] = json!(format!("{origin}/device"));
                document["grant_types_supported"].as_array_mut().unwrap().push(json!(DEVICE_GRANT));
            }
            if let Some(pushing) = state.script.pushing {
                document["pushed_authorization_request_endpoint"] = json!(format!("{origin}/par"));
                document["require_pushed_authorization_requests"] = json!(pushing == Pushing::Required);
            }
            if state.script.dpop.is_some() {
                document["dpop_signing_alg_values_supported"] = json!(["ES256"]);
            }
            merge(&mut document, &state.script.authorization_server);
            document
        }
        _ => return Reply::new(404),
    };
    Reply::new(200).json(&document)
}

/// Dynamic client registration (RFC 7591 section 3).
pub fn register(record: &Recorded, shared: &Arc<Shared>) -> Reply {
    let mut state = shared.state.lock().unwrap();
    if state.script.registration == Registration::Closed {
        return Reply::new(404);
    }
    let Ok(mut metadata) = serde_json::from_slice::<Value>(&record.body) else {
        return error(400, "invalid_client_metadata", "not JSON");
    };
    if metadata["application_type"] != "native" {
        state.complain("a registration without application_type native");
    }
    let mut redirect_uris: Vec<String> = metadata["redirect_uris"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|uri| uri.as_str().map(str::to_owned))
        .collect();
    if redirect_uris.is_empty() || !redirect_uris.iter().all(|uri| is_loopback(uri)) {
        return error(400, "invalid_redirect_uri", "no loopback redirect");
    }
    match state.script.one_redirect_uri {
        Some(OtherRedirectUris::Refused) if redirect_uris.len() > 1 => {
            return error(400, "invalid_redirect_uri", "one redirect URI a client");
        }
        Some(OtherRedirectUris::LeftOut) => redirect_uris.truncate(1),
        _ => {}
    }
    metadata["redirect_uris"] = json!(redirect_uris);
    if let Some((all, others)) = state.script.client_scope {
        let wanted = metadata["scope"].as_str().unwrap_or(all).to_owned();
        let known = |scope: &&str| all.split(' ').any(|known| known == *scope);
        match others {
            OtherScopes::Refused if !wanted.split(' ').all(|scope| known(&scope)) => {
                return error(400, "invalid_client_metadata", "Requested scopes are not valid");
            }
            OtherScopes::Refused => metadata["scope"] = json!(wanted),
            OtherScopes::LeftOut => {
                metadata["scope"] = json!(wanted.split(' ').filter(known).collect::<Vec<_>>().join(" "));
            }
            OtherScopes::Replaced => metadata["scope"] = json!(all.split(' ').collect::<Vec<_>>()),
        }
    }
    let client_id = format!("client-{}", state.clients.len() + state.forgotten_clients + 1);
    metadata["client_id"] = json!(client_id);
    let secret = (state.script.registration == Registration::Confidential).then(|| state.mint("client-secret"));
    metadata["token_endpoint_auth_method"] = json!("none");
    if let Some(secret) = &secret {
        metadata["client_secret"] = json!(secret);
        metadata["client_secret_expires_at"] = json!(0);
        metadata["token_endpoint_auth_method"] = json!("client_secret_post");
    }
    let devices = metadata["grant_types"].as_array().is_some_and(|grants| grants.contains(&json!(DEVICE_GRANT)));
    state.clients.insert(client_id, Client { secret, redirect_uris: Some(redirect_uris), devices });
    Reply::new(201).json(&metadata)
}

/// The authorization endpoint (RFC 6749 section 4.1.1), whose person decides at once: the fake browser says how.
pub fn authorize(record: &Recorded, shared: &Arc<Shared>) -> Reply {
    let mut state = shared.state.lock().unwrap();
    let query = match pushed::resolve(&mut state, record.query()) {
        Ok(query) => query,
        Err(page) => return page,
    };
    let field = |name: &str| query.get(name).cloned().unwrap_or_default();
    let redirect_uri = field("redirect_uri");
    let known = state.clients.get(&field("client_id")).is_some_and(|client| match &client.redirect_uris {
        Some(uris) => uris.iter().any(|uri| same_but_for_port(uri, &redirect_uri)),
        None => is_loopback(&redirect_uri),
    });
    if !known {
        return Reply::new(400).body("text/plain", "unknown client or redirect URI");
    }
    for (what, right) in [
        ("response_type is not code", field("response_type") == "code"),
        ("code_challenge_method is not S256", field("code_challenge_method") == "S256"),
        ("code_challenge is not 43 characters", field("code_challenge").len() == 43),
        ("state is too short to be unguessable", field("state").len() >= 22),
        (
            "resource is not this server",
            !state.script.serves_mcp || field("resource") == format!("{}/mcp", shared.origin),
        ),
    ] {
        if !right {
            state.complain(format!("authorization request: {what}"));
        }
    }
    let mut answer = Vec::new();
    if record.header("x-person") == Some("deny") {
        answer.push(("error", "access_denied".to_owned()));
        answer.push(("error_description", "the person said no".to_owned()));
    } else if let Some((all, _)) = state.script.client_scope
        && !field("scope").split_whitespace().all(|scope| all.split(' ').any(|known| known == scope))
    {
        answer.push(("error", "invalid_scope".to_owned()));
        answer.push(("error_description", "the client was not registered with that scope".to_owned()));
    } else {
        let code = state.mint("code");
        answer.push(("code", code.clone()));
        let grant = Code {
            client_id: field("client_id"),
            redirect_uri: redirect_uri.clone(),
            challenge: field("code_challenge"),
            scope: field("scope"),
            key: query.get("dpop_jkt").cloned(),
        };
        state.codes.insert(code, grant);
        state.id_token_nonce = query.get("nonce").cloned();
    }
    match state.script.callback_state {
        StateParameter::Right => answer.push(("state", field("state"))),
        StateParameter::Wrong => answer.push(("state", "another-sign-in's-state-0123456789".to_owned())),
        StateParameter::Absent => {}
    }
    match state.script.callback_issuer {
        IssuerParameter::Right => {
            answer.push(("iss", state.script.iss.clone().unwrap_or_else(|| shared.origin.clone())));
        }
        IssuerParameter::Wrong => answer.push(("iss", "https://evil.example".to_owned())),
        IssuerParameter::Absent => {}
    }
    let mut target = url::Url::parse(&redirect_uri).unwrap();
    target.query_pairs_mut().extend_pairs(answer);
    Reply::new(302).header("location", target)
}

/// The device authorization endpoint (RFC 8628 section 3.1).
pub fn device(record: &Recorded, shared: &Arc<Shared>) -> Reply {
    let form = record.form();
    let field = |name: &str| form.get(name).cloned().unwrap_or_default();
    let mut state = shared.state.lock().unwrap();
    if !state.clients.get(&field("client_id")).is_some_and(|client| client.devices) {
        return error(400, "unauthorized_client", "not registered for device codes");
    }
    if field("resource") != format!("{}/mcp", shared.origin) {
        state.complain("device authorization request: resource is not this server");
    }
    let code = state.mint("device-code");
    state.device_codes.insert(code.clone(), DeviceCode { client_id: field("client_id"), scope: field("scope") });
    Reply::new(200).json(&json!({
        "device_code": code, "user_code": "WDJB-MJHT", "verification_uri": format!("{}/go", shared.origin),
        "expires_in": 600, "interval": 1,
    }))
}

/// The token endpoint (RFC 6749 section 3.2), for the four grants.
pub fn token(record: &Recorded, shared: &Arc<Shared>) -> Reply {
    let form = record.form();
    let field = |name: &str| form.get(name).cloned().unwrap_or_default();
    let mut state = shared.state.lock().unwrap();
    if let Some(answer) = &state.script.token_answer {
        return answer.clone();
    }
    if record.header("content-type") != Some("application/x-www-form-urlencoded") {
        state.complain("token request: not a form");
    }
    if record.query.contains('=') {
        state.complain("token request: parameters in the URL");
    }
    let (client_id, secret) = credentials(&state, record);
    let is_assertion = field("grant_type") == assertion::JWT_BEARER;
    let client = match state.clients.get(&client_id).cloned() {
        Some(client) => client,
        // The assertion says who asks.
        None if is_assertion && !form.contains_key("client_id") => {
            Client { secret: None, redirect_uris: None, devices: false }
        }
        None => return error(401, "invalid_client", "unknown client"),
    };
    if client.secret != secret {
        return error(401, "invalid_client", "wrong client secret");
    }
    if field("grant_type") == assertion::TOKEN_EXCHANGE {
        return assertion::exchange(&mut state, &shared.origin, &client_id, &form);
    }
    if state.script.serves_mcp && field("resource") != format!("{}/mcp", shared.origin) {
        state.complain(format!("token request: resource is {:?}", field("resource")));
        return error(400, "invalid_target", "not a resource of this server");
    }
    let key = match dpop::token_key(&mut state, record, &shared.origin) {
        Ok(key) => key,
        Err(refusal) => return refusal,
    };
    match field("grant_type").as_str() {
        "authorization_code" => {
            let verifier = field("code_verifier");
            // One too short to be a verifier is refused below, and cannot be looked for.
            if verifier.len() >= 43 {
                state.secrets.push(verifier.clone());
            }
            let Some(code) = state.codes.remove(&field("code")) else {
                return error(400, "invalid_grant", "unknown code");
            };
            let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
            if code.key.is_some() && code.key != key {
                return error(400, "invalid_grant", "the code is bound to another key");
            }
            if code.challenge != challenge || code.redirect_uri != field("redirect_uri") || code.client_id != client_id
            {
                return error(400, "invalid_grant", "the code was given to another client");
            }
            state.sign_in(&shared.origin, &client_id, &code.scope, key)
        }
        DEVICE_GRANT => {
            let code = field("device_code");
            let Some(known) = state.device_codes.get(&code).filter(|known| known.client_id == client_id).cloned()
            else {
                return error(400, "invalid_grant", "unknown device code");
            };
            match state.script.device {
                Device::Unsupported | Device::Hesitates => error(400, "authorization_pending", "not yet"),
                Device::Denies => error(400, "access_denied", "the person said no"),
                Device::Consents => {
                    state.device_codes.remove(&code);
                    state.sign_in(&shared.origin, &client_id, &known.scope, key)
                }
            }
        }
        "refresh_token" => {
            let token = field("refresh_token");
            let Some(known) = state.refresh_tokens.get(&token).cloned() else {
                return error(400, "invalid_grant", "unknown refresh token");
            };
            if known.client_id != client_id || state.dead_families.contains(&known.family) {
                return error(400, "invalid_grant", "this sign-in has ended");
            }
            if known.key != key {
                return error(400, "invalid_grant", "bound to another key");
            }
            if let Some(rotation) = known.spent {
                state.rotations[rotation].replayed = true;
                // There is a copy: the whole sign-in ends (RFC 9700 section 4.14.2).
                state.replays += 1;
                state.dead_families.insert(known.family);
                for access in state.access_tokens.values_mut().filter(|access| access.family == known.family) {
                    access.revoked = true;
                }
                return error(400, "invalid_grant", "spent refresh token");
            }
            let live = state.access_tokens.get(&known.access).filter(|access| !access.revoked);
            let due = live.is_none_or(|access| access.stale <= Instant::now());
            state.refresh_tokens.get_mut(&token).unwrap().spent = Some(state.rotations.len());
            state.rotations.push(Rotation { committed: SystemTime::now(), due, replayed: false });
            state.grant(&shared.origin, &client_id, &known.scope, Some(known.family), key)
        }
        assertion::JWT_BEARER => match assertion::judge(&state, &shared.origin, &client_id, &field("assertion")) {
            Ok(()) => state.grant(&shared.origin, &client_id, &field("scope"), None, key),
            Err(why) => error(400, "invalid_grant", why),
        },
        "client_credentials" | "" => {
            if client.secret.is_none() {
                return error(400, "unauthorized_client", "not for public clients");
            }
            state.grant(&shared.origin, &client_id, &field("scope"), None, key)
        }
        _ => error(400, "unsupported_grant_type", "no such grant"),
    }
}

/// The revocation endpoint (RFC 7009 section 2).
pub fn revoke(record: &Recorded, shared: &Arc<Shared>) -> Reply {
    let token = record.form().get("token").cloned().unwrap_or_default();
    let mut state = shared.state.lock().unwrap();
    if let Some(refresh) = state.refresh_tokens.get(&token).cloned() {
        // With the refresh token ends all that came of the same sign-in (RFC 7009 section 2.1).
        state.dead_families.insert(refresh.family);
        for access in state.access_tokens.values_mut().filter(|access| access.family == refresh.family) {
            access.revoked = true;
        }
    }
    if let Some(access) = state.access_tokens.get_mut(&token) {
        access.revoked = true;
    }
    Reply::new(200)
}

impl State {
    /// Whether a request may use the MCP endpoint, and the 401 where it may not.
    pub fn admit(&mut self, record: &Recorded, origin: &str) -> Result<(), Reply> {
        if record.query.contains("access_token") {
            self.complain("an access token in a URL");
        }
        match &self.script.guard {
            Guard::Open => return Ok(()),
            Guard::ApiKey(header, value) if record.header(header) == Some(value) => return Ok(()),
            Guard::ApiKey(..) => return Err(Reply::new(401)),
            Guard::Bearer => {}
        }
        let presented = record.header("authorization").and_then(|value| value.split_once(' '));
        let scheme = if self.script.dpop == Some(Dpop::Challenged) { "DPoP" } else { "Bearer" };
        let token = presented.map(|(_, token)| token);
        let live = token.and_then(|token| self.access_tokens.get(token)).cloned();
        if let (Some((scheme, token)), Some(live)) = (presented, live)
            && !live.revoked
            && live.ends > Instant::now()
        {
            match (scheme, &live.key) {
                ("Bearer", None) if matches!(self.script.dpop, None | Some(Dpop::Listed)) => return Ok(()),
                ("DPoP", Some(key)) => return dpop::admit(self, record, origin, token, key),
                _ => self.complain(format!("a token is presented as {scheme}")),
            }
        }
        let mut challenge = format!("{scheme} realm=\"test\"");
        if token.is_some() {
            challenge += ", error=\"invalid_token\"";
        }
        if self.script.challenge_points {
            challenge += &format!(", resource_metadata=\"{origin}/.well-known/oauth-protected-resource/mcp\"");
        }
        if let Some(scope) = self.script.challenge_scope {
            challenge += &format!(", scope=\"{scope}\"");
        }
        Err(Reply::new(401).header("www-authenticate", challenge))
    }

    /// What a person's sign-in brings.
    pub fn sign_in(&mut self, origin: &str, client_id: &str, scope: &str, key: Option<String>) -> Reply {
        let family = self.access_tokens.len() as u64 + 1;
        self.grant(origin, client_id, scope, Some(family), key)
    }

    fn mint_token(&mut self, kind: &str) -> String {
        if self.script.token_shape != TokenShape::Numbered {
            return self.mint(&format!("{kind}-token"));
        }
        let requests = self.records.iter().filter(|record| record.path == "/token").count();
        format!("{kind}-{requests}")
    }

    fn grant(&mut self, origin: &str, client_id: &str, scope: &str, family: Option<u64>, key: Option<String>) -> Reply {
        let lifetime = self.script.access_lifetime;
        let scope = self.script.granted_scope.unwrap_or(scope);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut access_token = self.mint_token("access");
        if self.script.token_shape == TokenShape::Jwt {
            let claims = json!({
                "iss": origin, "aud": format!("{origin}/mcp"), "sub": client_id, "scope": scope,
                "iat": now, "exp": now + lifetime.as_secs(),
            });
            // No test checks signatures; the secret part stands in the signature's place.
            access_token = [json!({"alg": "none", "typ": "JWT"}).to_string(), claims.to_string(), access_token]
                .map(|part| URL_SAFE_NO_PAD.encode(part))
                .join(".");
            self.secrets.push(access_token.clone());
        }
        let token = AccessToken {
            ends: Instant::now() + lifetime,
            stale: Instant::now() + lifetime * 9 / 10,
            revoked: false,
            key: key.clone(),
            family: family.unwrap_or_default(),
        };
        self.access_tokens.insert(access_token.clone(), token);
        let kind = if key.is_some() { "DPoP" } else { "Bearer" };
        let mut response = json!({"access_token": access_token, "token_type": kind});
        match self.script.expires_in {
            ExpiresIn::Seconds => response["expires_in"] = json!(lifetime.as_secs()),
            ExpiresIn::Text => response["expires_in"] = json!(lifetime.as_secs().to_string()),
            ExpiresIn::UnixTime => response["expires_in"] = json!(now + lifetime.as_secs()),
            ExpiresIn::Absent => {}
            ExpiresIn::Exactly(number) => response["expires_in"] = json!(number),
        }
        if let (Some(family), true) = (family, self.script.refresh_tokens) {
            let refresh_token = self.mint_token("refresh");
            response["refresh_token"] = json!(refresh_token);
            let (client_id, scope) = (client_id.to_owned(), scope.to_owned());
            let known = RefreshToken { family, client_id, scope, key, access: access_token, spent: None };
            self.refresh_tokens.insert(refresh_token, known);
        }
        if !scope.is_empty() {
            response["scope"] = json!(scope);
        }
        if !self.script.id_token.is_null() && family.is_some() {
            let mut claims = self.script.id_token.clone();
            if claims["exp"] == "fresh" {
                claims["iss"] = json!(origin);
                claims["aud"] = json!(client_id);
                claims["exp"] = json!(super::assertion::now() + lifetime.as_secs() as i64);
            }
            if claims["nonce"].is_null() {
                claims["nonce"] = json!(self.id_token_nonce);
            }
            let parts = [json!({"alg": "none"}).to_string(), claims.to_string(), self.mint("id-token")];
            response["id_token"] = json!(parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join("."));
        }
        Reply::new(200).header("cache-control", "no-store").json(&response)
    }
}

/// The client that a form names, and its secret.
pub fn credentials(state: &State, record: &Recorded) -> (String, Option<String>) {
    let form = record.form();
    let client_id = form.get("client_id").cloned().unwrap_or_default();
    match (basic(record), state.script.secret_place) {
        (header, Some(SecretPlace::Header)) => (client_id, header.map(|(_, secret)| secret)),
        (Some((id, secret)), None) => (id, Some(secret)),
        _ => (client_id, form.get("client_secret").cloned()),
    }
}

/// The client's credentials from HTTP Basic, each form-decoded (RFC 6749 section 2.3.1).
fn basic(record: &Recorded) -> Option<(String, String)> {
    let encoded = record.header("authorization")?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let decode = |part: &str| {
        let field = format!("x={part}");
        url::form_urlencoded::parse(field.as_bytes()).next().map(|(_, value)| value.into_owned())
    };
    Some((decode(id)?, decode(secret)?))
}

pub fn error(status: u16, code: &str, description: &str) -> Reply {
    Reply::new(status).json(&json!({"error": code, "error_description": description}))
}

pub fn is_loopback(uri: &str) -> bool {
    let hosts = ["127.0.0.1", "[::1]", "localhost"];
    url::Url::parse(uri)
        .is_ok_and(|uri| uri.scheme() == "http" && uri.host_str().is_some_and(|host| hosts.contains(&host)))
}

/// Loopback redirects are compared without their port (RFC 8252 section 7.3).
pub fn same_but_for_port(left: &str, right: &str) -> bool {
    let without_port = |uri: &str| {
        url::Url::parse(uri).ok().map(|mut uri| {
            let _ = uri.set_port(None);
            uri
        })
    };
    is_loopback(left) && without_port(left) == without_port(right)
}
