#!/bin/sh
# Packs a binary and the licence into FOLDER/finmcp-TARGET.tar.gz (for Windows .zip): archive.sh TARGET BINARY FOLDER
#
# The same binary makes the same archive wherever GNU tar is. install.sh refuses other members than these.

set -eu

if [ $# != 3 ]; then
    echo "usage: archive.sh TARGET BINARY FOLDER" >&2
    exit 2
fi
target=$1
binary=$2
mkdir -p "$3"
out=$(cd "$3" && pwd)
licence=$(cd "$(dirname "$0")/.." && pwd)/LICENSE

content=$(mktemp -d)
trap 'rm -rf "$content"' EXIT
case $target in
    *-windows-*) name=finmcp.exe ;;
    *) name=finmcp ;;
esac
cp "$licence" "$content/LICENSE"
cp "$binary" "$content/$name"
chmod 644 "$content/LICENSE"
chmod 755 "$content/$name"
TZ=UTC touch -t 200001021200 "$content/LICENSE" "$content/$name"

case $target in
    *-windows-*)
        rm -f "$out/finmcp-$target.zip"
        (cd "$content" && TZ=UTC zip -q -X "$out/finmcp-$target.zip" LICENSE "$name")
        ;;
    *)
        if tar --version | grep -q 'GNU tar'; then
            owner="--owner=0 --group=0 --numeric-owner"
        else
            owner="--uid 0 --gid 0 --numeric-owner"
        fi
        # shellcheck disable=SC2086 # Several words.
        COPYFILE_DISABLE=1 tar --format=ustar $owner -C "$content" -cf "$content/archive" LICENSE "$name"
        gzip -n <"$content/archive" >"$out/finmcp-$target.tar.gz"
        ;;
esac
