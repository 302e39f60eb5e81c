//! Signing in at servers that follow the specifications: what is asked, in which order, and as which client.

mod clients;
mod device;
mod discovery;
mod machines;
mod requests;

use serde_json::{Value, json};

use crate::{
    commands::login::CLIENT_SECRET,
    support::{
        browser::{FakeBrowser, Person, login, sign_in_at},
        eventually,
        sandbox::{Run, Sandbox},
        vendor::{Device, Effect, IssuerParameter, On, OtherRedirectUris, Registration, Reply, Script, Vendor},
    },
};

const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource/mcp";
const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";

/// A person signs in at `vendor` who consents.
fn sign_in(sandbox: &mut Sandbox, vendor: &Vendor, more: &[&str]) -> (Run, FakeBrowser) {
    login(sandbox, Person::Consents, &vendor.url(), &[&["--timeout", "20"], more].concat())
}

/// The same person signs in once more.
fn sign_in_again(sandbox: &Sandbox, vendor: &Vendor, more: &[&str]) -> Run {
    sandbox.finmcp([&["login", &vendor.url(), "--timeout", "20"], more].concat())
}

/// Tokens for requests that the vendor would refuse.
fn tokens() -> Reply {
    Reply::new(200).json(&json!({"access_token": "access-0123456789", "token_type": "bearer", "expires_in": 3600}))
}

/// Method and path of every request so far.
fn paths(vendor: &Vendor) -> Vec<String> {
    vendor.records().iter().map(|record| format!("{} {}", record.method, record.path)).collect()
}

/// The authorization server's metadata, as the issuer `issuer`.
fn metadata(vendor: &Vendor, issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": vendor.at("/authorize"),
        "token_endpoint": vendor.token_endpoint(),
        "registration_endpoint": vendor.at("/register"),
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "scopes_supported": ["mcp", "offline_access"],
    })
}
