#!/bin/sh
# Makes everything of a release but its SBOM and its signature, in FOLDER, out of the binaries finmcp-TARGET that build.sh
# left in BINARIES: assemble.sh BINARIES FOLDER

set -eu

if [ $# != 2 ]; then
    echo "usage: assemble.sh BINARIES FOLDER" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$2"

for target in x86_64-unknown-linux-musl aarch64-unknown-linux-musl universal-apple-darwin x86_64-pc-windows-msvc; do
    case $target in
        *-windows-*) binary=$1/finmcp-$target.exe ;;
        *) binary=$1/finmcp-$target ;;
    esac
    "$here/archive.sh" "$target" "$binary" "$2"
    "$here/mcpb.sh" "$target" "$binary" "$2"
done
"$here/server_json.sh" "$2"
"$here/formula.sh" "$2"
cp "$here/../install.sh" "$here/../client-metadata.json" "$2"
