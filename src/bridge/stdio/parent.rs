//! The AI client's process: finmcp ends when it exits or signals.

use std::{future::Future, io, pin::Pin};

/// Watches for signs, other than the end of stdin, that finmcp should end.
pub struct Parent {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 3],
    #[cfg(windows)]
    signals: (tokio::signal::windows::CtrlC, tokio::signal::windows::CtrlBreak, tokio::signal::windows::CtrlClose),
    parent: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Parent {
    /// Starts to watch the signals SIGTERM, SIGINT and SIGHUP, or their counterparts on Windows, and the parent
    /// process.
    ///
    /// # Errors
    /// An error of the operating system.
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
        Ok(Self { signals, parent: Box::pin(parent_ended()) })
    }

    /// Returns when finmcp should end.
    #[cfg(unix)]
    pub async fn gone(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.signals;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
            () = &mut self.parent => {}
        }
    }

    /// Returns when finmcp should end.
    #[cfg(windows)]
    pub async fn gone(&mut self) {
        tokio::select! {
            _ = self.signals.0.recv() => {}
            _ = self.signals.1.recv() => {}
            _ = self.signals.2.recv() => {}
            () = &mut self.parent => {}
        }
    }
}

/// Returns when the process that started finmcp has ended. The end of stdin is not enough: a killed client does not
/// close it if another process also holds the other end.
async fn parent_ended() {
    #[cfg(unix)]
    {
        let (sender, ended) = tokio::sync::oneshot::channel();
        let watch = move || {
            wait_for_parent();
            let _ = sender.send(());
        };
        let watching = std::thread::Builder::new().name("parent".to_owned()).stack_size(64 << 10).spawn(watch);
        if watching.is_ok() && ended.await.is_ok() {
            return;
        }
    }
    // On Windows, only the end of stdin tells.
    std::future::pending().await
}

/// Returns when finmcp has another parent process.
#[cfg(unix)]
fn wait_for_parent() {
    use rustix::process::getppid;
    let parent = getppid();
    // On Linux the kernel notifies at once, if it can.
    #[cfg(target_os = "linux")]
    if let Some(descriptor) =
        parent.and_then(|parent| rustix::process::pidfd_open(parent, rustix::process::PidfdFlags::empty()).ok())
        && getppid() == parent
    {
        use rustix::event::{PollFd, PollFlags, poll};
        let _ = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], None);
    }
    // Elsewhere finmcp polls. A parent outside this process's namespace (in a container) cannot be watched.
    while getppid() == parent {
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}
