//! The server's lists of tools: kept for when it cannot be asked, and cut to what the client may see.

use crate::bridge::conversation::{
    description::Description,
    event::Action,
    known::Known,
    layer::{Layer, Said, Step},
};

/// The layer: how far the list is that comes now.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum ToolList {
    /// What comes next is the beginning.
    #[default]
    Whole,
    /// It comes in parts, and there are more. Such a list is not kept.
    InParts,
}

impl Layer for ToolList {
    fn server_says(&mut self, said: Said, known: &mut Known, out: &mut Vec<Step>) -> Option<Said> {
        if said.method.as_deref() != Some("tools/list") {
            return Some(said);
        }
        let has_more = Description::is_part_of_list(&said.message);
        let before = std::mem::replace(self, if has_more { Self::InParts } else { Self::Whole });
        if before == Self::Whole
            && !has_more
            && let Some(server) = &mut known.server
            && server.learn_tools(&said.message)
        {
            out.push(Step::Do(Action::Remember(Box::new(server.clone()))));
        }
        Some(Said { message: known.policy.admit(said.message), ..said })
    }
}
