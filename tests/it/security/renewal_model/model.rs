//! The states of the model, and the moves between them.

use super::world::{Answer, Process, Record, Role, Rules, Step, Violation, World};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub processes: Vec<Process>,
    pub world: World,
    /// Who holds the lock.
    pub holder: Option<usize>,
    pub stored: Option<Record>,
    pub store_is_locked: bool,
    /// The refresh token that the server takes; 0 for none.
    pub live: u8,
    /// The first token of the newest sign-in.
    pub family: u8,
    pub newest: u8,
    /// The access tokens up to this one have ended.
    pub ended: u8,
    /// The refresh tokens that were sent, and those that may be sent again; one bit for each.
    pub sent: u32,
    pub excused: u32,
}

pub type Move = (String, Result<State, Violation>);

impl State {
    /// A person has signed in, and every process in `roles` knows the token.
    pub fn new(roles: &[(Role, u8)], world: World) -> Self {
        let process = |&(role, calls): &(Role, u8)| Process {
            role,
            step: Step::Idle,
            token: 1,
            held: None,
            answer: None,
            unsaved: None,
            could_save: false,
            calls,
        };
        Self {
            processes: roles.iter().map(process).collect(),
            world,
            holder: None,
            stored: Some(Record { generation: 1, token: 1, ended: false }),
            store_is_locked: false,
            live: 1,
            family: 1,
            newest: 1,
            ended: 0,
            sent: 0,
            excused: 0,
        }
    }

    /// Everything that can happen next.
    pub fn moves(&self, rules: Rules) -> Vec<Move> {
        let mut moves = Vec::new();
        for id in 0..self.processes.len() {
            self.advance(id, rules, &mut moves);
        }
        let somebody_waits = self.processes.iter().any(|process| !matches!(process.step, Step::Idle | Step::Dead));
        if moves.is_empty() && somebody_waits {
            return vec![("no process goes on".to_owned(), Err(Violation::Deadlock))];
        }
        self.accidents(rules, &mut moves);
        moves
    }

    /// What the process `id` can do next.
    fn advance(&self, id: usize, rules: Rules, moves: &mut Vec<Move>) {
        let process = self.processes[id];
        let mut go = |what: &str, change: &dyn Fn(&mut Self, &mut Process) -> Result<(), Violation>| {
            let (mut next, mut process) = (self.clone(), process);
            let outcome = change(&mut next, &mut process);
            next.processes[id] = process;
            moves.push((format!("{id}: {what}"), outcome.map(|()| next)));
        };
        let can_fail = self.world.failures > 0;
        let takes_lock = |then: Step| {
            move |next: &mut Self, process: &mut Process| {
                if rules.lock {
                    next.holder = Some(id);
                }
                process.step = then;
                process.could_save = !next.store_is_locked;
                Ok(())
            }
        };
        let is_free = self.holder.is_none();
        match process.step {
            Step::Dead => {}
            Step::Idle if process.unsaved.is_some() => {
                go("tries to save", &|_, process| {
                    process.step = Step::LaterLock;
                    Ok(())
                });
                self.call(&process, &mut go);
            }
            Step::Idle => self.call(&process, &mut go),
            Step::Peek => {
                go("peeks", &|next, process| {
                    let stored = next.load(process, rules);
                    process.held = stored;
                    process.step = match stored {
                        None => Step::Idle,
                        Some(record) if next.suits(record) => next.adopt(process, record, Step::Idle),
                        Some(_) => Step::Lock,
                    };
                    Ok(())
                });
                if can_fail {
                    go("fails to peek", &|next, process| next.fail(process, Step::Idle));
                }
            }
            Step::Lock if is_free => go("locks", &takes_lock(Step::Reload)),
            Step::Reload => {
                go("reloads", &|next, process| {
                    if rules.reload {
                        process.held = next.load(process, rules);
                    }
                    process.step = match process.held {
                        None => Step::Unlock,
                        Some(record) if rules.adopt && next.suits(record) => next.adopt(process, record, Step::Unlock),
                        Some(record) if record.ended => Step::Unlock,
                        Some(_) if rules.probe => Step::Probe,
                        Some(_) => Step::Send,
                    };
                    Ok(())
                });
                if can_fail && rules.reload {
                    go("fails to reload", &|next, process| next.fail(process, Step::Unlock));
                }
            }
            Step::Probe => {
                if !self.store_is_locked {
                    go("proves the store", &|next, process| {
                        process.step = Step::Send;
                        next.renewed(process.held.unwrap(), process)
                    });
                }
                if can_fail || self.store_is_locked {
                    go("finds the store failing", &|next, process| next.fail(process, Step::Unlock));
                }
            }
            Step::Send => go("sends", &|next, process| next.send(process)),
            Step::Receive => {
                go("receives", &|next, process| {
                    next.receive(process, rules);
                    Ok(())
                });
                if self.world.lost_answers > 0 {
                    go("receives nothing", &|next, process| {
                        next.world.lost_answers -= 1;
                        next.excuse(process);
                        process.answer = None;
                        process.step = Step::Unlock;
                        Ok(())
                    });
                }
            }
            Step::Save => {
                let then = if rules.save_before_use { Step::Use } else { Step::Unlock };
                if !self.store_is_locked {
                    go("saves", &|next, process| {
                        process.step = then;
                        next.renewed(successor(process), process)
                    });
                }
                if can_fail || self.store_is_locked {
                    go("fails to save", &|next, process| {
                        process.unsaved = Some((successor(process), process.held.unwrap().token));
                        next.excuse(process);
                        next.fail(process, then)
                    });
                }
            }
            Step::Use => go("uses", &|next, process| {
                let used = successor(process);
                process.token = used.token;
                process.step = if rules.save_before_use { Step::Unlock } else { Step::Save };
                let is_stored = next.stored.is_some_and(|stored| stored.token >= used.token);
                if is_stored || process.unsaved.is_some() { Ok(()) } else { Err(Violation::UsedUnsaved) }
            }),
            Step::Compare => {
                go("compares", &|next, process| {
                    let stored = next.load(process, rules);
                    let is_another = stored.map(|stored| stored.generation) != process.held.map(|held| held.generation);
                    process.step = match stored {
                        None => Step::Unlock,
                        Some(record) if is_another && rules.compare && next.suits(record) => {
                            next.adopt(process, record, Step::Unlock)
                        }
                        Some(_) if is_another && rules.compare => Step::Unlock,
                        Some(_) => Step::Clear,
                    };
                    Ok(())
                });
                if can_fail {
                    go("fails to compare", &|next, process| {
                        next.excuse(process);
                        next.fail(process, Step::Unlock)
                    });
                }
            }
            Step::Clear => {
                if !self.store_is_locked {
                    go("clears", &|next, process| {
                        let refused = process.held.unwrap();
                        let is_it = next.stored.is_none_or(|stored| stored.token == refused.token);
                        next.stored = Some(Record { generation: refused.generation + 1, ended: true, ..refused });
                        process.token = 0;
                        process.step = Step::Unlock;
                        if is_it { Ok(()) } else { Err(Violation::ClearedAnother) }
                    });
                }
                if can_fail || self.store_is_locked {
                    go("fails to clear", &|next, process| {
                        next.excuse(process);
                        next.fail(process, Step::Unlock)
                    });
                }
            }
            Step::LaterLock if is_free => go("locks to save", &takes_lock(Step::LaterReload)),
            Step::LaterReload => {
                go("looks whether to save", &|next, process| {
                    process.held = next.load(process, rules);
                    process.step = if process.unsaved.is_some() { Step::LaterSave } else { Step::Unlock };
                    Ok(())
                });
                if can_fail {
                    go("fails to look", &|next, process| next.fail(process, Step::Unlock));
                }
            }
            Step::LaterSave => {
                if !self.store_is_locked {
                    go("saves at last", &|next, process| {
                        process.step = Step::Unlock;
                        next.renewed(process.held.unwrap(), process)
                    });
                }
                if can_fail || self.store_is_locked {
                    go("fails to save again", &|next, process| next.fail(process, Step::Unlock));
                }
            }
            Step::PersonLock if is_free => go("locks for a person", &takes_lock(Step::PersonChange)),
            Step::PersonChange => {
                if !self.store_is_locked {
                    go("signs in or out", &|next, process| {
                        process.step = Step::Unlock;
                        next.change(process.role);
                        Ok(())
                    });
                }
                if can_fail || self.store_is_locked {
                    go("fails to sign in or out", &|next, process| next.fail(process, Step::Unlock));
                }
            }
            Step::Unlock => go("unlocks", &|next, process| {
                if next.holder == Some(id) {
                    next.holder = None;
                }
                process.step = Step::Idle;
                process.held = None;
                process.answer = None;
                process.could_save = false;
                Ok(())
            }),
            Step::Lock | Step::LaterLock | Step::PersonLock => {}
        }
    }

    /// A call comes in: one that needs another token than there is, or a person's.
    fn call(
        &self,
        process: &Process,
        go: &mut impl FnMut(&str, &dyn Fn(&mut Self, &mut Process) -> Result<(), Violation>),
    ) {
        let is_wanted = process.role != Role::Renews || process.token <= self.ended;
        if process.calls > 0 && is_wanted {
            go("is called", &|_, process| {
                process.calls -= 1;
                process.step = if process.role == Role::Renews { Step::Peek } else { Step::PersonLock };
                Ok(())
            });
        }
    }

    /// What happens to them.
    fn accidents(&self, rules: Rules, moves: &mut Vec<Move>) {
        let mut happen = |what: String, change: &dyn Fn(&mut Self)| {
            let mut next = self.clone();
            change(&mut next);
            moves.push((what, Ok(next)));
        };
        for (id, process) in self.processes.iter().enumerate() {
            let is_at_work = !matches!(process.step, Step::Idle | Step::Dead) || process.unsaved.is_some();
            if self.world.crashes > 0 && is_at_work {
                happen(format!("{id}: crashes"), &|next| {
                    next.world.crashes -= 1;
                    next.excuse_unless_saved(process);
                    if next.holder == Some(id) && rules.kernel_frees_the_lock {
                        next.holder = None;
                    }
                    next.processes[id] = Process {
                        step: Step::Dead,
                        token: 0,
                        held: None,
                        answer: None,
                        unsaved: None,
                        could_save: false,
                        ..*process
                    };
                });
            }
        }
        if self.world.expiries > 0 && self.ended < self.newest {
            happen("the access token ends".to_owned(), &|next| {
                next.world.expiries -= 1;
                next.ended = next.newest;
            });
        }
        if self.world.revocations > 0 && self.live != 0 {
            happen("the server ends the sign-in".to_owned(), &|next| {
                next.world.revocations -= 1;
                next.live = 0;
            });
        }
        if self.store_is_locked {
            happen("the store is unlocked".to_owned(), &|next| {
                next.store_is_locked = false;
                next.processes.iter_mut().for_each(|process| process.could_save |= process.step != Step::Idle);
            });
        } else if self.world.lockings > 0 {
            happen("the store is locked".to_owned(), &|next| {
                next.world.lockings -= 1;
                next.store_is_locked = true;
            });
        }
        // The store knows no compare-and-swap: between `load` and `save` in `end` no process could be kept off that
        // does not ask for the lock. The long wait is the one for the answer.
        let is_refused =
            |process: &Process| process.step == Step::Receive && process.answer == Some(Answer::InvalidGrant);
        if self.world.outsider && self.processes.iter().any(is_refused) {
            happen("a person signs in without the lock".to_owned(), &|next| {
                next.world.outsider = false;
                next.change(Role::SignsIn);
            });
        }
    }

    /// `Account::load`.
    fn load(&self, process: &mut Process, rules: Rules) -> Option<Record> {
        process.unsaved = process.unsaved.filter(|(unsaved, spent)| {
            self.stored.is_some_and(|stored| {
                stored.generation + 1 == unsaved.generation && (!rules.lineage || stored.token == *spent)
            })
        });
        process.unsaved.map(|(unsaved, _)| unsaved).or(self.stored)
    }

    /// `Need::is_met_by`.
    fn suits(&self, record: Record) -> bool {
        !record.ended && record.token > self.ended
    }

    /// `Account::adopt`.
    fn adopt(&self, process: &mut Process, record: Record, then: Step) -> Step {
        process.token = record.token;
        process.held = None;
        then
    }

    /// A renewal's `save`.
    fn renewed(&mut self, record: Record, process: &mut Process) -> Result<(), Violation> {
        let before = self.stored.replace(record);
        process.unsaved = process.unsaved.filter(|(unsaved, _)| unsaved.generation > record.generation);
        match before {
            None => Err(Violation::LogoutUndone),
            Some(before) if (before.token, before.ended) > (record.token, record.ended) => {
                Err(Violation::OlderOverNewer)
            }
            Some(_) => Ok(()),
        }
    }

    /// The server rotates, and ends a sign-in whose spent refresh token comes again (RFC 9700 section 4.14.2).
    fn send(&mut self, process: &mut Process) -> Result<(), Violation> {
        let token = process.held.unwrap().token;
        let bit = 1 << token;
        let violation = if self.sent & bit != 0 && self.excused & bit == 0 {
            Some(Violation::SentTwice)
        } else if token > self.ended {
            Some(Violation::Needless)
        } else if !process.could_save {
            Some(Violation::SpentForNothing)
        } else {
            None
        };
        self.sent |= bit;
        process.answer = Some(if token == self.live {
            self.newest += 1;
            self.live = self.newest;
            Answer::Token(self.newest)
        } else {
            if token >= self.family {
                self.live = 0;
            }
            Answer::InvalidGrant
        });
        process.step = Step::Receive;
        violation.map_or(Ok(()), Err)
    }

    fn receive(&mut self, process: &mut Process, rules: Rules) {
        process.step = match process.answer {
            Some(Answer::Token(_)) if rules.save_before_use => Step::Save,
            Some(Answer::Token(_)) => Step::Use,
            _ => Step::Compare,
        };
    }

    /// From here on the spent token may come again: no process has its successor, or the store has not.
    fn excuse(&mut self, process: &Process) {
        if let Some(held) = process.held {
            self.excused |= 1 << held.token;
        }
    }

    /// The same for a process that is killed.
    fn excuse_unless_saved(&mut self, process: &Process) {
        let is_saved = match process.step {
            Step::Use => self.stored.is_some_and(|stored| stored.token >= successor(process).token),
            Step::Receive | Step::Save | Step::Compare | Step::Clear => false,
            _ => true,
        };
        if !is_saved {
            self.excuse(process);
        }
    }

    /// One call of the store has failed. One that fails because the store is locked costs nothing of what may fail.
    fn fail(&mut self, process: &mut Process, then: Step) -> Result<(), Violation> {
        self.world.failures -= u8::from(!self.store_is_locked && self.world.failures > 0);
        process.step = then;
        Ok(())
    }

    /// `sign_in` and `sign_out`.
    fn change(&mut self, role: Role) {
        if role == Role::SignsOut {
            self.stored = None;
            return;
        }
        self.newest += 1;
        self.live = self.newest;
        self.family = self.newest;
        let generation = self.stored.map_or(0, |stored| stored.generation) + 1;
        self.stored = Some(Record { generation, token: self.newest, ended: false });
    }

    /// The same for any order of processes that are alike.
    pub fn sorted(mut self) -> Self {
        let holder = self.holder.map(|id| self.processes[id]);
        self.processes.sort();
        self.holder = holder.map(|holder| self.processes.iter().position(|process| *process == holder).unwrap());
        self
    }
}

/// What `keep` makes of the answer.
pub fn successor(process: &Process) -> Record {
    match (process.held, process.answer) {
        (Some(held), Some(Answer::Token(token))) => Record { generation: held.generation + 1, token, ended: false },
        _ => panic!("there is no successor: {process:?}"),
    }
}
