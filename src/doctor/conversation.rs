//! Asks the server through the bridge, as `serve` does.

use serde::Deserialize;

use crate::{
    client::{Client, ClientError},
    doctor::{
        findings::Findings,
        network::{Answered, SET_CLOCK},
        step::{Finding, Trouble},
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

/// Records the number of tools, the server's name and its protocol revisions, or why there is no response. Returns true
/// if the server rejected the token.
pub fn note(
    subject: &Subject<'_>,
    outcome: Result<(usize, String, Option<Era>), Error>,
    answered: Option<&Answered>,
    findings: &mut Findings<'_>,
) -> bool {
    match outcome {
        Ok((tools, name, era)) => {
            let era = era.map(|era| format!(", speaks {}", era.revisions())).unwrap_or_default();
            findings.note("handshake", Finding::Ok(format!("{name}{era}")));
            let finding = match tools {
                0 => Finding::Warning(
                    Trouble::new("the server lists no tools")
                        .because("your account may not have access to any")
                        .with_hint("ask your account's administrator for access"),
                ),
                1 => Finding::Ok("1 tool".to_owned()),
                tools => Finding::Ok(format!("{tools} tools")),
            };
            findings.note("tools", finding);
            false
        }
        Err(error) => {
            let is_rejected = error.kind == ErrorKind::LoginRequired;
            let mut trouble = Trouble::from(error);
            if is_rejected {
                trouble = trouble.because("the token is valid by this machine's clock, but the server rejects it");
                if let Some(wrong) = answered.and_then(Answered::wrong_clock) {
                    trouble = trouble.because(wrong).with_hint(SET_CLOCK);
                }
            }
            if trouble.hints.is_empty() {
                trouble = trouble.with_hint(match is_rejected {
                    true => format!("run `{}`", subject.profile.login_command()),
                    false => "try again later; if it keeps failing, contact the server's operator".to_owned(),
                });
            }
            findings.note("handshake", Finding::Failed(trouble));
            findings.skip(&["tools"], "handshake");
            is_rejected
        }
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
