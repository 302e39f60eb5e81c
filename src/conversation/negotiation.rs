//! Finds out the server's era and transport by probing it; the client's messages wait until both are known.

use std::{sync::Arc, time::Duration};

use crate::{
    conversation::{
        event::{Action, Alarm},
        failure::{Failure, Processed, Refusal},
        known::{Known, ServerAvailability, ShownTools},
        layer::{Comparison, Layer, ServerMessage, Signal, Step},
        probing::{Probe, ProbeResult, Probing},
        transport::Transport,
    },
    mcp::{
        introduction,
        message::{Kind, Message},
        meta,
        object::{self, Object},
        revision::Era,
    },
};

/// How long the server may take before finmcp responds to the client in its place.
const PATIENCE: Duration = Duration::from_millis(700);

/// The layer that negotiates.
#[derive(Debug, Default)]
pub struct Negotiation {
    stage: Stage,
    /// The current transport.
    transport: Transport,
    /// How many negotiations there have been.
    negotiations: u64,
}

#[derive(Debug, Default)]
enum Stage {
    /// No message of the client has needed to know yet.
    #[default]
    Unknown,
    /// The server is being probed, or could not be asked.
    Probing(Box<Probing>),
    /// The server is remembered as modern, but has not confirmed that in this conversation.
    Assumed,
    /// Era and transport are known.
    Settled,
}

impl Negotiation {
    fn probing(&mut self) -> Option<&mut Probing> {
        match &mut self.stage {
            Stage::Probing(probing) => Some(probing),
            _ => None,
        }
    }

    fn availability(&self) -> ServerAvailability {
        match &self.stage {
            Stage::Probing(probing) if !probing.has_responded() => ServerAvailability::Probing,
            Stage::Probing(probing) if probing.is_waiting() => ServerAvailability::Slow,
            Stage::Probing(_) => ServerAvailability::Away,
            _ => ServerAvailability::Open,
        }
    }

    // Probing.

    /// Handles the client's first message, unless that is `initialize`. Returns the message if it can go on to the
    /// server.
    fn first(&mut self, message: Message, known: &mut Known, out: &mut Vec<Step>) -> Option<Message> {
        known.client = Era::of_message(&message);
        let server_is_modern = known.server.as_ref().is_some_and(|server| server.era == Era::Modern);
        match known.client {
            Era::Legacy => Some(message),
            Era::Modern if message.method() != Some("server/discover") && server_is_modern => {
                self.stage = Stage::Assumed;
                log_client(&message);
                Some(message)
            }
            Era::Modern => {
                self.start(message, known, out);
                None
            }
        }
    }

    /// Starts negotiating the era on behalf of the client's first message.
    fn start(&mut self, opening: Message, known: &mut Known, out: &mut Vec<Step>) {
        out.push(Step::Signal(Signal::Restarted));
        let left = self.probing().map(Probing::abandon).unwrap_or_default();
        out.extend(left.into_iter().map(|message| Step::Refuse(Refusal::unsent(message, Failure::NoSession))));
        out.push(Step::Reset);
        self.negotiations += 1;
        known.client = Era::of_message(&opening);
        log_client(&opening);
        if known.shown == ShownTools::Remembered {
            known.shown = ShownTools::Own;
        }
        self.stage = Stage::Probing(Box::new(Probing::new(opening, known.server.as_ref())));
        out.push(Step::Wake(Alarm::SlowServer(self.negotiations), PATIENCE));
        self.send_first_probe(known, out);
    }

    /// Sends the first probe.
    fn send_first_probe(&mut self, known: &Known, out: &mut Vec<Step>) {
        if let Some(probe) = self.probing().map(Probing::first_probe) {
            self.send_probe(probe, known, out);
        }
    }

    fn send_probe(&mut self, probe: Probe, known: &Known, out: &mut Vec<Step>) {
        let Some(probing) = self.probing() else { return };
        let message = probing.send(probe, &known.request_ids).unsent();
        out.push(Step::Reset);
        self.switch_to(probe.transport(), out);
        out.push(Step::ToServer(message));
    }

    fn switch_to(&mut self, transport: Transport, out: &mut Vec<Step>) {
        if std::mem::replace(&mut self.transport, transport) != transport {
            out.push(Step::Switch(transport));
        }
    }

    // Results of probes.

    fn handle_result(&mut self, result: ProbeResult, known: &mut Known, out: &mut Vec<Step>) {
        match result {
            ProbeResult::Known(description, answer) => {
                let Some(probing) = self.probing() else { return };
                description.log();
                let description = description.with_tools_of(known.server.as_ref());
                let is_different =
                    known.server.as_ref().is_none_or(|server| !server.describes_the_same_as(&description));
                let comparison = match probing.has_responded() {
                    false => Comparison::FirstHand,
                    true if is_different => Comparison::Different,
                    true => Comparison::Same,
                };
                let own = if probing.has_responded() { None } else { probing.opening_response(&description) };
                let opening = probing.opening().clone();
                if is_different {
                    out.push(Step::Do(Action::Remember(Box::new(description.clone()))));
                }
                known.server = Some(description);
                out.extend(answer.or(own).map(Step::ToClient));
                out.push(Step::Signal(Signal::Identified(opening)));
                self.settle(comparison, out);
            }
            ProbeResult::Modern(answer) => {
                // The server is modern; the client will send the right request next.
                out.extend(answer.map(Step::ToClient));
                self.settle(Comparison::Unknown, out);
            }
            ProbeResult::Next(probe) => self.send_probe(probe, known, out),
            ProbeResult::OutOfReach(refusal) => {
                refusal.failure.log("connecting failed");
                self.respond_for_server(known, out);
                let held = self.probing().map(Probing::take_requests).unwrap_or_default();
                for message in held {
                    let is_list = message.method() == Some("tools/list") && !refusal.failure.needs_login();
                    out.push(match is_list.then(|| known.list_from_memory(&message)).flatten() {
                        Some(answer) => Step::ToClient(answer),
                        None => {
                            let failure = Arc::clone(&refusal.failure);
                            Step::Refuse(Refusal { message, failure, processed: Processed::No })
                        }
                    });
                }
            }
            ProbeResult::Rejected(answer, failure) => self.rejected(answer, &failure, out),
        }
    }

    /// The server speaks neither era.
    fn rejected(&mut self, answer: Option<Message>, failure: &Arc<Failure>, out: &mut Vec<Step>) {
        failure.log("connecting failed");
        self.switch_to(Transport::default(), out);
        let Some(probing) = self.probing() else { return };
        let mut refused = probing.take_requests();
        if !probing.has_responded() {
            refused.extend(answer.is_none().then(|| probing.opening().clone()));
            self.stage = Stage::Unknown;
        }
        out.extend(answer.map(Step::ToClient));
        out.extend(
            refused.into_iter().map(|message| {
                Step::Refuse(Refusal { message, failure: Arc::clone(failure), processed: Processed::No })
            }),
        );
    }

    /// Lets messages pass from now on, the kept ones first.
    fn settle(&mut self, comparison: Comparison, out: &mut Vec<Step>) {
        if let Stage::Probing(probing) = std::mem::replace(&mut self.stage, Stage::Settled) {
            out.extend(probing.into_held().map(Step::Resubmit));
        }
        out.push(Step::Signal(Signal::Ready(comparison)));
    }

    /// The remembered description is wrong: the next message starts a negotiation.
    fn forget_server(&mut self, known: &mut Known) {
        self.stage = Stage::Unknown;
        known.server = None;
    }

    // The client meanwhile.

    fn received(&mut self, message: Message, known: &Known, out: &mut Vec<Step>) {
        let is_away = self.availability() == ServerAvailability::Away;
        let Some(probing) = self.probing() else { return };
        match (&message.kind, message.method().unwrap_or_default()) {
            (Kind::Notification { .. }, "notifications/cancelled") => {
                message.cancels().iter().for_each(|id| probing.forget(id));
            }
            (kind, _) => {
                let is_request = matches!(kind, Kind::Request { .. });
                probing.hold(message);
                if is_request && is_away {
                    self.send_first_probe(known, out);
                }
            }
        }
    }

    /// Responds to the client in the server's place, unless that has happened.
    fn respond_for_server(&mut self, known: &Known, out: &mut Vec<Step>) {
        let answer = self.probing().and_then(|probing| probing.respond_once(&known.tentative()));
        out.extend(answer.map(Step::ToClient));
    }

    /// The server has taken longer than a client should wait.
    fn respond_for_slow_server(&mut self, known: &mut Known, out: &mut Vec<Step>) {
        tracing::info!("no answer from the server yet: answering in its place");
        self.respond_for_server(known, out);
        let Some(probing) = self.probing() else { return };
        for list in probing.take_lists() {
            match known.list_from_memory(&list) {
                Some(answer) => out.push(Step::ToClient(answer)),
                None => probing.hold(list),
            }
        }
    }
}

/// Logs who the client says it is.
fn log_client(message: &Message) {
    let client = match message.method() {
        Some("initialize") => {
            message.parameters::<Object<'_>>().and_then(|all| all.get("clientInfo").map(str::to_owned))
        }
        _ => message.parameters::<Object<'_>>().and_then(|all| object::found(all.get("_meta")?, &[meta::CLIENT])),
    };
    let era = Era::of_message(message).revisions();
    tracing::info!("client: {}, {era}", introduction::name_and_version(client.as_deref().unwrap_or_default()));
}

impl Layer for Negotiation {
    fn client_sent(&mut self, message: Message, known: &mut Known, out: &mut Vec<Step>) -> Option<Message> {
        let passed = match &self.stage {
            _ if message.method() == Some("initialize") => {
                self.start(message, known, out);
                None
            }
            Stage::Unknown => self.first(message, known, out),
            Stage::Probing(_) => {
                self.received(message, known, out);
                None
            }
            Stage::Assumed | Stage::Settled => return Some(message),
        };
        known.availability = self.availability();
        passed
    }

    fn server_sent(
        &mut self,
        incoming: ServerMessage,
        known: &mut Known,
        out: &mut Vec<Step>,
    ) -> Option<ServerMessage> {
        match &mut self.stage {
            Stage::Probing(probing) if incoming.message.id().is_some_and(|id| probing.is_current(id)) => {
                let result = probing.answered(incoming.message);
                self.handle_result(result, known, out);
                known.availability = self.availability();
                None
            }
            // The client does not know of this server's own messages yet.
            Stage::Probing(probing) if probing.has_responded() && incoming.method.is_none() => None,
            Stage::Assumed if incoming.method.is_some() => {
                match &incoming.message.kind {
                    Kind::Response { succeeded: true, .. } => self.stage = Stage::Settled,
                    _ => self.forget_server(known),
                }
                Some(incoming)
            }
            _ => Some(incoming),
        }
    }

    fn refused(&mut self, refusal: Refusal, known: &mut Known, out: &mut Vec<Step>) -> Option<Refusal> {
        match &mut self.stage {
            Stage::Probing(probing) if refusal.message.id().is_some_and(|id| probing.is_current(id)) => {
                let result = probing.refused(refusal);
                self.handle_result(result, known, out);
                known.availability = self.availability();
                None
            }
            Stage::Assumed => {
                let is_rejection = match &*refusal.failure {
                    Failure::Status { status, .. } | Failure::UnrelatedError { status, .. } => status.is_client_error(),
                    _ => false,
                };
                if is_rejection {
                    self.forget_server(known);
                }
                Some(refusal)
            }
            _ => Some(refusal),
        }
    }

    fn observe(&mut self, signal: &Signal, known: &mut Known, out: &mut Vec<Step>) {
        match signal {
            Signal::Woken(Alarm::SlowServer(number)) if self.negotiations == *number => {
                self.respond_for_slow_server(known, out)
            }
            Signal::SignedIn if known.availability == ServerAvailability::Away => self.send_first_probe(known, out),
            Signal::Stopping => {
                let held = self.probing().map(Probing::take_requests).unwrap_or_default();
                out.extend(held.into_iter().map(|held| Step::Refuse(Refusal::unsent(held, Failure::Stopped))));
            }
            _ => return,
        }
        known.availability = self.availability();
    }

    fn waiting(&self) -> usize {
        if let Stage::Probing(probing) = &self.stage { probing.held() } else { 0 }
    }

    fn bytes(&self) -> usize {
        if let Stage::Probing(probing) = &self.stage { probing.bytes() } else { 0 }
    }
}
