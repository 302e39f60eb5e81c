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

#[test]
fn modules_are_read_out_of_use_lines() {
    let text = "use crate::{\n    a::{b, c},\n    d,\n};\nuse crate::e::F;\n// crate::not\nfn f() { crate::g::h() }\n";
    assert_eq!(used_modules(text).into_iter().collect::<Vec<_>>(), ["a", "d", "e", "g"]);
}

/// The paths from the crate's root on that a file names, one for each leaf of a `use` tree.
fn used_paths(text: &str) -> Vec<Vec<String>> {
    /// Reads the tree that `text` begins with, below `path`, and says what is behind it.
    fn tree<'t>(text: &'t str, path: &[String], paths: &mut Vec<Vec<String>>) -> &'t str {
        let mut text = text.trim_start();
        if let Some(mut group) = text.strip_prefix('{') {
            while !group.starts_with('}') && !group.is_empty() {
                let behind = tree(group, path, paths).trim_start();
                // What is no path is passed over: `*`, `as name`.
                let end = behind.find([',', '}']).unwrap_or(behind.len());
                group = behind[end..].strip_prefix(',').unwrap_or(&behind[end..]).trim_start();
            }
            return group.strip_prefix('}').unwrap_or(group);
        }
        let name = leading_name(text);
        text = &text[name.len()..];
        let path = [path, &[name]].concat();
        match text.strip_prefix("::") {
            Some(deeper) => tree(deeper, &path, paths),
            None => {
                paths.push(path);
                text
            }
        }
    }
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut paths = Vec::new();
    for (index, start) in code.match_indices("crate::") {
        tree(&code[index + start.len()..], &[], &mut paths);
    }
    paths
}

#[test]
fn paths_are_read_out_of_use_trees() {
    let text = "use crate::{\n    a::{self, b::C, d as e},\n    f,\n};\nuse crate::g::*;\n// crate::not\nfn h() { crate::i::j() }\n";
    let paths: Vec<String> = used_paths(text).iter().map(|path| path.join("::")).collect();
    assert_eq!(paths, ["a::self", "a::b::C", "a::d", "f", "g::", "i::j"]);
}

/// The files that cannot be put in an order in which each names files before it only.
fn circles(sources: &BTreeMap<String, String>) -> BTreeSet<&str> {
    let module = |file: &str| -> Vec<String> {
        let name = file.trim_end_matches(".rs");
        name.strip_suffix("/mod").unwrap_or(name).split('/').map(str::to_owned).collect()
    };
    let files: BTreeMap<Vec<String>, &str> = sources.keys().map(|file| (module(file), file.as_str())).collect();
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (file, text) in sources {
        let mut paths = used_paths(text);
        // What a module names of its own children.
        for (child, _) in files.iter().filter(|(child, _)| child[..child.len() - 1] == module(file)) {
            let name = child.last().map(|name| format!("{name}::")).unwrap_or_default();
            let begins =
                |at: usize| !text[..at].ends_with(|before: char| before.is_alphanumeric() || "_:".contains(before));
            paths.extend(text.match_indices(&name).any(|(at, _)| begins(at)).then(|| child.clone()));
        }
        let found = |path: &Vec<String>| (1..=path.len()).rev().find_map(|length| files.get(&path[..length]).copied());
        let used = paths.iter().filter_map(found).filter(|used| used != file).collect();
        uses.insert(file, used);
    }
    loop {
        let left: BTreeSet<&str> = uses.keys().copied().collect();
        uses.retain(|_, used| used.iter().any(|used| left.contains(used)));
        if uses.len() == left.len() {
            return left;
        }
    }
}

#[test]
fn a_circle_is_found() {
    let files = |texts: &[(&str, &str)]| -> BTreeMap<String, String> {
        texts.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect()
    };
    let open = files(&[("a/mod.rs", "use crate::a::b::B;"), ("a/b.rs", "use crate::{c::{self, C}};"), ("c.rs", "")]);
    assert!(circles(&open).is_empty());
    let through_the_parent = files(&[("a/mod.rs", "pub fn f() { b::g() }"), ("a/b.rs", "use crate::a::F;")]);
    assert_eq!(circles(&through_the_parent).into_iter().collect::<Vec<_>>(), ["a/b.rs", "a/mod.rs"]);
    let in_threes = files(&[
        ("a/b.rs", "use crate::a::{c::C};"),
        ("a/c.rs", "fn f() { crate::a::d::g() }"),
        ("a/d.rs", "use crate::{a::{b::{B, E}}, e};"),
    ]);
    assert_eq!(circles(&in_threes).len(), 3);
}

/// Invariant 1, within a folder: its files stand upon each other, and not in a circle.
#[test]
fn no_circle_is_inside_a_room() {
    let rooms = ["cli", "credential", "demo", "disk", "doctor", "http", "mcp", "oauth", "server_url", "setup", "tool"];
    let sources = sources();
    for room in rooms {
        let is_of_room = |file: &str| file.split(['/', '.']).next() == Some(room);
        let files: BTreeMap<String, String> = sources
            .iter()
            .filter(|(file, _)| is_of_room(file))
            .map(|(file, text)| (file.clone(), text.clone()))
            .collect();
        assert!(!files.is_empty(), "there is no {room}");
        assert_eq!(circles(&files), BTreeSet::new(), "a circle in {room}");
    }
}

/// Invariants 1, 3 and 4: who may know whom.
#[test]
fn dependencies_point_downwards() {
    let base = ["disk", "http", "server_url", "secret", "printable", "paragraph", "span"];
    let allowed: BTreeMap<&str, Vec<&str>> = BTreeMap::from([
        ("mcp", vec!["mcp"]),
        ("oauth", vec!["mcp", "oauth"]),
        ("credential", vec!["credential", "mcp", "oauth"]),
        ("bridge", vec!["bridge", "credential", "mcp"]),
        ("login", vec!["login", "credential", "oauth"]),
        ("setup", vec!["setup"]),
        ("client", vec!["bridge", "mcp"]),
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
                "provider",
                "settings",
                "setup",
            ],
        ),
        // The ground floors: each knows what is named here, and no other.
        ("disk", vec!["disk", "printable", "secret"]),
        ("http", vec!["http", "server_url", "secret", "printable"]),
        ("server_url", vec!["server_url"]),
        ("secret", vec!["secret"]),
        ("printable", vec!["printable"]),
        ("paragraph", vec!["paragraph"]),
        ("span", vec!["span"]),
    ]);
    let mut checked = 0;
    for (file, text) in sources() {
        let room = file.split(['/', '.']).next().unwrap_or_default();
        let Some(allowed) = allowed.get(room) else { continue };
        checked += 1;
        for used in used_modules(&text) {
            let is_below = base.contains(&used.as_str()) && !base.contains(&room);
            assert!(is_below || allowed.contains(&used.as_str()), "{file} knows {used}");
        }
        if room == "bridge" {
            // What a token source judges: nothing here reads a challenge, or decides by the status of one.
            for name in ["oauth", "Challenge", "WWW_AUTHENTICATE", "UNAUTHORIZED", "FORBIDDEN"] {
                assert!(!text.contains(name), "{file} names {name}");
            }
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
        "credential/document.rs",         // the store's payload
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
