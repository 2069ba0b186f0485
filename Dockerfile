# syntax=docker/dockerfile:1

# The collector with its dashboard. Build: docker build -t fedsight . Give the base by digest for the same image twice:
# --build-arg PYTHON_IMAGE=python:3.12-slim-bookworm@sha256:…
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

# ── build: Node (from a Python package) makes the dashboard; nothing of this stage but /opt/fedsight gets on ──────────
FROM ${PYTHON_IMAGE} AS build
ARG SOURCE_DATE_EPOCH=0
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
# What changes seldom comes first: a change of the code does not fetch everything anew.
COPY deploy/constraints.txt constraints.txt
RUN python -m venv --without-pip /opt/fedsight \
    && python -m pip --python /opt/fedsight/bin/python install --no-compile -r constraints.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY ui ui
COPY src src
RUN python -m pip wheel --no-deps --wheel-dir /wheels . \
    && python -m pip --python /opt/fedsight/bin/python install --no-compile -c constraints.txt \
       "$(echo /wheels/fedsight-*.whl)[collector]"

# ── the image ────────────────────────────────────────────────────────────────────────────────────────────────────────
FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Fedsight collector" \
      org.opencontainers.image.description="Observability for federated learning: takes journals in, keeps them, shows them." \
      org.opencontainers.image.licenses="Apache-2.0"
# No installer stays in the image: nothing is to be added to a running collector.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
    && groupadd --gid 10001 fedsight \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin fedsight \
    && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /opt/fedsight /opt/fedsight
COPY deploy/healthcheck.py /opt/fedsight/healthcheck.py
# Listens to other machines: they need a token to read and to write.
ENV PATH=/opt/fedsight/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FEDSIGHT_DATA=/data \
    FEDSIGHT_HOST=0.0.0.0 \
    FEDSIGHT_PORT=8083
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8083
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "/opt/fedsight/healthcheck.py"]
ENTRYPOINT ["fedsight"]
CMD ["serve"]
