#!/bin/sh
# Writes FOLDER/server.json, for the MCP registry, about the bundles in FOLDER: server_json.sh FOLDER

set -eu

if [ $# != 1 ]; then
    echo "usage: server_json.sh FOLDER" >&2
    exit 2
fi
folder=$1
here=$(cd "$(dirname "$0")" && pwd)
repository=$("$here/crate_field.sh" repository)
version=$("$here/crate_field.sh" version)
# The registry accepts bundles only from the GitHub releases of the owner in the server's name.
owner=$(printf '%s' "$repository" | sed -n 's|^https://github\.com/\([^/]*\)/finmcp$|\1|p')
[ -n "$owner" ] || {
    echo "server_json.sh: the repository is not https://github.com/OWNER/finmcp: $repository" >&2
    exit 1
}

packages=
for bundle in "$folder"/finmcp-*.mcpb; do
    [ -f "$bundle" ] || {
        echo "server_json.sh: there is no bundle in $folder" >&2
        exit 1
    }
    sum=$(openssl dgst -sha256 -r "$bundle" | cut -d ' ' -f 1)
    packages="$packages${packages:+, }{ \"registryType\": \"mcpb\", \
\"identifier\": \"$repository/releases/download/v$version/$(basename "$bundle")\", \
\"version\": \"$version\", \"fileSha256\": \"$sum\", \"transport\": { \"type\": \"stdio\" } }"
done
server=$("$here/fill.sh" NAME="io.github.$owner/finmcp" PACKAGES="$packages" <"$here/server.json")
printf '%s\n' "$server" >"$folder/server.json"
