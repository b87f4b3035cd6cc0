# The gateway as an image: `docker build -t nself-realtime .` The nself loader builds it from here, too, and passes PORT, DATABASE_URL,
# POSTGRES_*, REDIS_HOST, REDIS_PORT and REDIS_PASSWORD, all of which the program reads by these names.
#
# No container engine was at hand where this was written: the image itself is not built by the tests. What they check is in
# tests/deploy/containers.rs: that everything that cargo reads is copied, the versions, the port, the user, the health check.
# Needs BuildKit, which Docker has had as its default since 23.0.

ARG RUST_VERSION=1.94
# Debian, or what derives from it, with the same glibc as the builder or a newer one.
ARG RUNTIME=debian:bookworm-slim

FROM rust:${RUST_VERSION}-slim-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY lua lua
COPY sql sql
COPY bench bench
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --release --bin nself-realtime && \
    cp target/release/nself-realtime /usr/local/bin/nself-realtime

FROM ${RUNTIME}
LABEL org.opencontainers.image.title="nself-realtime" \
      org.opencontainers.image.description="A Redis-centric, stateless Socket.IO gateway" \
      org.opencontainers.image.source="https://github.com/nself-org/nself-realtime"
# The nself loader puts a health check of its own in place of the one below, and asks by wget.
RUN apt-get update && apt-get install --yes --no-install-recommends wget && rm -rf /var/lib/apt/lists/*
# For a key set at an https:// URL.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY LICENSE /usr/share/licenses/nself-realtime/LICENSE
COPY --from=build /usr/local/bin/nself-realtime /usr/local/bin/nself-realtime
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /
EXPOSE 3101
# SIGTERM drains, which takes up to REALTIME_DRAIN_TIMEOUT (35 s): `docker stop --time 45`.
STOPSIGNAL SIGTERM
# Whether it lives, not whether it is ready: who restarts what is unhealthy must not do so because Redis is away.
HEALTHCHECK --interval=10s --timeout=6s --start-period=20s --retries=3 \
    CMD ["/usr/local/bin/nself-realtime", "health"]
ENTRYPOINT ["/usr/local/bin/nself-realtime"]
CMD ["serve"]
