# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# Drives that come and go while the guest runs and uses them. The first stays; each kind has a size of its own.

# disks_of MIB: how many are of this size; $disk is the last.
disks_of() {
	count=0
	for size in /sys/block/sd*/size; do
		[ "$(cat "$size" 2>/dev/null)" = $(($1 * 2048)) ] || continue
		count=$((count + 1))
		disk=${size%/size}
		disk=/dev/${disk##*/}
	done
	echo $count
}

# disk_of MIB [N]: sets $disk to the one of this size, or the last if there are N.
disk_of() {
	[ "$(disks_of "$1")" = "${2:-1}" ] && disks_of "$1" >/dev/null
}

first_works() {
	dd if=/dev/urandom of=/disk/data bs=64k count=16 conv=fsync 2>/dev/null || fail "writing to the first drive, $1"
	sum=$(md5sum </disk/data)
	echo 3 >/proc/sys/vm/drop_caches
	[ "$(md5sum </disk/data)" = "$sum" ] || fail "the first drive reads back something else, $1"
}

# node_of DISK: a device file of our own in its place. Writing to one in /dev whose disk has just gone makes a plain
# file there.
node_of() {
	numbers=$(cat "/sys/block/${1#/dev/}/dev")
	rm -f /node
	mknod /node b "${numbers%:*}" "${numbers#*:}"
}

# Reads and writes behind the first 8 MiB, until the drive is gone.
load() {
	while [ -e "/sys/block/${1#/dev/}" ]; do
		dd if=/dev/zero of=/node bs=64k seek=128 count=128 conv=fsync 2>/dev/null
	done &
	while [ -e "/sys/block/${1#/dev/}" ]; do
		dd if=/node of=/dev/null bs=16k skip=512 count=512 iflag=direct 2>/dev/null
	done &
}

wait_for 30 disk_of 64
disk_of 64
mkdir /disk
mount -t ext4 "$disk" /disk || fail 'mount'
say ready
round=0
while [ $round -lt "$ROUNDS" ]; do
	round=$((round + 1))
	wait_for 60 disk_of 24
	disk_of 24
	node_of "$disk"
	dd if=/dev/urandom of=/data bs=64k count=128 2>/dev/null
	sum=$(md5sum </data)
	dd if=/data of=/node bs=64k conv=fsync 2>/dev/null || fail "writing, round $round"
	echo 3 >/proc/sys/vm/drop_caches
	[ "$(dd if=/node bs=64k count=128 2>/dev/null | md5sum)" = "$sum" ] || fail "reading, round $round"
	load "$disk"
	usleep 500000
	say loaded $round "${sum%% *}"
	wait_for 60 disk_of 24 0
	wait
	first_works "round $round"
	say gone $round
done
wait_for 120 disk_of 3 "$MANY"
say many
wait_for 120 disk_of 3 0
first_works 'at the end'
umount /disk
dmesg | grep -E 'cut here|BUG:|Call Trace' && fail 'the kernel complains'
say drives ok
# Until the host has looked at the status of a VM that still runs.
read -r bye
[ "$bye" = bye ] || fail "the host said: $bye"
