//! Translates messages between a client of one era and a server of the other. If both speak the same era, nothing
//! changes.

pub mod legacy_client;
mod lists;
mod log_level;
pub mod modern_client;
#[cfg(test)]
mod tests;

use crate::{
    conversation::{
        event::Alarm,
        failure::Refusal,
        known::Known,
        layer::{Layer, ServerMessage, Signal, Step},
        translate::{legacy_client::LegacyClient, modern_client::ModernClient},
    },
    mcp::{message::Message, revision::Era},
};

/// The layer that translates.
#[derive(Debug, Default)]
pub enum Translation {
    /// Both speak the same era, or the server's era is not known yet.
    #[default]
    None,
    /// The client is legacy, the server modern.
    ForLegacyClient(Box<LegacyClient>),
    /// The client is modern, the server legacy.
    ForModernClient(Box<ModernClient>),
}

impl Translation {
    /// The server has described itself, in the negotiation that the client's message `hello` started.
    fn begin(&mut self, opening: &Message, known: &Known, out: &mut Vec<Step>) {
        let Some(server) = &known.server else { return };
        *self = match (known.client, server.era) {
            (Era::Legacy, Era::Modern) => {
                Self::ForLegacyClient(Box::new(LegacyClient::new(opening, server, known.request_ids.clone())))
            }
            (Era::Modern, Era::Legacy) => {
                out.push(Step::ToServer(Message::notification("notifications/initialized", "{}")));
                Self::ForModernClient(Box::new(ModernClient::new(server.clone(), known.request_ids.clone())))
            }
            _ => Self::None,
        };
    }

    fn close(&mut self, out: &mut Vec<Step>) {
        match self {
            Self::None => {}
            Self::ForLegacyClient(client) => client.closed(out),
            Self::ForModernClient(client) => client.closed(out),
        }
    }
}

impl Layer for Translation {
    fn client_sent(&mut self, message: Message, _known: &mut Known, out: &mut Vec<Step>) -> Option<Message> {
        match self {
            Self::None => return Some(message),
            Self::ForLegacyClient(client) => client.client_sent(message, out),
            Self::ForModernClient(client) => client.client_sent(message, out),
        }
        None
    }

    fn server_sent(
        &mut self,
        incoming: ServerMessage,
        _known: &mut Known,
        out: &mut Vec<Step>,
    ) -> Option<ServerMessage> {
        match self {
            Self::None => return Some(incoming),
            Self::ForLegacyClient(client) => client.server_sent(incoming.message, out),
            Self::ForModernClient(client) => client.server_sent(incoming.message, incoming.within, out),
        }
        None
    }

    fn refused(&mut self, refusal: Refusal, _known: &mut Known, out: &mut Vec<Step>) -> Option<Refusal> {
        match self {
            Self::None => return Some(refusal),
            Self::ForLegacyClient(client) => client.refused(refusal, out),
            Self::ForModernClient(client) => client.refused(refusal, out),
        }
        None
    }

    fn observe(&mut self, signal: &Signal, known: &mut Known, out: &mut Vec<Step>) {
        match (signal, &mut *self) {
            (Signal::Restarted, _) => {
                self.close(out);
                *self = Self::None;
            }
            (Signal::Identified(opening), _) => self.begin(opening, known, out),
            (Signal::Closed, _) => self.close(out),
            (Signal::ToolsChanged, Self::ForModernClient(client)) => {
                let changed = Message::notification("notifications/tools/list_changed", "{}");
                client.server_sent(changed, None, out);
            }
            (Signal::Woken(Alarm::Subscription), Self::ForLegacyClient(client)) => client.woken(out),
            _ => {}
        }
    }
}
