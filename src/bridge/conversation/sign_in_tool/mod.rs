//! Signing in from within a client: a tool of finmcp's own, and the address where a person does it.
//!
//! Where the client can open an address for its person, it is asked to (URL elicitation: MCP 2025-11-25 and 2026-07-28
//! elicitation, "URL Mode"); everywhere else the address is in the result of the call, with the command that does the same.

mod answer;
mod calls;
pub mod invitation;

pub use crate::bridge::conversation::sign_in_tool::invitation::{Invitation, ShownBy, Window};
use crate::{
    bridge::conversation::{
        event::{Action, Alarm, Need},
        failure::{Failure, Refusal},
        known::{Known, Reach, Shown},
        layer::{Layer, Signal, Step},
        reply::{self, Words},
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

/// The `requestState` of the calls that wait for a person (MCP 2026-07-28, "Multi Round-Trip Requests").
const STATE: &str = "finmcp-sign-in";

/// The key of the one question that they ask.
const KEY: &str = "sign_in";

/// The layer: who wants to sign in, and how far that is.
#[derive(Debug)]
pub struct SignIn {
    offer: Offer,
    progress: Progress,
    /// Which sign-in would help.
    need: Need,
    /// The calls that wait for it.
    calls: Calls,
    /// The capabilities that a legacy client declared.
    capabilities: String,
}

/// Whether a client may sign in from within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    Never,
    Open,
    /// The client is gone.
    Over,
}

/// How far a sign-in is.
#[derive(Debug, Default)]
enum Progress {
    /// None is under way.
    #[default]
    None,
    /// One has begun. Where a person does it is not known yet.
    Begun,
    /// It is open there.
    At(Invitation),
}

/// What a message has to do with signing in.
#[derive(Debug)]
pub enum Begin {
    /// This call needs a sign-in, where it was refused for this reason.
    For(Message, Option<String>),
    /// The client has shown the page for this call, and the person is signing in there.
    Wait(Message),
    /// It is answered so.
    Answer(Message),
    /// It is taken care of.
    Nothing,
}

impl SignIn {
    /// With the tool, or without.
    pub fn offered_if(offered: bool) -> Self {
        Self {
            offer: if offered { Offer::Open } else { Offer::Never },
            progress: Progress::None,
            need: Need::Any,
            calls: Calls::default(),
            capabilities: "{}".to_owned(),
        }
    }

    /// The name of the tool, where there is one.
    pub fn tool(&self) -> Option<&'static str> {
        (self.offer != Offer::Never).then_some(TOOL)
    }

    // What the client says.

    /// Takes a message of the client's that has to do with signing in: a call of the tool, an answer to a question of
    /// ours, or the end of its interest.
    fn take(&mut self, message: &Message, words: &Words, out: &mut Vec<Step>) -> Option<Begin> {
        if self.offer == Offer::Never {
            return None;
        }
        match &message.kind {
            Kind::Request { method, .. } if &**method == "tools/call" => {
                if is_for_tool(message) && message.member("requestState").is_none() {
                    return Some(Begin::For(message.clone(), None));
                }
                // Most calls are large or small, but none of them has this in it.
                memchr::memmem::find(message.raw(), STATE.as_bytes())?;
                (message.member("requestState")? == object::text(STATE)).then(|| self.come_back(message, words))
            }
            Kind::Response { id: Some(id), .. } => {
                let call = self.calls.replied(id)?;
                let result = message.result::<Object<'_>>();
                let is_accepted = result.is_some_and(|result| result.get("action") == Some("\"accept\""));
                if is_accepted && matches!(self.progress, Progress::At(_)) {
                    self.calls.go_on(call, out);
                    return Some(Begin::Nothing);
                }
                Some(self.decided(call.message, is_accepted, words))
            }
            Kind::Notification { method } if &**method == "notifications/cancelled" => {
                self.calls.cancel(&message.cancels()?).then_some(Begin::Nothing)
            }
            _ => None,
        }
    }

    /// A modern client comes back to a call, with its person's decision.
    fn come_back(&mut self, message: &Message, words: &Words) -> Begin {
        let answers = message.member("inputResponses").unwrap_or_default();
        let is_accepted = object::found(&answers, &[KEY, "action"]).is_some_and(|action| action == "\"accept\"");
        let call = message.clone().edited(|message| {
            message.edit("params", |members| members.remove(|name| matches!(name, "inputResponses" | "requestState")));
        });
        match (call, message.id()) {
            (Some(call), _) => self.decided(call, is_accepted, words),
            (None, Some(id)) => Begin::Answer(reply::untranslatable(id)),
            (None, None) => Begin::Nothing,
        }
    }

    fn decided(&self, call: Message, is_accepted: bool, words: &Words) -> Begin {
        match &self.progress {
            Progress::At(_) if is_accepted => Begin::Wait(call),
            // Some clients turn everything down that they do not show: the person may still want to.
            Progress::At(invitation) => Begin::Answer(answer::told(&call, None, invitation, words)),
            _ if is_accepted => Begin::For(call, None), // it may be over already
            _ => {
                let said = format!("Nobody signed in. To do so, run this in a terminal: {}", words.login_command);
                Begin::Answer(answer::text(&call, true, &said))
            }
        }
    }

    fn begin(&mut self, begin: Begin, known: &Known, out: &mut Vec<Step>) {
        match begin {
            Begin::For(call, reason) => {
                let action = self.want(&call);
                self.calls.begin(call, reason, out);
                out.extend(action.map(Step::Do));
                self.answer_calls(known, out);
            }
            Begin::Wait(call) => self.calls.wait(call, out),
            Begin::Answer(answer) => out.push(Step::Decline(answer)),
            Begin::Nothing => {}
        }
    }

    /// What is to be done for a call that needs a sign-in.
    ///
    /// A browser opens only for a call of the tool, which the user has asked for: an agent that is refused goes on calling
    /// while the user is away.
    fn want(&mut self, call: &Message) -> Option<Action> {
        let opens_browser = is_for_tool(call) && !self.shows_pages(call);
        match self.progress {
            Progress::None => {
                self.progress = Progress::Begun;
                let need = std::mem::replace(&mut self.need, Need::Any);
                Some(Action::SignIn(need, if opens_browser { ShownBy::Browser } else { ShownBy::Client }))
            }
            _ => opens_browser.then_some(Action::ShowSignIn),
        }
    }

    // Answers.

    /// Answers the calls that wait for an address, or asks their clients to open it.
    fn answer_calls(&mut self, known: &Known, out: &mut Vec<Step>) {
        let Progress::At(invitation) = &self.progress else { return };
        let invitation = invitation.clone();
        for (call, reason) in self.calls.take_begun() {
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
        if !self.shows_pages(message) {
            return Some(answer::told(message, reason, invitation, &known.words));
        }
        let said = format!("Sign in to {}.{}", known.words.title, invitation.instruction());
        let mut question = Object::default();
        question.set("mode", r#""url""#);
        question.set("message", object::text(&said));
        question.set("url", object::text(&invitation.address));
        match Era::of_message(message) {
            Era::Modern => {
                let request = format!(r#"{{"method":"elicitation/create","params":{question}}}"#);
                let result = format!(
                    r#"{{"resultType":"input_required","inputRequests":{{"{KEY}":{request}}},"requestState":"{STATE}"}}"#
                );
                Some(Message::response(message.id()?, &result))
            }
            Era::Legacy => {
                let id = known.numbers.next_id();
                question.set("elicitationId", id.to_string());
                self.calls.ask(id.clone(), call);
                Some(Message::request(id, "elicitation/create", &question.to_string()))
            }
        }
    }

    /// Whether the client of `call` can be asked to show a page (URL elicitation). A modern client says so in each request,
    /// a legacy one in its `initialize`.
    fn shows_pages(&self, call: &Message) -> bool {
        match Era::of_message(call) {
            Era::Modern => {
                let meta = call.member("_meta").unwrap_or_default();
                object::found(&meta, &[meta::CAPABILITIES, "elicitation", "url"]).is_some()
            }
            Era::Legacy => object::found(&self.capabilities, &["elicitation", "url"]).is_some(),
        }
    }

    /// The call of this alarm has waited long enough. It is answered, and not made when the user signs in after all; the
    /// sign-in itself stays open.
    fn woken(&mut self, alarm: u64, words: &Words) -> Option<Message> {
        let call = self.calls.out_of_patience(alarm)?;
        let invitation = if let Progress::At(invitation) = &self.progress { Some(invitation) } else { None };
        Some(answer::still_open(&call, invitation, words))
    }

    // The end of a sign-in.

    /// The user is signed in: the calls of the tool are answered, and the others made.
    fn done(&mut self, known: &mut Known, out: &mut Vec<Step>) {
        self.progress = Progress::None;
        let (of_tool, calls): (Vec<_>, Vec<_>) = self.calls.signed_in().into_iter().partition(is_for_tool);
        if known.reach == Reach::Open && known.shown == Shown::WithSignIn {
            known.shown = Shown::Own;
            out.push(Step::Tell(Signal::ToolsChanged));
        }
        out.extend(of_tool.into_iter().map(|call| match known.reach {
            // A client that hears that it is done looks for the tools: they come first.
            Reach::Away => Step::ToServer(call),
            _ => Step::Decline(answer::signed_in(&call, &known.words)),
        }));
        out.extend(calls.into_iter().map(|call| match call.attempts().admit(Reason::SignIn) {
            true => Step::Again(call),
            false => Step::Refuse(Refusal::unsent(call, Failure::TriedTooOften)),
        }));
    }

    /// The sign-in came to nothing, and so do the calls that waited for it.
    fn failed(&mut self, reason: &str, words: &Words, out: &mut Vec<Step>) {
        self.progress = Progress::None;
        let said = format!(
            "Nobody signed in to {}: {reason}. Or run this in a terminal: {}",
            words.title, words.login_command
        );
        let calls = self.calls.end().into_iter();
        out.extend(calls.map(|call| Step::Decline(answer::text(&call, true, &said))));
    }
}

impl Layer for SignIn {
    fn client_says(&mut self, message: Message, known: &mut Known, out: &mut Vec<Step>) -> Option<Message> {
        if message.method() == Some("initialize") {
            self.capabilities = message.member("capabilities").unwrap_or_else(|| "{}".to_owned());
            return Some(message);
        }
        match self.take(&message, &known.words, out) {
            Some(begin) => {
                self.begin(begin, known, out);
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
        // Another sign-in would not help what was sent again after one.
        let may_help = message.attempts().admits(Reason::SignIn);
        let list = match self.offer {
            Offer::Never if is_list => known.list_from_memory(message),
            Offer::Open if may_help => {
                if failure.is_signed_out() {
                    out.push(Step::Do(Action::Watch));
                }
                match message.method() {
                    Some("tools/call") => {
                        if !failure.is_signed_out() {
                            self.need = Need::Another;
                        }
                        let reason = failure.to_string();
                        self.begin(Begin::For(refusal.message, Some(reason)), known, out);
                        return None;
                    }
                    Some("tools/list") => {
                        known.shown = Shown::WithSignIn;
                        let remembered = known.remembered_tools();
                        answer::list(message, remembered.as_deref(), &known.words)
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

    fn hear(&mut self, signal: &Signal, known: &mut Known, out: &mut Vec<Step>) {
        match signal {
            Signal::SignInOffered(invitation) => {
                self.progress = Progress::At(invitation.clone());
                self.answer_calls(known, out);
            }
            Signal::SignedIn => self.done(known, out),
            Signal::SignInFailed(reason) => self.failed(reason, &known.words, out),
            Signal::Woken(Alarm::SignIn(alarm)) => {
                out.extend(self.woken(*alarm, &known.words).map(Step::Decline));
            }
            Signal::Closed => {
                if self.offer == Offer::Open {
                    self.offer = Offer::Over;
                }
                self.failed("the client has gone", &known.words, out);
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

    /// a16: what is between the client and finmcp alone does not go to the server.
    #[test]
    fn a16_a_return_that_cannot_be_edited_is_answered() {
        let words = Words { title: "T".to_owned(), login_command: "finmcp login t".to_owned() };
        let raw: &[u8] = b"{\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"n\",\"requestState\":\"finmcp-sign-in\",\"inputResponses\":{\"sign_in\":{\"action\":\"accept\"}}},\"x\":\"\xff\"}";
        let taken = SignIn::offered_if(true).take(&Message::parse(raw.into()).unwrap(), &words, &mut Vec::new());
        let Some(Begin::Answer(answer)) = taken else { panic!("{taken:?}") };
        assert_eq!((answer.id(), answer.error_code()), (Some(&Id::from_number(1)), Some(-32600)));
        // One that can be edited goes on, without it.
        let raw = [&raw[..raw.len() - 9], b"}"].concat();
        let taken = SignIn::offered_if(true).take(&Message::parse(raw.into()).unwrap(), &words, &mut Vec::new());
        let Some(Begin::For(call, None)) = taken else { panic!("{taken:?}") };
        assert_eq!(call.raw(), r#"{"id":1,"method":"tools/call","params":{"name":"n"}}"#.as_bytes());
    }
}
