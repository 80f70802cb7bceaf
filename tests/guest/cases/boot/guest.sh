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

# The driver asks for one sub-channel for each further CPU, up to one for four.
want=$(((CPUS + 3) / 4))
controllers=0
for device in /sys/bus/vmbus/devices/*; do
	[ "$(cat "$device/class_id")" = '{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}' ] || continue
	controllers=$((controllers + 1))
	channels=$(ls "$device/channels" | wc -l)
	[ "$channels" -ge "$want" ] || fail "$device has $channels channels, not $want"
done
[ $controllers = 2 ] || fail "$controllers SCSI controllers"

wait_for 10 test -b /dev/sdb
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
dmesg | grep -E 'cut here|BUG:|Call Trace' && fail 'the kernel complains'
say ready
# The host's shutdown ends this.
sleep 300
fail 'no shutdown came'
