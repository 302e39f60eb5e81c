//! A person at a terminal is asked for what a sign-in needs; a script is not.

use std::{fs, process::Stdio};

use serde_json::json;

use crate::{
    commands::settings::configure,
    support::{
        PATIENCE,
        browser::{FakeBrowser, Person},
        sandbox::{Sandbox, wait},
        terminal::{Sitting, Terminal},
        vendor::{Registration, Script, Vendor},
    },
};

const SECRET: &str = "CANARY-7c41f09e-secret";

/// A vendor whose clients have the secret, as the preset `books` with two environments.
fn books(sandbox: &Sandbox) -> Vendor {
    let vendor = Vendor::start(Script::machine("x", SECRET));
    let server = format!("{{ url = \"{}\", token_endpoint = \"{}\" }}", vendor.url(), vendor.token_endpoint());
    let text = format!(
        "[providers.books]\ntitle = \"Books Inc.\"\ngrants = [\"client-credentials\"]\n\
         client_authentication = \"body\"\ndocumentation = \"https://docs.books.example/mcp\"\n\
         credentials_from = \"Settings > Keys\"\ndefault_environment = \"production\"\n\
         [providers.books.environments]\nproduction = {{ url = \"https://books.example/mcp\" }}\nsandbox = {server}\n"
    );
    configure(sandbox, &text);
    vendor
}

/// What a sign-in stores: the entries, and the profiles.
fn stored(sandbox: &Sandbox) -> Vec<String> {
    let names = sandbox.files().into_iter().map(|path| path.display().to_string());
    let config = fs::read_to_string(sandbox.home().join("finmcp/config.toml")).unwrap_or_default();
    let profiles = config.lines().filter(|line| line.starts_with("[profiles")).map(str::to_owned);
    names.filter(|name| name.contains("/credentials/") && !name.ends_with("key-proof")).chain(profiles).collect()
}

/// The whole way: which server, which environment, its client id and its secret. Each wrong answer is refused while the
/// person can still correct it, and the secret is on no screen.
#[test]
fn c3_login_asks_for_everything_that_it_needs() {
    let sandbox = Sandbox::new();
    let vendor = books(&sandbox);
    let mut person = Terminal::sitting(&sandbox, &["login"]);
    person.reads("1  Asset").reads("2  Tesorio").reads("3  Masset").reads("4  Demo").reads("another preset");
    for (wrong, problem) in [
        ("", "Type a number"),
        ("17", "No preset or profile is called \"17\""),
        ("boooks", "did you mean books?"),
        ("http://mcp.books.example/mcp", "only https"),
        ("https://user:p@books.example/mcp", "user name"),
        ("?", "PRESET"),
    ] {
        person.reads("Server: ").types(&format!("{wrong}\n")).reads(problem);
    }
    person.reads("Server: ").types("books inc.\n");
    person.reads("Environment (production, sandbox) [production]: ").types("moon\n").reads("no environment \"moon\"");
    person.reads("Environment").types("sandbox\n");
    person.reads("https://docs.books.example/mcp").reads("Where to get them: Settings > Keys");
    for (wrong, problem) in [("", "Type or paste"), ("  ", "Type or paste"), ("x y", "contains spaces")] {
        person.reads("Client ID: ").types(&format!("{wrong}\n")).reads(problem);
    }
    person.reads("Client ID: ").types("  x \n");
    for (wrong, problem) in [("", "Type or paste"), ("x", "That is the client ID"), ("CANARY y", "contains spaces")] {
        person.reads("Client secret (not shown): ").types(&format!("{wrong}\n")).reads(problem);
    }
    assert!(vendor.records().is_empty() && stored(&sandbox).is_empty(), "nothing happens before the last answer");
    person.reads("Client secret (not shown): ").types(&format!(" {SECRET}\n"));
    let (code, shown) = person.ends();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("CANARY"), "{shown}");
    assert_eq!(vendor.records_at("/token")[0].form()["client_secret"], SECRET);
    sandbox.finmcp(["token", "books", "--env", "sandbox"]).expect_success();
    sandbox.assert_no_secret(&[SECRET.to_owned()]);

    // What is stored is not asked for again, unless it is to be replaced.
    let again = ["login", "books", "--env", "sandbox"];
    let (code, shown) = Terminal::sitting(&sandbox, &again).ends();
    assert_eq!((code, shown.contains("Client")), (Some(0), false), "{shown}");
    let mut person = Terminal::sitting(&sandbox, &[&again[..], &["--force"]].concat());
    person.reads("Client secret (not shown): ").types(&format!("{SECRET}\n"));
    let (code, shown) = person.ends();
    assert_eq!((code, shown.contains("Client ID: ")), (Some(0), false), "{shown}");
}

/// A preset that is named: only what is missing is asked for, and the vendor's place for it is named.
#[test]
fn c3_only_what_is_missing_is_asked_for() {
    let vendor = Vendor::start(Script::machine("x", SECRET));
    let (url, endpoint) = (vendor.url(), vendor.token_endpoint());
    let login = ["login", "asset", "--env", "sandbox", "--url", &url, "--token-endpoint", &endpoint];
    for (options, asks) in [
        (&[][..], &["Client ID: ", "Client secret (not shown): "][..]),
        (&["--client-id", "x"], &["Client secret (not shown): "]),
    ] {
        let sandbox = Sandbox::new();
        let mut person = Terminal::sitting(&sandbox, &[&login[..], options].concat());
        person.reads("Asset Dashboard");
        for question in asks {
            let answer = if question.contains("ID") { "x" } else { SECRET };
            person.reads(question).types(&format!("{answer}\n"));
        }
        let (code, shown) = person.ends();
        assert_eq!(code, Some(0), "{shown}");
        assert_eq!(shown.contains("Client ID: "), options.is_empty(), "{shown}");
        sandbox.finmcp(["token", "--env", "sandbox"]).expect_success();
    }
    // Nothing is missing.
    let mut sandbox = Sandbox::new();
    sandbox.set("FINMCP_CLIENT_SECRET", SECRET);
    let (code, shown) = Terminal::sitting(&sandbox, &[&login[..], &["--client-id", "x"]].concat()).ends();
    assert_eq!((code, shown.contains("Client secret")), (Some(0), false), "{shown}");
}

/// Esc, Ctrl-D and Ctrl-C end it at each question: nothing is sent or stored, and the terminal is as before.
#[test]
fn c3_a_sign_in_can_be_cancelled_at_each_question() {
    type Way = fn(&mut Sitting);
    let ways: [(&[&str], Way); 6] = [
        (&["login"], |person| {
            person.reads("Server: ");
        }),
        (&["login"], |person| {
            person.reads("Server: ").types("half");
        }),
        (&["login"], |person| {
            person.reads("Server: ").types("books\n").reads("Environment");
        }),
        (&["login", "masset"], |person| {
            person.reads("Address of your Masset server: ");
        }),
        (&["login", "books", "--env", "sandbox"], |person| {
            person.reads("Client ID: ");
        }),
        (&["login", "books", "--env", "sandbox"], |person| {
            person.reads("Client ID: ").types("x\n").reads("Client secret (not shown): ").types("CANARY");
        }),
    ];
    for (arguments, way) in ways {
        // Ctrl-D ends an empty line only, as everywhere.
        for (key, line) in [("\x1b", ""), ("\x15\x04", ""), ("\x03", "interrupted")] {
            let sandbox = Sandbox::new();
            let vendor = books(&sandbox);
            let mut person = Terminal::sitting(&sandbox, arguments);
            way(&mut person);
            person.types(key);
            let (code, shown) = person.ends();
            assert_eq!(code, Some(130), "{arguments:?} {key:?}: {shown}");
            assert!(shown.contains(line) && !shown.contains("CANARY"), "{shown}");
            // The message begins a line.
            let begins = ["\nerror:", "\n\u{1b}[1;31merror:", "\r\u{1b}[K\u{1b}[1;31merror:"];
            assert!(begins.iter().any(|begin| shown.contains(begin)), "{shown:?}");
            assert_eq!((vendor.records().len(), stored(&sandbox)), (0, Vec::new()), "{arguments:?} {key:?}");
        }
    }
}

/// A user who is not at a terminal, with stdin and stderr, gets the options at once, as a script does.
#[test]
fn c3_nothing_is_asked_without_a_terminal() {
    for (stdin, stderr) in [(false, false), (false, true), (true, false)] {
        for (arguments, option) in [
            (&["login"][..], "finmcp login SERVER"),
            (&["login", "asset"], "--client-secret-file"),
            (&["login", "masset"], "--url"),
        ] {
            let (sandbox, terminal) = (Sandbox::new(), Terminal::open());
            let report = sandbox.watched().join("stderr");
            let seat = |is_terminal: bool, other: Stdio| if is_terminal { terminal.stdio() } else { other };
            let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
            command.args(arguments).stdout(Stdio::null()).stdin(seat(stdin, Stdio::null()));
            command.stderr(seat(stderr, fs::File::create(&report).unwrap().into()));
            assert_eq!(wait(&mut command.spawn().unwrap(), PATIENCE), Some(Some(2)), "{arguments:?} {stdin} {stderr}");
            let said = if stderr { terminal.last_shown() } else { fs::read_to_string(&report).unwrap() };
            assert!(said.contains(option) && !said.contains(": \n"), "{arguments:?}: {said}");
            assert!(!terminal.shown().contains("Server: ") && stored(&sandbox).is_empty(), "{said}");
        }
    }
}

/// The address of a vendor that gives each customer another one, and of a server without a preset.
#[test]
fn c3_an_address_is_asked_for() {
    let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(Script::people()));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let address = format!("{}\n", vendor.url());
    let mut person = Terminal::sitting(&sandbox, &["login", "masset"]);
    for (wrong, problem) in [("http://masset.example/mcp", "only https"), ("a b", "not a valid")] {
        person.reads("Address of your Masset server: ").types(&format!("{wrong}\n")).reads(problem);
    }
    person.reads("Address of your Masset server: ").types(&address);
    let (code, shown) = person.ends();
    assert_eq!(code, Some(0), "{shown}");
    sandbox.finmcp(["token", "masset"]).expect_success();
    sandbox.finmcp(["logout", "masset"]).expect_success();

    let mut person = Terminal::sitting(&sandbox, &["login", "--profile", "mine"]);
    person.reads("Server: ").types(&address);
    let (code, shown) = person.ends();
    assert_eq!(code, Some(0), "{shown}");
    sandbox.finmcp(["token", "mine"]).expect_success();
    // Enter takes the one server that the person is signed in to.
    let mut person = Terminal::sitting(&sandbox, &["login"]);
    person.reads("Server [mine]: ").types("\n");
    let (code, shown) = person.ends();
    assert_eq!(code, Some(0), "{shown}");
}

/// A server that registers no clients: the person has one.
#[test]
fn c3_a_client_is_asked_for_where_none_can_be_registered() {
    for secret in [None, Some(SECRET)] {
        let clients = vec![("mine".to_owned(), secret.map(str::to_owned))];
        let script = Script { registration: Registration::Closed, clients, ..Script::people() };
        let (mut sandbox, vendor) = (Sandbox::new(), Vendor::start(script));
        let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        let mut person = Terminal::sitting(&sandbox, &["login", &vendor.url()]);
        person.reads("registers no clients").reads("Client ID: ").types("mine\n");
        person.reads("Enter if there is none").types(&format!("{}\n", secret.unwrap_or_default()));
        let (code, shown) = person.ends();
        assert_eq!((code, shown.contains("CANARY")), (Some(0), false), "{shown}");
        sandbox.finmcp(["token", &vendor.url()]).expect_success();
    }
}

/// A sign-in page that has been answered waits for no pasted address: the next question gets what is typed.
#[test]
fn c3_a_question_after_a_page_is_answered() {
    let mut sandbox = Sandbox::new();
    let (_books, people) = (books(&sandbox), Vendor::start(Script::people()));
    let _browser = FakeBrowser::install(&mut sandbox, Person::Consents);
    let path = sandbox.home().join("finmcp/config.toml");
    let profiles = format!(
        "[profiles.a]\nurl = \"{}\"\n[profiles.b]\nprovider = \"books\"\nenvironment = \"sandbox\"\n",
        people.url()
    );
    fs::write(&path, fs::read_to_string(&path).unwrap() + &profiles).unwrap();
    let mut person = Terminal::sitting(&sandbox, &["login", "--all"]);
    person.reads("Paste the address").reads("Client ID: ").types("x\n");
    person.reads("Client secret (not shown): ").types(&format!("{SECRET}\n"));
    let (code, shown) = person.ends();
    assert_eq!((code, shown.contains("CANARY")), (Some(0), false), "{shown}");
    for profile in ["a", "b"] {
        sandbox.finmcp(["token", profile]).expect_success();
    }
}

/// The demo needs no sign-in: choosing it runs it.
#[cfg(feature = "demo")]
#[test]
fn c3_the_demo_can_be_chosen() {
    let sandbox = Sandbox::new();
    let mut person = Terminal::sitting(&sandbox, &["login"]);
    person.reads("4  Demo").reads("Server: ").types("4\n").reads("Net income");
    assert_eq!(person.ends().0, Some(0));
    assert_eq!(stored(&sandbox), Vec::<String>::new());
}

/// The sign-in tool of a server that needs a secret names the command, which asks for it; then the tools work, in the
/// same client.
#[test]
fn c3_the_sign_in_tool_leads_to_the_terminal() {
    let sandbox = Sandbox::new();
    let vendor = books(&sandbox);
    let mut serve = sandbox.serve(["books", "--env", "sandbox"]);
    serve.initialize();
    serve.request("tools/list", json!({})).result();
    let result = serve.call("finmcp_sign_in", json!({})).result();
    let text = result["content"][0]["text"].as_str().unwrap();
    for words in ["client ID and a client secret", "Never type that here", "Books Inc."] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    assert!(!text.contains("browser"), "{text}");
    let command = text.split("run: finmcp ").nth(1).unwrap_or_else(|| panic!("no command in {text}"));
    let arguments: Vec<&str> = command.lines().next().unwrap().split(' ').collect();
    let mut person = Terminal::sitting(&sandbox, &arguments);
    person.reads("Client ID: ").types("x\n").reads("Client secret (not shown): ").types(&format!("{SECRET}\n"));
    let (code, shown) = person.ends();
    assert_eq!(code, Some(0), "{shown}");
    serve.incoming("notifications/tools/list_changed");
    serve.echo("hi");
    assert_eq!(vendor.executed().len(), 1);

    // A bridge that would open a browser opens none, and names the command as well.
    sandbox.finmcp(["logout", "books", "--env", "sandbox"]).expect_success();
    let mut serve = sandbox.serve(["books", "--env", "sandbox", "--sign-in", "auto"]);
    serve.initialize();
    let error = serve.call("echo", json!({"message": "hi"})).error();
    let said = error["message"].as_str().unwrap();
    assert_eq!(error["code"], -31004, "{error}");
    assert!(said.contains("finmcp login books --env sandbox") && !said.contains("browser"), "{said}");
}
