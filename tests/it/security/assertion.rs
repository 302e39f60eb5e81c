//! Signing in with an assertion: from a platform about its workload, or from an identity provider about its user.

use std::fs;

use serde_json::json;

use crate::{
    commands::login::CLIENT_SECRET,
    support::{
        sandbox::Sandbox,
        vendor::{Effect, On, Registration, Script, Vendor},
    },
};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

mod workload {
    use super::*;

    /// A server that believes the platform, and the platform.
    fn servers() -> (Vendor, Vendor) {
        let platform = Vendor::start(Script::default());
        let server = Vendor::start(Script {
            trusted_issuer: Some(platform.origin()),
            registration: Registration::Closed,
            refresh_tokens: false,
            ..Script::people()
        });
        (server, platform)
    }

    /// t091, t094: no client is named and nothing is stored of the assertion: each token takes what the file holds by
    /// then.
    #[test]
    fn a_workload_signs_in_with_the_token_of_its_platform() {
        let (sandbox, (server, platform)) = (Sandbox::new(), servers());
        let first = platform.jwt("workload", &server.origin(), 60);
        let file = sandbox.give("projected", format!("{first}\n"));
        let file = file.to_str().unwrap();
        let arguments = ["login", &server.url(), "--assertion-file", file, "--scope", "invoices:read"];
        sandbox.finmcp(arguments).expect_success().expect_stderr(&["finmcp renews it automatically"]);
        let form = server.records_at("/token")[0].form();
        let fields = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>();
        let resource = server.url();
        let wanted = [
            ("assertion", &first[..]),
            ("grant_type", JWT_BEARER),
            ("resource", &resource),
            ("scope", "invoices:read"),
        ];
        assert_eq!(fields, wanted);

        let second = platform.jwt("workload", &server.origin(), 60);
        fs::write(file, &second).unwrap();
        let token = sandbox.finmcp(["token", &server.url(), "--force-refresh"]).expect_success().stdout;
        assert!(server.secrets().contains(&token.trim_end().to_owned()));
        assert_eq!(server.records_at("/token")[1].form()["assertion"], second);
        assert_eq!(server.complaints(), Vec::<String>::new());
        sandbox.assert_no_secret(&[server.secrets(), platform.secrets()].concat());
        for file in sandbox.files() {
            assert!(!String::from_utf8_lossy(&fs::read(&file).unwrap()).contains(&first), "{}", file.display());
        }
    }

    /// The bridge renews as `token` does, while a client is running.
    #[test]
    fn the_bridge_takes_the_newest_assertion() {
        let (sandbox, (server, platform)) = (Sandbox::new(), servers());
        let file = sandbox.give("projected", platform.jwt("workload", &server.origin(), 60));
        sandbox.finmcp(["login", &server.url(), "--assertion-file", file.to_str().unwrap()]).expect_success();
        let mut bridge = sandbox.serve([server.url()]);
        bridge.initialize().result();
        let newest = platform.jwt("workload", &server.origin(), 60);
        fs::write(&file, &newest).unwrap();
        server.revoke_access_tokens();
        let answer = bridge.call("echo", json!({"message": "hi"}));
        assert_eq!(answer.result()["content"][0]["text"], "hi");
        assert_eq!(server.records_at("/token").last().unwrap().form()["assertion"], newest);
        assert_eq!(server.executed(), ["echo"]);
    }

    /// A refused assertion is sent once; the file, its end and the server's reason are said, and nothing is kept.
    #[test]
    fn an_assertion_that_is_refused_is_not_tried_again() {
        for (lifetime, audience, said) in
            [(-60, None, &["(expired ", "it has ended"][..]), (60, Some("https://wrong.example"), &["another server"])]
        {
            let (sandbox, (server, platform)) = (Sandbox::new(), servers());
            let origin = server.origin();
            let file = sandbox.give("projected", platform.jwt("workload", audience.unwrap_or(&origin), lifetime));
            let arguments = ["login", &server.url(), "--assertion-file", file.to_str().unwrap()];
            let run = sandbox.finmcp(arguments).expect_code(1).expect_stderr(said);
            run.expect_stderr(&["rejected the assertion", "projected", "check the program that writes this file"]);
            assert_eq!(server.records_at("/token").len(), 1);
            sandbox.finmcp(["token", &server.url()]).expect_code(4);
            sandbox.assert_no_secret(&platform.secrets());
        }
    }

    /// t060: an assertion that is refused, or a file that is gone, costs no sign-in; a fresh one goes on with it.
    #[test]
    fn t060_an_invalid_assertion_ends_no_sign_in() {
        let (sandbox, (server, platform)) = (Sandbox::new(), servers());
        let file = sandbox.give("projected", platform.jwt("workload", &server.origin(), 60));
        sandbox.finmcp(["login", &server.url(), "--assertion-file", file.to_str().unwrap()]).expect_success();
        let refresh = ["token", &server.url(), "--force-refresh"];
        let asked = server.records_at("/token").len();
        fs::write(&file, CLIENT_SECRET).unwrap();
        sandbox.finmcp(refresh).expect_code(1).expect_stderr(&["contains no JWT"]);
        fs::remove_file(&file).unwrap();
        sandbox.finmcp(refresh).expect_code(1).expect_stderr(&["cannot read", "projected"]);
        assert_eq!(server.records_at("/token").len(), asked, "nothing else was sent in its place");
        fs::write(&file, platform.jwt("workload", &server.origin(), -1)).unwrap();
        sandbox.finmcp(refresh).expect_code(1).expect_stderr(&["(expired "]);
        fs::write(&file, platform.jwt("workload", &server.origin(), 60)).unwrap();
        server.fault(On::Path("/token"), Effect::status(503));
        sandbox.finmcp(refresh).expect_code(3);
        sandbox.finmcp(refresh).expect_success();
        sandbox.assert_no_secret(&[platform.secrets(), vec![CLIENT_SECRET.to_owned()]].concat());
    }

    /// A file that never ends, or is not a file, does not block.
    #[cfg(unix)]
    #[test]
    fn a_file_that_blocks_is_abandoned() {
        let (sandbox, (server, _platform)) = (Sandbox::new(), servers());
        let pipe = sandbox.watched().join("pipe");
        let mut command = sandbox.command("mkfifo");
        command.arg(&pipe);
        sandbox.run(command, Vec::new()).expect_success();
        let begun = std::time::Instant::now();
        let run = sandbox.finmcp(["login", &server.url(), "--assertion-file", pipe.to_str().unwrap()]);
        run.expect_code(1).expect_stderr(&["cannot read", "timed out"]);
        assert!(begun.elapsed() < crate::support::PATIENCE);
        sandbox.finmcp(["login", &server.url(), "--assertion-file", "/dev/zero"]).expect_code(1);
        assert!(server.records_at("/token").is_empty());
    }

    /// A client with a secret also authenticates with it.
    #[test]
    fn a_client_can_be_named_too() {
        let (sandbox, (server, platform)) = (Sandbox::new(), servers());
        server.know("x", CLIENT_SECRET);
        sandbox.give("projected", platform.jwt("workload", &server.origin(), 60));
        let secret = sandbox.give("client-secret", CLIENT_SECRET);
        let (file, secret) = ("../given/projected", secret.to_str().unwrap());
        let url = server.url();
        let arguments = ["login", &url, "--client-id", "x", "--client-secret-file", secret, "--assertion-file", file];
        sandbox.finmcp(arguments).expect_success();
        assert!(server.records_at("/token")[0].header("authorization").is_some());
        // What is saved is enough for another time, from any folder.
        let config = fs::read_to_string(sandbox.home().join("finmcp").join("config.toml")).unwrap();
        let saved = config.lines().find_map(|line| line.strip_prefix("assertion_file = ")).unwrap();
        assert!(std::path::Path::new(saved.trim_matches(['"', '\''])).is_absolute(), "{saved}");
        sandbox.finmcp(["login", &url]).expect_success();
        assert_eq!(server.records_at("/token").len(), 2);
    }

    #[test]
    fn an_assertion_needs_its_grant_and_the_grant_an_assertion() {
        let sandbox = Sandbox::new();
        let (server, _platform) = servers();
        let url = server.url();
        let run = sandbox.finmcp(["login", &url, "--grant", "jwt-bearer"]).expect_code(2);
        run.expect_stderr(&["--assertion-file PATH"]);
        let arguments = ["login", &url, "--grant", "client-credentials", "--assertion-file", "x"];
        sandbox.finmcp(arguments).expect_code(2).expect_stderr(&["--grant jwt-bearer"]);
        assert!(server.records().is_empty());
    }
}

mod enterprise {
    use super::*;

    const PROVIDER_SECRET: &str = "provider-secret-93b1f0c27d5a4e88";

    /// A server, and the identity provider that it believes.
    fn servers() -> (Vendor, Vendor) {
        let provider = Vendor::start(Script {
            clients: vec![("sso".to_owned(), Some(PROVIDER_SECRET.to_owned()))],
            registration: Registration::Closed,
            ..Script::default()
        });
        let server = Vendor::start(Script {
            trusted_issuer: Some(provider.origin()),
            clients: vec![("x".to_owned(), Some(CLIENT_SECRET.to_owned()))],
            registration: Registration::Closed,
            refresh_tokens: false,
            ..Script::people()
        });
        (server, provider)
    }

    /// The command line that signs a person in through `provider`, whose ID token is in the file `id-token`.
    fn arguments(sandbox: &Sandbox, server: &Vendor, provider: &Vendor) -> Vec<String> {
        let given = |name: &str, contents: &str| sandbox.give(name, contents).to_str().unwrap().to_owned();
        let options = [
            ("--client-id", "x".to_owned()),
            ("--client-secret-file", given("client-secret", CLIENT_SECRET)),
            ("--identity-provider", provider.origin()),
            ("--identity-provider-client-id", "sso".to_owned()),
            ("--identity-provider-client-secret-file", given("provider-secret", PROVIDER_SECRET)),
            ("--id-token-file", given("id-token", &provider.jwt("person", "sso", 60))),
            ("--scope", "invoices:read".to_owned()),
        ];
        let options = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        ["login".to_owned(), server.url()].into_iter().chain(options).collect()
    }

    /// MCP "Enterprise-Managed Authorization" sections 4 and 5: the ID token goes to the provider alone, and what it
    /// grants to the server alone; no browser is opened.
    #[test]
    fn the_identity_provider_signs_the_user_in() {
        let (sandbox, (server, provider)) = (Sandbox::new(), servers());
        sandbox.finmcp(arguments(&sandbox, &server, &provider)).expect_success();
        assert_eq!((server.complaints(), provider.complaints()), (Vec::new(), Vec::new()));

        let exchange = &provider.records_at("/token")[0];
        let form = exchange.form();
        let id_token = &form["subject_token"];
        assert!(provider.secrets().contains(id_token));
        for (name, value) in [
            ("audience", server.origin()),
            ("resource", server.url()),
            ("scope", "invoices:read".to_owned()),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:id-jag".to_owned()),
        ] {
            assert_eq!(form[name], value);
        }
        assert!(exchange.header("authorization").is_some_and(|value| value.starts_with("Basic ")));
        let grant = server.records_at("/token")[0].form();
        assert_eq!(grant["grant_type"], JWT_BEARER);
        assert!(!server.records().iter().any(|record| record.text().contains(id_token)), "the server has no ID token");
        assert!(server.records_at("/authorize").is_empty());

        let token = sandbox.finmcp(["token", &server.url()]).expect_success().stdout;
        assert!(server.secrets().contains(&token.trim_end().to_owned()));
        sandbox.assert_no_secret(&[server.secrets(), provider.secrets()].concat());
    }

    /// Each token takes a new word of the provider, for the ID token that is there by then; and what is saved is enough
    /// for another sign-in.
    #[test]
    fn each_renewal_asks_the_identity_provider() {
        let (sandbox, (server, provider)) = (Sandbox::new(), servers());
        sandbox.finmcp(arguments(&sandbox, &server, &provider)).expect_success();
        let newer = provider.jwt("person", "sso", 60);
        sandbox.give("id-token", &newer);
        for (count, command) in [(2, &["token", &server.url(), "--force-refresh"][..]), (3, &["login", &server.url()])]
        {
            sandbox.finmcp(command).expect_success();
            let exchanges = provider.records_at("/token");
            assert_eq!((exchanges.len(), server.records_at("/token").len()), (count, count));
            assert_eq!(exchanges.last().unwrap().form()["subject_token"], newer);
            assert!(exchanges.last().unwrap().header("authorization").is_some(), "the stored secret");
        }
        sandbox.assert_no_secret(&[server.secrets(), provider.secrets()].concat());
    }

    /// MCP "Enterprise-Managed Authorization" section 4.2: the provider may allow less, and no more is asked for then.
    #[test]
    fn the_scope_is_what_the_provider_allows() {
        let (sandbox, (server, provider)) = (Sandbox::new(), servers());
        provider.change(|script| script.granted_scope = Some("invoices:count"));
        sandbox.finmcp(arguments(&sandbox, &server, &provider)).expect_success();
        assert_eq!(provider.records_at("/token")[0].form()["scope"], "invoices:read");
        assert_eq!(server.records_at("/token")[0].form()["scope"], "invoices:count");
    }

    /// What the provider does not grant is said, and the server is not asked at all.
    #[test]
    fn a_denied_grant_is_reported_and_the_server_is_not_called() {
        for (policy, lifetime, code, said) in [
            (
                Some("access_denied"),
                60,
                1,
                &["granted no access", "access_denied", "ask your administrator for access"][..],
            ),
            (None, -60, 1, &["rejected the ID token", "(expired ", "it has ended"]),
        ] {
            let (sandbox, (server, provider)) = (Sandbox::new(), servers());
            provider.change(|script| script.policy = policy);
            let arguments = arguments(&sandbox, &server, &provider);
            sandbox.give("id-token", provider.jwt("person", "sso", lifetime));
            sandbox.finmcp(&arguments).expect_code(code).expect_stderr(said);
            assert_eq!((provider.records_at("/token").len(), server.records_at("/token").len()), (1, 0));
            sandbox.finmcp(["token", &server.url()]).expect_code(4);
            sandbox.assert_no_secret(&provider.secrets());
        }
    }

    /// t050: finmcp does not send on an access token that the identity provider issues for itself.
    #[test]
    fn t050_the_identity_providers_access_token_is_not_sent_on() {
        let (sandbox, (server, provider)) = (Sandbox::new(), servers());
        let token = "access-token-of-the-provider-4c1a9d";
        let answer = json!({
            "access_token": token, "token_type": "Bearer",
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        });
        let answer = crate::support::vendor::Reply::new(200).json(&answer);
        provider.fault(On::Path("/token"), Effect::Answer(answer));
        let run = sandbox.finmcp(arguments(&sandbox, &server, &provider));
        run.expect_code(5).expect_stderr(&["issued_token_type"]);
        assert!(server.records_at("/token").is_empty());
        sandbox.assert_no_secret(&[token.to_owned()]);
    }

    /// t010: the provider is the one that the person named.
    #[test]
    fn t010_a_provider_with_another_name_is_refused() {
        let (sandbox, (server, provider)) = (Sandbox::new(), servers());
        provider.change(|script| script.authorization_server = json!({"issuer": "https://evil.example"}));
        let arguments = arguments(&sandbox, &server, &provider);
        sandbox.finmcp(&arguments).expect_code(5).expect_stderr(&["issuer"]);
        // What a person accepts of the server's own authorization server says nothing of the provider.
        let folder = sandbox.home().join("finmcp");
        fs::create_dir_all(&folder).unwrap();
        let accepted = "overrides = { issuer_override = 'https://evil.example' }";
        let config = format!("[profiles.odd]\nurl = {:?}\n{accepted}\n", server.url());
        fs::write(folder.join("config.toml"), config).unwrap();
        sandbox.finmcp(&arguments).expect_code(5).expect_stderr(&["issuer_override is set", "as its issuer, not"]);
        assert!(provider.records_at("/token").is_empty());
        provider.change(|script| script.publishes_metadata = false);
        sandbox.finmcp(&arguments).expect_code(3).expect_stderr(&["no identity provider metadata"]);
    }

    /// A server that does not trust the provider says so, and finmcp tells the user whom to ask.
    #[test]
    fn a_server_that_does_not_trust_the_provider() {
        let (sandbox, (server, provider)) = (Sandbox::new(), servers());
        server.change(|script| script.trusted_issuer = Some("https://other.example".to_owned()));
        let run = sandbox.finmcp(arguments(&sandbox, &server, &provider)).expect_code(1);
        run.expect_stderr(&[
            "rejected the grant (ID-JAG) issued by the identity provider",
            "its issuer is not trusted",
            "ask your administrator",
        ]);
        assert_eq!(server.records_at("/token").len(), 1);
    }

    /// Half of it is no identity provider.
    #[test]
    fn options_that_belong_together_are_required_together() {
        let url = "https://mcp.example.com/mcp";
        for half in [
            &["--identity-provider", "https://idp.example"][..],
            &["--id-token-file", "x"],
            &["--identity-provider-client-id", "x"],
            &["--identity-provider", "https://idp.example", "--id-token-file", "x", "--assertion-file", "y"],
        ] {
            Sandbox::new().finmcp([&["login", url][..], half].concat()).expect_code(2);
        }
    }
}
