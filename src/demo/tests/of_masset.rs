//! x

use super::*;

#[tokio::test]
async fn the_challenge_names_the_missing_scope_and_step_up_works() {
    let vendors = vendors().await;
    let sign_in = SignIn::new(vendors.masset.mcp_url()).await;
    let (token, _) = sign_in.tokens(&[("scope", "mcp mcp:asset_read")]).await;
    assert_eq!(claims(&token).scope, "mcp mcp:asset_read");
    assert_eq!(claims(&token).aud, sign_in.mcp.as_str());
    assert_eq!(sign_in.call(&token, "asset_search", json!({ "query": "logo" })).await.status, StatusCode::OK);

    let refused = sign_in.call(&token, "get_asset_text", json!({ "id": "ast_03" })).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.challenge().starts_with("Bearer resource_metadata=\"http://127.0.0.1:"));
    assert!(refused.challenge().ends_with(", error=\"insufficient_scope\", scope=\"mcp mcp:asset_content_read\""));

    let (token, _) = sign_in.tokens(&[("scope", "mcp mcp:asset_read mcp:asset_content_read")]).await;
    let result = sign_in.visitor.result(&sign_in.mcp, &token, "get_asset_text", json!({ "id": "ast_03" })).await;
    assert!(text_of(&result["structuredContent"]["text"]).contains("forecasts"));
    assert_eq!(vendors.masset.activity().tool_calls, 2);
}

#[tokio::test]
async fn every_tool_needs_its_scope() {
    let vendors = vendors().await;
    let sign_in = SignIn::new(vendors.masset.mcp_url()).await;
    let (base, _) = sign_in.tokens(&[("scope", "mcp")]).await;
    let (without_base, _) = sign_in.tokens(&[("scope", "mcp:asset_read")]).await;
    for (tool, arguments) in [
        ("get_taxonomy", json!({})),
        ("asset_search", json!({ "query": "" })),
        ("get_asset_metadata", json!({ "id": "ast_01" })),
        ("get_asset_preview", json!({ "id": "ast_01" })),
        ("get_asset_text", json!({ "id": "ast_01" })),
    ] {
        let expected = if tool == "get_taxonomy" { StatusCode::OK } else { StatusCode::FORBIDDEN };
        assert_eq!(sign_in.call(&base, tool, arguments.clone()).await.status, expected, "{tool}");
        assert_eq!(sign_in.call(&without_base, tool, arguments).await.status, StatusCode::FORBIDDEN, "{tool}");
    }
}

#[tokio::test]
async fn the_challenge_asks_for_the_usual_scope() {
    let vendors = vendors().await;
    let visitor = Visitor::default();
    let refused = visitor.send(Method::POST, vendors.masset.mcp_url().as_str(), &[], Vec::new()).await;
    assert!(refused.challenge().ends_with(", scope=\"mcp mcp:asset_read\""), "{}", refused.challenge());
    assert!(!refused.challenge().contains("error="));
    let issuer = visitor.discover(vendors.masset.mcp_url()).await["issuer"].clone();
    assert!(text_of(&issuer).ends_with("/auth"));
}

#[tokio::test]
async fn the_sixty_first_request_in_a_minute_is_refused() {
    let vendors = vendors().await;
    let sign_in = SignIn::new(vendors.masset.mcp_url()).await;
    let (one, _) = sign_in.tokens(&[]).await;
    let (another, _) = sign_in.tokens(&[]).await;
    // Both tokens belong to the same user and share the limit.
    for request in 0..60 {
        let token = if request % 2 == 0 { &one } else { &another };
        assert_eq!(sign_in.call(token, "get_taxonomy", json!({})).await.status, StatusCode::OK, "{request}");
    }
    let mut waits = Vec::new();
    for _ in 0..4 {
        let refused = sign_in.call(&one, "get_taxonomy", json!({})).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        waits.push(refused.headers.get(header::RETRY_AFTER).map(|wait| wait.to_str().unwrap().to_owned()));
    }
    let is_stated = |wait: &Option<String>| wait.as_ref().is_some_and(|wait| (1..=60).contains(&wait.parse().unwrap()));
    assert_eq!(waits.iter().map(is_stated).collect::<Vec<_>>(), [true, false, true, false]);
    assert_eq!(waits[1], None);
    assert_eq!(vendors.masset.activity().tool_calls, 60);
}

#[tokio::test]
async fn previews_are_large_images() {
    let vendors = vendors().await;
    let sign_in = SignIn::new(vendors.masset.mcp_url()).await;
    let (token, _) = sign_in.tokens(&[("scope", "mcp mcp:asset_read")]).await;
    let result = sign_in.visitor.result(&sign_in.mcp, &token, "get_asset_preview", json!({ "id": "ast_02" })).await;
    assert_eq!(result["content"][1]["mimeType"], "image/png");
    let file = base64::prelude::BASE64_STANDARD.decode(text_of(&result["content"][1]["data"])).unwrap();
    assert!(file.starts_with(b"\x89PNG") && file.len() > 500_000);
}

#[tokio::test]
async fn one_client_needs_no_registration() {
    let vendors = vendors().await;
    let mut sign_in = SignIn::new(vendors.masset.mcp_url()).await;
    sign_in.client_id = masset::CLIENT_ID.to_owned();
    let (token, refresh_token) = sign_in.tokens(&[]).await;
    assert_eq!(claims(&token).scope, "mcp");
    let endpoint = text_of(&sign_in.server["revocation_endpoint"]);
    let fields = [("token", refresh_token.as_str()), ("client_id", masset::CLIENT_ID)];
    sign_in.visitor.post(&endpoint, &fields).await;
    let answer = sign_in.call(&token, "get_taxonomy", json!({})).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}
