# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# The distribution's drivers go and come back; nothing is lost and nothing piles up.

# Where the bus is built in, only its children can be reloaded.
bus=
lsmod | grep -q '^hv_vmbus' && bus=hv_vmbus
# hv_vmbus frees the direct-mode timers' clock events when it goes, but leaves them in use, and the guest
# has no timer left [linux 6.1 drivers/clocksource/hyperv_timer.c hv_stimer_global_cleanup]; so they go first,
# the last CPU's before the others' (the kernel goes by the name, which is the same for all).
if [ -n "$bus" ]; then
	for device in $(printf '%s\n' /sys/devices/system/clockevents/clockevent* | sort -r); do
		echo 'Hyper-V clockevent' > "$device/unbind_device" || fail "$device has nothing to fall back on"
	done
fi
unload() {
	for module in hv_utils hv_storvsc $bus; do
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
dmesg | grep -E 'cut here|BUG:|Call Trace' && fail 'the kernel complains'
say "reloaded $i times"
