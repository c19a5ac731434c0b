#!/bin/sh
# Builds the release binary, meant to be the same in every directory (hack/reproducible.sh compares):
#
#     hack/build.sh linux/amd64 | linux/arm64 | darwin/amd64 | darwin/arm64
#
# The result is target/dist/wib-linux-amd64 and so on. For Linux it is one static file; Zig is the C compiler and the
# linker, on any machine (hack/requirements.txt). For macOS it takes a Mac. cargo-auditable puts the list of crates in.
set -eu
cd "$(dirname "$0")/.."

case ${1:-} in
  linux/amd64) command=zigbuild target=x86_64-unknown-linux-musl ;;
  linux/arm64) command=zigbuild target=aarch64-unknown-linux-musl ;;
  darwin/amd64) command=build target=x86_64-apple-darwin ;;
  darwin/arm64) command=build target=aarch64-apple-darwin ;;
  *)
    echo "hack/build.sh: '${1:-}' is no platform; take linux/amd64, linux/arm64, darwin/amd64 or darwin/arm64" >&2
    exit 2
    ;;
esac

# Messages of panics hold paths of sources, which must not say where this was built.
export RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$PWD=/src"
export CARGO_TARGET_DIR=target

# By package: with the members of the workspace that are for tests, what they enable would be in.
cargo auditable "$command" --release --locked --package workload-identity-binding --bin wib --target "$target"
mkdir -p target/dist
cp "target/$target/release/wib" "target/dist/wib-$(echo "$1" | tr / -)"
