//! The environment variables for an entry.

use std::collections::BTreeMap;

use crate::{
    settings::machine::{Machine, System},
    setup::{
        client::{Client, Scope},
        plaintext,
    },
};

/// The environment variables for an entry: written, passed on, or left to the user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The variables to write, with values.
    pub environment: BTreeMap<String, String>,
    /// The variables that the client should pass on.
    pub passed: Vec<String>,
    /// The variables that finmcp needs but does not write: they contain a password, or a Windows command would have to
    /// set them.
    pub withheld: Vec<&'static str>,
}

impl Surroundings {
    /// The variables of `machine` that a command for headers needs and that `client` drops. An entry cannot ask for them
    /// by name, so the command itself sets them, except on Windows.
    pub fn of_helper(client: Client, scope: Scope, machine: &Machine) -> Self {
        // Claude Code keeps variables that look secret, such as FINMCP_STORE_KEY_FILE, from a project's command.
        let passes = |name: &str| scope == Scope::User && client.passes(name);
        let mut needed = Self::default();
        let bus = Machine::BUS.into_iter().filter(|_| machine.system == System::Linux);
        for name in Machine::NEEDED.into_iter().chain(bus) {
            let Some(value) = machine.variables.get(name).filter(|_| !passes(name)) else { continue };
            if machine.system == System::Windows || plaintext::may_hold_password(name, value) {
                needed.withheld.push(name);
            } else {
                needed.environment.insert(name.to_owned(), written(machine, name, value));
            }
        }
        needed
    }

    /// The variables of `machine` that `serve` needs and that `client` does not pass on.
    pub fn needed(client: Client, machine: &Machine) -> Self {
        let mut needed = Self::default();
        if machine.system == System::Linux {
            needed.passed = client.passed_by_name().iter().map(|name| (*name).to_owned()).collect();
        }
        for name in Machine::NEEDED {
            let Some(value) = machine.variables.get(name).filter(|_| !client.passes(name)) else { continue };
            match plaintext::may_hold_password(name, value) {
                true if client.passed_by_name().is_empty() => needed.withheld.push(name),
                true => needed.passed.push(name.to_owned()),
                false => {
                    needed.environment.insert(name.to_owned(), written(machine, name, value));
                }
            }
        }
        needed
    }
}

/// The value of `name` for an entry: a path is absolute, since the client may start in any folder.
fn written(machine: &Machine, name: &str, value: &str) -> String {
    if Machine::PLACES.contains(&name) { machine.absolute(value) } else { value.to_owned() }
}
