#!/usr/bin/env bash
# Runs all checks of finmcp on this machine, after installing what they need.
#
#   tests/run.sh              everything
#   tests/run.sh --packages   only install the system's packages (as root), for a later run by another user
#
# Skips nothing silently: if something cannot be installed, the run ends with an error. Needs Rust, Node 20 and Python
# 3.

set -euo pipefail
exec </dev/null
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly cache=${FINMCP_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/finmcp-tests}
readonly clients=$PWD/tests/fixtures/clients
readonly stacks=$PWD/tests/fixtures/stacks
readonly nextest_version=0.9.143

step() {
    printf '\n==> %s (%d s)\n' "$*" "$SECONDS"
}

fail() {
    printf 'tests/run.sh: %s\n' "$*" >&2
    exit 1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

main() {
    case ${1:-} in
        "") ;;
        --packages)
            install_packages
            return
            ;;
        *) fail "usage: tests/run.sh [--packages]" ;;
    esac

    step "Tools"
    install_packages
    install_rust_tools
    install_node_packages
    install_python_packages

    step "Format"
    cargo fmt --check

    step "Shell scripts"
    local scripts=()
    while IFS= read -r script; do scripts+=("$script"); done < <(find install.sh .ci packaging tests -type f \( -name '*.sh' -o -path '.ci/*' \) | sort)
    shellcheck "${scripts[@]}"

    step "Mutations still apply"
    tests/mutations.sh --check

    step "Lints"
    cargo clippy --locked --all-targets -- -D warnings

    step "Lints and build without the demo"
    cargo clippy --locked --all-targets --no-default-features -- -D warnings
    cargo build --locked --no-default-features

    step "Documentation and its examples"
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
    cargo test --locked --doc

    step "The official conformance suite"
    cargo build --locked
    node tests/conformance/run.mjs --sign-in auto
    node tests/conformance/run.mjs --sign-in command

    step "Tests"
    FINMCP_TEST_CHROMIUM=$(browser)
    export FINMCP_TEST_CHROMIUM
    cargo nextest run --locked --profile ci
}

# Installs packages with the system's package manager: a keychain, a browser, shellcheck, and shells.
install_packages() {
    local packages=()
    has shellcheck || packages+=(shellcheck)
    has zsh || packages+=(zsh)
    has fish || packages+=(fish)
    has cc || packages+=(gcc libc6-dev)
    has node || packages+=(nodejs)
    has npm || packages+=(npm)
    has python3 || packages+=(python3)
    has openssl || packages+=(openssl)
    has zip || packages+=(zip)
    has unzip || packages+=(unzip)
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
    if [ "$(uname -s)" = Linux ]; then
        has dbus-daemon || packages+=(dbus dbus-daemon)
        has gnome-keyring-daemon || packages+=(gnome-keyring)
        has secret-tool || packages+=(libsecret-tools)
        has faketime || packages+=(faketime)
        ls /usr/lib/*/libnss_wrapper.so >/dev/null 2>&1 || packages+=(libnss-wrapper)
        [ -n "$(browser)" ] || packages+=(chromium)
    fi
    if [ "${#packages[@]}" = 0 ]; then
        return
    fi
    has apt-get || fail "missing packages: ${packages[*]}"
    [ "$(id -u)" = 0 ] || fail "missing packages; run first: sudo tests/run.sh --packages   (${packages[*]})"
    echo "Installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || fail "apt-get update failed"
    apt-get install -y -qq --no-install-recommends "${packages[@]}" || fail "apt-get could not install ${packages[*]}"
}

# This machine's Chromium, if it has one.
browser() {
    command -v chromium || command -v chromium-browser || command -v google-chrome || true
}

install_rust_tools() {
    has cargo || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    has cargo || fail "Rust is needed: see https://rustup.rs"
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        has rustup || fail "cargo fmt and cargo clippy are needed"
        rustup component add rustfmt clippy || fail "rustup could not install rustfmt and clippy"
    fi
    if ! cargo nextest --version >/dev/null 2>&1; then
        echo "Installing cargo-nextest $nextest_version. This takes some minutes, once."
        cargo install cargo-nextest --locked --version "$nextest_version" || fail "cargo-nextest could not be installed"
        PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    fi
}

# The TypeScript SDKs, their servers, MCP Inspector, an OpenID provider, OAuth stacks, AI agents, and the official
# conformance suite.
install_node_packages() {
    local version
    version=$(node --version)
    version=${version#v}
    [ "${version%%.*}" -ge 20 ] || fail "Node 20 or newer is needed; this is $version"
    npm_folder "$clients" "the TypeScript SDKs and servers, MCP Inspector and an OpenID provider"
    export FINMCP_TEST_NODE_MODULES=$folder/node_modules
    # The OpenID provider needs a newer Node, which npm installs if there is one for this system.
    export FINMCP_TEST_NODE=$folder/node_modules/.bin/node
    if [ ! -x "$FINMCP_TEST_NODE" ]; then
        [ "${version%%.*}" -ge 22 ] || fail "Node 22 or newer is needed on this system; this is $version"
        FINMCP_TEST_NODE=$(command -v node)
    fi
    npm_folder "$PWD/tests/fixtures/agents" "Claude Code, Codex and Gemini CLI (900 MB)"
    export FINMCP_TEST_AGENTS=$folder/node_modules
    npm_folder "$PWD/tests/conformance" "the official conformance suite"
    export FINMCP_TEST_CONFORMANCE=$folder/node_modules
    npm_folder "$stacks" "better-auth, and workers-oauth-provider with workerd (200 MB)"
    export FINMCP_TEST_STACKS_NODE_MODULES=$folder/node_modules
    npm_folder "$PWD/packaging" "the bundle packer and a workflow linter"
    export FINMCP_TEST_PACKAGING=$folder/node_modules
}

# Installs the packages that $1 locks, called $2, into a folder named after the exact versions: $folder.
npm_folder() {
    folder=$cache/node-$(fingerprint "$1/package-lock.json")
    if [ ! -e "$folder/complete" ]; then
        echo "Installing $2"
        rm -rf "$folder"
        mkdir -p "$folder"
        cp "$1/package.json" "$1/package-lock.json" "$folder"
        (cd "$folder" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error) || fail "npm ci failed"
        touch "$folder/complete"
    fi
}

# The Python SDK and fastmcp, of both generations, and django-oauth-toolkit.
install_python_packages() {
    python_folder "$clients/requirements.txt" "the Python SDK and fastmcp"
    export FINMCP_TEST_PYTHON=$folder/bin/python
    python_folder "$clients/requirements-legacy.txt" "the previous generation of the Python SDK and fastmcp"
    export FINMCP_TEST_PYTHON_LEGACY=$folder/bin/python
    python_folder "$stacks/requirements.txt" "django-oauth-toolkit"
    export FINMCP_TEST_STACKS_DJANGO=$folder/bin/python
}

# Installs the packages that $1 lists, called $2, into an environment named after the exact versions: $folder.
python_folder() {
    folder=$cache/python-$(fingerprint "$1")
    if [ ! -e "$folder/complete" ]; then
        echo "Installing $2"
        rm -rf "$folder"
        python3 -m venv "$folder" || fail "python3 -m venv failed"
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r "$1" || fail "pip could not install $2"
        touch "$folder/complete"
    fi
}

# A short name for a file's contents.
fingerprint() {
    cksum <"$1" | tr ' ' -
}

main "$@"
