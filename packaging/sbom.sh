#!/bin/sh
# Writes what finmcp is built from, as CycloneDX, to FOLDER/finmcp.cdx.json: sbom.sh FOLDER
#
# Needs: cargo install cargo-cyclonedx --locked --version 0.5.9

set -eu

if [ $# != 1 ]; then
    echo "usage: sbom.sh FOLDER" >&2
    exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
# It writes beside Cargo.toml. All targets: one list for the archives of all platforms.
trap 'rm -f finmcp.sbom.json' EXIT
cargo cyclonedx --format json --spec-version 1.5 --target all --override-filename finmcp.sbom
# Removes the build folder's path, which is private and differs between machines.
sed "s|path+file://$PWD|path+file:///finmcp|g" finmcp.sbom.json >"$out/finmcp.cdx.json"
