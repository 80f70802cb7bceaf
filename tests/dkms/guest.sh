#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# Process 1 of the Debian that tests/dkms/run boots: looks at whose drivers it is on, and powers off.
exec >/dev/console 2>&1

end() {
	echo "$*"
	mount -o remount,ro /
	echo o >/proc/sysrq-trigger
	sleep 1000
}
# loaded MODULE: ours and at work.
loaded() {
	[ -n "$(cat "/sys/module/$1/version")" ] || end "@@failed: $1 is not loaded, or not ours"
}

# As the system's own start would do for all that has no driver yet. Other devices are none of our business,
# and what their modules find under emulation is not always as the CPU says.
/lib/systemd/systemd-udevd --daemon
udevadm trigger --action=add --subsystem-match=acpi --subsystem-match=vmbus
udevadm settle
drivers=$(sed 's/.*dkms\.drivers=\([a-z]*\).*/\1/' /proc/cmdline)
case $drivers in
stock)
	[ -e /sys/module/hv_storvsc ] || end '@@failed: hv_storvsc is missing'
	[ -e /sys/module/hv_utils ] || end '@@failed: hv_utils is missing'
	! cat /sys/module/hv_*/version || end '@@failed: it is ours'
	[ ! -e /sys/module/openlis_storvsc ] || end '@@failed: ours stays there for nothing'
	;;
*)
	loaded "${drivers}_vmbus"
	loaded "${drivers}_storvsc"
	loaded "${drivers}_utils"
	;;
esac
disk=$(readlink -f "/sys/dev/block/$(mountpoint -d /)")
case $disk in
*/VMBUS:*|*/VMBus:*|*/vmbus*) ;;
*) end "@@failed: the root file system is on $disk" ;;
esac
! dmesg | grep -E 'cut here|BUG:|Call Trace' || end '@@failed: the kernel complains'
echo "on $drivers drivers" >/root/was-here
end '@@done'
