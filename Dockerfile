# Keyturn alone on a root without shell, package manager or other user: docs/kubernetes.md. `make image` builds it.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
# With .git, from which the toolchain takes the version.
COPY . .
ARG TARGETOS TARGETARCH
ENV GOCACHE=/gocache
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/gocache \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags="-s -w" -o /out/keyturn ./cmd/keyturn

FROM gcr.io/distroless/static-debian12:nonroot
LABEL org.opencontainers.image.title=keyturn org.opencontainers.image.source=https://github.com/keyturn/keyturn org.opencontainers.image.licenses=Apache-2.0
COPY --from=build /out/keyturn /usr/local/bin/keyturn
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/keyturn"]
CMD ["serve", "-c", "/etc/keyturn/keyturn.yaml"]
