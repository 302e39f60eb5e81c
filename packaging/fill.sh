#!/bin/sh
# Copies a template from stdin to stdout with each @NAME@ filled in: fill.sh [NAME=VALUE]...
#
# What Cargo.toml says is known (@VERSION@, @REPOSITORY@, @DESCRIPTION@, @LICENSE@); whatever is left open is an error.

set -eu

here=$(cd "$(dirname "$0")" && pwd)

script=
add() {
    if [ -z "$2" ]; then
        echo "fill.sh: $1 is empty" >&2
        exit 1
    fi
    script="$script
s|@$1@|$(printf '%s' "$2" | sed 's/[\\&|]/\\&/g')|g"
}

for field in version repository description license; do
    value=$("$here/crate_field.sh" "$field")
    add "$(printf '%s' "$field" | tr '[:lower:]' '[:upper:]')" "$value"
done
for pair in "$@"; do
    add "${pair%%=*}" "${pair#*=}"
done

filled=$(sed "$script")
if printf '%s' "$filled" | grep '@[A-Z_]*@' >&2; then
    echo "fill.sh: the above is left open" >&2
    exit 1
fi
printf '%s\n' "$filled"
