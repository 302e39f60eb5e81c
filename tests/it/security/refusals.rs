//! Servers that must not be believed: each is refused with exit code 5, before a browser opens and before a secret goes
//! anywhere, with the cause and the way out. The rows are those of the threat model.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::{
    commands::login::CLIENT_SECRET,
    support::{
        PATIENCE,
        browser::{FakeBrowser, Person},
        eventually,
        internet::{Identity, Internet},
        sandbox::{Run, Sandbox},
        secrets::Canary,
        serve::Serve,
        vendor::{Effect, On, Registration, Reply, Script, TokenShape, Vendor},
        visitor::visit,
    },
};

const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource/mcp";
const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";

/// A vendor that knows the client `x` and its secret, and signs people in.
fn confidential() -> Script {
    Script {
        registration: Registration::Closed,
        clients: vec![("x".to_owned(), Some(CLIENT_SECRET.to_owned()))],
        ..Script::people()
    }
}

fn with_server(patch: Value) -> Script {
    Script { authorization_server: patch, ..confidential() }
}

fn with_resource(patch: Value) -> Script {
    Script { protected_resource: patch, ..confidential() }
}

/// Signs in at `url` as the client `x`, with a person at hand who would consent to anything.
fn sign_in(sandbox: &mut Sandbox, url: &str, more: &[&str]) -> (Run, FakeBrowser) {
    let browser = FakeBrowser::install(sandbox, Person::Consents);
    let secret = sandbox.give("client-secret", CLIENT_SECRET).display().to_string();
    let arguments = ["login", url, "--client-id", "x", "--client-secret-file", &secret, "--timeout", "5"];
    (sandbox.finmcp([&arguments, more].concat()), browser)
}

/// Panics unless the sign-in was refused: exit code 5, each of `said` among the words, the way out as well, no browser,
/// and no secret with `vendor` or anywhere in the sandbox.
#[track_caller]
fn assert_refused(what: &str, run: &Run, said: &[&str], browser: &FakeBrowser, sandbox: &Sandbox, vendor: &Vendor) {
    assert_eq!(run.code, Some(5), "{what}: {}", run.stderr);
    for said in said {
        assert!(run.stderr.contains(said), "{what}: {said:?} is not said: {}", run.stderr);
    }
    let hint = run.stderr.lines().find_map(|line| line.strip_prefix("hint: "));
    assert!(hint.is_some_and(|hint| hint.len() > 20), "{what}: no way out: {}", run.stderr);
    assert!(browser.starts().is_empty(), "{what}: a browser was opened");
    assert_secret_kept(what, vendor);
    for path in ["/authorize", "/token", "/register", "/revoke"] {
        assert!(vendor.records_at(path).is_empty(), "{what}: {path} was asked");
    }
    sandbox.assert_no_secret(&[CLIENT_SECRET.to_owned()]);
}

/// Panics where `vendor` was shown the client's secret.
#[track_caller]
fn assert_secret_kept(what: &str, vendor: &Vendor) {
    for record in vendor.records() {
        Canary::new(CLIENT_SECRET).assert_absent(format!("{record:?}").as_bytes(), what);
        Canary::new(CLIENT_SECRET).assert_absent(&record.body, what);
    }
}

/// A sign-in at a vendor that must be refused.
struct Hostile {
    what: String,
    script: Script,
    fault: Option<(On, Effect)>,
    said: Vec<String>,
}

impl Hostile {
    fn new(what: impl Into<String>, script: Script, said: &[&str]) -> Self {
        let said = said.iter().map(|said| (*said).to_owned()).collect();
        Self { what: what.into(), script, fault: None, said }
    }

    fn answering(what: impl Into<String>, path: &'static str, reply: Reply, said: &[&str]) -> Self {
        let fault = Some((On::Path(path), Effect::Answer(reply)));
        Self { fault, ..Self::new(what, confidential(), said) }
    }

    fn check(&self) {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(self.script.clone()));
        if let Some((on, effect)) = self.fault.clone() {
            vendor.fault(on, effect);
        }
        let (run, browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        let said: Vec<String> = self.said.iter().map(|said| said.replace("{}", &vendor.origin())).collect();
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        assert_refused(&self.what, &run, &said, &browser, &sandbox, &vendor);
    }
}

/// Runs `check` on each, a few at a time.
fn in_parallel<T: Sync>(cases: &[T], check: impl Fn(&T) + Sync) {
    assert!(!cases.is_empty());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(case);
                }
            });
        }
    });
}

fn refuse_all(cases: &[Hostile]) {
    in_parallel(cases, Hostile::check);
}

/// What a challenge points to.
fn challenge(pointer: &str) -> Reply {
    let quoted = pointer.replace('\\', r"\\").replace('"', "\\\"");
    Reply::new(401).header("www-authenticate", format!("Bearer resource_metadata=\"{quoted}\""))
}

/// Every place where a server names a URL that we would call or open.
const MEMBERS: [&str; 5] = [
    "authorization_endpoint",
    "token_endpoint",
    "registration_endpoint",
    "revocation_endpoint",
    "device_authorization_endpoint",
];

/// The sign-in at a server that names `url` in every place there is.
fn naming(url: &str, why: &str) -> Vec<Hostile> {
    let said = |member: &str| format!("`{member}` cannot be used: {why}");
    let mut cases: Vec<Hostile> = MEMBERS
        .iter()
        .map(|member| {
            let patch = json!({(*member).to_owned(): url});
            Hostile::new(format!("{member} {url}"), with_server(patch), &[&said(member)])
        })
        .collect();
    let issuer = with_resource(json!({"authorization_servers": [url]}));
    cases.push(Hostile::new(format!("issuer {url}"), issuer, &[&said("authorization_servers")]));
    cases.push(Hostile::answering(format!("pointer {url}"), "/mcp", challenge(url), &[&said("resource_metadata")]));
    cases
}

/// t002, t003, t004, t038, t039: whatever is no plain https URL, in each place where a server names one: other schemes,
/// plain http, somebody in front of the host, a fragment, an option for a program.
#[test]
fn t002_t003_t004_t038_t039_what_no_server_may_name() {
    let scheme = "only https is accepted";
    let malformed = "not a valid absolute URL";
    let urls = [
        ("javascript:alert(1)", scheme),
        ("data:text/html,x", scheme),
        ("file:///etc/passwd", scheme),
        ("vbscript:msgbox", scheme),
        ("ms-msdt:/id", scheme),
        ("smb://host/share", scheme),
        ("\\\\host\\share", malformed),
        ("http://as.example/x", scheme),
        ("http://169.254.169.254/latest", scheme),
        ("--upload-pack=x", malformed),
        ("-a Calculator", malformed),
        ("https://bank.example@evil.example/x", "a URL must not contain a user name or password"),
        ("https://u:p@evil.example/x", "a URL must not contain a user name or password"),
        ("https://as.example/x#y", "a URL must not have a fragment"),
        ("https://169.254.169.254/x", "it points to a reserved address"),
        ("https://[::ffff:10.0.0.9]/x", "it points to a private network"),
    ];
    refuse_all(&urls.into_iter().flat_map(|(url, why)| naming(url, why)).collect::<Vec<_>>());
}

/// t003: what is of no use to us is neither called nor opened nor shown, whatever it is.
#[test]
fn t003_what_is_not_needed_is_not_followed() {
    let evil = "javascript:alert(1)";
    let script = Script {
        protected_resource: json!({"resource_documentation": evil, "resource_policy_uri": evil, "jwks_uri": evil}),
        authorization_server: json!({"service_documentation": evil, "op_policy_uri": evil, "jwks_uri": evil}),
        ..Script::people()
    };
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
    let mut login = start(&sandbox, &["login", &vendor.url()]);
    let page = eventually("the browser", || browser.starts().first().cloned()).arguments[0].clone();
    let page = url::Url::parse(&page).unwrap();
    let field = |name: &str| page.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
    let mut answer = url::Url::parse(&field("redirect_uri")).unwrap();
    answer
        .query_pairs_mut()
        .append_pair("state", &field("state"))
        .append_pair("iss", &vendor.origin())
        .append_pair("error", "invalid_scope")
        .append_pair("error_uri", evil);
    assert!(!visit("GET", answer.as_str(), &[], "").unwrap().text().contains("javascript"));
    assert_eq!(login.exit_within(PATIENCE), Some(1), "{}", login.stderr());
    assert!(login.stderr().contains("invalid_scope") && !login.stderr().contains("javascript"), "{}", login.stderr());
    assert_eq!(browser.starts().len(), 1);
}

/// t038: a host in another script is shown, before the browser opens, in the form that deceives nobody.
#[test]
fn t038_the_host_is_said_before_the_browser_opens() {
    let script = Script {
        authorization_server: json!({"authorization_endpoint": "https://b\u{fc}cher.example/authorize"}),
        ..Script::people()
    };
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
    let login = start(&sandbox, &["login", &vendor.url()]);
    let opened = eventually("the browser", || browser.starts().first().cloned());
    assert!(opened.arguments[0].starts_with("https://xn--bcher-kva.example/authorize?"), "{opened:?}");
    let said = login.stderr();
    assert!(said.contains("sign in at xn--bcher-kva.example.") && !said.contains('\u{fc}'), "{said}");
}

/// t001: what a shell, an option parser or a URL handler would read something into is refused, or stays one argument:
/// the URL as the parser writes it. Sixty of them; no command runs.
#[test]
fn t001_nothing_in_a_url_is_a_command() {
    let bare = [
        "--upload-pack=touch pwned",
        "-a Calculator",
        "; touch pwned",
        "$(touch pwned)",
        "`touch pwned`",
        "| touch pwned",
        "cmd.exe",
        "calc:",
        "\\\\host\\share\\x.exe",
        "file:///usr/bin/touch",
    ];
    let tails = [
        "$(touch${IFS}pwned)",
        "$(touch%20pwned)",
        "$(touch pwned)",
        "`touch pwned`",
        "`touch${IFS}pwned`",
        "%60touch%20pwned%60",
        ";touch${IFS}pwned",
        ";touch%20pwned;",
        "&touch${IFS}pwned",
        "&&touch${IFS}pwned",
        "||touch${IFS}pwned",
        "|touch${IFS}pwned",
        "%0atouch%20pwned",
        "%0d%0atouch%20pwned",
        "\ntouch pwned",
        "\r\ntouch pwned",
        "\u{0}touch pwned",
        "\u{1b}]52;c;x\u{7}",
        "\"&touch pwned&\"",
        "\";touch pwned;\"",
        "%22;touch%20pwned",
        "';touch pwned;'",
        "%27;touch%20pwned;%27",
        "<(touch${IFS}pwned)",
        ">pwned",
        ">>pwned",
        "<pwned",
        "%3Epwned",
        "^&touch^ pwned",
        "^%26calc",
        "%VAR%",
        "%COMSPEC%",
        "%%COMSPEC%%",
        "!touch",
        "~/../pwned",
        "*",
        "?",
        "{touch,pwned}",
        "$((1+1))",
        "${PATH}",
        "$PATH",
        "$IFS$9touch",
        "\\touch pwned",
        "%5Ctouch",
        "a b --flag",
        "%20--flag",
        "--flag",
        "-n",
        "#touch",
        "@pwned",
        "=cmd|'/c calc'!A0",
        "..%2f..%2fpwned",
        "\u{202e}exe.pwned",
        "\u{ff04}(touch pwned)",
    ];
    let whole = tails.iter().flat_map(|tail| [format!("{{}}/a{tail}"), format!("{{}}/a?x={tail}")]);
    let payloads: Vec<String> = bare.iter().map(|bare| (*bare).to_owned()).chain(whole).collect();
    assert!(payloads.len() > 60);
    let (opened, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    in_parallel(&payloads, |payload| {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let payload = payload.replace("{}", &vendor.origin());
        vendor.change(|script| script.authorization_server = json!({"authorization_endpoint": payload}));
        let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
        let mut login = start(&sandbox, &["login", &vendor.url(), "--client-id", "x"]);
        let started = eventually("a browser or an end", || match browser.starts().first() {
            Some(start) => Some(Some(start.clone())),
            None => (!login.is_running()).then_some(None),
        });
        match started {
            None => {
                assert_eq!(login.exit_within(PATIENCE), Some(5), "{payload:?}: {}", login.stderr());
                eventually("the reason", || login.stderr().contains("`authorization_endpoint` cannot").then_some(()));
                refused.fetch_add(1, Ordering::Relaxed);
            }
            Some(start) => {
                let normal = url::Url::parse(&payload).unwrap();
                let [argument] = start.arguments.as_slice() else { panic!("{payload:?}: {:?}", start.arguments) };
                let rest = argument.strip_prefix(normal.as_str()).unwrap_or_else(|| panic!("{payload:?}: {argument}"));
                assert!(rest.starts_with(['?', '&']) || normal.query() == Some(""), "{payload:?}: {argument}");
                let odd = |letter: char| !letter.is_ascii_graphic() || "\"'`\\<>".contains(letter);
                assert!(!argument.contains(odd), "{payload:?}: {argument}");
                opened.fetch_add(1, Ordering::Relaxed);
            }
        }
        drop(login);
        let pwned = ["home", "tmp", "work", "watched", "given"]
            .iter()
            .any(|folder| sandbox.home().with_file_name(folder).join("pwned").exists());
        assert!(!pwned, "{payload:?} ran");
    });
    let (opened, refused) = (opened.into_inner(), refused.into_inner());
    assert!(opened > 20 && refused > 20, "{opened} opened, {refused} refused");
}

/// t001: the system's opener is a program that gets the URL as its one argument, found on the PATH, and no shell.
#[cfg(target_os = "linux")]
#[test]
fn t001_the_systems_opener_gets_one_argument() {
    use std::os::unix::fs::PermissionsExt as _;

    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let endpoint = format!("{}/a?x=$(touch%20pwned)&y=;id", vendor.origin());
    vendor.change(|script| script.authorization_server = json!({"authorization_endpoint": endpoint}));
    let folder = sandbox.watched();
    let seen = folder.join("seen");
    let script = format!(
        "#!/bin/sh\nPATH=/usr/bin:/bin\nprintf '%s\\n' \"$#\" \"$1\" > '{0}.part'\nmv '{0}.part' '{0}'\n",
        seen.display()
    );
    std::fs::write(folder.join("xdg-open"), script).unwrap();
    std::fs::set_permissions(folder.join("xdg-open"), std::fs::Permissions::from_mode(0o700)).unwrap();
    sandbox.set("PATH", &folder);
    sandbox.set("DISPLAY", ":0");
    let login = start(&sandbox, &["login", &vendor.url(), "--client-id", "x"]);
    let seen = eventually("the opener", || std::fs::read_to_string(&seen).ok());
    let (count, url) = seen.split_once('\n').unwrap();
    assert_eq!(count, "1");
    assert!(url.starts_with(&format!("{endpoint}&")), "{url}");
    drop(login);
    assert!(!sandbox.home().with_file_name("work").join("pwned").exists());
}

/// t010: the issuer is compared byte for byte, and both are named.
#[test]
fn t010_another_issuer_is_refused_and_both_are_named() {
    let mut cases = Vec::new();
    for issuer in ["https://honest.example", "{}//", "{}/x", "{}/x/", "{}:443", "{}/?", ""] {
        let mut case = Hostile::new(issuer, confidential(), &["as its issuer, not {}", "issuer_override"]);
        case.said.push(format!("names {issuer} as"));
        cases.push((case, issuer));
    }
    in_parallel(&cases, |(case, issuer)| {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(case.script.clone()));
        let issuer = issuer.replace("{}", &vendor.origin());
        vendor.change(|script| script.authorization_server = json!({"issuer": issuer}));
        let (run, browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
        let said: Vec<String> = case.said.iter().map(|said| said.replace("{}", &vendor.origin())).collect();
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        assert_refused(&case.what, &run, &said, &browser, &sandbox, &vendor);
    });
}

/// t012: the issuer to expect is the one that the server's metadata name, not one made of the server's own URL: GitLab's
/// way, where the MCP server is at a path of the issuer's origin, and a company's, where it is another host.
#[test]
fn t012_the_expected_issuer_is_the_one_that_is_named() {
    let server = Vendor::start(Script::people());
    for (issuer, is_right) in [(server.origin(), true), (server.url(), false)] {
        let resource = Vendor::start(Script {
            protected_resource: json!({"authorization_servers": [server.origin()]}),
            ..Script::people()
        });
        server.change(|script| script.authorization_server = json!({"issuer": issuer}));
        for url in [resource.url(), server.url()] {
            let mut sandbox = Sandbox::new();
            let browser = FakeBrowser::install(&mut sandbox, Person::Ignores);
            let run = sandbox.finmcp(["login", &url, "--timeout", "1"]);
            assert_eq!(run.code, Some(if is_right { 1 } else { 5 }), "{url}: {}", run.stderr);
            if is_right {
                // The browser may be slower than the wait for it.
                let start = eventually("the browser", || browser.starts().pop());
                assert!(start.arguments[0].starts_with(&server.at("/authorize?")), "{start:?}");
            }
            assert_eq!(browser.starts().len(), usize::from(is_right), "{url}");
        }
    }
}

/// t014: whoever publishes a bad document is not asked for another, and trouble is not taken for "not here".
#[test]
fn t014_documents_are_not_shopped_around() {
    let bad =
        Reply::new(200).json(&json!({"issuer": "https://honest.example", "token_endpoint": "https://a.example/"}));
    for (reply, code) in [(bad, 5), (Reply::new(500), 3), (Reply::new(503), 3), (Reply::new(429), 3)] {
        for path in [PROTECTED_RESOURCE, AUTHORIZATION_SERVER] {
            let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
            vendor.fault(On::Path(path), Effect::Answer(reply.clone()));
            let (run, browser) = sign_in(&mut sandbox, &vendor.url(), &[]);
            assert_eq!(run.code, Some(code), "{reply:?} {path}: {}", run.stderr);
            assert!(browser.starts().is_empty());
            assert_eq!(vendor.records().last().unwrap().path, path, "{reply:?}");
        }
    }
    // "Not here" is: the next place is asked, in the order of the specification.
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    vendor.fault(On::Path(AUTHORIZATION_SERVER), Effect::status(404));
    sign_in(&mut sandbox, &vendor.url(), &[]);
    let paths: Vec<String> = vendor.records().into_iter().map(|record| record.path).collect();
    assert_eq!(paths, ["/mcp", PROTECTED_RESOURCE, AUTHORIZATION_SERVER, "/.well-known/openid-configuration"]);
}

/// The answers that are no document: what is wrong with each, and what is said.
fn bad_documents(good: &Value) -> Vec<(&'static str, Reply, &'static str)> {
    let text = good.to_string();
    let json = |body: String| Reply::new(200).body("application/json", body);
    let (first, _) = good.as_object().unwrap().iter().next().unwrap();
    let twice = text.replacen('{', &format!("{{{:?}:{},", first, good[first]), 1);
    let deep = |depth: usize| format!("{},\"x\":{}{}}}", &text[..text.len() - 1], "[".repeat(depth), "]".repeat(depth));
    // A good document of 64 MiB, in 64 KiB.
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(format!("{text}{}", " ".repeat(64 << 20)).as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let coded = |coding: &str, body: &[u8]| {
        Reply::new(200).header("content-encoding", coding).body("application/json", body.to_vec())
    };
    vec![
        ("large", json(format!("{text}{}", " ".repeat(1 << 20))), "sent more than 1048576 bytes"),
        ("bomb", coded("gzip", &gzip), "sent more than 1048576 bytes"),
        ("compressed twice", coded("gzip, gzip", &gzip), "(Content-Encoding: gzip, gzip)"),
        ("unknown coding", coded("zstd", &gzip), "(Content-Encoding: zstd)"),
        ("damaged", coded("gzip", &gzip[..100]), "compressed data is damaged"),
        ("deep", json(deep(64)), "nested too deeply"),
        ("very deep", json(deep(500_000)), "nested too deeply"),
        ("twice", json(twice), "duplicated"),
        ("BOM", json(format!("\u{feff}{text}")), "not JSON"),
        ("cut", json(text[..text.len() - 1].to_owned()), "not JSON"),
        ("two", json(format!("{text}{text}")), "not JSON"),
        ("list", json("[]".to_owned()), "of the wrong type"),
    ]
}

/// t015: documents that are too large, compressed, too deep, ambiguous, or none.
#[test]
fn t015_documents_that_are_none_are_refused() {
    let mut cases = Vec::new();
    let resource = json!({"resource": "https://mcp.example", "authorization_servers": ["https://as.example"]});
    let server = json!({"issuer": "https://as.example", "token_endpoint": "https://as.example/token"});
    for (path, good) in [(PROTECTED_RESOURCE, resource), (AUTHORIZATION_SERVER, server)] {
        for (what, reply, said) in bad_documents(&good) {
            cases.push(Hostile::answering(format!("{what} {path}"), path, reply, &[said]));
        }
    }
    refuse_all(&cases);
}

/// t015: a document without an end is left after its first mebibyte.
#[test]
fn t015_a_document_without_an_end_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n");
        while stream.write_all(&[b' '; 1 << 16]).is_ok() {
            count.fetch_add(1 << 16, Ordering::SeqCst);
        }
    });
    let begun = Instant::now();
    let pointer = challenge(&format!("http://127.0.0.1:{port}/"));
    Hostile::answering("endless", "/mcp", pointer, &["sent more than 1048576 bytes"]).check();
    assert!(begun.elapsed() < PATIENCE);
    // What the system holds for both ends is never read.
    let taken = taken.load(Ordering::SeqCst);
    assert!((1 << 20..32 << 20).contains(&taken), "{taken}");
}

/// t016: scopes that are none, or too many for a URL.
#[test]
fn t016_hostile_scopes_are_refused() {
    let many: Vec<String> = (0..100_000).map(|number| format!("s{number}")).collect();
    let long: Vec<String> = (0..80).map(|number| format!("[{number:02}{}", "]".repeat(47))).collect();
    let mut cases: Vec<Hostile> =
        [json!(["a\nb"]), json!(["a\"b"]), json!(["a b"]), json!(["\u{1b}]52;c;x"]), json!(["\u{e9}"])]
            .into_iter()
            .map(|scopes| (scopes, "`scopes_supported` is not valid or too long"))
            .chain([
                (json!(many), "`scopes_supported` is not valid or too long"),
                (json!(long), "longer than 8192 bytes"),
            ])
            .map(|(scopes, said)| {
                let what: String = scopes.to_string().chars().take(40).collect();
                Hostile::new(what, with_resource(json!({"scopes_supported": scopes})), &[said])
            })
            .collect();
    let endpoint = format!("https://as.example/{}", "x".repeat(8 << 10));
    cases.push(Hostile::new(
        "endpoint",
        with_server(json!({"authorization_endpoint": endpoint})),
        &["longer than 8192"],
    ));
    refuse_all(&cases);

    // What fits is asked for, in a URL that a browser can be started with.
    let fits: Vec<String> = (0..80).map(|number| format!("x{number:02}{}", "y".repeat(40))).collect();
    let script = Script { protected_resource: json!({"scopes_supported": fits}), ..Script::people() };
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", &vendor.url()]).expect_success();
    assert!(browser.starts()[0].arguments[0].len() <= 8 << 10);
    assert_eq!(vendor.records_at("/authorize")[0].query()["scope"].split(' ').count(), 80);
}

/// t007: a document that is elsewhere is not fetched from there; within its origin it may have moved.
#[test]
fn t007_documents_of_other_origins_are_not_fetched() {
    let elsewhere = Vendor::start(Script::people());
    let mut cases = Vec::new();
    for path in [PROTECTED_RESOURCE, AUTHORIZATION_SERVER] {
        for status in [301, 302, 303, 307, 308] {
            for location in [
                elsewhere.at(path),
                elsewhere.at(path).replace("http:", ""),
                elsewhere.at(path).replace("127.0.0.1", "localhost"),
                "http://169.254.169.254/latest".to_owned(),
                "https://as.example/".to_owned(),
                "file:///etc/passwd".to_owned(),
            ] {
                let what = format!("{status} {path} {location}");
                let reply = Reply::new(status).header("location", location);
                cases.push(Hostile::answering(what, path, reply, &[&format!("redirects elsewhere (HTTP {status}")]));
            }
        }
    }
    refuse_all(&cases);
    assert!(elsewhere.records().is_empty());

    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    vendor.fault(On::Path(PROTECTED_RESOURCE), Effect::Answer(Reply::new(302).header("location", PROTECTED_RESOURCE)));
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    sandbox.finmcp(["login", &vendor.url()]).expect_success();
    assert_eq!(browser.starts().len(), 1);
}

/// t007, t048: what holds a secret goes to the endpoint that it is for and to no other, not even of the same origin.
#[test]
fn t048_no_secret_is_sent_on() {
    let elsewhere = Vendor::start(confidential());
    let login = |sandbox: &Sandbox, vendor: &Vendor| {
        let secret = sandbox.give("client-secret", CLIENT_SECRET).display().to_string();
        let (url, endpoint) = (vendor.url(), vendor.token_endpoint());
        let grant = ["--grant", "client-credentials", "--token-endpoint", &endpoint];
        let client = ["--client-id", "x", "--client-secret-file", &secret];
        sandbox.finmcp([&["login", &url][..], &grant, &client].concat())
    };
    let redirect = |vendor: &Vendor, path, status: u16| {
        let reply = Reply::new(status).header("location", elsewhere.at(path));
        vendor.fault(On::Path(path), Effect::Answer(reply));
    };
    for status in [301, 302, 303, 307, 308] {
        let said = format!("redirects elsewhere (HTTP {status}");
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(confidential()));
        redirect(&vendor, "/token", status);
        login(&sandbox, &vendor).expect_code(5).expect_stderr(&[&said, "hint: "]);
        vendor.fault(On::Path("/token"), Effect::Answer(Reply::new(status).header("location", "/token")));
        login(&sandbox, &vendor).expect_code(5).expect_stderr(&[&said]);
        assert_eq!(vendor.records_at("/token").len(), 2, "not even within the origin");

        // A renewal and a revocation; the sign-in stays.
        login(&sandbox, &vendor).expect_success();
        redirect(&vendor, "/token", status);
        let renew = ["token", &vendor.url(), "--force-refresh"];
        sandbox.finmcp(renew).expect_code(5).expect_stderr(&[&said, "your sign-in is kept"]);
        sandbox.finmcp(renew).expect_success();

        // A registration.
        let people = Vendor::start(Script::people());
        redirect(&people, "/register", status);
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        sandbox.finmcp(["login", &people.url()]).expect_code(5).expect_stderr(&[&said]);
        assert!(browser.starts().is_empty());
        sandbox.finmcp(["login", &people.url()]).expect_success();
        redirect(&people, "/revoke", status);
        sandbox.finmcp(["logout", &people.url()]);
        assert!(!people.records_at("/revoke").is_empty());
    }
    assert!(elsewhere.records().is_empty());
}

/// A vendor that is far away: `https://mcp.example`, in whose name its documents are.
fn far_vendor(script: Script) -> Vendor {
    Vendor::start_as("https://mcp.example", script)
}

/// Signs in as a machine whose authorization server is to be discovered.
fn machine_sign_in(sandbox: &mut Sandbox, url: &str, more: &[&str]) -> (Run, FakeBrowser) {
    sign_in(sandbox, url, &[&["--grant", "client-credentials"], more].concat())
}

/// t005, t009: a server that is far away cannot send us to this machine or into its networks, however it writes the
/// address and wherever it names it; by way of the person's proxy and with the person's own authority, too.
#[test]
fn t005_t009_a_server_elsewhere_sends_nobody_here() {
    let here = TcpListener::bind("127.0.0.1:0").unwrap();
    here.set_nonblocking(true).unwrap();
    let port = here.local_addr().unwrap().port();
    let near = "though the server is elsewhere";
    let nowhere = "reserved address";
    let forms = [
        ("127.0.0.1", near),
        ("127.1", near),
        ("127.0.1", near),
        ("127.255.255.254", near),
        ("2130706433", near),
        ("0x7f000001", near),
        ("0x7f.0.0.1", near),
        ("0x7f.1", near),
        ("0177.0.0.1", near),
        ("0177.1", near),
        ("017700000001", near),
        ("127.0.0.1.", near),
        ("%31%32%37.0.0.1", near),
        ("\u{ff11}27.0.0.1", near),
        ("127\u{3002}0\u{3002}0\u{3002}1", near),
        ("localhost", near),
        ("LOCALHOST", near),
        ("localhost.", near),
        ("a.localhost", near),
        ("[::1]", near),
        ("[0:0:0:0:0:0:0:1]", near),
        ("[::ffff:127.0.0.1]", near),
        ("[::ffff:7f00:1]", near),
        ("[::127.0.0.1]", near),
        ("[64:ff9b::7f00:1]", near),
        ("[2002:7f00:1::]", near),
        ("10.0.0.9", "allow_private_network"),
        ("172.16.0.1", "allow_private_network"),
        ("192.168.1.1", "allow_private_network"),
        ("0xa.9", "allow_private_network"),
        ("[fd00::1]", "allow_private_network"),
        ("[::ffff:10.0.0.9]", "allow_private_network"),
        ("0.0.0.0", nowhere),
        ("0", nowhere),
        ("169.254.169.254", nowhere),
        ("2852039166", nowhere),
        ("0xa9fea9fe", nowhere),
        ("[fe80::1]", nowhere),
        ("[::]", nowhere),
        ("[::ffff:169.254.169.254]", nowhere),
    ];
    let mut cases: Vec<(&str, String, &str)> = Vec::new();
    for (place, count) in [("resource_metadata", forms.len()), ("authorization_servers", forms.len())]
        .into_iter()
        .chain(MEMBERS.map(|member| (member, 4)))
    {
        // Each of the others goes through the same judgement: four of every ten forms will do.
        let step = forms.len() / count;
        cases.extend(forms.iter().step_by(step).map(|(host, why)| (place, format!("https://{host}:{port}/x"), *why)));
    }
    in_parallel(&cases, |(place, url, why)| {
        let (mut sandbox, vendor) = (Sandbox::new(), far_vendor(confidential()));
        let internet = Internet::join(&mut sandbox);
        internet.host("mcp.example", &vendor, Identity::Good);
        match *place {
            "resource_metadata" => vendor.fault(On::Path("/mcp"), Effect::Answer(challenge(url))),
            "authorization_servers" => {
                vendor.change(|script| script.protected_resource = json!({"authorization_servers": [url]}));
            }
            member => vendor.change(|script| script.authorization_server = json!({member.to_owned(): url})),
        }
        let (run, browser) = machine_sign_in(&mut sandbox, &vendor.url(), &[]);
        let said = format!("`{place}` cannot be used");
        assert_refused(&format!("{place} {url}"), &run, &[&said, why], &browser, &sandbox, &vendor);
        let asked = internet.asked();
        assert!(asked.iter().all(|asked| asked == "CONNECT mcp.example:443"), "{place} {url}: {asked:?}");
    });
    assert!(here.accept().is_err(), "something was sent to this machine");
}

/// t007, t009: a document that is far away does not lead here by a redirect either.
#[test]
fn t007_t009_no_redirect_leads_here() {
    let here = Vendor::start(Script::people());
    for (status, location) in
        [(302, here.at("/x")), (307, format!("https://127.0.0.1:{}/", here.port())), (308, "//localhost/".to_owned())]
    {
        let (mut sandbox, vendor) = (Sandbox::new(), far_vendor(confidential()));
        let internet = Internet::join(&mut sandbox);
        internet.host("mcp.example", &vendor, Identity::Good);
        vendor.fault(On::Path(PROTECTED_RESOURCE), Effect::Answer(Reply::new(status).header("location", location)));
        let (run, browser) = machine_sign_in(&mut sandbox, &vendor.url(), &[]);
        assert_refused("redirect", &run, &["redirects elsewhere"], &browser, &sandbox, &vendor);
        assert!(internet.asked().iter().all(|asked| asked == "CONNECT mcp.example:443"), "{:?}", internet.asked());
    }
    assert!(here.records().is_empty());
}

/// t008: a company's authorization server in its own network is reached with the person's word and not without; what no
/// server may have is not reached with it either, whoever names it.
#[test]
fn t008_a_private_network_needs_the_persons_word() {
    let named = |address: &str| {
        let base = format!("https://{address}");
        Script {
            protected_resource: json!({"authorization_servers": [base]}),
            authorization_server: json!({"issuer": base, "token_endpoint": format!("{base}/token")}),
            ..confidential()
        }
    };
    let (mut sandbox, vendor) = (Sandbox::new(), far_vendor(named("10.0.0.9")));
    let internet = Internet::join(&mut sandbox);
    for host in ["mcp.example", "10.0.0.9"] {
        internet.host(host, &vendor, Identity::Good);
    }
    let inside = "CONNECT 10.0.0.9:443".to_owned();
    let (run, browser) = machine_sign_in(&mut sandbox, &vendor.url(), &[]);
    assert_refused("without", &run, &["--allow-private-network"], &browser, &sandbox, &vendor);
    assert!(!internet.asked().contains(&inside));

    let (run, _browser) = machine_sign_in(&mut sandbox, &vendor.url(), &["--allow-private-network"]);
    run.expect_success().expect_stderr(&["allow_private_network is set"]);
    assert!(internet.asked().contains(&inside));
    // The word is kept with the sign-in: a renewal goes there too, and the token works.
    let token = sandbox.finmcp(["token", &vendor.url(), "--force-refresh"]).expect_success().stdout;
    assert_eq!(vendor.records_at("/token").len(), 2);
    let mut serve = sandbox.serve([vendor.url()]);
    serve.initialize().result();
    assert_eq!(serve.call("echo", json!({"message": "hi"})).result()["content"][0]["text"], "hi");
    let bearer = format!("Bearer {}", token.trim_end());
    assert_eq!(vendor.calls("tools/call")[0].header("authorization"), Some(&bearer[..]));

    for address in ["169.254.169.254", "[fe80::1]", "0.0.0.0"] {
        vendor.change(|script| *script = named(address));
        let url = format!("https://{address}/mcp");
        let (by_server, _browser) = machine_sign_in(&mut sandbox, &vendor.url(), &["--allow-private-network"]);
        by_server.expect_code(5).expect_stderr(&["reserved address"]);
        let (by_person, _browser) = machine_sign_in(&mut sandbox, &url, &["--allow-private-network"]);
        by_person.expect_code(5).expect_stderr(&["is blocked", "reserved address"]);
        assert!(!internet.asked().iter().any(|asked| asked.contains(address)), "{:?}", internet.asked());
    }
}

/// t132: no certificate that is not good is accepted, each in its own words, and no byte of a request is sent.
#[test]
fn t132_servers_that_cannot_prove_who_they_are() {
    for (identity, said, way_out) in [
        (Identity::Expired, "has expired", "ca_file"),
        (Identity::NotYetValid, "is not valid yet", "ca_file"),
        (Identity::OtherName, "is for another name", "ca_file"),
        (Identity::SelfSigned, "is self-signed, or from an authority that this machine does not trust", "ca_file"),
        (
            Identity::UnknownAuthority,
            "is self-signed, or from an authority that this machine does not trust",
            "ca_file",
        ),
        (Identity::OldTls, "offers no safe TLS version", "no secret was sent"),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), far_vendor(confidential()));
        let internet = Internet::join(&mut sandbox);
        internet.host("mcp.example", &vendor, identity);
        for more in [&[][..], &["--token-endpoint", "https://mcp.example/token"]] {
            let (run, browser) = machine_sign_in(&mut sandbox, &vendor.url(), more);
            assert_refused(
                &format!("{identity:?}"),
                &run,
                &["mcp.example", said, way_out],
                &browser,
                &sandbox,
                &vendor,
            );
        }
        let mut serve = sandbox.serve([vendor.url()]);
        serve.initialize();
        let answer = serve.call("echo", json!({}));
        assert_eq!(answer.error()["code"], -31005, "{identity:?}: {}", answer.raw);
        assert!(answer.raw.contains(said) && answer.raw.contains("finmcp login"), "{}", answer.raw);
        assert!(vendor.records().is_empty(), "{identity:?}");
    }
    // There is no way to switch it off.
    for flag in ["--insecure", "--no-verify", "-k"] {
        Sandbox::new().finmcp(["login", "https://mcp.example/mcp", flag]).expect_code(2);
    }
}

/// t019: whatever a challenge looks like, it is read or passed over, and the sign-in goes on from the well-known places.
#[test]
fn t019_challenges_that_make_no_sense_are_passed_over() {
    let long = format!("Bearer realm=\"{}\"", "x".repeat(64 << 10));
    let many = vec!["Bearer a=b"; 4000].join(", ");
    let challenges = [
        "",
        "Bearer",
        ",,,,",
        "Bearer resource_metadata",
        "Bearer resource_metadata=",
        "Bearer realm=\"never closed, resource_metadata=\\\"",
        "\"\\\\\\",
        "Basic realm=\"a, Bearer resource_metadata=\\\"https://evil.example\\\"\"",
        "Negotiate YII+/==, Digest qop=\"auth, auth-int\", nonce=\"=,=\"",
        "Bearer scope=\"\u{e9}\"",
        "Bearer \u{202e}=\u{202e}",
        "=====",
        long.as_str(),
        many.as_str(),
    ];
    in_parallel(&challenges, |challenge| {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
        let reply = Reply::new(401).header("www-authenticate", *challenge);
        vendor.fault(On::Path("/mcp"), Effect::Answer(reply));
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        sandbox.finmcp(["login", &vendor.url()]).expect_success();
        assert_eq!(browser.starts().len(), 1);
        assert_eq!(vendor.records()[1].path, PROTECTED_RESOURCE);
    });
}

/// t020, t021, t010, t013, t004: a bridge that may open a browser opens none for a server that must not be believed; the
/// client hears why, and the way out.
#[test]
fn t020_a_bridge_refuses_as_a_sign_in_does() {
    let server = |patch: Value| Script { authorization_server: patch, ..Script::people() };
    let resource = |patch: Value| Script { protected_resource: patch, ..Script::people() };
    for (script, said, way_out) in [
        (server(json!({"code_challenge_methods_supported": null})), "S256", "allow_missing_pkce_metadata"),
        (server(json!({"code_challenge_methods_supported": ["plain"]})), "S256", "ask whoever runs the server"),
        (
            server(json!({"issuer": "https://honest.example"})),
            "https://honest.example as its issuer",
            "issuer_override",
        ),
        (server(json!({"token_endpoint": "http://as.example/"})), "only https", "ask whoever runs the server"),
        (server(json!({"token_endpoint": "https://10.0.0.9/"})), "private network", "--allow-private-network"),
        (resource(json!({"resource": "https://bank.example/mcp"})), "https://bank.example/mcp", "ask whoever runs"),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        let mut serve = sandbox.serve([vendor.url().as_str(), "--sign-in", "auto"]);
        serve.initialize();
        let answer = serve.call("echo", json!({}));
        assert_eq!(answer.error()["code"], -31005, "{said}: {}", answer.raw);
        assert!(answer.raw.contains(said) && answer.raw.contains(way_out), "{said}: {}", answer.raw);
        assert!(browser.starts().is_empty(), "{said}");
        assert!(vendor.records_at("/register").is_empty() && vendor.records_at("/token").is_empty(), "{said}");
    }
}

/// t018: a server that accepts no token gets two requests for each of ours, and the person one page.
#[test]
fn t018_a_server_that_is_never_content_opens_one_browser() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let mut serve = sandbox.serve([vendor.url().as_str(), "--sign-in", "auto"]);
    serve.initialize().result();
    serve.call("echo", json!({"message": "hi"})).result();
    assert_eq!(browser.starts().len(), 1);
    let before = vendor.calls("tools/call").len();
    for _ in 0..100 {
        let reply = Reply::new(401).header("www-authenticate", "Bearer error=\"invalid_token\"");
        vendor.fault(On::Rpc("tools/call"), Effect::Answer(reply));
    }
    for calls in 1..=6 {
        let answer = serve.call("echo", json!({"message": "hi"}));
        assert!(answer.error()["message"].as_str().unwrap().contains("finmcp login"), "{}", answer.raw);
        assert!(vendor.calls("tools/call").len() - before <= 2 * calls);
    }
    assert_eq!((browser.starts().len(), vendor.executed().len()), (1, 1));
}

/// t018: a sign-in that helped and then ended is followed by another one, and that by none as long as nothing lasts.
#[test]
fn t018_a_sign_in_that_ends_at_once_is_asked_for_once_more() {
    let script = Script { refresh_tokens: false, ..Script::people() };
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let mut serve = sandbox.serve([vendor.url().as_str(), "--sign-in", "auto"]);
    serve.initialize().result();
    vendor.revoke_access_tokens();
    serve.call("echo", json!({"message": "hi"})).result();
    assert_eq!(browser.starts().len(), 2);
    for _ in 0..3 {
        vendor.revoke_access_tokens();
        serve.call("echo", json!({"message": "hi"})).error();
    }
    assert_eq!((browser.starts().len(), vendor.executed().len()), (2, 1));
}

/// A token response with that access token.
fn token_response(member: &str, value: Value) -> Reply {
    let mut response = json!({"access_token": "opaque", "token_type": "Bearer", "expires_in": 3600});
    response[member] = value;
    Reply::new(200).json(&response)
}

/// t050, t051: a token of another type, or one that would bring headers of its own, is neither kept nor sent.
#[test]
fn t050_t051_tokens_that_are_no_bearer_tokens_are_refused() {
    for (member, value, said) in [
        ("token_type", json!("mac"), "not Bearer"),
        ("token_type", json!("DPoP"), "not Bearer"),
        ("token_type", json!("N_A"), "not Bearer"),
        ("token_type", json!("Bearer\r\nX: y"), "not Bearer"),
        ("access_token", json!("a\r\nX: y"), "not a valid header value"),
        ("access_token", json!("a\nX: y"), "not a valid header value"),
        ("access_token", json!("a\u{0}b"), "not a valid header value"),
        ("access_token", json!("caf\u{e9}"), "not a valid header value"),
        ("access_token", json!(""), "not a valid header value"),
        ("access_token", json!(null), "it has no `access_token`"),
    ] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(confidential()));
        vendor.fault(On::Path("/token"), Effect::Answer(token_response(member, value.clone())));
        let (run, _browser) = machine_sign_in(&mut sandbox, &vendor.url(), &[]);
        run.expect_code(5).expect_stderr(&[said, "hint: "]);
        sandbox.finmcp(["token", &vendor.url()]).expect_code(4);
        assert!(vendor.records().iter().all(|record| record.header("x").is_none()), "{member} {value}");
    }
    for good in [json!("bEaReR"), json!(null)] {
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(confidential()));
        vendor.fault(On::Path("/token"), Effect::Answer(token_response("token_type", good)));
        let (run, _browser) = machine_sign_in(&mut sandbox, &vendor.url(), &[]);
        run.expect_success();
        assert_eq!(sandbox.finmcp(["token", &vendor.url()]).expect_success().stdout, "opaque\n");
    }
}

/// t059: a token response that is none is thrown away, and what is stored stays.
#[test]
fn t059_token_responses_that_are_none_change_nothing() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(confidential()));
    let (run, _browser) = machine_sign_in(&mut sandbox, &vendor.url(), &[]);
    run.expect_success();
    let token = sandbox.finmcp(["token", &vendor.url()]).expect_success().stdout;
    let good = json!({"access_token": "CANARY-of-a-token-that-nobody-keeps", "token_type": "Bearer"});
    for (what, reply, said) in bad_documents(&good) {
        vendor.fault(On::Path("/token"), Effect::Answer(reply));
        let run = sandbox.finmcp(["token", &vendor.url(), "--force-refresh"]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(5), ""), "{what}: {}", run.stderr);
        let said =
            if ["twice", "list"].contains(&what) { "it has no `access_token`, or a duplicate member" } else { said };
        run.expect_stderr(&[said, "your sign-in is kept"]);
        assert_eq!(sandbox.finmcp(["token", &vendor.url()]).expect_success().stdout, token, "{what}");
    }
    sandbox.assert_no_secret(&["CANARY-of-a-token-that-nobody-keeps".to_owned()]);
}

/// t045: a token that says that it is for somebody else is the server's affair, and said once; where the person wants
/// none such it is refused, at the sign-in and at each renewal.
#[test]
fn t045_a_token_for_somebody_else_is_said_or_refused() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let claims = URL_SAFE_NO_PAD.encode(json!({"aud": ["https://bank.example/mcp"]}).to_string());
    let foreign = || Effect::Answer(token_response("access_token", json!(format!("e30.{claims}.c2ln"))));
    let sign_in = |sandbox: &Sandbox, vendor: &Vendor, strict: &str| {
        let folder = sandbox.home().join("finmcp");
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!("[profiles.odd]\nurl = {:?}\noverrides = {{ {strict} }}\n", vendor.url());
        std::fs::write(folder.join("config.toml"), text).unwrap();
        let secret = sandbox.give("client-secret", CLIENT_SECRET).display().to_string();
        let client = ["--grant", "client-credentials", "--client-id", "x", "--client-secret-file", &secret];
        sandbox.finmcp([&["login", "odd"], &client[..]].concat())
    };
    let script = || Script { token_shape: TokenShape::Jwt, ..confidential() };

    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script()));
    vendor.fault(On::Path("/token"), foreign());
    let run = sign_in(&sandbox, &vendor, "").expect_success();
    assert_eq!(run.stderr.matches("https://bank.example/mcp").count(), 1, "{}", run.stderr);
    let run = sandbox.finmcp(["token", "odd"]).expect_success();
    assert!(!run.stderr.contains("bank.example"), "{}", run.stderr);
    // One that is for this server is nothing to speak of.
    let run = sign_in(&sandbox, &vendor, "").expect_success();
    assert!(!run.stderr.contains("says that it is for"), "{}", run.stderr);

    let (sandbox, vendor) = (Sandbox::new(), Vendor::start(script()));
    vendor.fault(On::Path("/token"), foreign());
    let run = sign_in(&sandbox, &vendor, "require_audience = true").expect_code(5);
    run.expect_stderr(&["for https://bank.example/mcp, not for", &vendor.url(), "require_audience"]);
    sandbox.finmcp(["token", "odd"]).expect_code(4);
    sign_in(&sandbox, &vendor, "require_audience = true").expect_success();
    vendor.fault(On::Path("/token"), foreign());
    let run = sandbox.finmcp(["token", "odd", "--force-refresh"]).expect_code(5);
    run.expect_stderr(&["for https://bank.example/mcp", "your sign-in is kept"]);
    sandbox.finmcp(["token", "odd"]).expect_success();
}

/// Starts a command that waits for a person.
fn start(sandbox: &Sandbox, arguments: &[&str]) -> Serve {
    let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
    command.args(arguments);
    Serve::start(command, sandbox.transcript())
}
