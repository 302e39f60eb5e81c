#!/bin/sh
# Writes FOLDER/SHA256SUMS, the checksums of all other files in FOLDER, and SHA256SUMS.sig, its signature by the private
# key in the PEM file KEY: sign.sh FOLDER KEY

set -eu

if [ $# != 2 ]; then
    echo "usage: sign.sh FOLDER KEY" >&2
    exit 2
fi
rm -f "$1/SHA256SUMS" "$1/SHA256SUMS.sig"
sums=$(cd "$1" && openssl dgst -sha256 -r ./*)
printf '%s\n' "$sums" | sed 's|\*\./| |' >"$1/SHA256SUMS"
openssl dgst -sha256 -sign "$2" -out "$1/SHA256SUMS.sig" "$1/SHA256SUMS"
