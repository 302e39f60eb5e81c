//! Which server the user signs in to.

use crate::{
    commands::{
        login::asked::{self, cancelled},
        presets,
    },
    console::Console,
    error::Error,
    login::options::GrantKind,
    profile::{
        Profile,
        presets::is_first,
        profiles::Profiles,
        provider::Provider,
        selector::{Selector, SelectorError},
    },
    server_url::{ServerUrl, ServerUrlError},
};

/// What the user wants to sign in to.
pub(super) enum Choice {
    Server(Box<Profile>),
    /// The simulated vendors, which need no sign-in.
    #[cfg(feature = "demo")]
    Demo,
}

/// The server that the command line names. At a terminal, finmcp asks for what is missing.
///
/// # Errors
/// The command line names no server and there is no terminal to ask at, or the user cancels.
pub(super) async fn choose(profiles: &Profiles, console: Console, selector: Selector) -> Result<Choice, Error> {
    if !console.is_attended() {
        let selected = profiles.select(&selector);
        if matches!(selected, Err(SelectorError::Unclear { .. })) && selector == Selector::default() {
            console.data(&presets::table(&profiles.ordered_providers(), console.width()))?;
        }
        return Ok(Choice::Server(selected?.into()));
    }
    if is_named(&selector, profiles) {
        let profile = with_address(profiles, console, selector).await??;
        return Ok(Choice::Server(profile.into()));
    }
    ask(profiles, console, selector).await
}

/// Whether the command line or the configured default names a server.
fn is_named(selector: &Selector, profiles: &Profiles) -> bool {
    let has_profile = selector.profile.as_deref().is_some_and(|name| profiles.named(name).is_some());
    let is_given = selector.server.is_some() || selector.url.is_some() || selector.environment.is_some();
    is_given || has_profile || profiles.default_server.is_some()
}

/// Asks which server, until the answer names one.
async fn ask(profiles: &Profiles, console: Console, selector: Selector) -> Result<Choice, Error> {
    let first: Vec<&Provider> = profiles.ordered_providers().into_iter().filter(|one| is_first(&one.id)).collect();
    console.say(&menu(&first));
    asked::explain(console, ELSE);
    // Enter signs in again where the user is signed in.
    let usual = profiles.select(&selector).ok().map(|profile| profile.selector_text());
    let question = match &usual {
        Some(usual) => format!("Server [{usual}]: "),
        None => "Server: ".to_owned(),
    };
    loop {
        let typed = console.ask(&question).await.ok_or_else(cancelled)?;
        let name = match (typed.trim(), &usual) {
            ("", Some(_)) => return Ok(Choice::Server(profiles.select(&selector)?.into())),
            ("", None) => {
                asked::explain(console, ELSE);
                continue;
            }
            ("?" | "list", _) => {
                console.say(presets::table(&profiles.ordered_providers(), console.width()).trim_end());
                continue;
            }
            (typed, _) => named(typed, &first, profiles),
        };
        #[cfg(feature = "demo")]
        if profiles.is_embedded(Some(&name)) {
            return Ok(Choice::Demo);
        }
        let environment = match profiles.providers.get(&name) {
            Some(provider) => ask_environment(console, provider).await?,
            None => None,
        };
        let wanted = Selector { server: Some(name), environment, ..selector.clone() };
        match with_address(profiles, console, wanted).await? {
            Ok(profile) => return Ok(Choice::Server(profile.into())),
            Err(error) => asked::explain(console, &problem(&error)),
        }
    }
}

fn menu(first: &[&Provider]) -> String {
    let width = first.iter().map(|provider| provider.title.chars().count()).max().unwrap_or_default();
    let line = |(number, provider): (usize, &&Provider)| {
        format!("  {}  {:<width$}  {}\n", number + 1, provider.title, way(provider))
    };
    let lines: String = first.iter().enumerate().map(line).collect();
    format!("Where do you want to sign in?\n\n{lines}")
}

const ELSE: &str =
    "Type a number, the name of another preset (? lists them), or the address of an MCP server. Esc cancels.";

/// Why an answer names no server, in one line.
fn problem(error: &SelectorError) -> String {
    match error {
        SelectorError::Unknown { name, similar, .. } => match similar.is_empty() {
            true => format!("No preset or profile is called {name:?}; ? lists the presets"),
            false => format!("No preset or profile is called {name:?}: did you mean {}?", similar.join(" or ")),
        },
        SelectorError::Url(error) => unusable(error),
        error => error.to_string(),
    }
}

fn unusable(error: &ServerUrlError) -> String {
    format!("This address cannot be used: {error}")
}

/// What the user needs for a sign-in.
fn way(provider: &Provider) -> &'static str {
    if provider.embedded {
        return "simulated vendors, no account needed";
    }
    match provider.grants.first().copied().unwrap_or_default() {
        GrantKind::ClientCredentials => "with a client ID and secret",
        GrantKind::ApiKey => "with an API key",
        GrantKind::AuthorizationCode => "in your browser",
        GrantKind::DeviceCode => "in a browser on any device",
        GrantKind::JwtBearer => "with a JWT",
    }
}

/// What an answer stands for as SERVER: a number of the list, a title, a name in any case, an address without scheme.
fn named(typed: &str, first: &[&Provider], profiles: &Profiles) -> String {
    let number = typed.parse::<usize>().ok().and_then(|number| first.get(number.checked_sub(1)?));
    let is_this =
        |provider: &&Provider| [&provider.id, &provider.title].iter().any(|is| is.eq_ignore_ascii_case(typed));
    if let Some(provider) = number.copied().or_else(|| profiles.providers.values().find(is_this)) {
        return provider.id.clone();
    }
    let is_address = !typed.contains("://") && typed.contains('.') && profiles.named(typed).is_none();
    if is_address { format!("https://{typed}") } else { typed.to_owned() }
}

/// Asks for the environment if the vendor has several.
async fn ask_environment(console: Console, provider: &Provider) -> Result<Option<String>, Error> {
    let names = provider.environment_names();
    let [usual, _, ..] = names[..] else { return Ok(None) };
    let question = format!("Environment ({}) [{usual}]: ", names.join(", "));
    let check = |typed: &str| match names.iter().find(|name| name.eq_ignore_ascii_case(typed)) {
        Some(name) => Ok(Some((*name).to_owned())),
        None if typed.is_empty() => Ok(None),
        None => Err(format!("{} has no environment {typed:?}", provider.title)),
    };
    asked::text(console, &question, check).await
}

/// The selected profile. Asks for the address if the vendor gives each customer another one.
async fn with_address(
    profiles: &Profiles,
    console: Console,
    selector: Selector,
) -> Result<Result<Profile, SelectorError>, Error> {
    let (title, example) = match profiles.select(&selector) {
        Err(SelectorError::UrlNeeded { title, example, .. }) => (title, example),
        selected => return Ok(selected),
    };
    let example = example.map(|example| format!(", for example {example}")).unwrap_or_default();
    let text = format!("{title} gives each customer a different address: its settings page shows yours{example}");
    asked::explain(console, &text);
    let url = asked::text(console, &format!("Address of your {title} server: "), address).await?;
    Ok(profiles.select(&Selector { url: Some(url), ..selector }))
}

fn address(typed: &str) -> Result<ServerUrl, String> {
    let address = if typed.contains("://") { typed.to_owned() } else { format!("https://{typed}") };
    address.parse().map_err(|error| unusable(&error))
}
