//! The rules of src/lib.rs that a reader of text can check.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The files of the product, without their tests.
fn sources() -> BTreeMap<String, String> {
    fn visit(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    visit(&root, &mut files);
    files
        .into_iter()
        .map(|path| (path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/"), path))
        .filter(|(name, _)| !name.ends_with("tests.rs") && !name.ends_with("rehearsal.rs"))
        .map(|(name, path)| {
            let text = fs::read_to_string(path).unwrap();
            let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            (name, product.to_owned())
        })
        .collect()
}

/// The crate's own modules that a file names: `crate::a::…`, and the first names within `use crate::{…}`.
fn used_modules(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut used = BTreeSet::new();
    for (index, _) in code.match_indices("crate::") {
        let behind = &code[index + "crate::".len()..];
        let Some(group) = behind.strip_prefix('{') else {
            used.insert(leading_name(behind));
            continue;
        };
        let mut depth = 0;
        let mut at_name = true;
        for (position, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => at_name = true,
                character if at_name && character.is_alphabetic() => {
                    used.insert(leading_name(&group[position..]));
                    at_name = false;
                }
                _ => {}
            }
        }
    }
    used
}

fn leading_name(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

/// Every path that a file names, whole: `crate::a::b` as `["a", "b"]`, out of `use` trees too.
fn used_paths(text: &str) -> BTreeSet<Vec<String>> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut paths = BTreeSet::new();
    for (index, _) in code.match_indices("crate::") {
        branches(&code[index + "crate::".len()..], &mut Vec::new(), &mut paths);
    }
    paths
}

/// Adds what a tree of names comes to below `stem`, and says where it ends.
fn branches(tree: &str, stem: &mut Vec<String>, paths: &mut BTreeSet<Vec<String>>) -> usize {
    let depth = stem.len();
    let mut at = 0;
    loop {
        let rest = &tree[at..];
        if rest.starts_with('{') {
            at += 1;
            loop {
                at += tree[at..].len() - tree[at..].trim_start_matches([' ', '\n', ',']).len();
                if tree[at..].is_empty() || tree[at..].starts_with('}') {
                    stem.truncate(depth);
                    return at + 1;
                }
                at += branches(&tree[at..], stem, paths).max(1);
            }
        }
        let name = leading_name(rest);
        at += name.len();
        stem.push(name);
        match tree[at..].strip_prefix("::") {
            Some(_) => at += 2,
            None => {
                paths.insert(stem.clone());
                let alias = tree[at..].strip_prefix(" as ").map_or(0, |alias| " as ".len() + leading_name(alias).len());
                stem.truncate(depth);
                return at + alias;
            }
        }
    }
}

/// The file that holds what is at `path`: the deepest one on the way there.
fn file_of(path: &[String], sources: &BTreeMap<String, String>) -> Option<String> {
    (1..=path.len()).rev().find_map(|length| {
        let module = path[..length].join("/");
        [format!("{module}.rs"), format!("{module}/mod.rs")].into_iter().find(|file| sources.contains_key(file))
    })
}

/// The files that a file can be reached from by its own names, if it can: a circle.
fn circle<'a>(start: &'a str, uses: &'a BTreeMap<String, BTreeSet<String>>) -> Option<Vec<&'a str>> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<Vec<&str>> = vec![vec![start]];
    while let Some(way) = open.pop() {
        for next in way.last().and_then(|last| uses.get(*last)).into_iter().flatten() {
            if next == start {
                return Some(way);
            }
            if seen.insert(next.as_str()) {
                open.push(way.iter().copied().chain([next.as_str()]).collect());
            }
        }
    }
    None
}

#[test]
fn modules_are_read_out_of_use_lines() {
    let text = "use crate::{\n    a::{b, c},\n    d,\n};\nuse crate::e::F;\n// crate::not\nfn f() { crate::g::h() }\n";
    assert_eq!(used_modules(text).into_iter().collect::<Vec<_>>(), ["a", "d", "e", "g"]);
}

#[test]
fn paths_are_read_out_of_use_lines() {
    let text = "use crate::{\n    a::{self, B, c::{D as E, f}},\n    g,\n};\nfn f() { crate::h::i() }\n";
    let paths: Vec<String> = used_paths(text).into_iter().map(|path| path.join("::")).collect();
    assert_eq!(paths, ["a::B", "a::c::D", "a::c::f", "a::self", "g", "h::i"]);
}

/// Invariant 1, file by file: nobody knows somebody who knows them, be it over others, or within one folder.
#[test]
fn no_file_is_in_a_circle() {
    // Rooms that are not rid of theirs yet.
    let unfinished = ["bridge", "credential", "oauth", "setup", "demo"];
    let sources = sources();
    let uses: BTreeMap<String, BTreeSet<String>> = sources
        .iter()
        .filter(|(file, _)| !unfinished.contains(&file.split('/').next().unwrap_or_default()))
        .map(|(file, text)| {
            let used = used_paths(text).iter().filter_map(|path| file_of(path, &sources)).collect::<BTreeSet<_>>();
            (file.clone(), used.into_iter().filter(|used| used != file).collect())
        })
        .collect();
    let circles: Vec<String> =
        uses.keys().filter_map(|file| circle(file, &uses)).map(|circle| circle.join(" -> ")).collect();
    assert!(circles.is_empty(), "{circles:#?}");
    assert!(uses.len() > 100, "only {} files were found", uses.len());
}

/// No file is so long that nobody reads it to its end.
#[test]
fn files_are_short() {
    let unfinished = ["bridge", "credential", "http", "oauth", "mcp", "demo"];
    for (file, text) in sources() {
        let is_unfinished = unfinished.contains(&file.split('/').next().unwrap_or_default());
        assert!(is_unfinished || text.lines().count() <= 600, "{file} has {} lines", text.lines().count());
    }
}

/// Invariants 1, 3 and 4: who may know whom.
#[test]
fn dependencies_point_downwards() {
    let base = ["http", "server_url", "secret", "printable", "paragraph", "span"];
    let allowed: BTreeMap<&str, Vec<&str>> = BTreeMap::from([
        ("mcp", vec!["mcp"]),
        ("oauth", vec!["mcp", "oauth"]),
        ("credential", vec!["credential", "oauth"]),
        ("bridge", vec!["bridge", "credential", "mcp", "oauth"]),
        ("login", vec!["login", "credential", "oauth"]),
        ("profile", vec!["profile", "credential", "login", "oauth"]),
        ("settings", vec!["settings", "credential", "login", "oauth", "profile"]),
        ("error", vec!["error", "bridge", "client", "credential", "login", "oauth", "profile", "settings", "tool"]),
        ("console", vec!["console", "error"]),
        ("setup", vec!["setup", "error", "profile", "settings"]),
        ("cli", vec!["cli", "error", "login", "oauth", "profile", "setup"]),
        ("client", vec!["bridge", "mcp"]),
        (
            "app",
            vec![
                "app",
                "bridge",
                "cli",
                "client",
                "credential",
                "demo",
                "error",
                "login",
                "oauth",
                "profile",
                "settings",
            ],
        ),
        ("tool", vec!["tool", "mcp"]),
        ("demo", vec!["demo", "mcp"]),
        (
            "doctor",
            vec![
                "doctor",
                "bridge",
                "client",
                "credential",
                "error",
                "login",
                "mcp",
                "oauth",
                "profile",
                "settings",
                "setup",
            ],
        ),
        ("http", vec![]),
        ("server_url", vec![]),
        ("secret", vec![]),
        ("printable", vec![]),
        ("paragraph", vec![]),
        ("span", vec![]),
    ]);
    let mut checked = 0;
    for (file, text) in sources() {
        let room = file.split(['/', '.']).next().unwrap_or_default();
        let Some(allowed) = allowed.get(room) else { continue };
        checked += 1;
        for used in used_modules(&text) {
            assert!(base.contains(&used.as_str()) || allowed.contains(&used.as_str()), "{file} knows {used}");
        }
        if room == "bridge" {
            let oauth = text.matches("oauth::").count();
            assert_eq!(
                oauth,
                text.matches("oauth::challenge::Challenge").count(),
                "{file} knows more of OAuth than a challenge"
            );
        }
    }
    assert!(checked > 40, "only {checked} files were found");
}

/// Invariant 8's other half: the places where a secret is laid open are few, and known.
#[test]
fn secrets_are_exposed_in_few_places() {
    let rooms = [
        "commands/token.rs",              // what `finmcp token` prints
        "credential/access_token.rs",     // the Authorization header
        "credential/assertion.rs",        // when a JWT ended
        "credential/file.rs",             // a passphrase becomes a key
        "credential/record.rs",           // the store's payload
        "oauth/authorization.rs",         // the state and the verifier's challenge
        "oauth/client/form.rs",           // how a client proves itself
        "oauth/client/mod.rs",            // the token request's form
        "oauth/client/revocation.rs",     // the token that is revoked
        "oauth/client/token_exchange.rs", // the ID token that is exchanged
        "oauth/dpop.rs",                  // what a proof is of
        "oauth/private_key.rs",           // the key that signs
        "oauth/registration.rs",          // whether there is a secret at all
        "oauth/token_exchange.rs",        // whether a grant is one
        "oauth/token_set.rs",             // whether a token can be a header, and its `exp`
    ];
    for (file, text) in sources() {
        let exposes = text.contains(".expose()") && !file.starts_with("demo/");
        assert!(!exposes || rooms.contains(&file.as_str()), "{file} exposes a secret");
    }
}

/// t009: one room makes HTTP clients, so that none is without its limits: where it may connect to, and where redirects
/// lead.
#[test]
fn t009_clients_are_made_in_one_room() {
    let made = |text: &str| {
        ["Client::builder(", "reqwest::Client::new", "ClientBuilder::new", "hyper_util::client::legacy"]
            .iter()
            .any(|name| text.contains(name))
    };
    let rooms: Vec<String> = sources().into_iter().filter(|(_, text)| made(text)).map(|(file, _)| file).collect();
    assert_eq!(rooms, ["http/mod.rs"]);
}

/// The map of src/lib.rs has every module, and main.rs stays what it is.
#[test]
fn the_map_is_current() {
    let sources = sources();
    let map: Vec<&str> = sources["lib.rs"].lines().filter(|line| line.starts_with("//!")).collect();
    let map = map.join("\n");
    for line in sources["lib.rs"].lines() {
        if let Some(module) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) {
            assert!(map.contains(&format!("`{module}`")), "{module} is not on the map");
        }
    }
    assert!(sources["main.rs"].lines().count() <= 40);
    for drawer in ["utils", "util", "common", "helpers", "helper", "manager", "misc"] {
        let found = sources.keys().find(|file| file.split(['/', '.']).any(|part| part == drawer));
        assert_eq!(found, None, "a drawer");
    }
}

/// t148: no code of ours is unsafe, and no attribute lets it be.
#[test]
fn t148_no_code_is_unsafe() {
    let manifest = include_str!("../../Cargo.toml");
    assert!(manifest.contains("\nunsafe_code = \"forbid\"\n"));
    let speaks_of_it = |text: &str| text.contains("unsafe_code");
    assert!(sources().iter().all(|(_, text)| !speaks_of_it(text)));
}
