# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
"$lis" disk create "$work/a.vhdx" --size 400M --block-size 1M || fail 'lis disk create'
"$lis" disk create "$work/b.vhd" --size 400M || fail 'lis disk create'
vm_start vm filesystems --drive "$work/a.vhdx,controller=0" --drive "$work/b.vhd,controller=1" --controllers 2
expect vm '@@filesystems ok' 900
vm_end vm 0
qemu-img check -q "$work/a.vhdx" || fail 'qemu-img check finds damage'
for image in a.vhdx b.vhd; do
	"$lis" disk check "$work/$image" || fail "lis disk check $image"
	# 14 MiB were written three times, and half of that trimmed.
	(($(stat -c %b "$work/$image") < 48 * 2048)) || fail "$image takes $(stat -c %b "$work/$image") sectors"
done
