//! What was found, as text of 80 columns and as JSON.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    doctor::{chart::Chart, step::Step},
    paragraph::hung,
};

/// The width of the text.
const WIDTH: usize = 80;
/// Where what was found begins.
const TEXT_COLUMN: usize = 22;
/// Where a reason or a cure begins.
const REASON_COLUMN: usize = 15;

/// Which finmcp this is, on what, and when.
pub fn heading(now: Timestamp) -> String {
    let now = now.round(jiff::Unit::Second).unwrap_or(now);
    format!("finmcp {}, {} {}, {now}\n", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH)
}

/// One step, in as many lines as it takes; `verdict` is its verdict, perhaps in colour.
pub fn lines(step: &Step, verdict: &str) -> String {
    let padding = " ".repeat(8_usize.saturating_sub(step.finding.verdict().len()));
    let head = format!("{verdict}{padding}{:<13} ", step.name);
    let mut text = head + &hung(&step.finding.what(), TEXT_COLUMN, WIDTH);
    if let Some(trouble) = step.finding.trouble() {
        for (word, sentences) in [("why:", &trouble.why), ("do:", &trouble.cure)] {
            for sentence in sentences {
                text.push_str(&format!("          {word:<5}{}", hung(sentence, REASON_COLUMN, WIDTH)));
            }
        }
    }
    text
}

/// How it went, in one line.
pub fn summary(chart: &Chart<'_>) -> String {
    let (failed, warnings) = (chart.count("failed"), chart.count("warning"));
    match (failed, warnings) {
        (0, 0) => "Everything is as it should be.\n".to_owned(),
        _ => format!("{failed} failed, {warnings} with a warning.\n"),
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
    step: &'static str,
    result: &'static str,
    what: String,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    why: &'a [String],
    #[serde(rename = "do", skip_serializing_if = "<[String]>::is_empty")]
    cure: &'a [String],
}

impl<'a> From<&'a Step> for StepDocument<'a> {
    fn from(step: &'a Step) -> Self {
        let trouble = step.finding.trouble();
        Self {
            step: step.name,
            result: step.finding.verdict(),
            what: step.finding.what(),
            why: trouble.map_or(&[], |trouble| &trouble.why),
            cure: trouble.map_or(&[], |trouble| &trouble.cure),
        }
    }
}

/// All of it, as JSON.
///
/// # Errors
/// None that is known.
pub fn json(chart: &Chart<'_>, now: Timestamp) -> Result<String, serde_json::Error> {
    let document = Document {
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        architecture: std::env::consts::ARCH,
        at: now.to_string(),
        failed: chart.count("failed"),
        warnings: chart.count("warning"),
        steps: chart.steps().iter().map(StepDocument::from).collect(),
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
        let trouble = Trouble::new("something of which there is a great deal to be said went wrong here, it seems")
            .because("a reason that takes more than one line as well, if only because it is made to do so")
            .cured_by(format!("go to {long} and back"));
        let text = lines(&Step { name: "registration", finding: Finding::Failed(trouble) }, "failed");
        assert_eq!(
            text,
            format!(
                "\
failed  registration  something of which there is a great deal to be said went
                      wrong here, it seems
          why: a reason that takes more than one line as well, if only because
               it is made to do so
          do:  go to
               {long}
               and back
"
            )
        );
        for line in text.lines().filter(|line| !line.contains(long)) {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn colour_moves_nothing() {
        let step = Step { name: "dns", finding: Finding::Ok("x".to_owned()) };
        assert_eq!(lines(&step, "ok"), "ok      dns           x\n");
        assert_eq!(lines(&step, "\u{1b}[32mok\u{1b}[0m"), "\u{1b}[32mok\u{1b}[0m      dns           x\n");
    }
}
