//! The scope of the sign-in.

use crate::{
    credential::record::Credential,
    doctor::{
        findings::Findings,
        step::{Finding, StepName, Trouble},
        subject::Subject,
    },
    oauth::scope::Scope,
};

/// Whether the granted scope covers what is needed.
pub fn examine(
    subject: &Subject<'_>,
    credential: Result<Option<&Credential>, StepName>,
    challenged: Option<&Scope>,
    findings: &mut Findings<'_>,
) {
    let credential = match credential {
        Ok(Some(credential)) => credential,
        Ok(None) => return findings.note(StepName::Scope, Finding::Ok("not needed".to_owned())),
        Err(cause) => return findings.skip(&[StepName::Scope], cause),
    };
    let tokens = credential.tokens.as_ref();
    let granted = tokens.and_then(|tokens| tokens.scope.as_ref()).or(credential.scope.as_ref());
    let granted = granted.cloned().unwrap_or_default();
    let asked = subject.profile.options.scope.clone().unwrap_or_default();
    let preset = subject.provider().and_then(|provider| provider.common.scope.clone()).unwrap_or_default();
    let login = subject.profile.login_command();
    let lacking = |needed: &Scope| needed.iter().filter(|token| !granted.contains(token)).collect::<Vec<_>>().join(" ");
    let (asked_for, usual, wanted) = (lacking(&asked), lacking(&preset), challenged.map(lacking).unwrap_or_default());
    let trouble = |missing: &str| {
        let had = if granted.is_empty() { "nothing".to_owned() } else { granted.to_string() };
        Trouble::new(format!("the sign-in does not include {missing}"))
            .because(format!("granted: {had}; requests that need more are refused"))
    };
    let finding = if !asked_for.is_empty() {
        Finding::Failed(trouble(&asked_for).because("it was requested but not granted").with_hint(format!(
            "run `{login}` and allow everything; if it is not offered, ask your account's administrator"
        )))
    } else if !usual.is_empty() {
        Finding::Warning(
            trouble(&usual)
                .because("it was not requested")
                .with_hint(format!("run `{login} --scope '{preset}'` to request all of it")),
        )
    } else if !wanted.is_empty() {
        Finding::Warning(
            trouble(&wanted)
                .because("the server requires it")
                .with_hint(format!("run `{login}` and allow everything that it requests")),
        )
    } else if granted.is_empty() {
        Finding::Ok("none: the server names no scope".to_owned())
    } else {
        Finding::Ok(granted.to_string())
    };
    findings.note(StepName::Scope, finding);
}
