//! How a server describes itself at the beginning of a conversation, in the format of either era.
//!
//! Descriptions are remembered, so that finmcp can respond to a client while the server cannot be asked: because the
//! user is signed out, or the server is slow.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    conversation::transport::Transport,
    mcp::{
        introduction,
        message::Message,
        meta,
        object::{self, Object},
        revision::{Era, LEGACY, LEGACY_REVISIONS, MODERN},
        tasks,
    },
};

/// A server's response to `initialize` (MCP 2025-11-25 lifecycle, "Initialization") or to `server/discover` (MCP
/// 2026-07-28, "Discovery"), and the tools that it listed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Description {
    /// The era that the server speaks.
    pub era: Era,
    /// The transport to the server.
    #[serde(default)]
    pub transport: Transport,
    /// The result, byte for byte.
    result: Box<RawValue>,
    /// The last complete `tools/list` result, byte for byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tools: Option<Box<RawValue>>,
}

/// The result for `list`, a request for the list of tools, from an earlier result `remembered`, or with no tools. The
/// client must not cache it.
pub fn listed<'a>(list: &Message, remembered: Option<&'a str>) -> Object<'a> {
    let mut result = remembered.and_then(Object::parse).unwrap_or_default();
    if result.get("tools").is_none() {
        result.set("tools", "[]");
    }
    if Era::of_message(list) == Era::Modern {
        result.set("resultType", r#""complete""#);
        result.set("cacheScope", r#""private""#);
        result.set("ttlMs", "0");
    } else if result.get("ttlMs").is_some() {
        result.set("ttlMs", "0");
    }
    result
}

impl Description {
    /// From `answer`, a result of `initialize` or `server/discover`.
    pub fn learn(era: Era, answer: &Message) -> Option<Self> {
        Some(Self { era, transport: Transport::default(), result: answer.result()?, tools: None })
    }

    /// The same server over another transport.
    pub fn over(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    /// The description of a server of which only the name is known: it may have tools.
    pub fn minimal(title: &str) -> Self {
        let mut server = Object::default();
        server.set("name", object::text(title));
        server.set("version", r#""""#);
        let mut result = Object::default();
        result.set("protocolVersion", object::text(LEGACY));
        result.set("capabilities", r#"{"tools":{"listChanged":true}}"#);
        result.set("serverInfo", server.to_string());
        let result = RawValue::from_string(result.to_string()).unwrap_or_default();
        Self { era: Era::Legacy, transport: Transport::default(), result, tools: None }
    }

    /// The description to use while the server cannot be asked: its tools may change.
    pub fn tentative(&self) -> Self {
        let mut result = self.members();
        result.edit("capabilities", |all| {
            all.edit("tools", |tools| tools.set("listChanged", "true"));
        });
        if self.era == Era::Modern {
            result.set("ttlMs", "0");
        }
        let result = RawValue::from_string(result.to_string()).unwrap_or_else(|_| self.result.clone());
        Self { result, ..self.clone() }
    }

    /// The tools that the server listed last: the members of a `tools/list` result.
    pub fn tools(&self) -> Option<&str> {
        self.tools.as_deref().map(RawValue::get)
    }

    /// Records the server's tools if `answer` is a complete list. Returns whether they changed.
    pub fn learn_tools(&mut self, answer: &Message) -> bool {
        let Some(listed) = answer.result::<Box<RawValue>>() else { return false };
        let is_list = Object::parse(listed.get()).is_some_and(|members| members.get("tools").is_some());
        let is_new = is_list && !Self::is_part_of_list(answer) && self.tools() != Some(listed.get());
        if is_new {
            self.tools = Some(listed);
        }
        is_new
    }

    /// Whether `answer` is one page of a list with more pages (MCP pagination).
    pub fn is_part_of_list(answer: &Message) -> bool {
        answer
            .result::<Object<'_>>()
            .is_some_and(|result| result.get("nextCursor").is_some_and(|cursor| cursor != "null"))
    }

    /// With the tools of an earlier description, until the server lists them again.
    pub fn with_tools_of(self, before: Option<&Self>) -> Self {
        Self { tools: before.and_then(|before| before.tools.clone()), ..self }
    }

    /// Whether both describe the server alike, apart from its tools.
    pub fn describes_the_same_as(&self, other: &Self) -> bool {
        (self.era, self.transport) == (other.era, other.transport) && self.result.get() == other.result.get()
    }

    /// The result of an `initialize` that requests the revision `requested`.
    pub fn as_initialize_result(&self, requested: &str) -> String {
        let known = LEGACY_REVISIONS.into_iter().find(|revision| *revision == requested);
        let mut result = self.members();
        if self.era == Era::Modern {
            let server = Object::parse(result.get("_meta").unwrap_or_default())
                .and_then(|meta| meta.get(meta::SERVER).map(str::to_owned));
            result.remove(|name| !matches!(name, "capabilities" | "instructions"));
            offer_no_tasks(&mut result);
            result.set("protocolVersion", object::text(known.unwrap_or(LEGACY)));
            result.set("serverInfo", server.unwrap_or_else(|| r#"{"name":"MCP server","version":""}"#.to_owned()));
        } else if let Some(known) = known {
            result.set("protocolVersion", object::text(known));
        }
        result.to_string()
    }

    /// The result of a `server/discover`.
    pub fn as_discover_result(&self) -> String {
        let mut result = self.members();
        if self.era == Era::Legacy {
            let server = result.get("serverInfo").map(str::to_owned);
            result.remove(|name| !matches!(name, "capabilities" | "instructions"));
            offer_no_tasks(&mut result);
            result.set("resultType", r#""complete""#);
            result.set("supportedVersions", format!("[{}]", object::text(MODERN)));
            result.set("ttlMs", "0");
            result.set("cacheScope", r#""private""#);
            if let Some(server) = server {
                result.edit("_meta", |meta| meta.set(meta::SERVER, server));
            }
        }
        result.to_string()
    }

    /// A capability that the server declares, as JSON; `path` is `["tools", "listChanged"]`, for example.
    pub fn capability(&self, path: &[&str]) -> Option<String> {
        object::found(self.members().get("capabilities")?, path)
    }

    /// Logs who the server says it is, and how it is spoken to.
    pub fn log(&self) {
        let members = self.members();
        let server = match self.era {
            Era::Legacy => members.get("serverInfo").map(str::to_owned),
            Era::Modern => members.get("_meta").and_then(|meta| object::found(meta, &[meta::SERVER])),
        };
        let (era, server) =
            (self.era.revisions(), introduction::name_and_version(server.as_deref().unwrap_or_default()));
        tracing::info!("server: {server}, {era}, over {}", self.transport.name());
    }

    /// The revisions that a modern server supports, latest last.
    pub fn supported_versions(&self) -> Vec<String> {
        let mut versions: Vec<String> = self
            .members()
            .get("supportedVersions")
            .and_then(|list| serde_json::from_str(list).ok())
            .unwrap_or_default();
        versions.sort_unstable();
        versions
    }

    fn members(&self) -> Object<'_> {
        Object::parse(self.result.get()).unwrap_or_default()
    }
}

/// Removes the tasks capability, which a client of the other era cannot use.
fn offer_no_tasks(result: &mut Object<'_>) {
    if let Some(rest) = result.get("capabilities").map(tasks::without_tasks) {
        result.set("capabilities", rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(era: Era, result: &str) -> Description {
        let answer = Message::parse(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#).into()).unwrap();
        Description::learn(era, &answer).unwrap()
    }

    const LEGACY_RESULT: &str = r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{},"x":1.10},"serverInfo":{"name":"L","version":"1"},"instructions":"i"}"#;
    const MODERN_RESULT: &str = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"M","version":"2"}},"ttlMs":5,"cacheScope":"public"}"#;

    #[test]
    fn a_description_is_translated_to_either_era() {
        let legacy = description(Era::Legacy, LEGACY_RESULT);
        assert_eq!(legacy.as_initialize_result("2025-06-18"), LEGACY_RESULT);
        assert_eq!(legacy.as_initialize_result("1999-01-01"), LEGACY_RESULT);
        assert_eq!(
            legacy.as_discover_result(),
            r#"{"capabilities":{"tools":{},"x":1.10},"instructions":"i","resultType":"complete","supportedVersions":["2026-07-28"],"ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"L","version":"1"}}}"#
        );
        let modern = description(Era::Modern, MODERN_RESULT);
        assert_eq!(modern.as_discover_result(), MODERN_RESULT);
        assert_eq!(
            modern.as_initialize_result("2024-11-05"),
            r#"{"capabilities":{"tools":{"listChanged":true}},"protocolVersion":"2024-11-05","serverInfo":{"name":"M","version":"2"}}"#
        );
        assert!(modern.as_initialize_result("2099-01-01").contains(r#""protocolVersion":"2025-11-25""#));
        assert_eq!(modern.supported_versions(), ["2026-07-28"]);
    }

    /// b15: the two eras have different kinds of tasks.
    #[test]
    fn b15_a_servers_tasks_are_offered_in_its_own_era_only() {
        let legacy = r#"{"protocolVersion":"2025-11-25","capabilities":{"tasks":{"list":{}},"tools":{}},"serverInfo":{"name":"L","version":"1"}}"#;
        let legacy = description(Era::Legacy, legacy);
        assert!(legacy.as_initialize_result("2025-11-25").contains(r#""tasks":{"list":{}}"#));
        assert!(legacy.as_discover_result().starts_with(r#"{"capabilities":{"tools":{}},"#));
        let modern = r#"{"supportedVersions":["2026-07-28"],"capabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}},"tools":{}}}"#;
        let modern = description(Era::Modern, modern);
        assert!(modern.as_discover_result().contains("io.modelcontextprotocol/tasks"));
        assert!(modern.as_initialize_result("2025-11-25").starts_with(r#"{"capabilities":{"tools":{}},"#));
        assert!(!modern.tentative().as_initialize_result("2025-11-25").contains("io.modelcontextprotocol/tasks"));
    }

    #[test]
    fn capabilities_are_found() {
        let description = description(Era::Modern, MODERN_RESULT);
        assert_eq!(description.capability(&["tools", "listChanged"]).as_deref(), Some("true"));
        assert_eq!(description.capability(&["resources", "subscribe"]), None);
    }

    #[test]
    fn a_tentative_description_may_change() {
        let legacy = description(Era::Legacy, LEGACY_RESULT).tentative();
        assert_eq!(legacy.capability(&["tools", "listChanged"]).as_deref(), Some("true"));
        assert_eq!(legacy.capability(&["x"]).as_deref(), Some("1.10"));
        assert!(description(Era::Modern, MODERN_RESULT).tentative().as_discover_result().contains(r#""ttlMs":0"#));
        let minimal = Description::minimal("A \"quoted\" name");
        assert!(minimal.as_initialize_result("2025-03-26").contains(r#""name":"A \"quoted\" name""#));
    }

    #[test]
    fn only_complete_lists_are_remembered() {
        let mut description = description(Era::Legacy, LEGACY_RESULT);
        let list = |result: &str| Message::parse(format!(r#"{{"id":1,"result":{result}}}"#).into()).unwrap();
        for part in [r#"{"tools":[],"nextCursor":"2"}"#, r#"{"resources":[]}"#, "1"] {
            assert!(!description.learn_tools(&list(part)));
        }
        assert!(description.learn_tools(&list(r#"{"tools":[{"name":"a","n":1.0}]}"#)));
        assert!(!description.learn_tools(&list(r#"{"tools":[{"name":"a","n":1.0}]}"#)));
        assert_eq!(description.tools(), Some(r#"{"tools":[{"name":"a","n":1.0}]}"#));
        let stored = serde_json::to_string(&description).unwrap();
        let read: Description = serde_json::from_str(&stored).unwrap();
        assert_eq!(read.tools(), description.tools());
        assert!(read.describes_the_same_as(&description));
    }

    #[test]
    fn the_transport_is_remembered() {
        let before = r#"{"era":"legacy","result":{}}"#;
        let before: Description = serde_json::from_str(before).unwrap();
        assert_eq!(before.transport, Transport::StreamableHttp);
        let after = before.clone().over(Transport::HttpSse);
        assert!(!after.describes_the_same_as(&before));
        let read: Description = serde_json::from_str(&serde_json::to_string(&after).unwrap()).unwrap();
        assert!(read.describes_the_same_as(&after));
        assert_eq!(read.tentative().transport, Transport::HttpSse);
    }
}
