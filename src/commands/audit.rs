//! `finmcp audit`.

use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::{
    app::{audit_seal, credentials::Credentials},
    bridge::control::audit::{
        fault::count,
        verify::{Files, Report, SealReport, VerifyError},
    },
    cli::audit::{Audit, AuditCommand, Verify},
    console::Console,
    error::{Error, ErrorKind},
};

#[derive(Serialize)]
struct VerdictDocument<'a> {
    intact: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(flatten)]
    report: Option<ReportDocument<'a>>,
}

#[derive(Serialize)]
struct ReportDocument<'a> {
    lines: u64,
    lines_before_chain: u64,
    first_time: Option<&'a str>,
    last_time: Option<&'a str>,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    last_sha256: Option<&'a str>,
    /// `no`, `yes`, `partly` or `unchecked`.
    sealed: &'static str,
    end_checked: bool,
}

/// Verifies a log.
///
/// # Errors
/// The log was modified, or a file is not an audit log.
pub async fn run(credentials: &Credentials, console: Console, arguments: Audit) -> Result<(), Error> {
    let AuditCommand::Verify(arguments) = arguments.command;
    let files = arguments.files.clone();
    let is_sealed = spawn_blocking(move || Files(&files).are_sealed()).await.map_err(std::io::Error::other)??;
    let key = if is_sealed { audit_seal::existing(credentials).await? } else { None };
    let files = arguments.files.clone();
    let verified = spawn_blocking(move || Files(&files).verify(key.as_ref())).await.map_err(std::io::Error::other)?;
    match verified {
        Ok(report) => conclude(console, &arguments, &report),
        Err(VerifyError::Fault(fault)) => {
            if arguments.json {
                let (line, reason) = (Some(fault.line), Some(&*fault.reason));
                let (file, name) = (Some(&*fault.file), Some(fault.kind.name()));
                print(console, &VerdictDocument { intact: false, file, line, fault: name, reason, report: None })?;
            }
            Err(VerifyError::Fault(fault).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Prints what an intact log contains.
fn conclude(console: Console, arguments: &Verify, report: &Report) -> Result<(), Error> {
    let sealed = match report.seal {
        SealReport::None => "no",
        SealReport::From(0, 1) => "yes",
        SealReport::From(..) => "partly",
        SealReport::Unchecked => "unchecked",
    };
    if arguments.json {
        let times = report.times.as_ref();
        let document = ReportDocument {
            lines: report.lines,
            lines_before_chain: report.lines_before_chain,
            first_time: times.map(|(first, _)| &**first),
            last_time: times.map(|(_, last)| &**last),
            first_seq: report.numbers.map(|(first, _)| first),
            last_seq: report.numbers.map(|(_, last)| last),
            last_sha256: report.last_digest.as_deref(),
            sealed,
            end_checked: report.is_end_checked,
        };
        let (file, line, fault, reason) = (None, None, None, None);
        print(console, &VerdictDocument { intact: true, file, line, fault, reason, report: Some(document) })?;
    } else {
        console.data(&(summary(arguments, report) + "\n"))?;
    }
    if arguments.sealed && sealed != "yes" {
        let hint = match report.seal {
            SealReport::Unchecked => "run this command on the machine that has the key",
            _ => "run every `finmcp serve` that writes to this log with --audit-seal, from the first line of the log",
        };
        return Err(Error::new(ErrorKind::Failure, "some lines have no verified seal").hint(hint));
    }
    Ok(())
}

/// One line about an intact log.
fn summary(arguments: &Verify, report: &Report) -> String {
    let mut parts = vec![format!("intact: {}", count(report.lines))];
    if let Some((first, last)) = &report.times {
        parts[0].push_str(&format!(" from {first} to {last}"));
    }
    parts.push(match &report.seal {
        SealReport::None => "not sealed".to_owned(),
        SealReport::From(0, 1) => "sealed".to_owned(),
        SealReport::From(file, line) => {
            let name = arguments.files.get(*file).map(|file| file.display().to_string()).unwrap_or_default();
            format!("sealed from line {line} of {name}")
        }
        SealReport::Unchecked => "sealed (not checked: the key is not on this machine)".to_owned(),
    });
    if report.lines_before_chain > 0 {
        let earlier = match report.lines_before_chain {
            1 => "1 earlier line is".to_owned(),
            lines => format!("{lines} earlier lines are"),
        };
        parts.push(format!("{earlier} not part of the chain"));
    }
    if let Some((first, _)) = report.numbers.filter(|(first, _)| *first > 0) {
        parts.push(format!("continues an older file (starts at seq {first})"));
    }
    if !report.is_end_checked {
        parts.push("missing lines at the end were not checked".to_owned());
    }
    parts.join("; ")
}

fn print(console: Console, document: &VerdictDocument<'_>) -> Result<(), Error> {
    let text = serde_json::to_string(document).map_err(std::io::Error::other)?;
    console.data(&(text + "\n"))?;
    Ok(())
}
