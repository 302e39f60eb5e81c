//! An MCP extension that finmcp supports on behalf of the client, declared to the server.
//!
//! finmcp, not the client, signs in. A server that requires an extension for that asks for its declaration among the
//! client's capabilities (MCP 2026-07-28 "Extensions", "Negotiation"), where only finmcp can add it.

use crate::mcp::{
    message::{Kind, Message},
    meta,
    object::{self, Object},
};

/// An extension's identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension(&'static str);

/// Signing in through a company's identity provider (MCP "Enterprise-Managed Authorization").
pub const ENTERPRISE_MANAGED_AUTHORIZATION: Extension =
    Extension("io.modelcontextprotocol/enterprise-managed-authorization");

impl Extension {
    /// `message` with this extension among the client's capabilities, if it states any: in a legacy `initialize`, or in
    /// the `_meta` of a modern request. All other members keep their bytes. Capabilities that already have it, or that
    /// cannot be edited, stay as they are.
    pub fn declared_in(self, message: Message) -> Message {
        let Kind::Request { method, .. } = &message.kind else { return message };
        let is_legacy = &**method == "initialize";
        let capabilities = match is_legacy {
            true => message.member("capabilities"),
            false => message
                .member("_meta")
                .and_then(|meta| Object::parse(&meta)?.get(meta::CAPABILITIES).map(str::to_owned)),
        };
        let is_missing = |capabilities: String| object::found(&capabilities, &["extensions", self.0]).is_none();
        if !capabilities.is_some_and(is_missing) {
            return message;
        }
        let add = |all: &mut Object<'_>| all.edit("extensions", |extensions| extensions.set(self.0, "{}"));
        let edit = |message: &mut Object<'_>| {
            message.edit("params", |parameters| match is_legacy {
                true => parameters.edit("capabilities", add),
                false => parameters.edit("_meta", |meta| meta.edit(meta::CAPABILITIES, add)),
            });
        };
        message.clone().edited(edit).unwrap_or(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "io.modelcontextprotocol/enterprise-managed-authorization";

    fn declared(text: &str) -> String {
        let message = Message::parse(text.to_owned().into()).unwrap();
        String::from_utf8(ENTERPRISE_MANAGED_AUTHORIZATION.declared_in(message).raw().to_vec()).unwrap()
    }

    fn modern(capabilities: &str, rest: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"a":1.10,"_meta":{{"io.modelcontextprotocol/clientCapabilities":{capabilities},"x":1e2}}{rest}}}}}"#
        )
    }

    #[test]
    fn only_the_declaration_is_added() {
        let all = format!(r#"{{"extensions":{{"v/ui":1.0,"{NAME}":{{}}}},"roots":{{"x":1e2}}}}"#);
        let before = r#"{"extensions":{"v/ui":1.0},"roots":{"x":1e2}}"#;
        assert_eq!(declared(&modern(before, r#","z":"\ud800""#)), modern(&all, r#","z":"\ud800""#));
        let hello = |capabilities: &str| {
            format!(r#"{{"id":1.50,"method":"initialize","params":{{"capabilities":{capabilities},"n":1e400}}}}"#)
        };
        assert_eq!(declared(&hello(before)), hello(&all));
        let alone = format!(r#"{{"extensions":{{"{NAME}":{{}}}}}}"#);
        for empty in ["{}", r#"{"extensions":null}"#, r#"{"extensions":{}}"#] {
            assert_eq!((declared(&hello(empty)), declared(&modern(empty, ""))), (hello(&alone), modern(&alone, "")));
        }
    }

    /// Every byte stays, spaces too.
    #[test]
    fn other_messages_stay_as_they_are() {
        let already = format!(r#"{{"extensions":{{"{NAME}":{{"v":1.0}}}}}}"#);
        for text in [
            r#"{"id":1, "method":"tools/list"}"#.to_owned(),
            r#"{"id":1, "method":"tools/call","params":{"capabilities":{}}}"#.to_owned(),
            r#"{"id":1, "method":"tools/call","params":{"_meta":{"progressToken":1}}}"#.to_owned(),
            r#"{"id":1, "method":"initialize","params":[]}"#.to_owned(),
            r#"{"method":"notifications/x", "params":{"_meta":{"io.modelcontextprotocol/clientCapabilities":{}}}}"#
                .to_owned(),
            r#"{"id":1, "result":{"capabilities":{}}}"#.to_owned(),
            modern("[ ]", ""),
            modern(r#"{ "extensions":[1]}"#, ""),
            modern(r#"{ "extensions":{},"extensions":{}}"#, ""),
            modern(&already, r#", "spaced": 1"#),
        ] {
            assert_eq!(declared(&text), text);
        }
    }

    #[test]
    fn the_record_of_attempts_is_kept() {
        let message = Message::parse(modern("{}", "").into()).unwrap().recorded();
        message.attempts().send();
        message.attempts().may_have_run();
        let declared = ENTERPRISE_MANAGED_AUTHORIZATION.declared_in(message);
        assert!(!declared.attempts().admits(crate::mcp::attempts::Reason::Token));
    }
}
