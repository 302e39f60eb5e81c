//! The vendor as a server of pushed authorization requests (RFC 9126).

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{Pushing, Recorded, Reply, Shared, State, authorization, dpop};

/// The pushed authorization request endpoint (section 2), with the client's authentication as at the token endpoint.
pub fn push(record: &Recorded, shared: &Arc<Shared>) -> Reply {
    let mut state = shared.state.lock().unwrap();
    let mut form = record.form();
    let (client_id, secret) = authorization::credentials(&state, record);
    let client = match state.clients.get(&client_id) {
        Some(client) if client.secret == secret => client.clone(),
        _ => return authorization::error(401, "invalid_client", "unknown client, or a wrong secret"),
    };
    let pairs = url::form_urlencoded::parse(&record.body).count();
    for (what, right) in [
        ("a parameter twice", pairs == form.len()),
        ("no client_id", form.get("client_id") == Some(&client_id)),
        ("a request_uri", !form.contains_key("request_uri")),
        ("parameters in the URL", !record.query.contains('=')),
        ("not a form", record.header("content-type") == Some("application/x-www-form-urlencoded")),
    ] {
        if !right {
            state.complain(format!("pushed request: {what}"));
        }
    }
    let redirect_uri = form.get("redirect_uri").cloned().unwrap_or_default();
    let is_known = client
        .redirect_uris
        .as_ref()
        .is_none_or(|uris| uris.iter().any(|uri| authorization::same_but_for_port(uri, &redirect_uri)));
    if !is_known || !authorization::is_loopback(&redirect_uri) {
        return authorization::error(400, "invalid_request", "redirect_uri is not registered");
    }
    match dpop::token_key(&mut state, record, &shared.origin) {
        Err(refusal) => return refusal,
        Ok(Some(key)) if form.get("dpop_jkt") != Some(&key) => {
            return authorization::error(400, "invalid_dpop_proof", "dpop_jkt names another key");
        }
        Ok(_) => {}
    }
    form.remove("client_secret");
    let reference = state.mint("pushed");
    // No secret: the browser carries it, and it is good for one request.
    state.secrets.retain(|secret| *secret != reference);
    let request_uri = format!("urn:ietf:params:oauth:request_uri:{reference}");
    state.pushed.insert(request_uri.clone(), form);
    let mut answer = json!({"request_uri": request_uri});
    if state.script.pushed_life != Value::Null {
        answer["expires_in"] = state.script.pushed_life.clone();
    }
    Reply::new(201).json(&answer)
}

/// The parameters of an authorization request: the pushed ones, once, or those in the URL (section 4).
pub fn resolve(state: &mut State, query: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Reply> {
    let page = |text: &str| Reply::new(400).body("text/plain", text);
    let Some(request_uri) = query.get("request_uri") else {
        return match state.script.pushing {
            Some(Pushing::Required) => Err(page("only pushed authorization requests")),
            _ => Ok(query),
        };
    };
    if query.len() != 2 {
        state.complain("authorization request: more than a client id and a request_uri");
    }
    let Some(pushed) = state.pushed.remove(request_uri) else { return Err(page("this request has expired")) };
    if pushed.get("client_id") != query.get("client_id") {
        return Err(page("another client's request"));
    }
    Ok(pushed)
}
