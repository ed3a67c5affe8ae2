#!/usr/bin/env bash
# What must hold inside the image `cpu`. image/test.sh runs it there as the image's own user, the repository on /bundle.
set -euo pipefail
refused() {
  if "$@"; then
    echo "error: accepted, and should have been refused: $*" >&2
    exit 1
  fi
}
[[ $(id -u) = 10001 && $(command -v python) = /opt/venv/bin/python && ! -e /opt/venv/bin/pip ]]
python image/check.py bootstrap cpu
git log -1 --format='git reads the mounted repository, at %h'
python -c 'import datasets, dvc, peft, torch, transformers, trl; print("the health check passes")'

make --no-print-directory setup PROFILE=smollm2
refused make --no-print-directory setup PROFILE=qwen7b
tr 0-9 1-90 < "$IN_IMAGE" > /tmp/others.sha256
refused env IN_IMAGE=/tmp/others.sha256 make --no-print-directory setup PROFILE=smollm2

python -m pytest -p no:cacheprovider -q --override-ini addopts= \
  tests/test_params.py tests/test_statistics.py tests/test_data.py tests/test_numerics.py
