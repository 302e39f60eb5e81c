//! JSON-RPC as restricted by MCP: objects only, no batches, ids that are strings or integers.

use rmcp::model::{ErrorData, JsonObject, RequestId};
use serde::de::DeserializeOwned;
use serde_json::{Value, error::Category};

/// A client's message.
pub enum Message {
    Request(Request),
    Notification,
    /// A response, although this server sends no requests.
    Response,
}

/// A request (JSON-RPC 2.0 section 4).
pub struct Request {
    pub id: RequestId,
    pub method: String,
    params: Value,
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// -32700 if it is not JSON, -32600 if it is not a valid message (JSON-RPC 2.0 section 5.1).
    pub fn parse(text: &[u8]) -> Result<Self, ErrorData> {
        let mut members: JsonObject = serde_json::from_slice(text).map_err(|error| match error.classify() {
            Category::Data => invalid("a message must be one JSON object"),
            _ => ErrorData::parse_error(error.to_string(), None),
        })?;
        if members.get("jsonrpc").is_none_or(|version| version != "2.0") {
            return Err(invalid("jsonrpc must be \"2.0\""));
        }
        let is_response = members.contains_key("result") || members.contains_key("error");
        match (members.remove("method"), members.remove("id")) {
            (Some(Value::String(method)), Some(id)) => {
                let id = serde_json::from_value(id).map_err(|_| invalid("an id must be a string or an integer"))?;
                Ok(Self::Request(Request { id, method, params: members.remove("params").unwrap_or_default() }))
            }
            (Some(Value::String(_)), None) => Ok(Self::Notification),
            (None, _) if is_response => Ok(Self::Response),
            _ => Err(invalid("not a request, notification or response")),
        }
    }

    /// The name of the called tool.
    pub fn called_tool(&self) -> Option<&str> {
        match self {
            Self::Request(request) => request.called_tool(),
            Self::Notification | Self::Response => None,
        }
    }
}

impl Request {
    /// The name of the called tool.
    pub fn called_tool(&self) -> Option<&str> {
        self.params["name"].as_str().filter(|_| self.method == "tools/call")
    }

    /// The parameters.
    ///
    /// # Errors
    /// -32602: a parameter is missing or has the wrong type.
    pub fn params<P: DeserializeOwned>(&self) -> Result<P, ErrorData> {
        P::deserialize(&self.params).map_err(|error| ErrorData::invalid_params(error.to_string(), None))
    }

    /// The member `key` of its `_meta`, or `null` (MCP, "_meta").
    pub fn meta(&self, key: &str) -> &Value {
        &self.params["_meta"][key]
    }
}

fn invalid(why: &'static str) -> ErrorData {
    ErrorData::invalid_request(why, None)
}
