//! The operating system's keychain: Secret Service, macOS Keychain, Windows Credential Manager.
//!
//! A keychain may respond at once, prompt the user first, or never respond. So each call runs on a separate thread,
//! and finmcp waits for it up to [`LIMIT`]. Calls run one after another: a call that timed out must end before the
//! next starts, so that a late write cannot overwrite a newer one.
//!
//! If a user waits at a terminal, finmcp waits for them as long as the keychain's window is open.

#[cfg(all(unix, not(target_os = "macos")))]
mod window;

use std::{collections::HashMap, sync::Arc, thread, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use keyring_core::Error;
use tokio::sync::{Mutex, oneshot};
use zeroize::Zeroizing;

use crate::credential::{
    chunked::{self, Slots},
    store::{CredentialStore, StoreError},
};

/// How long to wait for a call.
pub const LIMIT: Duration = Duration::from_secs(3);

const SERVICE: &str = "finmcp";

/// What the keychain's window asks the user for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The keychain's password, to unlock it.
    Unlock,
    /// A password for a new keychain: the user has none yet.
    Create,
}

/// Tells the user that the keychain has opened a window and waits for them.
pub type TellUser = Arc<dyn Fn(Window) + Send + Sync>;

/// The keychain of the user who runs this process.
#[derive(Default)]
pub struct Keychain {
    /// Opened by the first call, and reopened after the service has restarted.
    opened: Arc<Mutex<Option<Entries>>>,
    /// The windows that finmcp waits for; none if no user waits at a terminal.
    windows: Option<platform::Windows>,
}

/// What a call does with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Use,
    Save,
}

/// An open keychain.
struct Entries(Arc<keyring_core::CredentialStore>);

impl Keychain {
    /// The same for a user at a terminal, who can unlock it.
    pub fn attended(tell: TellUser) -> Self {
        Self { windows: Some(platform::Windows::new(tell)), ..Self::default() }
    }

    async fn call<T: Send + 'static>(
        &self,
        entry: &str,
        access: Access,
        work: impl Fn(&Entries) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.windows {
            Some(windows) => windows.wait(entry, access, self.bounded(windows.limit(), work)).await,
            None => self.bounded(LIMIT, work).await,
        }
    }

    async fn bounded<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl Fn(&Entries) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let opened = self.opened.clone();
        let answered = async move {
            let mut opened = opened.lock_owned().await;
            let (answer, answered) = oneshot::channel();
            // Not one of the runtime's threads, which would delay the process's exit.
            thread::Builder::new()
                .name("keychain".to_owned())
                .spawn(move || {
                    let outcome = attempt(&mut opened, work);
                    drop(opened);
                    // The caller may have timed out.
                    let _ = answer.send(outcome);
                })
                .map_err(|error| StoreError::Failed(error.to_string()))?;
            answered.await.unwrap_or_else(|_| Err(StoreError::Failed("the call was interrupted".to_owned())))
        };
        tokio::time::timeout(limit, answered).await.unwrap_or(Err(StoreError::TimedOut(limit)))
    }
}

/// Only Windows limits the size of an entry.
const IS_CHUNKED: bool = cfg!(windows);

impl CredentialStore for Keychain {
    fn load<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<Option<Zeroizing<Vec<u8>>>, StoreError>> {
        let name = entry.to_owned();
        let load = move |slots: &Entries| if IS_CHUNKED { chunked::load(slots, &name) } else { slots.get(&name) };
        self.call(entry, Access::Use, load).boxed()
    }

    fn save<'a>(&'a self, entry: &'a str, payload: Zeroizing<Vec<u8>>) -> BoxFuture<'a, Result<(), StoreError>> {
        let name = entry.to_owned();
        let save = move |slots: &Entries| {
            if IS_CHUNKED { chunked::save(slots, &name, &payload) } else { slots.set(&name, &payload) }
        };
        self.call(entry, Access::Save, save).boxed()
    }

    fn delete<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let name = entry.to_owned();
        let delete =
            move |slots: &Entries| if IS_CHUNKED { chunked::delete(slots, &name) } else { slots.delete(&name) };
        self.call(entry, Access::Use, delete).boxed()
    }

    fn description(&self) -> String {
        platform::DESCRIPTION.to_owned()
    }
}

/// Does `work` with the open keychain. If that fails, opens it again: a restarted service has lost its sessions.
fn attempt<T>(opened: &mut Option<Entries>, work: impl Fn(&Entries) -> Result<T, StoreError>) -> Result<T, StoreError> {
    if let Some(entries) = opened {
        match work(entries) {
            Err(StoreError::Failed(_)) => {}
            outcome => return outcome,
        }
    }
    *opened = None;
    let store = platform::open().map_err(|error| StoreError::Absent(error.to_string()))?;
    work(opened.insert(Entries(store)))
}

impl Entries {
    fn entry(&self, name: &str) -> keyring_core::Result<keyring_core::Entry> {
        self.0.build(SERVICE, name, Some(&HashMap::from(platform::MODIFIERS)))
    }
}

impl Slots for Entries {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        match self.entry(name).and_then(|entry| entry.get_secret()) {
            Ok(secret) => Ok(Some(Zeroizing::new(secret))),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(sorted(error)),
        }
    }

    fn set(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.entry(name).and_then(|entry| entry.set_secret(bytes)).map_err(sorted)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        match self.entry(name).and_then(|entry| entry.delete_credential()) {
            Ok(()) | Err(Error::NoEntry) => Ok(()),
            Err(error) => Err(sorted(error)),
        }
    }
}

fn sorted(error: Error) -> StoreError {
    match error {
        Error::NoStorageAccess(cause) => platform::no_access(cause),
        Error::PlatformFailure(cause) => platform::failure(cause),
        // The error's text would name every one of them.
        Error::Ambiguous(_) => StoreError::Failed("it has several entries with the same name".to_owned()),
        other => StoreError::Failed(other.to_string()),
    }
}

#[cfg(all(unix, not(target_os = "macos")))]
mod platform {
    use std::sync::Arc;

    use keyring_core::error::PlatformError;
    use secret_service::Error;

    pub(super) use super::window::Windows;
    use crate::credential::store::StoreError;

    pub(super) const DESCRIPTION: &str = "the desktop keyring (Secret Service)";

    /// The label in keyring programs.
    pub(super) const MODIFIERS: [(&str, &str); 1] = [("label", "finmcp")];

    /// Finds the session bus by the rules of D-Bus: `DBUS_SESSION_BUS_ADDRESS`, else `$XDG_RUNTIME_DIR/bus`, else
    /// `/run/user/<uid>/bus`. AI clients pass neither variable.
    pub(super) fn open() -> keyring_core::Result<Arc<keyring_core::CredentialStore>> {
        Ok(zbus_secret_service_keyring_store::Store::new()?)
    }

    pub(super) fn no_access(cause: PlatformError) -> StoreError {
        failure(cause)
    }

    pub(super) fn failure(cause: PlatformError) -> StoreError {
        match cause.downcast_ref() {
            Some(Error::Locked | Error::Prompt) => StoreError::Locked,
            Some(Error::Unavailable) => StoreError::Absent(cause.to_string()),
            // The keyring daemon runs, but the user has never created a keyring.
            Some(Error::NoResult) => StoreError::NoKeyring,
            _ => StoreError::Failed(cause.to_string()),
        }
    }
}

/// The windows of systems that show them during a call and tell nobody: a call takes as long as its window.
#[cfg(not(all(unix, not(target_os = "macos"))))]
mod unseen {
    use std::time::Duration;

    use super::{Access, TellUser, Window};
    use crate::credential::store::StoreError;

    pub(super) struct Windows(TellUser);

    impl Windows {
        pub(super) fn new(tell: TellUser) -> Self {
            Self(tell)
        }

        /// How long a user may take for a window.
        pub(super) fn limit(&self) -> Duration {
            Duration::from_secs(300)
        }

        /// The outcome of `call`; after a second without one, tells the user to look for a window.
        pub(super) async fn wait<T>(
            &self,
            _: &str,
            _: Access,
            call: impl Future<Output = Result<T, StoreError>>,
        ) -> Result<T, StoreError> {
            let mut call = std::pin::pin!(call);
            tokio::select! {
                outcome = &mut call => outcome,
                () = tokio::time::sleep(Duration::from_secs(1)) => {
                    (self.0)(Window::Unlock);
                    call.await
                }
            }
        }
    }
}

#[cfg(target_os = "macos")]
mod platform {
    use std::sync::Arc;

    use keyring_core::error::PlatformError;

    pub(super) use super::unseen::Windows;
    use crate::credential::store::StoreError;

    pub(super) const DESCRIPTION: &str = "the macOS Keychain";

    pub(super) const MODIFIERS: [(&str, &str); 0] = [];

    /// The login keychain, which does not sync to other machines.
    pub(super) fn open() -> keyring_core::Result<Arc<keyring_core::CredentialStore>> {
        Ok(apple_native_keyring_store::keychain::Store::new()?)
    }

    pub(super) fn no_access(_: PlatformError) -> StoreError {
        StoreError::Locked
    }

    pub(super) fn failure(cause: PlatformError) -> StoreError {
        StoreError::Failed(cause.to_string())
    }
}

#[cfg(windows)]
mod platform {
    use std::sync::Arc;

    use keyring_core::error::PlatformError;

    pub(super) use super::unseen::Windows;
    use crate::credential::store::StoreError;

    pub(super) const DESCRIPTION: &str = "the Windows Credential Manager";

    /// The default would roam to other machines.
    pub(super) const MODIFIERS: [(&str, &str); 1] = [("persistence", "Local")];

    pub(super) fn open() -> keyring_core::Result<Arc<keyring_core::CredentialStore>> {
        Ok(windows_native_keyring_store::Store::new()?)
    }

    /// Windows keeps credentials for a logon session; a network logon, for example over SSH, has none.
    pub(super) fn no_access(cause: PlatformError) -> StoreError {
        StoreError::Absent(cause.to_string())
    }

    pub(super) fn failure(cause: PlatformError) -> StoreError {
        StoreError::Failed(cause.to_string())
    }
}
