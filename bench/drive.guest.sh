#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The guest of bench/drive.host.sh: fio on its disk, once for each line that it is sent; then a line for each run:
#   @@fig NAME IOPS KiB/s
# shellcheck disable=SC2086 # names
modprobe -a $MODULES || echo "bench: modprobe $MODULES"
tries=0
until [ -b /dev/sda ] || [ -b /dev/vda ]; do
	[ $((tries += 1)) -lt 300 ] || { echo 'bench: no disk'; exit 1; }
	usleep 100000
done
disk=/dev/sda
[ -b $disk ] || disk=/dev/vda

run() { # NAME BYTES FIO-OPTION...
	name=$1 bytes=$2
	shift 2
	fio --name="$name" --filename=$disk --direct=1 --ioengine=libaio --time_based --bs="$bytes" \
		--runtime="$SECONDS_EACH" --minimal --terse-version=3 "$@" 2>/dev/null |
		awk -F';' -v name="$name" '{ printf "@@fig %s %d %d\n", name, $8 + $49, $7 + $48 }'
}

echo @@up
while read -r _; do
	for depth in 1 32; do
		run 4k_random_read_qd$depth 4096 --rw=randread --iodepth=$depth
		run 4k_random_write_qd$depth 4096 --rw=randwrite --iodepth=$depth
	done
	run 1m_read 1048576 --rw=read --iodepth=4
	run 1m_write 1048576 --rw=write --iodepth=4
	echo @@done
done
