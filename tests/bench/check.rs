//! Checks whether notifications arrived as the server sent them. Pure, so that its own tests can cover every kind of
//! damage.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Counts of damaged notifications. Each must be zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Damage {
    pub lost: usize,
    /// Arrived more than once.
    pub repeated: usize,
    /// Arrived after a later notification.
    pub reordered: usize,
    /// Arrived with a progress token that differs from the client's.
    pub relabelled: usize,
    /// Arrived after the result.
    pub late: usize,
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.lost, "lost"),
            (self.repeated, "repeated"),
            (self.reordered, "reordered"),
            (self.relabelled, "re-labelled"),
            (self.late, "late"),
        ];
        let happened: Vec<String> =
            kinds.iter().filter(|(count, _)| *count > 0).map(|(count, kind)| format!("{count} {kind}")).collect();
        formatter.write_str(&if happened.is_empty() { "none".to_owned() } else { happened.join(", ") })
    }
}

#[derive(Deserialize)]
struct Notification<'a> {
    #[serde(borrow)]
    params: Option<Parameters<'a>>,
}

#[derive(Deserialize)]
struct Parameters<'a> {
    #[serde(borrow, rename = "progressToken")]
    token: Option<&'a RawValue>,
    progress: Option<f64>,
}

/// Compares `lines` (the notifications and the result) with the notifications 1 to `count` of `token`.
pub fn check<'a>(lines: impl Iterator<Item = &'a [u8]>, token: &str, count: usize) -> Damage {
    let mut damage = Damage::default();
    let (mut came, mut last, mut is_over) = (vec![false; count], 0, false);
    for line in lines {
        let notification: Option<Notification<'_>> = serde_json::from_slice(line).ok();
        let Some(parameters) = notification.and_then(|notification| notification.params) else {
            is_over |= is_result(line);
            continue;
        };
        let Some(number) = parameters.progress.map(|progress| progress as usize) else { continue };
        if !(1..=count).contains(&number) {
            continue;
        }
        damage.relabelled += usize::from(parameters.token.map(RawValue::get) != Some(token));
        damage.late += usize::from(is_over);
        if std::mem::replace(&mut came[number - 1], true) {
            damage.repeated += 1;
        } else if number < last {
            damage.reordered += 1;
        }
        last = last.max(number);
    }
    damage.lost = came.iter().filter(|came| !**came).count();
    damage
}

/// Whether a line is a response. Other messages of this bench do not contain the text.
pub fn is_result(line: &[u8]) -> bool {
    memchr::memmem::find(line, br#""result""#).is_some() || memchr::memmem::find(line, br#""error""#).is_some()
}

impl std::ops::AddAssign for Damage {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.reordered += other.reordered;
        self.relabelled += other.relabelled;
        self.late += other.late;
    }
}
