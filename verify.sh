#!/bin/bash
# The smoke test for a live host: one VM through its whole life, with the banger that is installed here.
# usage: ./verify.sh [--nat [HOST:PORT]] [--image NAME]
#   --nat    also the way out: the guest connects to HOST:PORT, by default to port 53 of this host's name server
# Exit code: 0 when all steps passed. What was made is deleted in any case.
set -euo pipefail
cd "$(dirname "$0")"
banger=${BANGER:-.venv/bin/banger}
vm=verify-$$
nat=false
target=
create=(vm create "$vm")

while (($#)); do
    case $1 in
        --nat)
            nat=true
            if [[ ${2:-} == *:* ]]; then
                target=$2
                shift
            fi
            ;;
        --image)
            create+=(--image "${2:?--image wants a name}")
            shift
            ;;
        *)
            sed -n '2,5s/^# //p' "$0" >&2
            exit 2
            ;;
    esac
    shift
done

# name server: the first one that is not on this host itself
name_server() {
    awk '$1 == "nameserver" && $2 !~ /^127\.|:/ { print $2; exit }' \
        /run/systemd/resolve/resolv.conf /etc/resolv.conf 2>/dev/null || true
}

if $nat; then
    create+=(--nat)
    target=${target:-$(name_server):53}
    if [[ $target == :* ]]; then
        echo "verify: this host has no name server elsewhere: give --nat HOST:PORT" >&2
        exit 2
    fi
fi

say() {
    printf '%-7s %s\n' "$1" "$2"
}

finish() {
    code=$?
    "$banger" vm delete "$vm" >/dev/null 2>&1 || true
    if ((code)); then
        say FAILED "exit code $code"
    fi
    rm -f "$log"
    exit "$code"
}
log=$(mktemp)
trap finish EXIT

# step WORDS COMMAND...: runs it, shows what it wrote only when it fails
step() {
    local words=$1 begun=${EPOCHREALTIME/./}
    shift
    if "$@" >"$log" 2>&1; then
        say ok "$words ($(((${EPOCHREALTIME/./} - begun) / 1000)) ms)"
    else
        local code=$?
        say FAILED "$words: ${*}: exit code $code"
        cat "$log"
        return "$code"
    fi
}

guest() {
    "$banger" vm exec "$vm" -- "$@"
}

exit_code_arrives() {
    local code=0
    guest sh -c 'exit 3' || code=$?
    ((code == 3))
}

same_content() {
    guest cat /root/verify | cmp - "$0"
}

name_answers() {
    local address
    address=$("$banger" vm show "$vm" --json | awk -F'"' '$2 == "address" { print $4 }')
    [[ $(.venv/bin/python - "$(guest ip route show default | cut -d' ' -f3)" "$vm.$zone" <<'END'
import sys
import dns.message, dns.query
answer = dns.query.udp(dns.message.make_query(sys.argv[2], "A"), sys.argv[1], timeout=5)
print(answer.answer[0][0])
END
    ) == "$address" ]]
}

no_leak() {
    local found
    found=$("$banger" doctor --leaks --json | grep -A1 '"check": "leaks')
    ! grep -E 'warning|failed' <<<"$found"
}

# What is ours on the host, idle TAPs of the pool aside: they are capacity.
ours() {
    ip -o link | grep -oE 'tap-[0-9a-f]{8}\b' | sort || true
    nft list tables 2>/dev/null | sort || true
    "$banger" vm list --json | grep '"name"' || true
}

before=$(ours)
step "create" "$banger" "${create[@]}"
step "exec" guest uname -a
step "the exit code of a command" exit_code_arrives
step "ssh comes up" "$banger" vm wait "$vm" --for ssh --timeout 120
step "ssh" "$banger" vm ssh "$vm" -- true
step "copy to the guest" "$banger" vm cp "$0" "$vm:/root/verify"
step "its content" same_content
if "$banger" plugin list --json | grep -q '"banger-dns"'; then
    zone=$("$banger" config show --json | awk -F'"' '/capabilities.dns.zone/ { getline; print $4 }')
    step "the guest finds its name, $vm.$zone" guest getent hosts "$vm.$zone"
    step "the name server answers" name_answers
fi
if $nat; then
    step "the way out, to $target" guest bash -c "exec 3<>/dev/tcp/${target%:*}/${target##*:}"
fi
step "stop" "$banger" vm stop "$vm"
step "start" "$banger" vm start "$vm"
step "the disk has survived" guest test -s /root/verify
step "delete" "$banger" vm delete "$vm"
after=$(ours)
if [[ $before != "$after" ]]; then
    say FAILED "something was left behind:"
    diff <(echo "$before") <(echo "$after")
fi
step "nothing is left behind" test "$before" = "$after"
step "doctor finds no leak" no_leak
say ok "all"
