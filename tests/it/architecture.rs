//! The rules of src/lib.rs that a reader of text can check.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::support::files;

/// The Rust files in this folder, by their paths within it.
fn rust_files(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let within = |path: &Path| path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
    files(&root, &["rs"]).into_iter().map(|(path, text)| (within(&path), text)).collect()
}

/// The files of the product, without their tests.
fn sources() -> BTreeMap<String, String> {
    rust_files("src")
        .into_iter()
        .filter(|(name, _)| !name.ends_with("tests.rs") && !name.contains("tests/"))
        .map(|(name, text)| {
            let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            (name, product.to_owned())
        })
        .collect()
}

/// The files that make up a crate, by the paths of their modules: `bridge::upstream` is `bridge/upstream/mod.rs` or
/// `bridge/upstream.rs`.
fn modules(sources: &BTreeMap<String, String>) -> BTreeMap<String, &str> {
    sources
        .iter()
        .map(|(file, text)| {
            let path = file.trim_end_matches(".rs");
            let path = path.strip_suffix("/mod").unwrap_or(path);
            (path.replace('/', "::"), text.as_str())
        })
        .collect()
}

/// The paths within this crate that the module `of` names, in `use` lines and in code: whole, from `crate` on and without
/// it.
fn named_paths(of: &str, text: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let parent = of.rsplit_once("::").map_or("", |(parent, _)| parent);
    let mut named = BTreeSet::new();
    for (word, prefix) in [("crate", ""), ("super", parent), ("self", of)] {
        for (index, _) in code.match_indices(&format!("{word}::")) {
            let is_word = !code[..index].ends_with(|before: char| before.is_alphanumeric() || "_:$".contains(before));
            if is_word {
                let rest = &code[index + word.len() + 2..];
                collect(prefix, rest, &mut named);
            }
        }
    }
    named
}

/// Adds the paths of the tree at the beginning of `text`, each behind `prefix`.
fn collect(prefix: &str, text: &str, named: &mut BTreeSet<String>) {
    let name = leading_name(text);
    if name.is_empty() {
        let Some(group) = text.strip_prefix('{') else { return };
        let (mut depth, mut at_name) = (0, true);
        for (position, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => at_name = true,
                character if depth == 0 && at_name && !character.is_whitespace() => {
                    collect(prefix, &group[position..], named);
                    at_name = false;
                }
                _ => {}
            }
        }
        return;
    }
    let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}::{name}") };
    match text[name.len()..].strip_prefix("::") {
        Some(rest) => collect(&path, rest, named),
        None => drop(named.insert(path)),
    }
}

fn leading_name(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

/// Which module uses which others.
fn uses(modules: &BTreeMap<String, &str>) -> BTreeMap<String, BTreeSet<String>> {
    let home = |path: &str| {
        let mut path = path;
        loop {
            if modules.contains_key(path) {
                return Some(path.to_owned());
            }
            path = path.rsplit_once("::")?.0;
        }
    };
    modules
        .iter()
        .filter(|(module, _)| !matches!(module.as_str(), "lib" | "main"))
        .map(|(module, text)| {
            let used =
                named_paths(module, text).into_iter().filter_map(|path| home(&path)).filter(|used| used != module);
            (module.clone(), used.collect())
        })
        .collect()
}

/// The first cycle, as its path.
fn cycle(uses: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<&str>> {
    fn visit<'a>(
        module: &'a str,
        uses: &'a BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<&'a str>> {
        if let Some(start) = way.iter().position(|before| *before == module) {
            return Some(way[start..].to_vec());
        }
        if !done.insert(module) {
            return None;
        }
        way.push(module);
        let found = uses.get(module).into_iter().flatten().find_map(|used| visit(used, uses, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    uses.keys().find_map(|module| visit(module, uses, &mut Vec::new(), &mut done))
}

#[test]
fn paths_are_read_out_of_use_lines_and_code() {
    let text = "use crate::{\n    a::{b, c::{self, D}},\n    d,\n};\nuse super::e::F;\n// crate::not\nfn f() { crate::g::h(); self::i() }\n";
    let named: Vec<_> = named_paths("x::y", text).into_iter().collect();
    assert_eq!(named, ["a::b", "a::c::D", "a::c::self", "d", "g::h", "x::e::F", "x::y::i"]);
}

#[test]
fn a_cycle_is_found() {
    let graph = |edges: &[(&str, &str)]| {
        let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in edges {
            uses.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        uses
    };
    assert_eq!(cycle(&graph(&[("a", "b"), ("a", "c"), ("b", "c"), ("c", "d")])), None);
    let uses = graph(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")]);
    assert_eq!(cycle(&uses), Some(vec!["b", "c", "d"]));
}

/// The layers, from the top down: a module uses modules of its layer and of those below. Within a layer, [`NEIGHBOURS`]
/// lists the allowed uses.
const LAYERS: [&[&str]; 13] = [
    &["commands"],
    &["app", "cli"],
    &["doctor", "setup", "console"],
    &["error"],
    &["settings"],
    &["profile"],
    &["login", "client", "bridge", "tool", "demo"],
    &["conversation"],
    &["advice", "serve_log"],
    &["credential"],
    &["oauth"],
    &["mcp", "http", "disk"],
    &["server_url", "secret", "printable", "paragraph", "span", "terminal"],
];

/// Which module may use which other of its layer.
const NEIGHBOURS: [(&str, &str); 3] = [("app", "cli"), ("doctor", "setup"), ("client", "bridge")];

/// Invariant 1: never upwards, and only to the neighbours that are named.
#[test]
fn dependencies_point_downwards() {
    let sources = sources();
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let (mut checked, mut faults) = (0, Vec::new());
    for (module, used) in uses(&modules(&sources)) {
        let top = module.split("::").next().unwrap_or_default();
        let Some(from) = layer(top) else {
            faults.push(format!("{module} is in no layer"));
            continue;
        };
        checked += 1;
        for used in used {
            let other = used.split("::").next().unwrap_or_default();
            let is_allowed = other == top
                || layer(other).is_some_and(|to| to > from)
                || layer(other) == Some(from) && NEIGHBOURS.contains(&(top, other));
            if !is_allowed {
                faults.push(format!("{module} uses {used}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked > 150, "only {checked} files were found");
}

/// Invariant 1: no cycle, not even within a folder.
#[test]
fn no_module_depends_on_itself() {
    let sources = sources();
    assert_eq!(cycle(&uses(&modules(&sources))), None);
}

/// Invariant 3: the bridge sees tokens; the token source reads what a server says about them.
#[test]
fn the_bridge_knows_no_oauth() {
    for (file, text) in
        sources().into_iter().filter(|(file, _)| file.starts_with("bridge/") || file.starts_with("conversation/"))
    {
        for name in ["oauth", "Challenge", "WWW_AUTHENTICATE", "UNAUTHORIZED", "FORBIDDEN"] {
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            assert!(!code.into_iter().any(|line| line.contains(name)), "{file} knows {name}");
        }
    }
}

/// A file covers one noun and can be read in one sitting; so can a file of tests.
#[test]
fn files_are_short() {
    let long: Vec<_> = [rust_files("src"), rust_files("tests")]
        .concat()
        .into_iter()
        .map(|(file, text)| (text.lines().count(), file))
        .filter(|(lines, _)| *lines > 600)
        .collect();
    assert_eq!(long, []);
}

/// Invariant 8's other half: few files expose a secret, and each is listed.
#[test]
fn secrets_are_exposed_in_few_places() {
    let listed = [
        "commands/token.rs",             // what `finmcp token` prints
        "credential/access_token.rs",    // the Authorization header
        "credential/assertion.rs",       // when a JWT ended
        "credential/key_header.rs",      // the header that carries an API key
        "credential/file.rs",            // a passphrase becomes a key
        "credential/document.rs",        // the store's payload
        "http/client_certificate.rs",    // the key that a TLS handshake signs with
        "oauth/authorization.rs",        // the state and the verifier's challenge
        "oauth/client/form.rs",          // how a client proves itself
        "oauth/client/id_jag.rs",        // the ID token that is exchanged
        "oauth/client/mod.rs",           // the token request's form
        "oauth/client/revocation.rs",    // the token that is revoked
        "oauth/client/userinfo.rs",      // the token that names its holder
        "oauth/dpop.rs",                 // what a proof is of
        "oauth/id_jag.rs",               // whether a grant is one
        "oauth/id_token.rs",             // who issued an ID token, to whom, until when
        "oauth/private_key.rs",          // the key that signs
        "oauth/registration_request.rs", // whether there is a secret at all
        "oauth/token_set.rs",            // whether a token can be a header, and its `exp`
    ];
    for (file, text) in sources() {
        let exposes = text.contains(".expose()") && !file.starts_with("demo/");
        assert!(!exposes || listed.contains(&file.as_str()), "{file} exposes a secret");
    }
}

/// t009: one module creates HTTP clients, so that all have its limits: where they may connect and which redirects they
/// follow.
#[test]
fn t009_http_clients_are_created_in_one_module() {
    let made = |text: &str| {
        ["Client::builder(", "reqwest::Client::new", "ClientBuilder::new", "hyper_util::client::legacy"]
            .iter()
            .any(|name| text.contains(name))
    };
    let files: Vec<String> = sources().into_iter().filter(|(_, text)| made(text)).map(|(file, _)| file).collect();
    assert_eq!(files, ["http/mod.rs"]);
}

/// The map of src/lib.rs has every module, main.rs stays short, and there is no catch-all module.
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
    for name in ["utils", "util", "common", "helpers", "helper", "manager", "misc"] {
        let found = sources.keys().find(|file| file.split(['/', '.']).any(|part| part == name));
        assert_eq!(found, None, "a catch-all module");
    }
}

/// t148: no code is unsafe, and no attribute allows it.
#[test]
fn t148_no_code_is_unsafe() {
    let manifest = include_str!("../../Cargo.toml");
    assert!(manifest.contains("\nunsafe_code = \"forbid\"\n"));
    let mentions_it = |text: &str| text.contains("unsafe_code");
    assert!(sources().iter().all(|(_, text)| !mentions_it(text)));
}

/// The paths in backticks in the documents, relative to the repository: `src/…`, `tests/…` and other paths of Rust files.
fn documented_paths(text: &str) -> Vec<&str> {
    let code = text.split('`').skip(1).step_by(2);
    code.filter(|code| {
        let is_path = code.starts_with("src/") || code.starts_with("tests/") || code.ends_with(".rs");
        is_path && code.contains('/') && code.chars().all(|letter| letter.is_alphanumeric() || "/._-".contains(letter))
    })
    .collect()
}

/// The documents name no file that was moved or deleted.
#[test]
fn documented_paths_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "packaging/README.md"];
    let (mut checked, mut missing) = (0, Vec::new());
    for (file, text) in documents.iter().flat_map(|name| files(&root.join(name), &["md"])) {
        for path in documented_paths(&text) {
            checked += 1;
            if !root.join(path).exists() {
                missing.push(format!("{}: {path}", file.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(checked > 30, "only {checked} paths were found");
}

#[test]
fn paths_are_read_out_of_documents() {
    let text = "`src/a.rs`, `tests/run.sh NAME`, src/b, `bridge/c.rs`, `d.rs`, `docs/e.md`, `tests/it/f`";
    assert_eq!(documented_paths(text), ["src/a.rs", "bridge/c.rs", "tests/it/f"]);
}
