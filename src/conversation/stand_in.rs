//! Responds to the client in place of a server that cannot be asked: with its description, its remembered tools, and
//! acknowledgements of subscriptions.

use crate::{
    conversation::{
        acknowledged::{Acknowledged, wants_tools},
        failure::Refusal,
        known::{Known, ServerAvailability, ShownTools},
        layer::{Comparison, Layer, ServerMessage, Signal, Step},
        session::SUBSCRIBE,
    },
    mcp::{
        message::{Kind, Message},
        meta::SUBSCRIPTION_ID,
        revision::Era,
    },
};

/// How many subscriptions finmcp acknowledges for a server that cannot be asked; further ones wait.
const SUBSCRIPTIONS_LIMIT: usize = 1000;

/// The notification of changed tools.
const CHANGED: &str = "notifications/tools/list_changed";

/// The layer that stands in for the server.
#[derive(Debug, Default)]
pub struct StandIn {
    /// The requests for acknowledged subscriptions, to be sent once the server can be asked.
    subscriptions: Vec<Message>,
    acknowledged: Acknowledged,
    readiness: ClientReadiness,
}

/// Whether a legacy client can receive notifications.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum ClientReadiness {
    /// Its handshake is not complete.
    #[default]
    InHandshake,
    /// It has completed the handshake.
    Ready,
}

impl StandIn {
    /// Ends the subscriptions that the server does not know.
    fn end_subscriptions(&mut self, out: &mut Vec<Step>) {
        let early = self.subscriptions.drain(..);
        let early = early.filter_map(|message| Some(Message::end_of_subscription(message.id()?)));
        out.extend(self.acknowledged.close().into_iter().chain(early).map(Step::ToClient));
    }

    /// The server can be asked: sends it the subscriptions, and notifies the client if its tools have changed.
    fn server_ready(&mut self, comparison: Comparison, known: &mut Known, out: &mut Vec<Step>) {
        let listens = known.client == Era::Legacy || self.subscriptions.iter().any(wants_tools);
        out.extend(self.subscriptions.drain(..).map(Step::Resubmit));
        let shown = match comparison {
            Comparison::Unknown => return,
            _ => std::mem::replace(&mut known.shown, ShownTools::Own),
        };
        let is_other = match comparison {
            Comparison::Unknown | Comparison::FirstHand => false,
            Comparison::Same => shown == ShownTools::Remembered,
            Comparison::Different => true,
        };
        if shown == ShownTools::WithSignIn || (listens && is_other) {
            out.push(Step::Signal(Signal::ToolsChanged));
        }
    }

    fn tools_changed(&self, known: &Known, out: &mut Vec<Step>) {
        match known.client {
            Era::Legacy if self.readiness == ClientReadiness::Ready => {
                out.push(Step::ToClient(Message::notification(CHANGED, "{}")));
            }
            Era::Legacy => {}
            Era::Modern => out.extend(self.acknowledged.kept().map(|id| {
                let parameters = format!(r#"{{"_meta":{{"{SUBSCRIPTION_ID}":{id}}}}}"#);
                Step::ToClient(Message::notification(CHANGED, &parameters))
            })),
        }
    }
}

impl Layer for StandIn {
    fn client_sent(&mut self, message: Message, known: &mut Known, out: &mut Vec<Step>) -> Option<Message> {
        if message.method() == Some("notifications/initialized") {
            self.readiness = ClientReadiness::Ready;
        }
        if self.acknowledged.end(&message) {
            return None;
        }
        let is_told = matches!(known.availability, ServerAvailability::Slow | ServerAvailability::Away);
        let answer = match (&message.kind, message.method().unwrap_or_default()) {
            _ if known.availability == ServerAvailability::Open => return Some(message),
            (Kind::Request { id, .. }, "ping") => Message::response(id, "{}"),
            (Kind::Request { id, .. }, "server/discover") if is_told => {
                Message::response(id, &known.tentative().as_discover_result())
            }
            (Kind::Request { id, .. }, SUBSCRIBE) if is_told && self.subscriptions.len() < SUBSCRIPTIONS_LIMIT => {
                // The client hears of everything else once the server can be asked.
                let acknowledgment = self.acknowledged.acknowledge(id);
                self.subscriptions.push(message);
                acknowledgment
            }
            (Kind::Request { .. }, "tools/list") if known.availability == ServerAvailability::Slow => {
                match known.list_from_memory(&message) {
                    Some(answer) => answer,
                    None => return Some(message),
                }
            }
            (Kind::Notification { .. }, "notifications/cancelled") => {
                let cancelled = message.cancels();
                self.subscriptions.retain(|message| cancelled.is_none() || message.id() != cancelled.as_ref());
                return Some(message);
            }
            _ => return Some(message),
        };
        out.push(Step::ToClient(answer));
        None
    }

    fn server_sent(
        &mut self,
        incoming: ServerMessage,
        _known: &mut Known,
        _out: &mut Vec<Step>,
    ) -> Option<ServerMessage> {
        let is_known = self.acknowledged.is_duplicate(&incoming.message)
            || matches!(&incoming.message.kind, Kind::Response { id: Some(id), succeeded: false } if self.acknowledged.keep(id));
        (!is_known).then_some(incoming)
    }

    fn refused(&mut self, refusal: Refusal, _known: &mut Known, _out: &mut Vec<Step>) -> Option<Refusal> {
        let is_subscription = refusal.message.method() == Some(SUBSCRIBE);
        let is_kept = is_subscription && refusal.message.id().is_some_and(|id| self.acknowledged.keep(id));
        (!is_kept).then_some(refusal)
    }

    fn observe(&mut self, signal: &Signal, known: &mut Known, out: &mut Vec<Step>) {
        match signal {
            Signal::Restarted => {
                self.readiness = ClientReadiness::InHandshake;
                self.end_subscriptions(out);
            }
            Signal::Closed => self.end_subscriptions(out),
            Signal::Ready(comparison) => self.server_ready(*comparison, known, out),
            Signal::ToolsChanged => self.tools_changed(known, out),
            _ => {}
        }
    }
}
