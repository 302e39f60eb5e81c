//! The dynamic registration request and its response (RFC 7591).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{
    oauth::{
        authorization_server::AuthorizationServer,
        device_authorization::DEVICE_GRANT,
        error::RegistrationError,
        json,
        registration::{ClientAuthentication, ClientRegistration},
        scope::Scope,
    },
    secret::Secret,
};

/// A registration request (RFC 7591 section 3.1): the client metadata of section 2.
#[derive(Debug, Clone, Serialize)]
pub struct RegistrationRequest {
    client_name: &'static str,
    /// OpenID Connect Dynamic Client Registration 1.0 section 2: the default is a web application, for which servers
    /// refuse a loopback redirect URI.
    application_type: &'static str,
    redirect_uris: Vec<String>,
    grant_types: Vec<&'static str>,
    response_types: [&'static str; 1],
    token_endpoint_auth_method: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// The scope of the later authorization request, even if the registration does not name it.
    #[serde(skip)]
    wanted: Option<Scope>,
    /// The authentication method if the server issues a secret without naming one.
    #[serde(skip)]
    default_authentication: ClientAuthentication,
    /// The user's authentication method, which overrides the server's response.
    #[serde(skip)]
    chosen: Option<ClientAuthentication>,
}

/// The methods in order of preference. Servers that list both ways to send a secret all read the form, and some nothing
/// else: the Python SDK looks for `client_id` there even with a header.
const PREFERRED: [ClientAuthentication; 3] =
    [ClientAuthentication::None, ClientAuthentication::Body, ClientAuthentication::Basic];

/// The relevant members. Servers confuse numbers and strings, so the types are lenient.
#[derive(Deserialize)]
struct RegistrationResponse {
    client_id: Box<RawValue>,
    client_secret: Option<Box<RawValue>>,
    token_endpoint_auth_method: Option<Value>,
    client_secret_expires_at: Option<Value>,
    scope: Option<Value>,
    redirect_uris: Option<Value>,
}

/// The registered scopes. `None` if the member is missing or empty: some servers leave it empty and grant what the
/// authorization request asks for.
fn stated(scope: &Value) -> Option<Scope> {
    let scope: Option<Scope> = match scope {
        Value::String(text) => text.parse().ok(),
        Value::Array(tokens) => {
            let mut tokens = tokens.iter().map(|token| token.as_str().unwrap_or_default());
            tokens.try_fold(Scope::default(), Scope::with).ok()
        }
        _ => None,
    };
    scope.filter(|scope| !scope.is_empty())
}

/// A string's or a number's text, digit by digit; `None` for any other value.
fn text(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first()? {
        b'"' => serde_json::from_str(value.get()).ok(),
        b'-' | b'0'..=b'9' => Some(value.get().to_owned()),
        _ => None,
    }
}

/// When a secret expires. Zero (RFC 7591 section 3.2.1) or an invalid value means never.
fn end(value: &Value) -> Option<Timestamp> {
    let seconds = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    Timestamp::from_second(seconds.filter(|seconds| *seconds > 0)?).ok()
}

impl RegistrationRequest {
    /// Registers a native client for sign-ins in the browser or on another device, which refreshes its tokens.
    pub fn new(server: &AuthorizationServer, redirect_uri: &str, scope: Option<&Scope>) -> Self {
        // A secret in every installation proves nothing, so request none if the server allows that (RFC 8252 section
        // 8.5).
        let authentication = PREFERRED.into_iter().find(|method| server.authentication.contains(method));
        let authentication = authentication.unwrap_or(ClientAuthentication::None);
        let for_secret = PREFERRED.into_iter().skip(1).find(|method| server.authentication.contains(method));
        Self {
            client_name: "finmcp",
            application_type: "native",
            redirect_uris: vec![redirect_uri.to_owned()],
            // A strict server refuses unknown grant types.
            grant_types: std::iter::once("authorization_code")
                .chain(server.refresh.then_some("refresh_token"))
                .chain(server.device_codes.then_some(DEVICE_GRANT))
                .collect(),
            response_types: ["code"],
            token_endpoint_auth_method: authentication.method(),
            scope: scope.map(Scope::to_string),
            wanted: scope.cloned(),
            default_authentication: for_secret.unwrap_or(ClientAuthentication::None),
            chosen: None,
        }
    }

    /// Adds further redirect URIs.
    pub fn with_redirect_uris(mut self, others: Vec<String>) -> Self {
        self.redirect_uris.extend(others);
        self
    }

    /// Sets the user's authentication method, if there is one.
    pub fn authenticating(mut self, method: Option<ClientAuthentication>) -> Self {
        if let Some(method) = method {
            self.token_endpoint_auth_method = method.method();
            self.chosen = Some(method);
        }
        self
    }

    /// Adds the device grant (RFC 8628), regardless of the server's metadata.
    pub fn for_devices(mut self) -> Self {
        if !self.grant_types.contains(&DEVICE_GRANT) {
            self.grant_types.push(DEVICE_GRANT);
        }
        self
    }

    /// Removes the device grant.
    pub fn for_browsers(mut self) -> Self {
        self.grant_types.retain(|grant| *grant != DEVICE_GRANT);
        self
    }

    /// Removes the scope, for a server that refuses to register it. The response names the registered scopes, or leaves
    /// them to the authorization request.
    pub fn without_scope(mut self) -> Self {
        self.scope = None;
        self
    }

    /// The request's body.
    ///
    /// # Errors
    /// [`RegistrationError::Unusable`], which does not happen with these members.
    pub fn body(&self) -> Result<Vec<u8>, RegistrationError> {
        serde_json::to_vec(self).map_err(|_| RegistrationError::Unusable("it cannot be serialised"))
    }

    /// Parses the response, which may differ from the request (RFC 7591 section 3.2.1).
    ///
    /// # Errors
    /// [`RegistrationError::Unusable`].
    pub fn registered(self, body: &[u8]) -> Result<ClientRegistration, RegistrationError> {
        let response: RegistrationResponse =
            json::read(body).map_err(|_| RegistrationError::Unusable("it is not JSON, or has no `client_id`"))?;
        let client_id = text(&response.client_id).filter(|id| !id.is_empty());
        let client_id = client_id.ok_or(RegistrationError::Unusable("its `client_id` is empty or not a string"))?;
        let client_secret = response.client_secret.and_then(|secret| text(&secret)).filter(|secret| !secret.is_empty());
        let client_secret = client_secret.map(Secret::new);
        let method = response.token_endpoint_auth_method.as_ref().and_then(Value::as_str);
        let authentication = match (method.map(ClientAuthentication::from_method), &client_secret) {
            (Some(None | Some(ClientAuthentication::PrivateKeyJwt | ClientAuthentication::Certificate)), _) => {
                return Err(RegistrationError::Unusable("its client authentication method is not supported"));
            }
            (_, None) => ClientAuthentication::None,
            (Some(Some(method)), Some(_)) => method,
            (None, Some(_)) => self.default_authentication,
        };
        let expires_at = response.client_secret_expires_at.as_ref().and_then(end);
        let withheld = match (self.wanted, response.scope.as_ref().and_then(stated)) {
            (Some(wanted), Some(stated)) => wanted.without(&stated),
            _ => Scope::default(),
        };
        let mut redirect_uris = self.redirect_uris.into_iter();
        let redirect_uri = redirect_uris.next();
        let is_stated = |uri: &String| match &response.redirect_uris {
            Some(Value::Array(stated)) => stated.iter().any(|stated| stated == uri),
            _ => true,
        };
        let registration = ClientRegistration {
            client_id,
            expires_at: expires_at.filter(|_| client_secret.is_some()),
            client_secret,
            certificate: None,
            key_algorithm: None,
            authentication,
            redirect_uri,
            withheld,
            other_redirect_uris: redirect_uris.filter(is_stated).collect(),
        };
        Ok(registration.authenticating(self.chosen))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const REDIRECT: &str = "http://127.0.0.1:5000/callback";

    fn server(methods: &Value) -> AuthorizationServer {
        let document = json!({
            "issuer": "https://as.example",
            "token_endpoint": "https://as.example/token",
            "token_endpoint_auth_methods_supported": methods,
        });
        let issuer = "https://as.example";
        AuthorizationServer::parse(document.to_string().as_bytes(), issuer, &issuer.parse().unwrap()).unwrap()
    }

    fn registered(methods: &Value, response: &Value) -> Result<ClientRegistration, RegistrationError> {
        RegistrationRequest::new(&server(methods), REDIRECT, None).registered(response.to_string().as_bytes())
    }

    /// t040: finmcp registers a native client, with a secret only if the server insists.
    #[test]
    fn t040_the_registered_metadata() {
        for (methods, method) in [
            (json!(["client_secret_post", "client_secret_basic", "none"]), "none"),
            (json!(["client_secret_post", "client_secret_basic"]), "client_secret_post"),
            (json!(["client_secret_basic", "client_secret_post"]), "client_secret_post"),
            (json!(["client_secret_basic"]), "client_secret_basic"),
            (json!(["client_secret_post", "private_key_jwt"]), "client_secret_post"),
            (json!(null), "client_secret_basic"),
            (json!(["private_key_jwt"]), "none"),
        ] {
            let scope = "b a".parse().unwrap();
            let request = RegistrationRequest::new(&server(&methods), REDIRECT, Some(&scope));
            let body: Value = serde_json::from_slice(&request.body().unwrap()).unwrap();
            let wanted = json!({
                "client_name": "finmcp",
                "application_type": "native",
                "redirect_uris": [REDIRECT],
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
                "token_endpoint_auth_method": method,
                "scope": "a b",
            });
            assert_eq!(body, wanted);
        }
    }

    /// t041: the published document equals a registration request, except for the port.
    #[test]
    fn t041_the_document_matches_the_registration() {
        let mut document: Value = serde_json::from_str(include_str!("../../client-metadata.json")).unwrap();
        document.as_object_mut().unwrap().remove("client_id");
        let request = RegistrationRequest::new(&server(&json!(["none"])), "http://127.0.0.1/callback", None);
        let body: Value = serde_json::from_slice(&request.body().unwrap()).unwrap();
        assert_eq!(document, body);
    }

    /// t040: includes the refresh and device grants, unless the server's list of grants lacks them.
    #[test]
    fn t040_the_grants_that_are_registered() {
        for (refresh, device_codes, wanted) in [
            (true, true, &["authorization_code", "refresh_token", DEVICE_GRANT][..]),
            (true, false, &["authorization_code", "refresh_token"]),
            (false, true, &["authorization_code", DEVICE_GRANT]),
            (false, false, &["authorization_code"]),
        ] {
            let mut server = server(&json!(["none"]));
            (server.refresh, server.device_codes) = (refresh, device_codes);
            let request = RegistrationRequest::new(&server, REDIRECT, None);
            assert_eq!(request.grant_types, wanted);
            let devices = request.for_devices().grant_types;
            assert_eq!(devices.iter().filter(|grant| **grant == DEVICE_GRANT).count(), 1);
        }
    }

    /// t040: the response overrides the request.
    #[test]
    fn t040_the_response_overrides_the_request() {
        let all = json!(["none", "client_secret_post", "client_secret_basic"]);
        let (none, basic, body) = (json!(["none"]), json!(["client_secret_basic"]), json!(["client_secret_post"]));
        let id = "c1";
        for (methods, response, authentication, secret) in [
            (&none, json!({"client_id": id}), ClientAuthentication::None, None),
            (&none, json!({"client_id": id, "client_secret": "s"}), ClientAuthentication::None, Some("s")),
            (&all, json!({"client_id": id, "client_secret": "s"}), ClientAuthentication::Body, Some("s")),
            (&json!(null), json!({"client_id": id, "client_secret": "s"}), ClientAuthentication::Basic, Some("s")),
            (&body, json!({"client_id": id, "client_secret": "s"}), ClientAuthentication::Body, Some("s")),
            (&basic, json!({"client_id": id}), ClientAuthentication::None, None),
            (&basic, json!({"client_id": id, "client_secret": ""}), ClientAuthentication::None, None),
            (
                &none,
                json!({"client_id": id, "client_secret": "s", "token_endpoint_auth_method": "client_secret_post"}),
                ClientAuthentication::Body,
                Some("s"),
            ),
            (
                &basic,
                json!({"client_id": id, "client_secret": "s", "token_endpoint_auth_method": "none"}),
                ClientAuthentication::None,
                Some("s"),
            ),
        ] {
            let client = registered(methods, &response).unwrap();
            assert_eq!((&client.client_id[..], client.authentication), (id, authentication), "{response}");
            assert_eq!(client.client_secret.as_ref().map(|secret| &secret.expose()[..]), secret);
            assert_eq!(client.redirect_uri.as_deref(), Some(REDIRECT));
        }
        for response in [json!({}), json!([]), json!({"client_id": true}), json!({"client_id": ""})] {
            assert!(registered(&none, &response).is_err(), "{response}");
        }
        assert!(registered(&none, &json!({"client_id": id, "token_endpoint_auth_method": "private_key_jwt"})).is_err());
    }

    /// b9: harmless type errors are accepted, and no digit of a number is lost.
    #[test]
    fn b9_wrong_types_are_accepted() {
        let ends = |end: Value| {
            let response = json!({"client_id": "c", "client_secret": "s", "client_secret_expires_at": end});
            registered(&json!(["client_secret_post"]), &response).unwrap().expires_at.map(Timestamp::as_second)
        };
        for never in [json!(0), json!("0"), json!(null), json!("never"), json!(-1), json!(true), json!(""), json!([])] {
            assert_eq!(ends(never.clone()), None, "{never}");
        }
        assert_eq!((ends(json!("1800000000")), ends(json!(1_800_000_000))), (Some(1_800_000_000), Some(1_800_000_000)));
        let request = || RegistrationRequest::new(&server(&json!(["client_secret_post"])), REDIRECT, None);
        let body = br#"{"client_id":12345678901234567890123,"client_secret":1.10,"token_endpoint_auth_method":7}"#;
        let client = request().registered(body).unwrap();
        assert_eq!(client.client_id, "12345678901234567890123");
        assert_eq!(client.client_secret.unwrap().expose(), "1.10");
        assert_eq!(client.authentication, ClientAuthentication::Body);
        // A duplicate member is still refused.
        for twice in
            [r#"{"client_id":"a","client_id":"b"}"#, r#"{"client_id":"a","client_secret":"b","client_secret":1}"#]
        {
            assert!(request().registered(twice.as_bytes()).is_err(), "{twice}");
        }
    }

    /// d9: a scope that the response does not name is withheld, whether or not this request named it. A response
    /// without scopes withholds nothing.
    #[test]
    fn d9_scopes_that_are_withheld() {
        let wanted: Scope = "books offline_access pay".parse().unwrap();
        for (stated, withheld, allowed) in [
            (json!("books"), "offline_access pay", Some("books")),
            (json!("pay books x"), "offline_access", Some("books pay")),
            (json!(["books", "pay"]), "offline_access", Some("books pay")),
            (json!("x"), "books offline_access pay", None),
            (json!("pay  offline_access books"), "", Some("books offline_access pay")),
            (json!(""), "", Some("books offline_access pay")),
            (json!(null), "", Some("books offline_access pay")),
            (json!([]), "", Some("books offline_access pay")),
            (json!(["books", 7]), "", Some("books offline_access pay")),
            (json!("bo\u{7}oks"), "", Some("books offline_access pay")),
            (json!({"books": true}), "", Some("books offline_access pay")),
        ] {
            let request = RegistrationRequest::new(&server(&json!(["none"])), REDIRECT, Some(&wanted));
            for request in [request.clone(), request.without_scope()] {
                let client = request.registered(json!({"client_id": "c", "scope": stated}).to_string().as_bytes());
                let client = client.unwrap();
                assert_eq!(client.withheld.to_string(), withheld, "{stated}");
                assert_eq!(
                    client.allowed(Some(&wanted)).map(|scope| scope.to_string()).as_deref(),
                    allowed,
                    "{stated}"
                );
                assert_eq!(client.allowed(None), None);
            }
        }
        let request = RegistrationRequest::new(&server(&json!(["none"])), REDIRECT, Some(&wanted)).without_scope();
        assert!(!String::from_utf8(request.body().unwrap()).unwrap().contains("scope"));
    }

    /// d1: the user's method is requested and used regardless of the server's metadata and response, except that a
    /// method with a secret needs one.
    #[test]
    fn d1_a_chosen_method() {
        use ClientAuthentication::{Basic, Body, None as Public};
        let secret =
            json!({"client_id": "c", "client_secret": "s", "token_endpoint_auth_method": "client_secret_post"});
        for (chosen, response, used) in [
            (Some(Basic), &secret, Basic),
            (Some(Public), &secret, Public),
            (None, &secret, Body),
            (Some(Basic), &json!({"client_id": "c"}), Public),
        ] {
            let request = RegistrationRequest::new(&server(&json!(["client_secret_post"])), REDIRECT, None);
            let request = request.authenticating(chosen);
            let body: Value = serde_json::from_slice(&request.body().unwrap()).unwrap();
            assert_eq!(body["token_endpoint_auth_method"], chosen.unwrap_or(Body).method());
            let client = request.registered(response.to_string().as_bytes()).unwrap();
            assert_eq!(client.authentication, used, "{chosen:?}");
        }
    }

    /// d1, d4: only a client with a secret has another method to try.
    #[test]
    fn d4_the_other_method() {
        use ClientAuthentication::{Basic, Body, None as Public, PrivateKeyJwt};
        for (issued, method, other) in [
            (true, Public, Some(Body)),
            (true, Basic, Some(Body)),
            (true, Body, Some(Basic)),
            (true, PrivateKeyJwt, None),
            (false, Public, None),
            (false, Basic, None),
        ] {
            let client = ClientRegistration {
                client_id: "c".to_owned(),
                client_secret: issued.then(|| Secret::new("s".to_owned())),
                certificate: None,
                key_algorithm: None,
                authentication: method,
                redirect_uri: Some(REDIRECT.to_owned()),
                expires_at: None,
                withheld: Scope::default(),
                other_redirect_uris: Vec::new(),
            };
            assert_eq!(client.other_authentication(), other, "{issued} {method:?}");
        }
    }

    /// t061: the header if the server supports it, as every server must.
    #[test]
    fn t061_how_a_secret_is_sent() {
        use ClientAuthentication::{Basic, Body, None as Public};
        for (listed, chosen) in [
            (&[Body, Basic][..], Basic),
            (&[Body][..], Body),
            (&[Body, Public], Body),
            (&[], Basic),
            (&[Public], Basic),
        ] {
            assert_eq!(ClientAuthentication::choose(listed), chosen);
        }
    }
}
