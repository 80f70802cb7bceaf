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

# mount_boot DISK: its /vmlinuz and /initrd to /boot.
mount_boot() {
	wait_for 30 test -b "$1"
	mkdir -p /boot
	mount -t ext4 -o ro "$1" /boot || fail "mount of $1"
}

. "/cases/$CASE/guest.sh"
