# The image of the command `pipeline`. It runs as an ordinary user and needs no network. Build it with: make image
#
# The digest names the index of all architectures of one tag. ADR 62 says where it comes from and when to change it.
ARG BASE=python:3.11.17-slim-bookworm@sha256:2333bd330d12de02514770b3585cad313644316047cdee24a7acfdece6de6efb

# The packages of requirements.lock, of which the command is installed with those it needs: no index, no resolving.
FROM ${BASE} AS installation
WORKDIR /source
RUN python3.11 -m venv /opt/pipeline
COPY requirements.lock ./
RUN /opt/pipeline/bin/pip download --quiet --require-hashes --no-deps --only-binary :all: \
        --dest /wheels --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY calibration calibration
COPY deploy deploy
COPY models models
COPY pipeline pipeline
COPY docs/reference docs/reference
ARG EXTRAS=
RUN /opt/pipeline/bin/pip install --quiet --no-index --find-links /wheels ".${EXTRAS}"

# What the tests need, for `make image STAGE=test`: the source, every package, all emulators and the board.
FROM ${BASE} AS test
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make openssh-client \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home pipeline \
    && install --directory --owner=pipeline /home/pipeline/edge-deploy-pipeline
USER pipeline
WORKDIR /home/pipeline/edge-deploy-pipeline
ENV PATH=/home/pipeline/edge-deploy-pipeline/.venv/bin:$PATH
COPY --chown=pipeline requirements.lock ./
COPY --chown=pipeline .ci/environment .ci/
RUN .ci/environment locked && .venv/bin/python -m compileall -q -j 0 .venv
COPY --chown=pipeline . .
RUN make provision
CMD ["make", "test"]

# The image itself: Python, ssh, the installation, and the emulators of 64-bit boards.
FROM ${BASE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openssh-client \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 pipeline \
    && install --directory --owner=pipeline /work
COPY --from=installation /opt/pipeline /opt/pipeline
ENV PATH=/opt/pipeline/bin:$PATH
USER pipeline
WORKDIR /work
RUN pipeline device provision
CMD ["pipeline", "build", "--target", "arm64"]
