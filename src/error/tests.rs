//! The text of every error. The matches are exhaustive, so that a new kind needs an example here.

mod catalogue;

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::StatusCode;
use jiff::Timestamp;
use tokio::{io::AsyncReadExt, net::TcpListener};

use self::catalogue::{catalogue, written};
use super::*;
use crate::{
    bridge::control::audit::{Audit, AuditOptions},
    client::ClientError,
    conversation::{
        failure::{Failure, Refusal},
        reply::{self, ServerLabels},
    },
    credential::{
        assertion::AssertionError,
        clock::SystemClock,
        store::{KeyKind, Mismatch, StoreError},
        token_source::{LoginReason, SignInFailure, TokenSourceError},
    },
    disk::{lock::LockError, private_folder::UnsafePlace},
    http::{CertificateProblem, Http, HttpError},
    login::{error::LoginError, mcp_remote::LeftoverError},
    mcp::{malformed::Malformed, message::Message},
    oauth::{
        confirmation::ForeignBinding,
        discovery::DiscoveryError,
        error::{OAuthError, PushError, RegistrationError, TokenError, Untrusted},
        private_key::{Algorithm, PrivateKeyError},
    },
    profile::{
        Profile,
        profiles::Profiles,
        selector::{Selector, SelectorError},
    },
    server_url::{ServerUrl, ServerUrlError, reach::Zone},
    settings::error::SettingsError,
    setup::{change::Taken, client::Client, error::DocumentError, file::FileError},
    tool::arguments::ArgumentError,
};

/// Compares the examples with the snapshot. Does not compile unless the kinds are complete.
macro_rules! assert_words {
    ($error:ident { $($kind:ident)+ }, $examples:expr) => {
        assert_words!($error { $($kind)+ }, $examples, written)
    };
    ($error:ident { $($kind:ident)+ }, $examples:expr, $words:expr) => {{
        let kind = |error: &$error| match error { $($error::$kind { .. } => stringify!($kind),)+ };
        let text = catalogue($examples, &[$(stringify!($kind)),+], kind, $words);
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(stringify!($error), text);
        });
    }};
}

fn host() -> String {
    "as.example".to_owned()
}

fn path() -> PathBuf {
    "/home/me/file".into()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn denied() -> io::Error {
    io::ErrorKind::PermissionDenied.into()
}

/// A server's error with hostile text.
fn said(code: &str) -> OAuthError {
    OAuthError::new(code, Some("ask\u{1b}[2J us"))
}

fn sandbox() -> Profile {
    let named = |name: &str| Some(name.to_owned());
    let selector = Selector { server: named("asset"), environment: named("sandbox"), ..Selector::default() };
    Profiles::for_tests("").select(&selector).unwrap()
}

fn server() -> ServerUrl {
    "https://mcp.example/mcp".parse().unwrap()
}

fn untrusted() -> Vec<Untrusted> {
    let (expected, found) = ("https://a.example".to_owned(), "https://b.example".to_owned());
    vec![
        Untrusted::Document { document: "the authorization server's metadata", reason: "it is not JSON" },
        Untrusted::Url { member: "token_endpoint", reason: ServerUrlError::Scheme },
        Untrusted::Url { member: "token_endpoint", reason: ServerUrlError::OutOfReach(Zone::Private) },
        Untrusted::Resource { expected: expected.clone(), found: found.clone() },
        Untrusted::Issuer { expected: expected.clone(), found: found.clone() },
        Untrusted::Pkce,
        Untrusted::PkceNotListed,
        Untrusted::AnotherServer { expected, found },
        Untrusted::MixUp,
    ]
}

fn token_errors() -> Vec<TokenError> {
    let codes = ["invalid_client", "invalid_scope", "invalid_target", "unauthorized_client", "teapot"];
    let keys = [PrivateKeyError::Unreadable, PrivateKeyError::Unsupported, PrivateKeyError::Broken];
    let mut errors = vec![
        TokenError::InvalidGrant(said("invalid_grant")),
        TokenError::Unavailable { status: 503 },
        TokenError::Unexplained { status: 400, words: Some("gone".to_owned()) },
        TokenError::Unexplained { status: 404, words: None },
        TokenError::Unusable("its `token_type` is not Bearer"),
        TokenError::Audience { expected: "https://a.example".to_owned(), found: "https://b.example".to_owned() },
        TokenError::Bound(ForeignBinding::OtherCertificate),
        TokenError::Bound(ForeignBinding::NoCertificate),
        TokenError::Bound(ForeignBinding::OtherKey),
        TokenError::Bound(ForeignBinding::NoKey),
        TokenError::NonceWanted,
        TokenError::Http(HttpError::OldTls { host: host() }),
    ];
    errors.extend(codes.map(|code| TokenError::Refused(said(code))));
    errors.extend(keys.map(TokenError::PrivateKey));
    errors
}

fn assertion_errors() -> Vec<AssertionError> {
    let end = Some(Timestamp::UNIX_EPOCH);
    vec![
        AssertionError::Unreadable { path: path(), error: denied() },
        AssertionError::NotJwt { path: path() },
        AssertionError::Refused { path: path(), end, refusal: said("invalid_grant") },
        AssertionError::IdTokenRefused { host: host(), path: path(), end: None, refusal: said("invalid_grant") },
        AssertionError::SignInRefused { host: host(), refusal: said("invalid_grant") },
        AssertionError::NotGranted { host: host(), error: TokenError::Refused(said("access_denied")) },
        AssertionError::NotGranted { host: host(), error: TokenError::Unavailable { status: 503 } },
        AssertionError::GrantRefused { host: host(), refusal: said("invalid_grant") },
        AssertionError::Token(TokenError::NonceWanted),
    ]
}

fn place(problem: &str, fix: &str) -> UnsafePlace {
    UnsafePlace { problem: problem.to_owned(), fix: fix.to_owned() }
}

fn another_key(given: KeyKind, stored: KeyKind) -> StoreError {
    StoreError::AnotherKey(Mismatch { folder: "/home/me/.config/finmcp/credentials".to_owned(), given, stored })
}

fn store_errors() -> Vec<StoreError> {
    vec![
        StoreError::Absent("no D-Bus session".to_owned()),
        StoreError::Locked,
        StoreError::TimedOut(Duration::from_secs(3)),
        StoreError::Failed("the call broke off".to_owned()),
        StoreError::Corrupt("its access token is damaged".to_owned()),
        StoreError::Newer(9),
        StoreError::Unsafe(place("other users can access /a", "run `chmod 700 '/a'`")),
        StoreError::NoKeyFile("/home/me/finmcp.key".to_owned()),
        StoreError::NoKeyring,
        another_key(KeyKind::KeyFile, KeyKind::KeyFile),
        another_key(KeyKind::Passphrase, KeyKind::Passphrase),
        another_key(KeyKind::KeyFile, KeyKind::Passphrase),
        another_key(KeyKind::Passphrase, KeyKind::KeyFile),
        StoreError::NeedsPassphrase,
        StoreError::NeedsKeyFile("/home/me/.config/finmcp/credentials".to_owned()),
        StoreError::ShortPassphrase,
    ]
}

fn lock_errors() -> Vec<LockError> {
    vec![
        LockError::TimedOut(Duration::from_secs(5)),
        LockError::Unsafe(place("/a/locks is a symbolic link", "replace the link with a folder")),
        LockError::Failed { what: "could not open /a/locks/config.lock".to_owned(), source: denied() },
    ]
}

fn token_source_errors() -> Vec<TokenSourceError> {
    let mut examples = vec![TokenSourceError::LoginRequired(LoginReason::Ended), TokenSourceError::Rejected];
    examples.extend(token_errors().into_iter().map(TokenSourceError::from));
    examples.extend(assertion_errors().into_iter().map(TokenSourceError::from));
    examples.extend(store_errors().into_iter().map(TokenSourceError::from));
    examples.extend(lock_errors().into_iter().map(TokenSourceError::from));
    examples.push(TokenSourceError::SignIn(SignInFailure::Failed("the sign-in was refused".to_owned())));
    examples.push(TokenSourceError::Interrupted);
    examples
}

/// One table: the bridge's error response has the same kind and the same hints as the error in the terminal.
#[test]
fn the_bridge_and_the_terminal_give_the_same_advice() {
    let labels = ServerLabels { title: "Asset".to_owned(), login_command: sandbox().login_command() };
    for example in token_source_errors() {
        let error = Error::of_token(example.clone(), &sandbox());
        let failure = Failure::Token(example);
        let message = Message::parse(r#"{"id":1,"method":"tools/call"}"#.into()).unwrap();
        let refusal = Refusal { message, processed: failure.processed(), failure: Arc::new(failure) };
        let response = serving::code_and_text(&labels.refused(&refusal).unwrap());
        let exit_code = if error.kind == ErrorKind::Interrupted { 1 } else { error.kind.exit_code() };
        assert!(response.starts_with(&(-31000 - i32::from(exit_code)).to_string()), "{error:?}: {response}");
        for hint in error.hints() {
            assert!(response.to_lowercase().contains(&hint.to_lowercase()), "{hint} is not in: {response}");
        }
    }
}

#[test]
fn settings_errors() {
    let examples = vec![
        SettingsError::Variable {
            name: "FINMCP_STORE",
            problem: "\"x\": expected keychain, file or memory".to_owned(),
        },
        SettingsError::NoHomeFolder,
        SettingsError::File { path: path(), source: denied() },
        SettingsError::Config { path: path(), problem: "TOML parse error at line 1".to_owned() },
        SettingsError::Exposed { path: path() },
        SettingsError::Overtaken { path: path() },
    ];
    let unchanged = lock_errors().into_iter().map(SettingsError::Unchanged);
    assert_words!(
        SettingsError { Variable NoHomeFolder File Config Exposed Overtaken Unchanged },
        examples.into_iter().chain(unchanged).collect()
    );
}

#[test]
fn selector_errors() {
    let candidates = || names(&["asset", "tesorio"]);
    let name = || "unknown".to_owned();
    let urls = [
        ServerUrlError::Malformed,
        ServerUrlError::Scheme,
        ServerUrlError::Credentials,
        ServerUrlError::Fragment,
        ServerUrlError::TooLong,
        ServerUrlError::OutOfReach(Zone::Public),
        ServerUrlError::OutOfReach(Zone::Private),
        ServerUrlError::OutOfReach(Zone::Loopback),
        ServerUrlError::OutOfReach(Zone::Special),
    ];
    assert_words!(ServerUrlError { Malformed Scheme Credentials Fragment TooLong OutOfReach }, urls.to_vec(), |error| {
        written(SelectorError::Url(error))
    });
    assert_words!(
        SelectorError { Unknown Unsaved SchemeNeeded Broken NoEnvironment Unclear Environment UrlNeeded Embedded Url Name Taken PresetName },
        vec![
            SelectorError::Unknown { name: name(), similar: Vec::new(), candidates: candidates() },
            SelectorError::Unknown { name: "strip".to_owned(), similar: names(&["stripe"]), candidates: candidates() },
            SelectorError::Unsaved { name: name(), saved: names(&["asset-sandbox", "books"]) },
            SelectorError::Unsaved { name: name(), saved: Vec::new() },
            SelectorError::Taken("books".to_owned()),
            SelectorError::SchemeNeeded { address: "localhost:3000/mcp".to_owned() },
            SelectorError::Broken { name: name(), problem: "remove header \"host\" (finmcp sets it)".to_owned() },
            SelectorError::NoEnvironment { environment: name(), candidates: candidates() },
            SelectorError::Unclear { candidates: candidates() },
            SelectorError::Environment { title: "Asset".to_owned(), environment: name(), candidates: candidates() },
            SelectorError::Environment { title: "Tesorio".to_owned(), environment: name(), candidates: Vec::new() },
            SelectorError::UrlNeeded { title: "Masset".to_owned(), provider: "masset".to_owned(), example: None },
            SelectorError::UrlNeeded {
                title: "NetSuite".to_owned(),
                provider: "netsuite".to_owned(),
                example: Some("https://ACCOUNT.example/mcp".to_owned()),
            },
            SelectorError::Embedded,
            SelectorError::Url(ServerUrlError::Malformed),
            SelectorError::Name("a b".to_owned()),
            SelectorError::PresetName("asset".to_owned()),
        ]
    );
}

#[test]
fn login_errors() {
    let after = Duration::from_secs(300);
    let at = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let examples = vec![
        LoginError::Untrusted(Untrusted::MixUp),
        LoginError::NotRequired { host: host() },
        LoginError::NeedsRegistration { host: host() },
        LoginError::NoDeviceCode { host: host() },
        LoginError::NoDpop { host: host() },
        LoginError::NeedsSecret,
        LoginError::Store(TokenSourceError::from(StoreError::Locked)),
        LoginError::NeedsCertificate { host: host() },
        LoginError::NeedsApiKey,
        LoginError::ApiKeyUnusable,
        LoginError::ApiKeyRefused { host: "mcp.example".to_owned() },
        LoginError::KeyRefused { host: host(), algorithms: &[Algorithm::Es256], accepted: Vec::new() },
        LoginError::KeyRefused {
            host: host(),
            algorithms: &[Algorithm::Ps256, Algorithm::Rs256],
            accepted: names(&["ES256", "EdDSA"]),
        },
        LoginError::NeedsAssertion,
        LoginError::Assertion(AssertionError::NotJwt { path: path() }),
        LoginError::Denied(said("access_denied")),
        LoginError::Refused(said("invalid_scope")),
        LoginError::NewClientRefused(said("invalid_client")),
        LoginError::ClientForgotten(said("invalid_client")),
        LoginError::TimedOut { after, known_client: false },
        LoginError::TimedOut { after, known_client: true },
        LoginError::Listener { address: at(80), option: Some("--port"), source: denied() },
        LoginError::Listener { address: at(8000), option: Some("--port"), source: io::ErrorKind::AddrInUse.into() },
        LoginError::Listener { address: at(80), option: Some("--redirect-uri"), source: denied() },
        LoginError::Listener {
            address: ([0, 0, 0, 0, 0, 0, 0, 1], 3118).into(),
            option: Some("--redirect-uri"),
            source: io::ErrorKind::AddrInUse.into(),
        },
        LoginError::Listener { address: at(0), option: None, source: denied() },
        LoginError::Discovery(DiscoveryError::NotMcp { host: host(), status: 404 }),
        LoginError::Registration(RegistrationError::Refused(said("invalid_redirect_uri"))),
        LoginError::Push(PushError::Absent { status: 404 }),
        LoginError::Token(TokenError::NonceWanted),
        LoginError::Http(HttpError::OldTls { host: host() }),
    ];
    assert_words!(
        LoginError {
            Untrusted NotRequired NeedsRegistration NoDeviceCode NoDpop NeedsSecret Store NeedsCertificate NeedsApiKey
            ApiKeyUnusable ApiKeyRefused KeyRefused NeedsAssertion
            Assertion Denied Refused NewClientRefused ClientForgotten TimedOut Listener Discovery Registration Push Token Http
        },
        examples
    );
    assert_words!(
        PushError { Absent Unusable Untrusted Token },
        vec![
            PushError::Absent { status: 404 },
            PushError::Unusable("its `request_uri` is empty, too long or not a URI"),
            PushError::Untrusted(Untrusted::MixUp),
            PushError::Token(TokenError::Refused(said("invalid_request"))),
            PushError::Token(TokenError::Unexplained { status: 400, words: None }),
            PushError::Token(TokenError::Unavailable { status: 503 }),
        ],
        |error| written(LoginError::from(error))
    );
    assert_words!(
        RegistrationError { Refused Unavailable Busy Unusable Http },
        vec![
            RegistrationError::Refused(said("invalid_client_metadata")),
            RegistrationError::Unavailable { status: 503 },
            RegistrationError::Unavailable { status: 401 },
            RegistrationError::Busy { after: Duration::from_secs(600) },
            RegistrationError::Unusable("its `client_id` is empty"),
            RegistrationError::Http(HttpError::OldTls { host: host() }),
        ],
        |error| written(LoginError::Registration(error))
    );
}

#[test]
fn discovery_errors() {
    assert_words!(
        DiscoveryError { Untrusted NoMetadata NoIdentityProvider NotMcp Unavailable AllSilent Http },
        vec![
            DiscoveryError::Untrusted(Untrusted::Pkce),
            DiscoveryError::NoMetadata { host: host() },
            DiscoveryError::NoIdentityProvider { host: host() },
            DiscoveryError::NotMcp { host: host(), status: 404 },
            DiscoveryError::Unavailable { host: host(), status: 503 },
            DiscoveryError::AllSilent {
                silent: vec![
                    crate::oauth::discovery::SilentServer {
                        issuer: "https://as.example".to_owned(),
                        error: DiscoveryError::Unavailable { host: host(), status: 503 },
                    },
                    crate::oauth::discovery::SilentServer {
                        issuer: "https://as2.example".to_owned(),
                        error: DiscoveryError::NoMetadata { host: "as2.example".to_owned() },
                    },
                ],
            },
            DiscoveryError::Http(HttpError::OldTls { host: host() }),
        ]
    );
    assert_words!(
        Untrusted { Document Url Resource Issuer Pkce PkceNotListed AnotherServer MixUp },
        untrusted()
    );
}

#[test]
fn the_reasons_for_a_missing_token() {
    assert_words!(
        TokenError { InvalidGrant Refused Unexplained Unavailable Unusable Audience Bound NonceWanted PrivateKey Http },
        token_errors()
    );
    assert_words!(
        AssertionError { Unreadable NotJwt Refused IdTokenRefused SignInRefused NotGranted GrantRefused Token },
        assertion_errors()
    );
    let reasons = [
        LoginReason::SignedOut,
        LoginReason::Ended,
        LoginReason::ClientForgotten,
        LoginReason::NotRenewable,
        LoginReason::KeyRefused,
        LoginReason::Scope,
    ];
    let of_token = |error| written(Error::of_token(error, &sandbox()));
    assert_words!(LoginReason { SignedOut Ended ClientForgotten NotRenewable KeyRefused Scope }, reasons.to_vec(), |reason| {
        of_token(TokenSourceError::LoginRequired(reason))
    });
    assert_words!(
        TokenSourceError { LoginRequired Refused Unavailable Rejected Assertion Store Lock SignIn Interrupted },
        token_source_errors(),
        of_token
    );
}

#[test]
fn storage_errors() {
    assert_words!(
        StoreError {
            Absent Locked TimedOut Failed Corrupt Newer Unsafe NoKeyFile NoKeyring AnotherKey NeedsPassphrase NeedsKeyFile
            ShortPassphrase
        },
        store_errors()
    );
    assert_words!(LockError { TimedOut Unsafe Failed }, lock_errors());
    let file = || PathBuf::from("/home/me/.mcp-auth/x_tokens.json");
    assert_words!(
        LeftoverError { None Incomplete Unreadable },
        vec![
            LeftoverError::None { server: server(), folder: "/home/me/.mcp-auth".into() },
            LeftoverError::Incomplete { file: file(), missing: "refresh token" },
            LeftoverError::Unreadable { file: file(), source: denied() },
        ]
    );
    let folder = tempfile::tempdir().unwrap();
    let audit = Audit::open(AuditOptions {
        path: folder.path().to_owned(),
        profile: "asset".to_owned(),
        environment: String::new(),
        arguments: false,
        seal: None,
        clock: Arc::new(SystemClock),
        report_failure: Box::new(|_| ()),
    });
    let words = written(audit.err().unwrap()).replace(&folder.path().display().to_string(), "/FOLDER");
    insta::assert_snapshot!(words, @r#"
    exit code 1
    error: could not write the audit log
      caused by: could not open /FOLDER: Is a directory (os error 21)
    hint: fix the problem, or omit --audit-log (with --audit-log, finmcp calls no tool that it cannot log)
    "#);
}

#[test]
fn setup_errors() {
    let documents = || {
        let what = "`mcpServers`".to_owned();
        vec![
            DocumentError::Malformed { line: 3, column: 5, format: "JSON" },
            DocumentError::NotTable { line: 3, what, wanted: "an object" },
            DocumentError::Duplicate { line: 3, name: "asset".to_owned() },
            DocumentError::Unsupported { line: 3, what: "servers on one line" },
        ]
    };
    let of_document = |error| FileError::Document { path: path(), error };
    assert_words!(DocumentError { Malformed NotTable Duplicate Unsupported }, documents(), |error| written(
        of_document(error)
    ));
    assert_words!(
        FileError { Io Dangling Changed Document },
        vec![
            FileError::Io { verb: "read", path: path(), source: denied() },
            FileError::Dangling { path: path() },
            FileError::Changed { path: path() },
            of_document(DocumentError::Malformed { line: 3, column: 5, format: "JSON" }),
        ]
    );
    use crate::setup::change::Holder;
    let taken = |holder| written(Taken { client: Client::ClaudeCode, name: "asset".to_owned(), holder });
    insta::assert_snapshot!([Holder::Other, Holder::Finmcp, Holder::Replaced].map(taken).join(""), @r#"
    exit code 1
    error: Claude Code already has another server named "asset"
    hint: nothing was changed: use --force to replace it or --name NAME to add a second entry; add --dry-run to preview
    exit code 1
    error: Claude Code already has a finmcp entry named "asset" for another server
    hint: nothing was changed: use --force to replace it or --name NAME to add a second entry; add --dry-run to preview
    exit code 1
    error: Claude Code already uses "asset" for a server that this command replaces
    hint: nothing was changed: use --name NAME to choose another name
    "#);
}

#[test]
fn call_errors() {
    let refused = [-31002, -31003, -31004, -31005, -31006, -32602]
        .map(|code| ClientError::Refused { code, message: format!("the server's error message (code {code})") });
    let others =
        [ClientError::InvalidResponse("there is no result in it"), ClientError::Ended, ClientError::Broken(denied())];
    assert_words!(ClientError { Refused InvalidResponse Ended Broken }, refused.into_iter().chain(others).collect());
    let (tool, name) = (|| "list_invoices".to_owned(), || "from".to_owned());
    assert_words!(
        ArgumentError { Unnamed Unknown Twice Missing Mistyped Malformed Unreadable NoObject },
        vec![
            ArgumentError::Unnamed("2025".to_owned()),
            ArgumentError::Unknown { tool: tool(), name: "form".to_owned(), known: names(&["from", "to"]) },
            ArgumentError::Unknown { tool: tool(), name: name(), known: Vec::new() },
            ArgumentError::Twice(name()),
            ArgumentError::Missing { tool: tool(), missing: names(&["from", "to"]) },
            ArgumentError::Mistyped { name: name(), wanted: "number".to_owned(), value: "x".to_owned() },
            ArgumentError::Unreadable("EOF while parsing a value at line 1 column 0".to_owned()),
            ArgumentError::Malformed { name: name(), problem: "expected value at line 1 column 1".to_owned() },
            ArgumentError::NoObject,
        ]
    );
}

/// A failing request for each error that the HTTP client itself reports.
async fn http_errors() -> Vec<HttpError> {
    let http = Http::default();
    let failing =
        async |http: &Http, url: &str| http.fetch(&url.parse().unwrap(), Default::default()).await.unwrap_err();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let closing = tokio::spawn(async move {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Waits until the request was sent.
            let _ = stream.read(&mut [0; 64]).await;
        }
    });
    let submitted = async || {
        http.submit(&format!("http://{address}/").parse().unwrap(), http::Request::new(Vec::new()), None)
            .await
            .unwrap_err()
    };
    let broken = submitted().await;
    let HttpError::Broken { source, .. } = submitted().await else { panic!("not broken") };
    let unprocessed = HttpError::Unprocessed { host: host(), source };
    closing.await.unwrap();
    let unreachable = failing(&http, &format!("http://{address}/")).await;
    let no_certificate = b"no certificate".to_vec().into();
    let setup = failing(&Http::trusting(vec![no_certificate]), "https://a.example/").await;
    vec![unreachable, broken, unprocessed, setup]
}

#[cfg(unix)]
#[tokio::test]
async fn network_errors() {
    let out_of_reach = |zone| HttpError::OutOfReach { host: host(), zone };
    let mut examples = http_errors().await;
    examples.extend([
        HttpError::TimedOut { host: host(), after: Duration::from_secs(10) },
        HttpError::TooLarge { host: host(), limit: 1 << 20 },
        out_of_reach(Zone::Private),
        out_of_reach(Zone::Special),
        HttpError::Certificate { host: host(), problem: CertificateProblem::Expired },
        HttpError::OldTls { host: host() },
        HttpError::CertificateRequired { host: host() },
        HttpError::Redirected { host: host(), status: StatusCode::FOUND, target: None },
        HttpError::Redirected {
            host: host(),
            status: StatusCode::FOUND,
            target: Some("https://b.example/login".to_owned()),
        },
        HttpError::Undecodable { host: host(), problem: "Content-Encoding: zstd".to_owned() },
    ]);
    assert_words!(
        HttpError {
            Unreachable Broken TimedOut TooLarge OutOfReach Certificate CertificateRequired OldTls Redirected Undecodable Setup Unprocessed
        },
        examples,
        |error| steady(&written(error))
    );
}

/// `text` without ports and OS error numbers, which differ between runs.
fn steady(text: &str) -> String {
    let without = |text: &str, before: &str, name: &str| {
        let mut parts = text.split(before);
        let first = parts.next().unwrap_or_default().to_owned();
        let rest = parts.map(|part| part.trim_start_matches(|character: char| character.is_ascii_digit()));
        rest.fold(first, |text, part| format!("{text}{before}{name}{part}"))
    };
    without(&without(text, "127.0.0.1:", "PORT"), "os error ", "N")
}

mod serving;
