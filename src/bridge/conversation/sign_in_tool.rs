//! Signing in from within a client: a tool of finmcp's own, and the address where a person does it.
//!
//! Where the client can open an address for its person, it is asked to (URL elicitation: MCP 2025-11-25 and 2026-07-28
//! elicitation, "URL Mode"); everywhere else the address is in the result of the call, with the command that does the same.

use std::time::Duration;

use crate::{
    bridge::conversation::{
        description,
        reply::{self, Words},
        translate::Numbers,
    },
    mcp::{
        id::Id,
        message::{Kind, Message},
        meta,
        object::{self, Object},
        revision::Era,
    },
};

/// The tool's name.
pub const TOOL: &str = "finmcp_sign_in";

/// The `requestState` of the calls that wait for a person (MCP 2026-07-28, "Multi Round-Trip Requests").
const STATE: &str = "finmcp-sign-in";

/// The key of the one question that they ask.
const KEY: &str = "sign_in";

/// How long a call waits for a person to sign in: many clients give a call up after 60 s, and say nothing of what helps.
pub const PATIENCE: Duration = Duration::from_secs(50);

/// Where a person signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The address to open.
    pub address: String,
    /// The code to enter there, where there is one (RFC 8628 section 3.3).
    pub code: Option<String>,
    /// Whether a browser shows it already.
    pub window: Window,
}

/// A browser on this machine that shows the page, besides what the client shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// None was opened.
    None,
    /// This process opened one.
    Opened,
    /// Another finmcp process has one open for the same sign-in.
    OpenedByAnother,
}

/// Who shows the page of a sign-in to the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShownBy {
    /// The client: by URL elicitation, or in the result of the call.
    Client,
    /// A browser, where there is one.
    Browser,
}

/// What is to be done for a call that needs somebody to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A sign-in is to be begun.
    SignIn(ShownBy),
    /// The page of the one under way is to be shown in a browser, too.
    Browser,
    /// The one under way will do.
    Nothing,
}

impl Invitation {
    /// What to do there, besides signing in.
    fn instruction(&self) -> String {
        self.code.as_ref().map(|code| format!("\n\nEnter the code {code} there.")).unwrap_or_default()
    }
}

/// Whoever wants to sign in, and how far that is.
#[derive(Debug, Default)]
pub struct SignIn {
    offered: bool,
    /// A sign-in is under way, and can be done there once that is known.
    under_way: bool,
    invitation: Option<Invitation>,
    /// The calls that wait for the address, and what they were refused for.
    calls: Vec<(Call, Option<String>)>,
    /// The calls whose client has been asked to open it, with the ids of those requests.
    asked: Vec<(Id, Call)>,
    /// The calls whose person is signing in.
    waiting: Vec<Call>,
    /// The tool is in a list that the client has.
    listed: bool,
    /// How many alarms were set.
    alarms: u64,
    /// The alarms that the stack has not been asked for yet.
    unset: Vec<u64>,
}

/// A call that waits for a sign-in.
#[derive(Debug)]
struct Call {
    message: Message,
    patience: Patience,
}

/// How long the client of a call has waited for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Not long: this alarm tells when it has.
    Until(u64),
    /// Long, with a question in front of its person. A client that gives up has said so by now: this one is patient.
    Proven,
}

/// What a message has to do with signing in.
#[derive(Debug)]
pub enum Begin {
    /// This call wants somebody to sign in, where it was refused for this reason.
    For(Message, Option<String>),
    /// It is answered so.
    Answer(Message),
    /// It is taken care of.
    Nothing,
}

impl SignIn {
    /// With the tool, or without.
    pub fn offered_if(offered: bool) -> Self {
        Self { offered, ..Self::default() }
    }

    /// Whether a client may sign in from within.
    pub fn is_offered(&self) -> bool {
        self.offered
    }

    /// How many bytes of calls wait for a person.
    pub fn bytes(&self) -> usize {
        let calls = self.calls.iter().map(|(call, _)| call).chain(self.asked.iter().map(|(_, call)| call));
        calls.chain(&self.waiting).map(|call| call.message.raw().len()).sum()
    }

    /// Takes a message of the client's that has to do with signing in: a call of the tool, an answer to a question of
    /// ours, or the end of somebody's interest.
    pub fn take(&mut self, message: &Message, words: &Words) -> Option<Begin> {
        if !self.offered {
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
                let position = self.asked.iter().position(|(asked, _)| asked == id)?;
                let (_, call) = self.asked.remove(position);
                let result = message.result::<Object<'_>>();
                let is_accepted = result.is_some_and(|result| result.get("action") == Some("\"accept\""));
                Some(self.decided(call, is_accepted, words))
            }
            Kind::Notification { method } if &**method == "notifications/cancelled" => {
                let id = message.cancels()?;
                let before = self.calls.len() + self.asked.len() + self.waiting.len();
                self.calls.retain(|(call, _)| call.message.id() != Some(&id));
                self.asked.retain(|(_, call)| call.message.id() != Some(&id));
                self.waiting.retain(|call| call.message.id() != Some(&id));
                (before > self.calls.len() + self.asked.len() + self.waiting.len()).then_some(Begin::Nothing)
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
            (Some(call), _) => {
                let call = self.impatient(call);
                self.decided(call, is_accepted, words)
            }
            (None, Some(id)) => Begin::Answer(reply::untranslatable(id)),
            (None, None) => Begin::Nothing,
        }
    }

    fn decided(&mut self, call: Call, is_accepted: bool, words: &Words) -> Begin {
        let message = &call.message;
        match &self.invitation {
            Some(_) if is_accepted => {
                let call = if call.patience == Patience::Proven { self.impatient(call.message) } else { call };
                self.waiting.push(call);
                Begin::Nothing
            }
            // Some clients turn everything down that they do not show: the person may still want to.
            Some(invitation) => Begin::Answer(told(message, None, invitation, words)),
            None if is_accepted => Begin::For(call.message, None), // it may be over already
            None => {
                let said = format!("Nobody signed in. To do so, run this in a terminal: {}", words.login_command);
                Begin::Answer(text_result(message, true, &said))
            }
        }
    }

    /// A call that is not to wait for longer than [`PATIENCE`] from now on.
    fn impatient(&mut self, message: Message) -> Call {
        self.alarms += 1;
        self.unset.push(self.alarms);
        Call { message, patience: Patience::Until(self.alarms) }
    }

    /// The alarms to be set now: [`SignIn::woken`] is to be called with each after [`PATIENCE`].
    pub fn alarms(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.unset)
    }

    /// The call of this alarm has waited long enough. It is answered, and not made when somebody signs in after all; the
    /// sign-in itself stays open.
    pub fn woken(&mut self, alarm: u64, words: &Words) -> Option<Message> {
        let patience = Patience::Until(alarm);
        // While the client asks its person it is not answered over their heads.
        self.asked.iter_mut().filter(|(_, call)| call.patience == patience).for_each(|(_, call)| {
            call.patience = Patience::Proven;
        });
        let waiting = self.waiting.extract_if(.., |call| call.patience == patience);
        let begun = self.calls.extract_if(.., |(call, _)| call.patience == patience).map(|(call, _)| call);
        let call = waiting.chain(begun).next()?.message;
        Some(still_open(&call, self.invitation.as_ref(), words))
    }

    /// The call `call` needs somebody to sign in, since it was refused for `reason`. What is to be done for that.
    ///
    /// A browser opens only for a call of the tool, which somebody has asked for: an agent that is refused goes on calling
    /// while nobody is there.
    pub fn wanted(&mut self, call: Message, reason: Option<String>, capabilities: &str) -> Wanted {
        let opens_browser = is_for_tool(&call) && !shows_pages(&call, capabilities);
        let call = self.impatient(call);
        self.calls.push((call, reason));
        let shown_by = if opens_browser { ShownBy::Browser } else { ShownBy::Client };
        match (std::mem::replace(&mut self.under_way, true), shown_by) {
            (false, shown_by) => Wanted::SignIn(shown_by),
            (true, ShownBy::Browser) => Wanted::Browser,
            (true, ShownBy::Client) => Wanted::Nothing,
        }
    }

    /// The sign-in that is under way can be done there.
    pub fn offered(&mut self, invitation: Invitation) {
        self.invitation = Some(invitation);
    }

    /// What the calls that wait for an address are answered, or their clients asked.
    pub fn answers(&mut self, capabilities: &str, words: &Words, numbers: &Numbers) -> Vec<Message> {
        let Some(invitation) = self.invitation.clone() else { return Vec::new() };
        let calls = std::mem::take(&mut self.calls);
        calls
            .into_iter()
            .filter_map(|(call, reason)| self.answer(call, reason, &invitation, capabilities, words, numbers))
            .collect()
    }

    fn answer(
        &mut self,
        call: Call,
        reason: Option<String>,
        invitation: &Invitation,
        capabilities: &str,
        words: &Words,
        numbers: &Numbers,
    ) -> Option<Message> {
        let mut question = Object::default();
        question.set("mode", r#""url""#);
        question.set("message", object::text(&format!("Sign in to {}.{}", words.title, invitation.instruction())));
        question.set("url", object::text(&invitation.address));
        let message = &call.message;
        if !shows_pages(message, capabilities) {
            return Some(told(message, reason, invitation, words));
        }
        match Era::spoken(message) {
            Era::Modern => {
                let request = format!(r#"{{"method":"elicitation/create","params":{question}}}"#);
                let result = format!(
                    r#"{{"resultType":"input_required","inputRequests":{{"{KEY}":{request}}},"requestState":"{STATE}"}}"#
                );
                Some(Message::response(message.id()?, &result))
            }
            Era::Legacy => {
                let id = numbers.next_id();
                question.set("elicitationId", id.to_string());
                self.asked.push((id.clone(), call));
                Some(Message::request(id, "elicitation/create", &question.to_string()))
            }
        }
    }

    /// Somebody is signed in: the calls of the tool, and the calls that can be made now.
    pub fn done(&mut self) -> (Vec<Message>, Vec<Message>) {
        (self.under_way, self.invitation) = (false, None);
        let calls = self.calls.drain(..).map(|(call, _)| call).chain(self.waiting.drain(..));
        calls.map(|call| call.message).partition(is_for_tool)
    }

    /// The sign-in came to nothing: what the calls that waited for it are answered.
    pub fn failed(&mut self, reason: &str, words: &Words) -> Vec<Message> {
        (self.under_way, self.invitation) = (false, None);
        let said = format!(
            "Nobody signed in to {}: {reason}. Or run this in a terminal: {}",
            words.title, words.login_command
        );
        let asked = self.asked.drain(..).map(|(_, call)| call);
        let calls = self.calls.drain(..).map(|(call, _)| call).chain(self.waiting.drain(..)).chain(asked);
        calls.map(|call| text_result(&call.message, true, &said)).collect()
    }

    /// The answer to `tools/list` as long as nobody is signed in: what is known of the server's tools, and the one that
    /// helps.
    pub fn list(&mut self, list: &Message, remembered: Option<&str>, words: &Words) -> Option<Message> {
        self.listed = true;
        let mut tool = Object::default();
        let said = format!(
            "Nobody is signed in to {}. Call this to open the page where a person signs in, or to get its address; the other \
             tools work after that.",
            words.title
        );
        tool.set("name", object::text(TOOL));
        tool.set("title", object::text(&format!("Sign in to {}", words.title)));
        tool.set("description", object::text(&said));
        tool.set("inputSchema", r#"{"type":"object","properties":{}}"#);
        tool.set("annotations", r#"{"readOnlyHint":false,"destructiveHint":false,"openWorldHint":true}"#);
        let mut result = description::listed(list, remembered);
        let known = result.get("tools").and_then(|tools| tools.trim().strip_suffix(']')).unwrap_or("[").to_owned();
        let comma = if known.trim_end().ends_with('[') { "" } else { "," };
        result.set("tools", format!("{known}{comma}{tool}]"));
        Some(Message::response(list.id()?, &result.to_string()))
    }

    /// Whether the client has a list with the tool in it, which is not so any more once this has been asked.
    pub fn was_listed(&mut self) -> bool {
        std::mem::take(&mut self.listed)
    }
}

/// Whether the client of `call` can be asked to show a page (URL elicitation). A modern client says so in each request, a
/// legacy one in its `initialize`.
fn shows_pages(call: &Message, capabilities: &str) -> bool {
    match Era::spoken(call) {
        Era::Modern => {
            let meta = call.member("_meta").unwrap_or_default();
            object::found(&meta, &[meta::CAPABILITIES, "elicitation", "url"]).is_some()
        }
        Era::Legacy => object::found(capabilities, &["elicitation", "url"]).is_some(),
    }
}

fn is_for_tool(call: &Message) -> bool {
    call.member("name").is_some_and(|name| name == object::text(TOOL))
}

/// What `call` is answered: where to sign in. It was refused for `reason`, where that is known.
fn told(call: &Message, reason: Option<String>, invitation: &Invitation, words: &Words) -> Message {
    let Words { title, login_command } = words;
    let place = if invitation.code.is_some() { "on any device" } else { "in a browser on this computer" };
    let reason = reason.map(|reason| format!("{title}: {reason}.\n\n")).unwrap_or_default();
    let (address, enter) = (&invitation.address, invitation.instruction());
    let open = match invitation.window {
        Window::None => format!("To sign in to {title}, open this address {place}"),
        Window::Opened => {
            format!(
                "A browser window was opened to sign in to {title}. If you do not see it, open this address {place}"
            )
        }
        Window::OpenedByAnother => format!(
            "A browser window is open already to sign in to {title}, for another client. If you do not see it, open this \
             address {place}"
        ),
    };
    let said = format!(
        "{reason}{open}, and leave this client running until that is done:\n\n\
         {address}{enter}\n\nOr run this in a terminal: {login_command}\n\nAfter that the tools of {title} work."
    );
    text_result(call, !is_for_tool(call), &said)
}

/// What `call` is answered when it has waited long enough for a sign-in that is still open: where that is, if it is known.
fn still_open(call: &Message, invitation: Option<&Invitation>, words: &Words) -> Message {
    let Words { title, login_command } = words;
    let page = invitation.map(|invitation| format!("{}\n{}", invitation.address, invitation.instruction()));
    let open = match page.as_deref().map(str::trim_end) {
        Some(page) => format!("The sign-in to {title} is still open. To sign in, open this address:\n\n{page}"),
        None => format!("The sign-in to {title} has begun, and its page is not there yet."),
    };
    let again = match is_for_tool(call) {
        true => format!("After that the tools of {title} work."),
        false => format!("This call was not sent to {title}: make it again after the sign-in."),
    };
    let said = format!("{open}\n\nOr run this in a terminal: {login_command}\n\n{again}");
    text_result(call, !is_for_tool(call), &said)
}

/// What `call`, a call of the tool, is answered when somebody has signed in.
pub fn signed_in(call: &Message, words: &Words) -> Message {
    text_result(call, false, &format!("Signed in to {}. Its tools work now.", words.title))
}

/// A tool's result with a text for its reader (MCP tools, "Text Content").
fn text_result(call: &Message, is_error: bool, said: &str) -> Message {
    let mut result = Object::default();
    if Era::spoken(call) == Era::Modern {
        result.set("resultType", r#""complete""#);
    }
    result.set("content", format!(r#"[{{"type":"text","text":{}}}]"#, object::text(said)));
    result.set("isError", is_error.to_string());
    let id = call.id().cloned().unwrap_or_else(|| Id::ours(0));
    Message::response(&id, &result.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// a16: what is between the client and finmcp alone does not go to the server.
    #[test]
    fn a16_a_return_that_cannot_be_edited_is_answered() {
        let words = Words { title: "T".to_owned(), login_command: "finmcp login t".to_owned() };
        let raw: &[u8] = b"{\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"n\",\"requestState\":\"finmcp-sign-in\",\"inputResponses\":{\"sign_in\":{\"action\":\"accept\"}}},\"x\":\"\xff\"}";
        let taken = SignIn::offered_if(true).take(&Message::parse(raw.into()).unwrap(), &words);
        let Some(Begin::Answer(answer)) = taken else { panic!("{taken:?}") };
        assert_eq!((answer.id(), answer.error_code()), (Some(&Id::from_number(1)), Some(-32600)));
        // One that can be edited goes on, without it.
        let raw = [&raw[..raw.len() - 9], b"}"].concat();
        let taken = SignIn::offered_if(true).take(&Message::parse(raw.into()).unwrap(), &words);
        let Some(Begin::For(call, None)) = taken else { panic!("{taken:?}") };
        assert_eq!(call.raw(), r#"{"id":1,"method":"tools/call","params":{"name":"n"}}"#.as_bytes());
    }
}
