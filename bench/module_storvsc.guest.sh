#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The guest of bench/module_storvsc.host.sh: our drivers and the distribution's, turn about, and with each one
# fio run after the other on /dev/sda; a line for each run:
#   @@fig ROUND ours|theirs NAME IOPS KiB/s CPU-microseconds-for-each-IO

fail() {
	echo "bench: $*"
	exit 1
}

# In ms, of all CPUs together: what was not idle. The kernel counts idle time as it sleeps, not by ticks.
idle_ms() { awk '$1 == "cpu" { print ($5 + $6) * 10 }' /proc/stat; }
now_ms() { awk '{ print int($1 * 1000) }' /proc/uptime; }
cpus=$(grep -c ^processor /proc/cpuinfo)

run() { # NAME BYTES FIO-OPTION...
	name=$1 bytes=$2
	shift 2
	idle=$(idle_ms) began=$(now_ms)
	line=$(fio --name="$name" --filename=/dev/sda --direct=1 --ioengine=libaio --time_based --bs="$bytes" \
		--runtime="${SECONDS_EACH:-3}" --minimal --terse-version=3 "$@" 2>/dev/null)
	took=$(($(now_ms) - began)) idle=$(($(idle_ms) - idle))
	echo "$line" | awk -F';' -v run="$round $who $name" -v busy=$((took * cpus - idle)) -v bytes="$bytes" '{
		iops = $8 + $49; rate = $7 + $48
		total = ($6 + $47) * 1024 / bytes
		printf "@@fig %s %d %d %.2f\n", run, iops, rate, total ? busy * 1000 / total : 0
	}'
}

load() {
	if [ "$who" = ours ]; then
		for module in hv_vmbus hv_storvsc; do
			insmod /ours/$module.ko || fail "insmod of our $module"
		done
	else
		modprobe hv_storvsc || fail 'modprobe hv_storvsc'
	fi
	tries=0
	until [ -b /dev/sda ]; do
		[ $((tries += 1)) -lt 300 ] || fail "no disk with $who"
		usleep 100000
	done
}

unload() {
	rmmod hv_storvsc && rmmod hv_vmbus || fail "rmmod with $who"
}

# See tests/guest/cases/reload: the distribution's bus takes these timers along when it goes. Without them the
# kernel has the same timer with both.
for device in $(printf '%s\n' /sys/devices/system/clockevents/clockevent* | sort -r); do
	echo 'Hyper-V clockevent' >"$device/unbind_device" 2>/dev/null
done
unload

round=0
order='ours theirs'
while [ $round -lt "${ROUNDS:-7}" ]; do
	round=$((round + 1))
	for who in $order; do
		load
		for depth in 1 32; do
			run 4k_random_read_qd$depth 4096 --rw=randread --iodepth=$depth
			run 4k_random_write_qd$depth 4096 --rw=randwrite --iodepth=$depth
		done
		run 1m_read 1048576 --rw=read --iodepth=4
		run 1m_write 1048576 --rw=write --iodepth=4
		unload
	done
	# Who goes first goes last the next time.
	order="${order#* } ${order% *}"
done
