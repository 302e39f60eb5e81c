#!/bin/sh
# Packs a binary into FOLDER/finmcp-TARGET.mcpb, a bundle that AI clients install with a click: mcpb.sh TARGET BINARY FOLDER
#
# Needs `npm ci --prefix packaging`, or the folder node_modules that it makes in FINMCP_NODE_MODULES.

set -eu

if [ $# != 3 ]; then
    echo "usage: mcpb.sh TARGET BINARY FOLDER" >&2
    exit 2
fi
target=$1
binary=$2
mkdir -p "$3"
out=$(cd "$3" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
mcpb=${FINMCP_NODE_MODULES:-$here/node_modules}/.bin/mcpb

case $target in
    *-apple-*) platform=darwin name=finmcp ;;
    *-linux-*) platform=linux name=finmcp ;;
    *-windows-*) platform=win32 name=finmcp.exe ;;
    *)
        echo "mcpb.sh: bundles know no platform of $target" >&2
        exit 1
        ;;
esac

content=$(mktemp -d)
trap 'rm -rf "$content"' EXIT
mkdir "$content/server"
cp "$binary" "$content/server/$name"
chmod 755 "$content/server/$name"
cp "$here/../LICENSE" "$content/LICENSE"
"$here/fill.sh" PLATFORM="$platform" BINARY="$name" <"$here/mcpb/manifest.json" >"$content/manifest.json"

"$mcpb" validate "$content/manifest.json"
"$mcpb" pack "$content" "$out/finmcp-$target.mcpb"
