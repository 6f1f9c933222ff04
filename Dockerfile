# The image in which `make demo` and `make test` run. Build it with: make image
FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends make openssh-client \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home pipeline \
    && install --directory --owner=pipeline /home/pipeline/edge-deploy-pipeline
USER pipeline
WORKDIR /home/pipeline/edge-deploy-pipeline
ENV PATH=/home/pipeline/edge-deploy-pipeline/.venv/bin:$PATH

# The packages change seldom and weigh most: they are a layer of their own.
COPY --chown=pipeline requirements.lock ./
COPY --chown=pipeline .ci/environment .ci/
RUN .ci/environment locked && .venv/bin/python -m compileall -q -j 0 .venv

# Emulators and board come in now: the image needs no network when it runs.
COPY --chown=pipeline . .
RUN make provision

CMD ["make", "demo"]
