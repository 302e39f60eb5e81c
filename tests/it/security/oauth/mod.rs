//! Signing in at servers as they are: what deviates from the specifications harmlessly is taken, and what is not harmless
//! is still refused. The names of the tests begin with the row of the fault.

mod clients;
mod documents;
mod registration;
mod tokens;

use std::{thread, time::Duration};

use serde_json::{Value, json};

use crate::support::{
    browser::{FakeBrowser, Person, login, sign_in_at, signed_in},
    eventually,
    sandbox::{Run, Sandbox},
    serve::Serve,
    vendor::{
        Device, Effect, On, OtherRedirectUris, OtherScopes, Recorded, Registration, Reply, Script, SecretPlace, Vendor,
    },
};

const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource/mcp";
const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";

/// Signs a person in who consents, at `url`.
fn sign_in(sandbox: &mut Sandbox, url: &str, more: &[&str]) -> (Run, FakeBrowser) {
    login(sandbox, Person::Consents, url, &[&["--timeout", "20"], more].concat())
}

/// The client that each authorization request was for, in order.
fn asked_for(vendor: &Vendor) -> Vec<String> {
    vendor.records_at("/authorize").iter().map(|record| record.query()["client_id"].clone()).collect()
}
