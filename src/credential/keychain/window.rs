//! The windows of the Secret Service: it asks for a keyring's password when a client calls `Prompt` on a prompt object,
//! and sends `Completed` when the user has answered (Secret Service API, "Prompts and Prompting").
//!
//! The store's library does the same without an end and without a word. So finmcp has the user unlock what the next call
//! needs before that call; then the call needs no prompt.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use tokio::{
    sync::OnceCell,
    time::{sleep, timeout},
};
use zbus::{
    Connection, MatchRule, MessageStream, message,
    zvariant::{DynamicType, OwnedObjectPath, OwnedValue, Value},
};

use super::{Access, LIMIT, SERVICE, TellUser, Window};
use crate::credential::store::StoreError;

const BUS_NAME: &str = "org.freedesktop.secrets";
const SECRETS: &str = "/org/freedesktop/secrets";
const SERVICE_INTERFACE: &str = "org.freedesktop.Secret.Service";
const COLLECTION_INTERFACE: &str = "org.freedesktop.Secret.Collection";
const PROMPT_INTERFACE: &str = "org.freedesktop.Secret.Prompt";

/// The path that stands for "no object".
const NONE: &str = "/";

/// How long a window may be open before finmcp mentions it: some close at once, because the system knows the password.
const UNMENTIONED: Duration = Duration::from_secs(1);

/// The windows of one process.
pub(super) struct Windows {
    tell: TellUser,
    connection: OnceCell<Connection>,
    /// The window that the user closed: finmcp does not open it again.
    closed: Mutex<Option<Window>>,
}

/// A window that the service can open.
struct Prompt {
    path: OwnedObjectPath,
    window: Window,
}

impl Windows {
    pub(super) fn new(tell: TellUser) -> Self {
        Self { tell, connection: OnceCell::new(), closed: Mutex::default() }
    }

    /// How long a call may take after its window.
    pub(super) fn limit(&self) -> Duration {
        LIMIT
    }

    /// The outcome of `call`, after the user has unlocked what it needs.
    pub(super) async fn wait<T>(
        &self,
        entry: &str,
        access: Access,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if let Some(window) = *self.closed.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(unanswered(window));
        }
        let prompt = async {
            let connection = self.connection.get_or_try_init(Connection::session).await?;
            Ok::<_, zbus::Error>((connection, needed(connection, entry, access).await?))
        };
        match timeout(LIMIT, prompt).await {
            Ok(Ok((connection, Some(prompt)))) => self.show(connection, prompt).await?,
            Ok(Ok((_, None))) => {}
            // The call fails too, and says why.
            Ok(Err(error)) => tracing::debug!(%error, "could not ask the keychain whether it is locked"),
            Err(_) => return Err(StoreError::TimedOut(LIMIT)),
        }
        call.await
    }

    /// Opens the window, and waits until the user closes it or the service ends. A window that the user leaves with Ctrl-C
    /// stays, and serves the next command: `Dismiss`, which would close it, ends gnome-keyring 42.1 (failed assertion).
    async fn show(&self, connection: &Connection, prompt: Prompt) -> Result<(), StoreError> {
        let Prompt { path, window } = prompt;
        let failed = |error: zbus::Error| StoreError::Failed(error.to_string());
        let mut completed = signals(connection, path.as_str(), PROMPT_INTERFACE, "Completed").await.map_err(failed)?;
        let bus = ("/org/freedesktop/DBus", "org.freedesktop.DBus");
        let mut owners = signals(connection, bus.0, bus.1, "NameOwnerChanged").await.map_err(failed)?;
        // The argument is the id of the caller's window: a terminal's is unknown.
        let opened = connection.call_method(Some(BUS_NAME), path.as_str(), Some(PROMPT_INTERFACE), "Prompt", &"");
        match timeout(LIMIT, opened).await {
            Ok(opened) => opened.map_err(failed)?,
            Err(_) => return Err(StoreError::TimedOut(LIMIT)),
        };
        let mut unmentioned = std::pin::pin!(sleep(UNMENTIONED));
        let mut is_mentioned = false;
        loop {
            tokio::select! {
                message = completed.next() => {
                    let message = message.and_then(Result::ok).map(|message| message.body().deserialize());
                    return match message {
                        Some(Ok((false, _))) => Ok(()),
                        Some(Ok::<(bool, OwnedValue), _>((true, _))) => {
                            *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = Some(window);
                            Err(unanswered(window))
                        }
                        Some(Err(_)) | None => Err(StoreError::Failed("its window ended without an answer".to_owned())),
                    };
                }
                message = owners.next() => {
                    let message = message.and_then(Result::ok).map(|message| message.body().deserialize());
                    if let Some(Ok::<(String, String, String), _>((name, _, owner))) = message
                        && name == BUS_NAME
                        && owner.is_empty()
                    {
                        return Err(StoreError::Failed("its service ended while its window was open".to_owned()));
                    }
                }
                () = &mut unmentioned, if !is_mentioned => {
                    is_mentioned = true;
                    (self.tell)(window);
                }
            }
        }
    }
}

/// Why a call fails whose window the user closed.
fn unanswered(window: Window) -> StoreError {
    match window {
        Window::Unlock => StoreError::Locked,
        Window::Create => StoreError::NoKeyring,
    }
}

/// The window that has to be answered before this access to the entry; none if the keyring is unlocked.
async fn needed(connection: &Connection, entry: &str, access: Access) -> zbus::Result<Option<Prompt>> {
    let attributes = HashMap::from([("service", SERVICE), ("username", entry)]);
    let found: (Vec<OwnedObjectPath>, Vec<OwnedObjectPath>) = call(connection, "SearchItems", &attributes).await?;
    let (unlocked, locked) = found;
    if !locked.is_empty() {
        return unlock(connection, locked).await;
    }
    if access == Access::Use || !unlocked.is_empty() {
        return Ok(None);
    }
    let keyring: OwnedObjectPath = call(connection, "ReadAlias", &"default").await?;
    if keyring.as_str() == NONE { create(connection).await } else { unlock(connection, vec![keyring]).await }
}

async fn unlock(connection: &Connection, objects: Vec<OwnedObjectPath>) -> zbus::Result<Option<Prompt>> {
    // Without a prompt for those that are not locked.
    let (_, path): (Vec<OwnedObjectPath>, OwnedObjectPath) = call(connection, "Unlock", &objects).await?;
    Ok((path.as_str() != NONE).then_some(Prompt { path, window: Window::Unlock }))
}

/// Creates the keyring that entries go to by default.
async fn create(connection: &Connection) -> zbus::Result<Option<Prompt>> {
    let label = format!("{COLLECTION_INTERFACE}.Label");
    let properties = HashMap::from([(label.as_str(), Value::from("Default keyring"))]);
    let (_, path): (OwnedObjectPath, OwnedObjectPath) =
        call(connection, "CreateCollection", &(properties, "default")).await?;
    Ok((path.as_str() != NONE).then_some(Prompt { path, window: Window::Create }))
}

/// Calls a method of the service.
async fn call<B, T>(connection: &Connection, method: &str, body: &B) -> zbus::Result<T>
where
    B: serde::Serialize + DynamicType + Sync,
    T: for<'d> zbus::zvariant::DynamicDeserialize<'d>,
{
    let reply = connection.call_method(Some(BUS_NAME), SECRETS, Some(SERVICE_INTERFACE), method, body).await?;
    reply.body().deserialize()
}

async fn signals(connection: &Connection, path: &str, interface: &str, member: &str) -> zbus::Result<MessageStream> {
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .path(path.to_owned())?
        .interface(interface.to_owned())?
        .member(member.to_owned())?
        .build();
    MessageStream::for_match_rule(rule, connection, None).await
}
