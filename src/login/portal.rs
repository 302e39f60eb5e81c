//! The desktop of the person who runs this, where no variable names it: AI clients keep `DISPLAY`, `WAYLAND_DISPLAY` and
//! `DBUS_SESSION_BUS_ADDRESS` from what they start. The session bus is found all the same, at `$XDG_RUNTIME_DIR/bus` or
//! `/run/user/<uid>/bus`, as the keychain's is.

use crate::server_url::ServerUrl;

/// A desktop that can show a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desktop {
    /// Whether it has a portal that opens addresses.
    portal: bool,
    /// What programs on it need to reach its display, where the user's service manager knows that.
    variables: Vec<(String, String)>,
}

/// Why the desktop showed no page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortalError {
    /// There is no portal.
    #[error("the desktop has no portal for addresses")]
    Absent,
    /// The portal, or the bus, did not answer.
    #[error("the desktop's portal does not answer")]
    TimedOut,
    /// The portal said no.
    #[error("the desktop's portal did not open the address: {0}")]
    Refused(String),
    /// The person closed the portal's question.
    #[error("the question which browser to open was closed")]
    Closed,
}

impl Desktop {
    /// Looks for it. Takes seconds where the bus does not answer, and nothing is started but the portal itself.
    pub async fn find() -> Option<Self> {
        platform::find().await
    }

    /// Has the portal show `url`. Blocks until that is done, or seems to be.
    ///
    /// # Errors
    /// [`PortalError`].
    pub fn ask(&self, url: &ServerUrl) -> Result<(), PortalError> {
        if self.portal { platform::ask(url) } else { Err(PortalError::Absent) }
    }

    /// The variables with which a program reaches its display; none where they are not known.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
mod platform {
    use super::{Desktop, PortalError};
    use crate::server_url::ServerUrl;

    /// This system opens pages without being told where its screen is.
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

    /// How long each question on the bus may take: a service that hangs must not hang us.
    const LIMIT: Duration = Duration::from_secs(3);

    /// How long the portal is watched for a failure. One that asks the person which browser to open takes longer.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// How long that question stays open: the portal closes it when its caller is gone.
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

    /// What a program needs to reach the display, and the browser to find its own running window.
    const VARIABLES: [&str; 7] = [
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "XAUTHORITY",
        "XDG_RUNTIME_DIR",
        "DBUS_SESSION_BUS_ADDRESS",
        "XDG_CURRENT_DESKTOP",
        "XDG_DATA_DIRS",
    ];

    /// Those of them without which there is no display.
    const DISPLAYS: [&str; 2] = ["DISPLAY", "WAYLAND_DISPLAY"];

    /// An object on the bus, and an interface of it.
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
        // A thread of its own: the question which browser to open is closed when its asker is gone.
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

    /// Runs `work` on this thread, with its own clock: the caller's runtime may be busy.
    fn bounded<T>(work: impl Future<Output = T>) -> Option<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().ok()?;
        Some(runtime.block_on(work))
    }

    async fn within<T>(limit: Duration, work: impl Future<Output = zbus::Result<T>>) -> Option<T> {
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(done)) => Some(done),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the session bus");
                None
            }
            Err(_) => {
                tracing::debug!("the session bus does not answer");
                None
            }
        }
    }

    /// Whether the portal is there, or can be started: some desktops do that when it is first asked for.
    async fn has_portal(connection: &Connection) -> zbus::Result<bool> {
        let owned = BUS.call(connection, "NameHasOwner", &PORTAL.name).await?;
        if owned.body().deserialize()? {
            return Ok(true);
        }
        BUS.call(connection, "StartServiceByName", &(PORTAL.name, 0_u32)).await?;
        Ok(true)
    }

    /// The display's variables, as the user's service manager passes them on; nothing where they name no display.
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

    /// What the portal says of our requests.
    async fn answers(connection: &Connection) -> zbus::Result<MessageStream> {
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .interface("org.freedesktop.portal.Request")?
            .member("Response")?
            .build();
        MessageStream::for_match_rule(rule, connection, None).await
    }

    /// Asks for the page; what comes of it is an answer to the returned request.
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
