//! The calls that wait for a sign-in.

use std::time::Duration;

use crate::{
    bridge::conversation::{event::Alarm, layer::Step},
    mcp::{id::Id, message::Message},
};

/// How long a call waits for a person to sign in: many clients give a call up after 60 s, and say nothing of what helps.
const PATIENCE: Duration = Duration::from_secs(50);

/// The calls, each in one of three places.
#[derive(Debug, Default)]
pub struct Calls {
    /// Those that wait for the address, and what they were refused for.
    begun: Vec<(Call, Option<String>)>,
    /// Those whose client has been asked to open it, with the ids of those requests.
    asked: Vec<(Id, Call)>,
    /// Those whose person is signing in.
    waiting: Vec<Call>,
    /// How many alarms were set.
    alarms: u64,
}

/// A call that waits for a sign-in.
#[derive(Debug)]
pub struct Call {
    /// The call.
    pub message: Message,
    patience: Patience,
}

/// How long the client of a call has waited for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Not long: this alarm tells when it has.
    Until(u64),
    /// Long, while it asked the user. A client that gives up has said so by now: this one is patient.
    Proven,
}

impl Calls {
    fn impatient(&mut self, message: Message, out: &mut Vec<Step>) -> Call {
        self.alarms += 1;
        out.push(Step::Wake(Alarm::SignIn(self.alarms), PATIENCE));
        Call { message, patience: Patience::Until(self.alarms) }
    }

    /// The call waits for the address, since it was refused for `reason`: for no longer than [`PATIENCE`].
    pub fn begin(&mut self, message: Message, reason: Option<String>, out: &mut Vec<Step>) {
        let call = self.impatient(message, out);
        self.begun.push((call, reason));
    }

    /// The calls that have waited for the address, with what they were refused for.
    pub fn take_begun(&mut self) -> Vec<(Call, Option<String>)> {
        std::mem::take(&mut self.begun)
    }

    /// The client of the call has been asked by the request `id` to open the address.
    pub fn ask(&mut self, id: Id, call: Call) {
        self.asked.push((id, call));
    }

    /// The call whose client has been asked by the request `id`, and answers that.
    pub fn replied(&mut self, id: &Id) -> Option<Call> {
        let position = self.asked.iter().position(|(asked, _)| asked == id)?;
        Some(self.asked.remove(position).1)
    }

    /// The person of the call that the client came back to is signing in.
    pub fn wait(&mut self, message: Message, out: &mut Vec<Step>) {
        let call = self.impatient(message, out);
        self.waiting.push(call);
    }

    /// The person of the call is signing in. Its time goes on, unless its client has proved to be patient: then it begins
    /// again.
    pub fn go_on(&mut self, call: Call, out: &mut Vec<Step>) {
        match call.patience {
            Patience::Until(_) => self.waiting.push(call),
            Patience::Proven => self.wait(call.message, out),
        }
    }

    /// The call of this alarm, which has waited long enough. It is not made when the user signs in after all.
    pub fn out_of_patience(&mut self, alarm: u64) -> Option<Message> {
        let patience = Patience::Until(alarm);
        // A call is not answered while its client is still asking the user.
        let open = self.asked.iter_mut().filter(|(_, call)| call.patience == patience);
        open.for_each(|(_, call)| call.patience = Patience::Proven);
        let waiting = self.waiting.extract_if(.., |call| call.patience == patience);
        let begun = self.begun.extract_if(.., |(call, _)| call.patience == patience).map(|(call, _)| call);
        waiting.chain(begun).next().map(|call| call.message)
    }

    /// The client does not want an answer to the call `id`. Whether there was such a call.
    pub fn cancel(&mut self, id: &Id) -> bool {
        let before = self.len();
        self.begun.retain(|(call, _)| call.message.id() != Some(id));
        self.asked.retain(|(_, call)| call.message.id() != Some(id));
        self.waiting.retain(|call| call.message.id() != Some(id));
        before > self.len()
    }

    /// The user is signed in: the calls that can be made now. A call whose client is still asked waits for that answer.
    pub fn signed_in(&mut self) -> Vec<Message> {
        let calls = self.begun.drain(..).map(|(call, _)| call).chain(self.waiting.drain(..));
        calls.map(|call| call.message).collect()
    }

    /// The sign-in came to nothing: all of them.
    pub fn end(&mut self) -> Vec<Message> {
        let mut calls = self.signed_in();
        calls.extend(self.asked.drain(..).map(|(_, call)| call.message));
        calls
    }

    fn len(&self) -> usize {
        self.begun.len() + self.asked.len() + self.waiting.len()
    }

    /// How many bytes wait.
    pub fn bytes(&self) -> usize {
        let calls = self.begun.iter().map(|(call, _)| call).chain(self.asked.iter().map(|(_, call)| call));
        calls.chain(&self.waiting).map(|call| call.message.raw().len()).sum()
    }
}
