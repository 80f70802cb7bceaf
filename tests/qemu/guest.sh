#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# In the guest of tests/qemu/run: our bus finds the host's one device, and goes and comes back ten times.
fail() {
	echo "failed: $*"
	exit 1
}

balloon='{525074dc-8985-46e2-8057-a307dc18a502}'
devices=/sys/bus/vmbus/devices
bus=$(lsmod | sed -nE 's/^(hv_vmbus|openlis_vmbus) .*/\1/p')
[ -e "/sys/module/$bus/version" ] || fail 'the bus is not ours'

check_offer() {
	dmesg | grep -q 'hv_vmbus: Vmbus version:4.0' || fail "no connection: $(dmesg | grep hv_vmbus | tail -n 1)"
	[ "$(cat $devices/*/class_id)" = "$balloon" ] || fail "the devices are not one balloon: $(cat $devices/*/class_id)"
}

check_offer
i=0
while [ $i -lt 10 ]; do
	i=$((i + 1))
	rmmod hv_storvsc hv_utils "$bus" || fail "rmmod, round $i"
	[ ! -e /sys/bus/vmbus ] || fail "the bus is still in sysfs after round $i"
	modprobe hv_storvsc && modprobe hv_utils || fail "modprobe, round $i"
	check_offer
done
dmesg | grep -E 'cut here|BUG:|Call Trace' && fail 'the kernel complains'
echo "reloaded $i times"
