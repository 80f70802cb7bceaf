# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# A guest hibernates on its synthetic disk, and goes on in another run of the machine where it was.

# is_swap DISK: by the signature of swap space, or of a hibernated guest.
is_swap() {
	case $(dd if="/dev/$1" bs=1 skip=4086 count=10 2>/dev/null) in
	SWAPSPACE2|S1SUSPEND) ;;
	*) false ;;
	esac
}

wait_for 30 test -b /dev/sdb
swap=sda data=sdb
is_swap sda || swap=sdb data=sda
is_swap $swap || fail 'no disk is swap space'

if [ "${STAGE:-}" = resume ]; then
	cat /sys/block/$swap/dev >/sys/power/resume
	dmesg | grep -E 'PM:|Hyper-V|hv_|vmbus' | tail -n 20
	fail 'this kernel does not go over to the hibernated one'
fi

. /cases/hibernate/cards.sh

# by_nat WHEN: what the host sends is what it said it would; what it gets is what was sent.
by_nat() {
	ping -c 2 -W 10 10.0.2.2 >/dev/null || fail "ping, $1"
	sum=$(nc 10.0.2.2 "$PORT_DOWN" </dev/null | md5sum)
	[ "${sum%% *}" = "$SUM" ] || fail "the host's file, $1"
	sum=$(md5sum </data)
	nc 10.0.2.2 "$PORT_UP" </data >/tmp/answer || fail "sending, $1"
	[ "$(cat /tmp/answer)" = "${sum%% *}" ] || fail "the host got something else, $1"
}

# The second machine does not have it.
is_empty_controller() {
	ls -d "$1"/host* && ! ls -d "$1"/host*/target*
} >/dev/null 2>&1

channels() {
	for device in /sys/bus/vmbus/devices/*; do
		! is_empty_controller "$device" || continue
		echo "${device##*/} $(find "$device/channels/" -mindepth 1 -maxdepth 1 | wc -l)"
	done | sort
}

# write_file NAME: onto the disk, around the cache; says its sum, for later.
write_file() {
	dd if=/dev/urandom of="/mnt/$1" bs=64k count=16 oflag=direct 2>/dev/null || fail "writing $1"
	md5sum "/mnt/$1" >>/sums
}

swapon /dev/$swap || fail 'swapon'
mkdir /mnt
mount /dev/$data /mnt || fail 'mount'
dd if=/dev/urandom of=/data bs=64k count=16 2>/dev/null
set_cards
udhcpc -i eth1 -n -q >/tmp/udhcpc 2>&1 || fail "DHCP: $(tail -n1 /tmp/udhcpc)"
by_nat before
check_cards before
write_file before
exec 9>/mnt/open
echo before >&9
# A process of its own holds a number.
secret=$(head -c 16 /dev/urandom | md5sum)
mkfifo /tmp/ask /tmp/tell
(
	held=$secret
	read -r _ </tmp/ask
	echo "$held" >/tmp/tell
) &
channels >/tmp/channels
devices=$(find /sys/bus/vmbus/devices/ -mindepth 1 | wc -l)

# Everything but the memory's way to the disk and back, and sleep without a change of the bus.
echo 1 >/sys/module/suspend/parameters/pm_test_delay
echo devices >/sys/power/pm_test
echo freeze >/sys/power/state || fail 'suspend to idle'
echo none >/sys/power/pm_test
check_cards 'after a suspend to idle'
by_nat 'after a suspend to idle'

i=0
while [ $i -lt "${ROUNDS:-0}" ]; do
	i=$((i + 1))
	echo test_resume >/sys/power/disk
	echo disk >/sys/power/state || fail "round $i"
	check_cards "round $i"
	by_nat "round $i"
	write_file "$i"
done

echo 0 >/sys/power/image_size
echo "${MODE:-platform}" >/sys/power/disk
attach_program
say end
say hibernating
echo disk >/sys/power/state || fail "it does not hibernate: $(dmesg | tail -n 5)"

say "resumed, $(date +%s)"
echo ask >/tmp/ask
[ "$(cat /tmp/tell)" = "$secret" ] || fail 'the number is another one'
echo after >&9 || fail 'the open file'
[ "$(cat /mnt/open)" = "before
after" ] || fail "the open file has: $(cat /mnt/open)"
echo 3 >/proc/sys/vm/drop_caches
md5sum -c /sums >/dev/null || fail 'what was written before'
write_file after
echo 3 >/proc/sys/vm/drop_caches
md5sum -c /sums >/dev/null || fail 'what was written after'
check_cards after
check_program
by_nat after
say end
same_channels() {
	channels | cmp -s - /tmp/channels
}
wait_for 20 same_channels
# The distribution's bus keeps what is not there any more.
if [ "$DRIVERS" = ours ]; then
	has_left() {
		[ "$(find /sys/bus/vmbus/devices/ -mindepth 1 | wc -l)" = $((devices - 1)) ]
	}
	wait_for 20 has_left
fi
kernel_is_content
exec 9>&-
umount /mnt
say all there
read -r _ # until the host asks for the end
