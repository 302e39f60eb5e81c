//! The options after `--`, for `finmcp serve`.

use clap::Parser;

use crate::{
    cli::{Cli, Command, Serve, registration::Registration},
    commands::setup::usage,
    error::Error,
    setup::plan::Target,
};

/// Checks that `serve` accepts the options after `--` and that a file can contain them. Returns whether they include
/// sign-in options.
pub(super) fn check(target: &Target, options: &[String]) -> Result<bool, Error> {
    let words = ["finmcp", "serve"].map(str::to_owned).into_iter().chain(target.arguments.clone());
    let parsed = Cli::try_parse_from(words.chain(options.iter().cloned()));
    let serve: Serve = match parsed {
        Ok(Cli { command: Command::Serve(serve), .. }) => *serve,
        Ok(_) => return Ok(false),
        Err(error) => {
            let text = error.to_string();
            let text = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            return Err(usage(format!("invalid options for finmcp serve: {text}")).hint("run `finmcp serve --help`"));
        }
    };
    let registration = &serve.registration;
    let secret = |(key, _): &(String, String)| {
        ["secret", "token", "password", "assertion"].iter().any(|word| key.contains(word))
    };
    if registration.client_secret.is_some() || registration.parameters.iter().any(secret) {
        return Err(usage("finmcp does not write secrets to a client's file").hint("sign in with `finmcp login` first"));
    }
    registration.check_parameters()?;
    let mut files = serve.control.audit_log.iter().chain(registration.files());
    match files.find(|path| path.is_relative()) {
        Some(path) => {
            Err(usage(format!("relative path {}: the client may start finmcp in any folder", path.display()))
                .hint("use an absolute path"))
        }
        None => Ok(serve.registration != Registration::default()),
    }
}
