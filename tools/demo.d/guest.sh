#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The guest's part of the demo: does what the host's part says, a line each, and answers on the console.
dmesg | grep -E 'Linux version|Hypervisor detected|clocksource: Switched to clocksource hyperv'
echo "@@kernel $(uname -r)"
# Our drivers have a version, the distribution's do not.
if [ -e /sys/module/hv_storvsc/version ]; then
	echo "hv_storvsc is OpenLIS' version $(cat /sys/module/hv_storvsc/version)"
	echo '@@drivers ours'
else
	echo '@@drivers stock'
fi
echo "@@clocksource $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
mkdir -p /disk
if [ -n "${SHELL_NOW:-}" ]; then
	mount -t ext4 /dev/sda /disk && echo 'The VHDX is mounted on /disk.'
	exec setsid cttyhack sh
fi
while read -r command; do
	case $command in
	devices)
		echo "@@devices $(ls /sys/bus/vmbus/devices | wc -l) on VMBus"
		;;
	write)
		mount -t ext4 /dev/sda /disk || exit 1
		dd if=/dev/urandom of=/disk/data bs=64k count=64 2>/dev/null || exit 1
		echo "@@sum $(sha256sum < /disk/data | cut -c1-64)"
		umount /disk
		echo 3 > /proc/sys/vm/drop_caches
		mount -t ext4 /dev/sda /disk || exit 1
		echo "@@sum2 $(sha256sum < /disk/data | cut -c1-64)"
		umount /disk
		;;
	date) echo "@@date $(date +%s)" ;;
	esac
done
