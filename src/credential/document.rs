//! A credential as JSON in a store.

use std::{borrow::Cow, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    credential::{
        assertion_source::{AssertionSource, IdToken, IdentityProvider},
        record::{Bearer, Credential, End, Identity, Renewal},
        store::StoreError,
    },
    http::client_certificate::ClientCertificate,
    oauth::{
        dpop::DpopKey,
        registration::{ClientAuthentication, ClientRegistration},
        scope::Scope,
        token_set::TokenSet,
    },
    secret::Secret,
    server_url::{ServerUrl, reach::Reach},
};

/// The document's version that this finmcp writes, and the newest that it reads.
const VERSION: u64 = 1;

impl Credential {
    /// The document for a store: compact JSON that contains every secret.
    ///
    /// # Errors
    /// [`StoreError::Failed`], never for a valid credential.
    pub fn to_payload(&self) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let document = Document::from(self);
        // Allocated once: a growing buffer would leave copies of the secrets in memory.
        let mut size = Size(0);
        let failed = |error: serde_json::Error| StoreError::Failed(format!("could not write a record: {error}"));
        serde_json::to_writer(&mut size, &document).map_err(failed)?;
        let mut payload = Zeroizing::new(Vec::with_capacity(size.0));
        serde_json::to_writer(&mut *payload, &document).map_err(failed)?;
        Ok(payload)
    }

    /// Reads a document of `wanted`. Ignores unknown members.
    ///
    /// # Errors
    /// [`StoreError::Newer`], or [`StoreError::Corrupt`] if it is damaged or belongs to another identity. The text
    /// contains nothing of the document.
    pub fn from_payload(payload: &[u8], wanted: &Identity) -> Result<Self, StoreError> {
        // The parser's error would quote the document.
        let odd = |error: serde_json::Error| {
            StoreError::Corrupt(format!("not a finmcp record (line {}, column {})", error.line(), error.column()))
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

/// Counts the bytes written to it.
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
    /// Which networks the endpoints may be in: renewals do not check the metadata again.
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
    #[serde(default, skip_serializing_if = "is_default")]
    bearer: Bearer,
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
    /// The header that carries the key.
    ApiKey(String),
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
        /// None if the user signs in there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id_token_file: Option<Cow<'a, str>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sign_in: Option<IdentityDocument<'a>>,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) struct RegistrationDocument<'a> {
    client_id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_secret: Option<Cow<'a, str>>,
    /// The chain and its private key, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<Cow<'a, str>>,
    authentication: AuthenticationDocument,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_endpoint_auth_signing_alg: Option<Cow<'a, str>>,
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

/// With the names from RFC 7591 section 2.
#[derive(Serialize, Deserialize)]
enum AuthenticationDocument {
    #[serde(rename = "none")]
    None,
    #[serde(rename = "client_secret_basic")]
    Basic,
    #[serde(rename = "tls_client_auth")]
    Certificate,
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
    /// Only where it is used: it can be long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id_token: Option<Cow<'a, str>>,
}

impl<'a> From<&'a Credential> for Document<'a> {
    fn from(credential: &'a Credential) -> Self {
        let Credential { identity, registration, .. } = credential;
        Self {
            version: VERSION,
            identity: identity.into(),
            generation: credential.generation,
            sign_in: credential.sign_in,
            renewal: match &credential.renewal {
                Renewal::RefreshToken => RenewalDocument::RefreshToken,
                Renewal::ClientCredentials => RenewalDocument::ClientCredentials,
                Renewal::JwtBearer(source) => RenewalDocument::JwtBearer(source.into()),
                Renewal::ApiKey(header) => RenewalDocument::ApiKey(header.to_string()),
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
            bearer: credential.bearer,
            dpop_key: credential.dpop_key.as_ref().map(|key| exposed(key.pem())),
            tokens: credential.tokens.as_ref().map(|tokens| TokensDocument {
                access_token: exposed(&tokens.access_token),
                refresh_token: tokens.refresh_token.as_ref().map(exposed),
                issued_at: tokens.issued_at.as_millisecond(),
                expires_at: tokens.expires_at.map(Timestamp::as_millisecond),
                scope: tokens.scope.as_ref().map(Scope::to_string),
                person: tokens.person.as_ref().map(Cow::from),
                id_token: tokens.id_token.as_ref().filter(|_| credential.bearer == Bearer::IdToken).map(exposed),
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
            identity: identity.into(),
            generation: document.generation,
            sign_in: document.sign_in,
            renewal: match document.renewal {
                RenewalDocument::RefreshToken => Renewal::RefreshToken,
                RenewalDocument::ClientCredentials => Renewal::ClientCredentials,
                RenewalDocument::JwtBearer(source) => Renewal::JwtBearer(source.try_into()?),
                RenewalDocument::ApiKey(header) => Renewal::ApiKey(parsed(&header, "header of the API key")?),
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
            bearer: document.bearer,
            dpop_key: document.dpop_key.map(dpop_key).transpose()?,
            tokens: document.tokens.map(TokenSet::try_from).transpose()?,
            end: document.end,
        })
    }
}

impl<'a> From<&'a Identity> for IdentityDocument<'a> {
    fn from(identity: &'a Identity) -> Self {
        Self {
            environment: Cow::from(&identity.environment),
            issuer: Cow::from(&identity.issuer),
            resource: Cow::from(&identity.resource),
            client_id: Cow::from(&identity.client_id),
            account: Cow::from(&identity.account),
        }
    }
}

impl From<IdentityDocument<'_>> for Identity {
    fn from(document: IdentityDocument<'_>) -> Self {
        Self {
            environment: document.environment.into_owned(),
            issuer: document.issuer.into_owned(),
            resource: document.resource.into_owned(),
            client_id: document.client_id.into_owned(),
            account: document.account.into_owned(),
        }
    }
}

impl<'a> From<&'a ClientRegistration> for RegistrationDocument<'a> {
    fn from(registration: &'a ClientRegistration) -> Self {
        Self {
            client_id: Cow::from(&registration.client_id),
            client_secret: registration.client_secret.as_ref().map(exposed),
            certificate: registration.certificate.as_ref().map(|certificate| exposed(certificate.pem())),
            authentication: match registration.authentication {
                ClientAuthentication::None => AuthenticationDocument::None,
                ClientAuthentication::Basic => AuthenticationDocument::Basic,
                ClientAuthentication::Body => AuthenticationDocument::Body,
                ClientAuthentication::PrivateKeyJwt => AuthenticationDocument::PrivateKeyJwt,
                ClientAuthentication::Certificate => AuthenticationDocument::Certificate,
            },
            token_endpoint_auth_signing_alg: registration.key_algorithm.map(|algorithm| algorithm.name().into()),
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
            certificate: document.certificate.map(certificate).transpose()?,
            authentication: match document.authentication {
                AuthenticationDocument::None => ClientAuthentication::None,
                AuthenticationDocument::Basic => ClientAuthentication::Basic,
                AuthenticationDocument::Body => ClientAuthentication::Body,
                AuthenticationDocument::PrivateKeyJwt => ClientAuthentication::PrivateKeyJwt,
                AuthenticationDocument::Certificate => ClientAuthentication::Certificate,
            },
            key_algorithm: document
                .token_endpoint_auth_signing_alg
                .map(|name| parsed(&name, "signature algorithm"))
                .transpose()?,
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
                id_token_file: match &provider.id_token {
                    IdToken::File(path) => Some(path.to_string_lossy()),
                    IdToken::SignIn(_) => None,
                },
                sign_in: match &provider.id_token {
                    IdToken::File(_) => None,
                    IdToken::SignIn(identity) => Some(identity.into()),
                },
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
                sign_in,
            } => Self::IdentityProvider(Box::new(IdentityProvider {
                issuer: issuer.into_owned(),
                token_endpoint: parsed::<ServerUrl>(&token_endpoint, "token endpoint")?.within(token_endpoint_reach),
                registration: (*registration).try_into()?,
                id_token: match (id_token_file, sign_in) {
                    (Some(path), _) => IdToken::File(path.into_owned().into()),
                    (None, Some(identity)) => IdToken::SignIn(identity.into()),
                    (None, None) => return Err(StoreError::Corrupt("it names no ID token".to_owned())),
                },
            })),
        })
    }
}

impl TryFrom<TokensDocument<'_>> for TokenSet {
    type Error = StoreError;

    fn try_from(document: TokensDocument<'_>) -> Result<Self, StoreError> {
        // It was a valid header value when it was written.
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
            id_token: document.id_token.map(hidden),
        })
    }
}

fn is_default(bearer: &Bearer) -> bool {
    *bearer == Bearer::default()
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

fn certificate(pem: Cow<'_, str>) -> Result<Arc<ClientCertificate>, StoreError> {
    let certificate = ClientCertificate::from_pem(hidden(pem));
    certificate.map(Arc::new).map_err(|_| StoreError::Corrupt("its client certificate is damaged".to_owned()))
}

fn dpop_key(pem: Cow<'_, str>) -> Result<Arc<DpopKey>, StoreError> {
    let key = DpopKey::from_pem(hidden(pem));
    key.map(Arc::new).map_err(|_| StoreError::Corrupt("its DPoP key is damaged".to_owned()))
}

fn parsed<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(format!("its {what} is damaged")))
}

fn time(milliseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(milliseconds)
        .map_err(|_| StoreError::Corrupt("one of its times is out of range".to_owned()))
}

#[cfg(test)]
mod tests;
