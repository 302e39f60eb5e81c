//! The sign-in options of the command line, with the contents of the files that they name.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;

use crate::{
    cli::registration::Registration,
    error::{Error, ErrorKind},
    http::client_certificate::{ClientCertificate, ClientCertificateError},
    login::options::Options,
    oauth::private_key::PrivateKey,
    secret::Secret,
    settings::Settings,
};

/// The sign-in options, with the secrets from the files that they name.
#[derive(Clone)]
pub struct Given {
    /// What to request, and as which client.
    pub options: Options,
    /// The client's secrets.
    pub secrets: Secrets,
}

/// The secrets that the user provides for a sign-in. Stored ones need not be provided again.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The client secret, or the client's private key.
    pub client: Option<Secret>,
    /// The client's certificate and its private key.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The API key.
    pub api_key: Option<Secret>,
    /// The client secret at the identity provider.
    pub identity_provider: Option<Secret>,
}

impl Given {
    /// Reads all files first, so that a missing one fails before the user is asked to sign in.
    ///
    /// # Errors
    /// Unreadable files, or options that exclude each other.
    pub async fn read(arguments: Registration, settings: &Settings) -> Result<Self, Error> {
        if arguments.client_secret.is_some() {
            return Err(Error::new(
                ErrorKind::Usage,
                "every user of this machine can see a secret in the command line",
            )
            .hint("use --client-secret-file PATH (- reads stdin), or set FINMCP_CLIENT_SECRET"));
        }
        arguments.check_parameters()?;
        let client = match arguments.private_key_file.clone() {
            Some(path) => Some(private_key(path).await?),
            None => client_secret(arguments.client_secret_file.clone(), settings).await?,
        };
        let certificate = match arguments.client_certificate_file.clone() {
            Some(path) => {
                let key = client.as_ref().filter(|_| arguments.private_key_file.is_some());
                Some(Arc::new(client_certificate(path, key).await?))
            }
            None => None,
        };
        let secrets = Secrets {
            client,
            certificate,
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

    /// Like [`read`](Self::read), if stdin belongs to an AI client.
    ///
    /// # Errors
    /// As for `read`; and an option that reads stdin.
    pub async fn read_without_stdin(arguments: Registration, settings: &Settings) -> Result<Self, Error> {
        let files = [
            &arguments.client_secret_file,
            &arguments.private_key_file,
            &arguments.client_certificate_file,
            &arguments.api_key_file,
            &arguments.identity_provider_client_secret_file,
        ];
        if files.into_iter().flatten().any(|path| path == Path::new(STDIN)) {
            let error =
                Error::new(ErrorKind::Usage, "`serve` cannot read a secret from stdin: the AI client writes there");
            return Err(error.hint("pass a file, or run `finmcp login` first, which stores the secret"));
        }
        Self::read(arguments, settings).await
    }
}

/// Stands for stdin in place of a path.
const STDIN: &str = "-";

/// The client secret: from the file, from stdin, or from the environment.
async fn client_secret(path: Option<PathBuf>, settings: &Settings) -> Result<Option<Secret>, Error> {
    match path {
        Some(path) => secret_in(path, "client secret").await.map(Some),
        None => Ok(settings.client_secret.clone()),
    }
}

/// The client's private key, from a file or stdin. Checks that it can sign.
async fn private_key(path: PathBuf) -> Result<Secret, Error> {
    let shown = path.display().to_string();
    let key = secret_in(path, "private key").await?;
    PrivateKey::from_pem(&key).map_err(|error| {
        Error::new(ErrorKind::Usage, format!("the private key in {shown} cannot be used: {error}"))
            .hint("pass a key that the vendor knows, in PEM without a passphrase, with --private-key-file PATH")
    })?;
    Ok(key)
}

/// The client's certificate, from a file or stdin, with the private key in the same file or else `key`.
async fn client_certificate(path: PathBuf, key: Option<&Secret>) -> Result<ClientCertificate, Error> {
    let shown = path.display().to_string();
    let text = secret_in(path, "client certificate").await?;
    let certificate = match (ClientCertificate::from_pem(text.clone()), key) {
        (Err(ClientCertificateError::NoKey), Some(key)) => ClientCertificate::with_key(&text, key),
        (certificate, _) => certificate,
    };
    certificate.map_err(|error| {
        Error::new(ErrorKind::Usage, format!("the client certificate in {shown} cannot be used: {error}")).hint(
            "pass a PEM file with the certificate chain, the client's own first, and its private key without a \
             passphrase (or pass the key with --private-key-file PATH)",
        )
    })
}

/// The contents of a file or of stdin, without the line break at the end.
async fn secret_in(path: PathBuf, name: &str) -> Result<Secret, Error> {
    let shown = path.display().to_string();
    // A pipe or a terminal may never end: another thread reads it, so that Ctrl-C still works.
    let text = tokio::task::spawn_blocking(move || read_secret(&path)).await.map_err(io::Error::other).flatten();
    let text = text.map_err(|error| {
        let kind = if error.kind() == io::ErrorKind::NotFound { ErrorKind::Usage } else { ErrorKind::Failure };
        Error::new(kind, error.to_string())
            .while_doing(format!("cannot read the {name} from {shown}"))
            .hint("pass the path of a file that you may read, or - for stdin")
    })?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(Error::new(ErrorKind::Usage, format!("{shown} is empty: expected the {name}"))
            .hint(format!("put only the {name} in it"))),
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

/// The longest secret or key, in bytes.
const SECRET_LIMIT: u64 = 64 << 10;
