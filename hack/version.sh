#!/bin/sh
# Prints version=1.2.3 for the tag v1.2.3, if everything that has a version has this one:
#
#     hack/version.sh v1.2.3
set -eu
cd "$(dirname "$0")/.."

tag=${1:-}
chart=charts/workload-identity-binding/Chart.yaml

compare() {
  if [ "v$3" != "$tag" ]; then
    echo "hack/version.sh: the tag is '$tag', but $2 of $1 is '$3'" >&2
    exit 1
  fi
}

compare Cargo.toml version "$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)"
compare "$chart" version "$(sed -n 's/^version: //p' "$chart" | tr -d '"')"
compare "$chart" appVersion "$(sed -n 's/^appVersion: //p' "$chart" | tr -d '"')"
compare CHANGELOG.md "the newest release" "$(sed -n 's/^## \[\([0-9].*\)\].*$/\1/p' CHANGELOG.md | head -n 1)"
echo "version=${tag#v}"
