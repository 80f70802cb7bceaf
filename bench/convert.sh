#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#
# `lis disk convert` and `compact` beside `qemu-img convert`, for every pair of formats both know: a disk half
# of which is data, from the page cache to the file system of the build folder. (qemu-img knows no compacting.)
# What counts is CPU time, user and system, which other load of the machine disturbs least; the least of ROUNDS
# (5), turn about. Ratios above 1 mean that ours took less. Wall time beside qemu-img that flushes as we do
# (-t writeback; by itself it leaves the new image to the page cache, ours is on the disk when it ends).
# usage: convert.sh LIS
set -eu
lis=$(realpath "$1")
rounds=${ROUNDS:-5} mib=${MIB:-2048}
if ! command -v qemu-img >/dev/null; then
	echo "bench: convert needs qemu-img" >&2
	exit 0
fi
work=$(mktemp -d "$PWD/convert.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

qemu_format() { [[ $1 == vhd ]] && echo vpc || echo "$1"; }
qemu_convert() { # FROM TO FROM-FILE TO-FILE OPTION...
	local from=$1 to=$2 source=$3 target=$4 options=()
	shift 4
	[[ $to != vhd ]] || options=(-o force_size=on)
	qemu-img convert "$@" -f "$(qemu_format "$from")" -O "$(qemu_format "$to")" "${options[@]}" "$source" "$target"
}

# NAME COMMAND...: a line "NAME CPU WALL" to the figures.
measure() {
	local name=$1 TIMEFORMAT="%U %S %R"
	shift
	if ! { time "$@" >/dev/null 2>errors; } 2>"$work/times"; then
		echo "bench: $* failed: $(cat errors)" >&2
		exit 1
	fi
	awk -v name="$name" '{ print name, $1 + $2, $3 }' times >>figures
}
least() { awk -v name="$1" -v field="$2" '$1 == name && (!n++ || $field < min) { min = $field } END { print min }' figures; }
report() { # NAME OURS PEER FIELD PEER-NAME
	local ours peer
	ours=$(least "$2" "$4") peer=$(least "$3" "$4")
	awk -v name="$1" -v ours="$ours" -v peer="$peer" -v other="$5" 'BEGIN {
		printf "%s %.2f s %s %.2f s %.2f\n", name, ours, other, peer, peer / (ours ? ours : 0.01) }'
}

truncate -s "${mib}M" source.raw
for ((at = 0; at < mib; at += 32)); do
	dd if=/dev/urandom of=source.raw bs=1M count=16 seek=$at conv=notrunc status=none
done
for to in vhd vhdx; do
	qemu_convert raw $to source.raw source.$to
done
sync
for from in raw vhd vhdx; do
	for to in raw vhd vhdx; do
		cat source.$from >/dev/null
		for ((round = 0; round < rounds; round++)); do
			rm -f target.*
			measure "ours_${from}_$to" "$lis" disk convert --quiet source.$from target.$to
			rm -f target.*
			measure "qemu_${from}_$to" qemu_convert $from $to source.$from target.$to
			rm -f target.*
			measure "flush_${from}_$to" qemu_convert $from $to source.$from target.$to -t writeback -W
		done
		rm -f target.*
		report "convert_${from}_${to}_cpu" "ours_${from}_$to" "qemu_${from}_$to" 2 qemu_img
		report "convert_${from}_${to}_time" "ours_${from}_$to" "flush_${from}_$to" 3 qemu_img_flushed
	done
	for ((round = 0; round < rounds; round++)); do
		cp --sparse=never source.$from target.$from
		sync target.$from
		measure "compact_$from" "$lis" disk compact --quiet target.$from
	done
	rm -f target.*
	report "compact_${from}_cpu" "compact_$from" "qemu_${from}_$from" 2 qemu_img_convert
	report "compact_${from}_time" "compact_$from" "flush_${from}_$from" 3 qemu_img_convert_flushed
done
