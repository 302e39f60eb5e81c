//! The environment variables for an entry.

use std::collections::BTreeMap;

use crate::{
    settings::machine::{Machine, System},
    setup::{client::Client, plaintext},
};

/// The environment variables for an entry: written, passed on, or left to the user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The variables to write, with values.
    pub environment: BTreeMap<String, String>,
    /// The variables that the client should pass on.
    pub passed: Vec<String>,
    /// The variables that `serve` needs but that finmcp does not write, because they contain a password.
    pub withheld: Vec<&'static str>,
}

impl Surroundings {
    /// The variables of `machine` that `serve` needs and that `client` does not pass on.
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
