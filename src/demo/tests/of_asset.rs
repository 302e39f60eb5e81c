//! x

use super::*;

#[tokio::test]
async fn both_environments_answer_with_statements_that_add_up() {
    let (vendors, visitor) = (vendors().await, Visitor::default());
    for asset in [&vendors.asset, &vendors.asset_sandbox] {
        let token = visitor.asset_access(asset).await;
        let year = json!({ "from": "2025-01-01", "to": "2025-12-31" });
        let result = visitor.result(asset.mcp_url(), &token, "profit_and_loss", year).await;
        let statement = Statement::from_structured_content(&result["structuredContent"]).unwrap();
        assert!(statement.adds_up(), "{statement}");
        assert_eq!(statement.business, asset.business().name);
        assert_eq!(result["content"][0]["text"], statement.to_string());

        let day = json!({ "as_of": "2025-12-31" });
        let result = visitor.result(asset.mcp_url(), &token, "balance_sheet", day).await;
        assert!(Statement::from_structured_content(&result["structuredContent"]).unwrap().adds_up());
        assert_eq!(asset.activity(), Activity { registrations: 0, token_requests: 1, tool_calls: 2 });
    }
}

#[tokio::test]
async fn opening_balance_and_activity_add_up_to_the_closing_balance() {
    let (vendors, visitor) = (vendors().await, Visitor::default());
    let token = visitor.asset_access(&vendors.asset).await;
    let asked = json!({ "account": 1000, "from": "2025-03-01", "to": "2025-03-31" });
    let activity = visitor.result(vendors.asset.mcp_url(), &token, "ledger_activity", asked).await;
    let activity = &activity["structuredContent"];
    let money = |value: &Value| text_of(value).parse::<money::Money>().unwrap();
    let lines = activity["lines"].as_array().unwrap();
    let moved: money::Money = lines.iter().map(|line| money(&line["amount"])).sum();
    assert!(!lines.is_empty());
    assert_eq!(money(&activity["opening_balance"]) + moved, money(&activity["closing_balance"]));

    let asked = json!({ "as_of": "2025-03-31" });
    let accounts = visitor.result(vendors.asset.mcp_url(), &token, "list_accounts", asked).await;
    let accounts = accounts["structuredContent"]["accounts"].as_array().unwrap().clone();
    assert_eq!(accounts[0]["balance"], activity["closing_balance"]);
    assert_eq!(accounts.iter().map(|account| money(&account["balance"])).sum::<money::Money>(), money::Money::ZERO);

    let asked = json!({ "from": "2025-03-01", "to": "2025-03-31" });
    let journal = visitor.result(vendors.asset.mcp_url(), &token, "list_transactions", asked).await;
    assert!(journal["structuredContent"]["transactions"].as_array().unwrap().len() > 5);
}

#[tokio::test]
async fn tools_reject_invalid_arguments() {
    let (vendors, visitor) = (vendors().await, Visitor::default());
    let token = visitor.asset_access(&vendors.asset).await;
    for arguments in
        [json!({ "from": "2025-13-01", "to": "2025-12-31" }), json!({ "from": "2025-12-31", "to": "2025-01-01" })]
    {
        let result = visitor.result(vendors.asset.mcp_url(), &token, "profit_and_loss", arguments).await;
        assert_eq!(result["isError"], true);
    }
}

/// The server takes turns with three styles; the token's `exp` claim is correct in each.
#[tokio::test]
async fn expires_in_has_three_styles_but_exp_is_always_correct() {
    let (vendors, visitor) = (vendors().await, Visitor::default());
    let asset = &vendors.asset;
    for style in ["seconds", "unix time", "absent", "seconds"] {
        let before = Timestamp::now().as_second();
        let extra = [("resource", asset.mcp_url().as_str()), ("expires_in", "600")];
        let document = visitor.asset_token(asset, &extra).await.json();
        let exp = claims(document["access_token"].as_str().unwrap()).exp;
        assert!((before + 600..=Timestamp::now().as_second() + 600).contains(&exp));
        let stated = document.get("expires_in").map(|value| value.as_i64().unwrap());
        let expected = match style {
            "seconds" => Some(600),
            "unix time" => Some(exp),
            _ => None,
        };
        assert_eq!(stated, expected, "{style}");
        assert_eq!(document["token_type"], "Bearer");
        assert!(document.get("refresh_token").is_none());
    }
}

#[tokio::test]
async fn a_style_can_be_fixed() {
    for (expires_in, is_stated) in [(ExpiresIn::Absent, false), (ExpiresIn::UnixTime, true)] {
        let vendors = Vendors::start(Settings { expires_in, ..Settings::default() }).await.unwrap();
        for _ in 0..2 {
            let document = Visitor::default().asset_token(&vendors.asset, &[]).await.json();
            assert_eq!(document.get("expires_in").is_some_and(|it| it.as_i64() > Some(1 << 30)), is_stated);
        }
    }
}

#[tokio::test]
async fn the_token_endpoint_refuses_invalid_requests() {
    let (vendors, visitor) = (vendors().await, Visitor::default());
    let (asset, sandbox) = (&vendors.asset, &vendors.asset_sandbox);
    let secret = asset.client_secret().expose().as_str();
    let mut refusals = Vec::new();
    for fields in [
        // The other environment's client, the wrong secret, no secret.
        vec![("client_id", sandbox.client_id()), ("client_secret", sandbox.client_secret().expose())],
        vec![("client_id", asset.client_id()), ("client_secret", "wrong")],
        vec![("client_id", asset.client_id())],
        vec![("client_id", asset.client_id()), ("client_secret", secret), ("grant_type", "password")],
        vec![("client_id", asset.client_id()), ("client_secret", secret), ("business_id", "biz_1")],
        vec![("client_id", asset.client_id()), ("client_secret", secret), ("scope", "ledger:write")],
        vec![("client_id", asset.client_id()), ("client_secret", secret), ("expires_in", "soon")],
        vec![("client_id", asset.client_id()), ("client_id", asset.client_id()), ("client_secret", secret)],
    ] {
        let answer = visitor.post(asset.token_endpoint().as_str(), &fields).await;
        refusals.push((answer.status.as_u16(), answer.error()));
    }
    let refusals: Vec<_> = refusals.iter().map(|(status, error)| (*status, error.as_str())).collect();
    assert_eq!(
        refusals,
        [
            (401, "invalid_client"),
            (401, "invalid_client"),
            (401, "invalid_client"),
            (400, "unsupported_grant_type"),
            (400, "invalid_request"),
            (400, "invalid_scope"),
            (400, "invalid_request"),
            (400, "invalid_request"),
        ]
    );
    // Correct credentials in the form and in HTTP Basic: only one method is allowed.
    let form = format!("client_id={}&client_secret={secret}", asset.client_id());
    let basic = format!("Basic {}", BASE64URL.encode(format!("{}:{secret}", asset.client_id())));
    let headers = [("authorization", basic.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let answer = visitor.send(Method::POST, asset.token_endpoint().as_str(), &headers, form.into()).await;
    assert_eq!(answer.error(), "invalid_client");
    // These parameters are valid.
    let business = [("business_id", asset.business().id), ("grant_type", "client_credentials")];
    let token = visitor.asset_token(asset, &business).await.json();
    assert_eq!(claims(token["access_token"].as_str().unwrap()).business_id.as_deref(), Some(asset.business().id));
}

#[tokio::test]
async fn the_mcp_server_accepts_only_tokens_for_its_environment_and_resource() {
    let (vendors, visitor) = (vendors().await, Visitor::default());
    let (asset, sandbox) = (&vendors.asset, &vendors.asset_sandbox);
    let resource = asset.mcp_url().as_str();
    let token = |answer: Answer| text_of(&answer.json()["access_token"]);
    let good = token(visitor.asset_token(asset, &[("resource", resource)]).await);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let tampered = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    let refused = [
        ("for the REST API", token(visitor.asset_token(asset, &[]).await)),
        ("for another resource", token(visitor.asset_token(asset, &[("resource", "https://example.com/")]).await)),
        ("of the sandbox", token(visitor.asset_token(sandbox, &[("resource", resource)]).await)),
        ("of the sandbox for itself", visitor.asset_access(sandbox).await),
        ("tampered with", tampered),
        ("not a token", "x".to_owned()),
    ];
    for (what, token) in refused {
        let answer = visitor.call(asset.mcp_url(), &token, "list_accounts", json!({})).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}");
        assert!(answer.challenge().starts_with("Bearer realm=\"asset\", error=\"invalid_token\""), "{what}");
    }
    let day = json!({ "as_of": "2025-12-31" });
    assert_eq!(visitor.call(asset.mcp_url(), &good, "list_accounts", day).await.status, StatusCode::OK);
    let narrow = [("resource", resource), ("scope", "invoice:create")];
    let narrow = token(visitor.asset_token(asset, &narrow).await);
    let answer = visitor.call(asset.mcp_url(), &narrow, "list_accounts", json!({})).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    // Production's books were read once.
    assert_eq!((asset.activity().tool_calls, sandbox.activity().tool_calls), (1, 0));
}

#[tokio::test]
async fn a_token_is_valid_until_its_exp() {
    let (vendors, visitor) = (vendors().await, Visitor::default());
    let asset = &vendors.asset;
    let extra = [("resource", asset.mcp_url().as_str()), ("expires_in", "1")];
    let token = text_of(&visitor.asset_token(asset, &extra).await.json()["access_token"]);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = visitor.call(asset.mcp_url(), &token, "list_accounts", json!({ "as_of": "2025-12-31" })).await;
        let has_ended = Timestamp::now().as_second() >= claims(&token).exp;
        if answer.status == StatusCode::UNAUTHORIZED {
            assert!(has_ended && answer.challenge().contains("expired"));
            break;
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The challenge has no `resource_metadata`, and every well-known URL answers 404.
#[tokio::test]
async fn nothing_can_be_discovered() {
    let (vendors, visitor) = (vendors().await, Visitor::default());
    let mcp = vendors.asset.mcp_url();
    let refused = visitor.send(Method::POST, mcp.as_str(), &[], Vec::new()).await;
    assert_eq!((refused.status, refused.challenge()), (StatusCode::UNAUTHORIZED, "Bearer realm=\"asset\""));
    for path in [
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/authorize",
    ] {
        let answer = visitor.get(mcp.join(path).unwrap().as_str()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
}
