#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# Our hv_storvsc beside the distribution's, in one guest, turn about, where a full KVM is. The values are medians
# of ROUNDS (7) rounds; the ratio is the mean (geometric) of the rounds' ratios, so that a machine whose speed
# drifts does not tell in it. Where a round differs from the next by half, many rounds are needed.
# usage: module_storvsc.host.sh GUEST-FOLDER LIS
set -u
. "$(dirname "$(readlink -f "$0")")/figures.sh"
guest=$1 lis=$2
work=$(mktemp -d)
export LIS_RUNTIME_DIR=$work
trap 'rm -rf "$work"' EXIT
# In memory: what the disk costs is the same for both and no concern here.
disk=/dev/shm/bench.raw
dd if=/dev/urandom of=$disk bs=1M count=256 status=none

timeout 2900 "$lis" run bench --kernel "$guest/vmlinux" --initrd "$guest/initrd" \
	--memory 512M --cpus "${CPUS:-1}" --drive $disk \
	--append "console=ttyS0 panic=-1 quiet script.ROUNDS=${ROUNDS:-7} script.SECONDS_EACH=${SECONDS_EACH:-3}" \
	</dev/null >"$work/console" 2>"$work/log" || {
	echo "bench: the guest failed: $(tail -n1 "$work/log")" >&2
	tail -n 20 "$work/console" >&2
	exit 1
}
tr -d '\r' <"$work/console" | sed -n 's/^.*@@fig //p' >"$work/figures"
[[ -z ${EACH_ROUND:-} ]] || cat "$work/figures" >&2

values() { # WHO NAME FIELD
	awk -v who="$1" -v name="$2" -v field="$3" '$2 == who && $3 == name { print $field }' "$work/figures"
}
figure() { # NAME FIELD UNIT SUFFIX
	local ratio
	ratio=$(paste <(values ours "$1" "$2") <(values theirs "$1" "$2") | mean_ratio)
	printf 'storvsc_%s %s %s distribution_storvsc %s %s %.2f\n' "$1$4" "$(values ours "$1" "$2" | median)" "$3" \
		"$(values theirs "$1" "$2" | median)" "$3" "$ratio"
}
for name in $(cut -d' ' -f3 "$work/figures" | awk '!seen[$0]++'); do
	case $name in
	1m_*) figure "$name" 5 KiB/s '' ;;
	*) figure "$name" 4 IOPS '' ;;
	esac
	figure "$name" 6 us/IO _cpu
done
