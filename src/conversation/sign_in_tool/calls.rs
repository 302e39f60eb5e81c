//! The calls that wait for a sign-in.

use std::time::Duration;

use crate::{
    conversation::{event::Alarm, layer::Step},
    mcp::{id::Id, message::Message},
};

/// How long a call waits for a sign-in: many clients give a call up after 60 s, without telling the user how to sign
/// in.
const PATIENCE: Duration = Duration::from_secs(50);

/// The waiting calls, by what they wait for.
#[derive(Debug, Default)]
pub struct Calls {
    /// Waiting for the sign-in page, with the reason why the server refused them.
    for_page: Vec<(Call, Option<String>)>,
    /// Waiting for the client's response to the elicitation with this id.
    elicited: Vec<(Id, Call)>,
    /// Waiting for the user, who is signing in.
    for_user: Vec<Call>,
    alarms: u64,
}

/// A call that waits for a sign-in.
#[derive(Debug)]
pub struct Call {
    pub message: Message,
    patience: Patience,
}

/// Whether the client of a call is known to wait for a long time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Unknown: the call ends when this alarm fires.
    Until(u64),
    /// The client kept the call open while it asked the user, so it has no short timeout.
    Proven,
}

impl Calls {
    fn with_alarm(&mut self, message: Message, out: &mut Vec<Step>) -> Call {
        self.alarms += 1;
        out.push(Step::Wake(Alarm::SignIn(self.alarms), PATIENCE));
        Call { message, patience: Patience::Until(self.alarms) }
    }

    /// Lets a call wait for the sign-in page, [`PATIENCE`] at most; `reason` says why the server refused it.
    pub fn wait_for_page(&mut self, message: Message, reason: Option<String>, out: &mut Vec<Step>) {
        let call = self.with_alarm(message, out);
        self.for_page.push((call, reason));
    }

    /// Removes the calls that wait for the sign-in page.
    pub fn take_waiting_for_page(&mut self) -> Vec<(Call, Option<String>)> {
        std::mem::take(&mut self.for_page)
    }

    /// The client of the call was asked in the elicitation `id` to open the page.
    pub fn wait_for_client(&mut self, id: Id, call: Call) {
        self.elicited.push((id, call));
    }

    /// Removes the call whose client responds to the elicitation `id`.
    pub fn elicitation_answered(&mut self, id: &Id) -> Option<Call> {
        let position = self.elicited.iter().position(|(elicitation, _)| elicitation == id)?;
        Some(self.elicited.remove(position).1)
    }

    /// The client has sent the call again: lets it wait for the user, who is signing in.
    pub fn wait_for_user(&mut self, message: Message, out: &mut Vec<Step>) {
        let call = self.with_alarm(message, out);
        self.for_user.push(call);
    }

    /// Lets the call wait for the user, who is signing in, for the rest of its time; for the full time again if its
    /// client has no short timeout.
    pub fn continue_waiting(&mut self, call: Call, out: &mut Vec<Step>) {
        match call.patience {
            Patience::Until(_) => self.for_user.push(call),
            Patience::Proven => self.wait_for_user(call.message, out),
        }
    }

    /// The call whose alarm this is: it has waited long enough, and is not made even if the user signs in later.
    pub fn take_expired(&mut self, alarm: u64) -> Option<Message> {
        let patience = Patience::Until(alarm);
        // A call gets no response while its client is still asking the user.
        let open = self.elicited.iter_mut().filter(|(_, call)| call.patience == patience);
        open.for_each(|(_, call)| call.patience = Patience::Proven);
        let waiting = self.for_user.extract_if(.., |call| call.patience == patience);
        let for_page = self.for_page.extract_if(.., |(call, _)| call.patience == patience).map(|(call, _)| call);
        waiting.chain(for_page).next().map(|call| call.message)
    }

    /// The client has cancelled the call `id`. Returns whether that was waiting here.
    pub fn cancel(&mut self, id: &Id) -> bool {
        let before = self.len();
        self.for_page.retain(|(call, _)| call.message.id() != Some(id));
        self.elicited.retain(|(_, call)| call.message.id() != Some(id));
        self.for_user.retain(|call| call.message.id() != Some(id));
        before > self.len()
    }

    /// The user is signed in: removes the calls that can be made now. A call whose client is still asking the user
    /// waits for its response.
    pub fn signed_in(&mut self) -> Vec<Message> {
        let calls = self.for_page.drain(..).map(|(call, _)| call).chain(self.for_user.drain(..));
        calls.map(|call| call.message).collect()
    }

    /// The sign-in failed: removes all calls.
    pub fn end(&mut self) -> Vec<Message> {
        let mut calls = self.signed_in();
        calls.extend(self.elicited.drain(..).map(|(_, call)| call.message));
        calls
    }

    fn len(&self) -> usize {
        self.for_page.len() + self.elicited.len() + self.for_user.len()
    }

    pub fn bytes(&self) -> usize {
        let calls = self.for_page.iter().map(|(call, _)| call).chain(self.elicited.iter().map(|(_, call)| call));
        calls.chain(&self.for_user).map(|call| call.message.raw().len()).sum()
    }
}
