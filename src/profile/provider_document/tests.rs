use super::*;

fn validated(text: &str) -> Result<Provider, String> {
    let document = toml_edit::de::from_str::<ProviderDocument>(text).map_err(|error| error.to_string())?;
    document.validate("x".to_owned()).map_err(|error| error.to_string())
}

/// Each rule refuses a table that breaks it, and names the member.
#[test]
fn an_invalid_entry_names_the_member() {
    let with_url = |text: &str| format!("url = 'https://a.example'\n{text}");
    for (text, fault) in [
        ("grant = 'client-credentials'".to_owned(), "needs a url"),
        ("url = 'http://example.com'".to_owned(), "url: only https"),
        ("[environments.a]".to_owned(), "environment \"a\" has no url"),
        ("[environments.a]\nurl = 'http://a.example'".to_owned(), "url: only https"),
        (
            "[environments.a]\nurl='https://a.example'\n[environments.b]\nurl='https://b.example'".to_owned(),
            "default_environment",
        ),
        (with_url("default_environment = 'sandbox'"), "default_environment"),
        (with_url("[environments.a]\nurl = 'https://a.example'"), "both a url and environments"),
        (with_url("scope = \"a\\u0007\""), "scope"),
        (with_url("title = ' '"), "title is empty"),
        (with_url("client_id = ''"), "client_id is empty"),
        (with_url("resource = ''"), "resource is empty"),
        (with_url("issuer = 'http://as.example'"), "issuer: only https"),
        (with_url("token_endpoint = 'http://as.example/token'"), "token_endpoint: only https"),
        (with_url("redirect_uri = 'https://elsewhere.example/callback'"), "redirect_uri must begin with http://"),
        (with_url("parameters = { state = '1' }"), "parameters: finmcp sets state"),
        (with_url("parameters = { client_secret = '1' }"), "parameters: use --client-secret-file"),
        (with_url("headers = { X-Api-Key = '1' }"), "header \"x-api-key\" looks like a secret"),
        (with_url("headers = { Authorization = 'Bearer 1' }"), "remove header \"authorization\""),
        (with_url("headers = { Cookie = '1' }"), "remove header \"cookie\""),
        (with_url("grants = ['api-key']\napi_key_header = 'Host'"), "api_key_header:"),
        (with_url("grants = ['authorization-code']\napi_key_header = 'X-Api-Key'"), "api_key_header needs"),
        (with_url("grants = ['password']"), "unknown variant `password`"),
        (with_url("grants = ['api-key', 'api-key']"), "listed twice"),
        (with_url("grants = ['none', 'api-key']"), "excludes all others"),
        (with_url("grant = 'api-key'\ngrants = ['api-key']"), "exclude each other"),
        (with_url("documentation = 'http://docs.example'"), "documentation: only https"),
        (with_url("documentation = 'docs.example'"), "documentation: "),
        (with_url("facts_from = '2026-02-30'"), "facts_from:"),
        (with_url("facts_from = 'October'"), "facts_from:"),
        (with_url("credentials_from = ''"), "credentials_from is empty"),
        (with_url("credentials_from = 'http://keys.example'"), "credentials_from: only https"),
        (with_url("url_example = 'https://ACCOUNT.example'"), "url_example needs url_from_person"),
        (with_url("notes = ['']"), "notes: one is empty"),
        (with_url("requests_per_minute = 0"), "nonzero"),
        (with_url("client_secret = 'x'"), "unknown field `client_secret`"),
    ] {
        let error = validated(&text).expect_err(&text);
        assert!(error.contains(fault), "{text}\n{error}");
    }
}

#[test]
fn every_member_becomes_an_option_or_a_fact() {
    let text = r#"
        title = "Books"
        grants = ["api-key", "client-credentials"]
        client_authentication = "basic"
        client_id = "public"
        redirect_uri = "http://localhost:3118/callback"
        api_key_header = "X-Api-Key"
        headers = { X-Tenant = "7" }
        parameters = { audience = "books" }
        scope = "books:read"
        resource = "https://books.example/"
        issuer = "https://as.example"
        url = "https://books.example/mcp"
        token_endpoint = "https://as.example/token"
        documentation = "https://docs.books.example/mcp"
        facts_from = "2026-10-03"
        credentials_from = "Settings > Keys"
        notes = ["One organization per sign-in"]
        overrides = { offline_access = false }
    "#;
    let provider = validated(text).unwrap();
    assert_eq!(provider.grants, [GrantKind::ApiKey, GrantKind::ClientCredentials]);
    let (_, environment) = provider.environment(None).unwrap();
    let options = provider.options(environment);
    assert_eq!(options.grant, Some(GrantKind::ApiKey), "the first is the default");
    assert_eq!(options.client_authentication, Some(ClientAuthentication::Basic));
    assert_eq!(options.client_id.as_deref(), Some("public"));
    assert_eq!(options.redirect_uri.unwrap().to_string(), "http://localhost:3118/callback");
    assert_eq!(options.api_key_header.unwrap().to_string(), "x-api-key");
    assert_eq!(options.headers.to_texts(), [("x-tenant".to_owned(), "7".to_owned())].into());
    assert_eq!(options.parameters, [("audience".to_owned(), "books".to_owned())]);
    assert_eq!(options.scope.unwrap().to_string(), "books:read");
    assert_eq!(options.resource, ResourceParameter::Fixed("https://books.example/".to_owned()));
    assert_eq!(options.issuer.as_deref(), Some("https://as.example"));
    assert_eq!(options.token_endpoint.unwrap().as_str(), "https://as.example/token");
    assert_eq!(options.overrides.offline_access, Some(false));
    let facts = provider.facts;
    assert_eq!(facts.documentation.unwrap().as_str(), "https://docs.books.example/mcp");
    assert_eq!(facts.date.unwrap().to_string(), "2026-10-03");
    assert_eq!(facts.credentials_from.as_deref(), Some("Settings > Keys"));
    assert_eq!(facts.notes, ["One organization per sign-in"]);
}

#[test]
fn a_server_without_sign_in_has_no_grant() {
    let open = validated("url = 'https://a.example'\ngrants = ['none']").unwrap();
    assert!(open.is_open && open.grants.is_empty() && open.common.grant.is_none());
    let unknown = validated("url = 'https://a.example'").unwrap();
    assert!(!unknown.is_open && unknown.grants.is_empty());
    assert_eq!(unknown.title, "x");
}
