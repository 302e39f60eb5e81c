//! The FAPI 2.0 Security Profile, as the certified OpenID provider (oidc-provider) enforces it: pushed requests, clients
//! with keys or certificates, and tokens that are bound to them. `tests/run.sh` installs it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;

use crate::{
    security::provider::{Events, Provider},
    support::{
        browser::{FakeBrowser, Person, login},
        sandbox::{Run, Sandbox},
        visitor::{post_form, visit},
    },
};

/// The files of a test: the server's own, and the clients' keys and certificates.
struct Files {
    server: PathBuf,
    /// A self-signed certificate and its key.
    certificate: PathBuf,
    /// The same in two files.
    bare_certificate: PathBuf,
    key: PathBuf,
    /// A certificate of an authority, and its key.
    subject: PathBuf,
    ca: PathBuf,
    /// An RSA key.
    rsa: PathBuf,
    /// Every line of the private keys.
    canaries: Vec<String>,
}

impl Files {
    /// Writes the files, and has finmcp trust the server's certificate.
    fn give(sandbox: &Sandbox) -> Self {
        let name = |name: &str| {
            let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let key = || KeyPair::generate().unwrap();
        let (server, client, subject, authority) = (key(), key(), key(), key());
        let server_certificate = name("server").self_signed(&server).unwrap().pem();
        let own = name("own").self_signed(&client).unwrap().pem();
        let mut params = name("authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&authority).unwrap().pem();
        let signed = name("subject").signed_by(&subject, &Issuer::new(params, authority)).unwrap().pem();
        let both = |certificate: &str, key: &KeyPair| format!("{certificate}{}", key.serialize_pem());
        let folder = sandbox.home().join("finmcp");
        fs::create_dir_all(&folder).unwrap();
        let trusted = sandbox.give("trusted.pem", &server_certificate).display().to_string();
        fs::write(folder.join("config.toml"), format!("ca_file = {trusted:?}\n")).unwrap();
        let rsa = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/rsa-pkcs8.pem");
        let rsa = fs::read_to_string(rsa).unwrap();
        let lines = [client.serialize_pem(), subject.serialize_pem(), rsa.clone()];
        let lines = lines.iter().flat_map(|pem| pem.lines()).filter(|line| line.len() > 20 && !line.starts_with('-'));
        Self {
            server: sandbox.give("server.pem", both(&server_certificate, &server)),
            certificate: sandbox.give("certificate.pem", both(&own, &client)),
            bare_certificate: sandbox.give("bare.pem", &own),
            key: sandbox.give("key.pem", client.serialize_pem()),
            subject: sandbox.give("subject.pem", both(&signed, &subject)),
            ca: sandbox.give("ca.pem", ca),
            rsa: sandbox.give("rsa.pem", &rsa),
            // The first line of every P-256 key begins alike; the secret part is in the others.
            canaries: lines.map(|line| line[line.len() - 20..].to_owned()).collect(),
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn start(files: &Files, bind: &str) -> Provider {
    // With DPoP there are no clients with certificates.
    start_with(files, bind, if bind == "dpop" { &["server", "key"] } else { &["server", "key", "certificate", "ca"] })
}

fn start_with(files: &Files, bind: &str, options: &[&str]) -> Provider {
    let all =
        [("server", &files.server), ("key", &files.key), ("certificate", &files.bare_certificate), ("ca", &files.ca)];
    let given = all.into_iter().filter(|(option, _)| options.contains(option));
    let given = given.map(|(option, file)| format!("--{option}={}", text(file)));
    Provider::start("fapi.cjs", &given.chain([format!("--bind={bind}")]).collect::<Vec<_>>())
}

fn sign_in(provider: &Provider, sandbox: &mut Sandbox, more: &[&str]) -> (Run, FakeBrowser) {
    login(sandbox, Person::Consents, &provider.mcp, &[&["--timeout", "20"], more].concat())
}

/// The errors but for the wish for a nonce, which every first proof meets, and for access tokens that are JWTs, which
/// this provider does not revoke.
fn errors(events: &Events) -> Vec<(&str, &str)> {
    let mut errors = events.errors();
    errors.retain(|(_, error)| !["use_dpop_nonce", "unsupported_token_type"].contains(error));
    errors
}

/// Why the MCP server refused requests with a token.
fn refusals(events: &Events) -> Vec<&str> {
    events.of("mcp").filter_map(|event| event["why"].as_str()).filter(|why| *why != "no token").collect()
}

/// Signs in with `proof` as the only options, calls a tool, renews, calls again and signs out. Nothing of the keys and
/// tokens may leak, and the server has nothing to refuse.
fn live_with(bind: &str, proof: impl Fn(&Files) -> Vec<String>) {
    let sandbox = Sandbox::new();
    let files = Files::give(&sandbox);
    live(bind, sandbox, files, proof);
}

/// The same with these files. Returns what happened.
fn live(bind: &str, mut sandbox: Sandbox, files: Files, proof: impl Fn(&Files) -> Vec<String>) -> Events {
    let provider = start(&files, bind);
    let proof = proof(&files);
    let proof: Vec<&str> = proof.iter().map(String::as_str).collect();
    let (run, browser) = sign_in(&provider, &mut sandbox, &proof);
    run.expect_success();
    let pages = browser.starts();
    let [page] = &pages[..] else { panic!("not one page") };
    let query = url::Url::parse(&page.arguments[0]).unwrap();
    let names: Vec<_> = query.query_pairs().map(|(name, _)| name.into_owned()).collect();
    assert_eq!(names, ["client_id", "request_uri"]);

    let mut serve = sandbox.serve([&provider.mcp]);
    serve.initialize().result();
    serve.echo("before");
    sandbox.finmcp(["token", &provider.mcp, "--force-refresh"]).expect_success();
    serve.echo("after");
    drop(serve);
    // Once more with what is stored, without any file.
    for file in [&files.certificate, &files.bare_certificate, &files.key, &files.subject] {
        fs::remove_file(file).unwrap();
    }
    sandbox.finmcp(["login", &provider.mcp, "--timeout", "20"]).expect_success();
    sandbox.finmcp(["call", "echo", "message=again", "-s", &provider.mcp]).expect_success();
    sandbox.finmcp(["doctor", &provider.mcp]).expect_success();
    sandbox.finmcp(["logout", &provider.mcp]).expect_success();
    sandbox.finmcp(["token", &provider.mcp]).expect_code(4);
    let events = provider.end();
    assert_eq!((errors(&events), refusals(&events)), (vec![], vec![]));
    assert_eq!((events.of("pushed").count(), events.of("authorization").count()), (2, 2));
    assert_eq!((events.grants("authorization_code"), events.grants("refresh_token")), (2, 1));
    let kind = if bind == "dpop" { "DPoP" } else { "Bearer" };
    assert!(events.of("token").all(|event| event["type"] == kind));
    assert!(events.of("revoked").count() >= 1, "the refresh token is revoked");
    sandbox.assert_no_secret(&[events.secrets(), files.canaries].concat());
    events
}

#[test]
fn fapi_with_a_key_and_dpop() {
    live_with("dpop", |files| {
        ["--client-id", "key", "--private-key-file", text(&files.key)].map(str::to_owned).to_vec()
    });
}

/// Section 5.4: an RSA key signs with PS256, at the sign-in and at each renewal.
#[test]
fn fapi_with_an_rsa_key() {
    for bind in ["dpop", "mtls"] {
        let sandbox = Sandbox::new();
        let files = Files::give(&sandbox);
        let files = Files { key: files.rsa.clone(), ..files };
        let events = live(bind, sandbox, files, |files| {
            let key = ["--client-id", "key", "--private-key-file", text(&files.key)];
            let certificate = ["--client-certificate-file", text(&files.subject)];
            let certificate = if bind == "mtls" { &certificate[..] } else { &[] };
            [&key[..], certificate].concat().into_iter().map(str::to_owned).collect()
        });
        let algorithms: Vec<_> = events.of("token").map(|event| &event["algorithm"]).collect();
        assert_eq!(algorithms, ["PS256"; 3], "{bind}");
    }
}

#[test]
fn fapi_with_a_self_signed_certificate() {
    live_with("mtls", |files| {
        ["--client-id", "certificate", "--client-certificate-file", text(&files.certificate)]
            .map(str::to_owned)
            .to_vec()
    });
}

#[test]
fn fapi_with_a_certificate_and_its_key_in_two_files() {
    live_with("mtls", |files| {
        let certificate = ["--client-id", "certificate", "--client-certificate-file", text(&files.bare_certificate)];
        [&certificate[..], &["--private-key-file", text(&files.key)]].concat().into_iter().map(str::to_owned).collect()
    });
}

#[test]
fn fapi_with_a_certificate_of_an_authority() {
    live_with("mtls", |files| {
        ["--client-id", "subject", "--client-certificate-file", text(&files.subject)].map(str::to_owned).to_vec()
    });
}

/// A client that authenticates with a key, whose tokens are bound to another key's certificate.
#[test]
fn fapi_with_a_key_and_tokens_bound_to_a_certificate() {
    live_with("mtls", |files| {
        let key = ["--client-id", "key", "--private-key-file", text(&files.key)];
        let certificate = ["--client-certificate-file", text(&files.subject)];
        [&key[..], &certificate].concat().into_iter().map(str::to_owned).collect()
    });
}

/// The server does enforce the profile: each request that asks for less is refused.
#[test]
fn fapi_the_server_rejects_requests_that_do_not_meet_the_profile() {
    for bind in ["dpop", "mtls"] {
        let mut sandbox = Sandbox::new();
        let files = Files::give(&sandbox);
        let provider = start(&files, bind);
        let proof = match bind {
            "dpop" => ["--client-id", "key", "--private-key-file", text(&files.key)],
            _ => ["--client-id", "certificate", "--client-certificate-file", text(&files.certificate)],
        };
        let client = proof[1];
        // An authorization request that was not pushed.
        let plain = format!(
            "{}/auth?client_id={client}&response_type=code&redirect_uri=http%3A%2F%2F127.0.0.1%2Fcallback&state=1234567890\
             &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256",
            provider.issuer
        );
        let refused = visit("GET", &plain, &[], String::new()).unwrap();
        let refused = refused.header("location").unwrap_or_default();
        assert!(refused.contains("error=invalid_request"), "{bind}: a request in the URL: {refused}");
        // A pushed request without the client's authentication, and one with `plain`.
        for method in ["S256", "plain"] {
            let form = [
                ("client_id", client),
                ("response_type", "code"),
                ("redirect_uri", "http://127.0.0.1/callback"),
                ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
                ("code_challenge_method", method),
            ];
            let refused = post_form(&format!("{}/request", provider.issuer), &form);
            assert_eq!(refused.json()["error"], "invalid_client", "{bind} {method}");
        }
        // finmcp without the key or certificate, and with another's.
        let (run, browser) = sign_in(&provider, &mut sandbox, &["--client-id", client]);
        assert_ne!(run.code, Some(0), "{bind}: no proof");
        assert!(browser.starts().is_empty(), "{}", run.stderr);
        drop(browser);
        let other = if bind == "dpop" { proof_by_another_key(&sandbox) } else { files.subject.clone() };
        let (run, browser) = sign_in(&provider, &mut sandbox, &["--client-id", client, proof[2], text(&other)]);
        assert_ne!(run.code, Some(0), "{bind}: another's proof");
        assert!(run.stderr.contains("invalid_client") && browser.starts().is_empty(), "{}", run.stderr);
        drop(browser);
        // A token without its key or certificate.
        let (run, browser) = sign_in(&provider, &mut sandbox, &proof);
        run.expect_success();
        drop(browser);
        let token = sandbox.finmcp(["token", &provider.mcp]).expect_success().stdout.trim().to_owned();
        let statuses: Vec<u16> =
            ["Bearer", "DPoP"].iter().map(|kind| post_alone(&provider.mcp, kind, &token)).collect();
        assert_eq!(statuses, [401, 401], "{bind}: a stolen token");
        let events = provider.end();
        let errors: Vec<_> = errors(&events).into_iter().map(|(at, _)| at).collect();
        let pushed = errors.iter().filter(|at| **at == "pushed").count();
        assert!(pushed >= 3 && errors.contains(&"authorization"), "{bind}: {errors:?}");
        assert_eq!(refusals(&events).len(), 2, "{bind}: {:?}", refusals(&events));
    }
}

fn proof_by_another_key(sandbox: &Sandbox) -> PathBuf {
    sandbox.give("other-key.pem", KeyPair::generate().unwrap().serialize_pem())
}

/// The status of a request with `token` from a client without a key or certificate.
fn post_alone(url: &str, kind: &str, token: &str) -> u16 {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build().unwrap();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    let request = client.post(url).header("authorization", format!("{kind} {token}"));
    let request =
        request.header("content-type", "application/json").header("accept", "application/json, text/event-stream");
    runtime.block_on(async { request.body(body).send().await.unwrap().status().as_u16() })
}

/// A server whose clients all have certificates says which option is missing, before a browser opens.
#[test]
fn fapi_a_missing_certificate_is_named() {
    let mut sandbox = Sandbox::new();
    let files = Files::give(&sandbox);
    let provider = start_with(&files, "mtls", &["server", "certificate", "ca"]);
    assert!(provider.mcp.starts_with("https://127.0.0.1"));
    let (run, browser) = sign_in(&provider, &mut sandbox, &["--client-id", "certificate"]);
    assert_ne!(run.code, Some(0));
    assert!(run.stderr.contains("--client-certificate-file"), "{}", run.stderr);
    assert!(browser.starts().is_empty());
}
