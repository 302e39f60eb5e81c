//! What the command line says about signing in, with what the files hold that it names.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{
    cli::registration::Registration,
    error::{Error, ErrorKind},
    login::options::Options,
    oauth::private_key::PrivateKey,
    secret::Secret,
    settings::Settings,
};

/// What is said there, with what the named files hold.
#[derive(Clone)]
pub struct Given {
    /// What to ask for, and as which client.
    pub options: Options,
    /// What proves it.
    pub secrets: Secrets,
}

/// What a person hands over for a sign-in, where it takes any; what is stored already need not be.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The client secret, or the client's private key.
    pub client: Option<Secret>,
    /// The API key.
    pub api_key: Option<Secret>,
    /// The client secret at the identity provider.
    pub identity_provider: Option<Secret>,
}

impl Given {
    /// Reads it all: a file that is missing is said before anybody is asked anything.
    ///
    /// # Errors
    /// What cannot be read, or does not go together.
    pub async fn read(arguments: Registration, settings: &Settings) -> Result<Self, Error> {
        if arguments.client_secret.is_some() {
            return Err(Error::new(ErrorKind::Usage, "a secret typed as an argument can be seen by everybody on this machine")
                .hint("put it into a file for --client-secret-file, pipe it to --client-secret-file -, or set FINMCP_CLIENT_SECRET"));
        }
        arguments.check_parameters()?;
        let secrets = Secrets {
            client: match arguments.private_key_file.clone() {
                Some(path) => Some(private_key(path).await?),
                None => client_secret(arguments.client_secret_file.clone(), settings).await?,
            },
            api_key: match arguments.api_key_file.clone() {
                Some(path) => Some(secret_in(path, "API key").await?),
                None => None,
            },
            identity_provider: match arguments.identity_provider_client_secret_file.clone() {
                Some(path) => Some(secret_in(path, "identity provider's client secret").await?),
                None => None,
            },
        };
        Ok(Self { options: arguments.options()?, secrets })
    }

    /// Like [`read`](Self::read), where stdin is a client's.
    ///
    /// # Errors
    /// Besides those: a secret that stdin is to bring.
    pub async fn read_without_stdin(arguments: Registration, settings: &Settings) -> Result<Self, Error> {
        let files = [
            &arguments.client_secret_file,
            &arguments.private_key_file,
            &arguments.api_key_file,
            &arguments.identity_provider_client_secret_file,
        ];
        if files.into_iter().flatten().any(|path| path == Path::new(STDIN)) {
            let error =
                Error::new(ErrorKind::Usage, "a secret cannot come from stdin here: that is where the client speaks");
            return Err(error.hint("name a file; or sign in with `finmcp login` first, which keeps the secret"));
        }
        Self::read(arguments, settings).await
    }
}

/// The name of a file that is none.
const STDIN: &str = "-";

/// The client secret: from the file, from stdin, or from the environment.
async fn client_secret(path: Option<PathBuf>, settings: &Settings) -> Result<Option<Secret>, Error> {
    match path {
        Some(path) => secret_in(path, "client secret").await.map(Some),
        None => Ok(settings.client_secret.clone()),
    }
}

/// The client's private key, from the file or from stdin, if it can be used.
async fn private_key(path: PathBuf) -> Result<Secret, Error> {
    let shown = path.display().to_string();
    let key = secret_in(path, "private key").await?;
    PrivateKey::from_pem(&key).map_err(|error| {
        Error::new(ErrorKind::Usage, format!("the private key in {shown} cannot be used: {error}"))
            .hint("give a key that the vendor knows, in PEM and without a passphrase, with --private-key-file PATH")
    })?;
    Ok(key)
}

/// What a file, or stdin, holds. A line end after it is not part of it.
async fn secret_in(path: PathBuf, name: &str) -> Result<Secret, Error> {
    let shown = path.display().to_string();
    // A pipe or a terminal may never say anything: on a thread of its own, so that Ctrl-C is heard.
    let text = tokio::task::spawn_blocking(move || read_secret(&path)).await.map_err(io::Error::other).flatten();
    let text = text.map_err(|error| {
        let kind = if error.kind() == io::ErrorKind::NotFound { ErrorKind::Usage } else { ErrorKind::Failure };
        Error::new(kind, error.to_string())
            .while_doing(format!("cannot read the {name} from {shown}"))
            .hint("give the path of a file that you may read, or - for stdin")
    })?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(Error::new(ErrorKind::Usage, format!("there is no {name} in {shown}"))
            .hint("it is empty: put the secret or the key into it, and nothing else")),
        secret => Ok(Secret::new(secret.to_owned())),
    }
}

fn read_secret(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    if path == Path::new(STDIN) {
        io::stdin().take(SECRET_LIMIT).read_to_string(&mut text)?;
    } else {
        fs::File::open(path)?.take(SECRET_LIMIT).read_to_string(&mut text)?;
    }
    Ok(text)
}

/// The most that is read as a client secret, in bytes.
const SECRET_LIMIT: u64 = 64 << 10;
