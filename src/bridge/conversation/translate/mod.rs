//! Between a client of one era and a server of the other: each message in the other's terms. Where both speak the same,
//! nothing is changed.

pub mod legacy_client;
mod lists;
mod log_level;
pub mod modern_client;
#[cfg(test)]
mod tests;

use crate::{
    bridge::conversation::{
        event::Alarm,
        failure::Refusal,
        known::Known,
        layer::{Layer, Said, Signal, Step},
        translate::{legacy_client::LegacyClient, modern_client::ModernClient},
    },
    mcp::{message::Message, revision::Era},
};

/// The layer.
#[derive(Debug, Default)]
pub enum Translation {
    /// Both speak the same, or it is not known yet what the server speaks.
    #[default]
    None,
    /// The client is legacy, the server modern.
    ForLegacyClient(Box<LegacyClient>),
    /// The client is modern, the server legacy.
    ForModernClient(Box<ModernClient>),
}

impl Translation {
    /// The server has said who it is to the client that opened with `hello`.
    fn begin(&mut self, hello: &Message, known: &Known, out: &mut Vec<Step>) {
        let Some(server) = &known.server else { return };
        *self = match (known.client, server.era) {
            (Era::Legacy, Era::Modern) => {
                Self::ForLegacyClient(Box::new(LegacyClient::new(hello, server, known.numbers.clone())))
            }
            (Era::Modern, Era::Legacy) => {
                out.push(Step::ToServer(Message::notification("notifications/initialized", "{}")));
                Self::ForModernClient(Box::new(ModernClient::new(server.clone(), known.numbers.clone())))
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
    fn client_says(&mut self, message: Message, _known: &mut Known, out: &mut Vec<Step>) -> Option<Message> {
        match self {
            Self::None => return Some(message),
            Self::ForLegacyClient(client) => client.client(message, out),
            Self::ForModernClient(client) => client.client(message, out),
        }
        None
    }

    fn server_says(&mut self, said: Said, _known: &mut Known, out: &mut Vec<Step>) -> Option<Said> {
        match self {
            Self::None => return Some(said),
            Self::ForLegacyClient(client) => client.server(said.message, out),
            Self::ForModernClient(client) => client.server(said.message, said.within, out),
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

    fn hear(&mut self, signal: &Signal, known: &mut Known, out: &mut Vec<Step>) {
        match (signal, &mut *self) {
            (Signal::Begun, _) => {
                self.close(out);
                *self = Self::None;
            }
            (Signal::Known(hello), _) => self.begin(hello, known, out),
            (Signal::Closed, _) => self.close(out),
            (Signal::ToolsChanged, Self::ForModernClient(client)) => {
                let changed = Message::notification("notifications/tools/list_changed", "{}");
                client.server(changed, None, out);
            }
            (Signal::Woken(Alarm::Subscription), Self::ForLegacyClient(client)) => client.woken(out),
            _ => {}
        }
    }
}
