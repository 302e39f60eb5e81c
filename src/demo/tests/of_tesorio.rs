//! x

use super::*;

#[tokio::test]
async fn tools_work_after_sign_in() {
    let vendors = vendors().await;
    let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
    let (token, _) = sign_in.tokens(&[]).await;
    for (tool, member) in
        [("list_customers", "customers"), ("list_invoices", "invoices"), ("list_payments", "payments")]
    {
        let result = sign_in.visitor.result(&sign_in.mcp, &token, tool, json!({})).await;
        assert!(!result["structuredContent"][member].as_array().unwrap().is_empty(), "{tool}");
        assert!(!text_of(&result["content"][0]["text"]).is_empty());
    }
    assert_eq!(vendors.tesorio.activity(), Activity { registrations: 1, token_requests: 1, tool_calls: 3 });
}

#[tokio::test]
async fn every_call_of_the_write_tool_writes_once() {
    let vendors = vendors().await;
    let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
    let (token, _) = sign_in.tokens(&[]).await;
    let invoices = sign_in.visitor.result(&sign_in.mcp, &token, "list_invoices", json!({})).await;
    let invoices = invoices["structuredContent"]["invoices"].as_array().unwrap().clone();
    let overdue = invoices.iter().find(|invoice| invoice["status"] == "overdue").unwrap();
    let promise = json!({ "invoice": overdue["id"], "pay_by": "2030-01-31", "amount": overdue["open"] });
    for expected in 1..=2 {
        let result = sign_in.visitor.result(&sign_in.mcp, &token, "record_promise_to_pay", promise.clone()).await;
        assert_eq!(result["structuredContent"]["promises_recorded"], expected);
    }
    let wrong = json!({ "invoice": "inv_x", "pay_by": "2030-01-31", "amount": "1.00" });
    let result = sign_in.visitor.result(&sign_in.mcp, &token, "record_promise_to_pay", wrong).await;
    assert_eq!(result["isError"], true);
    assert_eq!(vendors.tesorio.promises().len(), 2);
}

#[tokio::test]
async fn refresh_tokens_rotate_and_a_replay_revokes_the_family() {
    let vendors = vendors().await;
    let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
    let other = sign_in.tokens(&[]).await;
    let (first_access, first) = sign_in.tokens(&[]).await;
    let (second_access, second) = pair(&sign_in.refresh(&first).await);
    assert_ne!(first, second);
    assert!(sign_in.is_good(&first_access).await && sign_in.is_good(&second_access).await);

    let replayed = sign_in.refresh(&first).await;
    assert_eq!((replayed.status, replayed.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_grant"));
    assert_eq!(sign_in.refresh(&second).await.error(), "invalid_grant");
    assert!(!sign_in.is_good(&first_access).await && !sign_in.is_good(&second_access).await);
    // Another sign-in of the same user is another token family.
    assert!(sign_in.is_good(&other.0).await);
    pair(&sign_in.refresh(&other.1).await);
}

#[tokio::test]
async fn a_refresh_token_is_bound_to_client_and_resource() {
    let vendors = vendors().await;
    let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
    let stranger = SignIn::new(vendors.tesorio.mcp_url()).await;
    let (_, refresh_token) = sign_in.tokens(&[]).await;
    assert_eq!(stranger.refresh(&refresh_token).await.error(), "invalid_grant");
    let bare =
        [("client_id", sign_in.client_id.as_str()), ("grant_type", "refresh_token"), ("refresh_token", &refresh_token)];
    let endpoint = text_of(&sign_in.server["token_endpoint"]);
    assert_eq!(sign_in.visitor.post(&endpoint, &bare).await.error(), "invalid_target");
    // Neither attempt used up the refresh token.
    pair(&sign_in.refresh(&refresh_token).await);
}

#[tokio::test]
async fn tokens_expire() {
    let lifetimes = Lifetimes { access_token: Duration::ZERO, refresh_token: Duration::ZERO };
    let vendors = Vendors::start(Settings { lifetimes, ..Settings::default() }).await.unwrap();
    let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
    let (access_token, refresh_token) = sign_in.tokens(&[]).await;
    assert!(!sign_in.is_good(&access_token).await);
    assert_eq!(sign_in.refresh(&refresh_token).await.error(), "invalid_grant");
}

#[tokio::test]
async fn revoking_either_token_ends_the_sign_in() {
    let vendors = vendors().await;
    let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
    let endpoint = text_of(&sign_in.server["revocation_endpoint"]);
    for by_refresh_token in [true, false] {
        let (access, refresh) = sign_in.tokens(&[]).await;
        let token = if by_refresh_token { &refresh } else { &access };
        let stranger = sign_in.visitor.post(&endpoint, &[("token", token), ("client_id", "someone")]).await;
        assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
        assert!(sign_in.is_good(&access).await);
        let revoked = sign_in.visitor.post(&endpoint, &[("token", token), ("client_id", &sign_in.client_id)]).await;
        assert_eq!(revoked.status, StatusCode::OK);
        assert!(!sign_in.is_good(&access).await);
        assert_eq!(sign_in.refresh(&refresh).await.error(), "invalid_grant");
    }
    // An unknown token is no error (RFC 7009 section 2.2).
    assert_eq!(sign_in.visitor.post(&endpoint, &[("token", "x")]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_code_is_bound_to_verifier_and_redirect_uri_and_works_once() {
    let vendors = vendors().await;
    let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
    let redirect_uri = sign_in.redirect_uri.as_str();

    for (verifier, redirect_uri) in [(&VERIFIER[1..], redirect_uri), (VERIFIER, "http://127.0.0.1/other")] {
        let code = sign_in.code(&[]).await;
        assert_eq!(sign_in.redeem(&code, verifier, redirect_uri).await.error(), "invalid_grant");
        // The failed attempt used up the code.
        assert_eq!(sign_in.redeem(&code, VERIFIER, &sign_in.redirect_uri).await.error(), "invalid_grant");
    }

    let code = sign_in.code(&[]).await;
    let (access, refresh) = pair(&sign_in.redeem(&code, VERIFIER, redirect_uri).await);
    assert!(sign_in.is_good(&access).await);
    assert_eq!(sign_in.redeem(&code, VERIFIER, redirect_uri).await.error(), "invalid_grant");
    assert!(!sign_in.is_good(&access).await);
    assert_eq!(sign_in.refresh(&refresh).await.error(), "invalid_grant");
}

#[tokio::test]
async fn authorization_requests_are_validated_before_the_consent_page() {
    let vendors = vendors().await;
    let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
    // With an invalid client or redirect URI, the server shows an error page and never redirects.
    let elsewhere = "http://127.0.0.1:1/callback";
    for changes in [[("client_id", "x")], [("client_id", "")], [("redirect_uri", elsewhere)], [("redirect_uri", "")]] {
        let answer = sign_in.visitor.get(sign_in.authorization_url(&changes).as_str()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{changes:?}");
        assert!(!answer.headers.contains_key(header::LOCATION));
    }
    for (changes, error) in [
        ([("response_type", "token")], "unsupported_response_type"),
        ([("code_challenge_method", "plain")], "invalid_request"),
        ([("code_challenge_method", "")], "invalid_request"),
        ([("code_challenge", "")], "invalid_request"),
        ([("resource", "")], "invalid_target"),
        ([("resource", "https://example.com/mcp")], "invalid_target"),
        ([("scope", "everything")], "invalid_scope"),
    ] {
        let answer = sign_in.visitor.get(sign_in.authorization_url(&changes).as_str()).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{changes:?}");
        let location = answer.location().to_string();
        assert!(location.starts_with(&sign_in.redirect_uri), "{location}");
        for part in [format!("error={error}&"), "state=a+state".to_owned(), "iss=http".to_owned()] {
            assert!(location.contains(&part), "{location}");
        }
    }
}

#[tokio::test]
async fn the_consent_page_escapes_names_and_takes_one_decision() {
    let vendors = vendors().await;
    let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
    let url = sign_in.authorization_url(&[]);
    let page = sign_in.visitor.get(url.as_str()).await;
    assert!(page.text.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; co"));
    assert!(!page.text.contains("<script"));
    assert!(page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("default-src 'none'"));

    let (_, request) = page.text.split_once("name=\"request\" value=\"").unwrap();
    let request = request.split_once('"').unwrap().0;
    let decision = [("request", request), ("name", "ada"), ("decision", "deny")];
    let endpoint = text_of(&sign_in.server["authorization_endpoint"]);
    let denied = sign_in.visitor.post(&endpoint, &decision).await;
    assert!(denied.location().as_str().contains("error=access_denied"));
    assert!(!denied.location().as_str().contains("code="));
    let again = [("request", request), ("name", "ada"), ("decision", "allow")];
    assert_eq!(sign_in.visitor.post(&endpoint, &again).await.status, StatusCode::BAD_REQUEST);
}

/// The client ID is the document's URL, and the document must repeat it.
#[tokio::test]
async fn a_client_id_can_be_a_metadata_document_url() {
    struct Document(String);
    impl Site for Document {
        fn answer(&self, _: Request<Bytes>) -> BoxFuture<'_, Reply> {
            let document = json!({
                "client_id": self.0,
                "client_name": "Portable",
                "redirect_uris": ["http://127.0.0.1/callback"],
            });
            Box::pin(async move { crate::demo::listener::json(StatusCode::OK, &document) })
        }
    }
    let vendors = vendors().await;
    for (claimed, is_accepted) in [("client.json", true), ("other.json", false)] {
        let listener = Listener::bind(0).await.unwrap();
        let client_id = format!("{}/client.json", listener.origin());
        let document = Document(format!("{}/{claimed}", listener.origin()));
        let _serving = listener.serve(Arc::new(document));
        let mut sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
        sign_in.client_id = client_id;
        if is_accepted {
            let (token, _) = sign_in.tokens(&[]).await;
            assert!(sign_in.is_good(&token).await);
        } else {
            let page = sign_in.visitor.get(sign_in.authorization_url(&[]).as_str()).await;
            assert_eq!(page.status, StatusCode::BAD_REQUEST);
        }
    }
}

#[tokio::test]
async fn a_failed_approval_names_the_step() {
    let vendors = vendors().await;
    let sign_in = SignIn::new(vendors.tesorio.mcp_url()).await;
    let wrong = sign_in.authorization_url(&[("client_id", "x")]);
    let error = approve(&sign_in.visitor.http, &wrong).await.unwrap_err().to_string();
    assert_eq!(error, "the sign-in failed at the consent page (HTTP 400 Bad Request)");
}
