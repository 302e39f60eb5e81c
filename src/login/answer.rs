//! The authorization response, from the first source that delivers it.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};

use crate::{
    credential::record::Credential,
    login::{
        context::{Context, Progress, Redirection},
        device,
        error::LoginError,
        loopback::{Link, Loopback, Opening, Visitor},
        paste::{self, Paste, PasteError},
        sign_in_page::SignInPage,
    },
    oauth::{
        authorization::{AuthorizationRequest, AuthorizationResponse, CallbackError},
        authorization_server::AuthorizationServer,
    },
    secret::Secret,
    server_url::ServerUrl,
};

/// Stands for the address of a listener that is already bound.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How long a page stays the one to open, at least: the user must not be shown a new one every second.
const SHORTEST_LIFE: Duration = Duration::from_secs(5);

/// What the user is asked to do.
pub(super) struct Asked<'a> {
    pub server: &'a AuthorizationServer,
    /// The page to open.
    pub page: &'a SignInPage,
    /// What to check its response against.
    pub authorization: &'a Arc<AuthorizationRequest>,
    /// The credential that will get the tokens.
    pub credential: &'a Credential,
    /// The device authorization endpoint, if the server offers one.
    pub device: Option<&'a ServerUrl>,
    /// Whether an earlier sign-in registered the client.
    pub known_client: bool,
}

/// How the user responded.
pub(super) enum Answer {
    /// A code or an error, with the browser that delivered it unless the user pasted it.
    Here(Result<Secret, LoginError>, Option<Visitor>),
    /// The user signed in on another device.
    Elsewhere(Box<Credential>),
}

/// Receives what happens, from concurrent futures.
type Teller<'p> = Mutex<&'p mut (dyn FnMut(Progress<'_>) + Send)>;

fn tell(teller: &Teller<'_>, progress: Progress<'_>) {
    teller.lock().unwrap_or_else(PoisonError::into_inner)(progress);
}

impl Asked<'_> {
    /// Shows the page and waits for the first response: a browser's request to the listener, or a pasted address. If
    /// no browser opened here, the user may be at another computer, so finmcp offers a device code too. With an open
    /// browser it does not: the user needs no code then, and an attacker could trick the user into entering one (RFC
    /// 8628 section 5.4). The first response ends the other ways.
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
        let (loopback, link) = match self.page.is_pushed(self.authorization) {
            true => loopback.linked(),
            false => (loopback, None),
        };
        let (link, openings) = link.map(|Link { url, openings }| (url, openings)).unzip();
        let mut opened = pin!(self.serve_link(openings, context));
        let authorization = Arc::clone(self.authorization);
        let mut visited = pin!(loopback.wait(move |query| judged(&authorization, query)));
        let visit = |outcome: io::Result<_>| {
            let (answer, visitor) =
                outcome.map_err(|source| LoginError::Listener { address: ANY, option: None, source })?;
            Ok(Answer::Here(answer, Some(visitor)))
        };

        // Concurrently: a script as the browser may run until it has read the last page.
        let is_open = tokio::select! {
            biased;
            is_open = self.show(link.as_ref(), context, &teller) => is_open,
            outcome = &mut visited => return visit(outcome),
            never = &mut opened => match never {},
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
                    // The user can still sign in the other ways.
                    Err(_) => {}
                }
            }
            std::future::pending().await
        };
        let again = async {
            self.show_again(is_open, context, &teller).await;
            std::future::pending().await
        };
        tokio::select! {
            outcome = visited => visit(outcome),
            answer = self.pasted(paste, &address, &teller) => Ok(Answer::Here(answer, None)),
            outcome = elsewhere => outcome,
            outcome = again => outcome,
            never = opened => match never {},
            () = tokio::time::sleep_until(end) => {
                Err(LoginError::TimedOut { after: *timeout, known_client: self.known_client })
            }
        }
    }

    /// Shows the sign-in page; whether a browser opened. If none opens, the sign-in continues: the user can open the
    /// page.
    async fn show(&self, link: Option<&ServerUrl>, context: &Context<'_>, teller: &Teller<'_>) -> bool {
        let url = &self.page.url;
        tell(teller, Progress::Page(url));
        if let Some(link) = link {
            tell(teller, Progress::Link(link));
        }
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

    /// Shows the page at a new URL whenever the last one has expired, as long as the user may still have to open it.
    async fn show_again(&self, is_open: bool, context: &Context<'_>, teller: &Teller<'_>) {
        let mut expires_in = self.page.expires_in.filter(|_| !is_open);
        while let Some(life) = expires_in {
            tokio::time::sleep(life.max(SHORTEST_LIFE)).await;
            let Some(page) = self.page_again(context).await else { return };
            tell(teller, Progress::PageAgain(&page.url));
            expires_in = page.expires_in;
        }
    }

    /// Sends the browsers that open the link to the page.
    async fn serve_link(&self, openings: Option<mpsc::Receiver<Opening>>, context: &Context<'_>) -> Infallible {
        if let Some(mut openings) = openings {
            while let Some(opening) = openings.recv().await {
                // Without a page, the browser is told.
                if let Some(page) = self.page_again(context).await {
                    let _ = opening.send(page.url);
                }
            }
        }
        std::future::pending().await
    }

    /// The page at a new URL, for the same authorization request.
    async fn page_again(&self, context: &Context<'_>) -> Option<SignInPage> {
        let mut credential = self.credential.clone();
        let page = SignInPage::new(self.server, self.authorization, &mut credential, None, context).await;
        page.inspect_err(|error| tracing::debug!(%error, "could not push the authorization request again")).ok()
    }

    /// The response that the user pastes.
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

/// The authorization response in a query; none if it belongs to another request.
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
