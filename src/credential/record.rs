//! One stored credential: whose it is, how it is renewed, and its tokens; and the document that a store keeps of it.

use std::{borrow::Cow, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    credential::{
        assertion::{AssertionSource, IdentityProvider},
        store::StoreError,
    },
    oauth::{
        client::{Grant, TokenRequest},
        dpop::DpopKey,
        registration::{ClientAuthentication, ClientRegistration},
        scope::Scope,
        token_set::TokenSet,
    },
    secret::Secret,
    server_url::{ServerUrl, reach::Reach},
};

/// The version of the document that this finmcp writes, and the newest that it reads.
const VERSION: u64 = 1;

/// What a credential belongs to. Two credentials with any part different never meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The vendor environment (`production`, `sandbox`), empty where there is one only.
    pub environment: String,
    /// The authorization server's issuer identifier (RFC 8414 section 2); for a pinned token endpoint without one, the
    /// endpoint's URL.
    pub issuer: String,
    /// The protected resource's identifier (RFC 8707).
    pub resource: String,
    /// The client identifier.
    pub client_id: String,
    /// The business or person, as the profile names it.
    pub account: String,
}

impl Identity {
    /// The name of its entry in a store and of its lock: `finmcp-` and a SHA-256 in hexadecimal. Each part is hashed
    /// with its length, so that no two identities share a name by moving characters from one part to the next.
    pub fn entry(&self) -> String {
        let mut hash = Sha256::new_with_prefix(b"finmcp credential 1");
        for part in [&self.environment, &self.issuer, &self.resource, &self.client_id, &self.account] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        let digits = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("finmcp-{digits}")
    }
}

/// What renews a credential.
#[derive(Debug, Clone)]
pub enum Renewal {
    /// The refresh token of an authorization code sign-in; a person when it is spent.
    RefreshToken,
    /// The client's own credentials: asking again (RFC 6749 section 4.4).
    ClientCredentials,
    /// An assertion, got anew (RFC 7523 section 2.1).
    JwtBearer(AssertionSource),
}

/// Why a sign-in is over, though its tokens are kept until the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The authorization server refused the refresh token.
    Refused,
    /// The authorization server no longer knows the client that it once registered.
    ClientForgotten,
}

/// A credential, whole.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Whose it is; checked on every read.
    pub identity: Identity,
    /// One more with each save.
    pub generation: u64,
    /// A number that is drawn at each sign-in and that renewals keep; 0 in a record from before there was one.
    pub sign_in: u64,
    /// How it is renewed.
    pub renewal: Renewal,
    /// Who asks.
    pub registration: ClientRegistration,
    /// Where tokens come from.
    pub token_endpoint: ServerUrl,
    /// Where they are revoked (RFC 7009), where there is such a place.
    pub revocation_endpoint: Option<ServerUrl>,
    /// The `resource` parameter that is sent, on every leg alike; none where the server wants none.
    pub resource: Option<String>,
    /// The scope that was asked for.
    pub scope: Option<Scope>,
    /// Whether a refresh asks for it again.
    pub scope_on_refresh: bool,
    /// Whether a token must not be for another resource.
    pub require_audience: bool,
    /// Further form fields that this server wants.
    pub parameters: Vec<(String, String)>,
    /// The key that its tokens are bound to (RFC 9449); none where they are bearer tokens.
    pub dpop_key: Option<Arc<DpopKey>>,
    /// The tokens; none before the first.
    pub tokens: Option<TokenSet>,
    /// Why the tokens are no longer used: they are kept to be revoked.
    pub end: Option<End>,
}

impl Credential {
    /// What its tokens are asked for with: the same on every leg, but for the grant.
    pub fn token_request<'a>(&'a self, grant: Grant<'a>) -> TokenRequest<'a> {
        TokenRequest {
            endpoint: &self.token_endpoint,
            issuer: &self.identity.issuer,
            registration: &self.registration,
            grant,
            resource: self.resource.as_deref(),
            scope: self.scope.as_ref(),
            dpop_key: self.dpop_key.as_deref(),
            parameters: &self.parameters,
            audience: self.resource.as_deref().filter(|_| self.require_audience),
        }
    }

    /// The name of the sign-in that it came from: the same after each renewal, and another after each sign-in, be it of
    /// another person with the same client.
    pub fn sign_in_name(&self) -> String {
        format!("{} {}", self.identity.entry(), self.sign_in)
    }

    /// Whether tokens come of it without a person, as far as this machine knows.
    pub fn is_alive(&self) -> bool {
        match self.renewal {
            Renewal::RefreshToken => self.tokens.is_some() && self.end.is_none(),
            Renewal::ClientCredentials | Renewal::JwtBearer(_) => true,
        }
    }

    /// Whose it is, for people to read: the person, where the server names one, and the account.
    pub fn holder(&self) -> String {
        let account = &self.identity.account;
        match self.tokens.as_ref().and_then(|tokens| tokens.person.as_ref()) {
            Some(person) if person != account => format!("{person} ({account})"),
            _ => account.clone(),
        }
    }

    /// Whom its access token is for in place of the resource that was asked for. Advice: the server may know what it does.
    pub fn other_audience(&self) -> Option<String> {
        self.tokens.as_ref()?.other_audience(self.resource.as_deref()?)
    }

    /// Whether its tokens are renewed without a person.
    pub fn renews_by_itself(&self) -> bool {
        match self.renewal {
            Renewal::RefreshToken => {
                self.end.is_none() && self.tokens.as_ref().is_some_and(|tokens| tokens.refresh_token.is_some())
            }
            Renewal::ClientCredentials | Renewal::JwtBearer(_) => true,
        }
    }

    /// The document that a store keeps: compact JSON with every secret in it.
    ///
    /// # Errors
    /// [`StoreError::Failed`], which a credential that was ever valid does not meet.
    pub fn to_payload(&self) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let document = Document::from(self);
        // Sized beforehand: a buffer that grows leaves copies of the secrets behind.
        let mut size = Size(0);
        let failed = |error: serde_json::Error| StoreError::Failed(format!("could not write a record: {error}"));
        serde_json::to_writer(&mut size, &document).map_err(failed)?;
        let mut payload = Zeroizing::new(Vec::with_capacity(size.0));
        serde_json::to_writer(&mut *payload, &document).map_err(failed)?;
        Ok(payload)
    }

    /// Reads a document of `wanted`. Members that this version does not know are passed over.
    ///
    /// # Errors
    /// [`StoreError::Newer`] and [`StoreError::Corrupt`]: damaged, or another identity's. The text shows nothing of the
    /// document.
    pub fn from_payload(payload: &[u8], wanted: &Identity) -> Result<Self, StoreError> {
        // The parser's own words would quote the document.
        let odd = |error: serde_json::Error| {
            StoreError::Corrupt(format!("not a record of finmcp (line {}, column {})", error.line(), error.column()))
        };
        let Version { version } = serde_json::from_slice(payload).map_err(odd)?;
        match version {
            VERSION => {}
            0 => return Err(StoreError::Corrupt("it has no version".to_owned())),
            newer => return Err(StoreError::Newer(newer)),
        }
        let credential = Self::try_from(serde_json::from_slice::<Document<'_>>(payload).map_err(odd)?)?;
        if credential.identity != *wanted {
            return Err(StoreError::Corrupt("it belongs to another server, client or account".to_owned()));
        }
        Ok(credential)
    }
}

/// Counts what is written to it.
struct Size(usize);

impl std::io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

#[derive(Serialize, Deserialize)]
struct Document<'a> {
    version: u64,
    identity: IdentityDocument<'a>,
    generation: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    sign_in: u64,
    renewal: RenewalDocument<'a>,
    registration: RegistrationDocument<'a>,
    token_endpoint: Cow<'a, str>,
    /// How far the endpoints may lead, since whoever named them is not asked again.
    #[serde(default, skip_serializing_if = "is_anywhere")]
    token_endpoint_reach: Reach,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revocation_endpoint: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_anywhere")]
    revocation_endpoint_reach: Reach,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    scope_on_refresh: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    require_audience: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parameters: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// PKCS#8 in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dpop_key: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens: Option<TokensDocument<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<End>,
}

#[derive(Serialize, Deserialize)]
struct IdentityDocument<'a> {
    environment: Cow<'a, str>,
    issuer: Cow<'a, str>,
    resource: Cow<'a, str>,
    client_id: Cow<'a, str>,
    account: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RenewalDocument<'a> {
    RefreshToken,
    ClientCredentials,
    JwtBearer(AssertionDocument<'a>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AssertionDocument<'a> {
    File(Cow<'a, str>),
    IdentityProvider {
        issuer: Cow<'a, str>,
        token_endpoint: Cow<'a, str>,
        #[serde(default, skip_serializing_if = "is_anywhere")]
        token_endpoint_reach: Reach,
        registration: Box<RegistrationDocument<'a>>,
        id_token_file: Cow<'a, str>,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) struct RegistrationDocument<'a> {
    client_id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_secret: Option<Cow<'a, str>>,
    authentication: AuthenticationDocument,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redirect_uri: Option<Cow<'a, str>>,
    /// In milliseconds of the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    withheld: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    other_redirect_uris: Vec<String>,
}

/// By the names of RFC 7591 section 2.
#[derive(Serialize, Deserialize)]
enum AuthenticationDocument {
    #[serde(rename = "none")]
    None,
    #[serde(rename = "client_secret_basic")]
    Basic,
    #[serde(rename = "client_secret_post")]
    Body,
    #[serde(rename = "private_key_jwt")]
    PrivateKeyJwt,
}

/// Times are in milliseconds of the Unix epoch.
#[derive(Serialize, Deserialize)]
struct TokensDocument<'a> {
    access_token: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Cow<'a, str>>,
    issued_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    person: Option<Cow<'a, str>>,
}

impl<'a> From<&'a Credential> for Document<'a> {
    fn from(credential: &'a Credential) -> Self {
        let Credential { identity, registration, .. } = credential;
        Self {
            version: VERSION,
            identity: IdentityDocument {
                environment: Cow::from(&identity.environment),
                issuer: Cow::from(&identity.issuer),
                resource: Cow::from(&identity.resource),
                client_id: Cow::from(&identity.client_id),
                account: Cow::from(&identity.account),
            },
            generation: credential.generation,
            sign_in: credential.sign_in,
            renewal: match &credential.renewal {
                Renewal::RefreshToken => RenewalDocument::RefreshToken,
                Renewal::ClientCredentials => RenewalDocument::ClientCredentials,
                Renewal::JwtBearer(source) => RenewalDocument::JwtBearer(source.into()),
            },
            registration: registration.into(),
            token_endpoint: Cow::from(credential.token_endpoint.as_str()),
            token_endpoint_reach: credential.token_endpoint.reach(),
            revocation_endpoint: credential.revocation_endpoint.as_ref().map(|url| Cow::from(url.as_str())),
            revocation_endpoint_reach: credential
                .revocation_endpoint
                .as_ref()
                .map(ServerUrl::reach)
                .unwrap_or_default(),
            resource: credential.resource.as_ref().map(Cow::from),
            scope: credential.scope.as_ref().map(Scope::to_string),
            scope_on_refresh: credential.scope_on_refresh,
            require_audience: credential.require_audience,
            parameters: credential.parameters.iter().map(|(key, value)| (Cow::from(key), Cow::from(value))).collect(),
            dpop_key: credential.dpop_key.as_ref().map(|key| exposed(key.pem())),
            tokens: credential.tokens.as_ref().map(|tokens| TokensDocument {
                access_token: exposed(&tokens.access_token),
                refresh_token: tokens.refresh_token.as_ref().map(exposed),
                issued_at: tokens.issued_at.as_millisecond(),
                expires_at: tokens.expires_at.map(Timestamp::as_millisecond),
                scope: tokens.scope.as_ref().map(Scope::to_string),
                person: tokens.person.as_ref().map(Cow::from),
            }),
            end: credential.end,
        }
    }
}

impl TryFrom<Document<'_>> for Credential {
    type Error = StoreError;

    fn try_from(document: Document<'_>) -> Result<Self, StoreError> {
        let Document { identity, registration, .. } = document;
        Ok(Self {
            identity: Identity {
                environment: identity.environment.into_owned(),
                issuer: identity.issuer.into_owned(),
                resource: identity.resource.into_owned(),
                client_id: identity.client_id.into_owned(),
                account: identity.account.into_owned(),
            },
            generation: document.generation,
            sign_in: document.sign_in,
            renewal: match document.renewal {
                RenewalDocument::RefreshToken => Renewal::RefreshToken,
                RenewalDocument::ClientCredentials => Renewal::ClientCredentials,
                RenewalDocument::JwtBearer(source) => Renewal::JwtBearer(source.try_into()?),
            },
            registration: registration.try_into()?,
            token_endpoint: parsed::<ServerUrl>(&document.token_endpoint, "token endpoint")?
                .within(document.token_endpoint_reach),
            revocation_endpoint: document
                .revocation_endpoint
                .map(|url| parsed::<ServerUrl>(&url, "revocation endpoint"))
                .transpose()?
                .map(|url| url.within(document.revocation_endpoint_reach)),
            resource: document.resource.map(Cow::into_owned),
            scope: document.scope.map(|scope| parsed(&scope, "scope")).transpose()?,
            scope_on_refresh: document.scope_on_refresh,
            require_audience: document.require_audience,
            parameters: document
                .parameters
                .into_iter()
                .map(|(key, value)| (key.into_owned(), value.into_owned()))
                .collect(),
            dpop_key: document.dpop_key.map(dpop_key).transpose()?,
            tokens: document.tokens.map(TokenSet::try_from).transpose()?,
            end: document.end,
        })
    }
}

impl<'a> From<&'a ClientRegistration> for RegistrationDocument<'a> {
    fn from(registration: &'a ClientRegistration) -> Self {
        Self {
            client_id: Cow::from(&registration.client_id),
            client_secret: registration.client_secret.as_ref().map(exposed),
            authentication: match registration.authentication {
                ClientAuthentication::None => AuthenticationDocument::None,
                ClientAuthentication::Basic => AuthenticationDocument::Basic,
                ClientAuthentication::Body => AuthenticationDocument::Body,
                ClientAuthentication::PrivateKeyJwt => AuthenticationDocument::PrivateKeyJwt,
            },
            redirect_uri: registration.redirect_uri.as_ref().map(Cow::from),
            expires_at: registration.expires_at.map(Timestamp::as_millisecond),
            withheld: Some(&registration.withheld).filter(|scope| !scope.is_empty()).map(Scope::to_string),
            other_redirect_uris: registration.other_redirect_uris.clone(),
        }
    }
}

impl TryFrom<RegistrationDocument<'_>> for ClientRegistration {
    type Error = StoreError;

    fn try_from(document: RegistrationDocument<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            client_id: document.client_id.into_owned(),
            client_secret: document.client_secret.map(hidden),
            authentication: match document.authentication {
                AuthenticationDocument::None => ClientAuthentication::None,
                AuthenticationDocument::Basic => ClientAuthentication::Basic,
                AuthenticationDocument::Body => ClientAuthentication::Body,
                AuthenticationDocument::PrivateKeyJwt => ClientAuthentication::PrivateKeyJwt,
            },
            redirect_uri: document.redirect_uri.map(Cow::into_owned),
            expires_at: document.expires_at.map(time).transpose()?,
            withheld: document.withheld.map(|scope| parsed(&scope, "scope")).transpose()?.unwrap_or_default(),
            other_redirect_uris: document.other_redirect_uris,
        })
    }
}

impl<'a> From<&'a AssertionSource> for AssertionDocument<'a> {
    fn from(source: &'a AssertionSource) -> Self {
        match source {
            AssertionSource::File(path) => Self::File(path.to_string_lossy()),
            AssertionSource::IdentityProvider(provider) => Self::IdentityProvider {
                issuer: Cow::from(&provider.issuer),
                token_endpoint: Cow::from(provider.token_endpoint.as_str()),
                token_endpoint_reach: provider.token_endpoint.reach(),
                registration: Box::new((&provider.registration).into()),
                id_token_file: provider.id_token_file.to_string_lossy(),
            },
        }
    }
}

impl TryFrom<AssertionDocument<'_>> for AssertionSource {
    type Error = StoreError;

    fn try_from(document: AssertionDocument<'_>) -> Result<Self, StoreError> {
        Ok(match document {
            AssertionDocument::File(path) => Self::File(path.into_owned().into()),
            AssertionDocument::IdentityProvider {
                issuer,
                token_endpoint,
                token_endpoint_reach,
                registration,
                id_token_file,
            } => Self::IdentityProvider(Box::new(IdentityProvider {
                issuer: issuer.into_owned(),
                token_endpoint: parsed::<ServerUrl>(&token_endpoint, "token endpoint")?.within(token_endpoint_reach),
                registration: (*registration).try_into()?,
                id_token_file: id_token_file.into_owned().into(),
            })),
        })
    }
}

impl TryFrom<TokensDocument<'_>> for TokenSet {
    type Error = StoreError;

    fn try_from(document: TokensDocument<'_>) -> Result<Self, StoreError> {
        // It was one header value when it was written.
        if document.access_token.is_empty() || !document.access_token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(StoreError::Corrupt("its access token is damaged".to_owned()));
        }
        Ok(Self {
            access_token: hidden(document.access_token),
            refresh_token: document.refresh_token.map(hidden),
            issued_at: time(document.issued_at)?,
            expires_at: document.expires_at.map(time).transpose()?,
            scope: document.scope.map(|scope| parsed(&scope, "scope")).transpose()?,
            person: document.person.map(Cow::into_owned),
        })
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_anywhere(reach: &Reach) -> bool {
    *reach == Reach::ANYWHERE
}

fn exposed(secret: &Secret) -> Cow<'_, str> {
    Cow::from(secret.expose())
}

fn hidden(text: Cow<'_, str>) -> Secret {
    Secret::new(text.into_owned())
}

fn dpop_key(pem: Cow<'_, str>) -> Result<Arc<DpopKey>, StoreError> {
    let key = DpopKey::from_pem(hidden(pem));
    key.map(Arc::new).map_err(|_| StoreError::Corrupt("the key of its tokens is damaged".to_owned()))
}

fn parsed<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(format!("its {what} is damaged")))
}

fn time(milliseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(milliseconds)
        .map_err(|_| StoreError::Corrupt("one of its times is out of range".to_owned()))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

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
            dpop_key: None,
            tokens: Some(TokenSet {
                access_token: Secret::new("CANARY-access".to_owned()),
                refresh_token: Some(Secret::new("CANARY-refresh".to_owned())),
                issued_at: "2026-11-01T00:00:00.5Z".parse().unwrap(),
                expires_at: Some("2026-11-01T01:00:00.5Z".parse().unwrap()),
                scope: Some("a".parse().unwrap()),
                person: Some("p@example".to_owned()),
            }),
            end: None,
        }
    }

    fn payload_of(credential: &Credential) -> String {
        String::from_utf8(credential.to_payload().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn the_document_is_this_one() {
        insta::assert_snapshot!(payload_of(&sample()), @r#"{"version":1,"identity":{"environment":"sandbox","issuer":"https://as.example","resource":"https://mcp.example/mcp","client_id":"client","account":"biz_1"},"generation":7,"renewal":"refresh_token","registration":{"client_id":"client","client_secret":"s3cret:%\"\n","authentication":"client_secret_basic","redirect_uri":"http://127.0.0.1:1/callback"},"token_endpoint":"https://as.example/token","revocation_endpoint":"https://as.example/revoke","resource":"https://mcp.example/mcp","scope":"a b","parameters":[["business_id","biz_1"]],"tokens":{"access_token":"CANARY-access","refresh_token":"CANARY-refresh","issued_at":1793491200500,"expires_at":1793494800500,"scope":"a","person":"p@example"}}"#);
    }

    #[test]
    fn whose_it_is() {
        let holder = |person: Option<&str>| {
            let mut credential = sample();
            credential.tokens.as_mut().unwrap().person = person.map(str::to_owned);
            credential.holder()
        };
        assert_eq!(holder(Some("p@example")), "p@example (biz_1)");
        assert_eq!(holder(Some("biz_1")), "biz_1");
        assert_eq!(holder(None), "biz_1");
    }

    #[test]
    fn everything_comes_back() {
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
            id_token_file: "/run/id-token".into(),
        };
        let file = by(AssertionSource::File("/var/run/secrets/tokens/mcp".into()));
        let granted = by(AssertionSource::IdentityProvider(Box::new(provider)));
        let key = Some(Arc::new(DpopKey::generate().unwrap()));
        let bound = Credential { dpop_key: key, ..sample() };
        let registration =
            ClientRegistration { withheld: "offline_access pay".parse().unwrap(), ..sample().registration };
        let narrow = Credential { registration, sign_in: u64::MAX, ..sample() };
        for credential in [sample(), without, file, granted, bound, narrow] {
            let payload = credential.to_payload().unwrap();
            let read = Credential::from_payload(&payload, &credential.identity).unwrap();
            // A second writing shows every member, and the times to the millisecond.
            assert_eq!(*read.to_payload().unwrap(), *payload);
            assert_eq!((read.generation, read.sign_in), (credential.generation, credential.sign_in));
            assert_eq!(read.registration.withheld, credential.registration.withheld);
        }
    }

    /// t006: what a server named is called within the same reach after years in the store.
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

    /// A buffer that grew while it was written would have left secrets in freed memory.
    #[test]
    fn the_payload_is_written_into_one_buffer() {
        let payload = sample().to_payload().unwrap();
        assert_eq!(payload.len(), payload.capacity());
    }

    /// t081: what a later finmcp of the same version adds is passed over; a newer version is not touched.
    #[test]
    fn t081_later_members_are_tolerated_and_newer_versions_are_not() {
        let text = payload_of(&sample());
        let with_more =
            text.replacen('{', r#"{"later":{"a":[1]},"#, 1).replace(r#""generation""#, r#""x":1e2,"generation""#);
        assert!(Credential::from_payload(with_more.as_bytes(), &sample().identity).is_ok());
        let newer = text.replace(r#""version":1"#, r#""version":2"#);
        assert!(matches!(Credential::from_payload(newer.as_bytes(), &sample().identity), Err(StoreError::Newer(2))));
        // Even when nothing else in it can be read any more.
        assert!(matches!(
            Credential::from_payload(br#"{"version":9,"identity":7}"#, &sample().identity),
            Err(StoreError::Newer(9))
        ));
    }

    /// t088: each part counts, and moving characters between parts changes the name.
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

    /// t088: an entry that was swapped for another's is refused.
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

    /// t094: the reason for a refusal shows nothing of the record, not even of the member that is wrong.
    #[test]
    fn t094_no_refusal_shows_a_secret() {
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
        /// t086: truncated, overwritten, lengthened: an error with a type, or a record of the wanted identity; never a
        /// panic.
        #[test]
        fn t086_mutations_never_surprise(
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

        /// t086: bytes of another kind.
        #[test]
        fn t086_garbage_is_corrupt(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Credential::from_payload(&garbage, &sample().identity).is_err());
        }
    }
}
