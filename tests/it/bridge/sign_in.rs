//! A sign-in that begins while an AI client is waiting: `finmcp serve --sign-in`.

use serde_json::json;

use crate::support::{
    browser::{FakeBrowser, Person, signed_in},
    sandbox::Sandbox,
    vendor::{Effect, On, Reply, Script, Vendor},
};

#[test]
fn auto_mode_opens_the_browser() {
    let vendor = Vendor::start(Script::people());
    let mut sandbox = Sandbox::new();
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let url = vendor.url();
    let mut serve = sandbox.serve([url.as_str(), "--sign-in", "auto"]);
    assert_eq!(serve.initialize().result()["serverInfo"]["name"], "test vendor");
    serve.echo("hi");
    assert_eq!(browser.starts().len(), 1);
    // What the refused request was answered is used: nothing is asked twice on the way to the first token.
    let paths: Vec<_> = vendor.records().into_iter().map(|record| record.path).collect();
    let until_token = paths.iter().position(|path| path == "/token").unwrap();
    assert_eq!(
        paths[..=until_token],
        [
            "/mcp",
            "/.well-known/oauth-protected-resource/mcp",
            "/.well-known/oauth-authorization-server",
            "/register",
            "/authorize",
            "/token"
        ]
    );
    // It is a sign-in like any other.
    sandbox.finmcp(["token", url.as_str()]).expect_success();
    sandbox.assert_no_secret(&vendor.secrets());
}

#[test]
fn off_mode_names_the_command_to_run() {
    let vendor = Vendor::start(Script::people());
    let mut sandbox = Sandbox::new();
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let url = vendor.url();
    let mut serve = sandbox.serve([url.as_str(), "--sign-in", "off"]);
    serve.initialize();
    for method in ["tools/list", "tools/call"] {
        let answer = serve.request(method, json!({"name": "echo"}));
        assert_eq!(answer.error()["code"], -31004);
        assert!(answer.error()["message"].as_str().unwrap().contains(&format!("finmcp login {url}")));
    }
    assert!(browser.starts().is_empty());
}

/// t022, t036: however many bridges need a person, one browser opens, one of them redeems the code with its own
/// verifier, and all of them go on.
#[test]
fn t022_t036_many_bridges_open_one_browser() {
    let vendor = Vendor::start(Script::people());
    let mut sandbox = Sandbox::new();
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let url = vendor.url();
    let mut bridges: Vec<_> = (0..64).map(|_| sandbox.serve([url.as_str(), "--sign-in", "auto"])).collect();
    let hello =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}});
    let asked: Vec<_> = bridges.iter_mut().map(|serve| serve.post("initialize", hello.clone())).collect();
    for (serve, id) in bridges.iter_mut().zip(asked) {
        // A client that waits long for that person is answered without the server.
        serve.answer_to(&id).result();
        serve.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        assert_eq!(serve.request("tools/list", json!({})).result()["tools"][0]["name"], "echo");
    }
    assert_eq!(browser.starts().len(), 1);
    assert_eq!((vendor.records_at("/token").len(), vendor.records_at("/register").len()), (1, 1));
    assert_eq!(vendor.replays(), 0);
}

/// t064: a sign-in that is too narrow is widened once, with all that it had before; a server that is never content is
/// answered.
#[test]
fn t064_a_missing_scope_is_asked_for_once() {
    let vendor = Vendor::start(Script::people());
    let (sandbox, browser) = signed_in(&vendor, &["--scope", "files:read"]);
    let url = vendor.url();
    let mut serve = sandbox.serve([url.as_str(), "--sign-in", "auto"]);
    serve.initialize();
    let refuse = || {
        let challenge = "Bearer error=\"insufficient_scope\", scope=\"files:write\"";
        vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(403).header("www-authenticate", challenge)));
    };
    let config = || std::fs::read_to_string(sandbox.home().join("finmcp/config.toml"));
    let questions = vendor.calls("initialize").len();
    refuse();
    serve.echo("hi");
    assert_eq!((browser.starts().len(), vendor.executed().len()), (2, 1));
    assert_eq!(vendor.calls("initialize").len(), questions, "the refusal says where to begin");
    // What the person chose stays what the person chose.
    assert!(config().unwrap().contains("scope = \"files:read\""), "{:?}", config());
    let asked = vendor.records_at("/authorize").last().unwrap().query()["scope"].clone();
    for scope in ["files:read", "files:write"] {
        assert!(asked.split(' ').any(|token| token == scope), "{asked}");
    }

    for _ in 0..5 {
        refuse();
    }
    let answer = serve.call("echo", json!({"message": "hi"}));
    assert!(answer.error()["message"].as_str().unwrap().contains("files:write"), "{}", answer.raw);
    // What it was given already is not asked for again.
    for _ in 0..3 {
        serve.call("echo", json!({"message": "hi"}));
    }
    assert_eq!(browser.starts().len(), 2);
}

/// t064: without a browser the answer names the command, with what is missing and what there was; once that has been
/// run, the bridge goes on with it.
#[test]
fn t064_a_missing_scope_is_named() {
    let vendor = Vendor::start(Script::people());
    let (sandbox, browser) = signed_in(&vendor, &["--scope", "files:read"]);
    let url = vendor.url();
    let mut serve = sandbox.serve([url.as_str(), "--sign-in", "off"]);
    serve.initialize();
    let refuse = || {
        let challenge = "Bearer error=\"insufficient_scope\", scope=\"files:write\"";
        vendor.fault(On::Rpc("tools/call"), Effect::Answer(Reply::new(403).header("www-authenticate", challenge)));
    };
    refuse();
    let answer = serve.call("echo", json!({"message": "hi"}));
    let message = answer.error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("scope files:write"), "{message}");
    assert_eq!((browser.starts().len(), vendor.calls("tools/call").len()), (1, 1));

    let (_, command) = message.split_once("Run `finmcp ").expect("a command to run");
    let command: Vec<_> = command.split_once('`').unwrap().0.split(' ').collect();
    sandbox.finmcp(command).expect_success();
    assert_eq!(vendor.records_at("/authorize").last().unwrap().query()["scope"], "files:read files:write");
    refuse();
    serve.echo("hi");
    assert_eq!((browser.starts().len(), vendor.executed().len()), (2, 1));
    // There was no sign-in since.
    refuse();
    assert_eq!(serve.call("echo", json!({"message": "hi"})).error()["code"], -31004);
}

/// t040: a client that the server has forgotten is reported, and registers again at the next sign-in.
#[test]
fn t040_a_forgotten_client_is_registered_again() {
    let vendor = Vendor::start(Script::people());
    let (sandbox, browser) = signed_in(&vendor, &[]);
    let url = vendor.url();
    sandbox.finmcp(["login", url.as_str()]).expect_success();
    assert_eq!((browser.starts().len(), vendor.records_at("/register").len()), (2, 1));
    vendor.fault(On::Path("/token"), Effect::Answer(Reply::new(401).json(&json!({"error": "invalid_client"}))));
    let run = sandbox.finmcp(["token", url.as_str(), "--force-refresh"]).expect_code(4);
    assert!(run.stderr.contains("forgotten"), "{}", run.stderr);
    sandbox.finmcp(["login", url.as_str()]).expect_success();
    assert_eq!((browser.starts().len(), vendor.records_at("/register").len()), (3, 2));
}

/// t036: a person who says no is believed: the answer says so, and no browser opens for the requests that come after.
#[test]
fn t036_after_declining_the_user_is_not_asked_again() {
    let vendor = Vendor::start(Script::people());
    let mut sandbox = Sandbox::new();
    let browser = FakeBrowser::install(&mut sandbox, Person::Denies);
    let url = vendor.url();
    let mut serve = sandbox.serve([url.as_str(), "--sign-in", "auto"]);
    serve.initialize();
    for _ in 0..3 {
        let answer = serve.request("tools/list", json!({}));
        assert_eq!(answer.error()["code"], -31001);
        assert!(answer.error()["message"].as_str().unwrap().contains("access_denied"), "{}", answer.raw);
    }
    assert_eq!(browser.starts().len(), 1);
}

/// t036: nor by the other bridges that waited for the answer, or start a little later; but a person who asks by hand is
/// heard, and from then on all bridges work.
#[test]
fn t036_declining_counts_for_all_bridges() {
    let vendor = Vendor::start(Script::people());
    let mut sandbox = Sandbox::new();
    let browser = FakeBrowser::install(&mut sandbox, Person::Denies);
    let url = vendor.url();
    let open = |sandbox: &Sandbox| {
        let mut serve = sandbox.serve([url.as_str(), "--sign-in", "auto"]);
        serve.initialize();
        serve
    };
    let mut bridges: Vec<_> = (0..8).map(|_| open(&sandbox)).collect();
    let asked: Vec<_> = bridges.iter_mut().map(|serve| serve.post("tools/list", json!({}))).collect();
    for (serve, id) in bridges.iter_mut().zip(asked) {
        let error = serve.answer_to(&id).error();
        assert_eq!(error["code"], -31001);
        assert!(error["message"].as_str().unwrap().contains("access_denied"), "{error}");
    }
    bridges.push(open(&sandbox));
    assert_eq!(bridges[8].request("tools/list", json!({})).error()["code"], -31001);
    assert_eq!(browser.starts().len(), 1);

    drop(browser);
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let before = browser.starts().len();
    sandbox.finmcp(["login", url.as_str()]).expect_success();
    for serve in &mut bridges {
        assert_eq!(serve.request("tools/list", json!({})).result()["tools"][0]["name"], "echo");
    }
    assert_eq!(browser.starts().len(), before + 1);
}

/// t011: what must not be trusted is named in the answer, and no browser opens for it.
#[test]
fn t011_a_server_that_is_not_trusted_is_named() {
    let script = Script { protected_resource: json!({"resource": "https://bank.example/mcp"}), ..Script::people() };
    let vendor = Vendor::start(script);
    let mut sandbox = Sandbox::new();
    let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let url = vendor.url();
    let mut serve = sandbox.serve([url.as_str(), "--sign-in", "auto"]);
    serve.initialize();
    for _ in 0..2 {
        let answer = serve.request("tools/list", json!({}));
        assert_eq!(answer.error()["code"], -31005);
        assert!(answer.error()["message"].as_str().unwrap().contains("https://bank.example/mcp"), "{}", answer.raw);
    }
    assert!(browser.starts().is_empty());
    assert_eq!(vendor.records_at("/.well-known/oauth-protected-resource/mcp").len(), 1);
}
