//! Jobs for the thread that writes the log.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::bridge::control::audit::error::AuditError;

/// One job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Notes that the server is about to get a call, which has this number and a line that begins like this.
    Begin(u64, String),
    /// The server did not get the call.
    Forget(u64),
    Write(Line),
    /// Retries the lines that could not be written.
    TryAgain,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its members, as a JSON object.
    pub object: String,
    /// The call whose outcome it is.
    pub call: Option<u64>,
}

impl Order {
    /// Whether the thread reports how it went.
    pub fn has_report(&self) -> bool {
        matches!(self, Self::Write(_) | Self::TryAgain)
    }
}

/// Carries out orders until their sender is gone. After each that has a report, it reports why a line could not be
/// written, if that is so.
pub fn run(
    orders: &std::sync::mpsc::Receiver<Order>,
    reports: &mpsc::UnboundedSender<Option<AuditError>>,
    mut carry_out: impl FnMut(&Order) -> Result<(), AuditError>,
) {
    let mut unwritten = VecDeque::new();
    while let Ok(order) = orders.recv() {
        let has_report = order.has_report();
        match order {
            Order::Write(_) => unwritten.push_back(order),
            // A note helps only after a kill. If it cannot be written, the line will show why.
            Order::Begin(..) | Order::Forget(_) => drop(carry_out(&order)),
            Order::TryAgain => {}
        }
        if has_report && reports.send(catch_up(&mut unwritten, &mut carry_out).err()).is_err() {
            return;
        }
    }
}

/// Writes all unwritten lines, oldest first.
fn catch_up(
    unwritten: &mut VecDeque<Order>,
    carry_out: &mut impl FnMut(&Order) -> Result<(), AuditError>,
) -> Result<(), AuditError> {
    while let Some(order) = unwritten.front() {
        carry_out(order)?;
        unwritten.pop_front();
    }
    Ok(())
}
