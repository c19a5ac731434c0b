#!/bin/sh
# Which mistakes in src/core the unit tests would let slip:
#
#     hack/mutants.sh                            every mutant of src/core: about an hour on one core
#     hack/mutants.sh --file src/core/plan.rs    one file; all arguments go to `cargo mutants`
#
# Needs cargo-mutants (`cargo install cargo-mutants --locked`). What it makes of src/core is compiled together with
# src/api alone, so that a mutant takes seconds instead of minutes, and with the tests of `cargo test --lib` that are
# in these two folders. The explorer, which is one of them, takes most of a minute: it is asked about those mutants
# only that all the others let slip. The results are in target/mutants/mutants.out.
set -eu
cd "$(dirname "$0")/.."

crate=target/mutants/crate
rm -rf "$crate/src" "$crate/api"
mkdir -p "$crate/src" "$crate/api/src"
cp -r src/core "$crate/src/core"
cp -r src/api/. "$crate/api/src"
mv "$crate/api/src/mod.rs" "$crate/api/src/lib.rs"
# Within a crate of its own, the API is its root.
find "$crate/api/src" -name '*.rs' -exec sed -i 's/crate::api::/crate::/g' {} +
cp -r Cargo.lock "$crate"
test ! -d proptest-regressions || cp -r proptest-regressions "$crate"
printf 'pub use api;\npub mod core;\n' > "$crate/src/lib.rs"

# The line of this dependency in Cargo.toml.
wanted() {
  grep -m 1 "^$1 = " Cargo.toml
}

{
  printf '[package]\nname = "core-and-api"\nversion = "0.1.0"\nedition = "2024"\npublish = false\n'
  printf '[workspace]\nmembers = ["api"]\n[profile.test]\ndebug = false\n'
  printf '[dependencies]\napi = { path = "api" }\n'
  for name in jiff k8s-openapi kube schemars serde serde_json sha2 strum thiserror; do wanted $name; done
  printf '[dev-dependencies]\n'
  for name in proptest; do wanted $name; done
} > "$crate/Cargo.toml"
{
  printf '[package]\nname = "api"\nversion = "0.1.0"\nedition = "2024"\npublish = false\n[dependencies]\n'
  for name in clap jiff k8s-openapi kube schemars serde serde_json serde_yaml strum; do wanted $name; done
} > "$crate/api/Cargo.toml"

mutants() {
  cargo mutants --dir "$crate" --in-place --output target/mutants --no-config --package core-and-api "$@"
}

# Properties are tried on fewer inputs at first.
PROPTEST_CASES=64 mutants "$@" -- --lib -- --skip explorer || test -s target/mutants/mutants.out/missed.txt
if test -s target/mutants/mutants.out/missed.txt; then
  mutants --iterate "$@" -- --lib
fi
