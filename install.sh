#!/bin/sh
# Installs finmcp for the person who runs it: the binary, the completions of their shells, and the manual.
# Nothing here runs before the last line has been read, so a cut download does nothing.

set -eu

usage() {
    cat <<'USAGE'
Usage: ./install.sh [--demo] [--uninstall] [--help]

Installs finmcp to $FINMCP_INSTALL_DIR, else $XDG_BIN_HOME, else ~/.local/bin, with completions for bash, zsh and fish
and manual pages.

  --demo        then run `finmcp demo`: a sign-in, a bridge and a report against stand-ins on this machine
  --uninstall   remove what was installed; settings and sign-ins stay
  --help        show this

The binary is built from this checkout (needs cargo and a C compiler). With FINMCP_RELEASE_URL set to the address of a
release's files (https://… or file:///…), it is taken from there in place of that: only if the release's list of checksums
is signed with the project's key, and the archive for this platform is the one that the list means (needs openssl). A
company that signs releases itself names its public key, a PEM file, with FINMCP_RELEASE_KEY.

To end sign-ins and forget them, run `finmcp logout --all` before --uninstall.
USAGE
}

# The public half of the key that signs releases, between the two markers. packaging/README.md says how it is made.
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
    "$binary" --quiet man --directory "$manual" || fail "the manual cannot be installed"

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

# Removes what was installed, and nothing else.
uninstall() {
    if [ -e "$binary" ] || [ -L "$binary" ]; then
        rm -f "$binary"
        say "Removed finmcp from $folder. Settings and sign-ins are still there (\`finmcp logout --all\` first would forget sign-ins)."
    else
        say "There is no finmcp in $folder."
    fi
    rm -f "$bash_completion" "$zsh_completion" "$fish_completion" "$manual/finmcp.1" "$manual"/finmcp-*.1
}

# Sets $built to the binary of the release at $1 for this platform. Whatever is not as it was signed is refused.
download() {
    case $1 in
        https://* | file:///*) ;;
        *) fail "FINMCP_RELEASE_URL must begin with https:// or file:///" ;;
    esac
    target=$(platform)
    [ -n "$target" ] ||
        fail "there is no release for $(uname -s) on $(uname -m): build from a checkout, without FINMCP_RELEASE_URL"
    archive=finmcp-$target.tar.gz
    fetch_sums "$1"
    expected=$(awk -v name="$archive" '$2 == name { print $1 }' <"$work/SHA256SUMS")
    [ -n "$expected" ] || fail "the release's checksums do not mention $archive: refused"
    say "Downloading $archive"
    fetch "$1/$archive" "$work/$archive" || fail "the release has no $archive"
    actual=$(sha256 "$work/$archive")
    if [ "${#actual}" != 64 ] || [ "$expected" != "$actual" ]; then
        fail "the checksum of $archive is wrong: refused"
    fi
    unpack "$work/$archive"
}

# Fetches the list of checksums of the release at $1, and checks who signed it.
fetch_sums() {
    has openssl || fail "openssl is needed to check who signed the release: install it, or build from a checkout"
    if [ -n "${FINMCP_RELEASE_KEY:-}" ]; then
        cp "$FINMCP_RELEASE_KEY" "$work/key" || fail "FINMCP_RELEASE_KEY names no file that can be read: $FINMCP_RELEASE_KEY"
    else
        release_key >"$work/key"
        [ -s "$work/key" ] ||
            fail "this script has no release key, so no release can be checked: build from a checkout, without FINMCP_RELEASE_URL"
    fi
    fetch "$1/SHA256SUMS" "$work/SHA256SUMS" || fail "there are no checksums at $1: refused"
    fetch "$1/SHA256SUMS.sig" "$work/SHA256SUMS.sig" || fail "the checksums at $1 are not signed: refused"
    openssl dgst -sha256 -verify "$work/key" -signature "$work/SHA256SUMS.sig" "$work/SHA256SUMS" >/dev/null 2>&1 ||
        fail "the signature of the checksums at $1 is wrong: refused"
}

# Sets $built to the binary in the archive $1, which holds that and the licence, as plain files, and nothing else.
unpack() {
    members=$(tar -tzf "$1" && tar -tvzf "$1" | cut -c 1) || fail "the archive cannot be read: refused"
    [ "$members" = "LICENSE
finmcp
-
-" ] || fail "the archive does not hold what a release does: refused"
    tar -xzf "$1" -C "$work" finmcp || fail "the archive could not be unpacked"
    built=$work/finmcp
}

platform() {
    case $(uname -s):$(uname -m) in
        Linux:x86_64) echo x86_64-unknown-linux-musl ;;
        Linux:aarch64 | Linux:arm64) echo aarch64-unknown-linux-musl ;;
        Darwin:x86_64 | Darwin:arm64) echo universal-apple-darwin ;;
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

# In braces, so that not even a part of this line is run.
{ main "$@"; }
