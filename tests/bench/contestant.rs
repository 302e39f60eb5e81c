//! The programs that are measured: their names, their command lines and their properties.

use std::{
    env,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{
    load::Piped,
    relay::Sabotage,
    server::{Era, Server},
};

pub struct Contestant {
    pub name: &'static str,
    /// As the program reports it.
    pub version: String,
    /// The size of the executable in bytes, if it is self-contained.
    pub size: Option<u64>,
    /// `None` for the direct client.
    program: Option<Program>,
    /// Whether it can relay between a modern client and a modern server.
    pub is_modern: bool,
}

struct Program {
    path: PathBuf,
    /// `URL` is replaced with the server's URL.
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    home: TempDir,
}

/// A rival that is not installed, and where the bench looked for it.
pub struct Absent {
    pub name: &'static str,
    pub variable: &'static str,
}

impl Contestant {
    /// The HTTP client without a relay.
    pub fn direct() -> Self {
        let version = "(nothing in between)".to_owned();
        Self { name: "direct", version, size: None, program: None, is_modern: true }
    }

    /// This executable as a relay.
    pub fn relay(sabotage: Option<Sabotage>) -> Result<Self> {
        let mut arguments = vec!["relay".to_owned(), "URL".to_owned()];
        if let Some(sabotage) = sabotage {
            let value = clap::ValueEnum::to_possible_value(&sabotage).context("a sabotage without a name")?;
            arguments.extend(["--sabotage".to_owned(), value.get_name().to_owned()]);
        }
        let mut relay = Self::program("minimal relay", env::current_exe()?, arguments, true)?;
        relay.version = "(of this bench)".to_owned();
        Ok(relay)
    }

    /// The finmcp executable at `path`.
    pub fn finmcp(path: PathBuf) -> Result<Self> {
        let size = size(&path);
        let mut finmcp = Self::program("finmcp", path, ["serve", "URL"].map(str::to_owned).into(), true)?;
        if let Some(program) = &mut finmcp.program {
            let folder = program.home.path().join("finmcp").display().to_string();
            program.environment = vec![("FINMCP_CONFIG_DIR", folder), ("FINMCP_STORE", "memory".to_owned())];
        }
        let version = finmcp.ask_version().context("finmcp does not run")?;
        Ok(Self { version, size, ..finmcp })
    }

    /// The installed rivals, named by a variable or found on `PATH`. The variable must name the program itself: a
    /// script that starts it as a child process hides its memory and CPU time.
    pub fn rivals() -> Result<(Vec<Self>, Vec<Absent>)> {
        let (mut present, mut absent) = (Vec::new(), Vec::new());
        for (name, variable) in
            [("mcp-remote", "FINMCP_BENCH_MCP_REMOTE"), ("hyper-mcp-remote", "FINMCP_BENCH_HYPER_MCP_REMOTE")]
        {
            let Some(path) = env::var_os(variable).map(PathBuf::from).or_else(|| find(name)) else {
                absent.push(Absent { name, variable });
                continue;
            };
            let size = size(&path);
            let rival = Self::program(name, path, vec!["URL".to_owned()], false)?;
            let version = rival.ask_version().unwrap_or_else(|_| "of unknown version".to_owned());
            present.push(Self { version, size, ..rival });
        }
        Ok((present, absent))
    }

    fn program(name: &'static str, path: PathBuf, arguments: Vec<String>, is_modern: bool) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("finmcp-bench-").tempdir()?;
        let program = Some(Program { path, arguments, environment: Vec::new(), home });
        Ok(Self { name, version: String::new(), size: None, program, is_modern })
    }

    /// Whether it is a separate process with its own memory and start-up time.
    pub fn is_process(&self) -> bool {
        self.program.is_some()
    }

    /// Starts the program with the URL of `server`.
    pub fn start(&self, server: &Server, era: Era, patience: Duration) -> Result<Piped> {
        let program = self.program.as_ref().context("not a process")?;
        let mut command = program.command();
        let url = server.url(era);
        command.args(program.arguments.iter().map(|argument| if argument == "URL" { &url } else { argument }));
        Piped::start(command, program.home.path(), era, patience)
    }

    fn ask_version(&self) -> Result<String> {
        let output = self.program.as_ref().context("not a process")?.command().arg("--version").output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().next().filter(|line| !line.is_empty() && output.status.success());
        let line = line.context("no version in the output")?;
        Ok(line.trim_start_matches(self.name).trim().to_owned())
    }
}

impl Program {
    /// A clean environment: no proxy, and none of the user's configuration and credentials.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env_clear().current_dir(self.home.path());
        command.env("PATH", env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.home.path()).env("TMPDIR", self.home.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// `None` for a script: its file is only a small part of the program.
fn size(path: &Path) -> Option<u64> {
    let mut start = [0; 2];
    File::open(path).ok()?.read_exact(&mut start).ok()?;
    Some(fs::metadata(path).ok()?.len()).filter(|_| start != *b"#!")
}

fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder: PathBuf| folder.join(name)).find(|program| is_program(program))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
