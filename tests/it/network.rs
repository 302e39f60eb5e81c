//! What finmcp lets the network see: proxies and certificates.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::mpsc,
    thread,
};

use crate::support::sandbox::Sandbox;

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
fn t132_a_wrong_ca_file_is_said() {
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
