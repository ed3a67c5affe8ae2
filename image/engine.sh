# Sourced by the scripts beside it: what runs images here, as $runner. ENGINE=docker|podman takes that one.
# shellcheck shell=bash disable=SC2034  # it is used by those who source it
fail() {
  echo "error: $*" >&2
  exit 2
}

# The image NAME, made with TARGET, is here.
image() {
  [[ $1 =~ ^(cpu|cuda)$ ]] || fail "TARGET=$1: allowed are cpu and cuda"
  runner=${ENGINE:-}
  if [[ $runner ]]; then
    [[ $runner =~ ^(docker|podman)$ ]] \
      || fail "ENGINE=$runner: allowed are docker and podman, or nothing to take the one that works"
    "$runner" info > /dev/null 2>&1 || fail "ENGINE=$runner: it is not here, or does not answer"
  elif docker info > /dev/null 2>&1; then
    runner=docker
  elif command -v podman > /dev/null; then
    runner=podman
  else
    fail "nothing to run an image with: docker has no engine that answers, and there is no podman"
  fi
  "$runner" image inspect "$2" > /dev/null 2>&1 || fail "IMAGE=$2: no such image; make image TARGET=$1 makes it"
}
