# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# Everything a stock guest takes from Hyper-V is there, and its disk works.

dmesg | grep -q 'Hypervisor detected: Microsoft Hyper-V' || fail 'no Hyper-V was detected'
# 5.3, or 6.0 where the kernel knows it.
dmesg | grep -Eq 'Vmbus version:(5.3|6.0)' || fail "$(dmesg | grep 'Vmbus version')"

# Whose drivers these are: ours have a version.
for module in hv_storvsc hv_utils; do
	drivers=stock
	[ ! -e /sys/module/$module/version ] || drivers=ours
	[ "$drivers" = "$DRIVERS" ] || fail "$module is $drivers"
done

clock=/sys/devices/system/clocksource/clocksource0/current_clocksource
[ "$(cat $clock)" = hyperv_clocksource_tsc_page ] || fail "clock source is $(cat $clock)"

online=$(grep -c ^processor /proc/cpuinfo)
[ "$online" = "$CPUS" ] || fail "$online of $CPUS CPUs are up"
timers=$(grep -c 'Hyper-V clockevent' /proc/timer_list)
[ "$timers" -ge "$CPUS" ] || fail "$timers Hyper-V clock events for $CPUS CPUs"

# The driver asks for a channel for each CPU, some time after it has found the device.
channels_open() { # DEVICE
	[ "$(ls "$1/channels" | wc -l)" -ge "$CPUS" ]
}
wait_for 10 test -b /dev/sdb
controllers=0
for device in /sys/bus/vmbus/devices/*; do
	[ "$(cat "$device/class_id")" = '{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}' ] || continue
	controllers=$((controllers + 1))
	wait_for 10 channels_open "$device"
done
[ $controllers = 2 ] || fail "$controllers SCSI controllers"

mkdir -p /disk
for disk in sda sdb; do
	mount -t ext4 /dev/$disk /disk || fail "mount of /dev/$disk"
	dd if=/dev/urandom of=/disk/data bs=64k count=64 2>/dev/null || fail 'write'
	sum=$(md5sum < /disk/data)
	sync
	umount /disk
	echo 3 > /proc/sys/vm/drop_caches
	mount -t ext4 /dev/$disk /disk || fail 'second mount'
	[ "$(md5sum < /disk/data)" = "$sum" ] || fail "/dev/$disk reads back something else"
	say "sum $disk ${sum%% *}"
	fstrim /disk || fail 'fstrim'
	umount /disk
done
for service in '{0e0b6031-5213-4934-818b-38d90ced39db}' '{9527e630-d0ae-497b-adce-e80ab0175caf}' \
	'{57164f39-9115-4e78-ab55-382f3bd5422d}'; do
	grep -q "$service" /sys/bus/vmbus/devices/*/class_id || fail "no device $service"
done
# What tools read of the bus [linux 7.3 Documentation/ABI/stable/sysfs-bus-vmbus], all of it and in the old form.
# No program is started for any of the many files: that takes long under emulation.
is() { # FILE PATTERN
	read -r line <"$1" || fail "$1 cannot be read"
	# shellcheck disable=SC2254 # a pattern
	case $line in
	$2) ;;
	*) fail "$1 is $line" ;;
	esac
}
is_number() { # FILE
	read -r line <"$1" || fail "$1 cannot be read"
	case $line in
	''|*[!0-9]*) fail "$1 is $line" ;;
	esac
}
[ -e /sys/bus/vmbus/hibernation ] && [ -e /sys/bus/vmbus/drivers/hv_storvsc/new_id ] &&
	[ -e /sys/bus/vmbus/drivers/hv_storvsc/remove_id ] || fail 'bus or driver lack a file'
for device in /sys/bus/vmbus/devices/*; do
	is "$device/class_id" '{????????-????-????-????-????????????}'
	is "$device/device_id" "{${device##*/}}"
	is "$device/modalias" 'vmbus:????????????????????????????????'
	is "$device/vendor" 0x1414
	is "$device/device" '0x[0-9a-f]'
	is "$device/channel_vp_mapping" '[0-9]*:[0-9]*'
	is "$device/state" 3
	is "$device/driver_override" '(null)'
	for name in id numa_node in_intr_mask in_read_index in_write_index in_read_bytes_avail in_write_bytes_avail \
		out_intr_mask out_read_index out_write_index out_read_bytes_avail out_write_bytes_avail; do
		is_number "$device/$name"
	done
	for channel in "$device"/channels/*; do
		for name in cpu in_mask out_mask read_avail write_avail interrupts events intr_in_full intr_out_empty \
			out_full_first out_full_total subchannel_id; do
			is_number "$channel/$name"
		done
	done
done
dmesg | grep -E 'cut here|BUG:|Call Trace' && fail 'the kernel complains'
say ready
# The host's shutdown ends this.
sleep 300
fail 'no shutdown came'
