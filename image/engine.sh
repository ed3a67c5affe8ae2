# Sourced by the scripts beside it: what builds or runs images here, as $engine.
# shellcheck shell=bash disable=SC2034  # it is used by those who source it
fail() {
  echo "error: $*" >&2
  exit 2
}

known() {
  [[ $1 =~ ^(cpu|cuda)$ ]] || fail "TARGET=$1: allowed are cpu and cuda"
}

# The engine that the variable $1 names; else docker where its engine answers, or $2 where that is installed. $3 is what is
# said where there is neither.
choose() {
  engine=${!1:-}
  if [[ $engine ]]; then
    [[ $engine = docker || $engine = "$2" ]] \
      || fail "$1=$engine: allowed are docker and $2, or nothing to take the one that works"
  elif docker info > /dev/null 2>&1; then
    engine=docker
  elif command -v "$2" > /dev/null; then
    engine=$2
  else
    fail "$3: docker has no engine that answers, and there is no $2"
  fi
}

# What runs the image NAME, made with TARGET, which is here. ENGINE=docker|podman takes that one.
image() {
  known "$1"
  choose ENGINE podman "nothing to run an image with"
  [[ ! ${ENGINE:-} ]] || "$engine" info > /dev/null 2>&1 || fail "ENGINE=$engine: it is not here, or does not answer"
  "$engine" image inspect "$2" > /dev/null 2>&1 || fail "IMAGE=$2: no such image; make image TARGET=$1 makes it"
}
