# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# Cards that come and go while the guest runs and uses them. The first is on a TAP and stays.

# card_with MAC: its name; one whose number is $last is on its way out.
card_with() {
	for card in /sys/class/net/*; do
		[ "$(cat "$card/address" 2>/dev/null)" = "$1" ] || continue
		index=$(cat "$card/ifindex" 2>/dev/null) || continue
		[ "$index" != "${last:-}" ] || continue
		nic=${card##*/}
		return 0
	done
	return 1
}

first_card_works() {
	ping -c 1 -W 5 10.0.3.1 >/dev/null || fail "the first card does not work, $1"
}

# Both directions, with checksums, over the card with the route to HOST.
transfer() {
	sum=$(nc "$1" "$PORT_DOWN" </dev/null | md5sum)
	say "down $2 ${sum%% *}"
	nc "$1" "$PORT_UP" </data >/tmp/answer || fail "sending, round $2"
	[ "$(cat /tmp/answer)" = "$sum_up" ] || fail "the host got something else, round $2: $(cat /tmp/answer)"
}

# Until the card is gone, and no longer than that: what has no answer any more would wait for ever.
load() {
	while :; do nc 10.0.2.2 "$PORT_DOWN" </dev/null >/dev/null 2>&1 || usleep 100000; done &
	loads=$!
	while :; do nc 10.0.2.2 "$PORT_UP" </data >/dev/null 2>&1 || usleep 100000; done &
	loads="$loads $!"
}

unload() {
	kill $loads
	killall nc
} 2>/dev/null

dd if=/dev/urandom of=/data bs=64k count=4 2>/dev/null
sum_up=$(md5sum </data)
sum_up=${sum_up%% *}
wait_for 30 test -e /sys/class/net/eth0
[ "$(cat /sys/class/net/eth0/address)" = "$MAC" ] || fail "the address is $(cat /sys/class/net/eth0/address)"
ip link set eth0 up
ip addr add 10.0.3.2/24 dev eth0
wait_for 30 ping -c 1 -W 1 10.0.3.1
say ready

round=0 loads=
while [ $round -lt "$ROUNDS" ]; do
	round=$((round + 1))
	wait_for 60 card_with "$MAC2"
	card_with "$MAC2"
	last=$index
	unload
	first_card_works "round $round"
	ip link set "$nic" up || fail "link up, round $round"
	udhcpc -i "$nic" -n -q >/tmp/udhcpc 2>&1 || fail "DHCP, round $round: $(tail -n1 /tmp/udhcpc)"
	transfer 10.0.2.2 $round
	load
	usleep 300000
	say loaded $round
	if [ $round = 1 ]; then
		wait_for 30 grep -q 0 "/sys/class/net/$nic/carrier"
		say carrier 0
		wait_for 30 grep -q 1 "/sys/class/net/$nic/carrier"
		wait_for 30 grep -q 2500 "/sys/class/net/$nic/speed"
		say carrier 1, speed "$(cat "/sys/class/net/$nic/speed")"
	fi
done
wait_for 60 card_with "$MAC3"
unload
card_with "$MAC3"
[ "$(cat "/sys/class/net/$nic/mtu")" = 1400 ] || fail "the MTU is $(cat "/sys/class/net/$nic/mtu")"
say changed 1400
wait_for 60 sh -c "! test -e /sys/class/net/$nic"
say gone
first_card_works 'at the end'
transfer 10.0.3.1 last
dmesg | grep -E 'cut here|BUG:|Call Trace|nvsp_rndis_pkt_complete error' && fail 'the kernel complains'
say nics ok
read -r _ # until the host has seen enough
