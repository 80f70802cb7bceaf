#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# Tests tools/kvmbox: always in the box, even where KVM works. Ends with 1 and a reason when one fails.
set -eu
kvmbox=$(readlink -f "$(dirname "$0")/../../tools/kvmbox")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/rw" "$work/ro"
cd "$work/ro"
echo original >file

fail() { echo "failed: $*"; exit 1; }
# same WHAT GOT WANTED
same() { [ "$2" = "$3" ] || fail "$1: \"$2\" instead of \"$3\""; }
# box OPTION... -- COMMAND...: with standard input empty; leaves status, and the output in files.
box() {
	status=0
	"$kvmbox" --force "$@" </dev/null >"$work/out" 2>"$work/err" || status=$?
}

# A box of its own for the time-out, beside all others: two at a time work.
(
	"$kvmbox" --force --timeout 2 -- sleep 1000 </dev/null 2>"$work/late" || late_status=$?
	same "status after a time-out" "$late_status" 124
	grep -q 'killed after 2 seconds' "$work/late" || fail "no word of the time-out"
) &
late=$!

# The command sees the machine's files, its folder, the variables given, and a full KVM.
cat >"$work/rw/inside" <<'END'
echo "folder $PWD, file $(cat file), $VARIABLE, ${OTHER-unset}"
echo "synic $(perl -e 'open $k, "+<", "/dev/kvm"; print ioctl $k, 0xAE03, 148')"
echo changed >file; echo new >other; echo written >../rw/written
[ -c /dev/net/tun ] && ip link show lo | grep -q UP && modprobe loop && echo devices
keys() { awk '/i8042/ { n += $2 } END { print n }' /proc/interrupts; }
before=$(keys); for i in $(seq 60); do [ "$(keys)" = "$before" ] || { echo poked; break; }; sleep 0.5; done
echo complaint >&2
exit 7
END
export OTHER=1
box --rw "$work/rw" --env VARIABLE='two words' -- bash ../rw/inside
same "status" $status 7
same "output" "$(cat "$work/out")" "folder $work/ro, file original, two words, unset
synic 1
devices
poked"
same "errors" "$(cat "$work/err")" complaint
same "a file outside the writable folder" "$(cat file)" original
[ ! -e other ] || fail "a file appeared outside the writable folder"
same "a file in the writable folder" "$(cat ../rw/written)" written

# Output arrives while the command runs, input too; the end of input is seen.
cat >dialogue <<'END'
echo ready; read -r line; echo "got $line"; cat
END
coproc live { "$kvmbox" --force -- sh dialogue; }
pid=$!
read -r -t 200 line <&"${live[0]}" || fail "no output while the command runs"
same "first line" "$line" ready
echo hello >&"${live[1]}"
read -r -t 100 line <&"${live[0]}" || fail "no answer to a line of input"
same "second line" "$line" "got hello"
eval "exec ${live[1]}>&-"
wait "$pid" || fail "status $? at the end of input"

# Much output is complete although the reader is slow.
same "much output" "$("$kvmbox" --force -- seq 100000 </dev/null | { sleep 8; md5sum; })" "$(seq 100000 | md5sum)"

# What cannot be run says so; mistakes are told apart from the command's status.
"$kvmbox" --force --rw /no/such -- true 2>/dev/null && fail "a missing folder is accepted"
same "status of a mistake" "$("$kvmbox" --memory lots true 2>/dev/null || echo $?)" 125
same "where" "$("$kvmbox" --direct --where; "$kvmbox" --force --where)" "here
box"
same "direct" "$("$kvmbox" --direct -- sh -c 'echo here; exit 3' || echo $?)" "here
3"

wait $late
