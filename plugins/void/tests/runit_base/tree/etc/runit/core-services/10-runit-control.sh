# shellcheck shell=sh
# Void's runit has these in /run/runit. What was asked before is forgotten, as there.
mkdir -p /run/runit /run/sshd
install -m 0 /dev/null /run/runit.stopit
install -m 0 /dev/null /run/runit.reboot
