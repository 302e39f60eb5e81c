//! Interprets responses with an error status: a lost session, a JSON-RPC error, or neither.

use http::StatusCode;

use crate::{
    bridge::upstream::{
        endpoint::{Endpoint, ExchangeResult},
        judged_response::JudgedResponse,
    },
    conversation::{
        failure::{self, Failure},
        session::{Ending, Event, Exchange, Refused, lost},
        transport,
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

/// How many bytes of a response with an error status to read.
const ERROR_LIMIT: usize = 1 << 20;

impl Endpoint {
    /// Interprets a response with an error status to `message`.
    pub(super) async fn read_refusal(
        &self,
        exchange: Exchange,
        message: &Message,
        answer: JudgedResponse,
        in_session: bool,
    ) -> ExchangeResult {
        let JudgedResponse { response, refuses_token } = answer;
        let status = response.status();
        if status.is_redirection() {
            let target = redirect::target(&self.http.place(&self.url), response.headers());
            let sent = response.extensions().get::<SentSecrets>();
            let target = target.filter(|target| !sent.is_some_and(|sent| sent.are_contained_in(target)));
            return Ok(Ending::Failed(Failure::Redirected { status, target }));
        }
        let retry_after = self.rate_gate.asked(response.headers());
        let (headers, sent) = (response.headers().clone(), response.extensions().get::<SentSecrets>().cloned());
        let body = match self.read_body(response, ERROR_LIMIT).await {
            // The body would say whether the server took the message.
            Err(failure) if failure::refuses_without_message(status) => return Ok(Ending::Failed(failure)),
            body => body.unwrap_or_default(),
        };
        let reason = reason::of(&headers, &body, &sent.unwrap_or_default());
        let refusal = Delivery::refusal(body.clone()).filter(|refusal| refusal.error_code().is_some());
        let is_other_message = refusal.is_none() && matches!(Delivery::read(body), Delivery::Messages(_));
        if in_session && !is_other_message && lost::is_status_of_lost_session(status, refusal.as_ref(), message.id()) {
            let failure = || Refused::Failure(Failure::Status { status, retry_after, reason });
            return Ok(Ending::SessionLost(Box::new(refusal.map_or_else(failure, Refused::Response))));
        }
        if refuses_token {
            return Ok(Ending::Failed(Failure::Refused));
        }
        // Whatever the body says, the server did not take the message now, but will later.
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Ok(Ending::Failed(Failure::Status { status, retry_after, reason }));
        }
        match (refusal, &message.kind) {
            (Some(error), Kind::Request { id, method })
                if transport::suggests_no_endpoint(status)
                    && matches!(&**method, "initialize" | "server/discover")
                    && error.id() != Some(id)
                    && !error.error_code().is_some_and(codes::is_modern_error) =>
            {
                Ok(Ending::Failed(Failure::UnrelatedError { status, error: Box::new(error) }))
            }
            // The status applies to this request, whatever id the body names: some servers use the id "server-error".
            (Some(refusal), Kind::Request { id, .. }) => {
                self.report(Event::Delivered(exchange, refusal.addressed_to(id))).await?;
                Ok(Ending::Complete)
            }
            // A JSON-RPC message that is not an error despite the status: the server has processed the request.
            (None, Kind::Request { .. }) if is_other_message && failure::refuses_without_message(status) => {
                Ok(Ending::Failed(Failure::Malformed))
            }
            _ => Ok(Ending::Failed(Failure::Status { status, retry_after, reason })),
        }
    }
}
