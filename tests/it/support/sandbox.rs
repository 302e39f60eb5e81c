//! A home folder, an environment and a credential store of a test's own.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{secrets::Canary, serve::Serve};

/// How long any command may take to end.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// Everything that a finmcp process can see and leave behind, apart from this machine's own.
///
/// `home`, `tmp`, `work` and `watched` are searched by [`Sandbox::assert_no_secret`]; `given`, which holds the secrets
/// that a test hands over, is not.
pub struct Sandbox {
    root: TempDir,
    environment: BTreeMap<OsString, OsString>,
    transcript: Transcript,
}

/// What processes wrote, kept for the search for secrets.
#[derive(Clone, Default)]
pub struct Transcript(Arc<Mutex<Vec<Haystack>>>);

/// A place where secrets are looked for: its name, and what is there.
type Haystack = (String, Vec<u8>);

impl Transcript {
    pub fn keep(&self, what: impl Into<String>, bytes: &[u8]) {
        self.0.lock().unwrap().push((what.into(), bytes.to_vec()));
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Run {
    /// The exit code; none where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Panics unless the exit code is `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Panics unless it succeeded.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        self.expect_code(0)
    }

    /// Panics unless stderr says each of `texts`.
    #[track_caller]
    pub fn expect_stderr(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "stderr lacks {text:?}: {}", self.stderr);
        }
        self
    }
}

impl Sandbox {
    /// An empty home, the encrypted file store, and an environment of these and `PATH` alone.
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("finmcp-test-").tempdir().unwrap();
        for folder in ["home", "tmp", "work", "watched", "given"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        let mut sandbox = Self { root, environment: BTreeMap::new(), transcript: Transcript::default() };
        let home = sandbox.home();
        sandbox.set("PATH", std::env::var_os("PATH").unwrap_or_default());
        sandbox.set("HOME", &home);
        sandbox.set("TMPDIR", sandbox.root.path().join("tmp"));
        if cfg!(windows) {
            // Sockets need SystemRoot; the rest is where Windows programs look for a home.
            for name in ["SystemRoot", "ComSpec", "PATHEXT"] {
                sandbox.set(name, std::env::var_os(name).unwrap_or_default());
            }
            sandbox.set("USERPROFILE", &home);
            sandbox.set("APPDATA", home.join("AppData").join("Roaming"));
            sandbox.set("LOCALAPPDATA", home.join("AppData").join("Local"));
            sandbox.set("TEMP", sandbox.root.path().join("tmp"));
            sandbox.set("TMP", sandbox.root.path().join("tmp"));
        }
        let mut key = [0; 48];
        getrandom::fill(&mut key).unwrap();
        let key_file = sandbox.give("store.key", key);
        // No desktop of the machine that the tests run on.
        sandbox.set("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus");
        sandbox.set("FINMCP_CONFIG_DIR", home.join("finmcp"));
        sandbox.set("FINMCP_STORE", "file");
        sandbox.set("FINMCP_STORE_KEY_FILE", key_file);
        sandbox
    }

    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// Where doubles, such as the browser, write what they saw.
    pub fn watched(&self) -> PathBuf {
        self.root.path().join("watched")
    }

    /// Writes a file for finmcp to read, readable by its owner alone, outside the folders that are searched for
    /// secrets.
    pub fn give(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.path().join("given").join(name);
        fs::write(&path, contents).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// Sets a variable for every later process.
    pub fn set(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        self.environment.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
    }

    /// Takes a variable away from every later process.
    pub fn unset(&mut self, name: &str) {
        self.environment.remove(OsStr::new(name));
    }

    /// A program in this sandbox's environment and working folder.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(&self.environment).current_dir(self.root.path().join("work"));
        command
    }

    /// Runs `finmcp` to its end, with nothing on stdin.
    pub fn finmcp<Argument: AsRef<OsStr>>(&self, arguments: impl AsRef<[Argument]>) -> Run {
        self.finmcp_with_stdin(arguments, "")
    }

    /// Runs `finmcp` to its end.
    pub fn finmcp_with_stdin<Argument: AsRef<OsStr>>(
        &self,
        arguments: impl AsRef<[Argument]>,
        stdin: impl Into<Vec<u8>>,
    ) -> Run {
        let mut command = self.command(env!("CARGO_BIN_EXE_finmcp"));
        command.args(arguments.as_ref());
        // The one command whose output is a secret.
        let is_token = arguments.as_ref().first().is_some_and(|first| first.as_ref() == "token");
        let run = self.run(command, stdin.into());
        if !is_token {
            self.transcript.keep("stdout", run.stdout.as_bytes());
        }
        run
    }

    /// Runs any command to its end, or panics when it takes too long. Its stderr is searched for secrets later.
    pub fn run(&self, mut command: Command, stdin: Vec<u8>) -> Run {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut input = child.stdin.take().unwrap();
        // A command that reads no stdin may be gone before this is written.
        thread::spawn(move || input.write_all(&stdin));
        let (stdout, stderr) = (drain(child.stdout.take().unwrap()), drain(child.stderr.take().unwrap()));
        let code = wait(&mut child, COMMAND_LIMIT);
        let (stdout, stderr) = (collect(stdout), collect(stderr));
        self.transcript.keep("stderr", stderr.as_bytes());
        let code = code.unwrap_or_else(|| panic!("{command:?} did not end.\nstdout: {stdout}\nstderr: {stderr}"));
        Run { code, stdout, stderr }
    }

    /// Starts `finmcp serve` with pipes, as an AI client does.
    pub fn serve<Argument: AsRef<OsStr>>(&self, arguments: impl AsRef<[Argument]>) -> Serve {
        let arguments = arguments.as_ref().iter().map(AsRef::as_ref);
        self.start([OsStr::new("serve")].into_iter().chain(arguments).collect::<Vec<_>>())
    }

    /// Starts finmcp with pipes.
    pub fn start<Argument: AsRef<OsStr>>(&self, arguments: impl AsRef<[Argument]>) -> Serve {
        let mut command = self.command(env!("CARGO_BIN_EXE_finmcp"));
        command.args(arguments.as_ref());
        Serve::start(command, self.transcript.clone())
    }

    /// Where the output of processes started by hand is to be kept.
    pub fn transcript(&self) -> Transcript {
        self.transcript.clone()
    }

    /// The environment of every process here.
    pub fn environment(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.environment.iter()
    }

    /// Panics where any file, or anything that a process wrote, holds one of `secrets` in any form.
    #[track_caller]
    pub fn assert_no_secret(&self, secrets: &[String]) {
        assert!(!secrets.is_empty(), "there is no secret to look for: the test proves nothing");
        let canaries: Vec<Canary> = secrets.iter().map(|secret| Canary::new(secret)).collect();
        let mut haystacks: Vec<Haystack> = self.transcript.0.lock().unwrap().clone();
        for folder in ["home", "tmp", "work", "watched"] {
            let mut files = Vec::new();
            list_files(&self.root.path().join(folder), &mut files);
            for file in files {
                let contents = fs::read(&file).unwrap();
                haystacks.push((format!("the name of {}", file.display()), file.as_os_str().as_encoded_bytes().into()));
                haystacks.push((file.display().to_string(), contents));
            }
        }
        for (place, haystack) in &haystacks {
            for canary in &canaries {
                canary.assert_absent(haystack, place);
            }
        }
    }

    /// Every file in the home folder.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        list_files(&self.home(), &mut files);
        files
    }

    /// Every file and folder in the folder for temporary files.
    #[cfg(any(unix, feature = "demo"))]
    pub fn temporary_files(&self) -> Vec<PathBuf> {
        fs::read_dir(self.root.path().join("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

/// Waits for the end of `child`, and ends it when it takes longer than `limit`: none then, else its exit code.
pub fn wait(child: &mut Child, limit: Duration) -> Option<Option<i32>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.code());
        }
        if begun.elapsed() > limit {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

fn collect(pipe: thread::JoinHandle<Vec<u8>>) -> String {
    String::from_utf8(pipe.join().unwrap()).unwrap()
}

fn list_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        // Symbolic links are not followed: what they lead to is not this sandbox's.
        if entry.file_type().unwrap().is_dir() {
            list_files(&entry.path(), files);
        } else if entry.file_type().unwrap().is_file() {
            files.push(entry.path());
        }
    }
}

mod tests {
    use super::*;

    #[test]
    fn a_leak_is_found_in_files_file_names_and_stderr() {
        let secret = "CANARY-0123456789abcdef".to_owned();
        let leaks: [fn(&Sandbox, &str); 3] = [
            |sandbox, secret| fs::write(sandbox.home().join("config.toml"), format!("x = {secret:?}")).unwrap(),
            |sandbox, secret| fs::write(sandbox.home().join(secret), "").unwrap(),
            |sandbox, secret| sandbox.transcript.keep("stderr", secret.as_bytes()),
        ];
        for leak in leaks {
            let sandbox = Sandbox::new();
            sandbox.give("secret", &secret);
            sandbox.assert_no_secret(std::slice::from_ref(&secret));
            leak(&sandbox, &secret);
            let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                sandbox.assert_no_secret(std::slice::from_ref(&secret));
            }));
            assert!(found.is_err());
        }
    }
}
