#!/bin/sh
# A host of a training waits for horovodrun: sshd on port 2222, for a user that is not root, with keys alone.
# The keys are those of the folder STRATA_SSH_KEYS: of all hosts the same, so that each lets the others in. The MPI Operator puts
# them there; where the folder is empty, the first host makes them.
set -eu
keys=${STRATA_SSH_KEYS:?is not set: the folder with the keys of all hosts}
here=$(cd "$(dirname "$0")" && pwd)
umask 077

if [ ! -e "$keys/authorized_keys" ]; then
    exec 9>"$keys/lock"
    flock 9
    if [ ! -e "$keys/authorized_keys" ]; then
        rm -f "$keys/id_ed25519"
        ssh-keygen -q -t ed25519 -N '' -C strata -f "$keys/id_ed25519"
        cp "$keys/id_ed25519.pub" "$keys/authorized_keys"
    fi
    exec 9>&-
fi

host_key=$(mktemp -d)/host_key
ssh-keygen -q -t ed25519 -N '' -C strata -f "$host_key"
exec /usr/sbin/sshd -D -e -f "$here/sshd_config" -o "HostKey=$host_key" -o "AuthorizedKeysFile=$keys/authorized_keys"
