# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# The distribution's drivers go and come back; nothing is lost and nothing piles up.

# Where the bus is built in, only its children can be reloaded.
bus=
lsmod | grep -q '^hv_vmbus' && bus=hv_vmbus
unload() {
	for module in hv_balloon hv_utils hv_storvsc $bus; do
		lsmod | grep -q "^$module" || continue
		rmmod $module || fail "rmmod $module"
	done
}
load() {
	for module in $bus hv_storvsc hv_utils; do
		modprobe $module || fail "modprobe $module"
	done
}
i=0
while [ $i -lt "$ROUNDS" ]; do
	wait_for 20 test -b /dev/sda
	i=$((i + 1))
	[ $((i % 10)) != 1 ] || dd if=/dev/sda of=/dev/null bs=4k count=16 2>/dev/null || fail "read in round $i"
	unload
	load
done
wait_for 20 test -b /dev/sda
dd if=/dev/sda of=/dev/null bs=1M count=4 2>/dev/null || fail 'read after the last round'
dmesg | grep -E 'WARNING|BUG:|Call Trace' && fail 'the kernel complains'
say "reloaded $i times"
