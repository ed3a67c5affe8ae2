#!/usr/bin/env bash
# Build one of the two images with docker, or with buildah where no docker engine answers.
#     image/build.sh TARGET NAME [OPTION...]      TARGET: cpu or cuda; options go to the builder as they are
# WHEELS=DIR hands over a folder of wheels, and no package index is asked; BUILDER=docker|buildah takes that one;
# TORCH_INDEX and APT_SNAPSHOT are those of the Dockerfile.
set -euo pipefail
cd "$(dirname "$0")/.."
. image/engine.sh
target=${1:-} name=${2:-}
known "$target"
[[ $name ]] || fail "IMAGE is empty: give the image a name, such as persona-collapse:$target"
[[ -z ${WHEELS:-} ]] || compgen -G "$WHEELS/*.whl" > /dev/null || fail "WHEELS=$WHEELS: no *.whl in it"

epoch=$(sed -n 's/^ARG SOURCE_DATE_EPOCH=//p' Dockerfile | head -n 1)
options=(
  --file Dockerfile --target "$target" --tag "$name"
  --build-arg "VERSION=$(sed -n '/^\[project\]/,/^\[/s/^version = "\(.*\)"/\1/p' pyproject.toml)"
  --build-arg "TORCH_INDEX=${TORCH_INDEX:-}"
)
[[ ! -v APT_SNAPSHOT ]] || options+=(--build-arg "APT_SNAPSHOT=$APT_SNAPSHOT")

choose BUILDER buildah "no image builder"
case $engine in
  docker) command=(env DOCKER_BUILDKIT=1 docker build --build-arg "SOURCE_DATE_EPOCH=$epoch") ;;
  # only docker's own format keeps the health check
  buildah) command=(buildah bud --format docker --timestamp "$epoch") ;;
esac

# The context: what .dockerignore lets through, and the wheels, wherever they lie.
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir "$context/image" "$context/requirements"
cp image/*.sh "$context/image"
cp requirements/*.txt "$context/requirements"
if [[ ${WHEELS:-} ]]; then
  mkdir "$context/wheels"
  find "$WHEELS" -maxdepth 1 -type f -exec cp --link --target-directory "$context/wheels" {} + 2> /dev/null \
    || find "$WHEELS" -maxdepth 1 -type f -exec cp --target-directory "$context/wheels" {} +
fi
"${command[@]}" "${options[@]}" "${@:3}" "$context"
