//! x

use rmcp::model::{
    CacheScope, CallToolResult, DiscoverResult, ErrorCode, InitializeResult, ListToolsResult, ProtocolVersion, Tool,
};
use serde::de::DeserializeOwned;

use super::*;

/// A client with a valid token that can send anything to an MCP endpoint.
struct Speaker {
    visitor: Visitor,
    mcp: ServerUrl,
    authorization: String,
    _vendors: Vendors,
}

impl Speaker {
    async fn at_asset() -> Self {
        let (vendors, visitor) = (vendors().await, Visitor::default());
        let authorization = format!("Bearer {}", visitor.asset_access(&vendors.asset).await);
        Self { visitor, mcp: vendors.asset.mcp_url().clone(), authorization, _vendors: vendors }
    }

    /// Signs in for `scope`. Asset has no browser sign-in: see `at_asset`.
    async fn signed_in(vendor: impl FnOnce(&Vendors) -> &ServerUrl, scope: &str) -> Self {
        let vendors = vendors().await;
        let sign_in = SignIn::new(vendor(&vendors)).await;
        let (token, _) = sign_in.tokens(&[("scope", scope)]).await;
        let SignIn { visitor, mcp, .. } = sign_in;
        Self { visitor, mcp, authorization: format!("Bearer {token}"), _vendors: vendors }
    }

    /// Sends the usual headers with `changes`: an empty value removes a header.
    async fn send(&self, method: Method, changes: &[(&str, &str)], body: impl ToString) -> Answer {
        let mut headers = vec![
            ("authorization", self.authorization.as_str()),
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
        ];
        headers.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        headers.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
        self.visitor.send(method, self.mcp.as_str(), &headers, body.to_string().into_bytes()).await
    }

    async fn post(&self, changes: &[(&str, &str)], body: impl ToString) -> Answer {
        self.send(Method::POST, changes, body).await
    }

    /// Sends a valid 2026-07-28 request with `changes` to its headers.
    async fn modern(&self, method: &str, mut params: Value, changes: &[(&str, &str)]) -> Answer {
        params["_meta"] = modern_meta();
        let name = params["name"].as_str().unwrap_or_default().to_owned();
        let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method), ("mcp-name", &name)];
        headers.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        headers.extend_from_slice(changes);
        self.post(&headers, request(method, params)).await
    }

    /// The result of a valid 2026-07-28 request, parsed by rmcp and raw.
    async fn modern_result<R: DeserializeOwned>(&self, method: &str, params: Value) -> (R, Value) {
        let answer = self.modern(method, params, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let result = answer.json()["result"].clone();
        assert_eq!(result["resultType"], "complete");
        assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["version"], env!("CARGO_PKG_VERSION"));
        (serde_json::from_value(result.clone()).unwrap(), result)
    }

    /// Opens a legacy session.
    async fn session(&self) -> String {
        let answer = self.post(&[], initialize()).await;
        answer.headers["mcp-session-id"].to_str().unwrap().to_owned()
    }
}

fn request(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params })
}

fn notification() -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })
}

fn code(answer: &Answer) -> ErrorCode {
    let code = answer.json()["error"]["code"].clone();
    serde_json::from_value(code).unwrap_or_else(|_| panic!("no error: {} {}", answer.status, answer.text))
}

#[tokio::test]
async fn the_handshake_negotiates_a_legacy_version() {
    let speaker = Speaker::at_asset().await;
    for (requested, negotiated) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let mut message = initialize();
        message["params"]["protocolVersion"] = requested.into();
        let answer = speaker.post(&[], message).await;
        assert!(answer.headers.contains_key("mcp-session-id"));
        let result: InitializeResult = serde_json::from_value(answer.json()["result"].clone()).unwrap();
        assert_eq!(result.protocol_version.as_str(), negotiated);
        assert_eq!(result.server_info.name, "Asset (demo)");
        assert!(result.capabilities.tools.is_some() && result.capabilities.resources.is_none());
    }
    let answer = speaker.post(&[], request("initialize", json!({}))).await;
    assert_eq!(code(&answer), ErrorCode::INVALID_PARAMS);
    assert!(!answer.headers.contains_key("mcp-session-id"));
}

#[tokio::test]
async fn a_session_lasts_until_its_client_ends_it() {
    let speaker = Speaker::at_asset().await;
    let (one, other) = (speaker.session().await, speaker.session().await);
    assert_ne!(one, other);
    let id = ("mcp-session-id", one.as_str());
    let ping = || request("ping", json!({}));
    let response = || json!({ "jsonrpc": "2.0", "id": 1, "result": {} });

    for message in [ping(), notification(), response()] {
        for version in ["", "2025-06-18"] {
            let answer = speaker.post(&[id, ("mcp-protocol-version", version)], &message).await;
            let expected = if message == ping() { StatusCode::OK } else { StatusCode::ACCEPTED };
            assert_eq!(answer.status, expected, "{message}");
            assert_eq!(answer.text.is_empty(), expected == StatusCode::ACCEPTED);
        }
        let strange = speaker.post(&[id, ("mcp-protocol-version", "1999-01-01")], &message).await;
        assert_eq!(strange.status, StatusCode::BAD_REQUEST, "{message}");
        assert_eq!(speaker.post(&[], &message).await.status, StatusCode::BAD_REQUEST, "{message}");
        let unknown = speaker.post(&[("mcp-session-id", "gone")], &message).await;
        assert_eq!(unknown.status, StatusCode::NOT_FOUND, "{message}");
    }

    let delete = async |changes: &[(&str, &str)]| speaker.send(Method::DELETE, changes, "").await.status;
    assert_eq!(delete(&[]).await, StatusCode::BAD_REQUEST);
    assert_eq!(delete(&[id]).await, StatusCode::ACCEPTED);
    assert_eq!(delete(&[id]).await, StatusCode::NOT_FOUND);
    assert_eq!(speaker.post(&[id], ping()).await.status, StatusCode::NOT_FOUND);
    assert_eq!(speaker.post(&[("mcp-session-id", &other)], ping()).await.status, StatusCode::OK);
}

/// In a session, errors are JSON-RPC errors with status 200, and results have no modern members.
#[tokio::test]
async fn answers_in_a_session_are_legacy_ones() {
    let speaker = Speaker::at_asset().await;
    let session = speaker.session().await;
    let ask = async |method: &str, params: Value| {
        let answer = speaker.post(&[("mcp-session-id", &session)], request(method, params)).await;
        assert_eq!((answer.status, &answer.json()["id"]), (StatusCode::OK, &json!(7)));
        answer
    };
    let listed = ask("tools/list", json!({})).await.json()["result"].clone();
    assert_eq!(listed.as_object().unwrap().keys().collect::<Vec<_>>(), ["tools"]);
    assert_eq!(serde_json::from_value::<ListToolsResult>(listed).unwrap().tools.len(), 5);

    let day = json!({ "name": "balance_sheet", "arguments": { "as_of": "2025-12-31" } });
    let result = ask("tools/call", day).await.json()["result"].clone();
    assert_eq!(result.as_object().unwrap().keys().collect::<Vec<_>>(), ["content", "isError", "structuredContent"]);
    let result: CallToolResult = serde_json::from_value(result).unwrap();
    assert!(Statement::from_structured_content(&result.structured_content.unwrap()).unwrap().adds_up());

    for (method, params, expected) in [
        ("prompts/list", json!({}), ErrorCode::METHOD_NOT_FOUND),
        ("tools/call", json!({ "name": "no_such_tool" }), ErrorCode::INVALID_PARAMS),
        ("tools/call", json!({}), ErrorCode::INVALID_PARAMS),
        ("tools/call", json!({ "name": "balance_sheet", "arguments": [] }), ErrorCode::INVALID_PARAMS),
    ] {
        assert_eq!(code(&ask(method, params).await), expected, "{method}");
    }
}

#[tokio::test]
async fn modern_results_are_complete() {
    let speaker = Speaker::at_asset().await;
    let (discovered, _) = speaker.modern_result::<DiscoverResult>("server/discover", json!({})).await;
    assert_eq!(discovered.supported_versions, ProtocolVersion::KNOWN_VERSIONS);
    let (listed, raw) = speaker.modern_result::<ListToolsResult>("tools/list", json!({})).await;
    assert_eq!((listed.ttl_ms, listed.cache_scope), (Some(0), Some(CacheScope::Private)), "{raw}");
    let arguments = json!({ "name": "balance_sheet", "arguments": { "as_of": "2025-12-31" } });
    let (called, _) = speaker.modern_result::<CallToolResult>("tools/call", arguments).await;
    assert_eq!(called.is_error, Some(false));

    // Modern requests ignore session IDs.
    let answer = speaker.modern("tools/list", json!({}), &[("mcp-session-id", "gone")]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.headers.contains_key("mcp-session-id"));
    let accepted = speaker.post(&[("mcp-protocol-version", "2026-07-28")], notification()).await;
    assert_eq!((accepted.status, accepted.text.as_str()), (StatusCode::ACCEPTED, ""));
}

#[tokio::test]
async fn headers_must_match_the_body() {
    let speaker = Speaker::at_asset().await;
    let call = json!({ "name": "balance_sheet", "arguments": { "as_of": "2025-12-31" } });
    let encoded = format!("=?base64?{}?=", base64::prelude::BASE64_STANDARD.encode("balance_sheet"));
    let method = format!("=?base64?{}?=", base64::prelude::BASE64_STANDARD.encode("tools/call"));
    let right = speaker.modern("tools/call", call.clone(), &[("mcp-name", &encoded)]).await;
    assert_eq!(right.status, StatusCode::OK, "{}", right.text);
    for wrong in [
        ("mcp-protocol-version", ""),
        ("mcp-protocol-version", "2025-11-25"),
        ("mcp-method", ""),
        ("mcp-method", "tools/list"),
        ("mcp-method", "Tools/Call"),
        ("mcp-method", &method),
        ("mcp-name", ""),
        ("mcp-name", "profit_and_loss"),
        ("mcp-name", "=?base64?!?="),
        ("mcp-name", "=?base64?cHJvZml0X2FuZF9sb3Nz?="),
    ] {
        let answer = speaker.modern("tools/call", call.clone(), &[wrong]).await;
        assert_eq!((answer.status, code(&answer)), (StatusCode::BAD_REQUEST, ErrorCode::HEADER_MISMATCH), "{wrong:?}");
        assert_eq!(answer.json()["id"], 7);
    }
    // A repeated header is refused: a proxy may check the first one and the server the second.
    let twice = [("mcp-name", "balance_sheet"), ("mcp-name", "profit_and_loss")];
    assert_eq!(code(&speaker.modern("tools/call", call, &twice).await), ErrorCode::HEADER_MISMATCH);
}

#[tokio::test]
async fn modern_requests_need_version_and_capabilities() {
    let speaker = Speaker::at_asset().await;
    let ask = async |version: &str, method: &str, params: Value| {
        let headers = [("mcp-protocol-version", version), ("mcp-method", method), ("mcp-name", "no_such_tool")];
        let answer = speaker.post(&headers, request(method, params)).await;
        (answer.status, code(&answer), answer.json()["error"]["data"].clone())
    };
    for left_out in ["protocolVersion", "clientCapabilities"] {
        let mut params = json!({ "_meta": modern_meta() });
        params["_meta"].as_object_mut().unwrap().remove(&format!("io.modelcontextprotocol/{left_out}"));
        let refused = ask("2026-07-28", "tools/list", params).await;
        assert_eq!(refused, (StatusCode::BAD_REQUEST, ErrorCode::INVALID_PARAMS, Value::Null), "{left_out}");
    }
    let refused = ask("", "server/discover", Value::Null).await;
    assert_eq!(refused, (StatusCode::BAD_REQUEST, ErrorCode::INVALID_PARAMS, Value::Null));

    for version in ["1900-01-01", "2099-01-01"] {
        let mut params = json!({ "_meta": modern_meta() });
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = version.into();
        let (status, code, data) = ask(version, "tools/list", params).await;
        assert_eq!((status, code), (StatusCode::BAD_REQUEST, ErrorCode::UNSUPPORTED_PROTOCOL_VERSION));
        assert_eq!(data["requested"], version);
        assert!(data["supported"].as_array().unwrap().contains(&json!("2026-07-28")));
    }

    let params = || json!({ "_meta": modern_meta(), "name": "no_such_tool" });
    let unknown = ask("2026-07-28", "ping", params()).await;
    assert_eq!(unknown, (StatusCode::NOT_FOUND, ErrorCode::METHOD_NOT_FOUND, Value::Null));
    let unknown = ask("2026-07-28", "tools/call", params()).await;
    assert_eq!(unknown, (StatusCode::OK, ErrorCode::INVALID_PARAMS, Value::Null));
}

/// finmcp sends no invalid message (t102); the server checks nevertheless.
#[tokio::test]
async fn t102_invalid_messages_are_refused() {
    let speaker = Speaker::at_asset().await;
    let session = speaker.session().await;
    let ping = request("ping", json!({})).to_string();
    for (text, expected) in [
        (String::new(), ErrorCode::PARSE_ERROR),
        (ping[..ping.len() - 1].to_owned(), ErrorCode::PARSE_ERROR),
        (ping.clone() + "x", ErrorCode::PARSE_ERROR),
        ("{\"a\":".repeat(100_000), ErrorCode::PARSE_ERROR),
        (format!("[{ping}]"), ErrorCode::INVALID_REQUEST),
        (r#"["2.0", 7, "ping"]"#.to_owned(), ErrorCode::INVALID_REQUEST),
        ("null".to_owned(), ErrorCode::INVALID_REQUEST),
        (ping.replace("2.0", "1.0"), ErrorCode::INVALID_REQUEST),
        (ping.replace('7', "null"), ErrorCode::INVALID_REQUEST),
        (ping.replace('7', "7.5"), ErrorCode::INVALID_REQUEST),
        (ping.replace("\"ping\"", "1"), ErrorCode::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":7}"#.to_owned(), ErrorCode::INVALID_REQUEST),
    ] {
        let answer = speaker.post(&[("mcp-session-id", &session)], &text).await;
        assert_eq!((answer.status, code(&answer)), (StatusCode::BAD_REQUEST, expected), "{text:.80}");
        assert_eq!(answer.json().get("id"), None);
    }
    let named = ping.replace('7', "\"seven\"");
    assert_eq!(speaker.post(&[("mcp-session-id", &session)], named).await.json()["id"], "seven");
}

#[tokio::test]
async fn messages_need_post_and_the_right_media_types() {
    let speaker = Speaker::at_asset().await;
    let session = speaker.session().await;
    let id = ("mcp-session-id", session.as_str());
    for (change, expected) in [
        (("accept", ""), StatusCode::NOT_ACCEPTABLE),
        (("accept", "application/json"), StatusCode::NOT_ACCEPTABLE),
        (("accept", "text/event-stream"), StatusCode::NOT_ACCEPTABLE),
        (("content-type", ""), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (("content-type", "text/plain"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (("content-type", "application/json; charset=utf-8"), StatusCode::OK),
    ] {
        let answer = speaker.post(&[id, change], request("ping", json!({}))).await;
        assert_eq!(answer.status, expected, "{change:?}");
    }
    let two_lines = [id, ("accept", "text/event-stream"), ("accept", "application/json")];
    assert_eq!(speaker.post(&two_lines, request("ping", json!({}))).await.status, StatusCode::OK);
    for method in [Method::GET, Method::PUT, Method::OPTIONS] {
        let answer = speaker.send(method, &[id, ("accept", "text/event-stream")], "").await;
        assert_eq!(
            (answer.status, &answer.headers[header::ALLOW]),
            (StatusCode::METHOD_NOT_ALLOWED, &"POST, DELETE".parse().unwrap())
        );
    }
}

/// The server refuses every `Origin`, its own included: no page of the demo uses MCP.
#[tokio::test]
async fn requests_with_an_origin_are_refused() {
    let speaker = Speaker::at_asset().await;
    let session = speaker.session().await;
    let id = ("mcp-session-id", session.as_str());
    let own = speaker.mcp.as_url().origin().ascii_serialization();
    for origin in ["https://evil.example", "null", own.as_str()] {
        for method in [Method::POST, Method::GET, Method::DELETE] {
            let answer = speaker.send(method, &[id, ("origin", origin)], request("ping", json!({}))).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin}");
        }
    }
    assert_eq!(speaker.post(&[id], request("ping", json!({}))).await.status, StatusCode::OK);
}

/// A message with a duplicate member is not authorized by one value and executed by the other.
#[tokio::test]
async fn duplicate_members_do_not_bypass_the_scope_check() {
    let speaker = Speaker::signed_in(|vendors| vendors.masset.mcp_url(), "mcp").await;
    let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"get_asset_text","arguments":{"id":"ast_03"}}"#;
    let session = speaker.session().await;
    for twice in ["", r#","method":"tools/call""#, r#","method":"tools\u002fcall""#] {
        let answer = speaker.post(&[("mcp-session-id", &session)], format!("{call}{twice}}}")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{twice}");
    }
}

/// Schemas are written by hand: each must describe exactly the arguments that its tool accepts.
#[tokio::test]
async fn schemas_match_the_accepted_arguments() {
    let everything = "mcp mcp:asset_read mcp:asset_content_read";
    let mut checked = 0;
    for speaker in [
        Speaker::at_asset().await,
        Speaker::signed_in(|vendors| vendors.tesorio.mcp_url(), "").await,
        Speaker::signed_in(|vendors| vendors.masset.mcp_url(), everything).await,
    ] {
        let (listed, _) = speaker.modern_result::<ListToolsResult>("tools/list", json!({})).await;
        assert!(listed.tools.is_sorted_by_key(|tool| tool.name.clone()));
        for tool in &listed.tools {
            let arguments = examples(tool);
            let accepts = async |arguments: &Value| {
                let params = json!({ "name": tool.name, "arguments": arguments });
                let (result, _) = speaker.modern_result::<CallToolResult>("tools/call", params).await;
                !serde_json::to_string(&result.content).unwrap().contains("invalid arguments")
            };
            assert!(accepts(&arguments).await, "{}", tool.name);
            let required = tool.input_schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
            for name in arguments.as_object().unwrap().keys() {
                let mut fewer = arguments.clone();
                fewer.as_object_mut().unwrap().remove(name);
                assert_eq!(accepts(&fewer).await, !required.contains(&json!(name)), "{}: {name}", tool.name);
                let mut wrong = arguments.clone();
                wrong[name] = true.into();
                assert!(!accepts(&wrong).await, "{}: {name}", tool.name);
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 17);
}

/// An example for each argument of a tool.
fn examples(tool: &Tool) -> Value {
    assert_eq!(tool.input_schema["type"], "object");
    let properties = tool.input_schema["properties"].as_object().unwrap();
    let example = |name: &str| match name {
        "account" => json!(1000),
        "as_of" | "from" | "to" | "pay_by" => json!("2025-03-31"),
        "amount" => json!("1.00"),
        "id" => json!("ast_01"),
        _ => json!("x"),
    };
    properties.keys().map(|name| (name.clone(), example(name))).collect()
}

#[tokio::test]
async fn annotations_mark_the_write_tool() {
    let speaker = Speaker::signed_in(|vendors| vendors.tesorio.mcp_url(), "").await;
    let (listed, _) = speaker.modern_result::<ListToolsResult>("tools/list", json!({})).await;
    for tool in listed.tools {
        let hints = tool.annotations.unwrap();
        let hints = (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint);
        let expected = match &*tool.name {
            "record_promise_to_pay" => (Some(false), Some(false), Some(false)),
            _ => (Some(true), None, None),
        };
        assert_eq!(hints, expected, "{}", tool.name);
        assert!(tool.title.is_some() && tool.description.is_some());
    }
}
