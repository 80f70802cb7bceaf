# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# File systems are made, filled, emptied in part, trimmed and checked, one after the other on each disk.
wait_for 20 test -b /dev/sdb
mkdir -p /mnt

quietly() {
	"$@" >/tmp/out 2>&1 || fail "$*: $(tail -n 2 /tmp/out)"
}

# fill: files of all sizes, with their sums.
fill() {
	for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
		mkdir -p /mnt/$((i % 3))
		quietly dd if=/dev/urandom of=/mnt/$((i % 3))/$i bs=$((i * 31337)) count=6
	done
	(cd /mnt && find . -type f -exec md5sum {} +) >/tmp/sums
	sync
}

# empty: every other file goes, and its room.
empty() {
	for i in 2 4 6 8 10 12; do
		rm /mnt/$((i % 3))/$i
	done
	grep -vE '/(2|4|6|8|10|12)$' /tmp/sums >/tmp/left
	sync
	quietly fstrim /mnt
}

check() {
	case $1 in
	ext4) quietly e2fsck -f -n "$2" ;;
	xfs) quietly xfs_repair -n "$2" ;;
	btrfs) quietly btrfs check "$2" ;;
	esac
}

for disk in /dev/sda /dev/sdb; do
	for kind in ext4 xfs btrfs; do
		case $kind in
		ext4) quietly mkfs.ext4 -q -F $disk ;;
		*) quietly mkfs.$kind -q -f $disk ;;
		esac
		quietly mount -t $kind $disk /mnt
		fill
		empty
		umount /mnt || fail "umount $kind"
		check $kind $disk
		echo 3 >/proc/sys/vm/drop_caches
		quietly mount -t $kind -o ro $disk /mnt
		[ "$(wc -l </tmp/left)" = 6 ] || fail "$kind: $(wc -l </tmp/left) files are left"
		(cd /mnt && quietly md5sum -c /tmp/left)
		umount /mnt || fail "umount $kind"
		say "$disk $kind"
	done
done
dmesg | grep -E 'cut here|BUG:|Call Trace|I/O error' && fail 'the kernel complains'
say filesystems ok
