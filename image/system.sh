#!/bin/sh
# Packages of the distribution, the user, and the folder to mount the repository on.
#     system.sh PACKAGE...      as root, with APT_SNAPSHOT (may be empty) and SOURCE_DATE_EPOCH set
set -eu
export DEBIAN_FRONTEND=noninteractive SOURCE_DATE_EPOCH
# NVIDIA's archive keeps no snapshots, and nothing more is wanted from it.
rm -f /etc/apt/sources.list.d/cuda*

# An older apt would ignore the setting, and take what is newest.
if [ -n "$APT_SNAPSHOT" ] && dpkg --compare-versions "$(dpkg-query --show --showformat='${Version}' apt)" lt 2.7; then
    echo "error: APT_SNAPSHOT=$APT_SNAPSHOT: this base's apt has no snapshots: use Ubuntu 24.04, or leave it empty" >&2
    exit 2
fi
get() {
    apt-get -qq -o APT::Update::Error-Mode=any ${APT_SNAPSHOT:+-o "APT::Snapshot=$APT_SNAPSHOT"} "$@"
}
install() {
    get install --yes --no-install-recommends "$@" > /dev/null
}

# Snapshots come over https, for which Ubuntu's base has no certificates yet. What is fetched without them is still
# checked against the archive's signing key, and all that follows is fetched with them.
if [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then
    get -o Acquire::https::Verify-Peer=false update
    install -o Acquire::https::Verify-Peer=false ca-certificates
fi
get update
install ca-certificates "$@"

useradd --uid 10001 --user-group --no-log-init --no-create-home --home-dir /tmp --shell /bin/bash bundle
mkdir /bundle && chown bundle:bundle /bundle
# The mounted repository belongs to whoever mounts it.
git config --system --add safe.directory /bundle

# What differs from one build to the next, or is of no use afterwards.
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache \
    /var/lib/dpkg/*-old /var/log/* /tmp/* /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid-
