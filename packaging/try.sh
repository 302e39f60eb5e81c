#!/bin/sh
# Installs the release in FOLDER as a user does, into a temporary home folder, and checks its version: try.sh FOLDER

set -eu

if [ $# != 1 ]; then
    echo "usage: try.sh FOLDER" >&2
    exit 2
fi
folder=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT

HOME=$home XDG_DATA_HOME=$home/data XDG_CONFIG_HOME=$home/config FINMCP_INSTALL_DIR=$home/bin \
    FINMCP_RELEASE_URL=file://$folder sh "$folder/install.sh"
version=$("$here/crate_field.sh" version)
if [ "$("$home/bin/finmcp" --version)" != "finmcp $version" ]; then
    echo "try.sh: this is another version than $version" >&2
    exit 1
fi
