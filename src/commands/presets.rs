//! The presets in words: the table of `finmcp login --list`, and what to know before a sign-in.

use crate::{
    commands::table,
    console::Console,
    login::options::GrantKind,
    profile::provider::{Facts, Provider},
};

/// The presets with vendor, sign-in and environments, in lines of `width` characters: a row each, or a paragraph each
/// where rows do not fit.
pub fn table(providers: &[&Provider], width: usize) -> String {
    let rows: Vec<[String; 4]> = providers.iter().map(|provider| row(provider)).collect();
    table::table(["PRESET", "VENDOR", "SIGN-IN", "ENVIRONMENTS"], &rows, width)
}

fn row(provider: &Provider) -> [String; 4] {
    [provider.id.clone(), provider.title.clone(), sign_in(provider), provider.environment_names().join(", ")]
}

/// The ways to sign in, in short words.
fn sign_in(provider: &Provider) -> String {
    if provider.is_open || provider.embedded {
        return "none".to_owned();
    }
    let words = provider.grants.iter().map(|grant| match grant {
        GrantKind::AuthorizationCode => "browser",
        GrantKind::ClientCredentials => "secret",
        GrantKind::DeviceCode => "device code",
        GrantKind::JwtBearer => "JWT",
        GrantKind::ApiKey => "key",
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Prints what the user should know before signing in with a preset.
pub fn tell(console: Console, title: &str, facts: &Facts) {
    if let Some(line) = origin(title, facts) {
        console.note(&line);
    }
    for note in &facts.notes {
        console.note(&format!("note: {note}"));
    }
}

/// The date of the facts, and where to check them.
fn origin(title: &str, facts: &Facts) -> Option<String> {
    let date = facts.date.map(|date| format!("as of {date}"));
    let page = facts.documentation.as_ref().map(|url| format!("see {url}"));
    let parts: Vec<String> = date.into_iter().chain(page).collect();
    (!parts.is_empty()).then(|| format!("Preset for {title}: {}", parts.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::presets;

    #[test]
    fn every_preset_fits_every_terminal() {
        let providers = presets::built_in().unwrap();
        let ordered = presets::ordered(&providers);
        for width in [40, 60, 79, 80, 100] {
            let table = table(&ordered, width);
            assert!(table.lines().all(|line| line.chars().count() <= width), "{width}:\n{table}");
            for provider in providers.values() {
                assert!(table.contains(&provider.title) && table.contains(&provider.id), "{width}:\n{table}");
            }
        }
        assert!(table(&ordered, 80).starts_with("PRESET "), "an ordinary terminal shows rows");
        let wide = table(&ordered, 100);
        assert_eq!(wide.lines().count(), providers.len() + 1, "{wide}");
        let names: Vec<&str> = wide.lines().filter_map(|line| line.split(' ').next()).take(5).collect();
        assert_eq!(names, ["PRESET", "asset", "tesorio", "masset", "demo"]);
        let stripe = wide.lines().find(|line| line.starts_with("stripe ")).unwrap();
        assert!(stripe.contains("Stripe") && stripe.ends_with("browser, key"), "{stripe}");
        let paypal = wide.lines().find(|line| line.starts_with("paypal ")).unwrap();
        assert!(paypal.ends_with("production, sandbox"), "{paypal}");
    }

    #[test]
    fn only_what_is_known_is_said() {
        let facts = |date: Option<&str>, page: Option<&str>| Facts {
            date: date.map(|date| date.parse().unwrap()),
            documentation: page.map(|page| page.parse().unwrap()),
            ..Facts::default()
        };
        let (day, page) = ("2026-10-03", "https://docs.example/mcp");
        for (facts, line) in [
            (facts(None, None), None),
            (facts(Some(day), None), Some("Preset for X: as of 2026-10-03")),
            (facts(None, Some(page)), Some("Preset for X: see https://docs.example/mcp")),
            (facts(Some(day), Some(page)), Some("Preset for X: as of 2026-10-03; see https://docs.example/mcp")),
        ] {
            assert_eq!(origin("X", &facts).as_deref(), line);
        }
    }
}
