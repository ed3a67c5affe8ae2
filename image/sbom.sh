#!/usr/bin/env bash
# The list of what an image holds and what it was made from: dist/<name>-<target>.cdx.json.
#     image/sbom.sh TARGET NAME      TARGET: cpu or cuda
set -euo pipefail
cd "$(dirname "$0")/.."
. image/engine.sh
image "${1:-}" "${2:-}"
made=$("$engine" image inspect --format '{"id": {{json .Id}}, "labels": {{json .Config.Labels}}}' "$2")
holds=$(image/run.sh "$1" "$2" python image/contents.py)
printf '{"made": %s, "holds": %s}' "$made" "$holds" | bin/stage publication.image "$1"
