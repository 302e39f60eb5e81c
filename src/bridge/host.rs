//! The AI client's process: it started us, and when it goes or says so, we end.

use std::{future::pending, io};

/// Signs that it is time to end, other than the end of stdin.
pub struct Host {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 3],
    #[cfg(windows)]
    signals: (tokio::signal::windows::CtrlC, tokio::signal::windows::CtrlBreak, tokio::signal::windows::CtrlClose),
    parent: Parent,
}

impl Host {
    /// Starts watching: SIGTERM, SIGINT, SIGHUP or their like, and the parent process.
    ///
    /// # Errors
    /// What the system says.
    pub fn watch() -> io::Result<Self> {
        #[cfg(unix)]
        let signals = {
            use tokio::signal::unix::{SignalKind, signal};
            [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?]
        };
        #[cfg(windows)]
        let signals = {
            use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close};
            (ctrl_c()?, ctrl_break()?, ctrl_close()?)
        };
        Ok(Self { signals, parent: Parent::watch() })
    }

    /// Returns when it is time to end.
    #[cfg(unix)]
    pub async fn gone(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.signals;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
            () = self.parent.gone() => {}
        }
    }

    /// Returns when it is time to end.
    #[cfg(windows)]
    pub async fn gone(&mut self) {
        tokio::select! {
            _ = self.signals.0.recv() => {}
            _ = self.signals.1.recv() => {}
            _ = self.signals.2.recv() => {}
            () = self.parent.gone() => {}
        }
    }
}

/// The process that started us. A client that is killed cannot close our stdin where somebody else holds its other end too.
enum Parent {
    /// The kernel tells when it ends.
    #[cfg(target_os = "linux")]
    Watched(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>),
    /// To be asked for now and then: another parent means that ours has ended.
    #[cfg(unix)]
    Polled(Option<rustix::process::Pid>),
    /// Where the end of stdin has to do.
    #[cfg(not(unix))]
    Unknown,
}

impl Parent {
    #[cfg(target_os = "linux")]
    fn watch() -> Self {
        use rustix::process::{PidfdFlags, getppid, pidfd_open};
        let parent = getppid();
        let descriptor = parent.and_then(|parent| pidfd_open(parent, PidfdFlags::NONBLOCK).ok());
        // It may have ended before it could be watched; then another process has its place.
        match descriptor
            .filter(|_| getppid() == parent)
            .and_then(|descriptor| tokio::io::unix::AsyncFd::register(descriptor).ok())
        {
            Some(watched) => Self::Watched(watched),
            None => Self::Polled(parent),
        }
    }

    #[cfg(all(unix, not(target_os = "linux")))]
    fn watch() -> Self {
        Self::Polled(rustix::process::getppid())
    }

    #[cfg(not(unix))]
    fn watch() -> Self {
        Self::Unknown
    }

    async fn gone(&self) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Watched(descriptor) => drop(descriptor.readable().await),
            #[cfg(unix)]
            Self::Polled(None) => pending().await,
            #[cfg(unix)]
            Self::Polled(parent) => {
                while rustix::process::getppid() == *parent {
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
            #[cfg(not(unix))]
            Self::Unknown => pending().await,
        }
    }
}
