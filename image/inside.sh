#!/usr/bin/env bash
# What must hold inside an image. image/test.sh runs it there as the image's own user, the repository on /bundle.
#     image/inside.sh TARGET [quick]      TARGET: cpu or cuda
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
case $1 in
  cpu) locks=(bootstrap cpu) own=smollm2 other=qwen7b needs=cuda ;;
  cuda) locks=(bootstrap-cuda cuda) own=qwen1_5b other=smollm2 needs=cpu ;;
esac
python image/check.py "${locks[@]}"
[[ $(python image/contents.py) = *'"python": [['* ]]
[[ $(bin/python -c 'import persona_collapse; print(*persona_collapse.__path__)') = /bundle/src/persona_collapse ]]
git log -1 --format='git reads the mounted repository, at %h'

make --no-print-directory setup "PROFILE=$own"
refused "PROFILE=$other needs the image made with TARGET=$needs" make setup "PROFILE=$other"
tr 0-9 1-90 < "$IN_IMAGE" > /tmp/others.sha256
refused "this image was made from other requirements/" env IN_IMAGE=/tmp/others.sha256 make setup "PROFILE=$own"

if [[ $1 = cuda ]]; then # the tests run on a CPU
  refused "no GPU" make reproduce "PROFILE=$own"
  exec python -c 'import torch, transformers, vllm; print("imported:", torch.__version__, transformers.__version__, vllm.__version__)'
fi
names=("${quick[@]}")
[[ ${2:-} = quick ]] || names+=("${slow[@]}")
tests=("${names[@]/#/tests/test_}")
bin/python -m pytest -p no:cacheprovider -q --override-ini addopts= --durations=3 "${tests[@]/%/.py}"
