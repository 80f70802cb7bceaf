# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
for name in one two; do
	mkdir "$work/$name"
	echo $name >"$work/$name/which"
	dd if=/dev/urandom of="$work/$name/more" bs=64k count=4 2>/dev/null
	genisoimage -quiet -o "$work/$name.iso" "$work/$name"
done
truncate -s 64M "$work/disk.raw"
# Devices that this kernel makes of its memory stand for those of the host: three disks and, when these have been
# looked at, for all of them are of one type, a CD drive.
debug=/sys/bus/pseudo/drivers/scsi_debug
modprobe -a sd_mod sr_mod && modprobe scsi_debug dev_size_mb=16 per_host_store=1 lbpu=1 lbpws=1 && modprobe sg ||
	fail 'no scsi_debug'
at_end='modprobe -r scsi_debug'
echo 2 >$debug/add_host

# node NUMBER KIND: $node is the device of an adapter that is of this kind.
node() {
	local found
	for ((i = 0; i < 50; i++)); do
		found=$(echo $debug/adapter"$1"/host*/target*/*/"$2"/*)
		node=/dev/${found##*/}
		[[ ! -e $found || ! -e $node ]] || break
		pause 0.2
	done
	[[ -e $node ]] || fail "no $node ($found)"
}

node 0 scsi_generic
generic=$node
node 1 block
block=$node
node 2 block
raw=$node

# lis disk and a block device: what is on it, onto it, back; and what is refused.
says() {
	local status=$1 pattern=$2 got=0
	shift 2
	"$lis" disk "$@" >"$work/disk.log" 2>&1 || got=$?
	[[ $got = "$status" && $(<"$work/disk.log") = *"$pattern"* ]] ||
		fail "lis disk $*: status $got, $(<"$work/disk.log")"
}
dd if=/dev/urandom of="$raw" bs=64k conv=fsync status=none 2>/dev/null || true # to its end
truncate -s 12M "$work/twelve.raw"
dd if=/dev/urandom of="$work/twelve.raw" bs=64k seek=40 count=30 conv=notrunc status=none
says 0 '16 MiB' info "$raw"
says 1 'is there already' convert "$work/twelve.raw" "$raw"
says 0 '' convert "$work/twelve.raw" "$raw" --force
cmp -n $((12 << 20)) "$work/twelve.raw" "$raw" || fail 'a block device has not what was written onto it'
says 0 '' convert "$raw" "$work/back.vhdx"
qemu-img compare -q -f vhdx -F raw "$work/back.vhdx" "$raw" || fail 'an image of a block device is another disk'
truncate -s 17M "$work/large.raw"
says 1 'too few' convert "$work/large.raw" "$raw" --force
says 1 'is a device of' resize "$raw" 20M
blockdev --setro "$raw"
says 1 "$raw: is a read-only device" convert "$work/twelve.raw" "$raw" --force
blockdev --setrw "$raw"
mkfs.ext4 -q "$raw"
mkdir "$work/mounted"
mount "$raw" "$work/mounted"
says 1 "$raw: is in use" convert "$work/twelve.raw" "$raw" --force
umount "$work/mounted"

vm_start vm scsi --drive "$work/disk.raw" --drive "$work/one.iso" --drive "$generic,type=passthrough,lun=2" \
	--drive "$block,type=passthrough,lun=3" --drive "$raw,lun=4"

expect vm '@@disk' 200
[[ $(jq -r '.reservation.type' "$work/disk.raw.reservations") = 1 ]] || fail 'the reservation is not kept'
expect vm '@@mounted' 60
! "$lis" drive vm eject drive1 2>"$work/drive.log" || fail 'a mounted CD was taken'
grep -q 'the guest holds its medium' "$work/drive.log" || fail "$(<"$work/drive.log")"
say vm go
expect vm '@@ejected' 60
for ((i = 0; i < 100; i++)); do
	[[ $(json vm '.drives[1].path') != null ]] || break
	pause 0.1
done
[[ $(json vm '.drives[1] | .type, .size_bytes') = $'cd\nnull' ]] || fail 'the medium is still there'
"$lis" drive vm insert drive1 "$work/two.iso" || fail 'insert'
expect vm '@@changed' 90
"$lis" drive vm eject drive1 || fail 'eject'
expect vm '@@wrote' 60
sum=${expected##*wrote }
says 1 "$raw: is in use" convert "$work/twelve.raw" "$raw" --force
expect vm '@@disks' 60
echo 5 >$debug/ptype
echo 1 >$debug/add_host
node 3 block
"$lis" drive vm add "$node,type=passthrough,lun=5" || fail 'adding a CD drive of the host'
expect vm '@@scsi ok' 60
vm_end vm 0
[[ $(head -c 2M "$raw" | md5sum) = "$sum  -" ]] || fail 'the block device has not what the guest wrote'
[[ $(tail -c 8M "$raw" | tr -d '\0' | wc -c) = 0 ]] || fail 'what the guest trimmed is there yet'
