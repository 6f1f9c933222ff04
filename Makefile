# Every target makes what it needs: `make demo` and `make test` work in a fresh clone.
BIN := .venv/bin
ENGINE ?= docker
export LC_ALL := C.UTF-8
unexport PYTHONDONTWRITEBYTECODE # the tests start the command hundreds of times

.PHONY: demo test check env emulator provision lock bench docs screenshots image clean
.DEFAULT_GOAL := demo

demo: emulator             # build the default model for arm64 into build/
	$(BIN)/pipeline build --target arm64

test: env                  # every check and test; ends with pytest's summary
	@$(MAKE) --no-print-directory -j 2 check provision
	$(BIN)/pytest -n 3 --dist loadgroup # tests wait a fifth of their time

check: env                 # the checks that need no emulator, in seconds
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

env:                       # .venv from requirements.lock
	@.ci/environment

emulator: env              # what a build for arm64 needs, into the user's cache
	$(BIN)/pipeline device provision

provision: env             # what the tests need: emulated 64-bit and 32-bit Arm, the emulated board, a browser
	$(BIN)/pipeline device provision rpi5 armv7 board
	$(BIN)/python -c 'from pipeline.emulation.provisioning import provision_browser, provision_proofs; provision_proofs(); provision_browser()'

lock: env                  # pin the newest versions that pyproject.toml allows
	CUSTOM_COMPILE_COMMAND="make lock" PIP_CONFIG_FILE=/dev/null \
	env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL $(BIN)/pip-compile --quiet --upgrade --extra dashboard --extra dev --extra mlflow --extra search \
	    --all-build-deps --allow-unsafe --strip-extras --generate-hashes --no-emit-options \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    --output-file requirements.lock pyproject.toml

bench: emulator            # the figures in README.md
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/build.py

docs: env                  # the documentation as a site, into build/site
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --no-build-isolation --editable '.[docs]' # stays editable
	$(BIN)/zensical build --clean

screenshots: env           # the pictures of the docs, from real runs; needs chromium and tmux
	$(BIN)/python benchmarks/screenshots.py terminals
	$(BIN)/python benchmarks/screenshots.py report build/release/*-arm64

image:                     # the container image edge-deploy-pipeline; STAGE=test: edge-deploy-pipeline-test
	$(ENGINE) build $(if $(STAGE),--target $(STAGE)) --tag edge-deploy-pipeline$(if $(STAGE),-$(STAGE)) .

clean:                     # everything a target here made in this folder
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
