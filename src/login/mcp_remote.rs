//! Imports a sign-in that mcp-remote left on this machine in plain text, so that the user need not sign in again.
//!
//! mcp-remote writes one file for the tokens and one for the client. Their names contain the MD5 of the server's URL
//! as the user typed it. Every version of the format has its own folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use md5::{Digest, Md5};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    credential::record::{Credential, Renewal},
    login::{
        context::Context,
        error::LoginError,
        request::{LoginRequest, with_tokens},
    },
    oauth::{client::Grant, error::Untrusted, registration_request::RegistrationRequest, scope::Scope},
    printable::quoted,
    secret::Secret,
    server_url::ServerUrl,
};

/// mcp-remote's sign-in to one server.
#[derive(Debug)]
pub struct Leftover {
    /// Its files, including those with tokens and secrets in plain text.
    pub files: Vec<PathBuf>,
    /// The authorization server's registration response (RFC 7591 section 3.2.1).
    registration: Zeroizing<Vec<u8>>,
    redirect_uri: String,
    /// The authorization server, if mcp-remote recorded it.
    issuer: Option<String>,
    refresh_token: Secret,
    scope: Option<Scope>,
}

/// Why there is nothing to import.
#[derive(Debug, thiserror::Error)]
pub enum LeftoverError {
    /// No files for this server.
    #[error("no sign-in of mcp-remote to {server} found in {}", .folder.display())]
    None {
        /// The MCP server.
        server: ServerUrl,
        /// mcp-remote's folder.
        folder: PathBuf,
    },
    /// The files contain no refresh token or no redirect URI.
    #[error("mcp-remote's file {} has no {missing}", .file.display())]
    Incomplete {
        /// The incomplete file.
        file: PathBuf,
        /// What it lacks.
        missing: &'static str,
    },
    /// A file cannot be read.
    #[error("cannot read {}", .file.display())]
    Unreadable {
        /// The unreadable file.
        file: PathBuf,
        /// The system's error, or the position of a syntax error.
        #[source]
        source: io::Error,
    },
}

#[derive(Deserialize)]
struct Tokens {
    refresh_token: Option<String>,
    scope: Option<String>,
    issuer: Option<String>,
}

#[derive(Deserialize)]
struct Client {
    #[serde(default)]
    redirect_uris: Vec<String>,
    issuer: Option<String>,
}

impl Leftover {
    /// The latest sign-in to `server` in mcp-remote's `folder`.
    ///
    /// # Errors
    /// [`LeftoverError`].
    pub fn find(folder: &Path, server: &ServerUrl) -> Result<Self, LeftoverError> {
        let none = || LeftoverError::None { server: server.clone(), folder: folder.to_owned() };
        let names = names(server);
        let tokens_file = newest(folder, &names).ok_or_else(none)?;
        let client_file = sibling(&tokens_file, "tokens.json", "client_info.json");
        let tokens: Tokens = parse(&tokens_file, &read(&tokens_file)?)?;
        let registration = read(&client_file)?;
        let client: Client = parse(&client_file, &registration)?;
        let incomplete = |file: &Path, missing| LeftoverError::Incomplete { file: file.to_owned(), missing };
        let refresh_token = tokens.refresh_token.filter(|token| !token.is_empty());
        let refresh_token = refresh_token.ok_or_else(|| incomplete(&tokens_file, "refresh token"))?;
        let redirect_uri = client.redirect_uris.into_iter().next();
        let redirect_uri = redirect_uri.ok_or_else(|| incomplete(&client_file, "redirect URI"))?;
        Ok(Self {
            files: belonging(&tokens_file),
            registration,
            redirect_uri,
            issuer: client.issuer.or(tokens.issuer),
            refresh_token: Secret::new(refresh_token),
            scope: tokens.scope.and_then(|scope| scope.parse().ok()),
        })
    }

    /// The credential with new tokens. This uses up the refresh token, which mcp-remote would otherwise use too.
    ///
    /// # Errors
    /// Any [`LoginError`].
    pub async fn adopt(&self, request: LoginRequest, context: &Context<'_>) -> Result<Credential, LoginError> {
        let discovery = request.discover(context).await?;
        let server = &discovery.authorization_server;
        if let Some(issuer) = self.issuer.as_ref().filter(|issuer| **issuer != server.issuer) {
            return Err(Untrusted::AnotherServer { expected: quoted(issuer), found: quoted(&server.issuer) }.into());
        }
        let scope = self.scope.clone().or_else(|| request.scope_for_person(&discovery));
        let registration = RegistrationRequest::new(server, &self.redirect_uri, None).registered(&self.registration)?;
        let credential = request.credential(&discovery, Renewal::RefreshToken, registration, scope)?;
        let mut credential = with_tokens(credential, Grant::RefreshToken(&self.refresh_token), context).await?;
        if let Some(tokens) = &mut credential.tokens {
            // Without a new refresh token, the old one stays valid (RFC 6749 section 6).
            tokens.refresh_token.get_or_insert_with(|| self.refresh_token.clone());
        }
        Ok(credential)
    }
}

/// The possible names of a server's token file: users type the URL with and without the final slash.
fn names(server: &ServerUrl) -> [String; 2] {
    let bare = server.as_str().trim_end_matches('/');
    [bare.to_owned(), format!("{bare}/")].map(|url| {
        let digest = Md5::digest(url.as_bytes());
        format!("{}_tokens.json", hex::encode(digest))
    })
}

fn newest(folder: &Path, names: &[String]) -> Option<PathBuf> {
    let generations = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let generations = generations.filter(|entry| entry.file_name().to_string_lossy().starts_with("mcp-remote-"));
    let files = generations.flat_map(|generation| names.iter().map(move |name| generation.path().join(name)));
    let modified = |file: &PathBuf| fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
    let dated: Vec<(SystemTime, PathBuf)> = files.filter_map(|file| Some((modified(&file)?, file))).collect();
    dated.into_iter().max().map(|(_, file)| file)
}

/// All files of the same server in the folder of `tokens_file`.
fn belonging(tokens_file: &Path) -> Vec<PathBuf> {
    let name = tokens_file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let prefix = name.trim_end_matches("tokens.json");
    let entries = tokens_file.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten();
    let entries =
        entries.filter_map(Result::ok).filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    entries.map(|entry| entry.path()).collect()
}

fn sibling(file: &Path, ending: &str, other: &str) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!("{}{other}", name.trim_end_matches(ending)))
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, LeftoverError> {
    let unreadable = |source| LeftoverError::Unreadable { file: file.to_owned(), source };
    fs::read(file).map(Zeroizing::new).map_err(unreadable)
}

fn parse<'a, T: Deserialize<'a>>(file: &Path, text: &'a [u8]) -> Result<T, LeftoverError> {
    // Names the position and not the contents, which are secret.
    let wrong = |error: serde_json::Error| {
        let text = format!("unexpected value at line {}, column {}", error.line(), error.column());
        LeftoverError::Unreadable { file: file.to_owned(), source: io::Error::other(text) }
    };
    serde_json::from_slice(text).map_err(wrong)
}
