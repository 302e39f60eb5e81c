use std::{fs, num::NonZeroU32, path::Path};

use jiff::{civil::Date, tz::TimeZone};

use super::*;
use crate::{
    credential::clock::{Clock, SystemClock},
    login::options::GrantKind,
};

#[test]
fn the_first_vendors_match_their_documentation() {
    let providers = built_in().unwrap();
    let names: Vec<&str> = ordered(&providers).iter().map(|provider| provider.id.as_str()).collect();
    assert_eq!(names[..5], ["asset", "tesorio", "masset", "demo", "addepar"]);

    let asset = &providers["asset"];
    let (name, production) = asset.environment(None).unwrap();
    assert_eq!((name, &asset.grants[..]), ("production", &[GrantKind::ClientCredentials][..]));
    assert_eq!(production.server.as_ref().unwrap().as_str(), "https://api.getasset.com/mcp");
    let (_, sandbox) = asset.environment(Some("sandbox")).unwrap();
    assert_eq!(sandbox.token_endpoint.as_ref().unwrap().as_str(), "https://api.sandbox.getasset.com/v0/auth/token");

    let (name, only) = providers["tesorio"].environment(None).unwrap();
    assert_eq!((name, only.server.as_ref().unwrap().as_str()), ("", "https://mcp.tesorio.com/v1/mcp"));
    assert!(providers["tesorio"].environment(Some("sandbox")).is_none());

    assert!(providers["masset"].environment(None).unwrap().1.server.is_none(), "only customers know it");
    assert_eq!(providers["masset"].requests_per_minute, NonZeroU32::new(60));
    assert!(providers["masset"].read_only_tools.contains("get_asset_metadata"));
    assert!(providers["asset"].read_only_tools.is_empty(), "documented in prose only");
}

/// The peculiarities that a sign-in depends on.
#[test]
fn presets_have_their_vendors_peculiarities() {
    let providers = built_in().unwrap();
    let server = |id: &str, environment: Option<&str>| {
        let (_, environment) = providers[id].environment(environment).unwrap();
        environment.server.as_ref().unwrap().to_string()
    };
    assert_eq!(server("paypal", Some("sandbox")), "https://mcp.sandbox.paypal.com/");
    assert_eq!(server("ramp", Some("demo")), "https://demo-mcp.ramp.com/mcp");
    assert_eq!(server("ramp", None), "https://mcp.ramp.com/mcp");
    assert_eq!(providers["robinhood"].common.overrides.offline_access, Some(false));
    assert_eq!(providers["plaid"].grants, [GrantKind::ClientCredentials]);
    assert_eq!(providers["plaid"].common.scope.as_ref().unwrap().to_string(), "mcp:dashboard");
    for id in ["stripe", "brex", "razorpay"] {
        assert!(providers[id].grants.contains(&GrantKind::ApiKey), "{id}");
        assert_eq!(providers[id].grants[0], GrantKind::AuthorizationCode, "{id}");
    }
    assert!(providers["kite"].is_open);
    assert!(providers["netsuite"].facts.url_example.is_some());
}

/// Vendors whose documentation is on another domain than their servers.
const OTHER_DOMAINS: [(&str, &str); 2] = [("kite", "github.com"), ("netsuite", "docs.oracle.com")];

/// The last two labels of a host: none of the vendors has a domain with more.
fn domain(host: &str) -> String {
    let labels: Vec<&str> = host.rsplit('.').take(2).collect();
    labels.into_iter().rev().collect::<Vec<_>>().join(".")
}

/// What is wrong with a built-in preset, beyond what every provider is checked for.
fn faults(provider: &Provider, today: Date) -> Vec<&'static str> {
    let facts = &provider.facts;
    let names = provider.environment_names();
    let names: Vec<Option<&str>> = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
    let servers = names.iter().filter_map(|name| provider.environment(*name)?.1.server.clone());
    let servers: Vec<_> = servers.collect();
    let is_first = is_first(&provider.id);
    let has_own_domain = |host: &str| {
        servers.iter().any(|server| domain(&server.host()) == domain(host))
            || OTHER_DOMAINS.contains(&(provider.id.as_str(), host))
    };
    let misplaced = |text: &str| text.contains("://") && text.starts_with("http:");
    let rules = [
        (provider.title.trim().is_empty(), "no title"),
        (!provider.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "id"),
        (servers.iter().any(|server| server.as_url().scheme() != "https"), "a server without https"),
        (servers.is_empty() && !provider.embedded && facts.url_example.is_none() && !is_first, "no URL"),
        (provider.grants.is_empty() && !provider.is_open && !provider.embedded, "no grants"),
        (facts.documentation.is_none() && facts.date.is_none() && !is_first, "no source"),
        (facts.date.is_some_and(|date| date > today), "facts from the future"),
        (facts.documentation.as_ref().is_some_and(|page| !has_own_domain(&page.host())), "another vendor's page"),
        (facts.credentials_from.as_deref().is_some_and(misplaced), "credentials without https"),
        (
            provider.grants.iter().any(|grant| *grant != GrantKind::AuthorizationCode)
                && facts.credentials_from.is_none()
                && !is_first,
            "where the credentials are",
        ),
        (!provider.common.overrides.risky().is_empty(), "a security check is off"),
    ];
    rules.into_iter().filter(|(is_broken, _)| *is_broken).map(|(_, rule)| rule).collect()
}

#[test]
fn every_preset_is_consistent() {
    let today = TimeZone::UTC.to_datetime(SystemClock.now()).date();
    let providers = built_in().unwrap();
    assert!(providers.len() > 30);
    for provider in providers.values() {
        assert_eq!(faults(provider, today), Vec::<&str>::new(), "{}", provider.id);
    }
}

/// Each rule of the check above finds a preset that breaks it.
#[test]
fn an_inconsistent_preset_is_found() {
    let today = "2026-10-03".parse().unwrap();
    let good = "title = 'X'\nurl = 'https://mcp.x.example/mcp'\n";
    let grants = "grants = ['authorization-code']\n";
    let date = "facts_from = '2026-10-03'\n";
    let found = |id: &str, text: &str| {
        let document: ProviderDocument = toml_edit::de::from_str(text).unwrap();
        faults(&document.validate(id.to_owned()).unwrap(), today)
    };
    assert_eq!(found("x", &format!("{good}{grants}{date}")), Vec::<&str>::new());
    let page = "documentation = 'https://docs.x.example/mcp'\n";
    assert_eq!(found("x", &format!("{good}{grants}{page}")), Vec::<&str>::new());
    for (id, text, fault) in [
        ("X y", format!("{good}{grants}{date}"), "id"),
        ("x", format!("url = 'http://127.0.0.1:1/mcp'\n{grants}{date}"), "a server without https"),
        ("x", format!("url_from_person = true\n{grants}{date}"), "no URL"),
        ("x", format!("{good}{date}"), "no grants"),
        ("x", format!("{good}{grants}"), "no source"),
        ("x", format!("{good}{grants}facts_from = '2026-10-04'"), "facts from the future"),
        ("x", format!("{good}{grants}documentation = 'https://docs.y.test/mcp'"), "another vendor's page"),
        ("x", format!("{good}grants = ['api-key']\n{date}"), "where the credentials are"),
        (
            "x",
            format!("{good}{grants}{date}overrides = {{ allow_missing_pkce_metadata = true }}"),
            "a security check is off",
        ),
        ("x", format!("{good}{grants}{date}credentials_from = 'http://127.0.0.1:1/keys'"), "credentials without https"),
    ] {
        assert_eq!(found(id, &text), [fault], "{text}");
    }
}

/// A row of the table in docs/presets.md.
fn documented(provider: &Provider) -> String {
    let grants = provider.grants.iter().map(|grant| match grant {
        GrantKind::AuthorizationCode => "browser",
        GrantKind::ClientCredentials => "client ID and secret",
        GrantKind::DeviceCode => "device code",
        GrantKind::JwtBearer => "JWT",
        GrantKind::ApiKey => "API key",
    });
    let sign_in = match provider.is_open || provider.embedded {
        true => "none".to_owned(),
        false => grants.collect::<Vec<_>>().join(", "),
    };
    let facts = &provider.facts;
    let title = match &facts.documentation {
        Some(page) => format!("[{}]({page})", provider.title),
        None => provider.title.clone(),
    };
    let names = provider.environment_names();
    let servers: Vec<String> = match names[..] {
        [] => {
            let server = provider.environment(None).and_then(|(_, one)| one.server.clone());
            let server = server.map(|server| server.to_string()).or(facts.url_example.clone());
            vec![server.map_or_else(|| "shown in your account".to_owned(), |server| format!("`{server}`"))]
        }
        _ => names
            .iter()
            .map(|name| match provider.environment(Some(name)).and_then(|(_, one)| one.server.as_ref()) {
                Some(server) => format!("{name}: `{server}`"),
                None => (*name).to_owned(),
            })
            .collect(),
    };
    let place = facts.credentials_from.as_ref().map(|place| format!("Credentials: {place}"));
    let notes: Vec<String> = facts.notes.iter().cloned().chain(place).collect();
    let date = facts.date.map(|date| date.to_string()).unwrap_or_default();
    let (servers, notes) = (servers.join("<br>"), notes.join("<br>"));
    format!("| `{}` | {title} | {sign_in} | {servers} | {notes} | {date} |\n", provider.id)
}

/// docs/presets.md has the table of providers.toml.
#[test]
fn the_documented_presets_are_current() {
    const MARKS: [&str; 2] = ["<!-- table -->\n", "<!-- end of the table -->"];
    let providers = built_in().unwrap();
    let rows: String = ordered(&providers).into_iter().map(documented).collect();
    let head = "| preset | vendor | sign-in | servers | notes | checked on |\n|---|---|---|---|---|---|\n";
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    assert!(readme.contains(&format!("| {} more | ", providers.len() - FIRST.len())), "the count in README.md");
    let text = fs::read_to_string(root.join("docs/presets.md")).unwrap();
    let (before, rest) = text.split_once(MARKS[0]).unwrap();
    let (_, after) = rest.split_once(MARKS[1]).unwrap();
    let current = format!("{before}{}{head}{rows}{}{after}", MARKS[0], MARKS[1]);
    if text != current {
        let fresh = root.join("target/presets.md");
        fs::write(&fresh, current).unwrap();
        panic!("out of date: cp {} docs/presets.md", fresh.display());
    }
}
