# One image for both kinds of machine:
#   docker build -t sketchseek:cpu .
#   docker build -t sketchseek:gpu --build-arg EXTRA=gpu .      (run it with the NVIDIA container toolkit: --gpus all)
# PyPI's torch is the CUDA build. For a small CPU image, name PyTorch's index of CPU wheels:
#   --build-arg PIP_ARGS="--extra-index-url URL"
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG EXTRA=cpu
# Photos of phones (HEIC, whose wheel contains libx265 under the GPL) and of cameras (RAW), JPEG XL (17 MB for the latter two),
# searching by words (320 MB), galleries in buckets, and recall on a Milvus server. MORE=",raw,jxl,text" leaves HEIC and the
# latter two out, MORE="" all of them.
ARG MORE=",heic,raw,jxl,text,object-storage,milvus"
ARG PIP_ARGS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python3 -m venv /opt/sketchseek && python3 -m venv /opt/audit
# Dependencies first, so that a change in the code does not install them again.
COPY pyproject.toml constraints.txt ./
# hadolint ignore=DL3042,SC2086
RUN touch README.md LICENSE \
    && /opt/sketchseek/bin/pip install ${PIP_ARGS} --constraint constraints.txt ".[${EXTRA}${MORE}]" \
    && /opt/audit/bin/pip install ${PIP_ARGS} --constraint constraints.txt cyclonedx-bom
COPY README.md LICENSE ./
COPY model ./model
COPY index_builder ./index_builder
COPY sketchseek_client ./sketchseek_client
COPY app ./app
# hadolint ignore=DL3042
RUN /opt/sketchseek/bin/pip install --no-deps --force-reinstall . \
    && /opt/audit/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
        --of JSON -o /opt/sketchseek/sbom.cdx.json /opt/sketchseek/bin/python

FROM ${BASE}
LABEL org.opencontainers.image.title="Sketchseek" \
      org.opencontainers.image.description="Draw it, find the photo" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/sketchseek /opt/sketchseek
# Any user may run the image: a new volume gets the owner and the mode of /data.
RUN groupadd --gid 10001 sketchseek \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin sketchseek \
    && install -d -o sketchseek -g sketchseek -m 0777 /data \
    && install -d -o sketchseek -g sketchseek /photos
# Idle threads sleep instead of spinning: two cores under load answer many times faster.
ENV PATH=/opt/sketchseek/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_WAIT_POLICY=PASSIVE \
    SKETCHSEEK_HOST=0.0.0.0 \
    SKETCHSEEK_PORT=8000 \
    SKETCHSEEK_PHOTOS=/photos \
    SKETCHSEEK_GALLERY=/data/gallery \
    SKETCHSEEK_WATCH=true
WORKDIR /data
USER 10001:10001
VOLUME ["/data"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
    CMD ["python3", "-m", "app.healthcheck"]
ENTRYPOINT ["sketchseek"]
CMD ["serve"]
