#!/usr/bin/env bash
# Run a command in one of the images, with this repository mounted and as the caller, whom its files then belong to.
#     image/run.sh TARGET NAME COMMAND...      TARGET: cpu or cuda
# HUB_MIRROR, HF_HOME and HF_TOKEN are handed on. A folder that the first two name is mounted where it lies; with cuda,
# the Hub's usual cache is, so that a model is downloaded once.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() {
  echo "error: $*" >&2
  exit 2
}
target=${1:-} name=${2:-}
[[ $target =~ ^(cpu|cuda)$ ]] || fail "TARGET=$target: allowed are cpu and cuda"

options=(--rm --init --volume "$PWD:/bundle")
if docker info > /dev/null 2>&1; then
  runner=docker gpus=(--gpus all)
  options+=(--user "$(id -u):$(id -g)")
elif command -v podman > /dev/null; then
  runner=podman gpus=(--device nvidia.com/gpu=all)
  options+=(--userns keep-id --user "$(id -u):$(id -g)")
else
  fail "nothing to run an image with: docker has no engine that answers, and there is no podman"
fi
"$runner" image inspect "$name" > /dev/null 2>&1 \
  || fail "IMAGE=$name: no such image; make image TARGET=$target makes it"

# PyTorch's data loaders and NCCL share memory.
if [[ $target = cuda ]]; then
  options+=("${gpus[@]}" --ipc host)
  export HF_HOME=${HF_HOME:-$HOME/.cache/huggingface}
  mkdir -p "$HF_HOME"
fi
for folder in HUB_MIRROR HF_HOME; do
  [[ -z ${!folder:-} ]] || options+=(--volume "${!folder}:${!folder}" --env "$folder")
done
[[ -z ${HF_TOKEN:-} ]] || options+=(--env HF_TOKEN)
exec "$runner" run "${options[@]}" "$name" "${@:3}"
