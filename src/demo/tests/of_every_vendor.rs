//! x

use super::*;

/// Protocol version 2025-11-25: a handshake and a session.
#[tokio::test]
async fn legacy_clients_get_a_session() {
    let (vendors, visitor) = (vendors().await, Visitor::default());
    let mcp = vendors.asset.mcp_url();
    let authorization = format!("Bearer {}", visitor.asset_access(&vendors.asset).await);
    let base = [
        ("authorization", authorization.as_str()),
        ("accept", "application/json, text/event-stream"),
        ("content-type", "application/json"),
    ];
    let post = |message: Value, session: Option<String>| {
        let visitor = &visitor;
        let mut headers: Vec<(&str, String)> = base.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        headers.extend(session.map(|session| ("mcp-session-id", session)));
        async move {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            visitor.send(Method::POST, mcp.as_str(), &headers, serde_json::to_vec(&message).unwrap()).await
        }
    };
    let initialized = post(initialize(), None).await;
    assert!(initialized.text.contains("\"protocolVersion\":\"2025-11-25\""), "{}", initialized.text);
    let session = Some(initialized.headers["mcp-session-id"].to_str().unwrap().to_owned());
    let accepted = post(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }), session.clone()).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    let listed = post(json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }), session).await;
    for tool in ["profit_and_loss", "balance_sheet", "list_transactions", "ledger_activity", "list_accounts"] {
        assert!(listed.text.contains(&format!("\"name\":\"{tool}\"")), "{}", listed.text);
    }
    assert!(listed.text.contains("\"readOnlyHint\":true"));
    let lost = post(json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/list" }), Some("gone".to_owned())).await;
    assert_eq!(lost.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn modern_clients_discover_the_server() {
    let (vendors, visitor) = (vendors().await, Visitor::default());
    let token = format!("Bearer {}", visitor.asset_access(&vendors.asset).await);
    let message =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": { "_meta": modern_meta() } });
    let headers = [
        ("authorization", token.as_str()),
        ("accept", "application/json, text/event-stream"),
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "server/discover"),
    ];
    let body = serde_json::to_vec(&message).unwrap();
    let answer = visitor.send(Method::POST, vendors.asset.mcp_url().as_str(), &headers, body).await;
    let result = answer.json()["result"].clone();
    assert!(result["supportedVersions"].as_array().unwrap().contains(&json!("2026-07-28")), "{result}");
    assert!(!answer.headers.contains_key("mcp-session-id"));
}

/// A web page can neither reach a vendor under the page's host name (DNS rebinding) nor use its MCP endpoint.
#[tokio::test]
async fn requests_of_web_pages_are_refused() {
    let (vendors, visitor) = (vendors().await, Visitor::default());
    let mcp = vendors.asset.mcp_url();
    for host in ["evil.example", "localhost"] {
        let answer = visitor.send(Method::GET, mcp.as_str(), &[("host", host)], Vec::new()).await;
        assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST);
    }
    let token = format!("Bearer {}", visitor.asset_access(&vendors.asset).await);
    let headers = [("authorization", token.as_str()), ("origin", "https://evil.example")];
    let answer = visitor.send(Method::POST, mcp.as_str(), &headers, Vec::new()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let large = visitor.send(Method::POST, mcp.as_str(), &[], vec![b' '; (4 << 20) + 1]).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn ports_are_configurable_and_freed_on_drop() {
    let idle = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let first = vendors().await;
    let port = |url: &ServerUrl| url.as_url().port().unwrap();
    let ports = Ports {
        asset: port(first.asset.mcp_url()),
        asset_sandbox: port(first.asset_sandbox.mcp_url()),
        tesorio: port(first.tesorio.mcp_url()),
        masset: port(first.masset.mcp_url()),
    };
    let settings = Settings { ports, ..Settings::default() };
    assert!(Vendors::start(settings).await.is_err());
    {
        // This session is left open on purpose: its tasks must end too.
        let visitor = Visitor::default();
        let token = format!("Bearer {}", visitor.asset_access(&first.asset).await);
        let initialize = serde_json::to_vec(&initialize()).unwrap();
        let headers = [
            ("authorization", token.as_str()),
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
        ];
        let mcp = first.asset.mcp_url().as_str();
        let answer = visitor.send(Method::POST, mcp, &headers, initialize).await;
        assert!(answer.headers.contains_key("mcp-session-id"));
    }
    drop(first);
    let deadline = Instant::now() + Duration::from_secs(10);
    while idle() > 0 {
        assert!(Instant::now() < deadline, "{} tasks are left", idle());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Another program may hold one of the ports for a moment.
    let again = loop {
        match Vendors::start(settings).await {
            Ok(again) => break again,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(port(again.masset.mcp_url()), ports.masset);
}
