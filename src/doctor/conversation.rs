//! Asks the server through the bridge, as `serve` does.

use serde::Deserialize;

use crate::{
    client::{Client, ClientError},
    doctor::{
        findings::Findings,
        step::{Finding, StepName, Trouble},
        subject::Subject,
    },
    error::{Error, ErrorKind},
    mcp::revision::Era,
};

/// How many tools the server lists. The bridge may answer a handshake from memory, so `tools/list` is what proves that
/// the server responds.
///
/// # Errors
/// Any [`ClientError`].
pub async fn examine(client: &mut Client) -> Result<usize, ClientError> {
    Ok(client.tools().await?.len())
}

/// Records the number of tools, the server's name and its protocol revisions, or why there is no response. Returns what
/// happened if a wrong clock is to blame: with `is_of_clock`, a rejected token is.
pub fn note(
    subject: &Subject<'_>,
    outcome: Result<(usize, String, Option<Era>), Error>,
    is_of_clock: bool,
    findings: &mut Findings<'_>,
) -> Option<String> {
    let error = match outcome {
        Ok((tools, name, era)) => {
            let era = era.map(|era| format!(", speaks {}", era.revisions())).unwrap_or_default();
            findings.note(StepName::Handshake, Finding::Ok(format!("{name}{era}")));
            findings.note(StepName::Tools, listed(tools));
            return None;
        }
        Err(error) => error,
    };
    let is_rejected = error.kind == ErrorKind::LoginRequired;
    let cause = match is_rejected {
        true if is_of_clock => Some(StepName::Clock),
        // The server asks for the scope that the sign-in lacks.
        true if findings.has_failed(StepName::Scope) => Some(StepName::Scope),
        _ => None,
    };
    if let Some(cause) = cause {
        findings.skip(&[StepName::Handshake, StepName::Tools], cause);
        return (cause == StepName::Clock).then(|| error.message());
    }
    let kind = error.kind;
    let mut trouble = Trouble::from(error);
    if is_rejected {
        trouble = trouble.because("the token is valid by this machine's clock, but the server rejects it");
    }
    if trouble.hints.is_empty() {
        trouble.hints.extend(match kind {
            ErrorKind::LoginRequired => Some(format!("run `{}`", subject.profile.login_command())),
            ErrorKind::Network | ErrorKind::Failure => {
                Some("try again later; if it keeps failing, contact the server's operator".to_owned())
            }
            // The message says what to do.
            ErrorKind::Usage | ErrorKind::Untrusted | ErrorKind::Store | ErrorKind::Interrupted => None,
        });
    }
    findings.note(StepName::Handshake, Finding::Failed(trouble));
    findings.skip(&[StepName::Tools], StepName::Handshake);
    None
}

fn listed(tools: usize) -> Finding {
    match tools {
        0 => Finding::Warning(
            Trouble::new("the server lists no tools")
                .because("your account may not have access to any")
                .with_hint("ask your account's administrator for access"),
        ),
        1 => Finding::Ok("1 tool".to_owned()),
        tools => Finding::Ok(format!("{tools} tools")),
    }
}

/// The name and version that the server gives in its handshake.
pub fn name(client: &Client) -> String {
    #[derive(Deserialize)]
    struct InitializeResult {
        #[serde(rename = "serverInfo")]
        server: Server,
    }
    #[derive(Deserialize)]
    struct Server {
        name: String,
        #[serde(default)]
        version: String,
    }
    let result: Option<InitializeResult> = client.initialize_result().result();
    result.map_or_else(
        || "the server gives no name".to_owned(),
        |InitializeResult { server }| crate::printable::quoted(format!("{} {}", server.name, server.version).trim()),
    )
}
