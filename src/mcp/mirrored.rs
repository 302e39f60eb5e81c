//! Tool arguments that a modern server wants mirrored into HTTP headers.
//!
//! MCP 2026-07-28 Streamable HTTP, "Custom Headers from Tool Parameters".

use std::collections::{BTreeSet, HashMap};

use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::mcp::{headers, message::Message, object::Object};

const ANNOTATION: &str = "x-mcp-header";

/// The header annotations in the `tools/list` results that have passed.
#[derive(Debug, Default)]
pub struct Tools(HashMap<String, Vec<Mirrored>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mirrored {
    /// The path of property names to the argument.
    path: Vec<String>,
    header: HeaderName,
}

#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    name: String,
    #[serde(borrow, rename = "inputSchema")]
    input_schema: &'a RawValue,
}

impl Tools {
    /// Learns the annotations in a response to `tools/list`, and removes tools with invalid ones, which a client must
    /// not see. All other bytes stay the same.
    pub fn learn(&mut self, answer: Message) -> Message {
        if memchr::memmem::find(answer.raw(), ANNOTATION.as_bytes()).is_none() {
            return answer;
        }
        retain(answer, |text| {
            let Ok(tool) = serde_json::from_str::<Tool<'_>>(text) else { return true };
            match serde_json::from_str(tool.input_schema.get()).map_err(|_| "not JSON").and_then(mirrored) {
                Ok(mirrored) => drop(self.0.insert(tool.name, mirrored)),
                Err(reason) => {
                    tracing::warn!(tool = %crate::printable::quoted(&tool.name), reason, "removed a tool with an invalid x-mcp-header");
                    return false;
                }
            }
            true
        })
    }

    /// Adds the headers for the arguments of a call: a string decoded, a number or boolean exactly as the client wrote
    /// it. Otherwise a server that compares the texts would always refuse the call.
    pub fn mirror(&self, call: &Message, headers: &mut HeaderMap) {
        #[derive(Deserialize)]
        struct Call {
            name: String,
        }
        if self.0.is_empty() || call.method() != Some("tools/call") {
            return;
        }
        let tool = call.parameters::<Call>().and_then(|call| self.0.get(&call.name));
        let Some(mirrored) = tool.filter(|mirrored| !mirrored.is_empty()) else { return };
        let text = std::str::from_utf8(call.raw()).unwrap_or_default();
        let Some(arguments) = value_at(text, &["params", "arguments"]) else { return };
        for Mirrored { path, header } in mirrored {
            if let Some(text) = value_at(&arguments, path).and_then(header_text) {
                headers.insert(header.clone(), headers::encode(&text));
            }
        }
    }
}

/// The JSON value at `path` in `object`. If a name occurs twice, the last one counts, as in most servers.
fn value_at(object: &str, path: &[impl AsRef<str>]) -> Option<String> {
    let (name, rest) = path.split_first()?;
    let object = Object::parse(object)?;
    let value = object.last(name.as_ref())?;
    if rest.is_empty() { Some(value.to_owned()) } else { value_at(value, rest) }
}

/// The header text of a JSON value; `None` for `null`, an array, an object, or a string that is not valid Unicode (MCP
/// 2026-07-28 transports, "Value Encoding").
fn header_text(value: String) -> Option<String> {
    match value.as_bytes().first()? {
        b'"' => serde_json::from_str(&value).ok(),
        b't' | b'f' | b'-' | b'0'..=b'9' => Some(value),
        _ => None,
    }
}

/// Keeps only the tools in a response to `tools/list` for which `keep` returns true, given each tool's JSON. All other
/// bytes stay the same.
pub fn retain(answer: Message, mut keep: impl FnMut(&str) -> bool) -> Message {
    let Some(Listed { tools }) = answer.result::<Listed<'_>>() else { return answer };
    let (first, last) = match tools[..] {
        [first, .., last] => (first, last),
        [only] => (only, only),
        [] => return answer,
    };
    let all = tools.len();
    let kept: Vec<&str> = tools.into_iter().map(RawValue::get).filter(|tool| keep(tool)).collect();
    if kept.len() == all {
        return answer;
    }
    let start = |element: &RawValue| element.get().as_ptr() as usize - answer.raw().as_ptr() as usize;
    let mut shorter = answer.raw()[..start(first)].to_vec();
    shorter.extend_from_slice(kept.join(",").as_bytes());
    shorter.extend_from_slice(&answer.raw()[start(last) + last.get().len()..]);
    Message::parse(shorter.into()).unwrap_or(answer)
}

fn mirrored(schema: Value) -> Result<Vec<Mirrored>, &'static str> {
    let mut found = Vec::new();
    collect(&schema, &mut Vec::new(), &mut found)?;
    let distinct: BTreeSet<&str> = found.iter().map(|mirrored| mirrored.header.as_str()).collect();
    if distinct.len() < found.len() { Err("two parameters share a header") } else { Ok(found) }
}

/// Collects annotations. They are allowed only on properties that a chain of `properties` reaches.
fn collect(schema: &Value, path: &mut Vec<String>, found: &mut Vec<Mirrored>) -> Result<(), &'static str> {
    let Value::Object(members) = schema else { return Ok(()) };
    if let Some(annotation) = members.get(ANNOTATION) {
        let kind = members.get("type").and_then(Value::as_str);
        if path.is_empty() || !matches!(kind, Some("string" | "integer" | "boolean")) {
            return Err("only a string, integer or boolean can have a header");
        }
        let name = annotation.as_str().filter(|name| !name.is_empty()).ok_or("the header name is missing")?;
        let header = HeaderName::from_bytes(format!("mcp-param-{name}").as_bytes())
            .map_err(|_| "the header name has invalid characters")?;
        found.push(Mirrored { path: path.clone(), header });
    }
    for (keyword, value) in members {
        match (keyword.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                for (name, property) in properties {
                    path.push(name.clone());
                    collect(property, path, found)?;
                    path.pop();
                }
            }
            // These contain values, not schemas.
            ("default" | "const" | "enum" | "examples", _) => {}
            _ if is_annotated(value) => return Err("only a plain property can have a header"),
            _ => {}
        }
    }
    Ok(())
}

fn is_annotated(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.contains_key(ANNOTATION) || members.values().any(is_annotated),
        Value::Array(elements) => elements.iter().any(is_annotated),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(tools: &[Value]) -> Message {
        let tools = serde_json::to_string(tools).unwrap();
        Message::parse(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"n":1.10,"tools":{tools},"z":1e2}}}}"#).into())
            .unwrap()
    }

    fn tool(name: &str, properties: Value) -> Value {
        json!({"name": name, "inputSchema": {"type": "object", "properties": properties}})
    }

    fn headers_of(tools: &Tools, arguments: impl std::fmt::Display) -> Vec<(String, String)> {
        let call = format!(r#"{{"id":1,"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#);
        let mut headers = HeaderMap::new();
        tools.mirror(&Message::parse(call.into()).unwrap(), &mut headers);
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    /// A tool with one mirrored argument of each type: `n`, `s`, `b`, and `a.b/c.~"d`, whose names need escapes.
    fn mirroring() -> Tools {
        let mut tools = Tools::default();
        let nested = json!({"type": "object", "properties": {"b/c": {"type": "object", "properties": {
            "~\"d": {"type": "integer", "x-mcp-header": "Nested"},
        }}}});
        tools.learn(list(&[tool(
            "t",
            json!({
                "n": {"type": "integer", "x-mcp-header": "N"},
                "s": {"type": "string", "x-mcp-header": "S"},
                "b": {"type": "boolean", "x-mcp-header": "B"},
                "a": nested,
            }),
        )]));
        tools
    }

    /// a12: a number in a header matches the body digit by digit.
    #[test]
    fn a12_numbers_are_mirrored_as_they_were_written() {
        let tools = mirroring();
        for number in [
            "0",
            "-0",
            "-7",
            "42.0",
            "1.10",
            "1e3",
            "1E5",
            "1E+2",
            "12345678901234567890123",
            "9007199254740993",
            "18446744073709551616",
            "-9223372036854775809",
            "1e400",
            "0.1000000000000000055511151231257827",
        ] {
            for arguments in [format!(r#"{{"n":{number}}}"#), format!("{{ \"n\" :\t{number}\n}}")] {
                assert_eq!(headers_of(&tools, arguments), [("mcp-param-n".to_owned(), number.to_owned())]);
            }
            let nested = format!(r#"{{"a":{{"x":[],"b/c":{{"~\u0022d":{number}}}}}}}"#);
            assert_eq!(headers_of(&tools, nested), [("mcp-param-nested".to_owned(), number.to_owned())]);
        }
    }

    #[test]
    fn a12_other_values_are_mirrored_if_a_header_can_hold_them() {
        let tools = mirroring();
        let header = |name: &str, value: &str| vec![(format!("mcp-param-{name}"), value.to_owned())];
        for (arguments, expected) in [
            (r#"{"b":true}"#, header("b", "true")),
            (r#"{"b":false}"#, header("b", "false")),
            // A string is decoded first.
            (r#"{"s":"\u0061\/\"b"}"#, header("s", "a/\"b")),
            (r#"{"\u0073":"a"}"#, header("s", "a")),
            (r#"{"s":""}"#, header("s", "")),
            (r#"{"s":"1e3"}"#, header("s", "1e3")),
            (r#"{"s":"a\nb"}"#, header("s", "=?base64?YQpi?=")),
            (r#"{"s":"\ud83d\ude00"}"#, header("s", "=?base64?8J+YgA==?=")),
            // If a name occurs twice, the last one counts.
            (r#"{"n":1,"n":2}"#, header("n", "2")),
            (r#"{"a":{"b/c":{"~\"d":1}},"a":{"b/c":{"~\"d":2.0}}}"#, header("nested", "2.0")),
            (r#"{"n":1},"arguments":{"n":2}"#, header("n", "2")),
            // Other members do not matter.
            (r#"{"x":"\ud800","\udc00":1e999,"n":7}"#, header("n", "7")),
            (r#"{"n":null}"#, vec![]),
            (r#"{"n":1,"n":null}"#, vec![]),
            (r#"{"n":[1]}"#, vec![]),
            (r#"{"n":{"n":1}}"#, vec![]),
            (r#"{"s":"\ud800"}"#, vec![]),
            (r#"{"a":[{"b/c":{"~\"d":1}}]}"#, vec![]),
            (r#"{"a":1}"#, vec![]),
            (r#"{"a.b/c":1}"#, vec![]),
            ("{}", vec![]),
            ("[]", vec![]),
            ("null", vec![]),
        ] {
            assert_eq!(headers_of(&tools, arguments), expected, "{arguments}");
        }
    }

    #[test]
    fn annotated_arguments_go_into_headers() {
        let mut tools = Tools::default();
        let listed = list(&[tool(
            "t",
            json!({
                "region": {"type": "string", "x-mcp-header": "Region"},
                "where": {"type": "object", "properties": {"shard": {"type": "integer", "x-mcp-header": "Shard"}}},
                "dry": {"type": "boolean", "x-mcp-header": "Dry"},
                "query": {"type": "string"},
            }),
        )]);
        let raw = listed.raw().clone();
        assert_eq!(tools.learn(listed).raw(), &raw, "a valid list passes as it is");
        let mut headers =
            headers_of(&tools, json!({"region": "日本", "where": {"shard": 42}, "dry": false, "query": "q"}));
        headers.sort();
        let expected =
            [("mcp-param-dry", "false"), ("mcp-param-region", "=?base64?5pel5pys?="), ("mcp-param-shard", "42")];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(headers_of(&tools, json!({"region": null, "where": 1})), []);
    }

    #[test]
    fn only_tools_with_invalid_annotations_are_removed() {
        let text = |name: &str| json!({"type": "string", "x-mcp-header": name});
        for invalid in [
            json!({"a": text("")}),
            json!({"a": text("A B")}),
            json!({"a": text("A\r\nB")}),
            json!({"a": text("É")}),
            json!({"a": text("One"), "b": text("one")}),
            json!({"a": {"type": "number", "x-mcp-header": "A"}}),
            json!({"a": {"type": "object", "x-mcp-header": "A"}}),
            json!({"a": {"x-mcp-header": "A"}}),
            json!({"a": {"type": "string", "x-mcp-header": 7}}),
            json!({"a": {"type": "array", "items": text("A")}}),
            json!({"a": {"oneOf": [text("A")]}}),
            json!({"a": {"type": "object", "items": {"properties": {"b": text("A")}}}}),
        ] {
            let (good, bad) = (tool("good", json!({"x": {"default": {"x-mcp-header": 1}}})), tool("bad", invalid));
            for (tools, kept) in [
                (vec![bad.clone()], vec![]),
                (vec![bad.clone(), good.clone()], vec![good.clone()]),
                (vec![good.clone(), bad.clone(), good.clone(), bad.clone()], vec![good.clone(), good.clone()]),
            ] {
                assert_eq!(Tools::default().learn(list(&tools)).raw(), list(&kept).raw(), "{bad}");
            }
        }
    }
}
