//! Signing in from within a client: with finmcp's own tool, and the address of the sign-in page.
//!
//! If the client supports URL elicitation (MCP 2025-11-25 and 2026-07-28 elicitation, "URL Mode"), finmcp asks it to
//! open the page; otherwise the address is in the result of the call, with the equivalent command.

mod answer;
mod calls;
pub mod invitation;

pub use crate::conversation::sign_in_tool::invitation::{Invitation, ShownBy, Window};
use crate::{
    conversation::{
        event::{Action, Alarm, Need},
        failure::{Failure, Refusal},
        known::{Known, ServerAvailability, ShownTools},
        layer::{Layer, Signal, Step},
        reply::{self, ServerLabels},
        sign_in_tool::{
            answer::{TOOL, is_for_tool},
            calls::{Call, Calls},
        },
    },
    mcp::{
        attempts::Reason,
        message::{Kind, Message},
        meta,
        object::{self, Object},
        revision::Era,
    },
};

/// The `requestState` of calls that wait for a sign-in (MCP 2026-07-28, "Multi Round-Trip Requests").
const STATE: &str = "finmcp-sign-in";

/// The key of their one input request.
const KEY: &str = "sign_in";

/// The layer that lets the client start a sign-in, and how far that is.
#[derive(Debug)]
pub struct SignIn {
    offer: Offer,
    progress: Progress,
    /// Which sign-in is needed.
    need: Need,
    calls: Calls,
    capabilities: String,
}

/// Whether the client can start a sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    Disabled,
    Enabled,
    /// Not any more: the client has closed its side.
    Ended,
}

/// How far a sign-in is.
#[derive(Debug, Default)]
enum Progress {
    /// There is none.
    #[default]
    None,
    /// It has started, but its page is not known yet.
    Started,
    /// The user can sign in on this page.
    PageReady(Invitation),
}

/// What a message means for signing in.
#[derive(Debug)]
pub enum SignInStep {
    /// This call needs a sign-in; with the reason why the server refused it, if it did.
    Need(Message, Option<String>),
    /// The client has shown the page for this call, and the user is signing in.
    Wait(Message),
    /// The message gets this response.
    Respond(Message),
    /// Nothing more is to be done.
    Done,
}

impl SignIn {
    /// With the sign-in tool, if `offered`.
    pub fn new(offered: bool) -> Self {
        Self {
            offer: if offered { Offer::Enabled } else { Offer::Disabled },
            progress: Progress::None,
            need: Need::Any,
            calls: Calls::default(),
            capabilities: "{}".to_owned(),
        }
    }

    /// The name of the sign-in tool, if it is offered.
    pub fn tool(&self) -> Option<&'static str> {
        (self.offer != Offer::Disabled).then_some(TOOL)
    }

    // From the client.

    /// Handles a message that concerns signing in: a call of the sign-in tool, a response to an elicitation, or a
    /// cancellation. Returns none for any other message.
    fn handle(&mut self, message: &Message, labels: &ServerLabels, out: &mut Vec<Step>) -> Option<SignInStep> {
        if self.offer == Offer::Disabled {
            return None;
        }
        match &message.kind {
            Kind::Request { method, .. } if &**method == "tools/call" => {
                if is_for_tool(message) && message.member("requestState").is_none() {
                    return Some(SignInStep::Need(message.clone(), None));
                }
                // Search before parsing: calls can be large, and very few contain this.
                memchr::memmem::find(message.raw(), STATE.as_bytes())?;
                (message.member("requestState")? == object::text(STATE)).then(|| self.retried(message, labels))
            }
            Kind::Response { id: Some(id), .. } => {
                let call = self.calls.elicitation_answered(id)?;
                let result = message.result::<Object<'_>>();
                let is_accepted = result.is_some_and(|result| result.get("action") == Some("\"accept\""));
                if is_accepted && matches!(self.progress, Progress::PageReady(_)) {
                    self.calls.continue_waiting(call, out);
                    return Some(SignInStep::Done);
                }
                Some(self.decided(call.message, is_accepted, labels))
            }
            Kind::Notification { method } if &**method == "notifications/cancelled" => {
                self.calls.cancel(&message.cancels()?).then_some(SignInStep::Done)
            }
            _ => None,
        }
    }

    /// A modern client sends a call again, with the user's decision.
    fn retried(&mut self, message: &Message, labels: &ServerLabels) -> SignInStep {
        let answers = message.member("inputResponses").unwrap_or_default();
        let is_accepted = object::found(&answers, &[KEY, "action"]).is_some_and(|action| action == "\"accept\"");
        let call = message.clone().edited(|message| {
            message.edit("params", |members| members.remove(|name| matches!(name, "inputResponses" | "requestState")));
        });
        match (call, message.id()) {
            (Some(call), _) => self.decided(call, is_accepted, labels),
            (None, Some(id)) => SignInStep::Respond(reply::untranslatable(id)),
            (None, None) => SignInStep::Done,
        }
    }

    fn decided(&self, call: Message, is_accepted: bool, labels: &ServerLabels) -> SignInStep {
        match &self.progress {
            Progress::PageReady(_) if is_accepted => SignInStep::Wait(call),
            // Some clients decline what they cannot show: the user may still want to sign in.
            Progress::PageReady(invitation) => {
                SignInStep::Respond(answer::where_to_sign_in(&call, None, invitation, labels))
            }
            _ if is_accepted => SignInStep::Need(call, None), // the sign-in may have ended meanwhile
            _ => {
                let content =
                    format!("The user did not sign in. To sign in, run this in a terminal: {}", labels.login_command);
                SignInStep::Respond(answer::text(&call, true, &content))
            }
        }
    }

    fn carry_out(&mut self, step: SignInStep, known: &Known, out: &mut Vec<Step>) {
        match step {
            SignInStep::Need(call, reason) => {
                let action = self.action_for(&call);
                self.calls.wait_for_page(call, reason, out);
                out.extend(action.map(Step::Do));
                self.respond_to_calls(known, out);
            }
            SignInStep::Wait(call) => self.calls.wait_for_user(call, out),
            SignInStep::Respond(answer) => out.push(Step::Decline(answer)),
            SignInStep::Done => {}
        }
    }

    /// The action for a call that needs a sign-in.
    ///
    /// A browser opens only for a call of the sign-in tool, which the user has asked for: an agent goes on making
    /// calls that are refused even when the user is away.
    fn action_for(&mut self, call: &Message) -> Option<Action> {
        let opens_browser = is_for_tool(call) && !self.supports_url_elicitation(call);
        match self.progress {
            Progress::None => {
                self.progress = Progress::Started;
                let need = std::mem::replace(&mut self.need, Need::Any);
                Some(Action::SignIn(need, if opens_browser { ShownBy::Browser } else { ShownBy::Client }))
            }
            _ => opens_browser.then_some(Action::ShowSignIn),
        }
    }

    // Responses.

    /// Responds to the calls that wait for the page, or asks their clients to open it.
    fn respond_to_calls(&mut self, known: &Known, out: &mut Vec<Step>) {
        let Progress::PageReady(invitation) = &self.progress else { return };
        let invitation = invitation.clone();
        for (call, reason) in self.calls.take_waiting_for_page() {
            let answer = self.answer(call, reason, &invitation, known);
            out.extend(answer.map(Step::Decline));
        }
    }

    fn answer(
        &mut self,
        call: Call,
        reason: Option<String>,
        invitation: &Invitation,
        known: &Known,
    ) -> Option<Message> {
        let message = &call.message;
        if !self.supports_url_elicitation(message) {
            return Some(answer::where_to_sign_in(message, reason, invitation, &known.labels));
        }
        let content = format!("Sign in to {}.{}", known.labels.title, invitation.instruction());
        let mut elicitation = Object::default();
        elicitation.set("mode", r#""url""#);
        elicitation.set("message", object::text(&content));
        elicitation.set("url", object::text(&invitation.address));
        match Era::of_message(message) {
            Era::Modern => {
                let request = format!(r#"{{"method":"elicitation/create","params":{elicitation}}}"#);
                let result = format!(
                    r#"{{"resultType":"input_required","inputRequests":{{"{KEY}":{request}}},"requestState":"{STATE}"}}"#
                );
                Some(Message::response(message.id()?, &result))
            }
            Era::Legacy => {
                let id = known.request_ids.next_id();
                elicitation.set("elicitationId", id.to_string());
                self.calls.wait_for_client(id.clone(), call);
                Some(Message::request(id, "elicitation/create", &elicitation.to_string()))
            }
        }
    }

    /// Whether the client of `call` supports URL elicitation. A modern client says so in each request, a legacy one in
    /// its `initialize`.
    fn supports_url_elicitation(&self, call: &Message) -> bool {
        match Era::of_message(call) {
            Era::Modern => {
                let meta = call.member("_meta").unwrap_or_default();
                object::found(&meta, &[meta::CAPABILITIES, "elicitation", "url"]).is_some()
            }
            Era::Legacy => object::found(&self.capabilities, &["elicitation", "url"]).is_some(),
        }
    }

    /// The call with this alarm has waited long enough: returns the response to it. The call is not made even if the
    /// user signs in later; the sign-in itself stays open.
    fn woken(&mut self, alarm: u64, labels: &ServerLabels) -> Option<Message> {
        let call = self.calls.take_expired(alarm)?;
        let invitation = if let Progress::PageReady(invitation) = &self.progress { Some(invitation) } else { None };
        Some(answer::still_open(&call, invitation, labels))
    }

    // The end of a sign-in.

    /// The user is signed in: responds to the calls of the sign-in tool, and makes the others.
    fn signed_in(&mut self, known: &mut Known, out: &mut Vec<Step>) {
        self.progress = Progress::None;
        let (of_tool, calls): (Vec<_>, Vec<_>) = self.calls.signed_in().into_iter().partition(is_for_tool);
        if known.availability == ServerAvailability::Open && known.shown == ShownTools::WithSignIn {
            known.shown = ShownTools::Own;
            out.push(Step::Signal(Signal::ToolsChanged));
        }
        out.extend(of_tool.into_iter().map(|call| match known.availability {
            // A client that gets this response lists the tools next: the server has to be reachable first.
            ServerAvailability::Away => Step::ToServer(call),
            _ => Step::Decline(answer::signed_in(&call, &known.labels)),
        }));
        out.extend(calls.into_iter().map(|call| match call.attempts().admit(Reason::SignIn) {
            true => Step::Resubmit(call),
            false => Step::Refuse(Refusal::unsent(call, Failure::TriedTooOften)),
        }));
    }

    /// The sign-in failed, and so do the calls that waited for it.
    fn failed(&mut self, reason: &str, labels: &ServerLabels, out: &mut Vec<Step>) {
        self.progress = Progress::None;
        let content =
            format!("Not signed in to {}: {reason}. In a terminal, run: {}", labels.title, labels.login_command);
        let calls = self.calls.end().into_iter();
        out.extend(calls.map(|call| Step::Decline(answer::text(&call, true, &content))));
    }
}

impl Layer for SignIn {
    fn client_sent(&mut self, message: Message, known: &mut Known, out: &mut Vec<Step>) -> Option<Message> {
        if message.method() == Some("initialize") {
            self.capabilities = message.member("capabilities").unwrap_or_else(|| "{}".to_owned());
            return Some(message);
        }
        match self.handle(&message, &known.labels, out) {
            Some(step) => {
                self.carry_out(step, known, out);
                None
            }
            None => Some(message),
        }
    }

    fn refused(&mut self, refusal: Refusal, known: &mut Known, out: &mut Vec<Step>) -> Option<Refusal> {
        let Refusal { message, failure, .. } = &refusal;
        if !failure.needs_login() {
            return Some(refusal);
        }
        let is_list = message.method() == Some("tools/list");
        // For a message that was already sent again after a sign-in, another sign-in would not help.
        let may_help = message.attempts().admits(Reason::SignIn);
        let list = match self.offer {
            Offer::Disabled if is_list => known.list_from_memory(message),
            Offer::Enabled if may_help => {
                if failure.is_signed_out() {
                    out.push(Step::Do(Action::Watch));
                }
                match message.method() {
                    Some("tools/call") => {
                        if !failure.is_signed_out() {
                            self.need = Need::Another;
                        }
                        let reason = failure.to_string();
                        self.carry_out(SignInStep::Need(refusal.message, Some(reason)), known, out);
                        return None;
                    }
                    Some("tools/list") => {
                        known.shown = ShownTools::WithSignIn;
                        let remembered = known.remembered_tools();
                        answer::list(message, remembered.as_deref(), &known.labels)
                    }
                    _ => None,
                }
            }
            _ => None,
        };
        match list {
            Some(list) => {
                out.push(Step::ToClient(list));
                None
            }
            None => Some(refusal),
        }
    }

    fn observe(&mut self, signal: &Signal, known: &mut Known, out: &mut Vec<Step>) {
        match signal {
            Signal::SignInOffered(invitation) => {
                self.progress = Progress::PageReady(invitation.clone());
                self.respond_to_calls(known, out);
            }
            Signal::SignedIn => self.signed_in(known, out),
            Signal::SignInFailed(reason) => self.failed(reason, &known.labels, out),
            Signal::Woken(Alarm::SignIn(alarm)) => {
                out.extend(self.woken(*alarm, &known.labels).map(Step::Decline));
            }
            Signal::Closed => {
                if self.offer == Offer::Enabled {
                    self.offer = Offer::Ended;
                }
                self.failed("the client has closed the connection", &known.labels, out);
            }
            _ => {}
        }
    }

    fn bytes(&self) -> usize {
        self.calls.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::id::Id;

    /// a16: the server never gets a member that is only between the client and finmcp.
    #[test]
    fn a16_a_retried_call_that_cannot_be_edited_gets_an_error() {
        let labels = ServerLabels { title: "T".to_owned(), login_command: "finmcp login t".to_owned() };
        let raw: &[u8] = b"{\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"n\",\"requestState\":\"finmcp-sign-in\",\"inputResponses\":{\"sign_in\":{\"action\":\"accept\"}}},\"x\":\"\xff\"}";
        let taken = SignIn::new(true).handle(&Message::parse(raw.into()).unwrap(), &labels, &mut Vec::new());
        let Some(SignInStep::Respond(answer)) = taken else { panic!("{taken:?}") };
        assert_eq!((answer.id(), answer.error_code()), (Some(&Id::from_number(1)), Some(-32600)));
        // A call that can be edited is sent on without that member.
        let raw = [&raw[..raw.len() - 9], b"}"].concat();
        let taken = SignIn::new(true).handle(&Message::parse(raw.into()).unwrap(), &labels, &mut Vec::new());
        let Some(SignInStep::Need(call, None)) = taken else { panic!("{taken:?}") };
        assert_eq!(call.raw(), r#"{"id":1,"method":"tools/call","params":{"name":"n"}}"#.as_bytes());
    }
}
