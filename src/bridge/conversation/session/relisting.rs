//! Calls whose headers were not what the server's tools want: the tools are listed again, and the calls sent once more
//! (MCP 2026-07-28 transports, "Client Behavior").

use crate::{
    bridge::conversation::session::in_flight::Carried,
    mcp::{id::Id, message::Message, object::Object},
};

/// How many parts a list of tools may come in.
const PAGES_LIMIT: usize = 100;

/// The list that is under way, if any.
#[derive(Debug, Default)]
pub struct Relisting {
    list: Option<List>,
    count: u64,
}

#[derive(Debug)]
struct List {
    id: Id,
    /// What every part of the list is asked with.
    parameters: String,
    pages: usize,
    refused: Vec<Refused>,
}

/// A call that was refused, with the server's words.
#[derive(Debug)]
pub struct Refused {
    /// The call.
    pub call: Carried,
    /// The error that answers it, where nothing helps.
    pub error: Message,
}

/// What comes after a part of the list.
#[derive(Debug)]
pub enum Next {
    /// Another part is to be asked for.
    Part(Message),
    /// It was the last one: the calls are to be sent again.
    Send(Vec<Refused>),
}

impl Relisting {
    /// Whether no list is under way.
    pub fn is_idle(&self) -> bool {
        self.list.is_none()
    }

    /// Whether `id` is that of the list under way.
    pub fn is_own(&self, id: &Id) -> bool {
        self.list.as_ref().is_some_and(|list| list.id == *id)
    }

    /// The call was refused: it waits for the list, which may have to be asked for with this.
    pub fn add(&mut self, refused: Refused) -> Option<Message> {
        if let Some(list) = &mut self.list {
            list.refused.push(refused);
            return None;
        }
        let parameters =
            refused.call.message.member("_meta").map_or("{}".to_owned(), |meta| format!(r#"{{"_meta":{meta}}}"#));
        self.count += 1;
        let id = Id::named(&format!("finmcp-list-{}", self.count));
        let request = Message::request(id.clone(), "tools/list", &parameters);
        self.list = Some(List { id, parameters, pages: 1, refused: vec![refused] });
        Some(request)
    }

    /// The client does not want the call `id` answered any more. (It has been refused: it is not sent.)
    pub fn forget(&mut self, id: &Id) {
        if let Some(list) = &mut self.list {
            list.refused.retain(|refused| refused.call.message.id() != Some(id));
        }
    }

    /// A part of the list has come.
    pub fn listed(&mut self, part: &Message) -> Option<Next> {
        let list = self.list.as_mut()?;
        let cursor = part.result::<Object<'_>>().and_then(|result| result.get("nextCursor").map(str::to_owned));
        if let Some(cursor) = cursor.filter(|cursor| cursor != "null" && list.pages < PAGES_LIMIT) {
            list.pages += 1;
            let mut parameters = Object::parse(&list.parameters).unwrap_or_default();
            parameters.set("cursor", cursor);
            return Some(Next::Part(Message::request(list.id.clone(), "tools/list", &parameters.to_string())));
        }
        Some(Next::Send(self.end()))
    }

    /// No list comes, or no more of it: the calls that waited for it.
    pub fn end(&mut self) -> Vec<Refused> {
        self.list.take().map(|list| list.refused).unwrap_or_default()
    }
}
