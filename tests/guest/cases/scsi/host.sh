# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
for name in one two; do
	mkdir "$work/$name"
	echo $name >"$work/$name/which"
	dd if=/dev/urandom of="$work/$name/more" bs=64k count=4 2>/dev/null
	genisoimage -quiet -o "$work/$name.iso" "$work/$name"
done
truncate -s 64M "$work/disk.raw"
# A disk that this kernel makes of its memory stands for a device of the host.
modprobe scsi_debug dev_size_mb=16 && modprobe sg || fail 'no scsi_debug'
at_end='modprobe -r scsi_debug'
for ((i = 0; i < 50; i++)); do
	generic=$(echo /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*/scsi_generic/*)
	[[ ! -e $generic ]] || break
	pause 0.2
done
generic=/dev/${generic##*/}
[[ -c $generic ]] || fail "no $generic"
vm_start vm scsi --drive "$work/disk.raw" --drive "$work/one.iso" --drive "$generic,type=passthrough"

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
expect vm '@@scsi ok' 60
vm_end vm 0
