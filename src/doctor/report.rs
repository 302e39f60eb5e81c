//! The report, as text and as JSON.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    doctor::{
        findings::Findings,
        step::{Finding, Step, StepName, Verdict},
    },
    paragraph::hanging_indent,
};

/// The column where a finding begins.
const TEXT_COLUMN: usize = 22;
/// The column where a cause or a hint begins.
const REASON_COLUMN: usize = 16;
/// The column where the names of skipped steps begin.
const SKIPPED_COLUMN: usize = 8;

/// The version, the platform and the time.
pub fn heading(now: Timestamp) -> String {
    let now = now.round(jiff::Unit::Second).unwrap_or(now);
    format!("finmcp {}, {} {}, {now}\n", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH)
}

/// One step, in as many lines of `width` characters as it takes; `verdict` is its verdict, coloured if the terminal has
/// colours.
pub fn lines(step: &Step, verdict: &str, width: usize) -> String {
    let padding = " ".repeat(8_usize.saturating_sub(step.finding.verdict().word().len()));
    let head = format!("{verdict}{padding}{:<13} ", step.name);
    let mut text = head + &hanging_indent(&step.finding.what(), TEXT_COLUMN, width);
    if let Some(trouble) = step.finding.trouble() {
        for (word, sentences) in [("why:", &trouble.why), ("hint:", &trouble.hints)] {
            for sentence in sentences {
                text.push_str(&format!("          {word:<6}{}", hanging_indent(sentence, REASON_COLUMN, width)));
            }
        }
    }
    text
}

/// The skipped steps, in one line for each failed step that they depend on; `verdict` is "skipped", perhaps coloured.
pub fn skipped(findings: &Findings<'_>, verdict: &str, width: usize) -> String {
    let mut groups: Vec<(StepName, Vec<StepName>)> = Vec::new();
    for step in findings.steps() {
        let Finding::Skipped(cause) = step.finding else { continue };
        match groups.iter_mut().find(|(known, _)| *known == cause) {
            // Several entries of AI clients may depend on the same step.
            Some((_, names)) if names.contains(&step.name) => {}
            Some((_, names)) => names.push(step.name),
            None => groups.push((cause, vec![step.name])),
        }
    }
    let line = |(cause, names): &(StepName, Vec<StepName>)| {
        let names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let text = format!("{}: depends on {cause}", names.join(", "));
        format!("{verdict} {}", hanging_indent(&text, SKIPPED_COLUMN, width))
    };
    groups.iter().map(line).collect()
}

/// The result in one line.
pub fn summary(findings: &Findings<'_>) -> String {
    let warnings = match findings.count(Verdict::Warning) {
        1 => "1 warning".to_owned(),
        warnings => format!("{warnings} warnings"),
    };
    match (findings.count(Verdict::Failed), findings.count(Verdict::Warning)) {
        (0, 0) => "All checks passed\n".to_owned(),
        (0, _) => format!("{warnings}\n"),
        (failed, 0) => format!("{failed} failed\n"),
        (failed, _) => format!("{failed} failed, {warnings}\n"),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    version: &'static str,
    os: &'static str,
    architecture: &'static str,
    at: String,
    failed: usize,
    warnings: usize,
    steps: Vec<StepDocument<'a>>,
}

#[derive(Serialize)]
struct StepDocument<'a> {
    step: StepName,
    result: Verdict,
    what: String,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    why: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    hints: &'a [String],
}

impl<'a> From<&'a Step> for StepDocument<'a> {
    fn from(step: &'a Step) -> Self {
        let trouble = step.finding.trouble();
        Self {
            step: step.name,
            result: step.finding.verdict(),
            what: step.finding.what(),
            why: trouble.map_or(&[], |trouble| &trouble.why),
            hints: trouble.map_or(&[], |trouble| &trouble.hints),
        }
    }
}

/// The whole report as JSON.
///
/// # Errors
/// Serialization fails.
pub fn json(findings: &Findings<'_>, now: Timestamp) -> Result<String, serde_json::Error> {
    let document = Document {
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        architecture: std::env::consts::ARCH,
        at: now.to_string(),
        failed: findings.count(Verdict::Failed),
        warnings: findings.count(Verdict::Warning),
        steps: findings.steps().iter().map(StepDocument::from).collect(),
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::step::{Finding, Trouble};

    #[test]
    fn a_step_fits_into_80_columns() {
        let long = "https://a.very.long.example/with/a/path/that/is/never/broken/however/long/it/may/be/and/longer";
        let trouble = Trouble::new("something with a long description went wrong here, or at least it seems so")
            .because("a reason that needs more than one line as well, because this test wants one so long")
            .with_hint(format!("go to {long} and back"));
        let text = lines(&Step { name: StepName::Registration, finding: Finding::Failed(trouble) }, "failed", 80);
        assert_eq!(
            text,
            format!(
                "\
failed  registration  something with a long description went wrong here, or at
                      least it seems so
          why:  a reason that needs more than one line as well, because this
                test wants one so long
          hint: go to
                {long}
                and back
"
            )
        );
        for line in text.lines().filter(|line| !line.contains(long)) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn colour_does_not_change_the_layout() {
        let step = Step { name: StepName::Dns, finding: Finding::Ok("x".to_owned()) };
        assert_eq!(lines(&step, "ok", 80), "ok      dns           x\n");
        assert_eq!(lines(&step, "\u{1b}[32mok\u{1b}[0m", 80), "\u{1b}[32mok\u{1b}[0m      dns           x\n");
    }
}
