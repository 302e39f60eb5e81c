//! The renewal of `src/credential/renewal.rs` as a state machine, and every order in which three processes, a person who
//! signs out and in again, crashes and a failing store can come.
//!
//! One move of the model is one thing that other processes can see, or that can fail: a call of the store, the lock, the
//! request, the answer, the use of the token. [`world::Step`] says where each of them is in the code. What must hold is
//! [`Violation`], looked at with every move. To show that each mechanism is needed, and that the model would
//! notice, the tests take them out one by one ([`Rules`]) and expect the very violation that it keeps away.
//!
//! A token is a number: the refresh token and the access token that came with it, newer ones higher.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used)]

mod model;
mod world;

use std::collections::HashSet;

use model::State;
use world::{ALL, CALM, Role, Rules, Violation, World};

/// Looks at everything that can come of `start`. Gives the number of states, or the first violation and the way to it.
fn explore(start: State, rules: Rules) -> Result<usize, (Violation, Vec<String>)> {
    fn visit(state: State, rules: Rules, seen: &mut HashSet<State>, way: &mut Vec<String>) -> Result<(), Violation> {
        for (what, next) in state.moves(rules) {
            way.push(what);
            let next = next?.sorted();
            if !seen.contains(&next) {
                seen.insert(next.clone());
                visit(next, rules, seen, way)?;
            }
            way.pop();
        }
        Ok(())
    }
    let (mut seen, mut way) = (HashSet::new(), Vec::new());
    match visit(start.sorted(), rules, &mut seen, &mut way) {
        Ok(()) => Ok(seen.len()),
        Err(violation) => Err((violation, way)),
    }
}

const THREE: [(Role, u8); 3] = [(Role::Renews, 2); 3];

/// Two of them, and a person who signs out and in again.
const WITH_A_PERSON: [(Role, u8); 4] = [(Role::Renews, 2), (Role::Renews, 1), (Role::SignsOut, 1), (Role::SignsIn, 1)];

/// The worlds that the protocol is looked at in.
fn worlds() -> Vec<(&'static str, State)> {
    vec![
        ("three processes", State::new(&THREE, CALM)),
        ("crashes", State::new(&THREE, World { crashes: 2, ..CALM })),
        ("a failing store", State::new(&THREE, World { failures: 2, ..CALM })),
        ("a store that takes nothing for a while", State::new(&THREE, World { lockings: 1, ..CALM })),
        (
            "a crash, a failure and a lost answer",
            State::new(&THREE, World { crashes: 1, failures: 1, lost_answers: 1, expiries: 1, ..CALM }),
        ),
        ("a person", State::new(&WITH_A_PERSON, World { crashes: 1, failures: 1, ..CALM })),
        ("a server that ends the sign-in", State::new(&THREE, World { revocations: 1, crashes: 1, ..CALM })),
        ("a sign-in from outside", State::new(&THREE, World { revocations: 1, outsider: true, ..CALM })),
    ]
}

fn look(name: &str, start: State, rules: Rules) -> Option<Violation> {
    match explore(start, rules) {
        Ok(states) => {
            println!("{name}: {states} states");
            None
        }
        Err((violation, way)) => {
            println!("{name}: {violation:?}\n  {}", way.join("\n  "));
            Some(violation)
        }
    }
}

/// t065, t066, t068, t070, t080: whatever comes in whatever order, nothing of [`Violation`] does.
#[test]
fn t065_t066_t068_t070_t080_the_protocol_holds() {
    for (name, start) in worlds() {
        assert_eq!(look(name, start, ALL), None, "{name}");
    }
}

/// What each world comes to without a mechanism.
fn without(rules: Rules) -> Vec<Violation> {
    worlds().into_iter().filter_map(|(name, start)| look(name, start, rules)).collect()
}

/// Two processes that decide side by side spend the same refresh token.
#[test]
fn the_lock_is_needed() {
    let found = without(Rules { lock: false, ..ALL });
    assert!(found.contains(&Violation::SentTwice), "{found:?}");
}

/// A lock that outlives who held it, such as a file with a process id in it, stops everybody.
#[test]
fn the_kernel_has_to_free_the_lock() {
    let found = without(Rules { kernel_frees_the_lock: false, ..ALL });
    assert!(found.contains(&Violation::Deadlock), "{found:?}");
}

/// What was read before the wait for the lock has been spent by the process that held it. The proof of the store would
/// even put it back.
#[test]
fn the_second_load_is_needed() {
    let found = without(Rules { reload: false, ..ALL });
    assert!(found.contains(&Violation::OlderOverNewer), "{found:?}");
    let found = without(Rules { reload: false, probe: false, ..ALL });
    assert!(found.contains(&Violation::SentTwice), "{found:?}");
}

/// Each of those who waited would renew what has only just been renewed.
#[test]
fn adopting_a_newer_token_is_needed() {
    let found = without(Rules { adopt: false, ..ALL });
    assert!(found.contains(&Violation::Needless), "{found:?}");
}

/// A refresh token would be spent for a successor that nothing can keep.
#[test]
fn the_proof_of_the_store_is_needed() {
    let found = without(Rules { probe: false, ..ALL });
    assert!(found.contains(&Violation::SpentForNothing), "{found:?}");
}

/// A process would hold a token whose refresh token a crash takes away.
#[test]
fn saving_before_using_is_needed() {
    let found = without(Rules { save_before_use: false, ..ALL });
    assert!(found.contains(&Violation::UsedUnsaved), "{found:?}");
}

/// The refusal of an old credential would clear the new one.
#[test]
fn comparing_before_clearing_is_needed() {
    let found = without(Rules { compare: false, ..ALL });
    assert!(found.contains(&Violation::ClearedAnother), "{found:?}");
}

/// Generations start again with a sign-in after a sign-out: what could not be saved before would pass for its
/// successor.
#[test]
fn t080_the_generation_alone_is_not_enough() {
    let found = without(Rules { lineage: false, ..ALL });
    assert!(found.contains(&Violation::OlderOverNewer), "{found:?}");
}
