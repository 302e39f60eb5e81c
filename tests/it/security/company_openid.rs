//! Company sign-in with a certified OpenID provider by other authors (oidc-provider) as the identity provider, and two
//! servers that check the signatures of its ID-JAGs. `tests/run.sh` installs it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    bridge::clients::installed,
    commands::{login::CLIENT_SECRET, token::pass},
    support::{
        browser::{FakeBrowser, Person},
        eventually,
        sandbox::{Run, Sandbox},
        vendor::{Recorded, Registration, Script, Vendor},
        visitor::get,
    },
};

/// Long enough for an exchange on a busy machine, and short enough to wait for its end.
const SHORT: Duration = Duration::from_secs(4);

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The provider, in a separate process. Dropping it ends the process.
struct IdentityProvider {
    child: Child,
    issuer: String,
    events: Arc<Mutex<Vec<Value>>>,
}

impl IdentityProvider {
    fn start() -> Self {
        let script: PathBuf =
            [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "openid", "company.cjs"].iter().collect();
        let mut command = Command::new(installed("FINMCP_TEST_NODE"));
        command.env_clear().env("NODE_PATH", installed("FINMCP_TEST_NODE_MODULES")).arg(script);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready: Value = serde_json::from_str(&lines.next().expect("the provider starts").unwrap()).unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&events);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, issuer: ready["issuer"].as_str().unwrap().to_owned(), events }
    }

    /// Has it behave like this from now on.
    fn behave(&self, behaviour: &Value) {
        let before = self.count("changed");
        writeln!(self.child.stdin.as_ref().unwrap(), "{behaviour}").unwrap();
        eventually("the change", || (self.count("changed") > before).then_some(()));
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        self.events.lock().unwrap().iter().filter(|event| event["event"] == kind).cloned().collect()
    }

    fn count(&self, kind: &str) -> usize {
        self.events(kind).len()
    }

    fn grants(&self, grant: &str) -> usize {
        self.events("token").iter().filter(|event| event["grant"] == grant).count()
    }

    /// The user's tokens and codes, and the ID-JAGs.
    fn secrets(&self) -> [Vec<String>; 2] {
        let (id_jags, users): (Vec<_>, Vec<_>) =
            self.events("token").into_iter().partition(|event| event["grant"] == TOKEN_EXCHANGE);
        let secrets = |event: &Value| serde_json::from_value::<Vec<String>>(event["secrets"].clone()).unwrap();
        [users, id_jags].map(|events| events.iter().flat_map(secrets).collect())
    }

    /// A server that accepts this provider's signed ID-JAGs, and knows finmcp as `x`.
    fn trusting_server(&self) -> Vendor {
        Vendor::start(Script {
            trusted_issuer: Some(self.issuer.clone()),
            trusted_keys: get(&format!("{}/jwks", self.issuer)).json(),
            clients: vec![("x".to_owned(), Some(CLIENT_SECRET.to_owned()))],
            registration: Registration::Closed,
            refresh_tokens: false,
            ..Script::people()
        })
    }
}

impl Drop for IdentityProvider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An employee at a browser, the identity provider, and two servers that trust it.
struct Office {
    // Ends before its files do.
    browser: FakeBrowser,
    sandbox: Sandbox,
    provider: IdentityProvider,
    servers: [Vendor; 2],
}

impl Office {
    fn new() -> Self {
        let mut sandbox = Sandbox::new();
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        let provider = IdentityProvider::start();
        let servers = [provider.trusting_server(), provider.trusting_server()];
        Self { sandbox, browser, provider, servers }
    }

    fn login(&self, server: &Vendor) -> Run {
        self.login_as(server, &["--identity-provider-client-id", "sso"])
    }

    fn login_as(&self, server: &Vendor, client: &[&str]) -> Run {
        let secret = self.sandbox.give("client-secret", CLIENT_SECRET);
        let (url, secret) = (server.url(), secret.to_str().unwrap());
        let arguments = ["login", &url, "--client-id", "x", "--client-secret-file", secret, "--timeout", "20"];
        let provider = ["--identity-provider", &self.provider.issuer];
        self.sandbox.finmcp([&arguments[..], &provider, client].concat())
    }

    fn token(&self, server: &Vendor) -> Run {
        self.sandbox.finmcp(["token", &server.url(), "--force-refresh"])
    }
}

#[test]
fn one_sign_in_at_a_real_provider_is_enough_for_two_servers() {
    let office = Office::new();
    for server in &office.servers {
        office.login(server).expect_success();
        let mut serve = office.sandbox.serve([server.url()]);
        serve.initialize().result();
        serve.echo("hi");
        assert_eq!((server.complaints(), server.records_at("/authorize").len()), (vec![], 0));
    }
    assert_eq!(office.browser.starts().len(), 1, "one page for both");
    let provider = &office.provider;
    assert_eq!(provider.events("error"), Vec::<Value>::new());
    let wanted = json!({"event": "authorization", "client": "sso", "scope": "offline_access openid", "method": "S256", "has_nonce": true});
    assert_eq!(provider.events("authorization"), [wanted]);
    // Each ID-JAG was for one server.
    let audiences: Vec<_> = provider.events("exchange").iter().map(|event| event["audience"].clone()).collect();
    assert_eq!(audiences, office.servers.each_ref().map(|server| json!(server.origin())));
    let [users, id_jags] = provider.secrets();
    for server in &office.servers {
        let requests: String = server.records().iter().map(Recorded::text).collect();
        let leaked = users.iter().filter(|secret| requests.contains(*secret)).count();
        assert_eq!((users.len(), leaked), (5, 0), "the user's tokens stay between the provider and finmcp");
    }
    let [first, second] = office.servers.each_ref().map(Vendor::secrets);
    office.sandbox.assert_no_secret(&[users, id_jags, first, second].concat());
}

#[test]
fn a_client_with_a_secret_at_a_real_provider() {
    let office = Office::new();
    let secret = office.sandbox.give("sso-secret", "correct horse+battery/staple");
    let client = ["--identity-provider-client-id", "sso-secret", "--identity-provider-client-secret-file"];
    office.login_as(&office.servers[0], &[&client[..], &[secret.to_str().unwrap()]].concat()).expect_success();
    office.token(&office.servers[0]).expect_success();
    assert_eq!(office.provider.events("error"), Vec::<Value>::new());
    assert_eq!(office.provider.count("exchange"), 2);
    office.sandbox.assert_no_secret(&["correct horse+battery/staple".to_owned()]);
}

/// The refresh token brings a new ID token, without the user. It rotates, and using one twice would end the sign-in.
#[test]
fn an_expired_id_token_of_a_real_provider_is_renewed() {
    let office = Office::new();
    office.provider.behave(&json!({"lifetime": SHORT.as_secs()}));
    office.login(&office.servers[0]).expect_success();
    for _ in 0..2 {
        pass(SHORT);
        office.token(&office.servers[0]).expect_success();
    }
    let provider = &office.provider;
    let renewals = provider.grants("refresh_token");
    assert!(renewals >= 2, "{renewals}");
    office.login(&office.servers[1]).expect_success();
    assert_eq!((office.browser.starts().len(), provider.grants("authorization_code")), (1, 1));
    assert_eq!((provider.count("revoked"), provider.events("error")), (0, vec![]));
}

#[test]
fn login_all_and_logout_at_a_real_provider() {
    let office = Office::new();
    for server in &office.servers {
        office.login(server).expect_success();
    }
    // One server's logout keeps the company sign-in.
    let [first, second] = office.servers.each_ref().map(Vendor::url);
    let run = office.sandbox.finmcp(["logout", &first]).expect_success();
    run.expect_stderr(&["company sign-in", "finmcp logout --all"]);
    office.sandbox.finmcp(["token", &first]).expect_code(4);
    office.token(&office.servers[1]).expect_success();
    assert_eq!(office.provider.count("revoked"), 0);

    let secret = office.sandbox.give("client-secret", CLIENT_SECRET);
    let login_all = ["login", "--all", "--client-secret-file", secret.to_str().unwrap(), "--timeout", "20"];
    office.sandbox.finmcp(login_all).expect_success();
    assert_eq!(office.browser.starts().len(), 1, "no page while the company sign-in is there");

    office.sandbox.finmcp(["logout", "--all"]).expect_success().expect_stderr(&["company sign-in"]);
    assert_eq!(office.provider.count("revoked"), 1, "revoked at the provider");
    for url in [&first, &second] {
        office.sandbox.finmcp(["token", url]).expect_code(4);
    }
    office.sandbox.finmcp(login_all).expect_success();
    assert_eq!(office.browser.starts().len(), 2, "one page for both");
    for server in &office.servers {
        office.token(server).expect_success();
    }
}

/// An administrator's refusal is neither a reason to sign in again nor one to try another way.
#[test]
fn what_a_real_provider_does_not_grant_is_refused() {
    for code in ["access_denied", "invalid_target", "unauthorized_client", "invalid_scope"] {
        let office = Office::new();
        office.provider.behave(&json!({"refuse": code}));
        let run = office.login(&office.servers[0]).expect_code(1);
        run.expect_stderr(&["granted no access", code]);
        assert_eq!((office.provider.count("exchange"), office.browser.starts().len()), (0, 1), "{code}");
        assert!(office.servers[0].records_at("/token").is_empty(), "{code}: nothing was sent to the server");
        // The sign-in itself was good, and is kept for the servers that the administrator approves.
        office.provider.behave(&json!({"refuse": null}));
        office.login(&office.servers[1]).expect_success();
        assert_eq!(office.browser.starts().len(), 1, "{code}");
    }
}

/// A server refuses an ID-JAG for another server, and finmcp does not take the refusal for an ended sign-in.
#[test]
fn a_grant_for_another_audience_opens_nothing() {
    let office = Office::new();
    office.provider.behave(&json!({"audience": office.servers[1].origin()}));
    let run = office.login(&office.servers[0]);
    assert_ne!(run.code, Some(0), "{}", run.stderr);
    run.expect_stderr(&[
        "rejected the grant (ID-JAG) issued by the identity provider 127.0.0.1",
        "meant for another server",
    ]);
    assert_eq!((office.provider.count("exchange"), office.browser.starts().len()), (1, 1));
    assert_eq!(office.servers[0].records_at("/token").len(), 1, "a refused grant is not sent twice");
    assert!(office.servers[1].records().is_empty(), "nor to the server that it is for");
}

/// An ID token that was not issued by this provider, to this client, for this sign-in is not used.
#[test]
fn id_tokens_that_are_not_from_this_sign_in_are_refused() {
    for (claims, reason) in [
        (json!({"iss": "https://other.example"}), "another issuer"),
        (json!({"aud": "another-client"}), "another client"),
        (json!({"aud": ["another-client"]}), "another client"),
        (json!({"nonce": "of-another-sign-in"}), "not for this sign-in"),
        (json!({"nonce": null}), "not for this sign-in"),
    ] {
        let office = Office::new();
        office.provider.behave(&json!({"claims": claims}));
        office.login(&office.servers[0]).expect_code(5).expect_stderr(&[reason]);
        assert_eq!(office.provider.count("exchange") + office.provider.count("error"), 0, "{claims}: it was sent");
        assert!(office.servers[0].records_at("/token").is_empty(), "{claims}");
        // Nothing of it was kept.
        office.provider.behave(&json!({"claims": {}}));
        office.login(&office.servers[0]).expect_success();
        assert_eq!(office.browser.starts().len(), 2, "{claims}");
    }
}

/// The same for an ID token that a renewal brings. The next sign-in repairs it.
#[test]
fn a_renewed_id_token_of_another_issuer_is_not_used() {
    let office = Office::new();
    office.provider.behave(&json!({"lifetime": SHORT.as_secs()}));
    office.login(&office.servers[0]).expect_success();
    office.provider.behave(&json!({"lifetime": 3600, "claims": {"iss": "https://other.example"}}));
    pass(SHORT);
    let exchanges = office.provider.count("exchange");
    let run = office.token(&office.servers[0]);
    assert_ne!(run.code, Some(0), "{}", run.stderr);
    run.expect_stderr(&["another issuer"]);
    assert_eq!((office.provider.count("exchange"), office.provider.count("error")), (exchanges, 0));
    office.provider.behave(&json!({"claims": {}}));
    office.login(&office.servers[0]).expect_success();
    office.token(&office.servers[0]).expect_success();
    assert_eq!(office.browser.starts().len(), 2);
}
