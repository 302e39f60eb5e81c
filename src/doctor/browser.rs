//! The browser that shows the sign-in page.

use std::{ffi::OsStr, path::Path};

use crate::{
    doctor::{
        findings::Findings,
        step::{Finding, StepName, Trouble},
        subject::Subject,
    },
    login::browser::SystemBrowser,
    settings::machine::Machine,
};

/// Whether the browser that the user chose exists. Without a choice, the system's own opens, or the terminal shows the
/// URL; to find out which can take seconds, and none of them is broken.
pub fn examine(subject: &Subject<'_>, machine: &Machine, findings: &mut Findings<'_>) {
    let finding = match subject.settings.surroundings.browser() {
        _ if !subject.profile.options.uses_page() => Finding::Ok("not needed".to_owned()),
        None => Finding::Ok("the system's default".to_owned()),
        Some(browser) => chosen(browser, machine),
    };
    findings.note(StepName::Browser, finding);
}

fn chosen(browser: &SystemBrowser, machine: &Machine) -> Finding {
    let (variable, programs): (_, Vec<&OsStr>) = match browser {
        SystemBrowser::Program(program) => ("FINMCP_BROWSER", vec![program]),
        SystemBrowser::Commands(commands) => {
            ("BROWSER", commands.iter().filter_map(|words| words.first().map(AsRef::as_ref)).collect())
        }
        SystemBrowser::Default | SystemBrowser::Desktop(_) => return Finding::Ok("the system's default".to_owned()),
    };
    let list = programs.iter().map(|program| program.display().to_string()).collect::<Vec<_>>().join(", ");
    match programs.iter().any(|program| exists(program, machine)) {
        true => Finding::Ok(list),
        false => Finding::Failed(
            Trouble::new(format!("cannot find the browser {list}"))
                .because(format!("{variable} names it, so no sign-in page opens"))
                .with_hint(format!("set {variable} to a program that exists, or unset {variable}")),
        ),
    }
}

fn exists(program: &OsStr, machine: &Machine) -> bool {
    let path = Path::new(program);
    match path.components().count() {
        1 => program.to_str().and_then(|name| machine.program(name)).is_some(),
        _ => path.is_file(),
    }
}
