# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# What somebody has set of the network cards outlives a sleep, and each host knows of it: eth0 is on a wire, with a
# VLAN on top, eth1 has a program. Sourced by guest.sh.
. /network.sh

group=01:00:5e:01:02:03
foreign=02:99:99:99:99:99

# What the distribution's driver does not keep.
set_more() {
	mac=02:11:22:33:44:55
	ip link set eth0 address $mac || fail 'no other address'
	ethtool -s eth0 speed 2500 duplex half || fail 'no other speed'
	ip link set eth1 promisc on
}

set_queues() {
	set_to -X hkey "$(awk 'BEGIN { for (i = 1; i < 40; i++) printf "%02x:", i; print "28" }')" weight 1 3
	set_to -N rx-flow-hash udp4 sd
	echo 1 >/sys/class/net/eth0/queues/rx-1/rps_cpus
	echo 1 >/sys/class/net/eth0/queues/tx-1/xps_cpus
}

set_cards() {
	mac=$MAC
	[ "$DRIVERS" = stock ] || set_more
	configure
	[ -z "${MTU:-}" ] || ip link set eth0 mtu "$MTU" || fail 'MTU'
	set_to -G rx 5000 tx 100
	[ "$CPUS" = 1 ] || set_queues
	for feature in tso gro lro; do
		set_to -K $feature off
	done
	configure_tag
	ethtool -K eth1 lro off && ethtool -L eth1 combined 1 >/dev/null 2>&1
	ip link set eth1 up || fail 'link up'
	frames echo eth0 $group >/tmp/echo 2>&1 &
	wait_for 10 grep -q echoing /tmp/echo
	step set
	cards >/tmp/cards
}

cards() {
	for card in eth0 eth1; do
		for file in address mtu flags speed duplex queues/rx-1/rps_cpus queues/tx-1/xps_cpus; do
			echo "$card $file $(cat "/sys/class/net/$card/$file" 2>/dev/null)"
		done
		for option in -l -g -x -k; do
			ethtool $option $card 2>&1
		done
		for kind in tcp4 udp4 tcp6 udp6; do
			ethtool -n $card rx-flow-hash $kind 2>&1
		done
	done
	cat /proc/net/dev_mcast
	ip addr show eth0
	ip addr show eth0.5
}

# check_cards WHEN: all is as it was, by the cards themselves and by what their hosts let through.
check_cards() {
	cards >/tmp/cards.now
	cmp -s /tmp/cards /tmp/cards.now || fail "cards, $1: $(diff /tmp/cards /tmp/cards.now | grep '^[-+][^-+]')"
	on_host filter_lets 0 $group "$mac"
	on_host filter_lets 3 $foreign "$mac"
	[ "$mac" = "$MAC" ] || on_host filter_lets 3 "$MAC" "$mac"
	transfer 64 "$1" 10.77.0.1 fd77::1 10.78.0.1
	[ "$mac" = "$MAC" ] || on_host is_promiscuous nic1
	step "checked $1"
}

# The program lets nothing through, and is removed then.
attach_program() {
	xdp eth1 drop >/tmp/xdp 2>&1 &
	program=$!
	wait_for 10 grep -q attached /tmp/xdp
}

check_program() {
	! ping -c 1 -W 1 10.0.2.2 >/dev/null || fail "what the program drops arrives"
	wait_for 10 eval "ethtool -S eth1 | grep 'xdp_drop: [1-9]'"
	kill "$program"
	wait "$program" 2>/dev/null
}
