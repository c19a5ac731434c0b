#!/bin/sh
# Whether a binary is what the commit that is checked out gives:
#
#     hack/reproducible.sh linux/amd64 path/to/wib
#
# Builds in a new directory, with a home of cargo elsewhere, and compares. Without a path it builds twice. Needs what
# docs/release.md lists, in these versions: others give other bytes.
set -eu
cd "$(dirname "$0")/.."

platform=${1:-linux/amd64}
binary=${2:-}
# Once: somebody may commit while this builds.
commit=$(git rev-parse HEAD)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Answers the path of the binary that was built in this directory.
build() {
  mkdir -p "$1/src" "$1/cargo"
  git archive "$commit" | tar -x -C "$1/src"
  # Under another path, but with the settings, tools and downloads that are there.
  ln -s "${CARGO_HOME:-$HOME/.cargo}"/* "$1/cargo/"
  CARGO_HOME="$1/cargo" "$1/src/hack/build.sh" "$platform" >&2
  echo "$1/src/target/dist/wib-$(echo "$platform" | tr / -)"
}

if [ -z "$binary" ]; then
  binary=$(build "$work/one")
fi
built=$(build "$work/another/place")

rustc --version
openssl dgst -sha256 -r "$binary" "$built"
cmp "$binary" "$built"
echo "reproducible: $platform"
