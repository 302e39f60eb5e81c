//! What a call is answered that waits for a sign-in: results of tools, with a text for the reader.

use crate::{
    bridge::conversation::{
        description,
        reply::Words,
        sign_in_tool::invitation::{Invitation, Window},
    },
    mcp::{
        id::Id,
        message::Message,
        object::{self, Object},
        revision::Era,
    },
};

/// The name of the tool that signs in.
pub const TOOL: &str = "finmcp_sign_in";

/// Whether `call` is one of that tool.
pub fn is_for_tool(call: &Message) -> bool {
    call.member("name").is_some_and(|name| name == object::text(TOOL))
}

/// What `call` is answered: where to sign in. It was refused for `reason`, where that is known.
pub fn told(call: &Message, reason: Option<String>, invitation: &Invitation, words: &Words) -> Message {
    let title = &words.title;
    let place = if invitation.code.is_some() { "on any device" } else { "in a browser on this computer" };
    let reason = reason.map(|reason| format!("{title}: {reason}.\n\n")).unwrap_or_default();
    let (address, enter, elsewhere) = (&invitation.address, invitation.instruction(), elsewhere(words));
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
         {address}{enter}\n\n{elsewhere}\n\nAfter that the tools of {title} work."
    );
    text(call, !is_for_tool(call), &said)
}

/// What `call` is answered when it has waited long enough for a sign-in that is still open: where that is, if it is known.
pub fn still_open(call: &Message, invitation: Option<&Invitation>, words: &Words) -> Message {
    let title = &words.title;
    let page = invitation.map(|invitation| format!("{}\n{}", invitation.address, invitation.instruction()));
    let open = match page.as_deref().map(str::trim_end) {
        Some(page) => format!("The sign-in to {title} is still open. To sign in, open this address:\n\n{page}"),
        None => format!("The sign-in to {title} has begun, and its page is not there yet."),
    };
    let again = match is_for_tool(call) {
        true => format!("After that the tools of {title} work."),
        false => format!("This call was not sent to {title}: make it again after the sign-in."),
    };
    let said = format!("{open}\n\n{}\n\n{again}", elsewhere(words));
    text(call, !is_for_tool(call), &said)
}

/// How to sign in without this client.
fn elsewhere(words: &Words) -> String {
    let command = &words.login_command;
    format!(
        "Or run this in a terminal: {command}\n(If the page says that it does not know the client: {command} --force)"
    )
}

/// What `call`, a call of the tool, is answered when the user has signed in.
pub fn signed_in(call: &Message, words: &Words) -> Message {
    text(call, false, &format!("Signed in to {}. Its tools work now.", words.title))
}

/// A tool's result with a text for its reader (MCP tools, "Text Content").
pub fn text(call: &Message, is_error: bool, said: &str) -> Message {
    let mut result = Object::default();
    if Era::of_message(call) == Era::Modern {
        result.set("resultType", r#""complete""#);
    }
    result.set("content", format!(r#"[{{"type":"text","text":{}}}]"#, object::text(said)));
    result.set("isError", is_error.to_string());
    let id = call.id().cloned().unwrap_or_else(|| Id::own(0));
    Message::response(&id, &result.to_string())
}

/// The answer to `tools/list` as long as the user is signed out: what is known of the server's tools, and the one that
/// helps.
pub fn list(list: &Message, remembered: Option<&str>, words: &Words) -> Option<Message> {
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
