//! Accepts a server certificate that `ca_file` lists itself.
//!
//! Most tools mark a self-signed certificate as an authority's, and no verifier accepts an authority's certificate as a
//! server's (RFC 5280 section 4.2.1.9; rustls/webpki#205). If the user has listed exactly that certificate, finmcp
//! trusts it.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use rustls_platform_verifier::Verifier;

use crate::http::client_certificate::ClientCertificate;

/// A TLS configuration that trusts `authorities` in addition to the system's, and also each of them as a server
/// certificate. It shows `certificate` to a server that asks for one.
pub fn client_config(
    authorities: &[CertificateDer<'static>],
    certificate: Option<&ClientCertificate>,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let platform = Verifier::new_with_extra_roots(authorities.iter().cloned(), provider.clone())?;
    let verifier = Arc::new(Pinned { platform, authorities: authorities.to_vec() });
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match certificate {
        Some(certificate) => builder.with_client_cert_resolver(certificate.resolver()),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The platform's verifier, except that it accepts the listed certificates as server certificates.
#[derive(Debug)]
struct Pinned {
    platform: Verifier,
    authorities: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.platform.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // Its dates are valid: the verifier checks them before the certificate's usage.
            Err(error)
                if is_authority_as_server(&error) && self.authorities.contains(&end_entity.clone().into_owned()) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.platform.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.platform.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.platform.supported_verify_schemes()
    }
}

fn is_authority_as_server(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(error))) = error else { return false };
    matches!(error.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}
