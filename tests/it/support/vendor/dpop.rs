//! The vendor as a judge of proofs of possession (RFC 9449 section 4.3).

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Recorded, Reply, State, authorization::error};

/// The thumbprint of the key that a token request shows, if it shows one, and the 400 where the proof is not good.
pub fn token_key(state: &mut State, record: &Recorded, origin: &str) -> Result<Option<String>, Reply> {
    if state.script.dpop.is_none() || record.header("dpop").is_none() {
        return Ok(None);
    }
    let nonce = format!("token-nonce-{}", state.nonce_round);
    match judge(state, record, origin, None) {
        Err(why) => {
            state.complain(format!("token request: {why}"));
            Err(error(400, "invalid_dpop_proof", why))
        }
        Ok((_, given)) if state.script.nonces && given.as_deref() != Some(&nonce) => {
            Err(error(400, "use_dpop_nonce", "another nonce, please").header("dpop-nonce", nonce))
        }
        Ok((key, _)) => Ok(Some(key)),
    }
}

/// Whether a request with `token`, which is bound to `key`, may use the MCP endpoint, and the 401 where it may not.
pub fn admit(state: &mut State, record: &Recorded, origin: &str, token: &str, key: &str) -> Result<(), Reply> {
    let nonce = format!("mcp-nonce-{}", state.nonce_round);
    let refusal = |code: &str| Reply::new(401).header("www-authenticate", format!("DPoP error=\"{code}\""));
    match judge(state, record, origin, Some(token)) {
        Ok((shown, _)) if shown != key => {
            state.complain("a proof by another key");
            Err(refusal("invalid_dpop_proof"))
        }
        Err(why) => {
            state.complain(format!("MCP request: {why}"));
            Err(refusal("invalid_dpop_proof"))
        }
        Ok((_, given)) if state.script.nonces && given.as_deref() != Some(&nonce) => {
            Err(refusal("use_dpop_nonce").header("dpop-nonce", nonce))
        }
        Ok(_) => Ok(()),
    }
}

/// The thumbprint of the key of a good proof, and its nonce.
fn judge(
    state: &mut State,
    record: &Recorded,
    origin: &str,
    token: Option<&str>,
) -> Result<(String, Option<String>), &'static str> {
    let mut proofs = record.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("dpop"));
    let (Some((_, proof)), None) = (proofs.next(), proofs.next()) else { return Err("not one proof") };
    let (signed, signature) = proof.rsplit_once('.').ok_or("no JWT")?;
    let (header, claims) = signed.split_once('.').ok_or("no JWT")?;
    let read = |part| serde_json::from_slice::<Value>(&BASE64URL.decode(part).ok()?).ok();
    let (header, claims) = (read(header).ok_or("no header")?, read(claims).ok_or("no claims")?);
    if (&header["typ"], &header["alg"]) != (&json!("dpop+jwt"), &json!("ES256")) {
        return Err("typ or alg");
    }
    let jwk = &header["jwk"];
    if jwk.as_object().is_none_or(|jwk| jwk.contains_key("d")) {
        return Err("jwk");
    }
    let coordinate = |name: &str| BASE64URL.decode(jwk[name].as_str().unwrap_or_default()).unwrap_or_default();
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    let signature = BASE64URL.decode(signature).map_err(|_| "signature")?;
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    public.verify(signed.as_bytes(), &signature).map_err(|_| "signature")?;
    if claims["htm"] != record.method {
        return Err("htm");
    }
    if claims["htu"] != format!("{origin}{}", record.path) {
        return Err("htu");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    if claims["iat"].as_i64().is_none_or(|iat| (now - iat).abs() > 60) {
        return Err("iat");
    }
    if claims["ath"].as_str() != token.map(|token| BASE64URL.encode(Sha256::digest(token))).as_deref() {
        return Err("ath");
    }
    if !state.proofs.insert(claims["jti"].as_str().ok_or("jti")?.to_owned()) {
        return Err("a proof for the second time");
    }
    // RFC 7638 section 3: these members, in this order.
    let (x, y) = (jwk["x"].as_str().unwrap_or_default(), jwk["y"].as_str().unwrap_or_default());
    let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    Ok((BASE64URL.encode(Sha256::digest(thumbprint)), claims["nonce"].as_str().map(str::to_owned)))
}
