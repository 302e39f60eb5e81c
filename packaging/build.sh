#!/bin/sh
# Builds finmcp for TARGET into FOLDER/finmcp-TARGET (with .exe for Windows): build.sh TARGET FOLDER
#
# universal-apple-darwin is both of Apple's architectures in one file. A target of Linux's musl needs musl-gcc
# (Debian: musl-tools) on a machine of that architecture. Each needs `rustup target add` first.

set -eu

if [ $# != 2 ]; then
    echo "usage: build.sh TARGET FOLDER" >&2
    exit 2
fi
target=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."

# Builds the URL of the client metadata document into the binary, once it is no longer the placeholder.
client_id=$(sed -n 's/^ *"client_id": "\(.*\)",$/\1/p' client-metadata.json)
case $client_id in
    https://finmcp.example/*) unset FINMCP_CLIENT_METADATA_URL ;;
    *) export FINMCP_CLIENT_METADATA_URL="$client_id" ;;
esac

build() {
    cargo build --release --locked --target "$1"
}

case $target in
    universal-apple-darwin)
        build x86_64-apple-darwin
        build aarch64-apple-darwin
        lipo -create -output "$out/finmcp-$target" \
            target/x86_64-apple-darwin/release/finmcp target/aarch64-apple-darwin/release/finmcp
        ;;
    *-linux-musl)
        # The crate ring compiles C for the target.
        export CC=musl-gcc
        build "$target"
        cp "target/$target/release/finmcp" "$out/finmcp-$target"
        ;;
    *-windows-*)
        # No library of Visual Studio's to install first.
        export RUSTFLAGS="-C target-feature=+crt-static"
        build "$target"
        cp "target/$target/release/finmcp.exe" "$out/finmcp-$target.exe"
        ;;
    *)
        build "$target"
        cp "target/$target/release/finmcp" "$out/finmcp-$target"
        ;;
esac
