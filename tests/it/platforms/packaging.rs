//! What makes a release, in `packaging/`: each script on small stand-ins, and what they make beside what reads it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::platforms::install::{packaging, run, write_program};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// What a release is made for.
const TARGETS: [&str; 4] =
    ["aarch64-unknown-linux-musl", "universal-apple-darwin", "x86_64-pc-windows-msvc", "x86_64-unknown-linux-musl"];

/// The suffix of a target's binary.
fn exe(target: &str) -> &'static str {
    if target.contains("windows") { ".exe" } else { "" }
}

/// What a target's archive is called.
fn archive_name(target: &str) -> String {
    format!("finmcp-{target}.{}", if target.contains("windows") { "zip" } else { "tar.gz" })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sha256(path: &Path) -> String {
    Sha256::digest(fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs a script that has to fail, and gives its stderr.
fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{command:?} succeeded");
    String::from_utf8(output.stderr).unwrap()
}

/// A folder with a stand-in for what build.sh makes for each target.
fn binaries() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for target in TARGETS {
        write_program(&folder.path().join(format!("finmcp-{target}{}", exe(target))), &format!("echo {target}"));
    }
    folder
}

/// The parts of this repository that a release is made of, to be changed.
fn checkout() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("packaging")).unwrap();
    for file in ["Cargo.toml", "CHANGELOG.md", "LICENSE", "install.sh", "client-metadata.json"] {
        fs::copy(root().join(file), folder.path().join(file)).unwrap();
    }
    for script in ["build.sh", "crate_field.sh", "ready.sh"] {
        fs::copy(packaging(script), folder.path().join("packaging").join(script)).unwrap();
    }
    folder
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from:?} is not in {}", path.display());
    fs::write(path, text.replace(from, to)).unwrap();
}

/// Each target is built alone, Apple's two are joined, and the binary knows its document once that has an address.
#[test]
fn every_target_is_built() {
    let checkout = checkout();
    let document = checkout.path().join("client-metadata.json");
    let client_id = serde_json::from_slice::<Value>(&fs::read(&document).unwrap()).unwrap()["client_id"].take();
    replace(&document, client_id.as_str().unwrap(), "https://finmcp.example/client-metadata.json");
    let programs = tempfile::tempdir().unwrap();
    write_program(
        &programs.path().join("cargo"),
        r#"[ "$*" = "build --release --locked --target $5" ] || exit 1
case $5 in *-windows-*) name=finmcp.exe ;; *) name=finmcp ;; esac
mkdir -p "target/$5/release"
echo "$5 ${CC:-} ${RUSTFLAGS:-} ${FINMCP_CLIENT_METADATA_URL:-}" >"target/$5/release/$name""#,
    );
    write_program(&programs.path().join("lipo"), r#"[ "$1 $2" = "-create -output" ] && cat "$4" "$5" >"$3""#);
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH").unwrap());
    let build = |target: &str| {
        let mut command = Command::new(checkout.path().join("packaging/build.sh"));
        command.arg(target).arg("out").current_dir(checkout.path()).env("PATH", &path);
        command.env_remove("CC").env_remove("RUSTFLAGS").env("FINMCP_CLIENT_METADATA_URL", "https://other.example/x");
        assert!(command.status().unwrap().success());
        let built = fs::read_to_string(checkout.path().join(format!("out/finmcp-{target}{}", exe(target)))).unwrap();
        built.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(build("x86_64-unknown-linux-musl"), "x86_64-unknown-linux-musl musl-gcc");
    assert_eq!(build("universal-apple-darwin"), "x86_64-apple-darwin aarch64-apple-darwin");
    assert_eq!(build("x86_64-pc-windows-msvc"), "x86_64-pc-windows-msvc -C target-feature=+crt-static");
    replace(&document, "https://finmcp.example/", "https://finmcp.test/");
    let known = "aarch64-apple-darwin https://finmcp.test/client-metadata.json";
    assert_eq!(build("aarch64-apple-darwin"), known);
}

/// One binary, one archive: a second build of the same can be compared. And it runs once it is unpacked.
#[test]
fn the_same_binary_makes_the_same_archive() {
    let binaries = binaries();
    let out = tempfile::tempdir().unwrap();
    for target in ["x86_64-unknown-linux-musl", "x86_64-pc-windows-msvc"] {
        let name = format!("finmcp{}", exe(target));
        let binary = binaries.path().join(format!("finmcp-{target}{}", exe(target)));
        let archive = out.path().join(archive_name(target));
        run(packaging("archive.sh"), &[&target, &binary, &out.path()]);
        let first = fs::read(&archive).unwrap();
        run(packaging("archive.sh"), &[&target, &binary, &out.path()]);
        assert!(first == fs::read(&archive).unwrap(), "{target}: another archive of the same binary");
        let list = if target.contains("windows") {
            run("unzip", &[&"-l", &archive])
        } else {
            run("tar", &[&"-tvzf", &archive])
        };
        let members = list.lines().filter(|line| line.ends_with("LICENSE") || line.ends_with(&name));
        // A time of day would make it another one a second later.
        assert_eq!(members.filter(|line| line.contains("2000")).count(), 2, "{list}");
        let unpacked = out.path().join(target);
        fs::create_dir(&unpacked).unwrap();
        match target.contains("windows") {
            true => run("unzip", &[&"-q", &archive, &"-d", &unpacked]),
            false => run("tar", &[&"-xzf", &archive, &"-C", &unpacked]),
        };
        assert_eq!(run(unpacked.join(&name), &[]).trim_end(), target);
        assert_eq!(fs::read(unpacked.join("LICENSE")).unwrap(), fs::read(root().join("LICENSE")).unwrap());
    }
}

/// `cargo binstall` finds what archive.sh makes, at the address that the formula and the registry have, too.
#[test]
fn binstall_looks_for_the_archives_that_there_are() {
    let manifest: toml_edit::DocumentMut = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let binstall = &manifest["package"]["metadata"]["binstall"];
    let binaries = binaries();
    let out = tempfile::tempdir().unwrap();
    for target in TARGETS {
        let binary = binaries.path().join(format!("finmcp-{target}{}", exe(target)));
        run(packaging("archive.sh"), &[&target, &binary, &out.path()]);
        let differs = binstall["overrides"].get(target).and_then(|it| it.get("pkg-url"));
        let url = differs.unwrap_or(&binstall["pkg-url"]).as_str().unwrap();
        let url = url.replace("{ repo }", REPOSITORY).replace("{ version }", VERSION).replace("{ target }", target);
        let name = url.strip_prefix(&format!("{REPOSITORY}/releases/download/v{VERSION}/")).unwrap();
        assert!(out.path().join(name).exists(), "there is no {name}");
        assert_eq!(binstall["bin-dir"].as_str(), Some("{ bin }{ binary-ext }"));
    }
}

/// What the MCP registry is told, against its schema of 2025-12-11 and its rules for bundles.
#[test]
fn the_registry_entry_lists_every_bundle() {
    let out = tempfile::tempdir().unwrap();
    let says = refused(Command::new(packaging("server_json.sh")).arg(out.path()));
    assert!(says.contains("no bundle"), "{says}");
    for target in TARGETS {
        fs::write(out.path().join(format!("finmcp-{target}.mcpb")), target).unwrap();
    }
    run(packaging("server_json.sh"), &[&out.path()]);
    let server: Value = serde_json::from_slice(&fs::read(out.path().join("server.json")).unwrap()).unwrap();
    let schema = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json";
    assert_eq!(server["$schema"], schema);
    // `^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$`, and the owner of the repository is who may publish under the name.
    let owner = REPOSITORY.strip_prefix("https://github.com/").and_then(|path| path.strip_suffix("/finmcp")).unwrap();
    assert_eq!(server["name"], format!("io.github.{owner}/finmcp"));
    let length = |field: &str| server[field].as_str().unwrap().len();
    assert!((1..=100).contains(&length("description")) && (1..=100).contains(&length("title")));
    assert_eq!(server["version"], VERSION);
    assert_eq!(server["repository"], json!({"url": REPOSITORY, "source": "github"}));
    let expected = TARGETS.map(|target| {
        let name = format!("finmcp-{target}.mcpb");
        json!({
            "registryType": "mcpb",
            "identifier": format!("{REPOSITORY}/releases/download/v{VERSION}/{name}"),
            "version": VERSION,
            "fileSha256": sha256(&out.path().join(name)),
            "transport": {"type": "stdio"},
        })
    });
    assert_eq!(server["packages"], json!(expected));
    let fields: BTreeSet<&str> = server.as_object().unwrap().keys().map(String::as_str).collect();
    let known = ["$schema", "description", "name", "packages", "repository", "title", "version"];
    assert_eq!(fields, BTreeSet::from(known));
}

/// The formula names each archive with its own checksum, and is not written without one of them.
#[test]
fn the_formula_has_the_checksum_of_each_archive() {
    let out = tempfile::tempdir().unwrap();
    let archive = |target: &str| out.path().join(format!("finmcp-{target}.tar.gz"));
    let unixes: Vec<&str> = TARGETS.into_iter().filter(|target| !target.contains("windows")).collect();
    for target in &unixes {
        fs::write(archive(target), target).unwrap();
    }
    run(packaging("formula.sh"), &[&out.path()]);
    let formula = fs::read_to_string(out.path().join("finmcp.rb")).unwrap();
    for target in &unixes {
        let url = format!("url \"{REPOSITORY}/releases/download/v{VERSION}/finmcp-{target}.tar.gz\"\n");
        let (_, rest) = formula.split_once(&url).unwrap_or_else(|| panic!("no {url} in {formula}"));
        assert_eq!(rest.lines().next().unwrap().trim(), format!("sha256 \"{}\"", sha256(&archive(target))));
    }
    fs::remove_file(archive(unixes[0])).unwrap();
    fs::remove_file(out.path().join("finmcp.rb")).unwrap();
    refused(Command::new(packaging("formula.sh")).arg(out.path()));
    assert!(!out.path().join("finmcp.rb").exists());
}

#[test]
fn an_incomplete_template_makes_no_file() {
    let fill = |template: &str, value: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), template).unwrap();
        let mut command = Command::new(packaging("fill.sh"));
        command.arg(format!("GIVEN={value}")).stdin(file.reopen().unwrap()).output().unwrap()
    };
    let filled = fill("@VERSION@ @GIVEN@", r"a|b&c\d");
    assert_eq!(String::from_utf8(filled.stdout).unwrap(), format!("{VERSION} a|b&c\\d\n"));
    for (template, value) in [("@VERSION@ @OTHER@", "x"), ("@GIVEN@", "")] {
        let failed = fill(template, value);
        assert!(!failed.status.success() && failed.stdout.is_empty(), "{template}");
    }
}

/// A release is not begun while any of what only its maintainer can give is missing.
#[test]
fn a_release_is_refused_until_every_prerequisite_is_there() {
    let ready = |folder: &Path, tag: &str| {
        let output = Command::new(folder.join("packaging/ready.sh")).arg(tag).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let tag = format!("v{VERSION}");
    let complete = || {
        let checkout = checkout();
        let path = |name| checkout.path().join(name);
        replace(&path("Cargo.toml"), REPOSITORY, "https://github.com/someone/finmcp");
        let changelog = format!("## [{VERSION}]\n");
        fs::write(path("CHANGELOG.md"), changelog).unwrap();
        let key = "<<'RELEASE_KEY'\n-----BEGIN PUBLIC KEY-----\n";
        replace(&path("install.sh"), "<<'RELEASE_KEY'\n", key);
        checkout
    };
    let checkout = complete();
    assert_eq!(ready(checkout.path(), &tag), (true, String::new()));
    assert!(ready(checkout.path(), "v99.0.0").1.contains("the tag is v99.0.0"));
    let spoilt: [(&str, &str, &str, &str); 3] = [
        ("Cargo.toml", "/someone/", "/OWNER/", "placeholder"),
        ("CHANGELOG.md", VERSION, "Unreleased", "CHANGELOG.md"),
        ("install.sh", "-----BEGIN PUBLIC KEY-----\n", "", "no release key"),
    ];
    for (file, from, to, says) in spoilt {
        let checkout = complete();
        replace(&checkout.path().join(file), from, to);
        let (is_ready, said) = ready(checkout.path(), &tag);
        assert!(!is_ready && said.contains(says) && said.lines().count() == 1, "{file}: {said}");
    }
}

/// The workflow calls only scripts that are there, and each script is called by the workflow or by another one.
#[test]
fn every_script_is_part_of_a_release() {
    let scripts: Vec<PathBuf> = fs::read_dir(root().join("packaging")).unwrap().map(|it| it.unwrap().path()).collect();
    let scripts = scripts.iter().filter(|path| path.extension().is_some_and(|extension| extension == "sh"));
    let names: BTreeSet<&str> = scripts.map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    let workflow = fs::read_to_string(root().join(".github/workflows/release.yml")).unwrap();
    let called: BTreeSet<&str> = workflow
        .split("packaging/")
        .skip(1)
        .filter_map(|rest| rest.split_whitespace().next())
        .filter(|word| word.ends_with(".sh"))
        .collect();
    assert!(!called.is_empty() && called.is_subset(&names), "{called:?}");
    for name in &names {
        let mut others = names.iter().filter(|other| *other != name);
        let is_used = others.any(|other| fs::read_to_string(packaging(other)).unwrap().contains(name));
        assert!(is_used || called.contains(name), "nothing calls {name}");
    }
}

/// A tag can be moved to other code, a commit cannot.
#[test]
fn actions_are_pinned_by_commit() {
    for workflow in fs::read_dir(root().join(".github/workflows")).unwrap() {
        let path = workflow.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let mut used =
            text.lines().filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix("uses: "));
        let is_pinned = |action: &str| {
            let (commit, tag) =
                action.split_once('@').and_then(|(_, rest)| rest.split_once(" # v")).unwrap_or_default();
            commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()) && !tag.is_empty()
        };
        assert!(text.matches("uses: ").count() > 1);
        assert_eq!(used.find(|action| !is_pinned(action)), None, "{}", path.display());
    }
}

/// With the tools that `tests/run.sh` installs with npm.
mod npm {
    use super::*;
    use crate::bridge::clients::installed;
    #[cfg(feature = "demo")]
    use crate::support::{sandbox::Sandbox, serve::Serve};

    fn modules() -> PathBuf {
        installed("FINMCP_TEST_PACKAGING")
    }

    /// The official tool packs the bundle, unpacks it and says what a client runs: a bridge that answers.
    #[cfg(feature = "demo")]
    #[test]
    fn a_bundle_runs_where_it_is_unpacked() {
        let mut sandbox = Sandbox::new();
        let out = sandbox.watched();
        let target = match std::env::consts::OS {
            "macos" => "universal-apple-darwin",
            _ => "x86_64-unknown-linux-musl",
        };
        // Of a program that runs the binary under test: a debug build would take many seconds to pack.
        let binary = out.join("binary");
        write_program(&binary, &format!("exec '{}' \"$@\"", env!("CARGO_BIN_EXE_finmcp")));
        let mut command = Command::new(packaging("mcpb.sh"));
        command.arg(target).arg(binary).arg(&out).env("FINMCP_NODE_MODULES", modules());
        assert!(command.output().unwrap().status.success());
        let bundle = out.join(format!("finmcp-{target}.mcpb"));
        let unpacked = out.join("unpacked");
        run(modules().join(".bin/mcpb"), &[&"unpack", &bundle, &unpacked]);
        assert_eq!(run(unpacked.join("server/finmcp"), &[&"--version"]).trim_end(), format!("finmcp {VERSION}"));

        // What a person enters in the client's form, and nothing where nothing has to be entered.
        let program = r#"
            import { readFileSync } from "node:fs";
            import { createRequire } from "node:module";
            const [, modules, extensionPath] = process.argv;
            const { getMcpConfigForManifest } = createRequire(modules + "/")("@anthropic-ai/mcpb");
            const manifest = JSON.parse(readFileSync(extensionPath + "/manifest.json", "utf8"));
            const options = { manifest, extensionPath, systemDirs: {}, pathSeparator: "/" };
            const nothing = await getMcpConfigForManifest({ ...options, userConfig: {} });
            if (nothing !== undefined) throw new Error("a server has to be named");
            const config = await getMcpConfigForManifest({ ...options, userConfig: { server: "demo" } });
            console.log(JSON.stringify(config));
        "#;
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 5] =
            [&"--input-type=module", &"--eval", &program, &modules(), &unpacked];
        let config: Value = serde_json::from_str(&run("node", &arguments)).unwrap();
        sandbox.unset("FINMCP_STORE");
        let mut command = sandbox.command(config["command"].as_str().unwrap());
        command.args(config["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap()));
        let mut serve = Serve::start(command, sandbox.transcript());
        serve.initialize().result();
        let tools = serve.request("tools/list", json!({})).result();
        assert!(tools["tools"].as_array().is_some_and(|tools| !tools.is_empty()));
    }

    /// All of a release out of four binaries: what is listed is what is there, and every bundle is for its own system.
    #[test]
    fn a_release_is_assembled_and_signed() {
        let binaries = binaries();
        let out = tempfile::tempdir().unwrap();
        let mut command = Command::new(packaging("assemble.sh"));
        command.arg(binaries.path()).arg(out.path()).env("FINMCP_NODE_MODULES", modules());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let key = tempfile::NamedTempFile::new().unwrap();
        run("openssl", &[&"ecparam", &"-name", &"prime256v1", &"-genkey", &"-noout", &"-out", &key.path()]);
        run(packaging("sign.sh"), &[&out.path(), &key.path()]);
        let mut expected: Vec<String> = TARGETS.iter().map(|target| format!("finmcp-{target}.mcpb")).collect();
        expected.extend(TARGETS.map(archive_name));
        expected.extend(["client-metadata.json", "finmcp.rb", "install.sh", "server.json"].map(str::to_owned));
        expected.sort();
        let list = fs::read_to_string(out.path().join("SHA256SUMS")).unwrap();
        let mut listed: Vec<String> = list
            .lines()
            .map(|line| {
                let (sum, name) = line.split_once("  ").unwrap();
                assert_eq!(sum, sha256(&out.path().join(name)));
                name.to_owned()
            })
            .collect();
        listed.sort();
        assert_eq!(listed, expected);
        for (target, platform, binary) in [
            ("aarch64-unknown-linux-musl", "linux", "server/finmcp"),
            ("universal-apple-darwin", "darwin", "server/finmcp"),
            ("x86_64-pc-windows-msvc", "win32", "server/finmcp.exe"),
        ] {
            let bundle = out.path().join(format!("finmcp-{target}.mcpb"));
            let manifest: Value = serde_json::from_str(&run("unzip", &[&"-p", &bundle, &"manifest.json"])).unwrap();
            assert_eq!(manifest["compatibility"]["platforms"], json!([platform]));
            assert_eq!(manifest["server"]["entry_point"], binary);
            assert_eq!(manifest["server"]["mcp_config"]["command"], format!("${{__dirname}}/{binary}"));
            assert!(run("unzip", &[&"-p", &bundle, &binary]).contains(target));
        }
    }

    /// actionlint finds nothing, but for what is newer than it: a kind of machine, and a permission.
    #[test]
    fn the_workflows_are_valid() {
        let program = r#"
            import { readFileSync, readdirSync } from "node:fs";
            import { createRequire } from "node:module";
            const [, modules, folder] = process.argv;
            const { createLinter } = createRequire(modules + "/")("actionlint");
            // One for each file: a linter that has read a long file breaks down at the next one.
            const lint = async (text, name) => (await createLinter())(text, name);
            const found = [];
            for (const name of readdirSync(folder)) found.push(...await lint(readFileSync(folder + "/" + name, "utf8"), name));
            found.push(...await lint("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: ${{ nothing.at.all }}\n", "wrong"));
            console.log(JSON.stringify(found.map((one) => one.file + ": " + one.message)));
            process.exit(0);
        "#;
        let folder = root().join(".github/workflows");
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 5] =
            [&"--input-type=module", &"--eval", &program, &modules(), &folder];
        let found: Vec<String> = serde_json::from_str(&run("node", &arguments)).unwrap();
        let is_newer = |message: &str| message.contains("ubuntu-24.04-arm") || message.contains("\"attestations\"");
        let (wrong, rest): (Vec<_>, Vec<_>) = found.iter().partition(|message| message.starts_with("wrong: "));
        assert!(!wrong.is_empty(), "it finds nothing at all");
        let rest: Vec<_> = rest.iter().filter(|message| !is_newer(message)).collect();
        assert!(rest.is_empty(), "{rest:#?}");
    }
}
