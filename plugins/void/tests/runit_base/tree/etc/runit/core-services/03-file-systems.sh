# shellcheck shell=sh
# Void opens an emergency shell when this fails.
mount -o remount,ro /
awk '$2 == "/" && $4 ~ /(^|,)ro(,|$)/' /proc/self/mounts >/run/read-only
mount -o remount,rw /
