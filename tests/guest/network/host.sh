# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=bash
# For tests of network cards on a TAP: where its frames go. Sourced by the host.sh of a case.

mac=00:15:5d:01:02:03

remove_interfaces() {
	local interface
	for interface in lis0 lisbridge liswire; do
		ip link del "$interface" 2>/dev/null
	done
}

# make_tap MTU: lis0 is the TAP, by itself.
make_tap() {
	at_end=remove_interfaces
	remove_interfaces
	ip tuntap add dev lis0 mode tap vnet_hdr || fail 'no TAP'
	sysctl -qw net.ipv6.conf.lis0.disable_ipv6=1
	ip link set lis0 mtu "$1" up
}

# make_wire MTU: lis0 in a bridge, from which a cable goes to "liswire", which has this machine's addresses:
# 10.77.0.1 and fd77::1; with the tag 5 it is 10.78.0.1 and fd78::1. What goes into the cable is complete:
# the kernel cuts segments and computes checksums before.
make_wire() {
	modprobe -a veth bridge 8021q
	make_tap "$1"
	# Each interface answers for its own addresses only, or the bridge would take what is meant for the wire.
	sysctl -qw net.ipv4.conf.all.arp_ignore=1
	ip link add lisbridge type bridge forward_delay 0 mcast_snooping 0 || fail 'no bridge'
	ip link add lisport type veth peer name liswire || fail 'no cable'
	sysctl -qw net.ipv6.conf.lisbridge.disable_ipv6=1 net.ipv6.conf.lisport.disable_ipv6=1
	ethtool -K lisport tx off tso off gso off sg off txvlan off >/dev/null || fail 'ethtool'
	ip link add link liswire name liswire.5 type vlan id 5 || fail 'no VLAN'
	ip link set lis0 master lisbridge
	ip link set lisport master lisbridge
	ip link set lisbridge mtu "$1" up
	ip link set lisport mtu "$1" up
	ip link set liswire up
	ip link set liswire.5 up
	set_mtu "$1"
	ip addr add 10.77.0.1/24 dev liswire
	ip addr add fd77::1/64 dev liswire nodad
	ip addr add 10.78.0.1/24 dev liswire.5
	ip addr add fd78::1/64 dev liswire.5 nodad
}

# set_mtu MTU: what this machine thinks everybody behind the wire takes.
set_mtu() {
	ip link set liswire mtu "$1"
	ip link set liswire.5 mtu "$1"
}

# start_peer: whom the guest exchanges bytes with, at each of this machine's addresses.
start_peer() {
	"$guest/exchange" serve 7 >"$work/peer" &
	wait_for 30 grep -q serving "$work/peer"
}

frames() {
	"$guest/frames" "$@"
}

# filter_lets 0|3 ADDRESS OWN-ADDRESS: does a frame to ADDRESS arrive (0), or not (3)? The guest tells its filter
# to the host when it likes.
filter_lets() {
	local end=$((SECONDS + 20)) status
	while :; do
		status=0
		frames first lis0 "$2" "$3" || status=$?
		[[ $status != "$1" ]] || return 0
		((SECONDS < end)) || { echo "it ends with $status"; return 1; }
		pause 0.3
	done
}
