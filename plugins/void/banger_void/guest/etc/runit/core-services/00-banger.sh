#!/bin/sh
# Sourced by stage 1 of a guest's runit, at every boot, before its other core services; run by itself when the
# image is built.

# Commands run through banger's agent write already. Void makes the root file system read-only to check it,
# and while a file is open for writing that fails and ends the boot in an emergency shell.
mount() {
    case $* in
        '-o remount,ro /') ;;
        *) command mount "$@" ;;
    esac
}

# Once: whoever changes the services later is left alone. gettys have no terminal here.
if [ ! -e /var/lib/banger/runit ]; then
    mkdir -p /var/lib/banger /etc/sv/banger-sshd /etc/runit/runsvdir/default
    rm -f /etc/runit/runsvdir/default/agetty-* /etc/runit/runsvdir/default/getty-*
    [ -L /etc/sv/banger-sshd/supervise ] || ln -s /run/runit/supervise.banger-sshd /etc/sv/banger-sshd/supervise
    [ -e /etc/runit/runsvdir/default/sshd ] || ln -sfn /etc/sv/banger-sshd /etc/runit/runsvdir/default/sshd
    : >/var/lib/banger/runit
fi
