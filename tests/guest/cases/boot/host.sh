# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
new_disk "$work/a.vhdx" 96M
truncate -s 64M "$work/b.raw"
mkfs.ext4 -q -F "$work/b.raw"
append="script.CPUS=$cpus" image=vmlinuz
vm_start vm boot --drive "$work/a.vhdx,controller=0" --drive "$work/b.raw,controller=1" --controllers 2
expect vm '@@ready'
wait_for 20 json vm '.services[] | select(.name == "heartbeat" and .state == "ok")'
[[ $(json vm .state) = running ]] || fail "state is $(json vm .state)"
[[ $(json vm .vmbus.version) =~ ^(5.3|6.0)$ ]] || fail "VMBus $(json vm .vmbus.version)"
"$lis" list | grep -q '^vm ' || fail 'lis list does not show it'
"$lis" status vm || fail 'lis status'
# One disk, one VM; one name, one VM.
"$lis" run other --kernel "$guest/vmlinuz" --drive "$work/a.vhdx" 2>"$work/second" && fail 'a disk was opened twice'
grep -q 'a.vhdx' "$work/second" || fail "the refusal does not name the disk: $(cat "$work/second")"
"$lis" run vm --kernel "$guest/vmlinuz" 2>"$work/second" && fail 'two VMs of one name'
grep -q vm "$work/second" || fail "the refusal does not name the VM: $(cat "$work/second")"
"$lis" shutdown vm || fail 'lis shutdown'
vm_end vm 0
qemu-img check -q "$work/a.vhdx" || fail 'qemu-img check finds damage'
e2fsck -fn "$work/b.raw" >/dev/null 2>&1 || fail 'e2fsck finds damage on the raw disk'
qemu-img convert -O raw "$work/a.vhdx" "$work/a.raw"
e2fsck -fn "$work/a.raw" >/dev/null 2>&1 || fail 'e2fsck finds damage on the VHDX'
for disk in a b; do
	sum=$(debugfs -R 'cat data' "$work/$disk.raw" 2>/dev/null | md5sum)
	# Which controller is found first is the guest's affair.
	grep -aq "@@sum sd[ab] ${sum%% *}" "$work/vm.console" || fail "host and guest differ on disk $disk"
done
