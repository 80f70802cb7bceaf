#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The guest's part of the demo: does what the host's part says, a line each, and answers on the console.

# say: an answer. What comes after it waits until it is out: the kernel's own lines would cut in.
say() {
	echo "@@$*"
	stty sane
}

dmesg | grep -E 'Linux version|Hypervisor detected|clocksource: Switched to clocksource hyperv'
say "kernel $(uname -r)"
# Our drivers have a version, the distribution's do not.
if [ -e /sys/module/hv_storvsc/version ]; then
	echo "hv_storvsc is OpenLIS' version $(cat /sys/module/hv_storvsc/version)"
	say 'drivers ours'
else
	say 'drivers stock'
fi
say "clocksource $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
mkdir -p /disk
if [ -n "${SHELL_NOW:-}" ]; then
	mount -t ext4 /dev/sda /disk && echo 'The VHDX is mounted on /disk.'
	exec setsid cttyhack sh
fi
# now: seconds since the start. rate SINCE: of 2 MiB.
now() { cut -d' ' -f1 /proc/uptime; }
rate() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.0f Mbit/s", 8 * 2.097152 / (b - a + 0.001) }'; }

# network PORT-DOWN PORT-UP
network() {
	ip link set eth0 up
	udhcpc -i eth0 -n -q >/dev/null 2>&1
	say "address $(ip -4 addr show eth0 | sed -n 's/.* inet \([0-9.]*\).*/\1/p')"
	if ping -c 1 -W 10 10.0.2.2 >/dev/null; then say 'ping yes'; else say 'ping no'; fi
	began=$(now)
	sum=$(nc 10.0.2.2 "$1" </dev/null | md5sum | cut -c1-32)
	say "down - $sum $(rate "$began")"
	dd if=/dev/urandom of=/tmp/data bs=64k count=32 2>/dev/null
	sum=$(md5sum </tmp/data | cut -c1-32)
	began=$(now)
	got=$(nc 10.0.2.2 "$2" </tmp/data)
	say "up $sum $got $(rate "$began")"
	rm /tmp/data
}

while read -r command; do
	case $command in
	devices)
		say "devices $(ls /sys/bus/vmbus/devices | wc -l) on VMBus"
		;;
	write)
		mount -t ext4 /dev/sda /disk || exit 1
		dd if=/dev/urandom of=/disk/data bs=64k count=64 2>/dev/null || exit 1
		say "sum $(sha256sum < /disk/data | cut -c1-64)"
		umount /disk
		echo 3 > /proc/sys/vm/drop_caches
		mount -t ext4 /dev/sda /disk || exit 1
		say "sum2 $(sha256sum < /disk/data | cut -c1-64)"
		umount /disk
		;;
	network*)
		# shellcheck disable=SC2086
		network ${command#network}
		;;
	date) say "date $(date +%s)" ;;
	esac
done
