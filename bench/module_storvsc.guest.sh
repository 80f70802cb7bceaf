#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The guest of bench/module_storvsc.host.sh: one fio run after the other on /dev/sda, a line for each:
#   @@fig NAME IOPS KiB/s CPU-microseconds-for-each-IO

until [ -b /dev/sda ]; do usleep 100000; done

# In ms, of all CPUs together: what was not idle. The kernel counts idle time as it sleeps, not by ticks.
idle_ms() { awk '$1 == "cpu" { print ($5 + $6) * 10 }' /proc/stat; }
now_ms() { awk '{ print int($1 * 1000) }' /proc/uptime; }
cpus=$(grep -c ^processor /proc/cpuinfo)

run() { # NAME FIO-OPTION...
	name=$1
	shift
	idle=$(idle_ms) began=$(now_ms)
	line=$(fio --name="$name" --filename=/dev/sda --direct=1 --ioengine=libaio --time_based \
		--runtime="${SECONDS_EACH:-8}" --minimal --terse-version=3 "$@" 2>/dev/null)
	took=$(($(now_ms) - began)) idle=$(($(idle_ms) - idle))
	echo "$line" | awk -F';' -v name="$name" -v busy=$((took * cpus - idle)) '{
		iops = $8 + $49; rate = $7 + $48
		total = ($6 + $47) * 1024 / bytes
		printf "@@fig %s %d %d %.2f\n", name, iops, rate, total ? busy * 1000 / total : 0
	}' bytes="$bytes"
}

bytes=4096
for depth in 1 32; do
	run "4k_random_read_qd$depth" --rw=randread --bs=4k --iodepth=$depth
	run "4k_random_write_qd$depth" --rw=randwrite --bs=4k --iodepth=$depth
done
bytes=1048576
run 1m_read --rw=read --bs=1m --iodepth=4
run 1m_write --rw=write --bs=1m --iodepth=4
