# syntax=docker/dockerfile:1
#
# docker build -t workload-identity-binding .
#
# One static binary on an empty image: no shell, no package manager, no libc. Built for the platform
# it runs on (linux/amd64 or linux/arm64).

ARG RUST_VERSION=1.95

FROM rust:${RUST_VERSION}-slim-bookworm AS build

# musl-tools: the C compiler for aws-lc, the TLS library's cryptography. ca-certificates: the roots
# that the image trusts.
RUN apt-get update \
 && apt-get install -y --no-install-recommends musl-tools ca-certificates \
 && rm -rf /var/lib/apt/lists/*
RUN rustup target add "$(uname -m)-unknown-linux-musl"

WORKDIR /src

# Dependencies first, in a layer of their own that only a change of the manifests rebuilds. The
# members of the workspace that are for tests must be there to be read, but are not built; targets
# that only tests have are cut out.
COPY Cargo.toml Cargo.lock ./
COPY tests/azure-emulator/Cargo.toml tests/azure-emulator/
COPY tests/harness/Cargo.toml tests/harness/
RUN sed -i -E '/^\[\[(test|bench|example)\]\]/,/^$/d' Cargo.toml tests/*/Cargo.toml \
 && mkdir -p src tests/azure-emulator/src tests/harness/src \
 && echo '//! Placeholder.' | tee src/lib.rs tests/azure-emulator/src/lib.rs > tests/harness/src/lib.rs \
 && printf '//! Placeholder.\nfn main() {}\n' > src/main.rs \
 && cargo build --release --locked --bin wib --target "$(uname -m)-unknown-linux-musl"

COPY README.md ./
COPY src src
# The files are older than the placeholders that were just built.
RUN touch src/main.rs src/lib.rs \
 && cargo build --release --locked --bin wib --target "$(uname -m)-unknown-linux-musl" \
 && cp "target/$(uname -m)-unknown-linux-musl/release/wib" /wib

FROM scratch
LABEL org.opencontainers.image.title="workload-identity-binding" \
      org.opencontainers.image.description="Kubernetes operator that makes an Azure managed identity trust a ServiceAccount, with one object" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /wib /wib
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/wib"]
CMD ["run"]
