# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# A crashed kernel's successor finds the bus again and writes the dump to the synthetic disk.
find_disks
if [ -z "${STAGE:-}" ]; then
	[ "$(cat /sys/kernel/kexec_crash_size)" -gt 0 ] || fail 'no memory is kept for the crash kernel'
	# A kernel with a bus of its own leaves the host to ours in both lives.
	bus=$(grep -o 'initcall_blacklist=[^ ]*' /proc/cmdline)
	kexec -s -p /boot/vmlinuz --initrd=/boot/initrd \
		--append="console=ttyS0 panic=-1 quiet maxcpus=1 $bus script.CASE=kdump script.STAGE=2" || fail 'kexec -p'
	# The panic's own lines may cut in, or come first, while this one is on its way.
	say crashing
	read -r _
	echo c > /proc/sysrq-trigger
	fail 'still alive'
fi
dd if=/proc/vmcore of="$data_disk" bs=64k count=64 2>/dev/null || fail 'writing the dump'
sync
say "dumped $(dd if=/proc/vmcore bs=64k count=64 2>/dev/null | sha256sum | cut -c1-64)"
