use proptest::prelude::*;

use super::*;
use crate::credential::record::tests::sample;
use crate::oauth::private_key::Algorithm;

fn payload_of(credential: &Credential) -> String {
    String::from_utf8(credential.to_payload().unwrap().to_vec()).unwrap()
}

#[test]
fn the_format_is_stable() {
    insta::assert_snapshot!(payload_of(&sample()), @r#"{"version":1,"identity":{"environment":"sandbox","issuer":"https://as.example","resource":"https://mcp.example/mcp","client_id":"client","account":"biz_1"},"generation":7,"renewal":"refresh_token","registration":{"client_id":"client","client_secret":"s3cret:%\"\n","authentication":"client_secret_basic","redirect_uri":"http://127.0.0.1:1/callback"},"token_endpoint":"https://as.example/token","revocation_endpoint":"https://as.example/revoke","resource":"https://mcp.example/mcp","scope":"a b","parameters":[["business_id","biz_1"]],"tokens":{"access_token":"CANARY-access","refresh_token":"CANARY-refresh","issued_at":1793491200500,"expires_at":1793494800500,"scope":"a","person":"p@example"}}"#);
}

#[test]
fn everything_is_restored() {
    let without = Credential {
        renewal: Renewal::ClientCredentials,
        revocation_endpoint: None,
        resource: None,
        scope: None,
        parameters: Vec::new(),
        tokens: None,
        ..sample()
    };
    let by = |source| Credential { renewal: Renewal::JwtBearer(source), ..sample() };
    let provider = IdentityProvider {
        issuer: "https://idp.example".to_owned(),
        token_endpoint: without.token_endpoint.naming("https://idp.example/token").unwrap(),
        registration: ClientRegistration { client_id: "sso".to_owned(), ..sample().registration },
        id_token: IdToken::File("/run/id-token".into()),
    };
    let file = by(AssertionSource::File("/var/run/secrets/tokens/mcp".into()));
    let granted = by(AssertionSource::IdentityProvider(Box::new(provider)));
    let key = Some(Arc::new(DpopKey::generate().unwrap()));
    let bound = Credential { dpop_key: key, ..sample() };
    let own = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
    let pem = Secret::new(format!("{}{}", own.cert.pem(), own.signing_key.serialize_pem()));
    let registration = ClientRegistration {
        certificate: Some(Arc::new(ClientCertificate::from_pem(pem).unwrap())),
        authentication: ClientAuthentication::Certificate,
        client_secret: None,
        ..sample().registration
    };
    let certified = Credential { registration, ..sample() };
    let registration = ClientRegistration { withheld: "offline_access pay".parse().unwrap(), ..sample().registration };
    let narrow = Credential { registration, sign_in: u64::MAX, ..sample() };
    let registration = ClientRegistration { key_algorithm: Some(Algorithm::Ps256), ..sample().registration };
    let signing = Credential { registration, ..sample() };
    for credential in [sample(), without, file, granted, bound, certified, narrow, signing] {
        let payload = credential.to_payload().unwrap();
        let read = Credential::from_payload(&payload, &credential.identity).unwrap();
        // Serializing again shows every member, with times to the millisecond.
        assert_eq!(*read.to_payload().unwrap(), *payload);
        assert_eq!((read.generation, read.sign_in), (credential.generation, credential.sign_in));
        assert_eq!(read.registration.authentication, credential.registration.authentication);
        assert_eq!(read.registration.withheld, credential.registration.withheld);
        assert_eq!(read.registration.key_algorithm, credential.registration.key_algorithm);
    }
}

/// t006: the store keeps which networks a server's endpoints may be in.
#[test]
fn t006_reach_is_stored() {
    let server: ServerUrl = "https://mcp.example/mcp".parse().unwrap();
    let named = Credential {
        token_endpoint: server.naming("https://as.example/token").unwrap(),
        revocation_endpoint: Some(server.granting_private_network().naming("https://as.example/revoke").unwrap()),
        ..sample()
    };
    let read = Credential::from_payload(&named.to_payload().unwrap(), &named.identity).unwrap();
    assert_eq!(read.token_endpoint.reach(), Reach::PUBLIC);
    assert_eq!(read.revocation_endpoint.unwrap().reach(), named.revocation_endpoint.unwrap().reach());
}

/// A growing buffer would leave secrets in freed memory.
#[test]
fn the_payload_is_written_into_one_buffer() {
    let payload = sample().to_payload().unwrap();
    assert_eq!(payload.len(), payload.capacity());
}

/// t081: finmcp ignores additional members of a later finmcp, and does not change a record with a newer version.
#[test]
fn t081_later_members_are_tolerated_and_newer_versions_are_not() {
    let text = payload_of(&sample());
    let with_more =
        text.replacen('{', r#"{"later":{"a":[1]},"#, 1).replace(r#""generation""#, r#""x":1e2,"generation""#);
    assert!(Credential::from_payload(with_more.as_bytes(), &sample().identity).is_ok());
    let newer = text.replace(r#""version":1"#, r#""version":2"#);
    assert!(matches!(Credential::from_payload(newer.as_bytes(), &sample().identity), Err(StoreError::Newer(2))));
    // Even if the rest is unreadable.
    assert!(matches!(
        Credential::from_payload(br#"{"version":9,"identity":7}"#, &sample().identity),
        Err(StoreError::Newer(9))
    ));
}

/// t088: finmcp refuses an entry that contains another identity's record.
#[test]
fn t088_a_swapped_record_is_refused() {
    let payload = sample().to_payload().unwrap();
    let sample = sample().identity;
    for wanted in [
        Identity { environment: "production".to_owned(), ..sample.clone() },
        Identity { issuer: "https://evil.example".to_owned(), ..sample.clone() },
        Identity { resource: "https://evil.example/mcp".to_owned(), ..sample.clone() },
        Identity { client_id: "other".to_owned(), ..sample.clone() },
        Identity { account: "biz_2".to_owned(), ..sample },
    ] {
        assert!(matches!(Credential::from_payload(&payload, &wanted), Err(StoreError::Corrupt(_))));
    }
}

/// t094: the error shows nothing of the record, not even of the invalid member.
#[test]
fn t094_no_error_shows_a_secret() {
    let text = payload_of(&sample());
    for damaged in [
        text.replace("1793491200500", r#""CANARY""#),
        text.replace("CANARY-access", "CANARY\\u0007"),
        text.replace("https://as.example/token", "CANARY"),
        text.replace(r#""a b""#, r#""CANARY\\t""#),
        text.replace(r#""refresh_token","registration""#, r#""CANARY","registration""#),
        text.replace("client_secret_basic", "CANARY"),
        text.replace(r#""tokens""#, r#""dpop_key":"CANARY","tokens""#),
    ] {
        assert_ne!(damaged, text);
        let error = Credential::from_payload(damaged.as_bytes(), &sample().identity).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
    }
}

proptest! {
    /// t086: truncating, overwriting or extending a record leads to a typed error or to a record of the wanted
    /// identity, never to a panic.
    #[test]
    fn t086_a_damaged_record_is_a_typed_error(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..5),
    ) {
        let mut payload = sample().to_payload().unwrap();
        for (place, byte, edit) in edits {
            if payload.is_empty() {
                break;
            }
            let place = place.index(payload.len());
            match edit {
                0 => payload[place] = byte,
                1 => payload.truncate(place),
                _ => payload.insert(place, byte),
            }
        }
        match Credential::from_payload(&payload, &sample().identity) {
            Ok(read) => prop_assert_eq!(read.identity, sample().identity),
            Err(StoreError::Corrupt(_) | StoreError::Newer(_)) => {}
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }

    /// t086: random bytes.
    #[test]
    fn t086_garbage_is_corrupt(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Credential::from_payload(&garbage, &sample().identity).is_err());
    }
}
