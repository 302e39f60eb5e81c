//! Servers that must not be believed: each is refused with exit code 5, before a browser opens and before a secret goes
//! anywhere, with the cause and the way out. The rows are those of the threat model.

mod addresses;
mod challenges;
mod documents;
mod programs;
mod tokens;

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
        browser::{FakeBrowser, Person, signed_in},
        eventually,
        internet::{Identity, Internet},
        sandbox::{Run, Sandbox},
        secrets::Canary,
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

/// A vendor that is far away: `https://mcp.example`, in whose name its documents are.
fn far_vendor(script: Script) -> Vendor {
    Vendor::start_as("https://mcp.example", script)
}

/// Signs in as a machine whose authorization server is to be discovered.
fn machine_sign_in(sandbox: &mut Sandbox, url: &str, more: &[&str]) -> (Run, FakeBrowser) {
    sign_in(sandbox, url, &[&["--grant", "client-credentials"], more].concat())
}
