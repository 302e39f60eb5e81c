//! The AI client's process: it started us, and when it goes or says so, we end.

use std::{future::Future, io, pin::Pin};

/// Signs that it is time to end, other than the end of stdin.
pub struct Parent {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 3],
    #[cfg(windows)]
    signals: (tokio::signal::windows::CtrlC, tokio::signal::windows::CtrlBreak, tokio::signal::windows::CtrlClose),
    parent: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Parent {
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
        Ok(Self { signals, parent: Box::pin(parent_ended()) })
    }

    /// Returns when it is time to end.
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

    /// Returns when it is time to end.
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

/// Tells when the process that started us has ended: a client that is killed cannot close our stdin where somebody else
/// holds its other end too.
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
    // On Windows the end of stdin has to do.
    std::future::pending().await
}

/// Returns when another process is our parent.
#[cfg(unix)]
fn wait_for_parent() {
    use rustix::process::getppid;
    let parent = getppid();
    // The kernel tells at once, where it can.
    #[cfg(target_os = "linux")]
    if let Some(descriptor) =
        parent.and_then(|parent| rustix::process::pidfd_open(parent, rustix::process::PidfdFlags::empty()).ok())
        && getppid() == parent
    {
        use rustix::event::{PollFd, PollFlags, poll};
        let _ = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], None);
    }
    // Elsewhere it has to be asked. A process whose parent is out of its sight (in a container) cannot tell.
    while getppid() == parent {
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}
