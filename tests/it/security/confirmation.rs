//! Access tokens that say what key they are bound to (`cnf`, RFC 7800), from a server that binds them to another client's.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{
    browser::{Person, login},
    sandbox::{Run, Sandbox},
    vendor::{Effect, On, Reply, Script, Vendor},
};

/// A JWT that is bound as `cnf` says.
fn jwt(cnf: &Value) -> String {
    let part = |json: &Value| BASE64URL.encode(json.to_string());
    format!("{}.{}.c2ln", part(&json!({"alg": "ES256"})), part(&json!({"sub": "x", "cnf": cnf})))
}

fn answer(kind: &str, token: &str) -> Effect {
    Effect::Answer(Reply::new(200).json(&json!({"access_token": token, "token_type": kind, "refresh_token": "r"})))
}

/// A certificate with its key, in PEM, and its thumbprint.
fn certificate() -> (String, String) {
    let own = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
    let pem = format!("{}{}", own.cert.pem(), own.signing_key.serialize_pem());
    (pem, BASE64URL.encode(Sha256::digest(own.cert.der())))
}

/// What a client asks for, and how its first token is bound.
struct Case {
    options: Vec<String>,
    kind: &'static str,
    cnf: Value,
    /// What the refusal says, and the way out; `None` if the token is the client's.
    refusal: Option<[&'static str; 2]>,
}

fn cases(sandbox: &Sandbox) -> Vec<Case> {
    let (pem, own) = certificate();
    let (_, other) = certificate();
    let file = sandbox.give("certificate.pem", pem).display().to_string();
    let certified = || ["--client-certificate-file", &file].map(str::to_owned).to_vec();
    let dpop = || vec!["--dpop".to_owned()];
    let case = |options, kind, cnf, refusal| Case { options, kind, cnf, refusal };
    let by_another = Some(["another certificate than this client's", "operator"]);
    let needs_certificate = Some(["this client has none", "--client-certificate-file PATH"]);
    vec![
        case(certified(), "Bearer", json!({"x5t#S256": own}), None),
        case(certified(), "Bearer", json!({}), None),
        case(certified(), "Bearer", json!({"x5t#S256": other}), by_another),
        case(certified(), "Bearer", json!({"x5t#S256": own.to_lowercase()}), by_another),
        case(certified(), "Bearer", json!({"x5t#S256": own, "jkt": other}), Some(["a DPoP key", "--dpop"])),
        case(vec![], "Bearer", json!({"x5t#S256": other}), needs_certificate),
        case(vec![], "Bearer", json!({"jkt": other}), Some(["a DPoP key, but", "--dpop"])),
        case(vec![], "Bearer", json!({"kid": "x"}), None),
        case(dpop(), "DPoP", json!({"jkt": other}), Some(["another DPoP key", "discarded"])),
        case(dpop(), "DPoP", json!({"x5t#S256": other}), needs_certificate),
    ]
}

/// A vendor that supports DPoP, with the client `id`.
fn vendor() -> Vendor {
    let metadata = json!({"dpop_signing_alg_values_supported": ["ES256"]});
    Vendor::start(Script { authorization_server: metadata, ..Script::people() })
}

#[track_caller]
fn expect(run: Run, refusal: Option<[&str; 2]>, what: &str) {
    match refusal {
        None => drop(run.expect_success()),
        Some(words) => {
            let run = run.expect_code(5);
            assert!(words.iter().all(|words| run.stderr.contains(words)), "{what}: {}", run.stderr);
        }
    }
}

/// t050: a token that is bound to the key of another client is refused at the sign-in, whatever the grant, with what to
/// do; nothing of it is stored or sent. Opaque tokens and other confirmations pass.
#[test]
fn t050_a_token_bound_to_another_client_is_refused() {
    let files = Sandbox::new();
    for Case { options, kind, cnf, refusal } in cases(&files) {
        let (mut sandbox, vendor) = (Sandbox::new(), vendor());
        let token = jwt(&cnf);
        vendor.fault(On::Path("/token"), answer(kind, &token));
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        vendor.know("id", "s");
        let secret = sandbox.give("secret", "s").display().to_string();
        let client = ["--client-id", "id", "--client-secret-file", &secret, "--timeout", "20"];
        let (run, _browser) = login(&mut sandbox, Person::Consents, &vendor.url(), &[&client[..], &options].concat());
        expect(run, refusal, &cnf.to_string());
        let run = sandbox.finmcp(["token", &vendor.url()]);
        assert_eq!(run.code, Some(if refusal.is_some() { 4 } else { 0 }), "{cnf}: {}", run.stderr);
        assert_eq!(vendor.records_at("/token").len(), 1, "{cnf}: the code is used once");
        if refusal.is_some() {
            sandbox.assert_no_secret(&[token]);
        }
    }
}

/// t050: the same at a renewal: the token is not stored, nor sent to the MCP server, and the one before stays.
#[test]
fn t050_a_renewal_keeps_no_token_of_another_client() {
    let files = Sandbox::new();
    for Case { options, kind, cnf, refusal } in cases(&files).into_iter().filter(|case| case.kind == "Bearer") {
        let (mut sandbox, vendor) = (Sandbox::new(), vendor());
        vendor.know("id", "s");
        let secret = sandbox.give("secret", "s").display().to_string();
        let client = ["--client-id", "id", "--client-secret-file", &secret, "--timeout", "20"];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let (run, _browser) = login(&mut sandbox, Person::Consents, &vendor.url(), &[&client[..], &options].concat());
        run.expect_success();
        let before = sandbox.finmcp(["token", &vendor.url()]).expect_success().stdout;
        let token = jwt(&cnf);
        vendor.fault(On::Path("/token"), answer(kind, &token));
        let run = sandbox.finmcp(["token", &vendor.url(), "--force-refresh"]);
        let after = sandbox.finmcp(["token", &vendor.url()]).expect_success().stdout;
        match refusal {
            None => assert_eq!((run.expect_success().stdout.trim(), after.trim()), (&token[..], &token[..])),
            Some([words, _]) => {
                let run = run.expect_code(5);
                assert!(run.stderr.contains(words), "{cnf}: {}", run.stderr);
                assert_eq!(after, before, "{cnf}");
                sandbox.assert_no_secret(&[token]);
            }
        }
    }
}
