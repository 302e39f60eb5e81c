#!/bin/sh
# Prints what Cargo.toml says about the package: crate_field.sh version|repository|description|license

set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
value=$(sed -n "/^\[package\]/,/^\[features\]/s/^$1 = \"\([^\"]*\)\".*/\1/p" "$root/Cargo.toml")
if [ -z "$value" ]; then
    echo "crate_field.sh: Cargo.toml's [package] has no $1" >&2
    exit 1
fi
printf '%s\n' "$value"
