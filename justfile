# `just` lists these; CONTRIBUTING.md says how long each takes.

set positional-arguments

[private]
default:
    @just --list --unsorted

# Format, lints and documentation, with the demo and without it
check:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    cargo clippy --locked --all-targets --no-default-features -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

# The tests that need nothing but Rust; FILTER as in `just test -E 'test(redirect)'`
test *FILTER:
    cargo nextest run --locked "$@"

# Everything: installs real clients, servers, a keychain and a browser, then runs all checks and tests
test-all:
    tests/run.sh

# Many processes on one rotating token: SIZE is PROCESSESxROTATIONS
stress SIZE="16x50":
    FINMCP_STRESS={{SIZE}} cargo test --locked --test it security::stress:: -- --nocapture

# Takes mechanisms out of the source, one by one, and fails where no test notices
mutations *NAMES:
    tests/mutations.sh "$@"

# Speed beside a direct client, a bare relay and rivals; `just bench --quick` for a first impression
bench *OPTIONS:
    cargo bench --locked --bench bench -- "$@"

# Advisories, licences and sources of the dependencies (needs cargo-deny)
deny:
    cargo deny check

# Records docs/login.svg and docs/doctor.svg from real runs (needs the Python package rich)
pictures:
    cargo build --locked --release
    python3 docs/record.py target/release/finmcp

# Writes completions/ again, after a change of the command line
completions:
    cargo build --locked
    target/debug/finmcp completions bash > completions/finmcp.bash
    target/debug/finmcp completions zsh > completions/_finmcp
    target/debug/finmcp completions fish > completions/finmcp.fish

# What is missing for a release of the version in Cargo.toml
release-check:
    packaging/ready.sh "v$(packaging/crate_field.sh version)"
