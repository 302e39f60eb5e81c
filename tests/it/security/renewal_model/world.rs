//! What the model is made of: processes, what is stored, and what can go wrong.

/// How far a process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Has nothing to do, or a call for which the token in memory is too old.
    Idle,
    /// `renew`: the first `load`, without the lock.
    Peek,
    /// `renew`: `lock`.
    Lock,
    /// `renew`: the second `load`.
    Reload,
    /// `ask`: `save` of what is there already.
    Probe,
    /// `ask`: `request_token`, up to where the server has it and has decided.
    Send,
    /// `ask`: the answer of `request_token`.
    Receive,
    /// `keep`: `save` of what came.
    Save,
    /// `start`: all that wait for the flight have the token.
    Use,
    /// The end of `renew`: the lock is dropped.
    Unlock,
    /// `end`: `load`, and the look at the generation.
    Compare,
    /// `end`: `save` of the record without tokens.
    Clear,
    /// `save_unsaved`: `lock`.
    LaterLock,
    /// `save_unsaved`: `load`.
    LaterReload,
    /// `save_unsaved`: `save`.
    LaterSave,
    /// `sign_out`: `lock`; then `delete`. `sign_in`: `lock`; then `load` and `save`.
    PersonLock,
    PersonChange,
    /// Killed.
    Dead,
}

/// Who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Renews,
    SignsOut,
    SignsIn,
}

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    pub generation: u8,
    pub token: u8,
    /// The server has ended it: the record holds no tokens any more.
    pub ended: bool,
}

/// What the server has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    Token(u8),
    InvalidGrant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    pub role: Role,
    pub step: Step,
    /// `State::token`: the access token in use; 0 for none.
    pub token: u8,
    /// The credential that this renewal works with.
    pub held: Option<Record>,
    pub answer: Option<Answer>,
    /// `State::unsaved`, with the token that was spent for it.
    pub unsaved: Option<(Record, u8)>,
    /// Whether the store has been seen to take something since the lock was taken.
    pub could_save: bool,
    /// The calls that are still to come.
    pub calls: u8,
}

/// What is done to keep out of harm's way. Each can be taken out.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub lock: bool,
    pub kernel_frees_the_lock: bool,
    pub reload: bool,
    pub adopt: bool,
    pub probe: bool,
    pub save_before_use: bool,
    pub compare: bool,
    /// What could not be saved is kept for the very record that it was made of only.
    pub lineage: bool,
}

pub const ALL: Rules = Rules {
    lock: true,
    kernel_frees_the_lock: true,
    reload: true,
    adopt: true,
    probe: true,
    save_before_use: true,
    compare: true,
    lineage: true,
};

/// What must never be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A refresh token was sent a second time, and no crash, no lost answer and no failed save made that necessary.
    SentTwice,
    /// A token was renewed that had not ended.
    Needless,
    /// An older credential took a newer one's place.
    OlderOverNewer,
    /// A renewal brought back a sign-in after its sign-out.
    LogoutUndone,
    /// `invalid_grant` cleared another credential than the one it was said of.
    ClearedAnother,
    /// A token was used that a crash would have lost.
    UsedUnsaved,
    /// A refresh token was spent though the store took nothing all the time.
    SpentForNothing,
    /// A process waits, and none can go on.
    Deadlock,
}

/// What may still happen to all processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct World {
    /// Processes that may be killed.
    pub crashes: u8,
    /// Calls of the store that may fail, one at a time.
    pub failures: u8,
    /// Answers that may be lost on their way.
    pub lost_answers: u8,
    /// How often the server may end the newest access token.
    pub expiries: u8,
    /// How often the server may end the sign-in.
    pub revocations: u8,
    /// How often the store may stop taking anything, until it takes everything again.
    pub lockings: u8,
    /// Whether a person signs in without the lock while a renewal is being refused.
    pub outsider: bool,
}

pub const CALM: World =
    World { crashes: 0, failures: 0, lost_answers: 0, expiries: 2, revocations: 0, lockings: 0, outsider: false };
