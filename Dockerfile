# syntax=docker/dockerfile:1
#
# docker build -t workload-identity-binding .
#
# One static binary on an empty image: no shell, no package manager, no libc. For linux/amd64 and linux/arm64; the
# compiler runs on the builder's own platform and crosses over. Wherever and whenever that is, the binary should be the
# same, byte for byte: docs/release.md says what that rests on, and how to compare.

# Each can be given with its digest: --build-arg RUST=1.95.0-slim-bookworm@sha256:...
ARG RUST=1.95.0-slim-bookworm
ARG PYTHON=3.13-slim-bookworm

# Zig, the C compiler and linker for musl, and cargo-zigbuild, which makes Cargo use it. Pinned by their hashes.
FROM --platform=$BUILDPLATFORM python:${PYTHON} AS zig
COPY hack/requirements.txt /
RUN pip install --no-cache-dir --no-deps --require-hashes --target=/zig --requirement=/requirements.txt

FROM --platform=$BUILDPLATFORM rust:${RUST} AS build
RUN rustup target add x86_64-unknown-linux-musl aarch64-unknown-linux-musl \
 && cargo install --locked cargo-auditable@0.7.7
COPY --from=zig /zig /zig
ENV PATH=/zig/bin:/zig/ziglang:$PATH
ARG TARGETPLATFORM
WORKDIR /src

# Dependencies first, in a layer of their own that only a change of the manifests rebuilds. The members of the
# workspace that are for tests must be there to be read, but are not built; targets that only tests have are cut out.
COPY hack/build.sh hack/
COPY Cargo.toml Cargo.lock ./
COPY tests/azure-emulator/Cargo.toml tests/azure-emulator/
COPY tests/harness/Cargo.toml tests/harness/
RUN sed -i -E '/^\[\[(test|bench|example)\]\]/,/^$/d' Cargo.toml tests/*/Cargo.toml \
 && mkdir -p src tests/azure-emulator/src tests/harness/src \
 && echo '//! Placeholder.' | tee src/lib.rs tests/azure-emulator/src/lib.rs > tests/harness/src/lib.rs \
 && printf '//! Placeholder.\nfn main() {}\n' > src/main.rs \
 && hack/build.sh "$TARGETPLATFORM"

COPY README.md ./
COPY src src
# The files are older than the placeholders that were just built.
RUN touch src/main.rs src/lib.rs \
 && hack/build.sh "$TARGETPLATFORM" \
 && mkdir /files \
 && cp target/dist/wib-* /files/wib \
 && ln -s wib /files/kubectl-wib

# The files alone: docker build --target files --output dist .
FROM scratch AS files
COPY --from=build /files /

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="workload-identity-binding" \
      org.opencontainers.image.description="Kubernetes operator that makes an Azure managed identity trust a ServiceAccount, with one object" \
      org.opencontainers.image.source="https://github.com/workload-identity-binding/workload-identity-binding" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=files / /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/wib"]
CMD ["run"]
