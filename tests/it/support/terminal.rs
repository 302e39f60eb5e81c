//! A terminal with a person before it.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use crate::support::{
    PATIENCE, eventually,
    sandbox::{Sandbox, wait},
};

/// Both ends of a pseudo-terminal.
pub struct Terminal {
    keyboard: File,
    /// Where programs sit; held open, so that what they leave behind can be seen.
    seat: File,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    pub fn open() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let seat: OwnedFd = rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).unwrap();
        let keyboard = File::from(master);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (screen, mut glass) = (Arc::clone(&shown), keyboard.try_clone().unwrap());
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = glass.read(&mut chunk) {
                screen.lock().unwrap().extend_from_slice(&chunk[..length]);
            }
        });
        Self { keyboard, seat: seat.into(), shown }
    }

    /// One of this many columns and rows.
    pub fn of_size(columns: u16, rows: u16) -> Self {
        let terminal = Self::open();
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal.seat, size).unwrap();
        terminal
    }

    /// Has a person run finmcp here. The exit code, and what was on the screen.
    pub fn run(&self, sandbox: &Sandbox, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = sandbox.command(env!("CARGO_BIN_EXE_finmcp"));
        command.args(arguments).stdin(self.stdio()).stdout(self.stdio()).stderr(self.stdio());
        let code = wait(&mut command.spawn().unwrap(), PATIENCE).flatten();
        // What a program wrote before this is on the screen before it.
        const END: &str = "\u{1b}[0m\u{1b}[0m";
        (&self.seat).write_all(END.as_bytes()).unwrap();
        eventually("the end of the output", || self.shown().ends_with(END).then_some(()));
        (code, self.shown().trim_end_matches(END).to_owned())
    }

    /// Has a person run finmcp here, who gives each of the `answers` to its question, unseen. The exit code, and what was on
    /// the screen.
    pub fn answering(sandbox: &Sandbox, arguments: &[OsString], answers: &[(&str, &str)]) -> (Option<i32>, String) {
        let terminal = Self::open();
        let mut command = sandbox.command("setsid");
        command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_finmcp")]).args(arguments);
        let mut child =
            command.stdin(terminal.stdio()).stdout(terminal.stdio()).stderr(terminal.stdio()).spawn().unwrap();
        for (question, answer) in answers {
            let is_asked = || terminal.shown().contains(question) && !terminal.is_as_ever();
            eventually(question, || is_asked().then_some(()));
            terminal.enter(&format!("{answer}\n"));
        }
        let code = wait(&mut child, PATIENCE).flatten();
        let shown = terminal.last_shown();
        assert!(answers.iter().all(|(_, answer)| !shown.contains(answer)), "{shown}");
        (code, shown)
    }

    /// Has a person run finmcp here.
    pub fn sitting(sandbox: &Sandbox, arguments: &[impl AsRef<OsStr>]) -> Sitting {
        let terminal = Self::open();
        let mut command = sandbox.command("setsid");
        command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_finmcp")]).args(arguments);
        let child = command.stdin(terminal.stdio()).stdout(terminal.stdio()).stderr(terminal.stdio()).spawn().unwrap();
        Sitting { terminal, child, read: 0 }
    }

    /// The terminal as a program's stdin, stdout or stderr.
    pub fn stdio(&self) -> Stdio {
        self.seat.try_clone().unwrap().into()
    }

    /// Gives it a size; a new one has none.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.seat, size).unwrap();
    }

    /// Types, or pastes.
    pub fn enter(&self, text: &str) {
        (&self.keyboard).write_all(text.as_bytes()).unwrap();
    }

    /// All that has been on the screen: what programs wrote, and what was typed while the terminal showed it.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// The same, to the last word of a program that has ended.
    pub fn last_shown(&self) -> String {
        const LAST: &str = "\u{1c}";
        (&self.seat).write_all(LAST.as_bytes()).unwrap();
        let shown = eventually("the last word", || {
            let shown = self.shown();
            shown.ends_with(LAST).then_some(shown)
        });
        shown.replace(LAST, "")
    }

    /// Whether it shows what is typed, and hands it over line by line, as a shell expects it.
    pub fn is_as_ever(&self) -> bool {
        tcgetattr(&self.seat).unwrap().local_modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    }
}

/// A person at a terminal where finmcp runs.
pub struct Sitting {
    pub terminal: Terminal,
    child: Child,
    /// How much of the screen the person has read.
    read: usize,
}

impl Sitting {
    /// The person waits until the screen shows `text`, after what they have read.
    pub fn reads(&mut self, text: &str) -> &mut Self {
        let shown = || self.terminal.shown();
        let at = eventually(&format!("{text:?} on the screen"), || {
            let at = shown().get(self.read..)?.find(text);
            assert!(at.is_some() || self.child.try_wait().unwrap().is_none(), "no {text:?} on {}", shown());
            at
        });
        self.read += at + text.len();
        self
    }

    pub fn types(&mut self, text: &str) -> &mut Self {
        self.terminal.enter(text);
        self
    }

    /// The exit code, and what was on the screen. The terminal is as it was before.
    pub fn ends(&mut self) -> (Option<i32>, String) {
        let code = wait(&mut self.child, PATIENCE);
        assert!(self.terminal.is_as_ever(), "the terminal is left silent: {}", self.terminal.shown());
        (code.flatten(), self.terminal.last_shown())
    }

    /// Whether finmcp still runs.
    pub fn goes_on(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}
