//! End-to-end tests of signing in.

use std::{io, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::json;
use url::Url;

use super::{
    browser::{Browser, BrowserError},
    client_credentials::client_credentials,
    context::{Context, Progress, Redirection},
    error::LoginError,
    loopback::Loopback,
    options::{Options, ResourceParameter},
    person::authorization_code,
    rehearsal::{Person, Script, Stage},
    request::{KnownClient, LoginRequest},
    *,
};
use crate::{
    credential::{
        clock::Clock,
        record::{Credential, Identity, Renewal},
    },
    http::Http,
    oauth::{
        challenge::Challenge,
        discovery::DiscoveryError,
        error::{TokenError, Untrusted},
        registration::{ClientAuthentication, ClientRegistration},
        scope::Scope,
    },
    secret::Secret,
    server_url::ServerUrl,
};

const NOW: i64 = 1_763_600_000;

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }
}

fn request(stage: &Stage) -> LoginRequest {
    LoginRequest {
        server: stage.url(),
        title: "Books & Co".to_owned(),
        environment: "sandbox".to_owned(),
        account: "books".to_owned(),
        options: Options::default(),
        client_secret: None,
        known: None,
        force_registration: false,
        challenge: None,
    }
}

/// `request` with a manually registered client.
fn by_client(request: LoginRequest, id: &str, secret: Option<&str>) -> LoginRequest {
    let options = Options { client_id: Some(id.to_owned()), ..request.options };
    LoginRequest { options, client_secret: secret.map(|secret| Secret::new(secret.to_owned())), ..request }
}

/// Signs in; returns the outcome and the events.
async fn sign_in(
    request: LoginRequest,
    person: &Arc<Person>,
    redirection: Redirection,
) -> (Result<Credential, LoginError>, Vec<String>) {
    let http = Http::default();
    let context = Context {
        http: &http,
        clock: &Stopped,
        browser: Some(Arc::clone(person) as Arc<dyn Browser>),
        registrations: None,
    };
    let mut events = Vec::new();
    let outcome = authorization_code(request, redirection, &context, &mut |event| {
        events.push(match event {
            Progress::Busy(_) => "busy".to_owned(),
            Progress::KnownClient => "known client".to_owned(),
            Progress::Page(url) => format!("page {}", url.as_url().path()),
            Progress::Code { .. } => "code".to_owned(),
            Progress::Opened => "opened".to_owned(),
            Progress::NotOpened(_) => "not opened".to_owned(),
            Progress::PasteHere => "paste".to_owned(),
            Progress::WrongPaste(error) => format!("wrong paste: {error}"),
            Progress::Waiting(_) => "waiting".to_owned(),
            Progress::Answered => "answered".to_owned(),
        });
    })
    .await;
    (outcome, events)
}

const PATIENT: Redirection = Redirection { port: None, paste: None, timeout: Duration::from_secs(20) };

async fn attempt(
    script: Script,
    change: impl FnOnce(&mut LoginRequest),
) -> (Stage, Arc<Person>, Result<Credential, LoginError>) {
    let stage = script.stage().await;
    let person = Arc::new(Person::default());
    let mut request = request(&stage);
    change(&mut request);
    let outcome = sign_in(request, &person, PATIENT).await.0;
    (stage, person, outcome)
}

fn opened(person: &Person) -> usize {
    person.opened.lock().unwrap().len()
}

/// t040, t043: a complete sign-in takes five requests before the token request; all requests contain the resource, and
/// the browser shows the success page.
#[tokio::test]
async fn t043_a_user_signs_in() {
    let stage = Script::good().stage().await;
    let person = Arc::new(Person::default());
    let mut request = request(&stage);
    request.options.parameters = vec![("business_id".to_owned(), "biz_1".to_owned())];
    let (credential, events) = sign_in(request, &person, PATIENT).await;
    let credential = credential.unwrap();
    assert_eq!(
        stage.paths(),
        [
            "POST /mcp",
            "GET /.well-known/oauth-protected-resource/mcp",
            "GET /.well-known/oauth-authorization-server/as",
            "POST /register",
            "GET /authorize",
            "POST /token",
        ]
    );
    let resource = format!("{}/mcp", stage.origin);
    let (page, token) = (stage.only("/authorize"), stage.only("/token"));
    for leg in [&page, &token] {
        assert_eq!(leg.field("resource"), Some(&resource[..]));
        assert_eq!(leg.field("client_id"), Some("dyn-1"));
        assert_eq!(leg.field("business_id"), Some("biz_1"));
    }
    assert_eq!(page.field("scope"), Some("mcp offline_access"));
    assert_eq!(page.field("prompt"), Some("consent"));
    let registration: serde_json::Value = serde_json::from_slice(&stage.only("/register").body).unwrap();
    assert_eq!(registration["application_type"], "native");
    assert_eq!(registration["redirect_uris"], json!([page.field("redirect_uri")]));

    let identity = Identity {
        environment: "sandbox".to_owned(),
        issuer: format!("{}/as", stage.origin),
        resource: resource.clone(),
        client_id: "dyn-1".to_owned(),
        account: "books".to_owned(),
    };
    assert_eq!(credential.identity, identity);
    assert!(matches!(credential.renewal, Renewal::RefreshToken));
    assert_eq!(credential.resource, Some(resource));
    assert_eq!(credential.scope.map(|scope| scope.to_string()).as_deref(), Some("mcp offline_access"));
    assert_eq!(credential.token_endpoint.as_str(), format!("{}/token", stage.origin));
    assert_eq!(credential.revocation_endpoint.unwrap().as_str(), format!("{}/revoke", stage.origin));
    assert_eq!(credential.registration.redirect_uri.as_deref(), page.field("redirect_uri"));
    let tokens = credential.tokens.unwrap();
    assert_eq!((&tokens.access_token.expose()[..], &tokens.refresh_token.unwrap().expose()[..]), ("AT", "RT"));
    assert_eq!(tokens.expires_at.unwrap().as_second(), NOW + 3600);

    assert_eq!(events, ["page /authorize", "opened", "waiting", "answered"]);
    assert!(person.pages(1).concat().contains("<h1>You are signed in to Books &amp; Co</h1>"));
    let port = Url::parse(page.field("redirect_uri").unwrap()).unwrap().port();
    assert!(Loopback::bind(port).await.is_ok());
}

/// A script as the browser may exit only after it has read the last page, which waits for the token.
#[tokio::test]
async fn a_browser_that_waits_for_the_last_page() {
    let stage = Script::good().stage().await;
    let person = Arc::new(Person { stays: true, ..Person::default() });
    assert!(sign_in(request(&stage), &person, PATIENT).await.0.is_ok());
    assert!(person.pages(1).concat().contains("<h1>You are signed in to Books &amp; Co</h1>"));
}

/// t023, t024, t025: a request without the right state changes nothing.
#[tokio::test]
async fn t024_other_requests_to_the_redirect_uri_are_ignored() {
    let stage = Script::good().stage().await;
    let mut strays = vec!["code=evil&state=wrong", "code=evil", "error=access_denied&state=", "state=x&state=y", ""];
    strays.resize(1000, "error=access_denied&error_description=CANARY");
    let person = Arc::new(Person { strays, ..Person::default() });
    let outcome = sign_in(request(&stage), &person, PATIENT).await.0;
    assert!(outcome.is_ok());
    assert_eq!(stage.only("/token").field("code"), Some("the code"));
    let pages = person.pages(1001);
    assert!(pages[..1000].iter().all(|page| page.starts_with("HTTP/1.1 400 ") && !page.contains("CANARY")));
}

/// t026, t027: a response with another issuer ends the sign-in. finmcp sends no token request and shows none of its
/// text.
#[tokio::test]
async fn t026_a_mix_up_is_refused() {
    for (iss, refusal) in [
        (Some("{}/other"), None),
        (None, None),
        (Some("{}/as/"), None),
        (Some("{}/other"), Some("error=CANARY&error_description=CANARY")),
    ] {
        let (stage, person, outcome) = attempt(Script { iss, refusal, ..Script::good() }, |_| {}).await;
        let error = outcome.unwrap_err();
        assert!(matches!(error, LoginError::Untrusted(Untrusted::MixUp)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("CANARY"));
        assert!(!stage.paths().contains(&"POST /token".to_owned()));
        let pages = person.pages(1).concat();
        assert!(pages.contains("Could not sign in to Books &amp; Co") && !pages.contains("CANARY"));
    }
}

/// t010, t013, t020, t003: finmcp refuses untrusted metadata before it registers a client or opens a page, and says
/// why.
#[tokio::test]
async fn t020_untrusted_metadata_is_refused_before_the_browser_opens() {
    type Change = fn(&mut Script);
    let cases: [(&str, Change); 9] = [
        ("PKCE with S256", |script| script.server()["code_challenge_methods_supported"] = json!(null)),
        ("PKCE with S256", |script| script.server()["code_challenge_methods_supported"] = json!(["plain"])),
        ("as its issuer, not", |script| script.server()["issuer"] = json!("{}/as/")),
        ("as its issuer, not", |script| script.server()["issuer"] = json!("https://honest.example")),
        ("for the resource https://bank.example/mcp, not for", |script| {
            script.resource()["resource"] = json!("https://bank.example/mcp");
        }),
        ("`authorization_servers` cannot be used: only https", |script| {
            script.resource()["authorization_servers"] = json!(["http://as.example"]);
        }),
        ("names no authorization server", |script| script.resource()["authorization_servers"] = json!([])),
        ("`token_endpoint` cannot be used: only https", |script| {
            script.server()["token_endpoint"] = json!("http://as.example/token");
        }),
        ("`authorization_endpoint` cannot be used", |script| {
            script.server()["authorization_endpoint"] = json!("javascript:alert(1)");
        }),
    ];
    for (reason, change) in cases {
        let mut script = Script::good();
        change(&mut script);
        let (stage, person, outcome) = attempt(script, |_| {}).await;
        let error = outcome.unwrap_err();
        assert!(matches!(error, LoginError::Untrusted(_)) && error.to_string().contains(reason), "{error}");
        assert_eq!(opened(&person), 0, "{reason}");
        assert!(stage.paths().iter().all(|path| path == "POST /mcp" || path.starts_with("GET /.well-known/")));
    }
}

#[tokio::test]
async fn the_user_or_the_server_declines() {
    let refusal = Some("error=access_denied&error_description=not%20today");
    let (stage, _, outcome) = attempt(Script { refusal, ..Script::good() }, |_| {}).await;
    assert_eq!(outcome.unwrap_err().to_string(), "the sign-in was declined: access_denied (\"not today\")");
    assert!(!stage.paths().contains(&"POST /token".to_owned()));
    let refusal = Some("error=invalid_scope");
    let (_, _, outcome) = attempt(Script { refusal, ..Script::good() }, |_| {}).await;
    assert!(matches!(outcome, Err(LoginError::Refused(_))));
    let token = (400, json!({"error": "invalid_grant"}));
    let (_, _, outcome) = attempt(Script { token, ..Script::good() }, |_| {}).await;
    assert!(matches!(outcome, Err(LoginError::Token(TokenError::InvalidGrant(_)))));
    let registration = (400, json!({"error": "invalid_redirect_uri", "error_description": "no loopback"}));
    let (_, person, outcome) = attempt(Script { registration, ..Script::good() }, |_| {}).await;
    let error = outcome.unwrap_err().to_string();
    assert_eq!(
        error,
        "the authorization server refused to register this client: invalid_redirect_uri (\"no loopback\")"
    );
    assert_eq!(opened(&person), 0);
}

/// t014: without a metadata URL in the challenge, finmcp tries the well-known URLs in order, each until a 404, and
/// accepts OpenID Connect's documents.
#[tokio::test]
async fn t014_the_well_known_urls_are_tried_in_order() {
    let mut script = Script::good();
    script.challenge = Some("Bearer");
    let mut resource = script.resource().clone();
    resource["authorization_servers"] = json!(["{}/as"]);
    resource["resource"] = json!("{}");
    let server = script.server().clone();
    script.documents =
        vec![("/.well-known/oauth-protected-resource", resource), ("/as/.well-known/openid-configuration", server)];
    let (stage, _, outcome) = attempt(script, |_| {}).await;
    assert_eq!(outcome.unwrap().resource, Some(stage.origin.clone()));
    assert_eq!(
        stage.paths()[..6],
        [
            "POST /mcp",
            "GET /.well-known/oauth-protected-resource/mcp",
            "GET /.well-known/oauth-protected-resource",
            "GET /.well-known/oauth-authorization-server/as",
            "GET /.well-known/openid-configuration/as",
            "GET /as/.well-known/openid-configuration",
        ]
    );
    // All of the resource's scopes, since the challenge names none.
    assert_eq!(stage.only("/authorize").field("scope"), Some("mcp more offline_access"));
}

/// t014: after an invalid document, finmcp tries no other URL.
#[tokio::test]
async fn t014_an_invalid_document_ends_discovery() {
    let mut script = Script::good();
    script.challenge = Some("Bearer");
    let good = script.resource().clone();
    script.resource()["resource"] = json!("https://bank.example");
    script.documents.push(("/.well-known/oauth-protected-resource", good));
    let (stage, _, outcome) = attempt(script, |_| {}).await;
    assert!(matches!(outcome, Err(LoginError::Untrusted(Untrusted::Resource { .. }))));
    assert_eq!(stage.paths().len(), 2);
}

/// A server of the 2025-03-26 specification, with metadata at its root and without any.
#[tokio::test]
async fn servers_that_are_their_own_authorization_server() {
    let mut script = Script::good();
    script.challenge = Some("Bearer");
    script.iss = None;
    let mut server = script.server().clone();
    server["authorization_response_iss_parameter_supported"] = json!(false);
    for (documents, issuer) in [(vec![], "{}"), (vec![()], "{}"), (vec![()], "{}/")] {
        let mut server = server.clone();
        server["issuer"] = json!(issuer);
        let documents = documents.iter().map(|()| ("/.well-known/oauth-authorization-server", server.clone()));
        let script = Script { documents: documents.collect(), ..script.clone() };
        let (stage, _, outcome) = attempt(script, |_| {}).await;
        let credential = outcome.unwrap();
        assert_eq!(credential.identity.issuer, issuer.replace("{}", &stage.origin));
        assert_eq!(credential.token_endpoint.as_str(), format!("{}/token", stage.origin));
        assert_eq!(stage.only("/token").field("resource"), Some(stage.url().as_str()));
    }
}

/// A server that requires no token needs no sign-in. finmcp closes its session and does not read its endless response.
#[tokio::test]
async fn a_server_without_authorization() {
    let script = Script { challenge: None, documents: vec![], ..Script::good() };
    let (stage, person, outcome) = attempt(script, |_| {}).await;
    assert!(matches!(outcome, Err(LoginError::NotRequired { .. })));
    assert_eq!(opened(&person), 0);
    let closed = stage.seen().into_iter().find(|seen| seen.method == "DELETE").unwrap();
    assert_eq!(closed.headers["mcp-session-id"], "s1");
    // finmcp can sign in to a server that serves some requests without a token and publishes its metadata.
    let (_, _, outcome) = attempt(Script { challenge: None, ..Script::good() }, |_| {}).await;
    assert!(outcome.is_ok());
}

/// Some servers protect only their tools, and some have no handshake: the refusal of the tools counts.
#[tokio::test]
async fn a_server_whose_handshake_is_open() {
    for (script, first, session) in [
        (Script { open: vec!["initialize"], ..Script::good() }, "initialize", true),
        (Script { modern: true, ..Script::good() }, "initialize", false),
    ] {
        let (stage, _, outcome) = attempt(script, |_| {}).await;
        // Of all the scopes that the resource has, the one that the challenge names.
        assert_eq!(outcome.unwrap().scope.unwrap().to_string(), "mcp offline_access");
        let asked: Vec<_> = stage.seen().into_iter().filter(|seen| seen.path == "/mcp").collect();
        assert_eq!((asked[0].method_asked(), asked[1].method_asked()), (first.to_owned(), "tools/list".to_owned()));
        assert_eq!(asked[1].headers.get("mcp-session-id").map(|id| id.as_bytes()), session.then_some(&b"s1"[..]));
        let closed = asked[2..].iter().map(|seen| (seen.method.as_str(), &seen.headers["mcp-session-id"]));
        assert_eq!(closed.count(), usize::from(session));
    }
}

/// After a refusal, finmcp sends no probe, and requests the missing scope in addition to the chosen one.
#[tokio::test]
async fn t064_a_known_challenge_needs_no_probe() {
    let stage = Script::good().stage().await;
    let person = Arc::new(Person::default());
    let challenge = Challenge {
        resource_metadata: Some(format!("{}/.well-known/oauth-protected-resource/mcp", stage.origin)),
        scope: Some("write".parse().unwrap()),
        ..Challenge::default()
    };
    let mut request = LoginRequest { challenge: Some(challenge), ..request(&stage) };
    request.options.scope = "mcp".parse().ok();
    let credential = sign_in(request, &person, PATIENT).await.0.unwrap();
    assert_eq!(credential.scope.unwrap().to_string(), "mcp offline_access write");
    assert_eq!(
        stage.paths(),
        [
            "GET /.well-known/oauth-protected-resource/mcp",
            "GET /.well-known/oauth-authorization-server/as",
            "POST /register",
            "GET /authorize",
            "POST /token",
        ]
    );
}

#[tokio::test]
async fn no_metadata_and_no_client() {
    let script = Script { documents: vec![], ..Script::good() };
    let (_, _, outcome) = attempt(script, |_| {}).await;
    assert!(matches!(outcome, Err(LoginError::Discovery(DiscoveryError::NoMetadata { .. }))));
    let mut script = Script::good();
    script.server()["registration_endpoint"] = json!(null);
    let (_, person, outcome) = attempt(script, |_| {}).await;
    assert!(matches!(outcome, Err(LoginError::NeedsRegistration { .. })));
    assert_eq!(opened(&person), 0);
    let (_, _, outcome) =
        attempt(Script::good(), |request| request.server = request.server.join("/other").unwrap()).await;
    assert!(matches!(outcome, Err(LoginError::Discovery(DiscoveryError::NotMcp { status: 404, .. }))));
}

/// A manually registered client needs no registration, and authenticates as the server requires.
#[tokio::test]
async fn a_pre_registered_client() {
    let mut script = Script::good();
    script.server()["registration_endpoint"] = json!(null);
    let (stage, _, outcome) =
        attempt(script.clone(), |request| *request = by_client(request.clone(), "mine", Some("s3"))).await;
    let credential = outcome.unwrap();
    assert_eq!(stage.only("/token").field("client_secret"), Some("s3"));
    assert_eq!(stage.only("/authorize").field("client_secret"), None);
    assert_eq!(credential.registration.authentication, ClientAuthentication::Body);
    assert_eq!(credential.registration.redirect_uri, None);
    script.server()["token_endpoint_auth_methods_supported"] = json!(null);
    let (stage, _, outcome) =
        attempt(script, |request| *request = by_client(request.clone(), "mine", Some("s3"))).await;
    assert!(outcome.is_ok() && stage.only("/token").headers.contains_key("authorization"));
}

/// t041: if the server reads Client ID Metadata Documents, finmcp prefers that to registering, but prefers a manually
/// registered client.
#[tokio::test]
async fn t041_a_metadata_document_is_the_client() {
    const URL: &str = "https://app.example/client.json";
    let mut script = Script::good();
    script.server()["client_id_metadata_document_supported"] = json!(true);
    let (stage, _, outcome) = attempt(script.clone(), |request| {
        request.options.client_metadata_url = URL.parse().ok();
        let registration = ClientRegistration {
            client_id: "dyn-0".to_owned(),
            client_secret: None,
            authentication: ClientAuthentication::None,
            redirect_uri: Some("http://127.0.0.1:1/callback".to_owned()),
            expires_at: None,
            withheld: Scope::default(),
            other_redirect_uris: Vec::new(),
        };
        let issuer = request.server.join("/as").unwrap().to_string();
        request.known = Some(KnownClient { issuer, registration });
    })
    .await;
    assert_eq!(outcome.unwrap().identity.client_id, URL);
    assert!(!stage.paths().contains(&"POST /register".to_owned()));
    for leg in ["/authorize", "/token"] {
        assert_eq!(stage.only(leg).field("client_id"), Some(URL));
    }

    for (reads, own, client_id) in [(true, Some("mine"), "mine"), (false, None, "dyn-1")] {
        script.server()["client_id_metadata_document_supported"] = json!(reads);
        let (_, _, outcome) = attempt(script.clone(), |request| {
            request.options.client_metadata_url = URL.parse().ok();
            request.options.client_id = own.map(str::to_owned);
        })
        .await;
        assert_eq!(outcome.unwrap().identity.client_id, client_id);
    }
}

/// t017, t040: finmcp reuses an earlier registration with its port and its server; not with another server, and not if
/// the port is in use.
#[tokio::test]
async fn t017_an_earlier_registration() {
    let stage = Script::good().stage().await;
    let person = Arc::new(Person::default());
    let first = sign_in(request(&stage), &person, PATIENT).await.0.unwrap();
    let known = KnownClient { issuer: first.identity.issuer, registration: first.registration };
    let port = Url::parse(known.registration.redirect_uri.as_deref().unwrap()).unwrap().port();
    let count = || stage.paths().iter().filter(|path| *path == "POST /register").count();
    let again = |issuer: &str| LoginRequest {
        known: Some(KnownClient { issuer: issuer.to_owned(), ..known.clone() }),
        ..request(&stage)
    };

    assert!(sign_in(again(&known.issuer), &person, PATIENT).await.0.is_ok());
    assert_eq!(count(), 1);
    assert!(sign_in(again("https://other.example"), &person, PATIENT).await.0.is_ok());
    assert_eq!(count(), 2);
    let holder = Loopback::bind(port).await.unwrap();
    assert!(sign_in(again(&known.issuer), &person, PATIENT).await.0.is_ok());
    assert_eq!(count(), 3);

    // t033: a port that the user chose must be free.
    let insisted = || Redirection { port, ..PATIENT };
    let opened_before = opened(&person);
    let error = sign_in(request(&stage), &person, insisted()).await.0.unwrap_err();
    assert!(matches!(error, LoginError::Listener { .. }), "{error}");
    assert_eq!((count(), opened(&person)), (3, opened_before));
    drop(holder);
    assert!(sign_in(request(&stage), &person, insisted()).await.0.is_ok());
    assert_eq!(
        stage
            .seen()
            .iter()
            .rfind(|seen| seen.path == "/authorize")
            .unwrap()
            .field("redirect_uri")
            .map(Url::parse)
            .unwrap()
            .unwrap()
            .port(),
        port
    );
}

/// t035: the sign-in times out; a browser that does not open does not end it.
#[tokio::test]
async fn t035_the_sign_in_times_out() {
    let stage = Script::good().stage().await;
    let person = Arc::new(Person { leaves: true, ..Person::default() });
    let hurried = Redirection { timeout: Duration::from_millis(100), ..PATIENT };
    let (outcome, events) = sign_in(request(&stage), &person, hurried).await;
    assert!(matches!(outcome, Err(LoginError::TimedOut { known_client: false, .. })));
    assert_eq!(events, ["page /authorize", "opened", "waiting"]);
    let port = Url::parse(stage_redirect(&person).as_str()).unwrap().port();
    assert!(Loopback::bind(port).await.is_ok());
}

fn stage_redirect(person: &Person) -> String {
    let opened = person.opened.lock().unwrap();
    opened[0].as_url().query_pairs().find(|(key, _)| key == "redirect_uri").unwrap().1.into_owned()
}

#[tokio::test]
async fn no_browser_at_all() {
    struct Broken;
    impl Browser for Broken {
        fn open(&self, _: &ServerUrl) -> Result<(), BrowserError> {
            Err(io::Error::from(io::ErrorKind::NotFound).into())
        }
    }
    for browser in [None, Some(Arc::new(Broken) as Arc<dyn Browser>)] {
        let stage = Script::good().stage().await;
        let http = Http::default();
        let told = browser.is_some();
        let context = Context { http: &http, clock: &Stopped, browser, registrations: None };
        let mut not_opened = false;
        let mut progress = |event: Progress<'_>| match event {
            // The user opens the printed URL.
            Progress::Page(url) => {
                let person = Person::default();
                person.open(url).unwrap();
            }
            Progress::NotOpened(_) => not_opened = true,
            _ => {}
        };
        assert!(authorization_code(request(&stage), PATIENT, &context, &mut progress).await.is_ok());
        assert_eq!(not_opened, told);
    }
}

/// t042: the first response ends the other ways: after the browser's request finmcp polls no device code, and after a
/// device code the port is closed.
#[tokio::test]
async fn t042_the_first_response_ends_the_others() {
    for (device, visits) in [(vec!["authorization_pending"; 99], true), (vec!["authorization_pending"], false)] {
        let mut script = Script { device, ..Script::good() };
        script.server()["device_authorization_endpoint"] = json!("{}/device");
        let stage = script.stage().await;
        let (http, person) = (Http::default(), Arc::new(Person { leaves: !visits, ..Person::default() }));
        let context = Context { http: &http, clock: &Stopped, browser: None, registrations: None };
        let mut progress = |event: Progress<'_>| {
            if let Progress::Page(url) = event {
                // Only after finmcp has polled for the device's token.
                let (person, url) = (Arc::clone(&person), url.clone());
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(1500));
                    person.open(&url).unwrap();
                });
            }
        };
        let asked = || stage.paths().iter().filter(|path| *path == "POST /token").count();
        let credential = authorization_code(request(&stage), PATIENT, &context, &mut progress).await.unwrap();
        assert_eq!(credential.tokens.unwrap().access_token.expose(), "AT");
        assert_eq!(stage.paths().contains(&"GET /authorize".to_owned()), visits);
        let before = asked();
        assert!(before >= 2, "finmcp polled for the device's token");
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(asked(), before);
        let redirect = credential.registration.redirect_uri.unwrap();
        assert!(Loopback::bind(Url::parse(&redirect).unwrap().port()).await.is_ok());
    }
}

#[tokio::test]
async fn the_resource_parameter_can_be_set() {
    let (stage, _, outcome) =
        attempt(Script::good(), |request| request.options.resource = ResourceParameter::Fixed("urn:x".to_owned()))
            .await;
    assert_eq!(outcome.unwrap().identity.resource, "urn:x");
    assert_eq!(stage.only("/authorize").field("resource"), Some("urn:x"));
    assert_eq!(stage.only("/token").field("resource"), Some("urn:x"));
    let (stage, _, outcome) =
        attempt(Script::good(), |request| request.options.resource = ResourceParameter::Omitted).await;
    let credential = outcome.unwrap();
    assert_eq!((credential.identity.resource, credential.resource), (format!("{}/mcp", stage.origin), None));
    assert_eq!(stage.only("/authorize").field("resource"), None);
    assert_eq!(stage.only("/token").field("resource"), None);
}

/// A pinned issuer takes precedence over the server's list.
#[tokio::test]
async fn a_pinned_issuer() {
    let mut script = Script::good();
    script.resource()["authorization_servers"] = json!(["https://elsewhere.example"]);
    let stage = script.stage().await;
    let person = Arc::new(Person::default());
    let issuer = Some(format!("{}/as", stage.origin));
    let options = Options { issuer: issuer.clone(), ..Options::default() };
    let outcome = sign_in(LoginRequest { options, ..request(&stage) }, &person, PATIENT).await.0;
    assert_eq!(Some(outcome.unwrap().identity.issuer), issuer);
}

async fn mint(stage: &Stage, mut request: LoginRequest, endpoint: Option<&str>) -> Result<Credential, LoginError> {
    let http = Http::default();
    let context = Context { http: &http, clock: &Stopped, browser: None, registrations: None };
    request.options.token_endpoint = endpoint.map(|path| format!("{}{path}", stage.origin).parse().unwrap());
    client_credentials(request, &context).await
}

/// t042: finmcp shows the code and its page, polls for the token, and opens no browser.
#[tokio::test]
async fn t042_a_device_code() {
    let attempt = async |device: Vec<&'static str>, timeout| {
        let mut script = Script { device, ..Script::good() };
        script.server()["device_authorization_endpoint"] = json!("{}/device");
        let stage = script.stage().await;
        let (http, mut shown) = (Http::default(), Vec::new());
        let context = Context { http: &http, clock: &Stopped, browser: None, registrations: None };
        let outcome = device::device_code(request(&stage), timeout, &context, &mut |event| {
            if let Progress::Code { page, code } = event {
                shown.push(format!("{} {code}", page.as_url().path()));
            }
        })
        .await;
        assert_eq!(shown, ["/go AB-CD"]);
        (stage, outcome)
    };
    let (stage, outcome) = attempt(vec!["authorization_pending"], PATIENT.timeout).await;
    let credential = outcome.unwrap();
    assert_eq!(credential.tokens.unwrap().access_token.expose(), "AT");
    let resource = format!("{}/mcp", stage.origin);
    let asked = stage.only("/device");
    assert_eq!((asked.field("client_id"), asked.field("scope")), (Some("dyn-1"), Some("mcp offline_access")));
    for seen in stage.seen().iter().filter(|seen| ["/device", "/token"].contains(&&seen.path[..])) {
        assert_eq!(seen.field("resource"), Some(&resource[..]));
    }
    assert_eq!(stage.paths().iter().filter(|path| *path == "POST /token").count(), 2);
    assert!(!stage.paths().contains(&"GET /authorize".to_owned()));
    let registration: serde_json::Value = serde_json::from_slice(&stage.only("/register").body).unwrap();
    assert!(registration["grant_types"].to_string().contains("device_code"));

    let (_, outcome) = attempt(vec!["access_denied"], PATIENT.timeout).await;
    assert!(matches!(outcome, Err(LoginError::Denied(_))));
    // Another five seconds would exceed the timeout.
    let (stage, outcome) = attempt(vec!["slow_down"], PATIENT.timeout).await;
    assert!(matches!(outcome, Err(LoginError::TimedOut { after, .. }) if after == Duration::from_secs(3)));
    stage.only("/token");
    let (_, outcome) = attempt(vec!["authorization_pending"; 9], Duration::from_secs(2)).await;
    assert!(matches!(outcome, Err(LoginError::TimedOut { .. })));
}

/// t040: finmcp registers once again with a server that forgets its clients. It does not use a client after its
/// expiry.
#[tokio::test]
async fn t040_a_forgotten_client_is_registered_again_once() {
    let known = |request: &LoginRequest, expires_at| {
        let registration = ClientRegistration {
            client_id: "dyn-0".to_owned(),
            client_secret: None,
            authentication: ClientAuthentication::None,
            redirect_uri: Some("http://127.0.0.1:1/callback".to_owned()),
            expires_at,
            withheld: Scope::default(),
            other_redirect_uris: Vec::new(),
        };
        Some(KnownClient { issuer: request.server.join("/as").unwrap().to_string(), registration })
    };
    let now = Timestamp::from_second(NOW).unwrap();
    let (stage, person, outcome) = attempt(Script::good(), |request| request.known = known(request, Some(now))).await;
    assert_eq!((outcome.unwrap().identity.client_id.as_str(), opened(&person)), ("dyn-1", 1));
    stage.only("/register");

    let script = Script { token: (401, json!({"error": "invalid_client"})), ..Script::good() };
    let stage = script.stage().await;
    let person = Arc::new(Person::default());
    let uri = Loopback::bind(None).await.unwrap().redirect_uri().to_string();
    let mut request = request(&stage);
    request.known = known(&request, None);
    if let Some(known) = &mut request.known {
        known.registration.redirect_uri = Some(uri);
    }
    let outcome = sign_in(request, &person, PATIENT).await.0;
    assert!(matches!(outcome, Err(LoginError::NewClientRefused(_))));
    assert_eq!(opened(&person), 2);
    stage.only("/register");
}

/// t061, t017: the key authenticates the client to its server and is never sent. The user need not provide it again,
/// except for another server.
#[tokio::test]
async fn t061_a_client_with_a_private_key() {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    const KEY: &str = include_str!("../../tests/fixtures/keys/ec-pkcs8.pem");
    let mut script = Script::good();
    script.server()["token_endpoint_auth_methods_supported"] = json!(["none", "private_key_jwt"]);
    let stage = script.stage().await;
    let bare = by_client(request(&stage), "id", None);
    let mut first = by_client(request(&stage), "id", Some(KEY));
    first.options.client_authentication = Some(ClientAuthentication::PrivateKeyJwt);
    let credential = mint(&stage, first, None).await.unwrap();
    assert!(matches!(credential.renewal, Renewal::ClientCredentials));
    let (issuer, registration) = (credential.identity.issuer, credential.registration);
    let known = Some(KnownClient { issuer, registration: registration.clone() });
    mint(&stage, LoginRequest { known, ..bare.clone() }, None).await.unwrap();
    let elsewhere = Some(KnownClient { issuer: "https://elsewhere.example".to_owned(), registration });
    let refused = mint(&stage, LoginRequest { known: elsewhere, ..bare }, None).await;
    assert!(matches!(refused, Err(LoginError::Untrusted(Untrusted::AnotherServer { .. }))));

    let sent: Vec<_> = stage.seen().into_iter().filter(|seen| seen.path == "/token").collect();
    assert_eq!(sent.len(), 2);
    for token in sent {
        assert_eq!(token.field("client_id"), Some("id"));
        assert_eq!(
            token.field("client_assertion_type"),
            Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
        );
        let claims = token.field("client_assertion").unwrap().split('.').nth(1).unwrap();
        let claims: serde_json::Value =
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        assert_eq!(claims["aud"], format!("{}/as", stage.origin));
        assert_eq!((token.field("client_secret"), token.headers.get("authorization")), (None, None));
    }
}

/// t061: finmcp refuses a key whose algorithm the server does not list and signs nothing with it. With a pinned
/// endpoint there is no list, so finmcp tries the key.
#[tokio::test]
async fn t061_a_key_that_the_server_does_not_accept() {
    let by_key = |request: LoginRequest, name: &str| {
        let path = format!("{}/tests/fixtures/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
        let mut request = by_client(request, "id", Some(&std::fs::read_to_string(path).unwrap()));
        request.options.client_authentication = Some(ClientAuthentication::PrivateKeyJwt);
        request
    };
    let (both, secret) = (json!(["client_secret_basic", "private_key_jwt"]), json!(["client_secret_basic"]));
    for (methods, algorithms, ec, rsa) in [
        (&both, json!(["ES256"]), true, false),
        (&both, json!(["RS256", "PS256"]), false, true),
        (&both, json!(null), true, true),
        (&json!(null), json!(null), true, true),
        (&secret, json!(["ES256", "RS256"]), false, false),
    ] {
        let mut script = Script::good();
        script.server()["token_endpoint_auth_methods_supported"] = methods.clone();
        script.server()["token_endpoint_auth_signing_alg_values_supported"] = algorithms.clone();
        for (name, taken) in [("ec-pkcs8", ec), ("rsa-pkcs8", rsa)] {
            let stage = script.clone().stage().await;
            let outcome = mint(&stage, by_key(request(&stage), name), None).await;
            assert_eq!(outcome.is_ok(), taken, "{methods} {algorithms} {name}: {outcome:?}");
            assert!(taken || matches!(outcome, Err(LoginError::KeyRefused { .. })));
            assert_eq!(stage.seen().iter().any(|seen| seen.path == "/token"), taken);
            assert!(mint(&stage, by_key(request(&stage), name), Some("/token")).await.is_ok());
        }
    }
}

/// A pinned token endpoint: one request, the secret in the body, no discovery, and the right expiry for every format
/// of `expires_in`.
#[tokio::test]
async fn client_credentials_with_a_pinned_endpoint() {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    let claims = BASE64_URL_SAFE_NO_PAD.encode(json!({"exp": NOW + 3600, "aud": "x"}).to_string());
    let jwt = format!("e30.{claims}.c2ln");
    for token in [
        json!({"access_token": "opaque", "token_type": "Bearer", "expires_in": 3600}),
        json!({"access_token": "opaque", "token_type": "Bearer", "expires_in": NOW + 3600}),
        json!({"access_token": jwt, "token_type": "Bearer"}),
        json!({"access_token": jwt, "token_type": "Bearer", "expires_in": NOW + 3600}),
    ] {
        let stage = Script { token: (200, token.clone()), ..Script::good() }.stage().await;
        let mut request = by_client(request(&stage), "id", Some("s3"));
        request.options = Options {
            client_authentication: Some(ClientAuthentication::Body),
            scope: "ledger:read".parse().ok(),
            parameters: vec![("business_id".to_owned(), "biz_1".to_owned())],
            ..request.options
        };
        let credential = mint(&stage, request, Some("/token")).await.unwrap();
        assert_eq!(stage.paths(), ["POST /token"]);
        let sent = stage.only("/token");
        for (name, value) in [
            ("client_id", "id"),
            ("client_secret", "s3"),
            ("resource", stage.url().as_str()),
            ("business_id", "biz_1"),
            ("scope", "ledger:read"),
        ] {
            assert_eq!(sent.field(name), Some(value));
        }
        assert!(!sent.headers.contains_key("authorization"));
        assert_eq!(credential.identity.issuer, format!("{}/token", stage.origin));
        assert_eq!(credential.identity.resource, stage.url().as_str());
        assert!(matches!(credential.renewal, Renewal::ClientCredentials));
        assert!(credential.registration.client_secret.is_some());
        assert_eq!(credential.tokens.unwrap().expires_at.map(|end| end.as_second() - NOW), Some(3600), "{token}");
    }
}

/// finmcp discovers the token endpoint. A server for machines only needs neither PKCE nor an authorization endpoint.
#[tokio::test]
async fn client_credentials_by_discovery() {
    let mut script = Script::good();
    for member in ["code_challenge_methods_supported", "authorization_endpoint", "registration_endpoint"] {
        script.server()[member] = json!(null);
    }
    let stage = script.stage().await;
    let asked = by_client(request(&stage), "id", Some("s3"));
    let credential = mint(&stage, asked, None).await.unwrap();
    assert_eq!(credential.identity.issuer, format!("{}/as", stage.origin));
    let sent = stage.only("/token");
    assert_eq!((sent.field("client_secret"), sent.field("scope")), (Some("s3"), Some("mcp")));
    for without_secret in [request(&stage), by_client(request(&stage), "id", None)] {
        let refused = mint(&stage, without_secret, None).await;
        assert!(matches!(refused, Err(LoginError::NeedsSecret)));
    }
}

/// In `serve`, a sign-in runs in a separate task.
#[test]
fn a_sign_in_can_change_threads() {
    fn movable<T: Send>(_: T) {}
    let http = Http::default();
    let context = Context { http: &http, clock: &Stopped, browser: None, registrations: None };
    let request = LoginRequest {
        server: "https://mcp.example".parse().unwrap(),
        title: String::new(),
        environment: String::new(),
        account: String::new(),
        options: Options::default(),
        client_secret: None,
        known: None,
        force_registration: false,
        challenge: None,
    };
    let mut progress = |_: Progress<'_>| {};
    movable(authorization_code(request.clone(), PATIENT, &context, &mut progress));
    movable(client_credentials(request, &context));
}
