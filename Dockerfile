# One static program, nothing else: no shell, no package manager, no root.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build && mkdir /data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/notepay /notepay
# A new volume takes over the owner of this directory. It holds the ledger's four files and the backups.
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
WORKDIR /data
ENV DATABASE_URL=/data/notepay.db BACKUP_DIR=/data/backups
VOLUME /data
EXPOSE 3000
HEALTHCHECK --interval=30s --timeout=6s --start-period=30s CMD ["/notepay", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/notepay"]
CMD ["serve"]
