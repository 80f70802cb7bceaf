#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The guest of bench/drive.host.sh: fio on its disk for each NAME that it is sent, and a line of what came of it:
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
while read -r name; do
	depth=${name##*_qd}
	case $name in
	4k_random_read_*) run "$name" 4096 --rw=randread --iodepth="$depth" ;;
	4k_random_write_*) run "$name" 4096 --rw=randwrite --iodepth="$depth" ;;
	1m_read) run "$name" 1048576 --rw=read --iodepth=4 ;;
	1m_write) run "$name" 1048576 --rw=write --iodepth=4 ;;
	esac
	echo @@done
done
