# Two images of one source: `docker build --target server .` and `docker build --target trainer .`
# Both run as a user without rights and with a read-only root file system; what they write goes to mounted volumes.
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY .ci/constraints.txt .ci/
COPY authz_server authz_server
COPY trainer trainer
COPY demo/__init__.py demo/

FROM build AS build-server
# What istio-manifests/ may ask for: a shared history, object storage. Leave out what you don't use: --build-arg EXTRAS=redis
ARG EXTRAS=redis,s3,gcs
RUN python -m venv /app && /app/bin/pip install -c .ci/constraints.txt ".[${EXTRAS}]" && rm -rf /app/lib/python*/site-packages/trainer

FROM build AS build-trainer
ARG EXTRAS=redis,s3,gcs
RUN python -m venv /app && /app/bin/pip install -c .ci/constraints.txt ".[trainer,${EXTRAS}]"

FROM python:3.13-slim AS base
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 65532 --no-create-home --shell /usr/sbin/nologin meshwarden
USER 65532:65532
WORKDIR /var/lib/meshwarden

FROM base AS trainer
COPY --from=build-trainer /app /app
VOLUME ["/var/lib/meshwarden", "/tmp"]
EXPOSE 9291 9292
ENTRYPOINT ["python", "-m", "trainer"]
CMD ["--help"]

FROM base AS server
COPY --from=build-server /app /app
VOLUME ["/var/lib/meshwarden", "/tmp"]
EXPOSE 9191 9192
ENV AUTHZ_LISTEN=0.0.0.0:9191 AUTHZ_ADMIN=0.0.0.0:9192
ENTRYPOINT ["python", "-m", "authz_server"]
CMD ["serve"]
