#!/bin/sh
# Installs finmcp for the current user: the binary, shell completions and manual pages.
# Nothing runs before the last line has been read, so a truncated download does nothing.

set -eu

usage() {
    cat <<'USAGE'
Usage: ./install.sh [--demo] [--uninstall] [--help]

Installs finmcp to $FINMCP_INSTALL_DIR, else $XDG_BIN_HOME, else ~/.local/bin, with shell completions (bash, zsh and
fish) and manual pages.

  --demo        after the installation, run `finmcp demo`: simulated vendors on this machine, no account needed
  --uninstall   remove finmcp, but keep settings and sign-ins
  --help        show this help

By default the script builds finmcp from this checkout, which needs cargo and a C compiler. To download a release
instead, set FINMCP_RELEASE_URL to the URL of its files (https://… or file:///…). The script checks the signature of the
release's checksums with the project's key (needs openssl), and the checksum of the archive. If your company signs its
own releases, set FINMCP_RELEASE_KEY to the PEM file of its public key.

To sign out of all servers, run `finmcp logout --all` before --uninstall.
USAGE
}

# The public key that releases are signed with, between the two markers. packaging/README.md explains how to create it.
release_key() {
    cat <<'RELEASE_KEY'
RELEASE_KEY
}

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "install.sh: $*"
    exit 1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

main() {
    demo=no
    uninstall=no
    for argument in "$@"; do
        case $argument in
            --demo) demo=yes ;;
            --uninstall) uninstall=yes ;;
            -h | --help)
                usage
                return
                ;;
            *)
                usage >&2
                exit 2
                ;;
        esac
    done

    [ -n "${HOME:-}" ] || fail "HOME is not set, so there is no folder to install to"
    folder=${FINMCP_INSTALL_DIR:-${XDG_BIN_HOME:-$HOME/.local/bin}}
    case $folder in
        /*) ;;
        *) fail "the installation folder must be an absolute path: $folder" ;;
    esac
    data=${XDG_DATA_HOME:-$HOME/.local/share}
    binary=$folder/finmcp
    bash_completion=$data/bash-completion/completions/finmcp
    zsh_completion=$data/zsh/site-functions/_finmcp
    fish_completion=${XDG_CONFIG_HOME:-$HOME/.config}/fish/completions/finmcp.fish
    manual=$data/man/man1

    if [ "$uninstall" = yes ]; then
        uninstall
        return
    fi

    work=$(mktemp -d)
    staged=
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM

    if [ -n "${FINMCP_RELEASE_URL:-}" ]; then
        download "${FINMCP_RELEASE_URL%/}"
    else
        build
    fi

    mkdir -p "$folder"
    # Copies to a temporary name, then renames: a running finmcp keeps its file, and the new one is never incomplete.
    staged=$(mktemp "$folder/.finmcp.XXXXXX")
    cp "$built" "$staged"
    chmod 755 "$staged"
    version=$("$staged" --version) || fail "the new binary does not run on this machine; nothing was changed"
    mv -f "$staged" "$binary"
    staged=
    say "Installed $version to $binary"

    install_completion bash "$bash_completion"
    install_completion zsh "$zsh_completion"
    install_completion fish "$fish_completion"
    "$binary" --quiet man --directory "$manual" || fail "cannot install the manual pages"

    case :${PATH:-}: in
        *":$folder:"*) ;;
        *) say "$folder is not on your PATH. Add this line to your shell's startup file:  export PATH=\"$folder:\$PATH\"" ;;
    esac

    if [ "$demo" = yes ]; then
        "$binary" demo
    fi
}

clean_up() {
    rm -rf "$work"
    if [ -n "$staged" ]; then
        rm -f "$staged"
    fi
}

# What follows the installation, for people who wait.
next() {
    if [ "$demo" = yes ]; then
        printf ' and the demo runs'
    fi
}

# Removes the installed files and nothing else.
uninstall() {
    if [ -e "$binary" ] || [ -L "$binary" ]; then
        rm -f "$binary"
        say "Removed finmcp from $folder. Your settings and sign-ins remain; to remove sign-ins, run \`finmcp logout --all\` before uninstalling."
    else
        say "finmcp is not installed in $folder"
    fi
    rm -f "$bash_completion" "$zsh_completion" "$fish_completion" "$manual/finmcp.1" "$manual"/finmcp-*.1
}

# Sets $built to this platform's binary from the release at $1. Refuses every file that does not match the signature.
download() {
    case $1 in
        https://* | file:///*) ;;
        *) fail "FINMCP_RELEASE_URL must begin with https:// or file:///" ;;
    esac
    target=$(platform)
    [ -n "$target" ] ||
        fail "no release for $(uname -s) on $(uname -m): unset FINMCP_RELEASE_URL and build from a checkout"
    archive=finmcp-$target.tar.gz
    fetch_sums "$1"
    expected=$(awk -v name="$archive" '$2 == name { print $1 }' <"$work/SHA256SUMS")
    [ -n "$expected" ] || fail "refused: the release has no checksum for $archive"
    say "Downloading $archive"
    fetch "$1/$archive" "$work/$archive" || fail "the release has no file $archive"
    actual=$(sha256 "$work/$archive")
    if [ "${#actual}" != 64 ] || [ "$expected" != "$actual" ]; then
        fail "refused: wrong checksum for $archive"
    fi
    unpack "$work/$archive"
}

# Downloads the checksums of the release at $1 and verifies their signature.
fetch_sums() {
    has openssl || fail "openssl is needed to verify the release's signature: install it, or build from a checkout"
    if [ -n "${FINMCP_RELEASE_KEY:-}" ]; then
        cp "$FINMCP_RELEASE_KEY" "$work/key" || fail "cannot read the file in FINMCP_RELEASE_KEY: $FINMCP_RELEASE_KEY"
    else
        release_key >"$work/key"
        [ -s "$work/key" ] ||
            fail "this script has no release key to verify a release with: unset FINMCP_RELEASE_URL and build from a checkout"
    fi
    fetch "$1/SHA256SUMS" "$work/SHA256SUMS" || fail "refused: no checksums at $1"
    fetch "$1/SHA256SUMS.sig" "$work/SHA256SUMS.sig" || fail "refused: the checksums at $1 are not signed"
    openssl dgst -sha256 -verify "$work/key" -signature "$work/SHA256SUMS.sig" "$work/SHA256SUMS" >/dev/null 2>&1 ||
        fail "refused: wrong signature for the checksums at $1"
}

# Sets $built to the binary in the archive $1, which must contain exactly the binary and the licence as plain files.
unpack() {
    members=$(tar -tzf "$1" && tar -tvzf "$1" | cut -c 1) || fail "refused: cannot read the archive"
    [ "$members" = "LICENSE
finmcp
-
-" ] || fail "refused: unexpected files in the archive"
    tar -xzf "$1" -C "$work" finmcp || fail "cannot unpack the archive"
    built=$work/finmcp
}

platform() {
    case $(uname -s):$(uname -m) in
        Linux:x86_64) echo x86_64-unknown-linux-musl ;;
        Linux:aarch64 | Linux:arm64) echo aarch64-unknown-linux-musl ;;
        Darwin:x86_64 | Darwin:arm64) echo universal-apple-darwin ;;
    esac
}

# Downloads $1 to $2. Returns 1 if there is no file; ends the script on every other error.
fetch() {
    case $1 in
        file://*)
            [ -f "${1#file://}" ] || return 1
            cp "${1#file://}" "$2"
            ;;
        *)
            has curl || fail "curl is needed to download a release"
            status=$(curl --silent --show-error --location --proto '=https' --tlsv1.2 --output "$2" --write-out '%{http_code}' "$1") ||
                fail "cannot download $1"
            case $status in
                200) ;;
                404) return 1 ;;
                *) fail "cannot download $1: HTTP $status" ;;
            esac
            ;;
    esac
}

sha256() {
    if has sha256sum; then
        sha256sum "$1" | cut -d ' ' -f 1
    elif has shasum; then
        shasum -a 256 "$1" | cut -d ' ' -f 1
    else
        fail "sha256sum or shasum is needed to verify the download"
    fi
}

# Builds the checkout that contains this script, and sets $built to the binary.
build() {
    source=$(cd "$(dirname "$0")" && pwd)
    grep -q '^name = "finmcp"$' "$source/Cargo.toml" 2>/dev/null ||
        fail "no source code to build: run this script in a checkout, or set FINMCP_RELEASE_URL"
    # A freshly installed toolchain may not be on this shell's PATH yet.
    has cargo || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    has cargo || fail "cargo is needed to build: install Rust from https://rustup.rs"
    if [ -z "${CC:-}" ]; then
        has cc || has gcc || has clang || fail "a C compiler is needed to build (for the crate ring): on Debian, run apt-get install gcc libc6-dev"
    fi
    say "Building finmcp from $source, optimized as in a release. The first build takes 3 to 6 minutes on two cores, and"
    say "most of that is the last crate. Cargo shows the progress; then finmcp is installed$(next)."
    (
        unset CARGO_BUILD_TARGET
        cargo build --release --locked --manifest-path "$source/Cargo.toml" --target-dir "$source/target"
    ) || fail "the build failed"
    built=$source/target/release/finmcp
}

# Writes the completion script for shell $1 to $2 if that shell is installed.
install_completion() {
    has "$1" || return 0
    mkdir -p "$(dirname "$2")"
    "$binary" completions "$1" >"$work/completion" || fail "finmcp completions $1 failed"
    cp "$work/completion" "$2"
    say "Installed $1 completions to $2"
    if [ "$1" = zsh ]; then
        case ${SHELL:-} in
            */zsh) say "If zsh does not find them, add this to ~/.zshrc before compinit:  fpath=($(dirname "$2") \$fpath)" ;;
        esac
    fi
}

# In braces, so that the shell does not run a truncated line.
{ main "$@"; }
