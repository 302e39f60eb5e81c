//! What finmcp lets the network see: proxies and certificates.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::mpsc,
    thread,
};

use serde_json::json;

use crate::{
    bridge::serve::open_bridge,
    support::{
        sandbox::Sandbox,
        vendor::{Effect, Era, On, Reply, Script},
    },
};

/// t009, t134: a proxy of the environment is the person's: it is used wherever it is, and learns the name of the server
/// and nothing else.
#[test]
fn t134_a_proxy_sees_the_name_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, heads) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            stream.write_all(b"HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n").unwrap();
            sender.send(head).unwrap();
        }
    });
    let mut sandbox = Sandbox::new();
    // A name, so that it has to be resolved.
    sandbox.set("HTTPS_PROXY", format!("http://localhost:{port}"));
    sandbox.set("FINMCP_CLIENT_SECRET", "secret-that-no-proxy-sees");
    let arguments = ["login", "https://mcp.invalid/mcp", "--grant", "client-credentials", "--client-id", "x"];
    let pinned = [&arguments[..], &["--token-endpoint", "https://as.invalid/token"]].concat();
    for (arguments, host) in [(&arguments[..], "mcp.invalid:443"), (&pinned[..], "as.invalid:443")] {
        sandbox.finmcp(arguments).expect_code(3);
        let head = heads.recv().unwrap();
        assert_eq!(head[0], format!("CONNECT {host} HTTP/1.1"));
        assert!(!head.concat().contains("secret-that"), "{head:?}");
    }
}

/// t132: a file of authorities that holds none is said, and not taken for an empty one.
#[test]
fn t132_an_invalid_ca_file_is_reported() {
    let sandbox = Sandbox::new();
    let folder = sandbox.home().join("finmcp");
    std::fs::create_dir_all(&folder).unwrap();
    for (contents, code) in [(Some("not a certificate"), 2), (None, 1)] {
        let file = sandbox.home().join(format!("ca-{code}.pem"));
        if let Some(contents) = contents {
            std::fs::write(&file, contents).unwrap();
        }
        std::fs::write(folder.join("config.toml"), format!("ca_file = {:?}\n", file.display().to_string())).unwrap();
        sandbox.finmcp(["status"]).expect_code(code).expect_stderr(&[&format!("ca-{code}.pem")]);
    }
}

/// t131: a server that is not there is named, with the reason and what to look at; a call that was not sent is none whose
/// outcome is open.
#[test]
fn t131_an_unreachable_server_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for era in [Era::Legacy, Era::Modern] {
        let mut serve = Sandbox::new().serve([format!("http://{closed}/mcp")]);
        let call = serve.post_in(era, "tools/call", json!({"name": "echo", "arguments": {}}));
        let list = serve.post_in(era, "tools/list", json!({}));
        for id in [call, list] {
            let error = serve.answer_to(&id).error();
            let text = error["message"].as_str().unwrap();
            assert_eq!(error["code"], -31003, "{error}");
            for part in ["could not connect to 127.0.0.1", "refused", "nothing was sent", "Check the address"] {
                assert!(text.contains(part), "{part:?} is not in: {text}");
            }
        }
        assert!(serve.is_running());
    }
}

/// t131: the sign-in page of a network, in the place of any answer.
#[test]
fn t131_the_page_of_a_captive_portal_is_named() {
    let page = Reply::new(200).body("text/html; charset=utf-8", "<html><h1>Welcome to the airport</h1></html>");
    for era in [Era::Legacy, Era::Modern] {
        let (_sandbox, vendor, mut serve) = open_bridge(Script { era, ..Script::default() });
        serve.greet(era).result();
        for method in ["tools/list", "tools/call"] {
            vendor.fault(On::Rpc(method), Effect::Answer(page.clone()));
            let error = serve.request_in(era, method, json!({"name": "echo", "arguments": {}})).error();
            let text = error["message"].as_str().unwrap();
            assert!(text.contains("expected MCP, got text/html") && text.contains("captive portal"), "{text}");
            assert!(!text.contains("airport"), "the page is not for the model: {text}");
        }
        // The portal lets everything through, and the bridge is there.
        serve.request_in(era, "tools/list", json!({})).result();
    }
}
