//! What an entry has to say about the environment.

use std::collections::BTreeMap;

use crate::{
    settings::machine::{Machine, System},
    setup::{client::Client, plaintext},
};

/// The variables of an entry: written, asked for, or left to the person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The variables to write, with their values.
    pub environment: BTreeMap<String, String>,
    /// The variables to ask the client for.
    pub passed: Vec<String>,
    /// The variables that `serve` needs, and that nothing but the person can give it: they hold a password.
    pub withheld: Vec<&'static str>,
}

impl Surroundings {
    /// What `serve` needs of `machine`'s environment and does not get from `client` by itself.
    pub fn needed(client: Client, machine: &Machine) -> Self {
        let mut needed = Self::default();
        if machine.system == System::Linux {
            needed.passed = client.passed_by_name().iter().map(|name| (*name).to_owned()).collect();
        }
        for name in Machine::NEEDED {
            let Some(value) = machine.variables.get(name).filter(|_| !client.passes(name)) else { continue };
            let is_place = Machine::PLACES.contains(&name);
            match plaintext::may_hold_password(name, value) {
                true if client.passed_by_name().is_empty() => needed.withheld.push(name),
                true => needed.passed.push(name.to_owned()),
                false => {
                    let value = if is_place { machine.absolute(value) } else { value.clone() };
                    needed.environment.insert(name.to_owned(), value);
                }
            }
        }
        needed
    }
}
