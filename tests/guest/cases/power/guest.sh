# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# Reboots of every kind bring the same machine back; pause and resume set the clock right again.

# Here an NMI is counted, and no reason to panic (see vm_start).
echo 0 >/proc/sys/kernel/unknown_nmi_panic
say "up $(cat /proc/sys/kernel/random/boot_id)"
while read -r command; do
	case $command in
	reboot) reboot ;;
	kexec)
		find_disks
		kexec -s -l /boot/vmlinuz --initrd=/boot/initrd --reuse-cmdline || fail 'kexec -l'
		kexec -e ;;
	date) say "date $(date +%s)" ;;
	panic) echo c > /proc/sysrq-trigger ;;
	nmi) say "nmis $(awk '/^ *NMI:/ { n = 0; for (i = 2; i <= NF; i++) if ($i ~ /^[0-9]+$/) n += $i; print n }' /proc/interrupts)" ;;
	offline)
		for cpu in /sys/devices/system/cpu/cpu[1-9]*; do
			# Ours moves the channels by itself; older kernels' refuses while there are any.
			for channel in /sys/bus/vmbus/devices/*/channels/*/cpu; do
				[ "$DRIVERS" = stock ] || break
				[ "$(cat "$channel")" = 0 ] || echo 0 > "$channel" || fail "moving $channel"
			done
			echo 0 > "$cpu/online" || fail "offline $cpu"
		done
		dd if=/dev/sda of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null || fail 'read with CPU 0 only'
		for cpu in /sys/devices/system/cpu/cpu[1-9]*; do
			echo 1 > "$cpu/online" || fail "online $cpu"
		done
		for channel in /sys/bus/vmbus/devices/*/channels/*/cpu; do
			echo 1 > "$channel" || fail "moving $channel back"
		done
		dd if=/dev/sda of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null || fail 'read on CPU 1'
		say moved ;;
	end) exit 0 ;;
	esac
done
