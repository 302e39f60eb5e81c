//! What lies between this machine and the server.

use super::*;

#[test]
fn cure_a_network_with_a_sign_in_page() {
    let (sandbox, vendor, _browser) = books(Script::people());
    let page = Reply::new(200).body("text/html", "<html>Welcome to the hotel");
    let redirect = Reply::new(302).header("location", "http://portal.example/login");
    for (answer, what) in [(page, "returned a web page"), (redirect, "redirects to http://portal.example/login")] {
        // It answers whatever is asked.
        for _ in 0..20 {
            vendor.fault(On::Path("/mcp"), Effect::Answer(answer.clone()));
        }
        let said = diagnose(&sandbox, &["books"], "endpoint", &[what]);
        said.advises("open any page in a browser, sign in to the network and try again");
        vendor.heal();
        expect_green(&sandbox, &["books"]);
    }
}

#[test]
fn cure_a_proxy_that_wants_a_password() {
    let (mut sandbox, vendor) = (Sandbox::new(), open_server());
    let internet = Internet::join(&mut sandbox);
    internet.host("mcp.example", &vendor, Identity::Good);
    internet.require_password("ada:s3cret-0123456789");
    let server = ["https://mcp.example/mcp"];
    let said = diagnose(&sandbox, &server, "proxy", &["asks for a user name and a password (HTTP 407)"]);
    let hint = said.hints.iter().find_map(|hint| hint.strip_prefix("set HTTPS_PROXY=")).unwrap();
    sandbox.set("HTTPS_PROXY", hint.replace("USER:PASSWORD", "ada:wrong"));
    diagnose(&sandbox, &server, "proxy", &["refuses your user name or password (HTTP 407)"]);
    sandbox.set("HTTPS_PROXY", hint.replace("USER:PASSWORD", "ada:s3cret-0123456789"));
    expect_green(&sandbox, &server);
    sandbox.assert_no_secret(&["s3cret-0123456789".to_owned()]);
}

#[test]
fn cure_a_proxy_that_is_not_there() {
    let (mut sandbox, vendor) = (Sandbox::new(), open_server());
    let internet = Internet::join(&mut sandbox);
    internet.host("mcp.example", &vendor, Identity::Good);
    let right = sandbox.environment().find(|(name, _)| *name == "HTTPS_PROXY").unwrap().1.clone();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    sandbox.set("HTTPS_PROXY", format!("http://{closed}"));
    let said = diagnose(&sandbox, &["https://mcp.example/mcp"], "proxy", &["could not connect to the proxy"]);
    said.advises("check HTTPS_PROXY");
    sandbox.set("HTTPS_PROXY", right);
    expect_green(&sandbox, &["https://mcp.example/mcp"]);
}

/// The authority of a company: `ca_file` works everywhere, and `SSL_CERT_FILE` on Linux.
#[test]
fn cure_a_private_certificate_authority() {
    let (mut sandbox, vendor) = (Sandbox::new(), open_server());
    let internet = Internet::join(&mut sandbox);
    internet.host("mcp.example", &vendor, Identity::Good);
    let settings = fs::read_to_string(config(&sandbox)).unwrap();
    let certificate = settings.trim_end().trim_start_matches("ca_file = ").trim_matches('"').to_owned();
    fs::write(config(&sandbox), "").unwrap();
    let server = ["https://mcp.example/mcp"];
    let what = "an authority that this machine does not trust";
    diagnose(&sandbox, &server, "connection", &[what]).advises("set `ca_file` in config.toml");
    fs::write(config(&sandbox), settings).unwrap();
    expect_green(&sandbox, &server);

    fs::write(config(&sandbox), "").unwrap();
    if cfg!(target_os = "linux") {
        sandbox.set("SSL_CERT_FILE", certificate);
        expect_green(&sandbox, &server);
    }
}

/// A certificate of another name is no question of trust: the address is wrong.
#[test]
fn cure_a_certificate_for_another_name() {
    let (mut sandbox, vendor) = (Sandbox::new(), open_server());
    let internet = Internet::join(&mut sandbox);
    internet.host("mcp.example", &vendor, Identity::OtherName);
    internet.host("other.example", &vendor, Identity::Good);
    let said = diagnose(&sandbox, &["https://mcp.example/mcp"], "connection", &["is for another name"]);
    assert!(!said.hints.iter().any(|hint| hint.contains("ca_file")), "{:#}", said.report);
    carry_out(&sandbox, &said.command("finmcp doctor").replace("URL", "https://other.example/mcp"));
}

#[test]
fn cure_a_server_that_is_down() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let vendor = Vendor::start_on(listener, Script::default());
    let (sandbox, url) = (Sandbox::new(), vendor.url());
    expect_green(&sandbox, &[&url]);
    vendor.stop();
    diagnose(&sandbox, &[&url], "connection", &["could not connect", "refused"]).advises("then try again");
    let vendor = Vendor::start_on(TcpListener::bind(address).unwrap(), Script::default());
    vendor.fault(On::Path("/mcp"), Effect::status(503));
    diagnose(&sandbox, &[&url], "endpoint", &["is unavailable (HTTP 503)"]).advises("try again later");
    expect_green(&sandbox, &[&url]);
}

/// Of a profile that is signed in: another path, another port, and a name that does not resolve.
#[test]
fn cure_a_wrong_address() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // No part of a name is longer than 63 letters (RFC 1035 section 2.3.4): no server of names is asked.
    let name = format!("https://{}.example/mcp", "x".repeat(64));
    for step in ["endpoint", "connection", "dns"] {
        let (sandbox, vendor, _browser) = books(Script::people());
        let wrong = match step {
            "endpoint" => vendor.at("/nothing"),
            "connection" => format!("http://{closed}/mcp"),
            _ => name.clone(),
        };
        edit(&sandbox, &format!("url = \"{}\"", vendor.url()), &format!("url = \"{wrong}\""));
        let said = diagnose(&sandbox, &["books"], step, &[]);
        carry_out(&sandbox, &said.command("finmcp login").replace("URL", &vendor.url()));
        expect_green(&sandbox, &["books"]);
    }
}
