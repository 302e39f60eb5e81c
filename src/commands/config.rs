//! `finmcp config`.

use std::path::Path;

use crate::{
    app::interrupt::unless_interrupted,
    cli::config::{Config, ConfigCommand},
    console::Console,
    error::{Error, ErrorKind},
    paragraph::hanging_indent,
    settings::{
        self,
        copy::{Copy, config_faults, config_path},
        faults::{Fault, faults},
    },
};

/// Prints the path of `config.toml`, edits it, or checks it. The file may be invalid.
///
/// # Errors
/// The file has faults, or it cannot be read or written.
pub fn run(console: Console, arguments: Config) -> Result<(), Error> {
    match arguments.command {
        ConfigCommand::Path => Ok(console.data(&format!("{}\n", config_path()?.display()))?),
        ConfigCommand::Check => check(console),
        ConfigCommand::Edit => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(unless_interrupted(edit(console)))?
        }
    }
}

fn check(console: Console) -> Result<(), Error> {
    let (path, faults) = (config_path()?, config_faults()?);
    if !faults.is_empty() {
        show(console, &faults);
        return Err(faulty(&path, &faults).hint("run `finmcp config edit` to correct them"));
    }
    let path = path.display();
    console.note(&match config_path()?.exists() {
        true => format!("{path} is valid"),
        false => format!("There is no {path} yet; finmcp login creates it"),
    });
    Ok(())
}

/// Opens the user's editor on a copy, and saves the copy once it has no faults.
async fn edit(console: Console) -> Result<(), Error> {
    let editor = settings::editor()?.ok_or_else(|| {
        let error = Error::new(ErrorKind::Usage, "no editor is set");
        error.hint("set VISUAL or EDITOR to your editor's command, for example: EDITOR=nano finmcp config edit")
    })?;
    let (path, copy) = (config_path()?, Copy::create()?);
    loop {
        open(&editor, copy.path()).await?;
        let text = copy.text()?;
        let faults = faults(&text);
        show(console, &faults);
        if faults.is_empty() && !copy.is_changed(&text) {
            console.note(&format!("No changes to {}", path.display()));
            return Ok(());
        }
        if faults.is_empty() {
            return match copy.put(&text).await {
                Ok(()) => {
                    console.note(&format!("Saved {}", path.display()));
                    Ok(())
                }
                Err(error) => Err(kept(error.into(), copy)),
            };
        }
        if !console.confirm("Edit it again? [y/N] ").await {
            let error = faulty(&path, &faults).while_doing(format!("{} was not changed", path.display()));
            return Err(if copy.is_changed(&text) { kept(error, copy) } else { error });
        }
    }
}

/// Runs the editor's command, which may have arguments, on `file`.
async fn open(editor: &str, file: &Path) -> Result<(), Error> {
    let failed = |why: String| {
        let error = Error::new(ErrorKind::Failure, format!("the editor {editor:?} failed: {why}"));
        error.hint("config.toml was not changed; check VISUAL and EDITOR")
    };
    let words = shlex::split(editor).unwrap_or_default();
    let Some((program, arguments)) = words.split_first() else {
        return Err(failed("not a command".to_owned()));
    };
    let status = tokio::process::Command::new(program).args(arguments).arg(file).status().await;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(status.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn show(console: Console, faults: &[Fault]) {
    for Fault { line, problem } in faults {
        let words: Vec<&str> = problem.split_whitespace().collect();
        console.say(hanging_indent(&format!("line {line}: {}", words.join(" ")), 2, console.width()).trim_end());
    }
}

fn faulty(path: &Path, faults: &[Fault]) -> Error {
    let count = match faults.len() {
        1 => "a fault".to_owned(),
        count => format!("{count} faults"),
    };
    Error::new(ErrorKind::Usage, format!("{} has {count}", path.display()))
}

/// `error`, with the place where the user's changes are kept.
fn kept(error: Error, copy: Copy) -> Error {
    match copy.keep() {
        Ok(path) => error.hint(format!("your changes are in {}", path.display())),
        Err(_) => error,
    }
}
