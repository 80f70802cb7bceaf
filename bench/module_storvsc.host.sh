#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# Our hv_storvsc beside the distribution's: same kernel, host, disk and guest but for the modules, turn
# about, where a full KVM is. Medians of ROUNDS (3) boots each.
# usage: module_storvsc.host.sh OUR-GUEST-FOLDER THEIR-GUEST-FOLDER LIS
set -u
declare -A guests=([ours]=$1 [theirs]=$2)
lis=$3 rounds=${ROUNDS:-3} cpus=${CPUS:-1}
work=$(mktemp -d)
export LIS_RUNTIME_DIR=$work
trap 'kill -9 $(jobs -p) 2>/dev/null; rm -rf "$work"' EXIT
# In memory: what the disk costs is the same for both and no concern here.
disk=/dev/shm/bench.raw
dd if=/dev/urandom of=$disk bs=1M count=256 status=none

for ((i = 0; i < rounds; i++)); do
	for who in ours theirs; do
		guest=${guests[$who]}
		timeout 600 "$lis" run bench --kernel "$guest/vmlinux" --initrd "$guest/initrd" \
			--memory 512M --cpus "$cpus" --drive $disk \
			--append "console=ttyS0 panic=-1 quiet $(cat "$guest/append" 2>/dev/null) script.SECONDS_EACH=${SECONDS_EACH:-8}" \
			</dev/null >"$work/console" 2>"$work/log" || {
			echo "bench: the guest with $who failed: $(tail -n1 "$work/log")" >&2
			tail -n 20 "$work/console" >&2
			exit 1
		}
		tr -d '\r' <"$work/console" | sed -n 's/^.*@@fig //p' >>"$work/$who"
	done
done

median() { # WHO NAME FIELD
	awk -v name="$2" -v field="$3" '$1 == name { print $field }' "$work/$1" | sort -n |
		awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}
figure() { # NAME FIELD UNIT SUFFIX
	local a b
	a=$(median ours "$1" "$2") b=$(median theirs "$1" "$2")
	awk -v name="$1$4" -v a="$a" -v b="$b" -v unit="$3" 'BEGIN {
		printf "storvsc_%s %s %s distribution_storvsc %s %s %.2f\n", name, a, unit, b, unit, b ? a / b : 0 }'
}
for name in $(cut -d' ' -f1 "$work/ours" | awk '!seen[$0]++'); do
	case $name in
	1m_*) figure "$name" 3 KiB/s '' ;;
	*) figure "$name" 2 IOPS '' ;;
	esac
	figure "$name" 4 us/IO _cpu
done
