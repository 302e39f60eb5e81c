//! What the client is told in place of a server that is away: who it is, its tools as they were, and that it has the
//! subscriptions that it asks for.

use crate::{
    bridge::conversation::{
        acknowledged::{Acknowledged, wants_tools},
        failure::Refusal,
        known::{Known, Reach, Shown},
        layer::{Layer, News, Said, Signal, Step},
        session::SUBSCRIBE,
    },
    mcp::{
        message::{Kind, Message},
        meta::SUBSCRIPTION_ID,
        revision::Era,
    },
};

/// How many subscriptions a client is told it has of a server that cannot be asked; then further ones wait.
const SUBSCRIPTIONS_LIMIT: usize = 1000;

/// What tells of other tools.
const CHANGED: &str = "notifications/tools/list_changed";

/// The layer.
#[derive(Debug, Default)]
pub struct StandIn {
    /// The requests for subscriptions that the client was told it has, for when the server is there.
    subscriptions: Vec<Message>,
    acknowledged: Acknowledged,
    audience: Audience,
}

/// Whether a legacy client hears of changes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// Its handshake is not over.
    #[default]
    Deaf,
    /// It has gone on from the handshake.
    Listening,
}

impl StandIn {
    /// Ends the subscriptions of which the server knows nothing.
    fn end_subscriptions(&mut self, out: &mut Vec<Step>) {
        let early = self.subscriptions.drain(..);
        let early = early.filter_map(|message| Some(Message::end_of_subscription(message.id()?)));
        out.extend(self.acknowledged.close().into_iter().chain(early).map(Step::ToClient));
    }

    /// The server is there: it hears of the subscriptions, and the client of what is not as it was told.
    fn met(&mut self, news: News, known: &mut Known, out: &mut Vec<Step>) {
        let listens = known.client == Era::Legacy || self.subscriptions.iter().any(wants_tools);
        out.extend(self.subscriptions.drain(..).map(Step::Again));
        let shown = match news {
            News::Unknown => return,
            _ => std::mem::replace(&mut known.shown, Shown::Own),
        };
        let is_other = match news {
            News::Unknown | News::FirstHand => false,
            News::Same => shown == Shown::Remembered,
            News::Other => true,
        };
        if shown == Shown::WithSignIn || (listens && is_other) {
            out.push(Step::Tell(Signal::ToolsChanged));
        }
    }

    fn tools_changed(&self, known: &Known, out: &mut Vec<Step>) {
        match known.client {
            Era::Legacy if self.audience == Audience::Listening => {
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
    fn client_says(&mut self, message: Message, known: &mut Known, out: &mut Vec<Step>) -> Option<Message> {
        if message.method() == Some("notifications/initialized") {
            self.audience = Audience::Listening;
        }
        if self.acknowledged.end(&message) {
            return None;
        }
        let is_told = matches!(known.reach, Reach::Slow | Reach::Away);
        let answer = match (&message.kind, message.method().unwrap_or_default()) {
            _ if known.reach == Reach::Open => return Some(message),
            (Kind::Request { id, .. }, "ping") => Message::response(id, "{}"),
            (Kind::Request { id, .. }, "server/discover") if is_told => {
                Message::response(id, &known.tentative().as_discover_result())
            }
            (Kind::Request { id, .. }, SUBSCRIBE) if is_told && self.subscriptions.len() < SUBSCRIPTIONS_LIMIT => {
                // Of everything else it hears once the server can be asked.
                let acknowledgment = self.acknowledged.begin(id);
                self.subscriptions.push(message);
                acknowledgment
            }
            (Kind::Request { .. }, "tools/list") if known.reach == Reach::Slow => {
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

    fn server_says(&mut self, said: Said, _known: &mut Known, _out: &mut Vec<Step>) -> Option<Said> {
        let is_known = self.acknowledged.covers(&said.message)
            || matches!(&said.message.kind, Kind::Response { id: Some(id), succeeded: false } if self.acknowledged.keep(id));
        (!is_known).then_some(said)
    }

    fn refused(&mut self, refusal: Refusal, _known: &mut Known, _out: &mut Vec<Step>) -> Option<Refusal> {
        let is_subscription = refusal.message.method() == Some(SUBSCRIBE);
        let is_kept = is_subscription && refusal.message.id().is_some_and(|id| self.acknowledged.keep(id));
        (!is_kept).then_some(refusal)
    }

    fn hear(&mut self, signal: &Signal, known: &mut Known, out: &mut Vec<Step>) {
        match signal {
            Signal::Begun => {
                self.audience = Audience::Deaf;
                self.end_subscriptions(out);
            }
            Signal::Closed => self.end_subscriptions(out),
            Signal::Met(news) => self.met(*news, known, out),
            Signal::ToolsChanged => self.tools_changed(known, out),
            _ => {}
        }
    }
}
