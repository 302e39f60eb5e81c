//! All findings, safe to send to support: the user's home folder is shown as `~`, and secrets are hidden.

use std::path::PathBuf;

use crate::{
    doctor::step::{Finding, Step, StepName, Trouble, Verdict},
    printable::printable,
    secret::Secret,
};

/// The steps so far, in order.
pub struct Findings<'a> {
    steps: Vec<Step>,
    home: Option<PathBuf>,
    secrets: Vec<Secret>,
    tell: Box<dyn FnMut(&Step) + 'a>,
}

impl<'a> Findings<'a> {
    /// An empty findings for a user whose home folder is `home`. Calls `tell` for each step as it is noted.
    pub fn new(home: Option<PathBuf>, tell: impl FnMut(&Step) + 'a) -> Self {
        // A home folder `/` says nothing about the user, and would match every path.
        let home = home.filter(|home| home.components().count() > 1);
        Self { steps: Vec::new(), home, secrets: Vec::new(), tell: Box::new(tell) }
    }

    /// Hides every later text that contains one of `secrets`: servers may repeat what they were sent.
    pub fn conceal(&mut self, secrets: impl IntoIterator<Item = Secret>) {
        self.secrets.extend(secrets);
    }

    /// Records the finding of the step `name`.
    pub fn note(&mut self, name: StepName, finding: Finding) {
        let finding = match finding {
            Finding::Ok(what) => Finding::Ok(self.shown(&what)),
            Finding::Warning(trouble) => Finding::Warning(self.without_secrets(trouble)),
            Finding::Failed(trouble) => Finding::Failed(self.without_secrets(trouble)),
            skipped @ Finding::Skipped(_) => skipped,
        };
        let step = Step { name, finding };
        (self.tell)(&step);
        self.steps.push(step);
    }

    /// Records that these steps are skipped because they depend on the failed step `cause`.
    pub fn skip(&mut self, names: &[StepName], cause: StepName) {
        for &name in names {
            self.note(name, Finding::Skipped(cause));
        }
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether the step `name` failed.
    pub fn has_failed(&self, name: StepName) -> bool {
        self.steps.iter().any(|step| step.name == name && step.finding.verdict() == Verdict::Failed)
    }

    /// How many steps have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.steps.iter().filter(|step| step.finding.verdict() == verdict).count()
    }

    fn without_secrets(&self, trouble: Trouble) -> Trouble {
        let all = |texts: Vec<String>| texts.iter().map(|text| self.shown(text)).collect();
        Trouble { what: self.shown(&trouble.what), why: all(trouble.why), hints: all(trouble.hints) }
    }

    fn shown(&self, text: &str) -> String {
        if self.secrets.iter().any(|secret| secret.is_repeated_in(text)) {
            return "(hidden: contains a secret)".to_owned();
        }
        let clean = printable(&text.replace('\n', " "));
        match self.home.as_ref().and_then(|home| home.to_str()) {
            Some(home) => without_home(&clean, home),
            None => clean,
        }
    }
}

/// `text` with `~` for the folder `home`, but not for a sibling whose name starts with the same letters.
fn without_home(text: &str, home: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(home) {
        let (before, behind) = (&rest[..at], &rest[at + home.len()..]);
        let is_whole = !behind.starts_with(|next: char| next.is_alphanumeric() || "-_.".contains(next));
        shown.push_str(before);
        shown.push_str(if is_whole { "~" } else { home });
        rest = behind;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// t095: the report shows neither secrets nor the name of the user's home folder.
    #[test]
    fn t095_the_report_has_no_personal_data() {
        let mut told = Vec::new();
        let mut findings = Findings::new(Some("/home/ada".into()), |step| told.push(step.finding.what()));
        findings.conceal([Secret::new("CANARY-0123456789".to_owned())]);
        for (text, shown) in [
            ("in /home/ada/.config, of /home/ada", "in ~/.config, of ~"),
            ("in /home/adam and /home/ada.old", "in /home/adam and /home/ada.old"),
            ("Bearer CANARY-0123456789 is bad", "(hidden: contains a secret)"),
            ("two\nlines \u{1b}[31m", "two lines [31m"),
        ] {
            findings.note(StepName::Dns, Finding::Ok(text.to_owned()));
            let trouble = Trouble::new(text).because(text).with_hint(text);
            findings.note(StepName::Dns, Finding::Failed(trouble.clone()));
            findings.note(StepName::Dns, Finding::Warning(trouble));
            for step in &findings.steps()[findings.steps().len() - 3..] {
                assert_eq!(step.finding.what(), shown);
                let Some(trouble) = step.finding.trouble() else { continue };
                assert_eq!((&trouble.why[0][..], &trouble.hints[0][..]), (shown, shown));
            }
        }
        assert_eq!(
            (findings.count(Verdict::Ok), findings.count(Verdict::Failed), findings.count(Verdict::Skipped)),
            (4, 4, 0)
        );
        drop(findings);
        assert_eq!(told.len(), 12);
    }
}
