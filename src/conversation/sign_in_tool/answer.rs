//! Responses to calls that wait for a sign-in: tool results with a text for the reader.

use crate::{
    conversation::{
        description,
        reply::ServerLabels,
        sign_in_tool::invitation::{Invitation, Window},
    },
    mcp::{
        id::Id,
        message::Message,
        object::{self, Object},
        revision::Era,
    },
};

/// The name of finmcp's sign-in tool.
pub const TOOL: &str = "finmcp_sign_in";

pub fn is_for_tool(call: &Message) -> bool {
    call.member("name").is_some_and(|name| name == object::text(TOOL))
}

/// The response to `call` that says where to sign in, and why the server refused the call if that is known.
pub fn where_to_sign_in(
    call: &Message,
    reason: Option<String>,
    invitation: &Invitation,
    labels: &ServerLabels,
) -> Message {
    let title = &labels.title;
    let place = if invitation.code.is_some() { "on any device" } else { "in a browser on this computer" };
    let reason = reason.map(|reason| format!("{title}: {reason}.\n\n")).unwrap_or_default();
    let (address, enter, elsewhere) = (&invitation.address, invitation.instruction(), elsewhere(labels));
    let open = match invitation.window {
        Window::None => format!("To sign in to {title}, open this address {place}"),
        Window::Opened => {
            format!(
                "A browser window was opened to sign in to {title}. If you do not see it, open this address {place}"
            )
        }
        Window::OpenedByAnother => format!(
            "Another client has already opened a browser window to sign in to {title}. If you do not see it, open this \
             address {place}"
        ),
    };
    let content = format!(
        "{reason}{open}. Keep this client running until you have signed in:\n\n\
         {address}{enter}\n\n{elsewhere}\n\nThe tools of {title} will work after that."
    );
    text(call, !is_for_tool(call), &content)
}

/// The response to `call` when it has waited long enough for a sign-in; with the page, if that is known.
pub fn still_open(call: &Message, invitation: Option<&Invitation>, labels: &ServerLabels) -> Message {
    let title = &labels.title;
    let page = invitation.map(|invitation| format!("{}\n{}", invitation.address, invitation.instruction()));
    let open = match page.as_deref().map(str::trim_end) {
        Some(page) => format!("The sign-in to {title} is still open. To sign in, open this address:\n\n{page}"),
        None => format!("The sign-in to {title} has started, but its page is not ready yet."),
    };
    let again = match is_for_tool(call) {
        true => format!("The tools of {title} will work after that."),
        false => format!("This call was not sent to {title}: repeat it after signing in."),
    };
    let content = format!("{open}\n\n{}\n\n{again}", elsewhere(labels));
    text(call, !is_for_tool(call), &content)
}

/// How to sign in without this client.
fn elsewhere(labels: &ServerLabels) -> String {
    let command = &labels.login_command;
    format!("Or run this in a terminal: {command}\n(If the page says that the client is unknown: {command} --force)")
}

/// The response to `call`, a call of the sign-in tool, after the sign-in.
pub fn signed_in(call: &Message, labels: &ServerLabels) -> Message {
    text(call, false, &format!("Signed in to {}. Its tools work now.", labels.title))
}

/// A tool result that consists of a text (MCP tools, "Text Content").
pub fn text(call: &Message, is_error: bool, content: &str) -> Message {
    let mut result = Object::default();
    if Era::of_message(call) == Era::Modern {
        result.set("resultType", r#""complete""#);
    }
    result.set("content", format!(r#"[{{"type":"text","text":{}}}]"#, object::text(content)));
    result.set("isError", is_error.to_string());
    let id = call.id().cloned().unwrap_or_else(|| Id::own(0));
    Message::response(&id, &result.to_string())
}

/// The response to `tools/list` while the user is signed out: the server's remembered tools, and the sign-in tool.
pub fn list(list: &Message, remembered: Option<&str>, labels: &ServerLabels) -> Option<Message> {
    let mut tool = Object::default();
    let content = format!(
        "The user is not signed in to {}. Call this to open the sign-in page, or to learn its address or the command \
         that signs in; the other tools will work after that.",
        labels.title
    );
    tool.set("name", object::text(TOOL));
    tool.set("title", object::text(&format!("Sign in to {}", labels.title)));
    tool.set("description", object::text(&content));
    tool.set("inputSchema", r#"{"type":"object","properties":{}}"#);
    tool.set("annotations", r#"{"readOnlyHint":false,"destructiveHint":false,"openWorldHint":true}"#);
    let mut result = description::listed(list, remembered);
    let known = result.get("tools").and_then(|tools| tools.trim().strip_suffix(']')).unwrap_or("[").to_owned();
    let comma = if known.trim_end().ends_with('[') { "" } else { "," };
    result.set("tools", format!("{known}{comma}{tool}]"));
    Some(Message::response(list.id()?, &result.to_string()))
}
