# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# For tests of network cards on a TAP: what their guest.sh share.

# step NAME: on the console, when what is named was done.
step() {
	echo "step: $* at $(cut -d ' ' -f 1 /proc/uptime) s"
}

# add_addresses INTERFACE NUMBER: those that go with the host's 10.NUMBER.0.1. Those of IPv6 are lost with the
# link; wait until all is up.
add_addresses() {
	ip addr show "$1" | grep -q "10.$2.0.2" || ip addr add "10.$2.0.2/24" dev "$1"
	ip addr show "$1" | grep -q "fd$2::2" || ip addr add "fd$2::2/64" dev "$1"
	wait_for 20 ping -c 1 -W 1 "10.$2.0.1"
	wait_for 20 ping -c 1 -W 1 "fd$2::1"
}

configure() {
	echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
	echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
	ip link set eth0 up || fail 'link up'
	add_addresses eth0 77
}

# Tagged, by eth0.5. The kernel takes LRO from eth0 with the next change of a feature then.
configure_tag() {
	ip link add link eth0 name eth0.5 type vlan id 5 || fail 'no VLAN'
	ip link set eth0.5 up || fail 'VLAN up'
	add_addresses eth0.5 78
}

# set_to ETHTOOL-OPTION ARGUMENT...: of eth0.
set_to() {
	option=$1
	shift
	ethtool "$option" eth0 "$@" >/tmp/set 2>&1 || fail "ethtool $option eth0 $*: $(cat /tmp/set)"
}

# transfer KIB WHAT ADDRESS...: bytes by TCP and datagrams by UDP, there and back.
transfer() {
	kib=$1 what=$2
	shift 2
	exchange "$kib" 7 "$@" || fail "transfer $what"
}

# What no test may make it say.
kernel_is_content() {
	! dmesg | grep -E 'cut here|BUG:|Call Trace|WARNING: CPU|broke the protocol|nvsp_rndis_pkt_complete error' ||
		fail 'the kernel complains'
}
