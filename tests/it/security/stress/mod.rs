//! One refresh token, many processes, under fire.
//!
//! Bridges that are kept calling and scripts that want a token, real processes all, against an authorization server that
//! ends each access token after a moment, and the whole sign-in where a spent refresh token comes again.
//!
//! 16 processes go through 50 rotations. For more: `FINMCP_STRESS=64x1000 cargo test --test it stress:: -- --nocapture`;
//! for the same signals once more, `FINMCP_STRESS_SEED`.

mod figures;
mod fire;
mod process;

use std::{
    collections::HashSet,
    sync::{Barrier, Mutex},
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::support::{
    browser::{FakeBrowser, Person},
    sandbox::Sandbox,
    vendor::{Effect, On, Rotation, Script, Vendor},
};
use figures::Figures;
use fire::Fire;
use process::{Calls, Process};

/// What a token is given that ends by the clock: the least that a server can mean.
const A_SECOND: Duration = Duration::from_secs(1);
const AN_HOUR: Duration = Duration::from_secs(3600);

/// How many processes there are, and how many access tokens end.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    processes: usize,
    rotations: usize,
}

impl Size {
    /// What is asked for from outside, or else this.
    pub fn or(processes: usize, rotations: usize) -> Self {
        let Ok(text) = std::env::var("FINMCP_STRESS") else { return Self { processes, rotations } };
        let (processes, rotations) = text.split_once('x').expect("FINMCP_STRESS is PROCESSESxROTATIONS");
        Self { processes: processes.parse().unwrap(), rotations: rotations.parse().unwrap() }
    }
}

/// What is done in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// The access token has ended by the clock: every process that looks at it knows.
    Everybody,
    /// The server has ended it early, which only those who use it find out.
    Bridges,
    /// It is over.
    End,
}

/// A person who has signed in once, and all the processes that live on that.
struct Crowd {
    browser: FakeBrowser,
    sandbox: Sandbox,
    vendor: Vendor,
    size: Size,
}

impl Crowd {
    /// Signs in, with the store that `sandbox` has.
    fn sign_in(mut sandbox: Sandbox, size: Size) -> Self {
        let vendor =
            Vendor::start(Script { sessions: false, get_stream: false, access_lifetime: A_SECOND, ..Script::people() });
        let browser = FakeBrowser::install(&mut sandbox, Person::Consents);
        let crowd = Self { sandbox, vendor, browser, size };
        crowd.sign_in_again().unwrap();
        crowd
    }

    fn sign_in_again(&self) -> Result<(), String> {
        let run = self.sandbox.finmcp(["login", &self.vendor.url()]);
        if run.code == Some(0) { Ok(()) } else { Err(format!("login: {run:?}")) }
    }

    /// Lets every access token end at once for all of them, again and again; with signals, where there is a fire.
    fn live(&self, fire: Option<&Fire>) -> Figures {
        let url = self.vendor.url();
        // A third wants a token now and then, the others are kept calling.
        let processes: Vec<Process<'_>> = (0..self.size.processes)
            .map(|number| {
                let calls = if number % 3 == 2 { Calls::Token } else { Calls::Tool };
                Process::new(&self.sandbox, &url, number, calls, fire.is_some())
            })
            .collect();
        let (barrier, round) = (Barrier::new(processes.len() + 1), Mutex::new(Round::Everybody));
        let problems = Mutex::new(Vec::new());
        let mut sign_ins = 0;
        thread::scope(|scope| {
            for process in &processes {
                scope.spawn(|| {
                    loop {
                        barrier.wait();
                        let now = *round.lock().unwrap();
                        if now == Round::End {
                            break;
                        }
                        if (now == Round::Everybody || process.calls == Calls::Tool)
                            && let Err(problem) = process.turn()
                        {
                            problems.lock().unwrap().push(problem);
                        }
                        barrier.wait();
                    }
                });
            }
            let shots = fire.map(|fire| scope.spawn(|| fire.shoot(&processes, &self.vendor)));
            let mut lifetime = A_SECOND;
            for number in 0.. {
                let before = self.vendor.rotations().len();
                if before >= self.size.rotations || !problems.lock().unwrap().is_empty() {
                    break;
                }
                if lifetime == A_SECOND {
                    thread::sleep(lifetime);
                    *round.lock().unwrap() = Round::Everybody;
                } else {
                    self.vendor.revoke_access_tokens();
                    *round.lock().unwrap() = Round::Bridges;
                }
                lifetime = if number % 3 == 2 { A_SECOND } else { AN_HOUR };
                self.vendor.change(|script| script.access_lifetime = lifetime);
                barrier.wait();
                barrier.wait();
                let signed_out: Vec<String> = processes.iter().filter_map(Process::was_signed_out).collect();
                let outcome = match self.lost(&processes, fire) {
                    Ok(lost) if !signed_out.is_empty() && lost == sign_ins + 1 => {
                        sign_ins = lost;
                        self.sign_in_again()
                    }
                    Ok(lost) if !signed_out.is_empty() => {
                        Err(format!("{lost} losses, {sign_ins} sign-ins: {signed_out:?}"))
                    }
                    Ok(_) if self.vendor.rotations().len() == before => Err("no process renewed".to_owned()),
                    lost => lost.map(drop),
                };
                problems.lock().unwrap().extend(outcome.err().map(|problem| format!("round {number}: {problem}")));
            }
            if let Some(fire) = fire {
                fire.cease();
            }
            if let Some(shots) = shots {
                shots.join().unwrap();
            }
            *round.lock().unwrap() = Round::End;
            barrier.wait();
        });
        let problems = problems.into_inner().unwrap();
        assert!(problems.is_empty(), "{problems:#?}");
        processes.iter().for_each(Process::end);
        Figures::new(&self.vendor.rotations(), &processes, sign_ins)
    }

    /// How many rotations were not stored: the refresh token that was spent for them came once more. An error where
    /// that was not the fault of a kill.
    fn lost(&self, processes: &[Process<'_>], fire: Option<&Fire>) -> Result<usize, String> {
        let killed = fire.map(Fire::killed).unwrap_or_default();
        let lost: Vec<_> = self.vendor.rotations().into_iter().filter(|rotation| rotation.replayed).collect();
        // The process that had the lock when the server decided has asked; or the one before it, where that was killed
        // while its request was on its way.
        let is_excused = |rotation: &Rotation| {
            holders(processes, rotation.committed).iter().take(2).any(|(_, holder)| killed.contains(holder))
        };
        match lost.iter().find(|rotation| !is_excused(rotation)) {
            None => Ok(lost.len()),
            Some(rotation) => Err(format!("lost without a kill: {rotation:?}")),
        }
    }

    /// Panics unless every token was renewed once, when it had ended, and by one sign-in and those that were needed.
    #[track_caller]
    fn expect_order(&self, figures: &Figures) {
        assert_eq!(figures.needless, 0, "a token was renewed that had not ended");
        assert_eq!(self.vendor.replays(), figures.sign_ins, "a spent refresh token was sent");
        assert_eq!(self.browser.starts().len(), 1 + figures.sign_ins);
        assert_eq!(self.vendor.complaints(), Vec::<String>::new());
    }
}

/// When the processes last had the lock before `time`, and which of them it was, the latest first.
fn holders(processes: &[Process<'_>], time: SystemTime) -> Vec<(SystemTime, u32)> {
    let mut holders: Vec<_> = processes.iter().flat_map(|process| process.locks_before(time)).collect();
    holders.sort_unstable_by(|left, right| right.cmp(left));
    holders
}

/// t065, t068, t069: every token is renewed once, whichever process finds out that it has ended, without another
/// sign-in.
#[test]
fn t065_many_processes_renew_each_token_once() {
    renew_each_token_once(Sandbox::new(), Size::or(16, 50));
}

/// Has many processes live on one sign-in in the store that `sandbox` has, undisturbed.
#[track_caller]
pub fn renew_each_token_once(sandbox: Sandbox, size: Size) {
    let crowd = Crowd::sign_in(sandbox, size);
    let begun = Instant::now();
    let figures = crowd.live(None);
    println!("{size:?} in {:.1?}: {figures}", begun.elapsed());
    crowd.expect_order(&figures);
    assert_eq!(figures.sign_ins, 0);
    assert!(figures.rotations >= size.rotations);
    assert_eq!((figures.saved(), figures.gone), (figures.rotations, 0));
}

/// t070, t072: the same while processes are stopped, continued, told to end, and killed. A process that is told to end
/// saves first. Only who is killed between the server's decision and the save takes the sign-in along.
#[test]
fn t070_t072_only_a_kill_in_the_window_loses_a_sign_in() {
    let size = Size::or(16, 50);
    let fire = Fire::new();
    println!("FINMCP_STRESS_SEED={}", fire.seed());
    let crowd = Crowd::sign_in(Sandbox::new(), size);
    // The window is open for longer than it takes to send a signal.
    for delay in fire.delays(size.rotations * 2) {
        crowd.vendor.fault(On::Path("/token"), Effect::Delay(delay));
    }
    let begun = Instant::now();
    let figures = crowd.live(Some(&fire));
    println!("{size:?} in {:.1?}: {figures}\n  {fire}", begun.elapsed());
    assert_eq!(figures.lost, figures.sign_ins);
    crowd.expect_order(&figures);
    let signals: HashSet<&str> = fire.sent().into_iter().collect();
    assert_eq!(signals.len(), 3, "some signals were never sent: {signals:?}");
    assert!(fire.hits() > 0, "no signal came into the window");
}
