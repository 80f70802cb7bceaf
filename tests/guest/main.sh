#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# The guest's script for all tests: runs /cases/$CASE/guest.sh with a few helpers.

fail() {
	echo "failed: $*"
	exit 1
}

# say: a line for the host, `expect`ed there.
say() {
	echo "@@$*"
}

# on_host: have the host `serve` a command.
on_host() {
	say "host $*"
	read -r answer
	[ "$answer" = ok ] || fail "on the host, $*: $answer"
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
	left=$(($1 * 5))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $left -gt 0 ] || fail "waited in vain for: $*"
		left=$((left - 1))
		usleep 200000
	done
}

# find_disks: which disk is found first is not certain. Mounts the one with /vmlinuz and /initrd on /boot, and
# sets $data_disk to the other.
find_disks() {
	wait_for 30 test -b /dev/sdb
	mkdir -p /boot
	for disk in sda sdb; do
		if mount -t ext4 -o ro /dev/$disk /boot 2>/dev/null; then
			mounted=$disk
		else
			data_disk=/dev/$disk
		fi
	done
	[ -n "${mounted:-}" ] || fail 'no disk can be mounted on /boot'
}

# disk_of MIB: sets $disk to the one of this size.
disk_of() {
	for size in /sys/block/sd*/size; do
		[ "$(cat "$size" 2>/dev/null)" = $(($1 * 2048)) ] || continue
		disk=${size%/size}
		disk=/dev/${disk##*/}
		return 0
	done
	return 1
}

. "/cases/$CASE/guest.sh"
