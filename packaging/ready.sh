#!/bin/sh
# Says what is still missing for a release called TAG, and fails if anything is: ready.sh TAG

set -eu

if [ $# != 1 ]; then
    echo "usage: ready.sh TAG" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
missing=0

miss() {
    echo "ready.sh: $*" >&2
    missing=1
}

version=$("$here/crate_field.sh" version)
repository=$("$here/crate_field.sh" repository)
[ "$1" = "v$version" ] || miss "the tag is $1, and Cargo.toml's version is $version"
grep -q "^## \[*$version" CHANGELOG.md || miss "CHANGELOG.md has no section $version"
case $repository in
    */OWNER/*) miss "Cargo.toml's repository is still a placeholder: $repository" ;;
esac
grep -q '^-----BEGIN PUBLIC KEY-----$' install.sh || miss "install.sh has no release key: see packaging/README.md"
exit "$missing"
