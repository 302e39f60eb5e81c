#!/bin/sh
# Installs finmcp for the person who runs it: the binary and the completions of their shells.
# Nothing here runs before the last line has been read, so a cut download does nothing.

set -eu

usage() {
    cat <<'USAGE'
Usage: ./install.sh [--demo] [--uninstall] [--help]

Installs finmcp to $FINMCP_INSTALL_DIR, else $XDG_BIN_HOME, else ~/.local/bin, with completions for bash, zsh and fish.

  --demo        then run `finmcp demo`: a sign-in, a bridge and a report against stand-ins on this machine
  --uninstall   remove what was installed; settings and sign-ins stay
  --help        show this

The binary is built from this checkout (needs cargo and a C compiler). With FINMCP_RELEASE_URL set to the address of a
release's files (https://… or file://…), the archive for this platform is taken from there, if there is one and its
SHA-256 checksum is right.
USAGE
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

    [ -n "${HOME:-}" ] || fail "HOME is not set: where to install to is unknown"
    folder=${FINMCP_INSTALL_DIR:-${XDG_BIN_HOME:-$HOME/.local/bin}}
    case $folder in
        /*) ;;
        *) fail "the folder to install to must be an absolute path: $folder" ;;
    esac
    data=${XDG_DATA_HOME:-$HOME/.local/share}
    binary=$folder/finmcp
    bash_completion=$data/bash-completion/completions/finmcp
    zsh_completion=$data/zsh/site-functions/_finmcp
    fish_completion=${XDG_CONFIG_HOME:-$HOME/.config}/fish/completions/finmcp.fish

    if [ "$uninstall" = yes ]; then
        rm -f "$binary" "$bash_completion" "$zsh_completion" "$fish_completion"
        say "Removed finmcp from $folder. Settings and sign-ins are still there."
        return
    fi

    work=$(mktemp -d)
    staged=
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM

    built=
    if [ -n "${FINMCP_RELEASE_URL:-}" ]; then
        download "${FINMCP_RELEASE_URL%/}"
    fi
    if [ -z "$built" ]; then
        build
    fi

    mkdir -p "$folder"
    # Another name first, then one rename: a finmcp that runs keeps its file, and there is never half of one.
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

    case :${PATH:-}: in
        *":$folder:"*) ;;
        *) say "$folder is not on your PATH. Add this to your shell's start-up file:  export PATH=\"$folder:\$PATH\"" ;;
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

# Sets $built to the release's binary for this platform, or leaves it empty where the release has none.
download() {
    base=$1
    case $base in
        https://* | file:///*) ;;
        *) fail "FINMCP_RELEASE_URL must begin with https:// or file:///" ;;
    esac
    target=$(platform)
    if [ -z "$target" ]; then
        say "There is no release for $(uname -s) on $(uname -m): building instead."
        return
    fi
    archive=finmcp-$target.tar.gz
    say "Looking for $archive"
    if ! fetch "$base/$archive" "$work/$archive"; then
        say "The release has no $archive: building instead."
        return
    fi
    fetch "$base/$archive.sha256" "$work/$archive.sha256" || fail "$archive has no checksum: refused"
    expected=$(cut -d ' ' -f 1 <"$work/$archive.sha256")
    actual=$(sha256 "$work/$archive")
    if [ "${#actual}" != 64 ] || [ "$expected" != "$actual" ]; then
        fail "the checksum of $archive is wrong: refused"
    fi
    tar -xzf "$work/$archive" -C "$work" finmcp || fail "$archive does not hold finmcp"
    if [ ! -f "$work/finmcp" ] || [ -L "$work/finmcp" ]; then
        fail "$archive does not hold finmcp"
    fi
    built=$work/finmcp
}

platform() {
    case $(uname -s):$(uname -m) in
        Linux:x86_64) echo x86_64-unknown-linux-musl ;;
        Linux:aarch64 | Linux:arm64) echo aarch64-unknown-linux-musl ;;
        Darwin:x86_64) echo x86_64-apple-darwin ;;
        Darwin:arm64) echo aarch64-apple-darwin ;;
    esac
}

# Fetches $1 into $2. Fails where there is no such file; ends the script where nothing can be said about that.
fetch() {
    case $1 in
        file://*)
            [ -f "${1#file://}" ] || return 1
            cp "${1#file://}" "$2"
            ;;
        *)
            has curl || fail "curl is needed to download a release"
            status=$(curl --silent --show-error --location --proto '=https' --tlsv1.2 --output "$2" --write-out '%{http_code}' "$1") ||
                fail "could not download $1"
            case $status in
                200) ;;
                404) return 1 ;;
                *) fail "could not download $1: HTTP $status" ;;
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
        fail "sha256sum or shasum is needed to check a download"
    fi
}

# Sets $built to a binary built from the checkout that this script is part of.
build() {
    source=$(cd "$(dirname "$0")" && pwd)
    grep -q '^name = "finmcp"$' "$source/Cargo.toml" 2>/dev/null ||
        fail "there is no source here to build from: run this from a checkout, or set FINMCP_RELEASE_URL"
    # A toolchain that was installed a minute ago is not on this shell's PATH yet.
    has cargo || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    has cargo || fail "building needs Rust's cargo, which is not installed: see https://rustup.rs"
    if [ -z "${CC:-}" ]; then
        has cc || has gcc || has clang || fail "building needs a C compiler (for the crate ring): on Debian, apt-get install gcc libc6-dev"
    fi
    say "Building finmcp. This takes some minutes the first time."
    (
        unset CARGO_BUILD_TARGET
        cargo build --release --locked --manifest-path "$source/Cargo.toml" --target-dir "$source/target"
    ) || fail "the build failed"
    built=$source/target/release/finmcp
}

# Writes the completion for shell $1 to $2, where that shell is installed.
install_completion() {
    has "$1" || return 0
    mkdir -p "$(dirname "$2")"
    "$binary" completions "$1" >"$work/completion" || fail "finmcp completions $1 failed"
    cp "$work/completion" "$2"
    say "Installed the completion for $1 to $2"
    if [ "$1" = zsh ]; then
        case ${SHELL:-} in
            */zsh) say "If zsh does not find it, add to ~/.zshrc before compinit:  fpath=($(dirname "$2") \$fpath)" ;;
        esac
    fi
}

main "$@"
