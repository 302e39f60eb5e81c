//! Where tokens come from: what the server says about itself, whom it names, and what that one says.

use crate::{
    doctor::{
        chart::Chart,
        patient::Patient,
        step::{Finding, Trouble},
    },
    error::Error,
    login::{error::LoginError, options::GrantKind},
    oauth::{
        authorization_server::AuthorizationServer,
        discovery::{DiscoveryError, Inquiry, Probe},
    },
};

/// Where tokens come from.
pub enum Origin {
    /// Nobody need ask for one.
    Nowhere,
    /// From this server.
    Server(Box<AuthorizationServer>),
}

const STEPS: [&str; 3] = ["resource", "issuer", "metadata"];

/// Asks the server, and the authorization server that it names; else says at which step it ended.
pub async fn examine(
    patient: &Patient<'_>,
    inquiry: &Inquiry<'_>,
    probe: Result<&Probe, &'static str>,
    chart: &mut Chart<'_>,
) -> Result<Origin, &'static str> {
    if let Some(endpoint) = &patient.profile.options.token_endpoint {
        chart.note("resource", Finding::Ok("not asked: it is known where tokens come from".to_owned()));
        chart.note("issuer", Finding::Ok("not asked, for the same reason".to_owned()));
        chart.note("metadata", Finding::Ok(format!("tokens come from {endpoint}, as the preset or config.toml says")));
        let issuer = patient.profile.options.issuer.clone();
        return Ok(Origin::Server(Box::new(AuthorizationServer::pinned(issuer, endpoint.clone()))));
    }
    let probe = probe.inspect_err(|cause| chart.skip(&STEPS, cause))?;
    let resource = match inquiry.protected_resource(probe).await {
        Ok(resource) => resource,
        Err(error) => {
            chart.note("resource", Finding::Failed(failed(error)));
            chart.skip(&STEPS[1..], "resource");
            return Err("resource");
        }
    };
    let said = match (&resource, probe) {
        (Some(resource), _) => format!("it says of itself that it is {}", resource.resource),
        (None, Probe::Challenged(_)) => "it says nothing of itself; its own host is asked in its place".to_owned(),
        (None, _) => "it says nothing of itself, and asks for no sign-in".to_owned(),
    };
    chart.note("resource", Finding::Ok(said));
    let outcome = inquiry.authorization_server(probe, resource.as_ref()).await;
    let named = match (&outcome, inquiry.issuer(resource.as_ref())) {
        (Ok(Some(server)), _) => server.issuer.clone(),
        (_, Some(issuer)) => issuer.to_owned(),
        (Ok(None), None) => "none, since no sign-in is needed".to_owned(),
        (Err(_), None) => "none is named".to_owned(),
    };
    chart.note("issuer", Finding::Ok(named));
    match outcome {
        Ok(Some(server)) => {
            let finding = judge(patient, &server);
            let is_bad = matches!(finding, Finding::Failed(_));
            chart.note("metadata", finding);
            if is_bad { Err("metadata") } else { Ok(Origin::Server(Box::new(server))) }
        }
        Ok(None) => {
            chart.note("metadata", Finding::Ok("none are needed".to_owned()));
            Ok(Origin::Nowhere)
        }
        Err(error) => {
            chart.note("metadata", Finding::Failed(failed(error)));
            Err("metadata")
        }
    }
}

fn failed(error: DiscoveryError) -> Trouble {
    let trouble = Trouble::from(Error::from(error));
    match trouble.cure.is_empty() {
        true => trouble.cured_by("check the address; if it is right, tell whoever runs the server"),
        false => trouble,
    }
}

/// Whether a sign-in of the profile's kind can begin there.
fn judge(patient: &Patient<'_>, server: &AuthorizationServer) -> Finding {
    let is_by_page = patient.profile.options.grant.is_none_or(|grant| grant == GrantKind::AuthorizationCode);
    match server.authorization_endpoint() {
        Err(error) if is_by_page => Finding::Failed(Error::from(error).into()),
        Ok(_) if is_by_page && server.pushed_requests_only => {
            let host = server.token_endpoint.host();
            Finding::Failed(Error::from(LoginError::PushedOnly { host, device_codes: server.device_codes }).into())
        }
        _ => Finding::Ok(format!("its own; tokens come from {}", server.token_endpoint.host())),
    }
}
