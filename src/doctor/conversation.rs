//! The server itself, asked through the bridge: what `serve` would get.

use serde::Deserialize;

use crate::{
    client::{Client, ClientError},
    doctor::{
        chart::Chart,
        network::{Answered, SET_CLOCK},
        patient::Patient,
        step::{Finding, Trouble},
    },
    error::{Error, ErrorKind},
    mcp::revision::Era,
};

/// How many tools there are. A handshake may be answered on the server's behalf; this is the server's own answer, where the
/// bridge remembers nothing of it.
///
/// # Errors
/// Any [`ClientError`].
pub async fn examine(client: &mut Client) -> Result<usize, ClientError> {
    Ok(client.tools().await?.len())
}

/// Notes what came of it: how many tools there are, what the server calls itself and in which era it speaks, or why there is
/// no answer. True where a token was rejected.
pub fn note(
    patient: &Patient<'_>,
    outcome: Result<(usize, String, Option<Era>), Error>,
    answered: Option<&Answered>,
    chart: &mut Chart<'_>,
) -> bool {
    match outcome {
        Ok((tools, name, era)) => {
            let era = era.map(|era| format!(", speaks {}", era.revisions())).unwrap_or_default();
            chart.note("handshake", Finding::Ok(format!("{name}{era}")));
            let finding = match tools {
                0 => Finding::Warning(
                    Trouble::new("the server lists no tools")
                        .because("the account may have no access to any")
                        .cured_by("ask whoever administers your account"),
                ),
                1 => Finding::Ok("1 tool".to_owned()),
                tools => Finding::Ok(format!("{tools} tools")),
            };
            chart.note("tools", finding);
            false
        }
        Err(error) => {
            let is_rejected = error.kind == ErrorKind::LoginRequired;
            let mut trouble = Trouble::from(error);
            if is_rejected {
                trouble =
                    trouble.because("the token is good by this machine's reckoning, and the server does not take it");
                if let Some(wrong) = answered.and_then(Answered::wrong_clock) {
                    trouble = trouble.because(wrong).cured_by(SET_CLOCK);
                }
            }
            if trouble.cure.is_empty() {
                trouble = trouble.cured_by(match is_rejected {
                    true => format!("run `{}`", patient.profile.login_command()),
                    false => "try again in a while; if that lasts, tell whoever runs the server".to_owned(),
                });
            }
            chart.note("handshake", Finding::Failed(trouble));
            chart.skip(&["tools"], "handshake");
            is_rejected
        }
    }
}

/// What the server calls itself.
pub fn name(client: &Client) -> String {
    #[derive(Deserialize)]
    struct Greeting {
        #[serde(rename = "serverInfo")]
        server: Server,
    }
    #[derive(Deserialize)]
    struct Server {
        name: String,
        #[serde(default)]
        version: String,
    }
    let greeting: Option<Greeting> = client.greeting().result();
    greeting.map_or_else(
        || "the server does not say its name".to_owned(),
        |Greeting { server }| crate::printable::quoted(format!("{} {}", server.name, server.version).trim()),
    )
}
