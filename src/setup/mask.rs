//! A client's file as finmcp shows it: without the secrets, and with everything else.
//!
//! A value is a secret if its name says so, or if nothing about it is plain: an id, an address, a path, a number or a
//! word is shown, and a text of unknown kind is not.

use std::{collections::BTreeMap, ops::Range};

use crate::{
    settings::machine::Machine,
    setup::{
        client::Format,
        document::Document,
        json,
        plaintext::{has_password, looks_secret, may_hold_password, says_bearer},
        tree::{Kind, Node},
    },
};

/// What is shown for a secret.
pub const MASK: &str = "•••";

/// The longest word that can be plain.
const LONGEST_WORD: usize = 24;

/// The most digits in a row in a word: a port, a year.
const MOST_DIGITS: usize = 5;

/// What replaces a part of the text.
type Masks = BTreeMap<(usize, usize), String>;

/// The text of `document` with [`MASK`] for each secret.
pub fn masked(document: &Document, format: Format) -> String {
    let quote = if format == Format::Yaml { "" } else { "\"" };
    let mut masks = Masks::new();
    mark("", Place::Setting, document.root(), quote, &mut masks);
    let mut text = document.text().to_owned();
    if format == Format::Json {
        let remarks = json::comments(&text).into_iter().filter(|span| gives_away(&text[span.clone()]));
        masks.extend(remarks.map(|span| ((span.start, span.end), format!("/* {MASK} */"))));
    }
    // From the end, so that earlier offsets stay valid.
    let mut edge = usize::MAX;
    for ((start, end), with) in masks.into_iter().rev() {
        if end <= edge {
            text.replace_range(start..end, &with);
            edge = start;
        }
    }
    match format {
        Format::Json => text,
        Format::Toml | Format::Yaml => text.split_inclusive('\n').map(without_remark).collect(),
    }
}

/// The line with a commented-out secret hidden.
fn without_remark(line: &str) -> String {
    let signs = line.match_indices('#').map(|(at, _)| at);
    let mut remarks = signs.filter(|at| line[..*at].trim_end().len() < *at || *at == 0);
    match remarks.find(|at| gives_away(&line[*at..])) {
        Some(at) => format!("{}# {MASK}{}", &line[..at], &line[line.trim_end().len()..]),
        None => line.to_owned(),
    }
}

fn gives_away(remark: &str) -> bool {
    looks_secret(remark) || says_bearer(remark) || remark.split_whitespace().any(looks_like_key)
}

/// Where a value is: some places hold secrets of any name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A member whose meaning its name tells.
    Setting,
    /// A variable or a header, which the server's vendor named.
    Vendor,
    /// A word of a command line.
    Word,
}

/// Collects the secrets in `node`, whose name is `key`.
fn mark(key: &str, place: Place, node: &Node, quote: &str, masks: &mut Masks) {
    let mut hide =
        |span: &Range<usize>, with: String| masks.insert((span.start, span.end), format!("{quote}{with}{quote}"));
    match &node.kind {
        Kind::Text(text) => {
            if let Some(with) = shown(key, place, text) {
                hide(&node.span, with);
            }
        }
        Kind::Plain(_) if is_named_secret(key, place) && !key.to_ascii_lowercase().contains("tokens") => {
            hide(&node.span, MASK.to_owned());
        }
        Kind::Opaque(text) if !text.split_whitespace().all(|word| is_plain(bare(word))) => {
            hide(&node.span, MASK.to_owned());
        }
        Kind::Table(members) => {
            const VENDORS: [&str; 5] = ["env", "environment", "envs", "headers", "http_headers"];
            let place = if VENDORS.contains(&key) { Place::Vendor } else { Place::Setting };
            for member in members {
                mark(&member.key, place, &member.value, quote, masks);
            }
        }
        Kind::List(elements) => {
            let place = if ["args", "command"].contains(&key) { Place::Word } else { Place::Setting };
            let mut option = "";
            for element in elements {
                mark(if option.is_empty() { key } else { option }, place, element, quote, masks);
                option = element.text().filter(|word| word.starts_with('-')).unwrap_or_default();
            }
        }
        Kind::Plain(_) | Kind::Null | Kind::Opaque(_) => {}
    }
}

/// What to show for `text`, the value of `key`; none if it is shown as it is.
fn shown(key: &str, place: Place, text: &str) -> Option<String> {
    let hidden = || Some(MASK.to_owned());
    let is_option = text.starts_with('-');
    if text.is_empty() {
        return None;
    }
    if Machine::NEEDED.contains(&key) {
        return if may_hold_password(key, text) { shown_url(text).or_else(hidden) } else { None };
    }
    if let Some((option, value)) = text.split_once('=').filter(|_| is_option) {
        return shown(option, Place::Word, value).map(|value| format!("{option}={value}"));
    }
    if is_option {
        return None;
    }
    // A reference to a value that is stored elsewhere.
    if is_reference(text) {
        return None;
    }
    let names_file = key.starts_with("--") && key.ends_with("-file");
    if is_named_secret(key, place) && !names_file {
        return hidden();
    }
    if ["--header", "-H"].contains(&key) {
        let (name, value) = text.split_once(':')?;
        return shown(name.trim(), Place::Vendor, value.trim()).map(|value| format!("{name}: {value}"));
    }
    if ["headersHelper", "http_headers_helper"].contains(&key) {
        return shown_line(text);
    }
    if text.contains("://") {
        return shown_url(text);
    }
    let is_secret = match place {
        Place::Setting => looks_like_key(text) || says_bearer(text) || has_password(text),
        Place::Word if key.starts_with('-') => !is_plain(text),
        Place::Word => looks_like_key(text) || says_bearer(text) || has_password(text) || gives_header(text),
        Place::Vendor => !(is_plain(text) || names_id(key) && !looks_like_key(text)),
    };
    is_secret.then(|| MASK.to_owned())
}

/// A command line without its secrets: the words of one cannot be told apart, so each is judged alone.
fn shown_line(line: &str) -> Option<String> {
    let mut option = "";
    let words = line.split(' ').map(|word| {
        let key = std::mem::replace(&mut option, if word.starts_with('-') { word } else { "" });
        let variable = word.split_once('=').filter(|(name, _)| !name.is_empty() && !name.starts_with('-'));
        match variable {
            Some((name, value)) => match shown(name, Place::Vendor, value) {
                Some(value) => format!("{name}={value}"),
                None => word.to_owned(),
            },
            // What stands alone in another program's command can be anything.
            None if key.is_empty() && !word.starts_with('-') && !word.contains("://") && !is_plain(word) => {
                MASK.to_owned()
            }
            None => shown(key, Place::Word, word).unwrap_or_else(|| word.to_owned()),
        }
    });
    let shown = words.collect::<Vec<_>>().join(" ");
    (shown != line).then_some(shown)
}

/// An address with the mask for a user, for a part of the path that is not plain, and for such a parameter's value.
fn shown_url(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok().filter(|_| text.contains("://"));
    let Some(url) = url.filter(url::Url::has_host) else { return Some(MASK.to_owned()) };
    let is_http = url.scheme().starts_with("http");
    let has_user = url.password().is_some() || (is_http && !url.username().is_empty());
    let (scheme, rest) = text.split_once("://")?;
    let (rest, fragment) = rest.split_once('#').map_or((rest, None), |(rest, fragment)| (rest, Some(fragment)));
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let host = match host.rsplit_once('@') {
        Some((_, host)) if has_user => format!("{MASK}@{host}"),
        _ => host.to_owned(),
    };
    let part = |part: &str| if is_plain(part) || is_reference(part) { part.to_owned() } else { MASK.to_owned() };
    let parameter = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if names_secret(name) || name == "key" => format!("{name}={MASK}"),
        Some((name, value)) => format!("{name}={}", part(value)),
        None => part(pair),
    };
    let mut shown = format!("{scheme}://{host}");
    if let Some(path) = path {
        shown += &format!("/{}", path.split('/').map(part).collect::<Vec<_>>().join("/"));
    }
    if let Some(query) = query {
        shown += &format!("?{}", query.split('&').map(parameter).collect::<Vec<_>>().join("&"));
    }
    if let Some(fragment) = fragment {
        shown += &format!("#{}", part(fragment));
    }
    (shown != text).then_some(shown)
}

/// Whether the client replaces a part of `text` with a value that it stores elsewhere.
fn is_reference(text: &str) -> bool {
    let text = text.strip_prefix("Bearer ").unwrap_or(text);
    let is_whole = |start: &str| text.starts_with(start) && text.ends_with('}') && text.matches('}').count() == 1;
    ["${", "{env:", "{file:"].into_iter().any(is_whole)
}

/// `X-Api-Key: …`
fn gives_header(text: &str) -> bool {
    text.split_once(": ").is_some_and(|(name, _)| names_secret(name))
}

/// Whether the name alone says that a value at `place` is a secret. A client's own settings have keys and sessions, too.
fn is_named_secret(key: &str, place: Place) -> bool {
    if place == Place::Setting { looks_secret(key) } else { names_secret(key) }
}

/// Whether a variable, a header or an option of this name holds a secret.
fn names_secret(name: &str) -> bool {
    const WORDS: [&str; 11] =
        ["auth", "key", "pass", "pwd", "pin", "jwt", "pat", "session", "signature", "sid", "cookies"];
    let is_one = |segment: String| WORDS.contains(&segment.as_str()) || segment.ends_with("pass");
    looks_secret(name) || segments(name).any(is_one)
}

/// Whether a value of this name says who or where: `ACCOUNT_ID`, `X-Tenant`.
fn names_id(name: &str) -> bool {
    const WORDS: [&str; 14] = [
        "id",
        "account",
        "tenant",
        "org",
        "organization",
        "project",
        "workspace",
        "user",
        "username",
        "email",
        "name",
        "host",
        "version",
        "region",
    ];
    segments(name).last().is_some_and(|segment| WORDS.contains(&segment.as_str()))
}

/// The words of a name such as `API_KEY`, `X-Api-Key` or `apiKey`, in lower case.
fn segments(name: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in name.chars() {
        let is_break = !letter.is_ascii_alphanumeric() || (letter.is_ascii_uppercase() && was_lower);
        if is_break {
            words.push(String::new());
        }
        if letter.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(letter.to_ascii_lowercase());
        }
        was_lower = letter.is_ascii_lowercase();
    }
    words.into_iter().filter(|word| !word.is_empty())
}

/// Whether `text` is a number, a word, a path or a list of these: nothing that was made to be secret.
fn is_plain(text: &str) -> bool {
    let text = text.trim();
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b".,-:%".contains(&byte));
    is_number || (!looks_like_key(text) && text.split(|letter| "/\\-_.,:@~+= ".contains(letter)).all(is_word))
}

/// Whether `text` is one word of a language, with a short number before or after it: `v2`, `Debug`, `eu`.
fn is_word(text: &str) -> bool {
    const LEVELS: [&str; 9] = ["DEBUG", "INFO", "WARN", "WARNING", "ERROR", "TRACE", "TRUE", "FALSE", "UTF"];
    let word = text.trim_matches(|letter: char| letter.is_ascii_digit());
    let digits = text.len() - word.len();
    let is_lower = word.chars().skip(1).all(|letter| letter.is_lowercase());
    let is_short_name = word.len() <= 2 && word.chars().all(char::is_alphabetic);
    let is_first = word.chars().next().is_none_or(char::is_alphabetic);
    text.chars().count() <= LONGEST_WORD
        && digits <= MOST_DIGITS
        && ((is_lower && is_first) || is_short_name || LEVELS.contains(&word))
}

/// Whether `text` looks like a generated key: it starts like one, or has a long run of mixed letters and digits.
fn looks_like_key(text: &str) -> bool {
    const STARTS: [&str; 10] = ["sk-", "sk_", "rk_", "pk_live", "ghp_", "github_pat_", "glpat-", "xox", "eyJ", "AKIA"];
    const SHORTEST: usize = 16;
    let of_key = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    let mut runs = text.split(|letter| !of_key(letter)).filter(|run| run.len() >= SHORTEST);
    STARTS.iter().any(|start| text.starts_with(start))
        || runs.any(|run| !run.split(['-', '_']).all(is_word) && !run.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A word of prose without the signs around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|letter: char| "\"'()[]{}<>|&*!?;,.:".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c9_what_is_plain_is_shown() {
        for (key, text) in [
            ("LOG_LEVEL", "debug"),
            ("LOG_LEVEL", "DEBUG"),
            ("REGION", "eu-west-1"),
            ("LANG", "en_US.UTF-8"),
            ("DB_PATH", "/home/me/books/2026.db"),
            ("DB_PATH", r"C:\Users\me\books.db"),
            ("PORT", "8080"),
            ("ACCOUNT_ID", "acct-42"),
            ("TENANT", "Q7"),
            ("ACCOUNT_NUMBER", "1234567890123"),
            ("BASE_URL", "https://api.example.com/v1/accounts/42?limit=10&sort=name#top"),
            ("ENABLED", "true"),
            ("X-Tenant", "acme-corp"),
            ("Accept", "application/json"),
            ("User-Agent", "finance-bot/1.2"),
            ("AUTHOR", "Ada Lovelace"),
            ("API_KEY", "${API_KEY}"),
            ("Authorization", "Bearer ${input:key}"),
        ] {
            assert_eq!(shown(key, Place::Vendor, text), None, "{key}={text}");
        }
        for word in
            ["-y", "mcp-remote@1.2.3", "@scope/server-sequential-thinking", "serve", "--read-only", "./server.js"]
        {
            assert_eq!(shown("args", Place::Word, word), None, "{word}");
        }
        assert_eq!(shown("--env", Place::Word, "sandbox"), None);
        assert_eq!(shown("--client-secret-file", Place::Word, "/run/secrets/asset"), None);
        assert_eq!(shown("url", Place::Setting, "https://mcp.tesorio.com/v1/mcp"), None);
        assert_eq!(shown("command", Place::Setting, "/usr/local/bin/finmcp"), None);
    }

    /// Only the secret part of an address or an option is hidden.
    #[test]
    fn c9_what_is_secret_is_hidden() {
        for (key, text, expected) in [
            ("API_KEY", "hunter", "•••"),
            ("apiKey", "hunter", "•••"),
            ("X-Api-Key", "k", "•••"),
            ("PGPASS", "hunter", "•••"),
            ("DB_PWD", "hunter", "•••"),
            ("Cookie", "a=b", "•••"),
            ("ANY", "q8Zk2Lw0", "•••"),
            ("ANY", "sk-live", "•••"),
            ("ANY", "0123456789abcdef0123456789abcdef", "•••"),
            ("ACCOUNT_ID", "7f3a9c1e5b2d8064aa17", "•••"),
            ("DATABASE_URL", "postgres://ada:hunter@db.example/books", "postgres://•••@db.example/books"),
            (
                "BASE_URL",
                "https://h.example/s/T0Xq9Zk2/mcp?token=x&page=2",
                "https://h.example/s/•••/mcp?token=•••&page=2",
            ),
            ("HTTPS_PROXY", "http://ada:hunter@proxy:8080", "http://•••@proxy:8080"),
            ("HTTPS_PROXY", "ada:hunter@proxy:8080", "•••"),
            ("--header", "X-Api-Key: k", "X-Api-Key: •••"),
            ("args", "--token=hunter", "--token=•••"),
        ] {
            assert_eq!(shown(key, Place::Vendor, text).as_deref(), Some(expected), "{key}={text}");
        }
        let helper = "env FINMCP_CONFIG_DIR=/books TOKEN=hunter /opt/finmcp token asset --headers";
        let expected = "env FINMCP_CONFIG_DIR=/books TOKEN=••• /opt/finmcp token asset --headers";
        assert_eq!(shown("headersHelper", Place::Setting, helper).as_deref(), Some(expected));
    }
}
