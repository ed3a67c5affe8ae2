# Sourced by the scripts beside it: where the bundle lies, which environment a profile runs in, what a ready one is.
# shellcheck shell=sh disable=SC2034  # its variables are used by those who source it

fail() {
  echo "error: $*" >&2
  exit 2
}

# Unset each variable whose whole name is the extended regular expression $1.
forget() {
  for variable in $(env | LC_ALL=C sed -nE "s/^($1)=.*/\\1/p"); do
    unset "$variable"
  done
}

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 2

# The lock in requirements/ that a profile is installed from; cuda is CUDA 13 with vLLM.
lock_of() {
  case $1 in
    qwen7b | qwen1_5b | qwen1_5b_report) echo cuda ;;
    *) echo cpu ;;
  esac
}

# The name that params.yaml gives, or another file in its place. It is read and never run: a plain or quoted word, a
# comment after it, and the name of one of the profiles.
profile_of() {
  [ -r "$1" ] || fail "$1: no such file, or not readable"
  name=$(tr -d '\r' < "$1" | LC_ALL=C sed -n -e 's/[[:blank:]]\{1,\}#.*//' -e 's/[[:blank:]]*$//' \
    -e "s/^profile:[[:blank:]]\{1,\}\([\"']\{0,1\}\)\([A-Za-z0-9_-]\{1,\}\)\1$/\2/p")
  [ -n "$name" ] && [ -f "$root/profiles/$name.yaml" ] \
    || fail "${1#"$root/"}: profile: allowed is a line \`profile: NAME\`, with one of the names $(profiles)"
  echo "$name"
}

profiles() {
  (cd "$root/profiles" && for file in *.yaml; do printf '%s ' "${file%.yaml}"; done) | sed 's/ $//; s/ /, /g'
}

# The environment of a lock: the folder $venv, and the locks that it is installed from, in that order.
use() {
  lock=$1 bootstrap=bootstrap venv=$root/.venv
  [ "$lock" = cpu ] || venv=$root/.venv-$lock
  case $lock in
    remotes | track) bootstrap="bootstrap-cuda" ;; # without PyTorch
    *) [ ! -f "$root/requirements/bootstrap-$lock.txt" ] || bootstrap="bootstrap-$lock" ;;
  esac
  [ -f "$root/requirements/$lock.txt" ] || fail "there is no lock requirements/$lock.txt"
}

# What $venv/.installed of a ready environment holds: the folder it was made in, and the hash of what is in it.
wanted() {
  echo "$root"
  cat "$root/requirements/$bootstrap.txt" "$root/requirements/$lock.txt" | sha256sum
}

# Why $venv cannot be used as it is; nothing if it can.
unready() {
  if [ ! -x "$venv/bin/python" ] || [ ! -f "$venv/.installed" ]; then
    echo "there is no environment ${venv#"$root/"}"
  elif [ "$(cat "$venv/.installed")" != "$(wanted)" ]; then
    if [ "$(head -n 1 "$venv/.installed")" != "$root" ]; then
      echo "the environment ${venv#"$root/"} was made in another folder, $(head -n 1 "$venv/.installed")"
    else
      echo "the environment ${venv#"$root/"} is not of the present requirements/$lock.txt"
    fi
  fi
}
