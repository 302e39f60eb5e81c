//! Who sends a legacy client's messages, as every modern request says it.

use serde_json::value::RawValue;

use crate::{
    bridge::conversation::description::Description,
    mcp::{
        id::Id,
        message::Message,
        meta,
        object::{self, Object},
        revision::MODERN,
        tasks,
    },
};

/// The client, as each request describes it.
#[derive(Debug)]
pub struct Sender {
    version: String,
    /// The client's `clientInfo` and `capabilities`, as it wrote them.
    client: String,
    /// What the client can be asked.
    pub capabilities: String,
    /// The level of the log that it wants, as JSON.
    pub level: Option<String>,
}

impl Sender {
    /// The client that said `initialize`, in front of the server that describes itself so.
    pub fn new(initialize: &Message, server: &Description) -> Self {
        let parameters = initialize.parameters::<Box<RawValue>>().unwrap_or_default();
        let hello = Object::parse(parameters.get()).unwrap_or_default();
        let member = |name| hello.get(name).unwrap_or("{}").to_owned();
        let supported = server.supported_versions();
        let version = supported.iter().find(|version| *version == MODERN).or(supported.last());
        Self {
            version: version.cloned().unwrap_or_else(|| MODERN.to_owned()),
            client: member("clientInfo"),
            capabilities: tasks::without_tasks(&member("capabilities")),
            level: None,
        }
    }

    /// A message as a modern client would send it: with what every request says about its sender. None where that cannot be
    /// said in it.
    pub fn modern(&self, message: Message) -> Option<Message> {
        message.edited(|message| {
            message.edit("params", |parameters| parameters.edit("_meta", |meta| self.describe(meta)));
        })
    }

    /// A request of ours.
    pub fn request(&self, id: Id, method: &str, mut parameters: Object<'_>) -> Message {
        parameters.edit("_meta", |meta| self.describe(meta));
        Message::request(id, method, &parameters.to_string())
    }

    fn describe(&self, meta: &mut Object<'_>) {
        meta.set(meta::VERSION, object::text(&self.version));
        meta.set(meta::CLIENT, self.client.clone());
        meta.set(meta::CAPABILITIES, self.capabilities.clone());
        if let Some(level) = &self.level {
            meta.set(meta::LOG_LEVEL, level.clone());
        }
    }
}
