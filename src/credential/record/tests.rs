use super::*;
use crate::{oauth::registration::ClientAuthentication, secret::Secret};

pub(in crate::credential) fn sample() -> Credential {
    Credential {
        identity: Identity {
            environment: "sandbox".to_owned(),
            issuer: "https://as.example".to_owned(),
            resource: "https://mcp.example/mcp".to_owned(),
            client_id: "client".to_owned(),
            account: "biz_1".to_owned(),
        },
        generation: 7,
        sign_in: 0,
        renewal: Renewal::RefreshToken,
        registration: ClientRegistration {
            client_id: "client".to_owned(),
            client_secret: Some(Secret::new("s3cret:%\"\n".to_owned())),
            certificate: None,
            key_algorithm: None,
            authentication: ClientAuthentication::Basic,
            redirect_uri: Some("http://127.0.0.1:1/callback".to_owned()),
            expires_at: None,
            withheld: Scope::default(),
            other_redirect_uris: Vec::new(),
        },
        token_endpoint: "https://as.example/token".parse().unwrap(),
        revocation_endpoint: Some("https://as.example/revoke".parse().unwrap()),
        resource: Some("https://mcp.example/mcp".to_owned()),
        scope: Some("a b".parse().unwrap()),
        scope_on_refresh: false,
        require_audience: false,
        parameters: vec![("business_id".to_owned(), "biz_1".to_owned())],
        bearer: Bearer::AccessToken,
        dpop_key: None,
        tokens: Some(TokenSet {
            access_token: Secret::new("CANARY-access".to_owned()),
            refresh_token: Some(Secret::new("CANARY-refresh".to_owned())),
            issued_at: "2026-11-01T00:00:00.5Z".parse().unwrap(),
            expires_at: Some("2026-11-01T01:00:00.5Z".parse().unwrap()),
            scope: Some("a".parse().unwrap()),
            person: Some("p@example".to_owned()),
            id_token: None,
        }),
        end: None,
    }
}

#[test]
fn the_holder_is_the_user_and_the_account() {
    let holder = |person: Option<&str>| {
        let mut credential = sample();
        credential.tokens.as_mut().unwrap().person = person.map(str::to_owned);
        credential.holder()
    };
    assert_eq!(holder(Some("p@example")), "p@example (biz_1)");
    assert_eq!(holder(Some("biz_1")), "biz_1");
    assert_eq!(holder(None), "biz_1");
}

/// t088: every part affects the name, and so does moving characters between parts.
#[test]
fn t088_identities_never_share_an_entry() {
    let part = |parts: [&str; 5]| {
        let [environment, issuer, resource, client_id, account] = parts.map(str::to_owned);
        Identity { environment, issuer, resource, client_id, account }.entry()
    };
    let entries = [
        part(["", "", "", "", ""]),
        part(["a", "b", "c", "d", "e"]),
        part(["ab", "", "c", "d", "e"]),
        part(["", "ab", "c", "d", "e"]),
        part(["a", "b", "c", "de", ""]),
        part(["a", "b", "c", "", "de"]),
        part(["a\n", "b", "c", "d", "e"]),
        part(["a", "\nb", "c", "d", "e"]),
        part(["a|b", "", "c", "d", "e"]),
        part(["a", "|b", "c", "d", "e"]),
        part(["a\0", "b", "c", "d", "e"]),
        part(["a", "\0b", "c", "d", "e"]),
    ];
    for (index, entry) in entries.iter().enumerate() {
        assert!(!entries[index + 1..].contains(entry), "{index}");
        assert!(entry.len() == 71 && entry.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    }
}
