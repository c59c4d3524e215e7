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
/usr/sbin/sshd -D -e -f "$here/sshd_config" -o "HostKey=$host_key" -o "AuthorizedKeysFile=$keys/authorized_keys" &
sshd=$!

# Processes of jobs/train.py on this host, which has no others but this script's and horovodrun's.
trainings() {
    for process in /proc/[0-9]*; do
        started=$(tr '\0' '\n' 2>/dev/null <"$process/cmdline" | head -n 2 | tr '\n' ' ')
        case $started in
        *python*' jobs/train.py ') echo "${process#/proc/}" ;;
        esac
    done
}

# A host that is taken away, by Kubernetes or Docker, hears SIGTERM and has 30 s, as shipped: one worker that is told is enough
# for all workers of all hosts to save at the same step.
ask() {
    kill -TERM "$sshd" || true # lets nobody in any more; who is in stays. Told twice, it is gone by then
    for process in $(trainings); do
        echo "sshd.sh: the host is taken away, so process $process is told to save"
        kill -TERM "$process" || true
    done
    while [ -n "$(trainings)" ]; do sleep 0.2; done
    sleep 1 # for their last lines, which are still on their way to horovodrun
}
trap ask TERM
wait "$sshd"
