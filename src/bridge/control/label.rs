//! The label on a server: its profile and environment, where users and models read them: in the title and the
//! instructions in the responses to `initialize` and `server/discover`.

use std::collections::HashMap;

use crate::mcp::{
    id::Id,
    message::{Kind, Message},
    meta,
    object::{self, Object},
};

/// The texts of the label, and the requests whose responses get it.
#[derive(Debug)]
pub struct Label {
    /// The prefix of the title, as JSON.
    title_prefix: String,
    /// The prefix of the instructions, as JSON.
    instructions_prefix: String,
    /// The name for a server that does not send one, as JSON.
    name: String,
    /// The client's unanswered `initialize` and `server/discover` requests, with their methods.
    open_requests: HashMap<Id, Box<str>>,
}

impl Label {
    /// The label for `profile` of the server called `title`; `environment` is empty if there is only one.
    pub fn new(title: &str, profile: &str, environment: &str) -> Self {
        let (title_prefix, which) = if environment.is_empty() {
            (format!("[{profile}] "), String::new())
        } else {
            (format!("[{profile}, {environment}] "), format!(", environment \"{environment}\""))
        };
        let instructions_prefix = format!("This is {title}{which} (finmcp profile \"{profile}\").");
        Self {
            title_prefix: object::text(&title_prefix),
            instructions_prefix: object::text(&instructions_prefix),
            name: object::text(title),
            open_requests: HashMap::new(),
        }
    }

    /// Observes a message from the client.
    pub fn received(&mut self, message: &Message) {
        if let Kind::Request { id, method } = &message.kind
            && matches!(&**method, "initialize" | "server/discover")
        {
            self.open_requests.insert(id.clone(), method.clone());
        }
    }

    /// Adds the label to a message for the client that describes the server. If the title cannot be edited, the label
    /// goes into the instructions alone.
    pub fn apply(&mut self, message: Message) -> Message {
        let Kind::Response { id: Some(id), succeeded } = &message.kind else { return message };
        match self.open_requests.remove(id) {
            Some(method) if *succeeded => {
                let whole = message.clone().edited(|message| {
                    message.edit("result", |result| {
                        self.label_title(&method, result);
                        self.label_instructions(result);
                    });
                });
                let labelled = whole.or_else(|| {
                    let message = message.clone();
                    message.edited(|message| message.edit("result", |result| self.label_instructions(result)))
                });
                labelled.unwrap_or(message)
            }
            _ => message,
        }
    }

    fn label_title(&self, method: &str, result: &mut Object<'_>) {
        if method == "initialize" {
            result.edit("serverInfo", |server| self.label_server_info(server));
        } else {
            result.edit("_meta", |meta| meta.edit(meta::SERVER, |server| self.label_server_info(server)));
        }
    }

    fn label_instructions(&self, result: &mut Object<'_>) {
        let instructions = match result.get("instructions") {
            Some(instructions) if instructions.starts_with('"') => {
                prefixed(&prefixed(&self.instructions_prefix, r#""\n\n""#), instructions)
            }
            _ => self.instructions_prefix.clone(),
        };
        result.set("instructions", instructions);
    }

    fn label_server_info(&self, server: &mut Object<'_>) {
        if server.get("name").is_none() {
            server.set("name", self.name.clone());
            server.set("version", r#""""#);
        }
        let title = server.get("title").or_else(|| server.get("name")).unwrap_or(&self.name);
        let title = prefixed(&self.title_prefix, title);
        server.set("title", title);
    }
}

/// Puts `prefix` in front of `text`, both JSON strings; returns `prefix` alone if `text` is not a string.
fn prefixed(prefix: &str, text: &str) -> String {
    match (prefix.strip_suffix('"'), text.strip_prefix('"')) {
        (Some(prefix), Some(text)) => format!("{prefix}{text}"),
        _ => prefix.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    fn labelled(method: &str, answer: &str) -> String {
        let mut label = Label::new("Asset \"x\"", "asset-sandbox", "sandbox");
        label.received(&message(&format!(r#"{{"id":"a","method":"{method}"}}"#)));
        label.received(&message(r#"{"id":"b","method":"tools/call"}"#));
        String::from_utf8(label.apply(message(answer)).raw().to_vec()).unwrap()
    }

    /// a16: a server whose name cannot be edited still gets the label.
    #[test]
    fn a16_an_answer_whose_title_cannot_be_edited_is_labelled_in_its_instructions() {
        for (method, odd) in [
            ("initialize", r#""serverInfo":["n"]"#),
            ("initialize", r#""serverInfo":{},"serverInfo":{"name":"n"}"#),
            ("server/discover", r#""_meta":1"#),
            ("server/discover", r#""_meta":{"io.modelcontextprotocol/serverInfo":"n"}"#),
        ] {
            let said =
                r#""instructions":"This is Asset \"x\", environment \"sandbox\" (finmcp profile \"asset-sandbox\").""#;
            let labelled = labelled(method, &format!(r#"{{"id":"a","result":{{{odd}}}}}"#));
            assert_eq!(labelled, format!(r#"{{"id":"a","result":{{{odd},{said}}}}}"#));
        }
    }

    #[test]
    fn the_label_goes_into_title_and_instructions_and_nothing_else_changes() {
        assert_eq!(
            labelled(
                "initialize",
                r#"{"id":"\u0061","result":{"n":1.10,"serverInfo":{"title":"T\u00e9","name":"N"},"instructions":"do\ud800"}}"#
            ),
            r#"{"id":"\u0061","result":{"n":1.10,"serverInfo":{"title":"[asset-sandbox, sandbox] T\u00e9","name":"N"},"instructions":"This is Asset \"x\", environment \"sandbox\" (finmcp profile \"asset-sandbox\").\n\ndo\ud800"}}"#
        );
        assert_eq!(
            labelled(
                "server/discover",
                r#"{"id":"a","result":{"_meta":{"x":1e400,"io.modelcontextprotocol/serverInfo":{"name":"N"}}}}"#
            ),
            r#"{"id":"a","result":{"_meta":{"x":1e400,"io.modelcontextprotocol/serverInfo":{"name":"N","title":"[asset-sandbox, sandbox] N"}},"instructions":"This is Asset \"x\", environment \"sandbox\" (finmcp profile \"asset-sandbox\")."}}"#
        );
    }

    #[test]
    fn a_server_without_a_name_gets_one() {
        let mut label = Label::new("Masset", "masset", "");
        label.received(&message(r#"{"id":1,"method":"server/discover"}"#));
        let answer = label.apply(message(r#"{"id":1,"result":{"instructions":7}}"#));
        assert_eq!(
            answer.raw(),
            r#"{"id":1,"result":{"instructions":"This is Masset (finmcp profile \"masset\").","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"Masset","version":"","title":"[masset] Masset"}}}}"#
        );
    }

    #[test]
    fn other_responses_pass_unchanged() {
        for answer in [
            r#"{"id":"a","error":{"code":-32601,"message":"no"}}"#,
            r#"{"id":"b","result": {"serverInfo":{"name":"N"}}}"#,
            r#"{"method":"notifications/message","params":{"serverInfo":{}}}"#,
        ] {
            assert_eq!(labelled("initialize", answer), answer);
        }
    }
}
