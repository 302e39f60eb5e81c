//! The person's answer, by whichever way it comes first.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::Instant;

use crate::{
    credential::record::Credential,
    login::{
        context::{Context, Progress, Redirection},
        device,
        error::LoginError,
        loopback::{Loopback, Visitor},
        paste::{self, Paste, PasteError},
    },
    oauth::authorization::{AuthorizationRequest, AuthorizationResponse, CallbackError},
    secret::Secret,
    server_url::ServerUrl,
};

/// Where the listener is, which has been bound already.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What a person is asked.
pub(super) struct Asked<'a> {
    /// The page to open, and what its answer is measured by.
    pub authorization: &'a Arc<AuthorizationRequest>,
    /// What it is for.
    pub credential: &'a Credential,
    /// Where a sign-in on another device begins, if it can.
    pub device: Option<&'a ServerUrl>,
    /// Whether the client registered at an earlier sign-in.
    pub known_client: bool,
}

/// What came of it.
pub(super) enum Answer {
    /// A code, or an error, and the browser that brought it, if one did.
    Here(Result<Secret, LoginError>, Option<Visitor>),
    /// The person signed in on another device.
    Elsewhere(Box<Credential>),
}

/// Whom to tell what happens, from several places at once.
type Teller<'p> = Mutex<&'p mut (dyn FnMut(Progress<'_>) + Send)>;

fn tell(teller: &Teller<'_>, progress: Progress<'_>) {
    teller.lock().unwrap_or_else(PoisonError::into_inner)(progress);
}

impl Asked<'_> {
    /// Shows the page, and waits for the first answer: a browser's visit to the listener, or an address that the person
    /// pastes. Where no browser was opened here, the person may be far from this machine, and a device code is offered
    /// too. Beside an open browser it is not: a code is what a stranger could talk the person into entering (RFC 8628
    /// section 5.4), and nobody needs one then. The first answer ends all other ways.
    pub async fn first_answer(
        &self,
        loopback: Loopback,
        redirection: &mut Redirection,
        context: &Context<'_>,
        progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Answer, LoginError> {
        let Redirection { timeout, paste, .. } = redirection;
        let end = Instant::now() + *timeout;
        let teller = Mutex::new(progress);
        let address = loopback.redirect_uri().address();
        let authorization = Arc::clone(self.authorization);
        let mut visited = pin!(loopback.wait(move |query| judged(&authorization, query)));
        let visit = |outcome: io::Result<_>| {
            let (answer, visitor) =
                outcome.map_err(|source| LoginError::Listener { address: ANY, option: None, source })?;
            Ok(Answer::Here(answer, Some(visitor)))
        };

        // Both at once: a browser that is a script stays until it has read the last page.
        let is_open = tokio::select! {
            biased;
            is_open = self.show(context, &teller) => is_open,
            outcome = &mut visited => return visit(outcome),
        };

        let can_paste = paste.is_some();
        let elsewhere = async {
            let code = match self.device.filter(|_| !is_open) {
                Some(endpoint) => device::begin(endpoint, self.credential, context).await.ok(),
                None => None,
            };
            if let Some(code) = &code {
                tell(&teller, Progress::Code { page: &code.page, code: &code.user_code });
            }
            if can_paste {
                tell(&teller, Progress::PasteHere);
            }
            let patience = end.saturating_duration_since(Instant::now());
            tell(&teller, Progress::Waiting(patience));
            if self.known_client {
                tell(&teller, Progress::KnownClient);
            }
            if let Some(code) = code {
                let patience = code.expires_in.min(patience);
                match device::token(&code, self.credential, patience, context).await {
                    Ok(credential) => return Ok(Answer::Elsewhere(Box::new(credential))),
                    Err(error @ LoginError::Denied(_)) => return Err(error),
                    // The other ways are still open.
                    Err(_) => {}
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            outcome = visited => visit(outcome),
            answer = self.pasted(paste, &address, &teller) => Ok(Answer::Here(answer, None)),
            outcome = elsewhere => outcome,
            () = tokio::time::sleep_until(end) => {
                Err(LoginError::TimedOut { after: *timeout, known_client: self.known_client })
            }
        }
    }

    /// Shows the sign-in page, and says whether a browser was opened. One that does not open is no failure: the person
    /// can open the page too.
    async fn show(&self, context: &Context<'_>, teller: &Teller<'_>) -> bool {
        let url = &self.authorization.url;
        tell(teller, Progress::Page(url));
        let Some(browser) = context.browser.clone() else { return false };
        let page = url.clone();
        let opened = tokio::task::spawn_blocking(move || browser.open(&page)).await;
        match opened.unwrap_or_else(|error| Err(io::Error::other(error).into())) {
            Ok(()) => {
                tell(teller, Progress::Opened);
                true
            }
            Err(error) => {
                tell(teller, Progress::NotOpened(error));
                false
            }
        }
    }

    /// The answer that the person pastes.
    async fn pasted(
        &self,
        paste: &mut Option<Paste>,
        address: &str,
        teller: &Teller<'_>,
    ) -> Result<Secret, LoginError> {
        while let Some(line) = match paste {
            Some(paste) => paste.next().await,
            None => None,
        } {
            let answer = line.and_then(|line| {
                let query = paste::query(&line, address)?;
                judged(self.authorization, query).ok_or(PasteError::Unrelated)
            });
            match answer {
                Ok(answer) => return answer,
                Err(error) => tell(teller, Progress::WrongPaste(error)),
            }
        }
        std::future::pending().await
    }
}

/// The answer in a query; none where it is not this request's.
fn judged(authorization: &AuthorizationRequest, query: &str) -> Option<Result<Secret, LoginError>> {
    match authorization.judge(query) {
        Ok(AuthorizationResponse::Code(code)) => Some(Ok(code)),
        Ok(AuthorizationResponse::Error(error)) if error.code == "access_denied" => {
            Some(Err(LoginError::Denied(error)))
        }
        Ok(AuthorizationResponse::Error(error)) => Some(Err(LoginError::Refused(error))),
        Err(CallbackError::Untrusted(reason)) => Some(Err(reason.into())),
        Err(CallbackError::Unrelated) => None,
    }
}
