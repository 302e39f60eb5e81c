//! An answer with an error status, and what became of the message.

use http::StatusCode;

use crate::{
    bridge::{
        conversation::{
            failure::{self, Failure},
            session::{Ending, Event, Exchange, Said, lost},
            transport,
        },
        upstream::{
            answer::Answer,
            endpoint::{Endpoint, Outcome},
        },
    },
    http::{
        reason::{self, SentSecrets},
        redirect,
    },
    mcp::{
        codes,
        delivery::Delivery,
        message::{Kind, Message},
    },
};

/// The most that is read of an answer with an error status.
const ERROR_LIMIT: usize = 1 << 20;

impl Endpoint {
    /// An answer with an error status: a lost session, a JSON-RPC error, or neither.
    pub(super) async fn read_refusal(
        &self,
        exchange: Exchange,
        message: &Message,
        answer: Answer,
        in_session: bool,
    ) -> Outcome {
        let Answer { response, refuses_token } = answer;
        let status = response.status();
        if status.is_redirection() {
            let target = redirect::target(&self.http.place(&self.url), response.headers());
            let sent = response.extensions().get::<SentSecrets>();
            let target = target.filter(|target| !sent.is_some_and(|sent| sent.are_in(target)));
            return Ok(Ending::Failed(Failure::Redirected { status, target }));
        }
        let retry_after = self.turnstile.asked(response.headers());
        let (headers, sent) = (response.headers().clone(), response.extensions().get::<SentSecrets>().cloned());
        let body = match self.read_body(response, ERROR_LIMIT).await {
            // What is in it would say what became of the message.
            Err(failure) if failure::is_telling(status) => return Ok(Ending::Failed(failure)),
            body => body.unwrap_or_default(),
        };
        let reason = reason::of(&headers, &body, &sent.unwrap_or_default());
        let refusal = Delivery::refusal(body.clone()).filter(|refusal| refusal.error_code().is_some());
        let says_more = refusal.is_none() && matches!(Delivery::read(body), Delivery::Messages(_));
        if in_session && !says_more && lost::is_meant(status, refusal.as_ref(), message.id()) {
            let failure = || Said::Failure(Failure::Status { status, retry_after, reason });
            return Ok(Ending::SessionLost(Box::new(refusal.map_or_else(failure, Said::Answer))));
        }
        if refuses_token {
            return Ok(Ending::Failed(Failure::Refused));
        }
        // Whatever it says: the message was not taken, and later it will be.
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Ok(Ending::Failed(Failure::Status { status, retry_after, reason }));
        }
        match (refusal, &message.kind) {
            (Some(said), Kind::Request { id, method })
                if transport::is_deserted(status)
                    && matches!(&**method, "initialize" | "server/discover")
                    && said.id() != Some(id)
                    && !said.error_code().is_some_and(codes::is_modern_error) =>
            {
                Ok(Ending::Failed(Failure::Unaddressed { status, said: Box::new(said) }))
            }
            // Whatever id the body names, the status is this request's: some servers refuse in the name of
            // "server-error".
            (Some(refusal), Kind::Request { id, .. }) => {
                self.report(Event::Delivered(exchange, refusal.addressed_to(id))).await?;
                Ok(Ending::Complete)
            }
            // A message that is no error, though the status says so: the server has looked at the request.
            (None, Kind::Request { .. }) if says_more && failure::is_telling(status) => {
                Ok(Ending::Failed(Failure::Malformed))
            }
            _ => Ok(Ending::Failed(Failure::Status { status, retry_after, reason })),
        }
    }
}
