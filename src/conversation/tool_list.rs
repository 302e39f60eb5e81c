//! The server's list of tools: remembered for when it cannot be asked, and reduced to what the client may see.

use crate::conversation::{
    description::Description,
    event::Action,
    known::Known,
    layer::{Layer, ServerMessage, Step},
};

/// The layer that handles lists of tools, and how far the current list has come.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum ToolList {
    /// The next page is the first.
    #[default]
    Start,
    /// The first pages have come, and more will. A list in several pages is not remembered.
    InPages,
}

impl Layer for ToolList {
    fn server_sent(
        &mut self,
        incoming: ServerMessage,
        known: &mut Known,
        out: &mut Vec<Step>,
    ) -> Option<ServerMessage> {
        if incoming.method.as_deref() != Some("tools/list") {
            return Some(incoming);
        }
        let has_more = Description::is_part_of_list(&incoming.message);
        let before = std::mem::replace(self, if has_more { Self::InPages } else { Self::Start });
        if before == Self::Start
            && !has_more
            && let Some(server) = &mut known.server
            && server.learn_tools(&incoming.message)
        {
            out.push(Step::Do(Action::Remember(Box::new(server.clone()))));
        }
        Some(ServerMessage { message: known.policy.filter_list(incoming.message), ..incoming })
    }
}
