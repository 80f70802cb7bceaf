# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# SCSI as sg3-utils speak it: a disk, a CD drive whose medium changes, a device of the host.

# disk_at LUN: sets $disk to the one there, on the one controller.
disk_at() {
	for node in /sys/bus/scsi/devices/*:*:*:"$1"/block/*; do
		disk=/dev/${node##*/}
		[ -b "$disk" ] && return 0
	done
	return 1
}

# reads_back MIB: what is written to $disk at MIB is there; $sum is of it.
reads_back() {
	dd if=/dev/urandom of=/data bs=64k count=32 2>/dev/null
	sum=$(md5sum </data)
	dd if=/data of="$disk" bs=64k seek=$(($1 * 16)) conv=fsync 2>/dev/null || fail "writing to $disk"
	echo 3 >/proc/sys/vm/drop_caches
	[ "$(dd if="$disk" bs=64k skip=$(($1 * 16)) count=32 2>/dev/null | md5sum)" = "$sum" ] ||
		fail "$disk reads back something else"
}

# shows PATTERN COMMAND...: succeeds, and writes a line with PATTERN.
shows() {
	pattern=$1
	shift
	"$@" >/tmp/out 2>&1 || fail "$*: $(cat /tmp/out)"
	grep -qE -- "$pattern" /tmp/out || fail "$* does not show '$pattern': $(cat /tmp/out)"
}

# refused STATUS COMMAND...
refused() {
	want=$1
	shift
	status=0
	"$@" >/tmp/out 2>&1 || status=$?
	[ $status = "$want" ] || fail "$*: status $status: $(cat /tmp/out)"
}

medium_is() {
	mount -t iso9660 -o ro /dev/sr0 /cd 2>/dev/null && [ "$(cat /cd/which)" = "$1" ]
}

wait_for 30 disk_of 64
disk_of 64
shows 'Msft' sg_inq "$disk"
shows 'Unmap command supported .LBPU.: 1' sg_vpd --page=lbpv "$disk"
shows 'Threshold exponent: 0' sg_vpd --page=lbpv "$disk"
shows 'Maximum unmap LBA count' sg_vpd --page=bl "$disk"
sg_turs "$disk" || fail 'sg_turs'

# What is written is mapped.
dd if=/dev/urandom of="$disk" bs=1M seek=8 count=1 conv=fsync 2>/dev/null
shows 'blocks: +[0-9]+ +mapped' sg_get_lba_status --lba=16384 "$disk"

# Reservations, kept over a reset of the unit by the host's file.
shows 'PR generation=0x0, there are NO registered' sg_persist --in --read-keys "$disk"
shows '' sg_persist --out --register --param-sark=0xabc --param-aptpl "$disk"
shows '' sg_persist --out --reserve --param-rk=0xabc --prout-type=1 "$disk"
shows 'Key=0xabc' sg_persist --in --read-reservation "$disk"
shows 'Persist Through Power Loss Active.PTPL_A.: 1' sg_persist --in --report-capabilities "$disk"
sg_persist --out --release --param-rk=0xdef --prout-type=1 "$disk" >/dev/null 2>&1 # a conflict; its status varies
shows 'Key=0xabc' sg_persist --in --read-reservation "$disk"
dd if=/dev/zero of="$disk" bs=4k count=1 conv=fsync 2>/dev/null || fail 'its holder may write'

# What there is not is refused with sense.
refused 9 sg_raw "$disk" 04 00 00 00 00 00
say disk

# The CD.
mkdir /cd
wait_for 30 test -b /dev/sr0
wait_for 10 medium_is one
shows 'Virtual DVD-ROM' sg_inq /dev/sr0
shows 'vendor id: Msft' sg_vpd --page=di /dev/sr0
[ "$(cat /sys/block/sr0/size)" -gt 100 ] || fail 'the size of the medium'
say mounted
read -r answer
[ "$answer" = go ] || fail "the host said $answer"
[ "$(cat /cd/which)" = one ] || fail 'what the host could not take is gone'
umount /cd
sg_raw /dev/sr0 1b 00 00 00 02 00 >/dev/null 2>&1 || fail 'ejecting' # START STOP UNIT with LOEJ
say ejected
wait_for 60 medium_is two
umount /cd
say changed

# The host's devices: a disk by its generic node, another by its block node.
for lun in 2 3; do
	wait_for 30 disk_at $lun
	disk_at $lun
	shows 'scsi_debug' sg_inq "$disk"
	reads_back 0
	refused 9 sg_raw "$disk" 3b 00 00 00 00 00 00 00 00 00 # WRITE BUFFER is not let through
done
# A block device of the host as a plain disk.
wait_for 30 disk_at 4
disk_at 4
shows 'Msft' sg_inq "$disk"
reads_back 0
say wrote "${sum%% *}"
reads_back 8
blkdiscard -o $((8 << 20)) "$disk" || fail 'trimming'

# A CD drive of the host.
say disks
wait_for 30 disk_at 5
disk_at 5
[ "$disk" = /dev/sr1 ] || fail "the host's CD drive is $disk"
shows 'scsi_debug' sg_inq "$disk"
shows 'PDT=5' sg_inq "$disk"
sg_turs "$disk" || fail 'sg_turs of the CD drive'
dmesg | grep -E 'cut here|BUG:|Call Trace' && fail 'the kernel complains'
say scsi ok
