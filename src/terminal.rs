//! The user's terminal while finmcp reads from it itself: nothing that is typed appears unless finmcp prints it.

use std::{
    fs::File,
    io::{self, IsTerminal, stdin},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    process::getpgrp,
    termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr},
};

/// A terminal without echo and line mode. Dropping it restores the terminal and discards pending input: the shell would
/// run that as a command and keep it in its history.
pub struct Silence {
    terminal: OwnedFd,
    before: Termios,
    pending: OptionalActions,
}

impl Silence {
    /// Silences the terminal on stdin. None if stdin is not a terminal, or if finmcp runs in the background: the system
    /// stops a background process that reads from the terminal.
    pub fn begin() -> Option<Self> {
        stdin().is_terminal().then(|| Self::of(stdin().as_fd()))?
    }

    /// Silences the terminal that controls this process, from which a file is read instead of stdin.
    ///
    /// # Errors
    /// There is no such terminal, or finmcp runs in the background.
    pub fn begin_on_tty() -> io::Result<(Self, File)> {
        let terminal = File::open("/dev/tty")?;
        let silence = Self::of(terminal.as_fd()).ok_or(io::ErrorKind::Unsupported)?;
        Ok((silence, terminal))
    }

    fn of(terminal: BorrowedFd<'_>) -> Option<Self> {
        // Without a foreground process group, the system stops no process.
        let in_background = tcgetpgrp(terminal).is_ok_and(|foreground| foreground != getpgrp());
        if in_background {
            return None;
        }
        let terminal = terminal.try_clone_to_owned().ok()?;
        let before = tcgetattr(&terminal).ok()?;
        let mut silent = before.clone();
        // In line mode, terminals cut lines at 1024 or 4096 bytes; an address may be longer.
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Now, &silent).ok()?;
        Some(Self { terminal, before, pending: OptionalActions::Flush })
    }

    /// Restores the terminal and keeps pending input, for the next question.
    pub fn end(mut self) {
        self.pending = OptionalActions::Now;
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, self.pending, &self.before);
    }
}

impl std::fmt::Debug for Silence {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Silence")
    }
}
