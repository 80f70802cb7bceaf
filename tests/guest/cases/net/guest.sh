# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# shellcheck shell=sh
# A network card on the user-mode NAT: addresses by DHCP and router advertisement, bytes in both directions with
# and without the card's help, another size of frames, and the driver loaded anew.

wait_for 30 test -e /sys/class/net/eth0
[ "$(cat /sys/class/net/eth0/address)" = "$MAC" ] || fail "the address is $(cat /sys/class/net/eth0/address)"

configure() {
	ip link set eth0 up || fail 'link up'
	udhcpc -i eth0 -n -q >/tmp/udhcpc 2>&1 || fail "DHCP: $(tail -n1 /tmp/udhcpc)"
	ip -4 addr show eth0 | grep -q 'inet 10.0.2.' || fail "addresses: $(ip addr show eth0)"
}

# What the host sends is what it said it would; what it gets is what was sent.
transfer() {
	sum=$(nc 10.0.2.2 "$PORT_DOWN" </dev/null | md5sum)
	say "down $1 ${sum%% *}"
	sum=$(md5sum </data)
	nc 10.0.2.2 "$PORT_UP" </data >/tmp/answer || fail "sending, $1"
	[ "$(cat /tmp/answer)" = "${sum%% *}" ] || fail "the host got something else, $1: $(cat /tmp/answer), not $sum"
	say "up $1 ok"
}

dd if=/dev/urandom of=/data bs=64k count=32 2>/dev/null
configure
ping -c 3 -W 5 10.0.2.2 >/dev/null || fail 'ping'
# The advertisement comes within seconds, or the kernel asks.
wait_for 30 sh -c "ip -6 addr show eth0 | grep -q 'inet6 fec0:'"
transfer plain
# The distribution's driver does not tell the host again of an address that is not the card's own.
if [ "$DRIVERS" = ours ]; then
	ip link set eth0 down && ip link set eth0 address 02:00:00:0a:0b:0c && configure || fail 'another address'
fi
for mtu in 9000 1500; do
	ip link set eth0 mtu $mtu || fail "MTU $mtu"
	ping -c 2 -W 5 -s 1200 10.0.2.2 >/dev/null || fail "ping with MTU $mtu"
	transfer "mtu$mtu"
done
i=0
while [ $i -lt "${ROUNDS:-3}" ]; do
	i=$((i + 1))
	rmmod hv_netvsc || fail 'rmmod'
	modprobe hv_netvsc || fail 'modprobe'
	wait_for 20 test -e /sys/class/net/eth0
done
configure
transfer again

dmesg | grep -E 'cut here|BUG:|Call Trace|nvsp_rndis_pkt_complete error' && fail 'the kernel complains'
say network ok
read -r _ # until the host has seen enough
