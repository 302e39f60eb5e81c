//! The operating system's keychain: Secret Service, macOS Keychain, Windows Credential Manager.
//!
//! A keychain may respond at once, prompt the user first, or never respond. So each call runs on a separate thread,
//! and finmcp waits for it up to [`LIMIT`]. Calls run one after another: a call that timed out must end before the
//! next starts, so that a late write cannot overwrite a newer one.

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

/// The keychain of the user who runs this process.
#[derive(Default)]
pub struct Keychain {
    /// Opened by the first call, and reopened after the service has restarted.
    opened: Arc<Mutex<Option<Entries>>>,
}

/// An open keychain.
struct Entries(Arc<keyring_core::CredentialStore>);

impl Keychain {
    async fn call<T: Send + 'static>(
        &self,
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
        tokio::time::timeout(LIMIT, answered).await.unwrap_or(Err(StoreError::TimedOut(LIMIT)))
    }
}

/// Only Windows limits the size of an entry.
const IS_CHUNKED: bool = cfg!(windows);

impl CredentialStore for Keychain {
    fn load<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<Option<Zeroizing<Vec<u8>>>, StoreError>> {
        let entry = entry.to_owned();
        self.call(move |slots| if IS_CHUNKED { chunked::load(slots, &entry) } else { slots.get(&entry) }).boxed()
    }

    fn save<'a>(&'a self, entry: &'a str, payload: Zeroizing<Vec<u8>>) -> BoxFuture<'a, Result<(), StoreError>> {
        let entry = entry.to_owned();
        self.call(
            move |slots| {
                if IS_CHUNKED { chunked::save(slots, &entry, &payload) } else { slots.set(&entry, &payload) }
            },
        )
        .boxed()
    }

    fn delete<'a>(&'a self, entry: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let entry = entry.to_owned();
        self.call(move |slots| if IS_CHUNKED { chunked::delete(slots, &entry) } else { slots.delete(&entry) }).boxed()
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
            Some(Error::NoResult) => StoreError::Failed("there is no default keyring yet".to_owned()),
            _ => StoreError::Failed(cause.to_string()),
        }
    }
}

#[cfg(target_os = "macos")]
mod platform {
    use std::sync::Arc;

    use keyring_core::error::PlatformError;

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
