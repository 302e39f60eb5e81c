//! The description of a legacy client that every modern request has to carry.

use serde_json::value::RawValue;

use crate::{
    conversation::description::Description,
    mcp::{
        id::Id,
        message::Message,
        meta,
        object::{self, Object},
        revision::MODERN,
        tasks,
    },
};

/// A client, as described in each request.
#[derive(Debug)]
pub struct Sender {
    version: String,
    /// The client's `clientInfo`, as the client wrote it.
    client: String,
    /// The requests that the client supports.
    pub capabilities: String,
    /// The log level that the client has set, as JSON.
    pub level: Option<String>,
}

impl Sender {
    /// The client that sent `initialize`, in front of the described server.
    pub fn new(initialize: &Message, server: &Description) -> Self {
        let raw = initialize.parameters::<Box<RawValue>>().unwrap_or_default();
        let parameters = Object::parse(raw.get()).unwrap_or_default();
        let member = |name| parameters.get(name).unwrap_or("{}").to_owned();
        let supported = server.supported_versions();
        let version = supported.iter().find(|version| *version == MODERN).or(supported.last());
        Self {
            version: version.cloned().unwrap_or_else(|| MODERN.to_owned()),
            client: member("clientInfo"),
            capabilities: tasks::without_tasks(&member("capabilities")),
            level: None,
        }
    }

    /// Adds to `message` the description of the client that every modern request carries. Returns none if the message
    /// cannot be edited.
    pub fn to_modern(&self, message: Message) -> Option<Message> {
        message.edited(|message| {
            message.edit("params", |parameters| parameters.edit("_meta", |meta| self.describe(meta)));
        })
    }

    /// A request of finmcp's own.
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
