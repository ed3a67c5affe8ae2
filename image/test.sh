#!/usr/bin/env bash
# Build an image for real, without a network for Python's packages, use it as its own user, and build it again.
#     image/test.sh      as root on Debian or Ubuntu, after `make setup`; `make test-image`
# TARGET=cuda builds that one, once, and imports its packages; it takes 50 GB of disk and no GPU. Otherwise it is cpu.
# QUICK=1 builds once and runs the quick tests alone. WHEELS names a folder with the wheels of the locks; otherwise they
# are downloaded, from where `make setup` has them.
# The base is the running system's own release, made from the archive that apt is set up for, so that no container
# registry is needed: what differs from the real base is the distribution, not the Dockerfile.
set -euo pipefail
cd "$(dirname "$0")/.."
step() {
  echo "== $* ($SECONDS s)"
}
fail() {
  echo "error: test-image: $*" >&2
  exit 1
}
target=${TARGET:-cpu}
case $target in
  cpu) locks=(requirements/{bootstrap,cpu}.txt) ;;
  cuda) locks=(requirements/{bootstrap-cuda,cuda}.txt) QUICK=1 ;;
  *) fail "TARGET=$target: allowed are cpu and cuda" ;;
esac
tools=(buildah mmdebstrap)
if ! command -v buildah > /dev/null || ! command -v mmdebstrap > /dev/null; then
  { [[ $(id -u) = 0 ]] && command -v apt-get > /dev/null && apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends "${tools[@]}" > /dev/null; } \
    || { echo "note: ${tools[*]} cannot be installed here: THE IMAGE IS NOT TESTED"; exit 0; }
fi
[[ $(id -u) = 0 ]] || { echo "note: building without an engine takes root: THE IMAGE IS NOT TESTED"; exit 0; }

work=$(mktemp -d)
export CONTAINERS_STORAGE_CONF=$work/storage.conf BUILDAH_ISOLATION=chroot
cleanup() {
  wait # what runs in the background would go on in what is removed here
  buildah rm --all > /dev/null 2>&1 || true
  # the overlay driver leaves its folder mounted on itself
  umount "$work/overlay/overlay" 2> /dev/null || true
  rm -rf --one-file-system "$work"
}
trap cleanup EXIT
for driver in overlay vfs; do
  printf '[storage]\ndriver = "%s"\ngraphroot = "%s"\nrunroot = "%s"\n' "$driver" "$work/$driver" "$work/run" \
    > "$work/storage.conf"
  container=$(buildah from scratch 2> /dev/null) && root=$(buildah mount "$container" 2> /dev/null) && break
done
[[ ${root:-} ]] || fail "buildah can store no image here"

if [[ $target = cuda ]]; then
  free=$(df --output=avail --block-size=1G "$work" | tail -n 1)
  ((free >= 50)) || fail "the cuda image takes 50 GB while it is built, and there are $free under ${work%/*}"
fi

# What is used below is copied now, before other work beside this one writes to it.
mkdir "$work/repository"
git ls-files -z --cached --others --exclude-standard --deduplicate | tar --create --null --files-from - .git \
  --ignore-failed-read 2> /dev/null | tar --extract --directory "$work/repository"

step "hadolint and shellcheck"
bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
  --target "$work/lint" -r image/lint.txt 2> "$work/lint.log" || { cat "$work/lint.log" >&2; fail "no linters"; }
"$work/lint/bin/hadolint" Dockerfile
"$work/lint/bin/shellcheck" --severity=warning --external-sources --source-path=SCRIPTDIR image/*.sh bin/*

step "base image and wheels, storage driver $driver"
# Four parts of the locks at once: most of the time goes by waiting for the index.
download() {
  printf '%s\n' "$work"/part.* | xargs -P 4 -n 1 bin/python -m pip download --quiet --disable-pip-version-check --no-deps \
    --no-build-isolation --require-hashes --dest "$work/wheels" "$@" -r
}
downloading=
if [[ -z ${WHEELS:-} ]]; then
  WHEELS=$work/wheels
  cat "${locks[@]}" | awk -v to="$work/part." '/^[A-Za-z0-9]/ {n++} {print > (to n % 4)}'
  { download || { [[ ${TORCH_INDEX:-} ]] && download --extra-index-url "$TORCH_INDEX"; }; } > "$work/wheels.log" 2>&1 &
  downloading=$!
fi
# shellcheck source=/dev/null
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' \
  | sed -n "s/^$release main //p" | sort | head -n 1)
[[ $mirror ]] || fail "apt is set up for no archive of $release"
# Like the published bases, without waiting for the disk after each file. What it mounts goes with its name space.
unshare --mount mmdebstrap --quiet --variant=minbase --mode=root --dpkgopt=force-unsafe-io \
  --aptopt='Acquire::Retries "3"' "$release" "$root" "$mirror" > "$work/base.log" 2>&1 \
  || { cat "$work/base.log" >&2; fail "no base of $release from apt's archive"; }
buildah commit --quiet --rm "$container" localhost/base > /dev/null
digest=$(buildah images --no-trunc --format '{{.Digest}}' localhost/base)
step "base of $release, $(buildah images --format '{{.Size}}' localhost/base)"
if [[ $downloading ]] && ! wait "$downloading"; then
  tail -n 5 "$work/wheels.log" >&2
  fail "the wheels of the locks cannot be downloaded"
fi
step "$(find "$WHEELS" -type f | wc -l) wheels, $(du -sm "$WHEELS" | cut -f 1) MB"

build() {
  BUILDER=buildah WHEELS=$WHEELS APT_SNAPSHOT=${2-} image/build.sh "$target" "localhost/$1" --no-cache --layers=false \
    --build-arg "${target^^}_BASE=localhost/base" --build-arg "${target^^}_DIGEST=$digest" 2>&1
}
if dpkg --compare-versions "$(dpkg-query --show --showformat='${Version}' apt)" lt 2.7; then
  step "a snapshot must be refused where apt knows none"
  if build refused 20260925T090000Z > "$work/refused.log" || ! grep -q "^error: APT_SNAPSHOT=" "$work/refused.log"; then
    tail -n 20 "$work/refused.log" >&2
    fail "it was not"
  fi
fi

step "build"
build first || fail "the build failed"
step "built; no layer holds a cache, a package list, a log or credentials"
# Not packed, since they are unpacked again at once.
buildah push --quiet --disable-compression localhost/base "dir:$work/base.layers"
buildah push --quiet --disable-compression localhost/first "dir:$work/first.layers.d"
bin/python image/layers.py "$work/first.layers.d" "$work/base.layers"
if [[ ! ${QUICK:-} ]]; then
  build second > "$work/second.log" &
  second=$!
fi

step "use of the image as its own user, on a copy of this repository mounted read-only"
container=$(buildah from localhost/first)
buildah run --volume "$work/repository:/bundle:ro" "$container" -- bash image/inside.sh "$target" "${QUICK:+quick}"
health='{{range .Docker.Config.Healthcheck.Test}}{{println .}}{{end}}'
readarray -t health < <(buildah inspect --type image --format "$health" localhost/first)
[[ ${health[0]} = CMD ]] || fail "its health check is none: ${health[*]}"
said=$(buildah run "$container" -- "${health[@]:1}" 2>&1) && passes=yes || passes=no
if [[ $target = cuda && ! -e /dev/nvidia0 ]]; then # all is imported, and then a GPU is asked for
  [[ $passes = no && $said = *$'\nAssertionError'* ]] || fail "without a GPU its health check should fail for want of one: $said"
  echo "its health check fails here, where there is no GPU, and for no other reason: ${health[*]:1}"
else
  [[ $passes = yes ]] || fail "its health check fails: ${health[*]}: $said"
  echo "its health check passes: ${health[*]:1}"
fi

for engine in docker podman; do # as `make reproduce-image` does: what is written inside belongs to who called
  name=localhost/image-test:latest
  case $engine in
    docker) take=(buildah push --quiet localhost/first "docker-daemon:$name") ;;
    podman) take=(buildah tag localhost/first "$name") ;; # it has the same storage
  esac
  if [[ $target = cuda ]] || ! { "$engine" info && "${take[@]}" && "$engine" run --rm "$name" true; } > /dev/null 2>&1; then
    echo "note: no $engine that could run it is here, so image/run.sh is not tried with one"
    continue
  fi
  ENGINE=$engine "$work/repository/image/run.sh" "$target" "$name" sh -c 'make -s setup && touch ".made-by-$0"' "$engine"
  [[ $(stat -c %u "$work/repository/.made-by-$engine") = "$(id -u)" ]] || fail "what $engine's user made belongs to another"
  [[ $engine != docker ]] || docker rmi --force "$name" > /dev/null
  echo "image/run.sh works with $engine"
done
labels='{{range $name, $value := .Docker.Config.Labels}}{{println $name $value}}{{end}}'
buildah inspect --type image --format "user {{println .Docker.Config.User}}$labels" localhost/first
[[ ! ${QUICK:-} ]] || { step "done; cpu without QUICK=1 is also built again and compared"; exit 0; }

step "comparison with a second build, made meanwhile without a cache"
wait "$second" || { tail -n 20 "$work/second.log" >&2; fail "the second build failed"; }
layers() {
  buildah inspect --type image --format '{{range .OCIv1.RootFS.DiffIDs}}{{.}}{{"\n"}}{{end}}' "localhost/$1"
}
files() {
  local root
  root=$(buildah mount "$(buildah from "localhost/$1")")
  (cd "$root" && find . -xdev -printf '%p %y %m %U:%G %l\n' -type f -exec sha256sum {} + | sort) > "$work/$1.files"
}
layers first > "$work/first.layers"
layers second > "$work/second.layers"
if ! diff "$work/first.layers" "$work/second.layers" > /dev/null; then
  files first
  files second
  diff "$work/first.files" "$work/second.files" | head -n 40 >&2
  fail "the two builds differ in the files above, or in their times if there are none"
fi
cat "$work/second.layers"
step "both builds have these layers, bit for bit, and so the same files and packages: done"
