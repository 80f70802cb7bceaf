# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# Drives that are changed while the guest uses them: one has a file system, one is written as it is.

wait_for 30 disk_of 64
disk_of 64
mkdir /disk
mount -t ext4 "$disk" /disk || fail 'mount'
wait_for 30 disk_of 32
disk_of 32
data=$disk
dd if=/dev/urandom of=/data bs=64k count=64 2>/dev/null

# A file, and as many blocks of the other drive, each time others; all of it is read back.
work() {
	head -c $((65536 * (round % 7 + 1))) /data >"/disk/file$((round % 5))" || fail "writing a file, round $round"
	dd if=/data of="$data" bs=64k count=16 skip=$((round % 48)) seek=$((round * 11 % 400)) conv=fsync,notrunc \
		2>/dev/null || fail "writing, round $round"
	sync
	echo 3 >/proc/sys/vm/drop_caches
	[ "$(md5sum </disk/file$((round % 5)))" = "$(head -c $((65536 * (round % 7 + 1))) /data | md5sum)" ] ||
		fail "a file reads back something else, round $round"
	[ "$(dd if="$data" bs=64k count=16 skip=$((round * 11 % 400)) 2>/dev/null | md5sum)" = \
		"$(dd if=/data bs=64k count=16 skip=$((round % 48)) 2>/dev/null | md5sum)" ] ||
		fail "the drive reads back something else, round $round"
	round=$((round + 1))
	say round $round
}

round=0
while [ $round -lt 3 ]; do work; done
say ready
# Nobody asks for a rescan.
while ! disk_of 48; do work; done
say grown
while [ $round -lt "$ROUNDS" ]; do work; done
# The host may not be through.
read -r _
umount /disk
sync
echo 3 >/proc/sys/vm/drop_caches
sum=$(md5sum <"$data")
say sum "${sum%% *}"
dmesg | grep -E 'cut here|BUG:|Call Trace|I/O error' && fail 'the kernel complains'
say changes ok
