//! Which tools a client may see and call.
//!
//! The same rules filter lists and judge calls, so that a tool is listed exactly when it can be called. They never
//! apply to finmcp's own tool.

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

/// Which tools are allowed. A tool must satisfy every rule; without any rule, messages pass unchanged.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Only tools that do nothing but read: by their `readOnlyHint` (MCP tools, "Tool Annotations"), which the server
    /// itself declares, or else by `known_to_read`.
    pub read_only: bool,
    /// Tools that only read, according to the vendor's documentation; for servers whose list does not say.
    pub known_to_read: BTreeSet<String>,
    /// Only tools matching one of these; all tools if there is none.
    pub allow: Vec<Pattern>,
    /// No tools matching one of these, even if another rule allows them.
    pub deny: Vec<Pattern>,
}

/// The rules, and the hints from the tool lists seen so far.
#[derive(Debug, Default)]
pub struct Policy {
    rules: Rules,
    /// The listed tools, with their `readOnlyHint`.
    listed: HashMap<String, Option<bool>>,
}

/// The members of a listed tool that matter here.
#[derive(Deserialize)]
struct Tool {
    name: String,
    #[serde(default)]
    annotations: Value,
}

impl Policy {
    /// A policy that also knows a remembered list: the members of a `tools/list` result.
    pub fn new(rules: Rules, remembered: Option<&str>) -> Self {
        let mut policy = Self { rules, listed: HashMap::new() };
        if let Some(tools) = remembered {
            policy.filter_list(Message::response(&Id::own(0), tools));
        }
        policy
    }

    /// Learns from a response to `tools/list`, or one page of it, and removes the tools that are not allowed. Nothing
    /// else changes.
    pub fn filter_list(&mut self, answer: Message) -> Message {
        if self.has_no_rules() {
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

    /// The part of `tools` that the client may see. `tools` holds the members of a `tools/list` result already passed
    /// to [`Self::filter_list`].
    pub fn visible(&self, tools: &str) -> String {
        let is_allowed =
            |text: &str| serde_json::from_str::<Tool>(text).is_ok_and(|tool| self.reason_against(&tool.name).is_none());
        let answer = Message::response(&Id::own(0), tools);
        let answer = if self.has_no_rules() { answer } else { mirrored::retain(answer, is_allowed) };
        answer.result::<&RawValue>().map_or_else(String::new, |result| result.get().to_owned())
    }

    /// Why `message` from the client is refused, in a text for the client; none if it may pass. Only tool calls are
    /// judged. Under `read_only`, a tool has to have been listed, now or earlier.
    pub fn refusal_reason(&self, message: &Message) -> Option<String> {
        #[derive(Deserialize)]
        struct Call {
            name: String,
        }
        if self.has_no_rules() || message.method() != Some("tools/call") {
            return None;
        }
        // A server might carry out something else as a call, so anything unclear is refused.
        let (Kind::Request { .. }, Some(call)) = (&message.kind, message.parameters::<Call>()) else {
            return Some("This call is not allowed: it does not name exactly one tool".to_owned());
        };
        let reason = self.reason_against(&call.name)?;
        Some(format!("Tool {} is not allowed: {reason}", object::text(&quoted(&call.name))))
    }

    fn has_no_rules(&self) -> bool {
        let Rules { read_only, allow, deny, .. } = &self.rules;
        !read_only && allow.is_empty() && deny.is_empty()
    }

    fn reason_against(&self, tool: &str) -> Option<String> {
        let Rules { read_only, known_to_read, allow, deny } = &self.rules;
        if let Some(pattern) = deny.iter().find(|pattern| pattern.matches(tool)) {
            return Some(format!("finmcp was started with --deny-tool '{pattern}'"));
        }
        if !allow.is_empty() && !allow.iter().any(|pattern| pattern.matches(tool)) {
            return Some("finmcp was started with --allow-tool, and none of its patterns matches".to_owned());
        }
        if !read_only {
            return None;
        }
        match self.listed.get(tool) {
            Some(Some(true)) => None,
            Some(None) | None if known_to_read.contains(tool) => None,
            Some(_) => Some(
                "finmcp was started with --read-only, and the server does not mark this tool as read-only".to_owned(),
            ),
            None => Some(
                "finmcp was started with --read-only, and does not know this tool yet: list the tools, then try again"
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
        policy.refusal_reason(&call(name)).is_none()
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

    /// A hint decides if the server sends one; a malformed hint permits nothing, and the latest list counts.
    #[test]
    fn only_tools_known_to_read_are_allowed_read_only() {
        let known_to_read = ["documented".to_owned(), "denied".to_owned()].into();
        let rules = Rules { read_only: true, known_to_read, ..Rules::default() };
        let mut policy =
            Policy::new(rules, Some(r#"{"tools":[{"name":"earlier","annotations":{"readOnlyHint":true}}]}"#));
        assert!(allows(&policy, "earlier") && allows(&policy, "documented"));
        let list = r#"{"id":1,"result":{"tools":[{"name":"a","annotations":{"readOnlyHint":true}},{"name":"b","annotations":{"readOnlyHint":"true"}},{"name":"c","annotations":null},{"name":"denied","annotations":{"readOnlyHint":false}},{"name":"documented","annotations":{"readOnlyHint":null}},{"name":7,"annotations":{"readOnlyHint":true}}]}}"#;
        let cut = policy.filter_list(Message::parse(list.into()).unwrap());
        let expected = r#"{"id":1,"result":{"tools":[{"name":"a","annotations":{"readOnlyHint":true}},{"name":"documented","annotations":{"readOnlyHint":null}}]}}"#;
        assert_eq!(cut.raw(), expected);
        for (name, allowed) in [("a", true), ("b", false), ("c", false), ("denied", false), ("documented", true)] {
            assert_eq!(allows(&policy, name), allowed, "{name}");
        }
        let list = r#"{"id":1,"result":{"tools":[{"name":"a"},{"name":"earlier","annotations":{}}]}}"#;
        policy.filter_list(Message::parse(list.into()).unwrap());
        assert!(!allows(&policy, "a") && !allows(&policy, "earlier"));
    }

    #[test]
    fn a_refusal_carries_no_terminal_control_characters() {
        let policy = Policy::new(Rules { deny: patterns(&["*"]), ..Rules::default() }, None);
        let refusal_reason = policy.refusal_reason(&call("a\u{1b}[2Jb\u{202e}")).unwrap();
        assert_eq!(refusal_reason, r#"Tool "a[2Jb" is not allowed: finmcp was started with --deny-tool '*'"#);
    }

    #[test]
    fn without_rules_everything_passes() {
        let mut policy = Policy::new(Rules { known_to_read: ["a".to_owned()].into(), ..Rules::default() }, None);
        let list = Message::parse(r#"{"id":1,"result":{ "tools" : [{"name":7}] }}"#.into()).unwrap();
        assert_eq!(policy.filter_list(list.clone()).raw(), list.raw());
        assert_eq!(policy.visible(r#"{"tools":[{"name":7}]}"#), r#"{"tools":[{"name":7}]}"#);
        assert!(allows(&policy, "b"));
        assert_eq!(policy.refusal_reason(&Message::parse(r#"{"method":"tools/call"}"#.into()).unwrap()), None);
    }
}
