#!/bin/sh
# The virtual environment /opt/venv with the packages of the hashed locks, and nothing else.
#     packages.sh LOCK...       as root; each LOCK is requirements/LOCK.txt, in the order to install them
# The context is mounted on /context. With a folder wheels/ in it, no index is asked.
set -eu
cd /context
python3 -m venv /opt/venv
pip() {
    /opt/venv/bin/python -m pip --disable-pip-version-check --no-cache-dir "$@"
}
add() {
    lock=$1
    shift
    pip install --quiet --no-deps --no-compile --require-hashes --no-build-isolation --use-pep517 \
        -r "requirements/$lock.txt" "$@"
}

for lock in "$@"; do
    if [ -d wheels ]; then
        add "$lock" --no-index --find-links wheels
    elif [ -n "${TORCH_INDEX:-}" ] && [ "$lock" = bootstrap ]; then
        add "$lock" 2> /tmp/pip.log || add "$lock" --extra-index-url "$TORCH_INDEX" || { cat /tmp/pip.log >&2; exit 1; }
    else
        add "$lock"
    fi
    sha256sum "requirements/$lock.txt" >> /opt/venv/locks.sha256
done

# pip is the one package here that no lock names.
pip uninstall --quiet --yes pip
# Nobody can write here later, so bytecode is made now, and without the time that Python would put into it: -f also
# replaces what was written, with the time, while a package was built. Some packages carry files for a newer Python,
# which do not compile and are not imported.
/opt/venv/bin/python -m compileall -f -qq -j 0 --invalidation-mode unchecked-hash /opt/venv/lib || true
rm -rf /tmp/*
