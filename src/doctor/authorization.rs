//! Where tokens come from: the server's resource metadata, its authorization server, and that server's metadata.

use crate::{
    doctor::{
        findings::Findings,
        step::{Finding, StepName, Trouble},
        subject::Subject,
    },
    error::Error,
    oauth::{
        authorization_server::AuthorizationServer,
        discovery::{DiscoveryError, Inquiry, Probe},
    },
};

/// Where tokens come from.
pub enum Origin {
    /// No token is needed.
    Nowhere,
    /// From this authorization server.
    Server(Box<AuthorizationServer>),
}

const STEPS: [StepName; 3] = [StepName::Resource, StepName::Issuer, StepName::Metadata];

/// Reads the server's metadata and those of its authorization server; on failure returns the step that failed.
pub async fn examine(
    subject: &Subject<'_>,
    inquiry: &Inquiry<'_>,
    probe: Result<&Probe, StepName>,
    findings: &mut Findings<'_>,
) -> Result<Origin, StepName> {
    if let Some(endpoint) = &subject.profile.options.token_endpoint {
        findings.note(StepName::Resource, Finding::Ok("not needed: the token endpoint is configured".to_owned()));
        findings.note(StepName::Issuer, Finding::Ok("not needed: the token endpoint is configured".to_owned()));
        findings.note(
            StepName::Metadata,
            Finding::Ok(format!("not needed: the preset or config.toml sets the token endpoint {endpoint}")),
        );
        let issuer = subject.profile.options.issuer.clone();
        return Ok(Origin::Server(Box::new(AuthorizationServer::pinned(issuer, endpoint.clone()))));
    }
    if !subject.profile.options.grant_kind().uses_authorization_server() {
        for step in STEPS {
            findings.note(step, Finding::Ok("not needed: an API key".to_owned()));
        }
        return Ok(Origin::Nowhere);
    }
    let probe = probe.inspect_err(|cause| findings.skip(&STEPS, *cause))?;
    let resource = match inquiry.protected_resource(probe).await {
        Ok(resource) => resource,
        Err(error) => {
            findings.note(StepName::Resource, Finding::Failed(failed(error)));
            findings.skip(&STEPS[1..], StepName::Resource);
            return Err(StepName::Resource);
        }
    };
    let said = match (&resource, probe) {
        (Some(resource), _) => format!("the server identifies itself as {}", resource.resource),
        (None, Probe::Challenged(_)) => {
            "the server publishes no resource metadata; using its own host as authorization server".to_owned()
        }
        (None, _) => "the server publishes no resource metadata and requires no sign-in".to_owned(),
    };
    findings.note(StepName::Resource, Finding::Ok(said));
    let outcome = inquiry.authorization_server(probe, resource.as_ref()).await;
    let named = match (&outcome, inquiry.issuer(resource.as_ref())) {
        (Ok(Some(server)), _) => server.issuer.clone(),
        (_, Some(issuer)) => issuer.to_owned(),
        (Ok(None), None) => "none: the server requires no sign-in".to_owned(),
        (Err(_), None) => "the server names no authorization server".to_owned(),
    };
    findings.note(StepName::Issuer, Finding::Ok(named));
    match outcome {
        Ok(Some(server)) => {
            let finding = judge(subject, &server);
            let is_bad = matches!(finding, Finding::Failed(_));
            findings.note(StepName::Metadata, finding);
            if is_bad { Err(StepName::Metadata) } else { Ok(Origin::Server(Box::new(server))) }
        }
        Ok(None) => {
            findings.note(StepName::Metadata, Finding::Ok("not needed: the server requires no sign-in".to_owned()));
            Ok(Origin::Nowhere)
        }
        Err(error) => {
            findings.note(StepName::Metadata, Finding::Failed(failed(error)));
            Err(StepName::Metadata)
        }
    }
}

fn failed(error: DiscoveryError) -> Trouble {
    let trouble = Trouble::from(Error::from(error));
    match trouble.hints.is_empty() {
        true => trouble.with_hint("check the server's URL; if it is correct, report this to the server's operator"),
        false => trouble,
    }
}

/// Whether the authorization server supports the profile's kind of sign-in.
fn judge(subject: &Subject<'_>, server: &AuthorizationServer) -> Finding {
    let uses_page = subject.profile.options.uses_page();
    match server.authorization_endpoint().and_then(|_| server.push_endpoint()) {
        Err(error) if uses_page => Finding::Failed(Error::from(error).into()),
        _ => Finding::Ok(format!("valid; the token endpoint is on {}", server.token_endpoint.host())),
    }
}
