//! The servers that `finmcp setup` is about.

use crate::{
    cli::{
        server::{Server, Which},
        setup::Setup,
    },
    commands::setup::clients::cancelled,
    console::{Console, choice::Line},
    error::Error,
    profile::{
        Profile,
        provider::Provider,
        selector::{Selector, SelectorError},
    },
    settings::Settings,
    setup::plan::Target,
};

/// A server to choose.
struct Candidate {
    server: Server,
    line: Line,
}

/// The selected servers. At a terminal the user chooses them, if the command line names neither a client nor a server,
/// or if it is unclear which server is meant.
pub(super) async fn servers(settings: &Settings, console: Console, arguments: &Setup) -> Result<Vec<Server>, Error> {
    let selector = Selector::from(arguments.server.clone());
    let is_unclear = || matches!(Target::select(&selector, &settings.profiles), Err(SelectorError::Unclear { .. }));
    let is_newcomer = arguments.client.is_none() && !arguments.all;
    if selector != Selector::default() || !console.is_attended() || !(is_newcomer || is_unclear()) {
        return Ok(vec![arguments.server.clone()]);
    }
    let candidates = candidates(settings, arguments.native);
    let lines: Vec<Line> = candidates.iter().map(|candidate| candidate.line.clone()).collect();
    let chosen = console.choose("Servers", &lines).await.ok_or_else(cancelled)?;
    Ok(chosen.into_iter().map(|at| candidates[at].server.clone()).collect())
}

/// The saved profiles, those with a sign-in first, then the presets. With `native`, without the simulated servers.
fn candidates(settings: &Settings, native: bool) -> Vec<Candidate> {
    let profiles = &settings.profiles;
    let usual = Target::select(&Selector::default(), profiles).ok().map(|target| target.arguments);
    let mut saved: Vec<Profile> = profiles.all().collect();
    saved.sort_by_key(|profile| profile.signed_in.is_none());
    let of_profiles = saved.iter().map(|profile| {
        let state = if profile.signed_in.is_some() { "signed in" } else { "saved" };
        (Some(profile.name.clone()), None, format!("{}, {state}", profile.title))
    });
    let of_presets = profiles.ordered_providers().into_iter().filter(|provider| !(native && provider.embedded));
    let of_presets = of_presets.flat_map(|provider| {
        environments(provider).into_iter().map(|environment| {
            let title = match &environment {
                Some(environment) => format!("{}, {environment}", provider.title),
                None => provider.title.clone(),
            };
            (Some(provider.id.clone()), environment, title)
        })
    });
    let mut seen: Vec<Vec<String>> = Vec::new();
    let all = of_profiles.chain(of_presets).filter_map(|(server, environment, about)| {
        let server = Server { server, which: Which { environment, url: None, profile: None } };
        // A preset whose URL is not known yet cannot be selected.
        let arguments = Target::select(&server.clone().into(), profiles).ok()?.arguments;
        if seen.contains(&arguments) {
            return None;
        }
        seen.push(arguments.clone());
        let is_chosen = usual.as_ref() == Some(&arguments);
        Some(Candidate { server, line: Line { name: arguments.join(" "), about, is_chosen } })
    });
    all.collect()
}

/// The environments to offer: the default one without its name, then the others. The demo's are its vendors.
fn environments(provider: &Provider) -> Vec<Option<String>> {
    let names = provider.environment_names().into_iter().filter(|name| !provider.is_default_environment(name));
    std::iter::once(None).chain(names.filter(|_| !provider.embedded).map(|name| Some(name.to_owned()))).collect()
}
