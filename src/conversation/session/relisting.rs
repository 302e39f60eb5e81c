//! Calls whose headers did not match the server's tools: lists the tools again and sends the calls once more (MCP
//! 2026-07-28 transports, "Client Behavior").

use crate::{
    conversation::session::in_flight::Carried,
    mcp::{id::Id, message::Message, object::Object},
};

/// How many pages a list of tools may have.
const PAGES_LIMIT: usize = 100;

/// The list in progress, if any.
#[derive(Debug, Default)]
pub struct Relisting {
    list: Option<List>,
    count: u64,
}

#[derive(Debug)]
struct List {
    id: Id,
    /// The parameters of every request for the list, apart from the cursor.
    parameters: String,
    pages: usize,
    refused: Vec<RefusedCall>,
}

/// A refused call, with the server's error.
#[derive(Debug)]
pub struct RefusedCall {
    pub call: Carried,
    /// The response to it, unless sending it again helps.
    pub error: Message,
}

/// What to do after a page of the list.
#[derive(Debug)]
pub enum Next {
    /// Request the next page.
    Page(Message),
    /// That was the last page: send the calls again.
    Send(Vec<RefusedCall>),
}

impl Relisting {
    /// Whether no list is in progress.
    pub fn is_idle(&self) -> bool {
        self.list.is_none()
    }

    /// Whether `id` is the request for the list in progress.
    pub fn owns(&self, id: &Id) -> bool {
        self.list.as_ref().is_some_and(|list| list.id == *id)
    }

    /// Lets a refused call wait for the list. Returns the request for the list, unless that is in progress.
    pub fn add(&mut self, refused: RefusedCall) -> Option<Message> {
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

    /// The client has cancelled the call `id`, which waits here.
    pub fn forget(&mut self, id: &Id) {
        if let Some(list) = &mut self.list {
            list.refused.retain(|refused| refused.call.message.id() != Some(id));
        }
    }

    /// A page of the list has come.
    pub fn listed(&mut self, page: &Message) -> Option<Next> {
        let list = self.list.as_mut()?;
        let cursor = page.result::<Object<'_>>().and_then(|result| result.get("nextCursor").map(str::to_owned));
        if let Some(cursor) = cursor.filter(|cursor| cursor != "null" && list.pages < PAGES_LIMIT) {
            list.pages += 1;
            let mut parameters = Object::parse(&list.parameters).unwrap_or_default();
            parameters.set("cursor", cursor);
            return Some(Next::Page(Message::request(list.id.clone(), "tools/list", &parameters.to_string())));
        }
        Some(Next::Send(self.end()))
    }

    /// Ends the list; returns the calls that waited for it.
    pub fn end(&mut self) -> Vec<RefusedCall> {
        self.list.take().map(|list| list.refused).unwrap_or_default()
    }
}
