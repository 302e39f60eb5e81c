//! Finds the user's desktop without variables: AI clients do not pass `DISPLAY`, `WAYLAND_DISPLAY` and
//! `DBUS_SESSION_BUS_ADDRESS` to the programs that they start. The session bus is still at `$XDG_RUNTIME_DIR/bus` or
//! `/run/user/<uid>/bus`, like the keychain's.

use crate::server_url::ServerUrl;

/// A desktop that can show a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desktop {
    /// Whether it has a portal that opens URLs.
    portal: bool,
    /// The variables that programs need to reach its display, if the user's service manager knows them.
    variables: Vec<(String, String)>,
}

/// Why the desktop showed no page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortalError {
    /// There is no portal.
    #[error("the desktop has no portal that opens URLs")]
    Absent,
    /// The portal or the bus did not respond.
    #[error("the desktop's portal does not respond")]
    TimedOut,
    /// The portal refused.
    #[error("the desktop's portal did not open the URL: {0}")]
    Refused(String),
    /// The user closed the portal's dialog.
    #[error("the dialog that asks which browser to open was closed")]
    Closed,
}

impl Desktop {
    /// Finds the desktop. Takes seconds if the bus does not respond. Starts no program but the portal.
    pub async fn find() -> Option<Self> {
        platform::find().await
    }

    /// Asks the portal to open `url`. Blocks until it has, or seems to have.
    ///
    /// # Errors
    /// [`PortalError`].
    pub fn ask(&self, url: &ServerUrl) -> Result<(), PortalError> {
        if self.portal { platform::ask(url) } else { Err(PortalError::Absent) }
    }

    /// The variables that a program needs to reach the display; empty if unknown.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
mod platform {
    use super::{Desktop, PortalError};
    use crate::server_url::ServerUrl;

    /// None: this system needs no variables to open pages.
    pub(super) async fn find() -> Option<Desktop> {
        None
    }

    pub(super) fn ask(_: &ServerUrl) -> Result<(), PortalError> {
        Err(PortalError::Absent)
    }
}

#[cfg(all(unix, not(target_os = "macos")))]
mod platform {
    use std::{collections::HashMap, sync::mpsc, thread, time::Duration};

    use futures_util::StreamExt;
    use zbus::{
        Connection, MatchRule, MessageStream,
        message::Type,
        zvariant::{OwnedObjectPath, OwnedValue, Value},
    };

    use super::{Desktop, PortalError};
    use crate::server_url::ServerUrl;

    /// How long each call on the bus may take: a service that hangs must not hang finmcp.
    const LIMIT: Duration = Duration::from_secs(3);

    /// How long to watch the portal for a failure. One that asks the user which browser to open takes longer.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// How long that dialog stays open: the portal closes it when its caller disconnects.
    const QUESTION: Duration = Duration::from_secs(300);

    const BUS: Service =
        Service { name: "org.freedesktop.DBus", path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" };

    /// XDG Desktop Portal, "OpenURI".
    const PORTAL: Service = Service {
        name: "org.freedesktop.portal.Desktop",
        path: "/org/freedesktop/portal/desktop",
        interface: "org.freedesktop.portal.OpenURI",
    };

    const MANAGER: Service = Service {
        name: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.DBus.Properties",
    };

    /// The variables that a program needs to reach the display, and a browser to find its running instance.
    const VARIABLES: [&str; 7] = [
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "XAUTHORITY",
        "XDG_RUNTIME_DIR",
        "DBUS_SESSION_BUS_ADDRESS",
        "XDG_CURRENT_DESKTOP",
        "XDG_DATA_DIRS",
    ];

    /// At least one of them is needed for a display.
    const DISPLAYS: [&str; 2] = ["DISPLAY", "WAYLAND_DISPLAY"];

    /// An object on the bus, and one of its interfaces.
    struct Service {
        name: &'static str,
        path: &'static str,
        interface: &'static str,
    }

    pub(super) async fn find() -> Option<Desktop> {
        let connection = within(LIMIT, Connection::session()).await?;
        let portal = within(LIMIT, has_portal(&connection)).await.unwrap_or(false);
        let variables = within(LIMIT, variables(&connection)).await.unwrap_or_default();
        (portal || !variables.is_empty()).then_some(Desktop { portal, variables })
    }

    pub(super) fn ask(url: &ServerUrl) -> Result<(), PortalError> {
        let (sender, outcome) = mpsc::channel();
        let url = url.clone();
        // Another thread stays connected: otherwise the portal would close its dialog.
        let asking = thread::Builder::new().name("portal".to_owned()).spawn(move || {
            bounded(async {
                let asked = async {
                    let connection = Connection::session().await?;
                    let answers = answers(&connection).await?;
                    let request = open(&connection, &url).await?;
                    Ok((connection, answers, request))
                };
                let (_connection, mut answers, request) = match tokio::time::timeout(LIMIT, asked).await {
                    Ok(Ok(asked)) => asked,
                    Ok(Err(error)) => return sender.send(Err(refused(&error))),
                    Err(_) => return sender.send(Err(PortalError::TimedOut)),
                };
                match tokio::time::timeout(PATIENCE, answer(&mut answers, &request)).await {
                    Ok(answer) => sender.send(answer),
                    Err(_) => {
                        let sent = sender.send(Ok(()));
                        let _ = tokio::time::timeout(QUESTION, answer(&mut answers, &request)).await;
                        sent
                    }
                }
            })
        });
        asking.map_err(|error| PortalError::Refused(error.to_string()))?;
        outcome.recv().unwrap_or(Err(PortalError::TimedOut))
    }

    /// Runs `work` on this thread with a new runtime: the caller's may be busy.
    fn bounded<T>(work: impl Future<Output = T>) -> Option<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().ok()?;
        Some(runtime.block_on(work))
    }

    async fn within<T>(limit: Duration, work: impl Future<Output = zbus::Result<T>>) -> Option<T> {
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(done)) => Some(done),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a call on the session bus failed");
                None
            }
            Err(_) => {
                tracing::debug!("the session bus does not respond");
                None
            }
        }
    }

    /// Whether the portal runs or can be started: some desktops start it on first use.
    async fn has_portal(connection: &Connection) -> zbus::Result<bool> {
        let owned = BUS.call(connection, "NameHasOwner", &PORTAL.name).await?;
        if owned.body().deserialize()? {
            return Ok(true);
        }
        BUS.call(connection, "StartServiceByName", &(PORTAL.name, 0_u32)).await?;
        Ok(true)
    }

    /// The display's variables from the user's service manager; empty if they name no display.
    async fn variables(connection: &Connection) -> zbus::Result<Vec<(String, String)>> {
        let reply = MANAGER.call(connection, "Get", &("org.freedesktop.systemd1.Manager", "Environment")).await?;
        let environment: Vec<String> = reply.body().deserialize::<OwnedValue>()?.try_into()?;
        let variables: Vec<_> = environment
            .iter()
            .filter_map(|variable| variable.split_once('='))
            .filter(|(name, value)| VARIABLES.contains(name) && !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let has_display = variables.iter().any(|(name, _)| DISPLAYS.contains(&&name[..]));
        Ok(if has_display { variables } else { Vec::new() })
    }

    /// The portal's responses to finmcp's requests.
    async fn answers(connection: &Connection) -> zbus::Result<MessageStream> {
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .interface("org.freedesktop.portal.Request")?
            .member("Response")?
            .build();
        MessageStream::for_match_rule(rule, connection, None).await
    }

    /// Asks the portal to open the page; its response refers to the returned request.
    async fn open(connection: &Connection, url: &ServerUrl) -> zbus::Result<OwnedObjectPath> {
        let options: HashMap<&str, Value<'_>> = HashMap::new();
        let reply = PORTAL.call(connection, "OpenURI", &("", url.as_str(), options)).await?;
        reply.body().deserialize()
    }

    async fn answer(answers: &mut MessageStream, request: &OwnedObjectPath) -> Result<(), PortalError> {
        while let Some(message) = answers.next().await {
            let Ok(message) = message else { continue };
            if message.header().path().is_none_or(|path| *path != **request) {
                continue;
            }
            let code = message.body().deserialize::<(u32, HashMap<String, OwnedValue>)>().map(|(code, _)| code);
            return match code {
                Ok(0) => Ok(()),
                Ok(1) => Err(PortalError::Closed),
                _ => Err(PortalError::Refused("it failed".to_owned())),
            };
        }
        Err(PortalError::TimedOut)
    }

    fn refused(error: &zbus::Error) -> PortalError {
        PortalError::Refused(error.to_string())
    }

    impl Service {
        async fn call<B>(&self, connection: &Connection, method: &str, body: &B) -> zbus::Result<zbus::Message>
        where
            B: serde::Serialize + zbus::zvariant::DynamicType + Sync,
        {
            connection.call_method(Some(self.name), self.path, Some(self.interface), method, body).await
        }
    }
}
