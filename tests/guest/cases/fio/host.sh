# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
truncate -s 64M "$work/a.raw"
new_disk "$work/b.vhdx" 64M
vm_start vm fio --drive "$work/a.raw,controller=0" --drive "$work/b.vhdx,controller=1" --controllers 2
expect vm '@@verified' 600
vm_end vm 0
qemu-img check -q "$work/b.vhdx" || fail 'qemu-img check finds damage'
