#!/usr/bin/env bash
# What must hold inside the image `cpu`. image/test.sh runs it there as the image's own user, the repository on /bundle.
#     image/inside.sh [quick]
set -euo pipefail

# Tests that write nothing into the repository, which is mounted read-only and without what git ignores. The quick ones
# load no model.
quick=(params files data statistics claims diagnosis image)
slow=(fetch native numerics report)

refused() {
  local reason=$1 said
  shift
  if said=$("$@" 2>&1) || [[ $said != *"error: $reason"* ]]; then
    printf 'error: should have been refused with "%s": %s\n%s\n' "$reason" "$*" "$said" >&2
    exit 1
  fi
  echo "refused, as it must be: $reason"
}
[[ $(id -u) = 10001 && $(command -v python) = /opt/venv/bin/python && ! -e /opt/venv/bin/pip ]]
python image/check.py bootstrap cpu
[[ $(bin/python -c 'import persona_collapse; print(*persona_collapse.__path__)') = /bundle/src/persona_collapse ]]
git log -1 --format='git reads the mounted repository, at %h'

make --no-print-directory setup PROFILE=smollm2
refused "PROFILE=qwen7b needs the image made with TARGET=cuda" make setup PROFILE=qwen7b
tr 0-9 1-90 < "$IN_IMAGE" > /tmp/others.sha256
refused "this image was made from other requirements/" env IN_IMAGE=/tmp/others.sha256 make setup PROFILE=smollm2

names=("${quick[@]}")
[[ ${1:-} = quick ]] || names+=("${slow[@]}")
tests=("${names[@]/#/tests/test_}")
bin/python -m pytest -p no:cacheprovider -q --override-ini addopts= --durations=3 "${tests[@]/%/.py}"
