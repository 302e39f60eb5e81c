//! Which tools a client may see and call.
//!
//! Lists are cut and calls are judged by the same rules, so that a tool is listed exactly when it can be called. finmcp's
//! own tool is not the server's, and never subject to them.

use std::collections::{BTreeSet, HashMap};

use glob::Pattern;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    mcp::{
        id::Id,
        message::{Kind, Message},
        mirrored, object,
    },
    printable::quoted,
};

/// What somebody allows: every rule has to agree. None at all to begin with, and everything passes as it is.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Only tools that do nothing but read: by their `readOnlyHint` (MCP tools, "Tool Annotations"), which is the server's
    /// own word, or else by `known_to_read`.
    pub read_only: bool,
    /// Tools that do nothing but read according to the vendor's documentation, whose list may leave that open.
    pub known_to_read: BTreeSet<String>,
    /// Only tools of such names; all where there are none.
    pub allow: Vec<Pattern>,
    /// No tools of such names, whatever else allows them.
    pub deny: Vec<Pattern>,
}

/// The rules, and what the lists that have passed say of each tool.
#[derive(Debug, Default)]
pub struct Policy {
    rules: Rules,
    /// The tools that were listed, with their `readOnlyHint`.
    listed: HashMap<String, Option<bool>>,
}

/// A tool in a list, as far as it matters here.
#[derive(Deserialize)]
struct Tool {
    name: String,
    #[serde(default)]
    annotations: Value,
}

impl Policy {
    /// With the tools that were listed some time before: the members of a `tools/list` result.
    pub fn new(rules: Rules, remembered: Option<&str>) -> Self {
        let mut policy = Self { rules, listed: HashMap::new() };
        if let Some(tools) = remembered {
            policy.admit(Message::response(&Id::own(0), tools));
        }
        policy
    }

    /// Takes in the answer to `tools/list`, whole or in part, and leaves out of it what is not allowed. Nothing else of it
    /// changes.
    pub fn admit(&mut self, answer: Message) -> Message {
        if self.is_open() {
            return answer;
        }
        mirrored::retain(answer, |text| {
            let Ok(tool) = serde_json::from_str::<Tool>(text) else { return false };
            let hint = match tool.annotations.get("readOnlyHint") {
                None | Some(Value::Null) => None,
                Some(hint) => Some(*hint == Value::Bool(true)),
            };
            self.listed.insert(tool.name.clone(), hint);
            self.reason_against(&tool.name).is_none()
        })
    }

    /// What a client may see of `tools`, the members of a `tools/list` result that has been taken in.
    pub fn visible(&self, tools: &str) -> String {
        let is_allowed =
            |text: &str| serde_json::from_str::<Tool>(text).is_ok_and(|tool| self.reason_against(&tool.name).is_none());
        let answer = Message::response(&Id::own(0), tools);
        let answer = if self.is_open() { answer } else { mirrored::retain(answer, is_allowed) };
        answer.result::<&RawValue>().map_or_else(String::new, |result| result.get().to_owned())
    }

    /// Why the client's `message` is not passed on, in words for the client; none where it is. Only calls of tools are
    /// judged, and under `read_only` only a tool that has been listed, now or earlier, can be found harmless.
    pub fn objection(&self, message: &Message) -> Option<String> {
        #[derive(Deserialize)]
        struct Call {
            name: String,
        }
        if self.is_open() || message.method() != Some("tools/call") {
            return None;
        }
        // Whatever a server might make of anything else, it is not certain what that would be.
        let (Kind::Request { .. }, Some(call)) = (&message.kind, message.parameters::<Call>()) else {
            return Some("This call is not allowed here: it does not name one tool".to_owned());
        };
        let reason = self.reason_against(&call.name)?;
        Some(format!("Tool {} is not allowed here: {reason}", object::text(&quoted(&call.name))))
    }

    /// Whether there are no rules.
    fn is_open(&self) -> bool {
        let Rules { read_only, allow, deny, .. } = &self.rules;
        !read_only && allow.is_empty() && deny.is_empty()
    }

    fn reason_against(&self, tool: &str) -> Option<String> {
        let Rules { read_only, known_to_read, allow, deny } = &self.rules;
        if let Some(pattern) = deny.iter().find(|pattern| pattern.matches(tool)) {
            return Some(format!("finmcp was started with --deny-tool '{pattern}'"));
        }
        if !allow.is_empty() && !allow.iter().any(|pattern| pattern.matches(tool)) {
            return Some("finmcp was started with --allow-tool, and no pattern of that matches".to_owned());
        }
        if !read_only {
            return None;
        }
        match self.listed.get(tool) {
            Some(Some(true)) => None,
            Some(None) | None if known_to_read.contains(tool) => None,
            Some(_) => {
                Some("finmcp was started with --read-only, and the server does not say that it only reads".to_owned())
            }
            None => Some(
                "finmcp was started with --read-only, and what it does is not known yet: list the tools, then try again"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(list: &[&str]) -> Vec<Pattern> {
        list.iter().map(|pattern| pattern.parse().unwrap()).collect()
    }

    fn call(name: &str) -> Message {
        let params = serde_json::json!({"name": name});
        Message::parse(format!(r#"{{"id":1,"method":"tools/call","params":{params}}}"#).into()).unwrap()
    }

    fn allows(policy: &Policy, name: &str) -> bool {
        policy.objection(&call(name)).is_none()
    }

    #[test]
    fn denying_beats_allowing() {
        let rules = Rules { allow: patterns(&["get_*", "x"]), deny: patterns(&["*_secret", "x"]), ..Rules::default() };
        let policy = Policy::new(rules, None);
        for (name, allowed) in [
            ("get_a", true),
            ("get_/a.b-c", true),
            ("get_", true),
            ("get_secret", false),
            ("a", false),
            ("Get_a", false),
            ("x", false),
            ("", false),
        ] {
            assert_eq!(allows(&policy, name), allowed, "{name}");
        }
    }

    /// A hint decides, where there is one; what is none is no permission, and the last list counts.
    #[test]
    fn only_what_is_known_to_read_is_harmless() {
        let known_to_read = ["documented".to_owned(), "denied".to_owned()].into();
        let rules = Rules { read_only: true, known_to_read, ..Rules::default() };
        let mut policy =
            Policy::new(rules, Some(r#"{"tools":[{"name":"earlier","annotations":{"readOnlyHint":true}}]}"#));
        assert!(allows(&policy, "earlier") && allows(&policy, "documented"));
        let list = r#"{"id":1,"result":{"tools":[{"name":"a","annotations":{"readOnlyHint":true}},{"name":"b","annotations":{"readOnlyHint":"true"}},{"name":"c","annotations":null},{"name":"denied","annotations":{"readOnlyHint":false}},{"name":"documented","annotations":{"readOnlyHint":null}},{"name":7,"annotations":{"readOnlyHint":true}}]}}"#;
        let cut = policy.admit(Message::parse(list.into()).unwrap());
        let expected = r#"{"id":1,"result":{"tools":[{"name":"a","annotations":{"readOnlyHint":true}},{"name":"documented","annotations":{"readOnlyHint":null}}]}}"#;
        assert_eq!(cut.raw(), expected);
        for (name, allowed) in [("a", true), ("b", false), ("c", false), ("denied", false), ("documented", true)] {
            assert_eq!(allows(&policy, name), allowed, "{name}");
        }
        let list = r#"{"id":1,"result":{"tools":[{"name":"a"},{"name":"earlier","annotations":{}}]}}"#;
        policy.admit(Message::parse(list.into()).unwrap());
        assert!(!allows(&policy, "a") && !allows(&policy, "earlier"));
    }

    #[test]
    fn the_clients_terminal_is_not_steered() {
        let policy = Policy::new(Rules { deny: patterns(&["*"]), ..Rules::default() }, None);
        let objection = policy.objection(&call("a\u{1b}[2Jb\u{202e}")).unwrap();
        assert_eq!(objection, r#"Tool "a[2Jb" is not allowed here: finmcp was started with --deny-tool '*'"#);
    }

    #[test]
    fn without_rules_everything_passes() {
        let mut policy = Policy::new(Rules { known_to_read: ["a".to_owned()].into(), ..Rules::default() }, None);
        let list = Message::parse(r#"{"id":1,"result":{ "tools" : [{"name":7}] }}"#.into()).unwrap();
        assert_eq!(policy.admit(list.clone()).raw(), list.raw());
        assert_eq!(policy.visible(r#"{"tools":[{"name":7}]}"#), r#"{"tools":[{"name":7}]}"#);
        assert!(allows(&policy, "b"));
        assert_eq!(policy.objection(&Message::parse(r#"{"method":"tools/call"}"#.into()).unwrap()), None);
    }
}
