#!/bin/sh
# Compiles the lock files. Needs uv on the PATH; run it after changing dependencies in pyproject.toml.
# The files carry versions and hashes, never an index address.
set -eu
cd "$(dirname "$0")/.."
common="--universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --quiet"
# shellcheck disable=SC2086
uv pip compile $common --extra server --extra build -o requirements.lock pyproject.toml
# shellcheck disable=SC2086
uv pip compile $common --extra server --extra build --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml
# The peers of a benchmark have pins of their own that may contradict the product's.
# shellcheck disable=SC2086
uv pip compile $common --extra peers -o requirements-peers.lock pyproject.toml
