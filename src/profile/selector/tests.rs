use super::*;
use crate::login::options::Assertion;

const CONFIG: &str = r#"
    [profiles.asset-sandbox]
    provider = "asset"
    environment = "sandbox"
    url = "http://127.0.0.1:1/mcp"

    [profiles.work]
    url = "https://mcp.example.com/mcp"

    [profiles.home]
    url = "https://mcp.example.com/mcp"

    [profiles.other]
    url = "https://other.example.com/mcp"
    signed_in = { issuer = "i", resource = "r", client_id = "c", account = "a" }
"#;

fn select(arguments: &str, config: &str) -> Result<(String, String), String> {
    let mut selector = Selector::default();
    let mut words = arguments.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "--env" => selector.environment = words.next().map(str::to_owned),
            "--profile" => selector.profile = words.next().map(str::to_owned),
            "--url" => selector.url = words.next().map(|url| url.parse().unwrap()),
            name => selector.server = Some(name.to_owned()),
        }
    }
    let profiles = Profiles::for_tests(config);
    let profile = profiles.select(&selector).map_err(|error| error.to_string())?;
    Ok((profile.name, profile.server.to_string()))
}

#[test]
fn servers_are_selected_by_name_environment_url_or_as_the_only_one() {
    for (arguments, name, server) in [
        ("asset", "asset", "https://api.getasset.com/mcp"),
        ("asset --env production", "asset", "https://api.getasset.com/mcp"),
        // Saved with another URL; without SERVER, the only preset with a sandbox.
        ("asset --env sandbox", "asset-sandbox", "http://127.0.0.1:1/mcp"),
        ("--env sandbox", "asset-sandbox", "http://127.0.0.1:1/mcp"),
        ("masset --url https://m.example/mcp", "masset", "https://m.example/mcp"),
        ("asset --url https://a.example/mcp", "asset", "https://a.example/mcp"),
        ("work", "work", "https://mcp.example.com/mcp"),
        ("--profile home", "home", "https://mcp.example.com/mcp"),
        ("tesorio --profile second", "second", "https://mcp.tesorio.com/v1/mcp"),
        ("https://other.example.com/mcp", "other", "https://other.example.com/mcp"),
        ("https://new.example.com:8443/x", "new-example-com-8443", "https://new.example.com:8443/x"),
        ("", "other", "https://other.example.com/mcp"),
    ] {
        assert_eq!(select(arguments, CONFIG), Ok((name.to_owned(), server.to_owned())), "{arguments:?}");
    }
    let with_default = format!("default = \"work\"\n{CONFIG}");
    assert_eq!(select("", &with_default).unwrap().0, "work");
}

/// The command in a hint selects the same server.
#[test]
fn the_login_command_selects_the_server() {
    let profiles = Profiles::for_tests(CONFIG);
    for (url, command) in [
        (None, "finmcp login tesorio"),
        (Some("https://mcp.tesorio.com/v1/mcp"), "finmcp login tesorio"),
        (Some("https://t.example/mcp"), "finmcp login tesorio --url https://t.example/mcp"),
    ] {
        for profile in [None, Some("office")] {
            let selector = Selector {
                server: Some("tesorio".to_owned()),
                url: url.map(|url| url.parse().unwrap()),
                profile: profile.map(str::to_owned),
                ..Selector::default()
            };
            let option = profile.map(|name| format!(" --profile {name}")).unwrap_or_default();
            let selected = profiles.select(&selector).unwrap();
            assert_eq!(selected.login_command(), format!("{command}{option}"));
        }
    }
    let saved = Selector {
        server: Some("work".to_owned()),
        url: Some("https://w.example/".parse().unwrap()),
        ..Selector::default()
    };
    assert_eq!(profiles.select(&saved).unwrap().login_command(), "finmcp login work --url https://w.example/");
}

/// `--env` without SERVER means the same as before other vendors had such an environment, whatever is signed in.
#[test]
fn an_environment_alone_means_a_first_vendors() {
    let paypal = r#"
        [profiles.paypal-sandbox]
        provider = "paypal"
        environment = "sandbox"
        url = "https://mcp.sandbox.paypal.com"
        signed_in = { issuer = "i", resource = "r", client_id = "c", account = "a" }
    "#;
    for config in ["", paypal] {
        let sandbox = ("asset-sandbox".to_owned(), "https://api.sandbox.getasset.com/mcp".to_owned());
        assert_eq!(select("--env sandbox", config), Ok(sandbox), "{config}");
        assert_eq!(select("--env production", config).unwrap().0, "asset");
        assert_eq!(select("--env demo", config).unwrap().0, "ramp-demo", "no first vendor has it");
    }
    assert_eq!(select("paypal --env sandbox", "").unwrap().0, "paypal-sandbox");
}

/// The user's own providers come before the built-in ones that are not first.
#[test]
fn an_environment_of_the_users_own_comes_before_newer_presets() {
    let provider = |environment: &str| {
        let text = format!("[environments.{environment}]\nurl = 'https://own.example/{environment}'");
        let document: crate::profile::provider_document::ProviderDocument = toml_edit::de::from_str(&text).unwrap();
        document.validate("own".to_owned()).unwrap()
    };
    for (environment, expected) in [("demo", "own"), ("sandbox", "asset"), ("staging", "own")] {
        let mut profiles = Profiles::for_tests("");
        profiles.providers.insert("own".to_owned(), provider(environment));
        let selector = Selector { environment: Some(environment.to_owned()), ..Selector::default() };
        assert_eq!(profiles.select(&selector).unwrap().provider.as_deref(), Some(expected), "{environment}");
        let other = Provider { id: "other".to_owned(), ..provider(environment) };
        profiles.providers.insert("other".to_owned(), other);
        let selected = profiles.select(&selector).map_err(|error| error.to_string());
        assert_eq!(selected.is_ok(), environment == "sandbox", "two of the user's own");
    }
}

/// A new version that brings a preset does not take a profile's name away.
#[test]
fn a_profile_older_than_a_preset_keeps_its_name() {
    let config = r#"
        [profiles.stripe]
        url = "https://mcp.stripe.com"
        signed_in = { issuer = "i", resource = "r", client_id = "c", account = "a" }

        [profiles.asset]
        url = "https://elsewhere.example/mcp"
    "#;
    let profiles = Profiles::for_tests(config);
    for arguments in [(Some("stripe"), None), (None, Some("stripe")), (Some("https://mcp.stripe.com"), Some("stripe"))]
    {
        let (server, profile) = (arguments.0.map(str::to_owned), arguments.1.map(str::to_owned));
        let selected = profiles.select(&Selector { server, profile, ..Selector::default() }).unwrap();
        assert!(selected.signed_in.is_some() && selected.provider.is_none(), "{arguments:?}");
    }
    assert_eq!(select("asset", config).unwrap().1, "https://api.getasset.com/mcp", "a first preset's name is its own");
    assert!(select("https://new.example/mcp --profile brex", config).unwrap_err().contains("name of a preset"));
}

#[test]
fn a_name_with_a_typo_has_similar_ones() {
    let profiles = Profiles::for_tests("[profiles.office-books]\nurl = 'https://o.example'");
    for (typed, first) in [
        ("strpe", "stripe"),
        ("Stripe", "stripe"),
        ("tesoro", "tesorio"),
        ("quonto", "qonto"),
        ("paypal-sandbox", "paypal"),
        ("office", "office-books"),
    ] {
        assert_eq!(profiles.similar(typed).first().map(String::as_str), Some(first), "{typed}");
    }
    for typed in ["unknown-one", "x", "", "moon"] {
        assert_eq!(profiles.similar(typed), Vec::<String>::new(), "{typed}");
    }
}

/// A hint stays short, however many presets there are.
#[test]
fn candidates_are_few() {
    let profiles = Profiles::for_tests(CONFIG);
    let expected = ["asset", "asset --env sandbox", "tesorio", "masset", "demo", "other"];
    assert_eq!(profiles.candidates(), expected, "the first presets and what is signed in");
}

/// What a preset or a profile pins, and its headers, are for its own server only.
#[test]
fn a_providers_headers_and_endpoints_do_not_move() {
    let text = r#"
        headers = { X-Tenant = "7" }
        issuer = "https://as.example"
        resource = "https://own.example/"
        scope = "read"
        url = "https://own.example/mcp"
        token_endpoint = "https://as.example/token"
    "#;
    let document: crate::profile::provider_document::ProviderDocument = toml_edit::de::from_str(text).unwrap();
    let config = r#"
        [profiles.own]
        provider = "own"
        [profiles.elsewhere]
        provider = "own"
        url = "https://elsewhere.example/mcp"
    "#;
    for config in ["", config] {
        let mut profiles = Profiles::for_tests(config);
        profiles.providers.insert("own".to_owned(), document.clone().validate("own".to_owned()).unwrap());
        let options = |server: &str, url: Option<&str>| {
            let url = url.map(|url| url.parse().unwrap());
            profiles.select(&Selector { server: Some(server.to_owned()), url, ..Selector::default() }).unwrap().options
        };
        let pinned = options("own", None);
        assert_eq!(pinned.headers.to_texts().len(), 1);
        assert!(pinned.issuer.is_some() && pinned.token_endpoint.is_some());
        let mut moved = vec![options("own", Some("https://elsewhere.example/mcp"))];
        if !config.is_empty() {
            moved.push(options("elsewhere", None));
        }
        for moved in moved {
            assert_eq!(moved, Options { scope: Some("read".parse().unwrap()), ..Options::default() });
        }
    }
}

/// An assertion for one server is not sent to another.
#[test]
fn an_assertion_does_not_move() {
    let config = r#"
        [profiles.work]
        url = "https://mcp.example.com/mcp"
        grant = "jwt-bearer"
        assertion_file = "/run/token"
    "#;
    let profiles = Profiles::for_tests(config);
    let selected = |url: Option<&str>| {
        let url = url.map(|url| url.parse().unwrap());
        let selector = Selector { server: Some("work".to_owned()), url, ..Selector::default() };
        profiles.select(&selector).unwrap().options.assertion
    };
    assert_eq!(selected(None), Some(Assertion::File("/run/token".into())));
    assert_eq!(selected(Some("https://mcp.example.com/mcp")), Some(Assertion::File("/run/token".into())));
    assert_eq!(selected(Some("https://other.example.com/mcp")), None);
}

#[test]
fn ambiguous_selections_are_refused() {
    for (arguments, why) in [
        ("unknown", "no preset or profile"),
        ("tesorio --env sandbox", "Tesorio has no environment"),
        ("--env staging", "no preset has an environment"),
        ("masset", "a different URL"),
        ("demo", "need no sign-in"),
        ("https://mcp.example.com/mcp", "which server"),
        ("http://example.com/mcp", "cannot be used"),
        ("asset --profile tesorio", "is the name of a preset"),
        ("asset --profile a/b", "invalid profile name"),
        ("work --env sandbox", "has no environment"),
    ] {
        let error = select(arguments, CONFIG).unwrap_err();
        assert!(error.contains(why), "{arguments:?}: {error}");
    }
    assert!(select("", "").unwrap_err().contains("which server"), "no profile is signed in");
}
