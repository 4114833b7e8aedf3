# spectra-bids as an image:   docker build -t spectra-bids:0.1.0 .
# (podman and buildah take the same file). What is done in each step stands in scripts/image_install.sh, which
# singularity.def runs too. Sites whose proxy speaks with a certificate of its own mount it and name it in PIP_CERT:
#   --volume /etc/ssl/certs/ca-certificates.crt:/run/host-ca.crt:ro --build-arg PIP_CERT=/run/host-ca.crt

FROM debian:bookworm-slim AS runtime
COPY scripts/image_install.sh /usr/local/lib/spectra-bids/
RUN sh /usr/local/lib/spectra-bids/image_install.sh runtime

FROM runtime AS build
RUN sh /usr/local/lib/spectra-bids/image_install.sh build-tools
ARG PIP_CERT
COPY locks /src/locks
RUN sh /usr/local/lib/spectra-bids/image_install.sh environment /src/locks
COPY pyproject.toml README.md LICENSE /src/
COPY spectra_bids /src/spectra_bids
RUN sh /usr/local/lib/spectra-bids/image_install.sh package /src
ARG VERSION=0.1.0
RUN test "$(/opt/spectra/bin/spectra-bids --version)" = "spectra-bids $VERSION"

FROM runtime
COPY --from=build /opt/spectra /opt/spectra
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="spectra-bids" \
      org.opencontainers.image.description="BIDS-App for white-matter tractometry with spatial inference" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="BSD-3-Clause" \
      org.opencontainers.image.authors="The spectra_bids developers" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"
# The tag is recorded in dataset_description.json. Packages in a home that happens to be mounted must not be seen.
ENV PATH=/opt/spectra/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PYTHONNOUSERSITE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SPECTRA_BIDS_DOCKER_TAG="spectra-bids:$VERSION"
# Any other user will do as well (--user), with or without a home, an entry in passwd or a root that can be written.
USER 1000:1000
ENTRYPOINT ["spectra-bids"]
