//! The vendor as an issuer of assertions, and as a server that trusts another issuer.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{Reply, State, authorization::error};

pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ID_JAG_TYPE: &str = "oauth-id-jag+jwt";

/// A JWT of `kind` (its `typ`) with `claims`. The tests check no signatures: a secret string stands in place of one.
pub fn mint(state: &mut State, origin: &str, kind: &str, mut claims: Value, lifetime: i64) -> String {
    claims["iss"] = json!(origin);
    claims["exp"] = json!(now() + lifetime);
    let signature = state.mint("assertion");
    let token = [json!({"alg": "ES256", "typ": kind}).to_string(), claims.to_string(), signature]
        .map(|part| URL_SAFE_NO_PAD.encode(part))
        .join(".");
    state.secrets.push(token.clone());
    token
}

/// Token exchange (RFC 8693) for an ID-JAG, as MCP "Enterprise-Managed Authorization" section 4 has it.
pub fn exchange(state: &mut State, origin: &str, client_id: &str, form: &BTreeMap<String, String>) -> Reply {
    let field = |name: &str| form.get(name).cloned().unwrap_or_default();
    for (what, right) in [
        ("requested_token_type is no ID-JAG", field("requested_token_type") == ID_JAG),
        ("subject_token_type is no ID token", field("subject_token_type") == ID_TOKEN),
        ("no audience", !field("audience").is_empty()),
        ("no resource", !field("resource").is_empty()),
    ] {
        if !right {
            state.complain(format!("token exchange: {what}"));
            return error(400, "invalid_request", what);
        }
    }
    match read(&field("subject_token"), origin) {
        Ok((_, claims)) if claims["aud"] == client_id => {}
        Ok(_) => return error(400, "invalid_grant", "an ID token of another client"),
        Err(why) => return error(400, "invalid_grant", why),
    }
    if let Some(code) = state.script.policy {
        return error(400, code, "not allowed");
    }
    let claims = json!({
        "sub": "person", "aud": field("audience"), "resource": field("resource"), "scope": field("scope"),
        // What this provider knows the client by at the other server.
        "client_id": "x",
    });
    let grant = mint(state, origin, ID_JAG_TYPE, claims, 300);
    let mut response = json!({"access_token": grant, "issued_token_type": ID_JAG, "token_type": "N_A"});
    if let Some(scope) = state.script.granted_scope {
        response["scope"] = json!(scope);
    }
    Reply::new(200).json(&response)
}

/// Whether `assertion` is taken for a grant, and why not.
pub fn judge(state: &State, origin: &str, client_id: &str, assertion: &str) -> Result<(), &'static str> {
    let trusted = state.script.trusted_issuer.as_deref().ok_or("no issuer is trusted")?;
    let (kind, claims) = read(assertion, trusted)?;
    if !state.script.trusted_keys.is_null() && !is_signed(assertion, &state.script.trusted_keys) {
        return Err("its signature is wrong");
    }
    if claims["aud"] != origin {
        return Err("meant for another server");
    }
    let resource = format!("{origin}/mcp");
    if kind == ID_JAG_TYPE && (claims["client_id"] != client_id || claims["resource"] != resource) {
        return Err("granted to another client, or for another resource");
    }
    Ok(())
}

/// The `typ` and the claims of a JWT of `issuer` that has not ended.
fn read(token: &str, issuer: &str) -> Result<(String, Value), &'static str> {
    let parts: Vec<Value> = token
        .split('.')
        .take(2)
        .filter_map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok())
        .collect();
    let [header, claims] = &parts[..] else { return Err("no JWT") };
    if claims["iss"] != issuer {
        return Err("its issuer is not trusted");
    }
    if claims["exp"].as_i64().is_none_or(|end| end <= now()) {
        return Err("it has ended");
    }
    Ok((header["typ"].as_str().unwrap_or_default().to_owned(), claims.clone()))
}

/// Whether one of `keys` (RFC 7517 section 5) has signed the JWT with RS256, and it is an ID-JAG by its `typ`.
fn is_signed(token: &str, keys: &Value) -> bool {
    let Some((message, signature)) = token.rsplit_once('.') else { return false };
    let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
    let header = token.split('.').next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok()).unwrap_or_default();
    let header: Value = serde_json::from_slice(&header).unwrap_or_default();
    if header["alg"] != "RS256" || header["typ"] != ID_JAG_TYPE {
        return false;
    }
    let number = |key: &Value, name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str()?).ok();
    keys["keys"].as_array().into_iter().flatten().filter(|key| key["kid"] == header["kid"]).any(|key| {
        let (Some(n), Some(e)) = (number(key, "n"), number(key, "e")) else { return false };
        let key = ring::signature::RsaPublicKeyComponents { n, e };
        key.verify(&ring::signature::RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &signature).is_ok()
    })
}

pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}
