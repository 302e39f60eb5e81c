#!/bin/sh
# Writes FOLDER/finmcp.rb, a Homebrew formula of the archives in FOLDER: formula.sh FOLDER

set -eu

if [ $# != 1 ]; then
    echo "usage: formula.sh FOLDER" >&2
    exit 2
fi
folder=$1
here=$(cd "$(dirname "$0")" && pwd)

sum() {
    openssl dgst -sha256 -r "$folder/finmcp-$1.tar.gz" | cut -d ' ' -f 1
}

universal=$(sum universal-apple-darwin)
intel=$(sum x86_64-unknown-linux-musl)
arm=$(sum aarch64-unknown-linux-musl)
formula=$("$here/fill.sh" UNIVERSAL_APPLE_DARWIN="$universal" X86_64_UNKNOWN_LINUX_MUSL="$intel" \
    AARCH64_UNKNOWN_LINUX_MUSL="$arm" <"$here/finmcp.rb.in")
printf '%s\n' "$formula" >"$folder/finmcp.rb"
