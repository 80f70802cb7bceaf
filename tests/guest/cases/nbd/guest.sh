# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# A disk whose NBD server is killed while the guest writes, and comes back. No command may fail.

wait_for 30 disk_of 16
disk_of 16
round=0
while [ $round -lt "$ROUNDS" ]; do
	round=$((round + 1))
	dd if=/dev/urandom of=/data bs=64k count=32 2>/dev/null
	sum=$(md5sum </data)
	rm -f /stop /failed
	at=0
	while [ ! -e /stop ]; do
		dd if=/data of="$disk" bs=64k seek=$((at * 32)) oflag=direct conv=fsync 2>/dev/null || touch /failed
		at=$(((at + 1) % 8))
	done &
	usleep 500000
	say writing $round
	read -r answer # the server is gone, and back
	[ "$answer" = back ] || fail "the host said $answer"
	# All of the disk once more, so that it is known what is on it.
	touch /stop
	wait
	[ ! -e /failed ] || fail "a write failed, round $round"
	at=0
	while [ $at -lt 8 ]; do
		dd if=/data of="$disk" bs=64k seek=$((at * 32)) oflag=direct conv=fsync 2>/dev/null || fail "writing, round $round"
		[ "$(dd if="$disk" bs=64k skip=$((at * 32)) count=32 iflag=direct 2>/dev/null | md5sum)" = "$sum" ] ||
			fail "reading, round $round"
		at=$((at + 1))
	done
done
dmesg | grep -E 'I/O error|cut here|BUG:|Call Trace' && fail 'the kernel complains'
say sum "${sum%% *}"
