//! The error responses of `serve`.

use super::*;

/// The error responses of `serve` for every failure: to a tool call and, if it differs, to a request that only reads.
#[cfg(unix)]
#[tokio::test]
async fn errors_of_serve() {
    let status = |status: u16, retry_after: Option<u64>| Failure::Status {
        status: StatusCode::from_u16(status).unwrap(),
        retry_after: retry_after.map(Duration::from_secs),
        reason: (status == 503).then(|| "upstream not configured".to_owned()),
    };
    let tokens = [
        TokenSourceError::LoginRequired(LoginReason::SignedOut),
        TokenSourceError::Rejected,
        TokenSourceError::from(TokenError::Refused(said("invalid_client"))),
        TokenSourceError::from(TokenError::Unavailable { status: 503 }),
        TokenSourceError::from(TokenError::Unusable(
            "it is a web page, not JSON; the server may be down for maintenance",
        )),
        TokenSourceError::from(TokenError::Http(HttpError::OldTls { host: host() })),
        TokenSourceError::from(AssertionError::NotJwt { path: path() }),
        TokenSourceError::from(StoreError::Locked),
        TokenSourceError::from(LockError::TimedOut(Duration::from_secs(5))),
        TokenSourceError::SignIn(SignInFailure::Untrusted("the metadata is for another server".to_owned())),
        TokenSourceError::SignIn(SignInFailure::Unreachable("could not connect to as.example".to_owned())),
        TokenSourceError::SignIn(SignInFailure::LoginRequired("the sign-in timed out after 5 min".to_owned())),
        TokenSourceError::SignIn(SignInFailure::Failed("the sign-in was refused: access_denied".to_owned())),
        TokenSourceError::Interrupted,
    ];
    let unaddressed = r#"{"id":null,"error":{"code":-32601,"message":"no such"}}"#;
    let mut examples: Vec<Failure> = tokens.into_iter().map(Failure::Token).collect();
    examples.extend(http_errors().await.into_iter().map(Failure::Http));
    examples.extend([
        Failure::Refused,
        Failure::InsufficientScope { missing: Some("write".to_owned()), wanted: names(&["read", "write"]) },
        Failure::InsufficientScope { missing: None, wanted: Vec::new() },
        Failure::Http(HttpError::Certificate { host: host(), problem: CertificateProblem::Expired }),
        Failure::Http(HttpError::Undecodable { host: host(), problem: "Content-Encoding: zstd".to_owned() }),
        status(503, None),
        status(429, Some(90)),
        status(400, None),
        Failure::UnrelatedError {
            status: StatusCode::NOT_FOUND,
            error: Box::new(Message::parse(unaddressed.into()).unwrap()),
        },
        Failure::RateLimited { wait: Duration::from_secs(59) },
        Failure::Redirected { status: StatusCode::PERMANENT_REDIRECT, target: None },
        Failure::Redirected {
            status: StatusCode::PERMANENT_REDIRECT,
            target: Some("https://b.example/login".to_owned()),
        },
        Failure::NotMcp { content_type: "text/html".to_owned() },
        Failure::Malformed,
        Failure::TooLarge { limit: 64 << 20 },
        Failure::Cut,
        Failure::NoEndpoint { status: Some(StatusCode::NOT_FOUND) },
        Failure::ForeignEndpoint,
        Failure::NoSession,
        Failure::TimedOut { seconds: 60 },
        Failure::IdInUse,
        Failure::UnsupportedByClient { method: "elicitation/create".to_owned() },
        Failure::TooManyRounds,
        Failure::NoInput,
        Failure::NotResumable,
        Failure::TooMuchInFlight,
        Failure::TriedTooOften,
        Failure::Stopped,
    ]);
    let labels =
        ServerLabels { title: "Asset".to_owned(), login_command: "finmcp login asset --env sandbox".to_owned() };
    let replies = |failure: Failure| {
        let failure = Arc::new(failure);
        let [to_call, to_list] = ["tools/call", "tools/list"].map(|method| {
            let message = Message::parse(format!(r#"{{"id":1,"method":"{method}"}}"#).into()).unwrap();
            let refusal = Refusal { message, processed: failure.processed(), failure: failure.clone() };
            steady(&code_and_text(&labels.refused(&refusal).unwrap()))
        });
        if to_call == to_list { to_call } else { format!("{to_call}    to a list: {to_list}") }
    };
    assert_words!(
        Failure {
            Token Refused InsufficientScope Http Status UnrelatedError RateLimited Redirected NotMcp Malformed TooLarge Cut
            NoEndpoint ForeignEndpoint NoSession TimedOut IdInUse UnsupportedByClient TooManyRounds NoInput NotResumable TooMuchInFlight
            TriedTooOften
            Stopped
        },
        examples,
        replies
    );
    assert_words!(Malformed { Json Message TooLong }, vec![Malformed::Json, Malformed::Message, Malformed::TooLong], |line| {
        code_and_text(&reply::malformed(line))
    });
}

/// The code and the text of an error response.
pub(super) fn code_and_text(response: &Message) -> String {
    let response: serde_json::Value = serde_json::from_slice(response.raw()).unwrap();
    format!("{} {}\n", response["error"]["code"], response["error"]["message"].as_str().unwrap())
}
