#!/usr/bin/env bash
# Run a command in one of the images, with this repository mounted and as the caller, whom its files then belong to.
#     image/run.sh TARGET NAME COMMAND...      TARGET: cpu or cuda
# HUB_MIRROR, HF_HOME and HF_TOKEN are handed on. A folder that the first two name is mounted where it lies; with cuda,
# the Hub's usual cache is, so that a model is downloaded once.
set -euo pipefail
cd "$(dirname "$0")/.."
. image/engine.sh
target=${1:-} name=${2:-}
image "$target" "$name"
options=(--rm --init --volume "$PWD:/bundle" --user "$(id -u):$(id -g)")
case $engine in
  docker) gpus=(--gpus all) ;;
  podman) gpus=(--device nvidia.com/gpu=all) ;;
esac
# Without root, podman has names for users of its own; with it, it refuses this.
[[ $engine = docker || $(id -u) = 0 ]] || options+=(--userns keep-id)

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
exec "$engine" run "${options[@]}" "$name" "${@:3}"
